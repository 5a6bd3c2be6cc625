"""Files of data sets that others recorded: found on disk or downloaded, and checked.

A file is looked for in ``$SNN_DATA``, then in ``datasets/files/``, and is then downloaded there
from one of its homes. Wherever it comes from, its checksum is verified. What is absent and what is
damaged are different things: only the former is an :class:`AbsentError`, in whose place ``--data
auto`` puts a stand-in.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import json
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from tqdm import tqdm

from common.errors import UserError
from common.files import atomic_path, locked, write_json
from common.paths import DATA_FILES
from datasets.choices import Data

SPLITS = ("train", "test")
REMEMBERED = 3600
"""Seconds for which a home that failed is not asked again."""

T = TypeVar("T")

_log = logging.getLogger(__name__)
_CONNECT, _SILENT = 10, 20  # seconds without a connection, and without a byte
_PATIENCE = 60  # seconds that any download may take, and
_SLOWEST = 20_000  # one more second for every so many bytes
_MOST = 100_000_000  # bytes of a file whose size is not given
_BLOCK = 1 << 20
_FAILURES = ".failed_downloads.json"


class AbsentError(UserError):
    """Data are neither there nor to be downloaded. ``known``: no home was asked just now."""

    known = False


class RemoteFile(NamedTuple):
    """A file that others publish.

    Attributes:
        path: below a data folder, ``mnist/...gz``.
        sha256: of the file; or "md5:" and its MD5, where that alone is published.
        homes: addresses of folders that hold it, ending in ``/``, or of the file itself.
        same: whether a file with another SHA-256 holds the same data, such as an archive that was
            packed again.
        page: where one gets it by hand.
        content: SHA-256 of what a ``.gz`` unpacks to; such a file may also lie there unpacked or
            packed again.
        most: bytes that it has, packed or unpacked, at most.
    """

    path: str
    sha256: str
    homes: tuple[str, ...]
    same: Callable[[Path], bool] | None = None
    page: str = ""
    content: str = ""
    most: int = _MOST


# ---- where files lie ------------------------------------------------------------------------


def data_folder() -> Path:
    """Where downloads and generated files go: ``datasets/files/``, or where that cannot be written
    (a shared installation) the first that can of ``$SNN_DATA/generated``, the user's cache folder,
    and a folder of the user's for temporary files; said once."""
    if _writable(DATA_FILES):
        return DATA_FILES
    return _other_folder(DATA_FILES, os.environ.get("SNN_DATA"))


@functools.cache
def _other_folder(usual: Path, given: str | None) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folders = [Path(given) / "generated"] if given and Path(given).is_dir() else []
    folders += [cache / "snn-papers", Path(tempfile.gettempdir()) / f"snn-papers-{os.getuid()}"]
    found = next(filter(_writable, folders), None)
    if found is None:
        return usual
    _log.warning("%s cannot be written; data sets go to %s", usual, found)
    return found


def _writable(folder: Path) -> bool:
    """Whether files can be made in ``folder``, which need not be there yet."""
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def folders(downloads: Path | None = None) -> list[Path]:
    """Where files are looked for, in this order: ``$SNN_DATA``, ``downloads`` (default
    ``datasets/files/`` and what stands in for it).

    Raises :class:`UserError` when ``$SNN_DATA`` is not a folder.
    """
    given = os.environ.get("SNN_DATA")
    if given and not Path(given).is_dir():
        raise UserError(f"SNN_DATA is {given}, which is not a folder; correct it or unset it")
    usual = [downloads] if downloads else [DATA_FILES, data_folder()]
    return list(dict.fromkeys([Path(given), *usual] if given else usual))


def find_file(path: str, downloads: Path | None = None) -> Path | None:
    """Where ``path`` lies, unchecked: in ``$SNN_DATA``, else in ``downloads`` (default
    ``datasets/files/``); None where in neither.

    Raises :class:`UserError` when ``$SNN_DATA`` is not a folder.
    """
    places = [folder / path for folder in folders(downloads)]
    return next((place for place in places if place.is_file()), None)


