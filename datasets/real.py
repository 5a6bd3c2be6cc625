"""Files of data sets that others recorded: found on disk or downloaded, and checked.

A file is looked for in ``$SNN_DATA`` (never written to), then in ``datasets/files/``, and is then
downloaded there from its official home or a mirror; wherever it comes from, its checksum is
verified.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import pooch
import requests

from common.errors import UserError
from common.paths import DATA_FILES
from datasets.choices import Data

SPLITS = ("train", "test")

T = TypeVar("T")

_log = logging.getLogger(__name__)
_TIMEOUT = 20  # seconds without an answer of a server


class RemoteFile(NamedTuple):
    """A file that others publish.

    Attributes:
        path: below a data folder, ``mnist/...gz``.
        sha256: of the file; or "md5:" and its MD5, where that alone is published.
        homes: addresses of folders that hold it, ending in ``/``, or of the file itself.
        same: whether a file with another SHA-256 holds the same data, such as an archive that was
            packed again.
        page: where one gets it by hand.
    """

    path: str
    sha256: str
    homes: tuple[str, ...]
    same: Callable[[Path], bool] | None = None
    page: str = ""


def locate(file: RemoteFile, downloads: Path | None = None) -> Path:
    """The path of a checked copy of ``file``: in ``$SNN_DATA``, or in ``downloads`` (default
    ``datasets/files/``), where it is downloaded if need be.

    Raises :class:`UserError` when a copy has another checksum or no home can be reached.
    """
    downloads = downloads or DATA_FILES
    path = find_file(file.path, downloads)
    if path is None:
        return _download(file, downloads)
    if not _holds(path, file):
        advice = "replace it or unset SNN_DATA"
        if path == downloads / file.path:
            advice = "delete it, it is then downloaded again"
        kind, wanted = _checksum(file)
        raise UserError(
            f"{path}: {kind} is {_digest(path, kind)[:12]}... instead of {wanted[:12]}... "
            f"(damaged, cut off or another file); {advice}"
        )
    return path


def find_file(path: str, downloads: Path | None = None) -> Path | None:
    """Where ``path`` lies, unchecked: in ``$SNN_DATA``, else in ``downloads`` (default
    ``datasets/files/``); None where in neither.

    Raises :class:`UserError` when ``$SNN_DATA`` is not a folder.
    """
    given = os.environ.get("SNN_DATA")
    if given and not Path(given).is_dir():
        raise UserError(f"SNN_DATA is {given}, which is not a folder; correct it or unset it")
    folders = [Path(given)] if given else []
    places = [folder / path for folder in (*folders, downloads or DATA_FILES)]
    return next((place for place in places if place.is_file()), None)


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
    return _digest(path, kind) == wanted or bool(file.same and file.same(path))


def _download(file: RemoteFile, downloads: Path) -> Path:
    target = downloads / file.path
    pooch.get_logger().setLevel("WARNING")
    fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT)
    reasons = []
    for home in file.homes:
        try:
            pooch.retrieve(
                home + target.name if home.endswith("/") else home,
                known_hash=None if file.same else file.sha256,  # "sha256:" is pooch's default
                fname=target.name,
                path=target.parent,
                downloader=fetch,
            )
            if file.same and not _holds(target, file):
                target.unlink()
                raise ValueError
            return target
        except (requests.RequestException, ValueError) as error:
            # pooch reports a wrong checksum as ValueError; a cut-off download ends there, too.
            wrong = "wrong checksum" if isinstance(error, ValueError) else type(error).__name__
            reasons.append(f"{home}: {wrong}")
    tried = f"could not be downloaded ({'; '.join(reasons)}); connect to the network, "
    page = f"get it from {file.page} and " if file.page else ""
    raise UserError(
        f"{file.path} {tried if reasons else 'is not there and nobody serves it; '}{page}"
        f"put it at {target}, or set SNN_DATA to a folder that holds {file.path}"
    )


def unless_embedded(get: Callable[[], T], data: Data, stand_in: str) -> T | None:
    """What ``get`` gives; None where a stand-in is to be used, with a warning in the log.

    Args:
        get: raises :class:`UserError` when it cannot be had.
        data: "embedded": None at once; "auto": None when it cannot be had; "real": never None.
        stand_in: the warning, "using ... instead of ...".

    Raises :class:`UserError` for "real" when it cannot be had.
    """
    if data == "embedded":
        _log.warning(stand_in)
        return None
    try:
        return get()
    except UserError as error:
        if data == "real":
            raise UserError(f"{error}, or give --data embedded for a small stand-in") from error
        _log.warning("%s: %s", stand_in, error)
        return None
