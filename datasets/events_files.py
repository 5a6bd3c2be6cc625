"""Event files on disk: packed ones are unpacked once, whole or not at all.

Members of archives are written to the place asked for, whatever their own names say.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from common.errors import UserError
from common.files import atomic_path

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


@contextlib.contextmanager
def archive_errors(path: Path) -> Iterator[None]:
    """Damage of the archive at ``path`` met inside the block becomes a :class:`UserError`."""
    try:
        yield
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged or cut off ({reason}); get it again") from error


def unpack_file(packed: Path, target: Path) -> Path:
    """Unpack ``target.zip``, the one file of target's name in it, or ``target.gz`` to ``target``.

    Raises :class:`UserError` for a damaged archive, or a zip file without the one file.
    """
    with archive_errors(packed), atomic_path(target) as temporary, open(temporary, "wb") as copy:
        if packed.suffix == ".gz":
            with gzip.open(packed) as source:
                shutil.copyfileobj(source, copy)
        else:
            with zipfile.ZipFile(packed) as archive, _member(archive, target.name) as source:
                shutil.copyfileobj(source, copy)
    return target


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    for member in archive.namelist():
        if member.rpartition("/")[2] == name:
            return archive.open(member)
    raise UserError(f"{archive.filename} holds no {name}; get it again")


def unpack_tar(packed: Path, target: Path, marker: str) -> Path:
    """Unpack a tar file; the folder in it that holds the file ``marker`` becomes ``target``.

    Links, devices, and members whose path leaves the archive are refused. Raises
    :class:`UserError` for these, for a damaged archive, and for one without ``marker``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        with archive_errors(packed), tarfile.open(packed) as archive:
            archive.extractall(temporary, filter="data")
        found = next(Path(temporary).rglob(marker), None)
        if found is None:
            raise UserError(f"{packed} holds no {marker}; get it again")
        os.replace(found.parent, target)
    return target
