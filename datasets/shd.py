"""Spiking Heidelberg Digits: spoken digits as spikes of 700 channels of a cochlea.

Cramer, Stradmann, Schemmel, Zenke, *The Heidelberg spiking data sets*, 2020.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from common.errors import UserError
from datasets.choices import DATA_CHOICES, Data, check_choice
from datasets.event_standins_audio import CHANNELS, cochlea_digits
from datasets.events import Events, Recording, pack_events
from datasets.events_files import unpack_file, unpacked_from
from datasets.real import (
    SPLITS,
    RemoteFile,
    check,
    data_folder,
    folders,
    place,
    unless_embedded,
)

CLASSES = 20
"""The digits 0 to 9 in German and in English."""

_STAND_IN = "using a cochlea model of spoken digits instead of the Spiking Heidelberg Digits"
_HOMES = ("https://zenkelab.org/datasets/", "https://compneuro.net/datasets/")
_MD5 = {"train": "f3252aeb598ac776c1b526422d90eecb", "test": "1503a5064faa34311c398fb0a1ed0a6f"}
_MOST = 2_000_000_000  # bytes of a file, packed or not
_RECORDINGS = 100_000  # at most; there are 8 156 and 2 264
_PAGE = "https://zenkelab.org/datasets/"


def load_shd(split: str, data: Data = "auto") -> Events:
    """Spiking Heidelberg Digits: 8 156 "train" and 2 264 "test" recordings, 700 channels, 20
    classes.

    The files ``shd/shd_train.h5`` and ``shd/shd_test.h5``, also packed as ``.h5.zip`` or
    ``.h5.gz``, are taken from ``$SNN_DATA`` or ``datasets/files/``, else downloaded.
    ``data="embedded"``: a cochlea model that listens to spoken digits, 10 classes, see
    :func:`datasets.event_standins_audio.cochlea_digits`. ``"auto"``: the data set where it can be
    had, else that stand-in, with a warning in the log. ``source`` says which.
    Raises :class:`datasets.real.AbsentError` for ``"real"`` when the files of both splits are
    neither there nor to be downloaded, and :class:`UserError` for one that is there and damaged.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    found = unless_embedded(shd_files, data, _STAND_IN)
    return cochlea_digits(split) if found is None else read_shd(_unpacked(found[split], split))


def shd_files() -> dict[str, Path]:
    """The files of training and test, packed or not, unchecked; raises as ``real.place``."""
    return {split: _place(split) for split in SPLITS}


def _file(split: str) -> RemoteFile:
    name = f"shd/shd_{split}.h5.zip"
    return RemoteFile(name, f"md5:{_MD5[split]}", _HOMES, page=_PAGE, most=_MOST)


def _place(split: str) -> Path:
    """The file of a split, unpacked or packed, in the first folder that has it. A copy that was
    unpacked here comes last: the archive may have been replaced since."""
    names = [f"shd/shd_{split}.h5{suffix}" for suffix in ("", ".gz", ".zip")]
    there = [folder / name for folder in folders() for name in names]
    there = sorted(filter(Path.is_file, there), key=lambda path: unpacked_from(path) is not None)
    return there[0] if there else place(_file(split))


def _unpacked(found: Path, split: str) -> Path:
    """The HDF5 file, unpacked if need be; raises :class:`UserError` for a damaged archive."""
    if found.suffix == ".h5":
        return found

    def checked() -> None:
        if found.suffix == ".zip":
            check(found, _file(split))

    return unpack_file(found, data_folder() / f"shd/shd_{split}.h5", _MOST, checked)


def read_shd(path: Path) -> Events:
    """The recordings of an HDF5 file: ``spikes/times`` in seconds and ``spikes/units``, one array
    a recording, and ``labels``.

    A recording's duration is that until its last spike. Raises :class:`UserError` for a file that
    is damaged or lacks a part, and for labels, channels and times out of range.
    """
    try:
        with h5py.File(path, "r") as file:
            arrays = file["spikes/times"], file["spikes/units"], file["labels"]
            if max(array.size for array in arrays) > _RECORDINGS:
                raise UserError(f"{path} holds more than {_RECORDINGS} recordings; get it again")
            times, units, labels = (array[:] for array in arrays)
            labels = np.asarray(labels).astype(np.int64)
            if labels.shape == (len(labels), 1):
                labels = labels[:, 0]
    except (PermissionError, FileNotFoundError):
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged or no SHD file ({reason}); get it again") from error
    if labels.ndim != 1:
        raise UserError(f"{path}: labels have the shape {labels.shape}; get it again")
    if not len(times) == len(units) == len(labels):
        counts = f"{len(times)} times, {len(units)} units and {len(labels)} labels"
        raise UserError(f"{path} holds {counts}; get it again")
    recordings = (
        _recording(*values, f"{path}, recording {number}")
        for number, values in enumerate(zip(times, units, labels, strict=True))
    )
    return pack_events(recordings, (CHANNELS,), CLASSES, "Spiking Heidelberg Digits")


def _recording(times: np.ndarray, units: np.ndarray, label: int, name: str) -> Recording:
    """From times in seconds; rounding down to microseconds leaves every bin as it is."""
    seconds = np.asarray(times, dtype=np.float64)
    if not np.isfinite(seconds).all():
        raise UserError(f"{name}: a spike has no finite time; get the file again")
    microseconds = np.floor(seconds * 1e6).astype(np.int64)
    duration = int(microseconds.max(initial=-1)) + 1
    return Recording(microseconds, np.asarray(units), duration, int(label), name)
