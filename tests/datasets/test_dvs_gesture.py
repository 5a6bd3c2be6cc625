import hashlib
import itertools
import struct
import tarfile

import numpy as np
import pytest
import torch

from common.errors import UserError
from datasets import dvs_gesture, event_standins_vision, real
from datasets.dvs_gesture import load_dvs_gesture, read_dvs_gesture, read_trials
from datasets.event_standins_vision import DURATION, moving_shapes
from datasets.events import bin_events
from datasets.events_aedat import read_aedat

HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
LABELS = "class,startTime_usec,endTime_usec\n"


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Nothing there and no home that answers."""
    monkeypatch.delenv("SNN_DATA", raising=False)
    monkeypatch.setattr(real, "DATA_FILES", tmp_path / "downloads")
    nowhere = ("http://127.0.0.1:9/",)
    monkeypatch.setattr(dvs_gesture, "_ARCHIVE", dvs_gesture._ARCHIVE._replace(homes=nowhere))
    cut = {split: file._replace(homes=nowhere) for split, file in dvs_gesture._CUT.items()}
    monkeypatch.setattr(dvs_gesture, "_CUT", cut)


def packet(events, kind=1, size=8, overflow=0):
    """Bytes of a packet of (time, x, y, polarity, valid)."""
    body = b"".join(
        struct.pack("<Ii", x << 17 | y << 2 | polarity << 1 | valid, time)
        for time, x, y, polarity, valid in events
    )
    valid = sum(event[4] for event in events)
    return struct.pack("<hhiiiiii", kind, 1, size, 4, overflow, 500, len(events), valid) + body


def aedat_file(path, *packets):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(HEADER + b"".join(packets))
    return path


FIRST = [(100, 127, 0, 1, 1), (150, 3, 4, 0, 1), (160, 9, 9, 1, 0)]
SECOND = [(200, 5, 127, 1, 1), (299, 6, 7, 0, 1), (300, 8, 8, 0, 1)]
OTHERS = struct.pack("<hhiiiiii", 2, 1, 12, 4, 0, 500, 2, 2) + b"\xff" * 24


def small_set(folder, names=("user01_led",), labels="3,100,200\n11,200,300\n"):
    for name in names:
        aedat_file(folder / f"{name}.aedat", packet(FIRST), OTHERS, packet(SECOND))
        (folder / f"{name}_labels.csv").write_text(LABELS + labels)
    text = "".join(f"{name}.aedat\n" for name in names)
    for split in ("train", "test"):
        (folder / f"trials_to_{split}.txt").write_text(text)
    return folder


# ---- AEDAT ----------------------------------------------------------------------------------


def test_reads_valid_polarity_events_of_all_packets(tmp_path):
    path = aedat_file(tmp_path / "x.aedat", packet(FIRST), OTHERS, packet([]), packet(SECOND))
    events = read_aedat(path)
    assert events.times.tolist() == [100, 150, 200, 299, 300]
    assert events.x.tolist() == [127, 3, 5, 6, 8] and events.y.tolist() == [0, 4, 127, 7, 8]
    assert events.polarity.tolist() == [1, 0, 1, 0, 0]


def test_the_clock_may_overflow_and_coordinates_have_15_bits(tmp_path):
    path = aedat_file(tmp_path / "x.aedat", packet([(7, 32767, 32766, 0, 1)], overflow=2))
    events = read_aedat(path)
    assert events.times.tolist() == [7 + 2 * 2**31]
    assert (events.x[0], events.y[0]) == (32767, 32766)
    assert len(read_aedat(aedat_file(tmp_path / "y.aedat")).times) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an AEDAT 3.1 file"),
        (b"#!AER-DAT2.0\r\n" + HEADER, "is not an AEDAT 3.1 file"),
        (HEADER[:30], "the header does not end"),
        (HEADER + packet(FIRST)[:20], "cut off in the header of a packet"),
        (HEADER + packet(FIRST)[:-1], "is damaged or cut off at byte"),
        (HEADER + packet(FIRST, size=-3), "is damaged or cut off at byte"),
        (HEADER + packet(FIRST, size=6), "polarity events have 6 bytes instead of 8"),
    ],
)
def test_damaged_aedat_files_are_one_sentence(tmp_path, content, message):
    (tmp_path / "x.aedat").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_aedat(tmp_path / "x.aedat")


# ---- the data set ---------------------------------------------------------------------------


def test_recordings_are_cut_into_trials(tmp_path):
    events = read_dvs_gesture(small_set(tmp_path, ("user01_led", "user02_lab")), "train")
    assert events.source == "DVS128 Gesture" and events.n_classes == 11
    assert events.labels.tolist() == [2, 10, 2, 10]
    assert events.offsets.tolist() == [0, 2, 4, 6, 8]  # the event at 300 is in no trial
    assert events.times.tolist() == [0, 50, 0, 99] * 2
    assert events.durations.tolist() == [100] * 4
    counts = bin_events(events, [0, 1], 50, 2, scale=4)
    expected = torch.zeros(2, 2, 2, 32, 32)
    expected[0, 0, 1, 0, 31] = expected[0, 1, 0, 1, 0] = 1  # (polarity, row, column)
    expected[1, 0, 1, 31, 1] = expected[1, 1, 0, 1, 1] = 1
    assert torch.equal(counts, expected)


def test_events_out_of_order_are_cut_all_the_same(tmp_path):
    folder = small_set(tmp_path)
    straight = read_dvs_gesture(folder, "train")
    aedat_file(folder / "user01_led.aedat", packet(SECOND[::-1]), packet(FIRST))
    assert read_dvs_gesture(folder, "train").times.tolist() == straight.times.tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("12,100,200\n", "trial 1: the label is 11; it must be from 0 to 10"),
        ("0,100,200\n", "the label is -1"),
        ("1,100\n", "line 2: 1,100 is not 3 integers"),
        ("1,x,3\n", "line 2: 1,x,3 is not 3 integers"),
        ("1,100,99\n", "line 2: the trial ends before it begins"),
        ("", "there are no recordings"),
    ],
)
def test_wrong_labels_are_one_sentence(tmp_path, labels, message):
    with pytest.raises(UserError, match=message):
        read_dvs_gesture(small_set(tmp_path, labels=labels), "test")


def test_missing_and_wrong_files_are_one_sentence(tmp_path):
    folder = small_set(tmp_path)
    aedat_file(folder / "user01_led.aedat", packet([(1, 128, 0, 0, 1)]))
    with pytest.raises(UserError, match="lies outside of 128 x 128 pixels"):
        read_dvs_gesture(folder, "test")
    (folder / "user01_led.aedat").unlink()
    with pytest.raises(UserError, match=r"user01_led\.aedat is missing"):
        read_dvs_gesture(folder, "test")
    labels = folder / "user01_led_labels.csv"
    for content, message in ((b"a,b\n", "does not begin with class"), (b"\xff\xfe", "is not text")):
        labels.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_trials(labels)
    labels.write_bytes(b"")
    with pytest.raises(UserError, match="does not begin with class"):
        read_trials(labels)
    labels.unlink()
    with pytest.raises(UserError, match=r"labels\.csv is missing"):
        read_dvs_gesture(folder, "test")


def test_given_files_are_used_packed_or_not(tmp_path, monkeypatch, caplog):
    given = tmp_path / "given/dvs_gesture"
    monkeypatch.setenv("SNN_DATA", str(tmp_path / "given"))
    given.mkdir(parents=True)
    small_set(tmp_path / "DvsGesture")
    archive = given / "DvsGesture.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "DvsGesture", "DvsGesture")
    with pytest.raises(UserError, match=r"MD5 is .* replace it or unset SNN_DATA"):
        load_dvs_gesture("train", "real")
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    described = dvs_gesture._ARCHIVE._replace(sha256=f"md5:{digest}")
    monkeypatch.setattr(dvs_gesture, "_ARCHIVE", described)
    assert load_dvs_gesture("train", "real").n_recordings == 2
    archive.unlink()
    assert load_dvs_gesture("test").source == "DVS128 Gesture"  # what was unpacked is kept
    monkeypatch.setattr(real, "DATA_FILES", tmp_path / "elsewhere")
    small_set(given / "DvsGesture", ("user05_led",))
    assert load_dvs_gesture("test").n_recordings == 2
    (given / "DvsGesture" / "user05_led.aedat").write_bytes(HEADER + b"cut off")
    with pytest.raises(UserError, match="cut off in the header of a packet"):
        load_dvs_gesture("test")
    assert not caplog.text


def test_without_the_files_the_stand_in_says_so(monkeypatch, caplog):
    standin = object()
    monkeypatch.setattr(dvs_gesture, "moving_shapes", lambda split: standin)
    assert load_dvs_gesture("test", "embedded") is standin
    assert "instead of DVS128 Gesture" in caplog.text
    assert load_dvs_gesture("test") is standin
    assert "could not be downloaded" in caplog.text
    with pytest.raises(UserError, match=r"get it from https://research\.ibm\.com.*embedded"):
        load_dvs_gesture("test", "real")


# ---- the stand-in ---------------------------------------------------------------------------


def test_shapes_move_in_the_direction_of_their_class():
    events = moving_shapes("test")
    assert events.n_recordings == 110 and events.shape == (2, 128, 128)
    assert (events.labels.bincount() == 10).all() and events.source == "embedded moving shapes"
    assert (np.diff(events.times)[: events.offsets[1] - 1] >= 0).all()
    assert events.times.max() < DURATION and (events.durations == DURATION).all()
    # Brighter in front, darker behind: the mean way from the latter to the former, over pairs of
    # pixels that are close together, has the direction of the class.
    darker, brighter = bin_events(events, np.arange(22), 10_000, 200, scale=4).unbind(2)
    way = np.zeros(22, complex)
    for row, column in itertools.product(range(-5, 6), repeat=2):
        pairs = (brighter * darker.roll((row, column), (2, 3))).sum((1, 2, 3)).double().numpy()
        way += pairs * (column + 1j * row)
    expected = np.exp(2j * np.pi * events.labels[:22].numpy() / 11)
    assert (way * expected.conj()).real.min() > 0
    assert (np.abs(np.angle(way / expected)) < np.pi / 11).mean() > 0.9


def test_stand_ins_are_the_same_every_time_and_differ_between_splits(monkeypatch):
    monkeypatch.setattr(event_standins_vision, "_PER_CLASS", {"train": 2, "test": 1})
    one, other, train = moving_shapes("test"), moving_shapes("test"), moving_shapes("train")
    np.testing.assert_array_equal(one.times, other.times)
    np.testing.assert_array_equal(one.addresses, other.addresses)
    assert (one.n_recordings, train.n_recordings) == (11, 22)
    assert not np.array_equal(train.times[:1000], one.times[:1000])
