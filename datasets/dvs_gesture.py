"""DVS128 Gesture: 11 gestures of hands and arms before an event camera of 128 x 128 pixels.

Amir et al., *A low power, fully event-based gesture recognition system*, CVPR 2017. A recording
``userNN_LIGHT.aedat`` holds one trial of every gesture after the other; ``userNN_LIGHT_labels.csv``
says which is when, and ``trials_to_train.txt`` and ``trials_to_test.txt`` name the recordings.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError
from common.training import progress
from datasets.choices import DATA_CHOICES, Data, check_choice
from datasets.event_standins_vision import CLASSES, SHAPE, moving_shapes
from datasets.events import Events, Recording, pack_events
from datasets.events_aedat import CameraEvents, read_aedat
from datasets.events_files import unpack_tar, unpacked_from
from datasets.real import (
    SPLITS,
    AbsentError,
    RemoteFile,
    check,
    data_folder,
    find_file,
    folders,
    place,
    unless_embedded,
)

_STAND_IN = "using moving bars and discs instead of DVS128 Gesture"
_PAGE = "https://research.ibm.com/interactive/dvsgesture/"
_PACKED, _UNPACKED = 4_000_000_000, 40_000_000_000  # bytes at most
_ARCHIVE = RemoteFile(
    "dvs_gesture/DvsGesture.tar.gz",
    "md5:8a5c71fb11e24e5ca5b11866ca6c00a1",
    ("https://www.dropbox.com/s/cct5kyilhtsliup/DvsGesture.tar.gz?dl=1",),
    page=_PAGE,
    most=_PACKED,
)
_CUT = {
    split: RemoteFile(
        f"dvs_gesture/ibmGesture{split.title()}.tar.gz",
        f"md5:{md5}",
        tuple(
            home + number
            for home in (
                "https://api.figshare.com/v2/file/download/",
                "https://ndownloader.figshare.com/files/",
            )
        ),
        page=_PAGE,
        most=_PACKED,
    )
    for split, md5, number in (
        ("train", "3a8f0d4120a166bac7591f77409cb105", "38022171"),
        ("test", "56070e45dadaa85fff82e0fbfbc06de5", "38020584"),
    )
}
_FOLDERS = ("dvs_gesture", "dvs_gesture/DvsGesture")
_CUT_FOLDERS = ("dvs_gesture", "dvs_gesture/DVSGesture", "DVSGesture")  # the last are Tonic's
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

    Taken from ``$SNN_DATA`` or ``datasets/files/``, in this order: the unpacked files in
    ``dvs_gesture/`` or ``dvs_gesture/DvsGesture/``; the cut form, see :func:`read_cut`, in the
    folders ``ibmGestureTrain`` and ``ibmGestureTest`` of ``dvs_gesture/`` or where Tonic puts them;
    the archives of either. Else the cut form is downloaded, else the other.
    ``data="embedded"``: bars and discs that move in 11 directions, see
    :func:`datasets.event_standins_vision.moving_shapes`. ``"auto"``: the data set where it can be
    had, else that stand-in, with a warning in the log. ``source`` says which.
    Raises :class:`datasets.real.AbsentError` for ``"real"`` when the files are neither there nor to
    be downloaded, and :class:`UserError` for files that are there and damaged.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    found = unless_embedded(dvs_gesture_files, data, _STAND_IN)
    if found is None:
        return moving_shapes(split)
    return found.read(split)


class Form(NamedTuple):
    """One of the forms of the data set. ``path``: what holds it, by split; ``read``: a split."""

    path: dict[str, Path]
    read: Callable[[str], Events]


def dvs_gesture_files() -> Form:
    """The form of the data set that is there, packed or not, or was downloaded just now.

    Raises :class:`AbsentError` when there is none, and :class:`UserError` when files of one are
    missing.
    """
    for find in (_aedat_folder, _cut_folders, _aedat_archive, _cut_archives):
        if form := find():
            return form
    try:
        return _packed_cut({split: place(file) for split, file in _CUT.items()})
    except AbsentError as error:
        try:
            return _packed_aedat(place(_ARCHIVE))
        except AbsentError:
            raise AbsentError(f"neither {_ARCHIVE.path} nor {error}") from None


def _aedat_folder() -> Form | None:
    for base in folders():
        for name in _FOLDERS:
            folder = base / name
            if not any((folder / name).is_file() for name in _LISTS.values()):
                continue
            missing = [path for path in _recordings(folder) if not path.is_file()]
            if missing and _aedat_archive() and folder == data_folder() / _FOLDERS[1]:
                return None  # half unpacked: unpacked anew
            if missing:
                raise UserError(f"{missing[0]} is missing; unpack the archive again")
            if not unpacked_from(folder) or not _aedat_archive():
                return Form(dict.fromkeys(SPLITS, folder), partial(read_dvs_gesture, folder))
    return None


def _recordings(folder: Path) -> list[Path]:
    """All files that the lists of training and test name."""
    names = [name for split in SPLITS for name in _text(folder / _LISTS[split]).split()]
    paths = [folder / Path(name).name for name in names]
    return paths + [path.with_name(f"{path.stem}_labels.csv") for path in paths]


def _cut_folders() -> Form | None:
    for base in folders():
        for name in _CUT_FOLDERS:
            found = {split: base / name / f"ibmGesture{split.title()}" for split in SPLITS}
            if not all(any(path.glob("user*/*.npy")) for path in found.values()):
                continue
            if not (all(map(unpacked_from, found.values())) and _cut_archives()):
                return Form(found, lambda split, found=found: read_cut(found[split]))
    return None


def _aedat_archive() -> Form | None:
    found = find_file(_ARCHIVE.path)
    return _packed_aedat(found) if found else None


def _cut_archives() -> Form | None:
    found = {split: find_file(file.path) for split, file in _CUT.items()}
    return _packed_cut(found) if all(found.values()) else None


def _packed_aedat(archive: Path) -> Form:
    def read(split: str) -> Events:
        target = data_folder() / _FOLDERS[1]
        unpack_tar(archive, target, _LISTS["train"], _UNPACKED, lambda: check(archive, _ARCHIVE))
        return read_dvs_gesture(target, split)

    return Form(dict.fromkeys(SPLITS, archive), read)


def _packed_cut(archives: dict[str, Path]) -> Form:
    def read(split: str) -> Events:
        archive = archives[split]
        target = data_folder() / _CUT_FOLDERS[0] / f"ibmGesture{split.title()}"
        unpack_tar(archive, target, "user*", _UNPACKED, lambda: check(archive, _CUT[split]))
        return read_cut(target)

    return Form(archives, read)


def read_cut(folder: Path) -> Events:
    """The trials in ``userNN_LIGHT/LABEL.npy`` of a folder, as the loader of the library Tonic has
    them: arrays (events, 4) of x, y, polarity and time in milliseconds.

    A trial begins with its first event. Raises :class:`UserError` for files that are damaged, and
    for labels and addresses out of range.
    """

    def recordings() -> Iterator[Recording]:
        paths = sorted(folder.glob("user*/*.npy"), key=lambda p: (p.parent.name, len(p.name), p))
        for path in progress(paths, desc="DVS128 Gesture", unit="trial"):
            yield _cut_trial(path)

    return pack_events(recordings(), SHAPE, CLASSES, "DVS128 Gesture (cut)")


def _cut_trial(path: Path) -> Recording:
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise UserError(f"{path} is damaged or cut off ({error}); get it again") from None
    if not path.stem.isdecimal() or table.ndim != 2 or table.shape[1] != 4 or not len(table):
        raise UserError(f"{path} is no LABEL.npy of events (x, y, polarity, time); get it again")
    if table.dtype.kind not in "iuf" or not np.isfinite(table).all():
        raise UserError(f"{path}: not all events are numbers; get it again")
    x, y, polarity = table[:, :3].astype(np.int64).T
    for values, limit in ((x, SHAPE[2]), (y, SHAPE[1]), (polarity, SHAPE[0])):
        if values.min() < 0 or values.max() >= limit:
            raise UserError(f"{path}: an event lies outside of {SHAPE[2]} x {SHAPE[1]} pixels")
    times = np.floor(table[:, 3].astype(np.float64) * 1000).astype(np.int64)
    times -= times.min()
    order = np.argsort(times, kind="stable")
    addresses = np.ravel_multi_index((polarity, y, x), SHAPE)[order]
    return Recording(times[order], addresses, int(times.max()) + 1, int(path.stem), str(path))


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