def locate(file: RemoteFile, downloads: Path | None = None) -> Path:
    """The path of a checked copy of ``file``: in ``$SNN_DATA``, or in ``downloads`` (default
    ``datasets/files/``), where it is downloaded if need be.

    Raises :class:`AbsentError` when there is none and no home can be reached, and
    :class:`UserError` when a copy has another checksum.
    """
    return locate_all([file], downloads)[0]


def locate_all(files: Sequence[RemoteFile], downloads: Path | None = None) -> list[Path]:
    """:func:`locate` of all files of a data set: before any is checked, all are there."""
    paths = [place(file, downloads) for file in files]
    for path, file in zip(paths, files, strict=True):
        check(path, file, downloads)
    return paths


def place(file: RemoteFile, downloads: Path | None = None) -> Path:
    """Where ``file`` lies, unchecked unless it was downloaded just now; errors as
    :func:`locate`."""
    names = [file.path, file.path.removesuffix(".gz")] if file.content else [file.path]
    for folder in folders(downloads):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return _download(file, downloads or data_folder())


# ---- checksums ------------------------------------------------------------------------------


def check(path: Path, file: RemoteFile, downloads: Path | None = None) -> None:
    """Raise :class:`UserError` unless the copy at ``path`` is what ``file`` says."""
    if _holds(path, file):
        return
    advice = "replace it or unset SNN_DATA"
    if path.is_relative_to(downloads or DATA_FILES) or path.is_relative_to(data_folder()):
        advice = "delete it, it is then downloaded again"
    kind, wanted = _checksum(file)
    raise UserError(
        f"{path}: {kind} is {_digest(path, kind)[:12]}... instead of {wanted[:12]}... "
        f"(damaged, cut off or another file); {advice}"
    )


def _checksum(file: RemoteFile) -> tuple[str, str]:
    """Kind and digits of a file's published checksum."""
    if file.sha256.startswith("md5:"):
        return "MD5", file.sha256.removeprefix("md5:")
    return "SHA-256", file.sha256


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind.replace("-", "").lower()).hexdigest()


def _holds(path: Path, file: RemoteFile) -> bool:
    kind, wanted = _checksum(file)
    if _digest(path, kind) == wanted:
        return True
    if file.content and _content_digest(path, file.most) == file.content:
        return True
    return bool(file.same and file.same(path))


def _content_digest(path: Path, most: int) -> str:
    """SHA-256 of a file's bytes, unpacked where it is a gzip file; nothing where it is damaged or
    has more than ``most`` bytes."""
    digest, length = hashlib.sha256(), 0
    try:
        with open_packed(path) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                length += len(block)
                if length > most:
                    return ""
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return ""
    return digest.hexdigest()


