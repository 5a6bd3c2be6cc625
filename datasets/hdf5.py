"""The files of the binding datasets: written compressed on two threads, whole or not at all.

Each group holds ``default`` and ``groups`` (N, H, W), float32 (sequences (N, T, H, W), uint8),
gzip level 4, 100 images (frames) a chunk; attributes say what the file is, see :class:`FileInfo`.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from common.errors import UserError
from common.files import atomic_path
from datasets import real
from datasets.catalogue import GENERATOR_VERSION, Dataset, find
from datasets.generators import Batch

CHUNK = 100
NO_DIGITS = "none"
_LEVEL = 4
_THREADS = 2
_WAITING = 64  # compressed chunks in memory at most


@dataclass(frozen=True)
class FileInfo:
    """What a file says of itself: ``counts`` images of each group, ``data`` the digits it was
    made from ("MNIST", "MNIST, 5 000 images", "none"; "mixed" or "unknown" where the groups differ
    or do not say), ``version`` of the generator."""

    name: str
    version: int
    data: str
    counts: dict[str, int]


class DamagedError(UserError):
    """A file is damaged, cut off or unfinished."""


def path_of(name: str, folder: str | Path | None = None) -> Path:
    """Where the file of dataset ``name`` lies or will lie (``folder``: default ``datasets/files``,
    or what stands in for it where that cannot be written)."""
    file = f"{find(name).name}.h5"
    if folder:
        return Path(folder) / file
    made, usual = real.data_folder() / file, real.DATA_FILES / file
    return usual if usual.exists() and not made.exists() else made


def remake_command(path: Path) -> str:
    """The command that makes the file at ``path`` again."""
    return f"python -m datasets.generate {path.stem} --out {path.parent} --force"


def read_info(path: str | os.PathLike[str]) -> FileInfo:
    """Read the attributes of a dataset file.

    Raises :class:`UserError` when there is none, and :class:`DamagedError` when it is no HDF5 file,
    cut off or unfinished.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; make it: "
            f"python -m datasets.generate {path.stem} --out {path.parent}"
        )
    with readable(path) as file:
        complete = bool(file.attrs.get("complete", False))
        info = FileInfo(
            str(file.attrs["name"]),
            int(file.attrs["generator_version"]),
            str(file.attrs["data"]),
            json.loads(file.attrs["counts"]),
        )
        if info.data != NO_DIGITS:
            sources = {str(file[group].attrs.get("data", "unknown")) for group in info.counts}
            sources.add(info.data)
            info = replace(info, data="mixed" if len(sources) > 1 else info.data)
        present = all(len(file[group]["groups"]) == n for group, n in info.counts.items())
    if not (complete and present):
        raise DamagedError(f"{path} is not complete; make it again: {remake_command(path)}")
    return info


def take(batches: Iterable[Batch], counts: dict[str, int]) -> Iterator[tuple[int, Batch]]:
    """The first ``counts[group]`` images of each group with the index of the batch's first one;
    stops drawing as soon as nothing more is needed."""
    missing = dict(counts)
    drawn: collections.Counter[str] = collections.Counter()
    for group, arrays in batches:
        first, length = drawn[group], len(arrays["default"])
        drawn[group] += length
        wanted = min(length, missing.get(group, 0))
        if wanted:
            missing[group] -= wanted
            yield first, Batch(group, {name: array[:wanted] for name, array in arrays.items()})
        if not any(missing.values()):
            return


class _Output:
    """One array in the file: hashes what comes, compresses in ``pool``, writes in order."""

    def __init__(self, array: h5py.Dataset, pool: ThreadPoolExecutor) -> None:
        self.array = array
        self._pool = pool
        self._hash = hashlib.sha256()
        self._waiting: collections.deque[tuple[tuple[int, ...], Future[bytes]]] = (
            collections.deque()
        )

    def append(self, first: int, values: np.ndarray) -> None:
        self._hash.update(np.ascontiguousarray(values))
        for offset, part in _parts(first, values, self.array.chunks):
            job = self._pool.submit(_compress, part, self.array.chunks, self.array.dtype)
            self._waiting.append((offset, job))
        self._write(_WAITING)

    def finish(self) -> str:
        self._write(0)
        self.array.attrs["sha256"] = self._hash.hexdigest()
        return self._hash.hexdigest()

    def _write(self, leave: int) -> None:
        while len(self._waiting) > leave:
            offset, job = self._waiting.popleft()
            self.array.id.write_direct_chunk(offset, job.result())


