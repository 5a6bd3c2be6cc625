import io
import os
import tarfile

import numpy as np
import pytest

from common.errors import UserError
from datasets import mnist, nmnist, real
from datasets.events import bin_events
from datasets.nmnist import load_nmnist_small, read_nmnist

GIVEN = os.environ.get("SNN_DATA")


@pytest.fixture(autouse=True)
def nothing_there(tmp_path, monkeypatch):
    monkeypatch.delenv("SNN_DATA", raising=False)
    monkeypatch.setattr(real, "DATA_FILES", tmp_path / "downloads")


def event_bytes(*events):
    """Bytes of (x, y, polarity, time)."""
    return b"".join(
        bytes([x, y, polarity << 7 | time >> 16, time >> 8 & 255, time & 255])
        for x, y, polarity, time in events
    )


MEMBERS = {
    "S/1.bs2": event_bytes((33, 0, 1, 0), (2, 33, 0, 0x7FFFFF)),
    "S/2.bs2": event_bytes((5, 6, 0, 70_000)),
    "S/3.bs2": b"",
    "S/train1K.txt": b"#sample #class\n1\t9\n3\t0\n",
    "S/test100.txt": b"#sample #class\n2\t4\n",
}


def archive(path, **changes):
    members = {**MEMBERS, **{f"S/{name}": content for name, content in changes.items()}}
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            if content is not None:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return path


def test_reads_the_events_of_a_split(tmp_path):
    path = archive(tmp_path / "x.tar.gz")
    train, test = read_nmnist(path, "train"), read_nmnist(path, "test")
    assert train.labels.tolist() == [9, 0] and test.labels.tolist() == [4]
    assert train.times.tolist() == [0, 2**23 - 1] and train.offsets.tolist() == [0, 2, 2]
    places = [np.unravel_index(a, train.shape) for a in train.addresses]
    assert places == [(1, 0, 33), (0, 33, 2)]  # polarity, row, column
    assert bin_events(test, [0], 10_000, 8).nonzero().tolist() == [[0, 7, 0, 6, 5]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"1.bs2": MEMBERS["S/1.bs2"][:-1]}, r"1\.bs2 is cut off: 9 bytes"),
        ({"1.bs2": event_bytes((34, 0, 0, 0))}, r"1\.bs2: an event lies outside of 34 x 34"),
        ({"1.bs2": None}, r"holds no 1\.bs2"),
        ({"train1K.txt": None}, r"holds no train1K\.txt"),
        ({"train1K.txt": b"1\t10\n"}, r"1\.bs2: the label is 10; it must be from 0 to 9"),
        ({"train1K.txt": b"1 2 3\n"}, "'1 2 3' is not a number and a label"),
        ({"train1K.txt": b"#\n"}, "there are no recordings"),
    ],
)
def test_wrong_parts_are_one_sentence(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read_nmnist(archive(tmp_path / "x.tar.gz", **changes), "train")


def test_damaged_and_missing_archives_are_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "x.tar.gz"
    for content in (b"text", archive(path).read_bytes()[:-40]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged or cut off"):
            read_nmnist(path, "train")
    with pytest.raises(UserError, match="nobody serves it; get it from the folder"):
        load_nmnist_small("train")
    with pytest.raises(UserError, match="unknown split"):
        load_nmnist_small("validation")
    place = tmp_path / "downloads" / nmnist._FILE.path
    place.parent.mkdir(parents=True)
    archive(place)
    with pytest.raises(UserError, match=r"SHA-256 is .* delete it"):
        load_nmnist_small("train")


@pytest.mark.skipif(not GIVEN, reason="SNN_DATA is not set")
def test_the_real_sample(monkeypatch):
    monkeypatch.setenv("SNN_DATA", GIVEN)
    train, test = load_nmnist_small("train"), load_nmnist_small("test")
    assert (train.n_recordings, len(train.times)) == (1000, 4_133_231)
    assert (test.n_recordings, len(test.times)) == (100, 385_596)
    assert max(train.times.max(), test.times.max()) <= 336_040
    labels = mnist.load_mnist("test", "real").labels[:100]
    assert test.labels.tolist() == labels.tolist()
    counts = bin_events(test, np.arange(100), 5000, 68)
    assert counts.shape == (100, 68, 2, 34, 34) and counts.sum() == len(test.times)
