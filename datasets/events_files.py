"""Event files on disk: packed ones are unpacked once, whole or not at all.

Members of archives are written to the place asked for, whatever their own names say.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from common.errors import UserError
from common.files import atomic_path, locked, write_json

DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
"""What reading a damaged archive raises."""

_OF_NAMES = (
    None,  # raised by Python's own readers
    errno.ENAMETOOLONG,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EINVAL,
    errno.ENOENT,
    errno.ENOTEMPTY,
)


@contextlib.contextmanager
def archive_errors(path: Path) -> Iterator[None]:
    """Damage of the archive at ``path`` met inside the block, names that no file can have
    included, becomes a :class:`UserError`."""
    try:
        yield
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _OF_NAMES:
            raise
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged or cut off ({reason}); get it again") from error


def unpack_file(
    packed: Path, target: Path, most: int, checked: Callable[[], None] = lambda: None
) -> Path:
    """Unpack ``target.zip``, the one file of target's name in it, or ``target.gz`` to ``target``,
    unless that was done before; other processes wait.

    Args:
        most: bytes that it may have. checked: raises where ``packed`` is not what it should be.

    Raises :class:`UserError` for a damaged archive, for more than ``most`` bytes, and for a zip
    file without the one file.
    """
    with locked(target):
        if target.is_file() and unpacked_from(target) == _identity(packed):
            return target
        checked()
        with archive_errors(packed), atomic_path(target) as temporary:
            with contextlib.ExitStack() as stack:
                copy = stack.enter_context(open(temporary, "wb"))
                if packed.suffix == ".gz":
                    source = stack.enter_context(gzip.open(packed))
                else:
                    archive = stack.enter_context(zipfile.ZipFile(packed))
                    source = stack.enter_context(_member(archive, target.name))
                while block := source.read(1 << 20):
                    if copy.tell() + len(block) > most:
                        raise UserError(f"{packed} unpacks to more than {most} bytes; get it again")
                    copy.write(block)
            _remember(target, packed)
    return target


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    for member in archive.namelist():
        if member.rpartition("/")[2] == name:
            return archive.open(member)
    raise UserError(f"{archive.filename} holds no {name}; get it again")


def unpack_tar(
    packed: Path, target: Path, marker: str, most: int, checked: Callable[[], None] = lambda: None
) -> Path:
    """Unpack a tar file; the folder in it that holds what the pattern ``marker`` finds becomes
    ``target``, unless that was done before; other processes wait. What stands there is replaced.

    Links, devices, and members whose path leaves the archive are refused.

    Args:
        most: bytes that it may have. checked: raises where ``packed`` is not what it should be.

    Raises :class:`UserError` for these, for a damaged archive, for more than ``most`` bytes, and
    for one without ``marker``.
    """
    total = 0

    def bounded(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        nonlocal total
        total += member.size
        if total > most:
            raise UserError(f"{packed} unpacks to more than {most} bytes; get it again")
        return tarfile.data_filter(member, folder)

    with locked(target):
        if target.is_dir() and unpacked_from(target) == _identity(packed):
            return target
        checked()
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
            with archive_errors(packed), tarfile.open(packed) as archive:
                archive.extractall(temporary, filter=bounded)
            found = next(Path(temporary).rglob(marker), None)
            if found is None:
                raise UserError(f"{packed} holds no {marker}; get it again")
            if target.is_dir():
                os.replace(target, Path(temporary) / "replaced")
            os.replace(found.parent, target)
            _remember(target, packed)
    return target


# ---- what was unpacked from what ------------------------------------------------------------


def unpacked_from(target: Path) -> dict[str, Any] | None:
    """What is known of the archive that ``target`` was unpacked from; None where it was not
    unpacked here."""
    try:
        return json.loads(_note(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _note(target: Path) -> Path:
    return target.with_name(f".{target.name}.from.json")


def _identity(packed: Path) -> dict[str, Any]:
    about = packed.stat()
    return {"path": str(packed.resolve()), "bytes": about.st_size, "changed": about.st_mtime_ns}


def _remember(target: Path, packed: Path) -> None:
    write_json(_note(target), _identity(packed))
