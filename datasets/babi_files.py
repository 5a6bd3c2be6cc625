"""The official files of the bAbI tasks, v1.2: found packed or unpacked, and checked.

A file is looked for unpacked (``babi/tasks_1-20_v1-2/en-10k/...`` or ``babi/en-10k/...``) in
``$SNN_DATA`` and in ``datasets/files/``, then in the archive there, which is downloaded if need be.
Nothing is unpacked: files are read straight from the archive. Every file's checksum is known, so a
damaged file, or one under another's name, is noticed wherever it comes from. Line ends of other
systems (CRLF) are read as well.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

from common.errors import UserError
from common.paths import DATA_FILES
from datasets.choices import check_choice
from datasets.real import SPLITS, RemoteFile, locate

CHECKSUMS = Path(__file__).with_name("babi_checksums.json")
FOLDER = "tasks_1-20_v1-2"
TASKS = {
    1: "single-supporting-fact",
    2: "two-supporting-facts",
    3: "three-supporting-facts",
    4: "two-arg-relations",
    5: "three-arg-relations",
    6: "yes-no-questions",
    7: "counting",
    8: "lists-sets",
    9: "simple-negation",
    10: "indefinite-knowledge",
    11: "basic-coreference",
    12: "conjunction",
    13: "compound-coreference",
    14: "time-reasoning",
    15: "basic-deduction",
    16: "basic-induction",
    17: "positional-reasoning",
    18: "size-reasoning",
    19: "path-finding",
    20: "agents-motivations",
}


_MOST_OF_FILE = 16 * 2**20
_MOST_OF_ARCHIVE = 2**30
"""Bytes, several times what the largest official file and the unpacked official archive hold."""


class _Bounded(gzip.GzipFile):
    """Unpacks no more than an official archive can hold."""

    def read(self, size: int | None = -1) -> bytes:
        if not 0 <= (size if size is not None else -1) <= _MOST_OF_FILE:
            raise UserError(f"{self.name} holds a file that is too large to be of bAbI")
        if self.tell() > _MOST_OF_ARCHIVE:
            raise UserError(f"{self.name} unpacks to more than bAbI can be")
        return super().read(size)


class MissingFileError(UserError):
    """The data are there, but not this file of them."""


def file_name(task: int, split: str, ten_k: bool) -> str:
    """``en-10k/qa1_single-supporting-fact_train.txt``, or in ``en/`` for the small set.

    Raises :class:`UserError` for a task other than 1 to 20.
    """
    check_choice("bAbI task", task, TASKS)
    check_choice("split", split, SPLITS)
    return f"{'en-10k' if ten_k else 'en'}/qa{task}_{TASKS[task]}_{split}.txt"


def read_files(names: Sequence[str]) -> dict[str, str]:
    """The texts of official files by name; see :func:`file_name`.

    Raises :class:`UserError` when the data are neither there nor to be downloaded, or damaged, and
    :class:`MissingFileError` when they lack a file.
    """
    unpacked = {name: path for name in names if (path := _find_unpacked(name))}
    texts = {name: _checked(_read(path), name, path) for name, path in unpacked.items()}
    packed = [name for name in names if name not in texts]
    if not packed:
        return texts
    try:
        archive = locate(ARCHIVE)
    except UserError as error:
        if not unpacked:
            raise
        folder = next(iter(unpacked.values())).parents[1]
        raise MissingFileError(f"{_missing(packed[0], folder)}; {error}") from error
    members = _members(archive, packed)
    for name in packed:
        if name not in members:
            raise MissingFileError(_missing(name, archive))
        texts[name] = _checked(members[name], name, archive)
    return {name: texts[name] for name in names}


def _missing(name: str, where: Path) -> str:
    return (
        f"{name} is missing in {where}, which some copies of the archive lack; put the official "
        f"file at {DATA_FILES / 'babi' / FOLDER / name}, or take another task or --ten_k 0"
    )


def _find_unpacked(name: str) -> Path | None:
    given = os.environ.get("SNN_DATA")
    for base in (*([Path(given)] if given else []), DATA_FILES):
        for path in (base / "babi" / FOLDER / name, base / "babi" / name):
            if path.is_file():
                return path
    return None


def _read(path: Path) -> bytes:
    """A file, unless it is too large to be an official one."""
    if path.stat().st_size > _MOST_OF_FILE:
        raise UserError(f"{path} is too large to be a file of bAbI; put the official one there")
    return path.read_bytes()


def _members(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """The contents of those files that the archive holds, without unpacking anything."""
    found = {}
    try:
        with _Bounded(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./").removeprefix(f"{FOLDER}/")
                if name in names and member.isfile():
                    if member.size > _MOST_OF_FILE:  # a sparse one takes no room in the archive
                        raise UserError(f"{path}: {name} is too large; get the archive again")
                    found[name] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"{path}: not a whole tar.gz file ({error}); get it again") from error
    return found


@functools.cache
def _checksums() -> dict[str, str]:
    """SHA-256 by name; of the file that is in no copy at hand, the hash that Git knows it by."""
    return json.loads(CHECKSUMS.read_text(encoding="utf-8"))


def _hashes(content: bytes) -> tuple[str, str]:
    content = content.replace(b"\r\n", b"\n")
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return hashlib.sha256(content).hexdigest(), f"git blob {blob}"


def _checked(content: bytes, name: str, where: Path) -> str:
    hashes = _hashes(content)
    if _checksums()[name] not in hashes:
        where = where if where.name in name else f"{where}: {name}"
        same = [other for other, known in _checksums().items() if known in hashes]
        what = "is damaged, cut off or another file"
        if same:
            what = f"holds what belongs into {same[0]}"
        elif not content:
            what = "is empty"
        raise UserError(f"{where} {what}; put the official file in its place")
    return content.decode("ascii")


def _same_files(path: Path) -> bool:
    """Whether an archive holds official files alone, however it was packed, though not all."""
    try:
        members = _members(path, _checksums())
    except UserError:
        return False
    return bool(members) and all(_checksums()[n] in _hashes(c) for n, c in members.items())


ARCHIVE = RemoteFile(
    f"babi/{FOLDER}.tar.gz",
    "a205cd4beffb805b4e85c0ea7aa340dbfcb9a0c603032078c76dc2cad1c69c2c",
    (
        "http://www.thespermwhale.com/jaseweston/babi/",
        "https://s3.amazonaws.com/text-datasets/babi_tasks_1-20_v1-2.tar.gz",
    ),
    _same_files,
)
"""The known copy; the official archive differs from it in its bytes, not in its files."""