def _parts(
    first: int, values: np.ndarray, chunk: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Cut (n, ...) values that start at index ``first`` into the file's chunks, with offsets."""
    if values.ndim < 4:
        rest = (0,) * (values.ndim - 1)
        for start in range(0, len(values), chunk[0]):
            yield (first + start, *rest), values[start : start + chunk[0]]
        return
    for i, sequence in enumerate(values):
        for start in range(0, len(sequence), chunk[1]):
            yield (first + i, start, 0, 0), sequence[None, start : start + chunk[1]]


def _compress(values: np.ndarray, chunk: tuple[int, ...], dtype: np.dtype) -> bytes:
    whole = np.zeros(chunk, dtype=dtype)
    whole[tuple(slice(n) for n in values.shape)] = values
    return zlib.compress(whole, _LEVEL)


def _create(file: h5py.File, dataset: Dataset, group: str, name: str, count: int) -> h5py.Dataset:
    if name == "pos":
        shape, chunk = (count, 2), (min(CHUNK, count), 2)
    elif len(dataset.item_shape) == 3:
        frames, *image = dataset.item_shape
        shape, chunk = (count, frames, *image), (1, min(CHUNK, frames), *image)
    else:
        shape = (count, *dataset.item_shape)
        chunk = (min(CHUNK, count), *dataset.item_shape)
    return file.create_dataset(
        f"{group}/{name}",
        shape=shape,
        dtype=dataset.dtype,
        chunks=chunk,
        compression="gzip",
        compression_opts=_LEVEL,
    )


@contextlib.contextmanager
def _full_disk_said(path: str | os.PathLike[str]) -> Iterator[None]:
    """HDF5 reports a failed write as OSError or RuntimeError, with the system's errno as text."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if not number:
            raise
        raise UserError(
            f"{path} could not be written ({os.strerror(int(number[1]))}); "
            "free some space or choose another folder with --out"
        ) from error


def write(
    path: str | os.PathLike[str],
    dataset: Dataset,
    counts: dict[str, int],
    batches: Iterable[tuple[int, Batch]],
    data: str,
    expected: dict[str, str],
) -> None:
    """Write batches (from :func:`take`) of ``dataset`` to ``path``, atomically.

    ``counts``: images (sequences) of each group; ``data``: the digits used;
    ``expected``: SHA-256 of arrays "group/array" cast to uint8, as far as known; RuntimeError,
    and no file, when what was generated differs. The file's arrays carry their SHA-256, too.
    """
    with (
        _full_disk_said(path),
        atomic_path(path) as temporary,
        h5py.File(temporary, "w", libver=("v110", "v110")) as file,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        outputs = {
            f"{group}/{name}": _Output(_create(file, dataset, group, name, count), pool)
            for group, count in counts.items()
            for name in dataset.arrays
        }
        for first, batch in batches:
            for name, values in batch.arrays.items():
                outputs[f"{batch.group}/{name}"].append(first, values)
        for name, output in outputs.items():
            found = output.finish()
            if found != expected.get(name, found):
                raise RuntimeError(f"{dataset.name}: {name} differs from the published array")
        for group in counts:
            file[group].attrs["data"] = data
        file.attrs["name"] = dataset.name
        file.attrs["seed"] = dataset.seed
        file.attrs["generator_version"] = GENERATOR_VERSION
        file.attrs["data"] = data
        file.attrs["counts"] = json.dumps(counts)
        file.attrs["complete"] = True


def checksums(path: str | os.PathLike[str]) -> dict[str, tuple[str, str]]:
    """The recorded SHA-256 of each array "group/array" and the one of what can be read now.

    Raises :class:`UserError` when a part cannot be decompressed.
    """
    path = Path(path)
    sums = {}
    with readable(path) as file:
        for group, arrays in file.items():
            for name, array in arrays.items():
                found = hashlib.sha256()
                step = max(array.chunks[0], 1)
                for start in range(0, len(array), step):
                    found.update(array[start : start + step].astype(np.uint8))
                sums[f"{group}/{name}"] = (array.attrs["sha256"], found.hexdigest())
    return sums


@contextlib.contextmanager
def readable(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading, whoever else has it open.

    Damage met inside the block becomes a :class:`DamagedError`, and a file that another program
    writes just now another :class:`UserError`.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (PermissionError, BlockingIOError):
        raise
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "already open" in reason:
            raise UserError(f"{path} is open for writing in another program; close it") from error
        raise DamagedError(
            f"{path} is damaged or cut off ({reason}); make it again: {remake_command(path)}"
        ) from error
