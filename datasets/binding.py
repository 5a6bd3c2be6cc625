"""Reading the binding datasets (made by ``datasets.generate``) as torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import h5py
import numpy as np
import torch

from common.errors import UserError
from datasets import hdf5
from datasets.catalogue import check_groups, find
from datasets.choices import check_choice
from datasets.hdf5 import path_of

Split = Literal["all", "train", "validation"]
Indices = Sequence[int] | np.ndarray | torch.Tensor


class Images(NamedTuple):
    """``images`` (N, H, W) float32 of 0 and 1; ``groups`` (N, H, W) uint8: 1..K the objects, 0
    background or overlap. Sequences are (N, T, H, W)."""

    images: torch.Tensor
    groups: torch.Tensor


def source_of(name: str, folder: str | Path | None = None) -> str:
    """The digits a file was made from: "MNIST", "MNIST, 5 000 images", or "none"."""
    return hdf5.read_info(path_of(name, folder)).data


def split_range(count: int, split: Split) -> range:
    """Indices of a split of ``count`` images (those that the file holds): validation is the last
    10 %, train what comes before."""
    border = count - count // 10
    parts = {
        "all": range(count),
        "train": range(border),
        "validation": range(border, count),
    }
    check_choice("split", split, parts)
    return parts[split]


def group_size(
    name: str, group: str, split: Split = "all", folder: str | Path | None = None
) -> int:
    """Number of images (sequences) that the file holds in a group's split.

    Raises :class:`UserError` for an unknown dataset, group or split, and for a missing, damaged
    or unfinished file.
    """
    return len(_range(name, group, split, folder))


def _range(name: str, group: str, split: Split, folder: str | Path | None) -> range:
    path = path_of(name, folder)
    check_groups(find(name), [group])
    counts = hdf5.read_info(path).counts
    if group not in counts:
        raise UserError(
            f"{path} was made without the group {group}; "
            f"make it: python -m datasets.generate {name} --out {path.parent}"
        )
    return split_range(counts[group], split)


def read_group(
    name: str,
    group: str,
    split: Split = "all",
    *,
    start: int = 0,
    count: int | None = None,
    indices: Indices | None = None,
    folder: str | Path | None = None,
) -> Images:
    """Read images ``start`` to ``start + count`` (default: the rest), or those at ``indices`` in
    their order, of a split ("all", "train", "validation" = last 10 %) of a group.

    Only the chunks that hold them are read. Raises :class:`UserError` as :func:`group_size`
    does, for indices outside the split, and for a chunk that does not decompress.
    """
    wanted = _rows(name, group, split, start, count, indices, folder)
    with hdf5.readable(path_of(name, folder)) as file:
        images = _read(file[group]["default"], wanted, np.float32)
        groups = _read(file[group]["groups"], wanted, np.uint8)
    return Images(torch.from_numpy(images), torch.from_numpy(groups))


def read_positions(
    group: str,
    *,
    start: int = 0,
    count: int | None = None,
    indices: Indices | None = None,
    folder: str | Path | None = None,
) -> torch.Tensor:
    """Where the shapes of a group of ``shapes_with_pos`` are: (N, 2) int64, y and x of the upper
    left pixel; arguments and errors as in :func:`read_group`."""
    wanted = _rows("shapes_with_pos", group, "all", start, count, indices, folder)
    with hdf5.readable(path_of("shapes_with_pos", folder)) as file:
        return torch.from_numpy(_read(file[group]["pos"], wanted, np.int64))


def _rows(
    name: str,
    group: str,
    split: Split,
    start: int,
    count: int | None,
    indices: Indices | None,
    folder: str | Path | None,
) -> np.ndarray:
    """Rows (N,) of the file's arrays that are asked for, checked."""
    rows = _range(name, group, split, folder)
    size = len(rows)
    if indices is None:
        wanted = np.arange(start, max(start + 1, size) if count is None else start + count)
    else:
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
    outside = wanted[(wanted < 0) | (wanted >= size)]
    if len(outside):
        raise UserError(
            f"{name}/{group} ({split}) holds images 0 to {size - 1}, {outside[0]} was asked for"
        )
    return wanted + rows.start


def _read(array: h5py.Dataset, wanted: np.ndarray, dtype: type) -> np.ndarray:
    """Rows ``wanted`` (any order, repetitions allowed), each chunk read once."""
    result = np.empty((len(wanted), *array.shape[1:]), dtype=dtype)
    order = np.argsort(wanted, kind="stable")
    borders = np.flatnonzero(np.diff(wanted[order] // array.chunks[0])) + 1
    for places in np.split(order, borders):
        if len(places):
            low, high = wanted[places[0]], wanted[places[-1]]
            result[places] = array[low : high + 1][wanted[places] - low]
    return result


class BindingDataset(torch.utils.data.Dataset):
    """A group's split for a ``DataLoader``, read as needed: item i is (image, groups), (H, W) each.

    ``__getitems__`` reads a whole batch at once, which the ``DataLoader`` uses by itself.
    Arguments and errors are those of :func:`read_group`.
    """

    def __init__(
        self, name: str, group: str, split: Split = "all", folder: str | Path | None = None
    ) -> None:
        self._place = (name, group, split)
        self._folder = folder
        self._size = group_size(name, group, split, folder)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= index < self._size:
            raise IndexError(index)
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        images, groups = read_group(*self._place, indices=indices, folder=self._folder)
        return list(zip(images, groups, strict=True))