def open_packed(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip where it is packed."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else open(path, "rb")


# ---- downloads ------------------------------------------------------------------------------


def _download(file: RemoteFile, downloads: Path) -> Path:
    target = downloads / file.path
    if not file.homes:
        by_hand = _by_hand(file, target)
        raise AbsentError(f"{file.path} is not there and nobody serves it; {by_hand}")
    failures = Failures(downloads)
    with _waiting_for(target):
        if target.is_file():  # another process was faster
            return target
        reasons, known = [], True
        for home in file.homes:
            address = home + target.name if home.endswith("/") else home
            host = urlsplit(address).netloc
            reason = failures.recent(host, address)
            if reason is None:
                known = False
                reason, whole_host = _fetch(address, target, file)
                if not reason:
                    return target
                failures.add(host if whole_host else address, reason)
            reasons.append(f"{host}: {reason}")
    error = AbsentError(
        f"{file.path} could not be downloaded ({'; '.join(reasons)}); connect to the network and "
        f"run python -m datasets.download, or {_by_hand(file, target)}"
    )
    error.known = known
    raise error


@contextlib.contextmanager
def _waiting_for(target: Path) -> Iterator[None]:
    """Alone with a file of the data folder; where that cannot be written, just go on: writing then
    says so."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(PermissionError):
            stack.enter_context(locked(target))
        yield


def _by_hand(file: RemoteFile, target: Path) -> str:
    page = f"get it from {file.page} and " if file.page else ""
    return f"{page}put it at {target} or set SNN_DATA to a folder that holds it"


def _fetch(address: str, target: Path, file: RemoteFile) -> tuple[str, bool]:
    """Download one file; why that failed, or nothing, and whether its whole host is to blame."""
    import requests  # slow to import and rarely needed
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    timeout, plain = (_CONNECT, _SILENT), {"Accept-Encoding": "identity"}
    try:
        with (
            requests.get(address, stream=True, timeout=timeout, headers=plain) as answer,
            atomic_path(target) as temporary,
        ):
            answer.raise_for_status()
            reason = _receive(answer, temporary, file.most)
            if not reason and not _holds(temporary, file):
                reason = "wrong checksum"
            if reason:
                raise _UnusableError(reason)
    except _UnusableError as error:
        return str(error), False
    except requests.HTTPError as error:
        return f"HTTP {error.response.status_code}", False
    except (requests.Timeout, ReadTimeoutError):
        return "no answer", True
    except requests.ConnectionError:
        return "no connection", True
    except HTTPError:
        return "cut off", False
    except requests.RequestException as error:
        return type(error).__name__, False
    return "", False


class _UnusableError(Exception):
    """What was downloaded cannot be used."""


def _receive(answer: Any, path: Path, most: int) -> str:
    """Write what a ``requests.Response`` brings to ``path``; why not all of it was taken, or
    nothing."""
    promised = int(answer.headers.get("Content-Length") or 0)
    latest = time.monotonic() + _PATIENCE + (promised or most) / _SLOWEST
    received = 0
    if promised > most:
        return "too large"
    with (
        open(path, "wb") as copy,
        tqdm(total=promised or None, unit="B", unit_scale=True, leave=False, disable=None) as bar,
    ):
        while block := answer.raw.read1(_BLOCK):  # what has come, however little
            copy.write(block)
            received += len(block)
            bar.update(len(block))
            if received > most:
                return "too large"
            if time.monotonic() > latest:
                return "too slow"
    return ""


class Failures:
    """Homes that failed in the last hour, for all processes that use a data folder.

    Args:
        downloads: the folder.
    """

    def __init__(self, downloads: Path) -> None:
        self._path = downloads / _FAILURES

    def recent(self, *keys: str) -> str | None:
        """What failed with one of these hosts or addresses, and when; None where nothing did."""
        for key in keys:
            when, reason = self._read().get(key, (0.0, ""))
            if 0 <= time.time() - when < REMEMBERED:
                return f"{reason} at {time.strftime('%H:%M', time.localtime(when))}"
        return None

    def add(self, key: str, reason: str) -> None:
        """Remember a failure; where that cannot be written, it is not."""
        with contextlib.suppress(OSError):
            write_json(self._path, {**self._read(), key: [time.time(), reason]})

    def forget(self) -> None:
        """Let all homes be asked again."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _read(self) -> dict[str, tuple[float, str]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(key): (float(when), str(why)) for key, (when, why) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


# ---- stand-ins ------------------------------------------------------------------------------

_announced: set[tuple[str, bool]] = set()


def unless_embedded(get: Callable[[], T], data: Data, stand_in: str) -> T | None:
    """What ``get`` gives; None where a stand-in is to be used, with a warning, once a process.

    Args:
        get: finds all files of a data set; raises :class:`AbsentError` when one cannot be had.
        data: "embedded": None at once; "auto": None when it cannot be had; "real": never None.
        stand_in: the warning, "using ... instead of ...".

    Raises :class:`AbsentError` for "real" when it cannot be had, and whatever else ``get`` raises:
    damaged files are never replaced.
    """
    if data == "embedded":
        _announce(stand_in, "")
        return None
    try:
        return get()
    except AbsentError as error:
        if data == "real":
            raise AbsentError(f"{error}, or give --data embedded for a small stand-in") from error
        reason = str(error).partition("; connect to")[0]
        _announce(
            stand_in,
            "; python -m datasets.download asks for it again" if error.known else f": {reason}",
        )
        return None


def _announce(stand_in: str, reason: str) -> None:
    if (stand_in, bool(reason)) not in _announced:
        _announced.add((stand_in, bool(reason)))
        _log.warning("%s%s", stand_in, reason)
