"""DVS128 Gesture: 11 gestures of hands and arms before an event camera of 128 x 128 pixels.

Amir et al., *A low power, fully event-based gesture recognition system*, CVPR 2017. A recording
``userNN_LIGHT.aedat`` holds one trial of every gesture after the other; ``userNN_LIGHT_labels.csv``
says which is when, and ``trials_to_train.txt`` and ``trials_to_test.txt`` name the recordings.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError
from common.paths import DATA_FILES
from common.training import progress
from datasets.choices import DATA_CHOICES, Data, check_choice
from datasets.event_standins_vision import CLASSES, SHAPE, moving_shapes
from datasets.events import Events, Recording, pack_events
from datasets.events_aedat import CameraEvents, read_aedat
from datasets.events_files import unpack_tar
from datasets.real import SPLITS, RemoteFile, find_file, locate, unless_embedded

_STAND_IN = "using moving bars and discs instead of DVS128 Gesture"
_ARCHIVE = RemoteFile(
    "dvs_gesture/DvsGesture.tar.gz",
    "md5:8a5c71fb11e24e5ca5b11866ca6c00a1",
    ("https://www.dropbox.com/s/cct5kyilhtsliup/DvsGesture.tar.gz?dl=1",),
    page="https://research.ibm.com/interactive/dvsgesture/",
)
_FOLDERS = ("dvs_gesture", "dvs_gesture/DvsGesture")
_LISTS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
_COLUMNS = ["class", "startTime_usec", "endTime_usec"]


class Trial(NamedTuple):
    """One line of a label file: a gesture from 0 and when it begins and ends, in microseconds of
    the camera's clock."""

    label: int
    start: int
    end: int


def load_dvs_gesture(split: str, data: Data = "auto") -> Events:
    """DVS128 Gesture: 1 176 "train" and 288 "test" trials, (2, 128, 128), 11 classes.

    The unpacked files, in ``dvs_gesture/`` or ``dvs_gesture/DvsGesture/``, or the archive
    ``dvs_gesture/DvsGesture.tar.gz``, are taken from ``$SNN_DATA`` or ``datasets/files/``, else
    downloaded. ``data="embedded"``: bars and discs that move in 11 directions, see
    :func:`datasets.event_standins_vision.moving_shapes`. ``"auto"``: the data set where it can be
    had, else that stand-in, with a warning in the log. ``source`` says which.
    Raises :class:`UserError` for ``"real"`` when the files are neither there nor to be downloaded,
    and for files that are there and damaged.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    found = unless_embedded(_folder, data, _STAND_IN)
    return moving_shapes(split) if found is None else read_dvs_gesture(found, split)


def _folder() -> Path:
    """The folder of the unpacked files, unpacked or downloaded if need be."""
    for folder in _FOLDERS:
        found = find_file(f"{folder}/{_LISTS['train']}")
        if found:
            return found.parent
    return unpack_tar(locate(_ARCHIVE, DATA_FILES), DATA_FILES / _FOLDERS[1], _LISTS["train"])


def read_dvs_gesture(folder: Path, split: str) -> Events:
    """The trials of all recordings that the split's list names.

    Raises :class:`UserError` for files that are missing or damaged, and for labels and addresses
    out of range.
    """
    names = _text(folder / _LISTS[split]).split()

    def recordings() -> Iterator[Recording]:
        for name in progress(names, desc="DVS128 Gesture", unit="file"):
            path = folder / Path(name).name
            trials = read_trials(path.with_name(f"{path.stem}_labels.csv"))
            yield from cut_trials(_camera_events(path), trials, str(path))

    return pack_events(recordings(), SHAPE, CLASSES, "DVS128 Gesture")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else "is not text"
        raise UserError(f"{path} {what}; unpack the archive again") from None


def _camera_events(path: Path) -> CameraEvents:
    if not path.is_file():
        raise UserError(f"{path} is missing; unpack the archive again")
    events = read_aedat(path)
    if max(events.x.max(initial=0), events.y.max(initial=0)) >= SHAPE[-1]:
        raise UserError(f"{path}: an event lies outside of {SHAPE[-1]} x {SHAPE[-1]} pixels")
    return events


def read_trials(path: Path) -> list[Trial]:
    """The lines of a label file; its gestures are counted from 1.

    Raises :class:`UserError` for a file that is missing or not such a table.
    """
    header, *rows = csv.reader(_text(path).splitlines() or [""])
    if [name.strip() for name in header] != _COLUMNS:
        raise UserError(f"{path} does not begin with {','.join(_COLUMNS)}; get it again")
    trials = []
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        try:
            label, start, end = map(int, row)
        except ValueError:
            raise UserError(f"{path}, line {number}: {','.join(row)} is not 3 integers") from None
        if end < start:
            raise UserError(f"{path}, line {number}: the trial ends before it begins")
        trials.append(Trial(label - 1, start, end))
    return trials


def cut_trials(events: CameraEvents, trials: list[Trial], name: str) -> Iterator[Recording]:
    """The trials of one recording: events from the trial's start to before its end."""
    order = np.argsort(events.times, kind="stable")
    times = events.times[order]
    addresses = np.ravel_multi_index((events.polarity, events.y, events.x), SHAPE)[order]
    for number, (label, start, end) in enumerate(trials, 1):
        first, last = np.searchsorted(times, (start, end))
        part = slice(first, last)
        where = f"{name}, trial {number}"
        yield Recording(times[part] - start, addresses[part], end - start, label, where)
