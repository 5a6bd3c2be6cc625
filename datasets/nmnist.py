"""N-MNIST, a small sample: MNIST digits before an event camera that moves (Orchard et al., 2015).

An event takes 5 bytes, most significant bit first: x (8 bits), y (8), polarity (1), time in
microseconds (23).
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from common.errors import UserError
from datasets.choices import check_choice
from datasets.events import Events, Recording, pack_events
from datasets.events_files import archive_errors
from datasets.real import SPLITS, RemoteFile, locate

SIDE = 34  # pixels
SHAPE = (2, SIDE, SIDE)
CLASSES = 10

_FILE = RemoteFile(
    "nmnist_small/NMNISTsmall.tar.gz",
    "ae6faaae73f84ccf90aa5d3ad2f6a84c5c428df36822c2ea36bfb94de37482eb",
    (),
    page="the folder NMNISTsmall of github.com/bamsumit/slayerPytorch",
)
_LISTS = {"train": "train1K.txt", "test": "test100.txt"}
_EVENT_BYTES = 5


def load_nmnist_small(split: str) -> Events:
    """The first 1 000 "train" or the first 100 "test" recordings, 34 x 34 pixels, 0.3 s each.

    Raises :class:`UserError` when the archive is not there or damaged.
    """
    check_choice("split", split, SPLITS)
    return read_nmnist(locate(_FILE), split)


def read_nmnist(path: Path, split: str) -> Events:
    """The recordings that a tar file's list of the split names.

    Raises :class:`UserError` for a file that is damaged or lacks a part, and for labels and
    addresses out of range.
    """
    members = _members(path)
    lines = _member(members, _LISTS[split], path).decode("ascii", "replace").splitlines()

    def recordings():
        for line in lines:
            if line.strip() and not line.startswith("#"):
                number, label = _numbers(line, path, split)
                content = _member(members, f"{number}.bs2", path)
                yield _recording(content, label, f"{path}, {number}.bs2")

    return pack_events(recordings(), SHAPE, CLASSES, "N-MNIST (small sample)")


def _members(path: Path) -> dict[str, bytes]:
    """Bytes of the files in a tar file by name without folders, read in one pass."""
    with archive_errors(path), tarfile.open(path) as archive:
        return {
            member.name.rpartition("/")[2]: archive.extractfile(member).read()
            for member in archive
            if member.isfile()
        }


def _member(members: dict[str, bytes], name: str, path: Path) -> bytes:
    if name not in members:
        raise UserError(f"{path} holds no {name}; get it again")
    return members[name]


def _numbers(line: str, path: Path, split: str) -> tuple[int, int]:
    try:
        number, label = map(int, line.split())
    except ValueError:
        raise UserError(f"{path}, {_LISTS[split]}: {line!r} is not a number and a label") from None
    return number, label


def _recording(content: bytes, label: int, name: str) -> Recording:
    if len(content) % _EVENT_BYTES:
        raise UserError(f"{name} is cut off: {len(content)} bytes are not whole events of 5 bytes")
    table = np.frombuffer(content, np.uint8).reshape(-1, _EVENT_BYTES).astype(np.int64)
    column, row, third, fourth, fifth = table.T
    if max(column.max(initial=0), row.max(initial=0)) >= SIDE:
        raise UserError(f"{name}: an event lies outside of {SIDE} x {SIDE} pixels")
    times = (third & 0x7F) << 16 | fourth << 8 | fifth
    addresses = np.ravel_multi_index((third >> 7, row, column), SHAPE)
    return Recording(times, addresses, int(times.max(initial=-1)) + 1, label, name)
