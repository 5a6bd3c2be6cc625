"""Every file of every data set absent, cut off, changed in a byte, or packed in another way, under
each of the three values of ``--data``; ``docs/data.md`` has the outcomes as a table.

Small data sets stand in the places of the real ones, with their checksums.
"""

import functools
import gzip
import hashlib
import io
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from test_dvs_gesture import small_set as small_gestures
from test_omniglot import NAMES, scans, zip_of
from test_real import small_mnist
from test_shd import small_file as small_shd
from test_spoken_digits import CLIPS, zipped

from common.errors import UserError
from common.files import sha256_of
from datasets import dvs_gesture, mnist, omniglot, real, shd, spoken_digits
from datasets.real import SPLITS, AbsentError

NOWHERE = ("http://127.0.0.1:9/",)
STAND_IN = "stand-in"


def stand_in(split):
    """In place of those that take seconds to compute."""
    return SimpleNamespace(source=STAND_IN)


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The folder of SNN_DATA; nothing else is there, and no home answers."""
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setenv("SNN_DATA", str(folder))
    monkeypatch.setattr(real, "DATA_FILES", tmp_path / "downloads")
    monkeypatch.setattr(mnist, "_MNIST_HOMES", NOWHERE)
    monkeypatch.setattr(mnist, "_FASHION_HOMES", NOWHERE)
    monkeypatch.setattr(mnist, "embedded_digits", stand_in)
    monkeypatch.setattr(shd, "_HOMES", NOWHERE)
    monkeypatch.setattr(shd, "cochlea_digits", stand_in)
    monkeypatch.setattr(dvs_gesture, "moving_shapes", stand_in)
    monkeypatch.setattr(omniglot, "_embedded", stand_in)
    return folder


def mnist_set(folder, monkeypatch):
    sums = small_mnist(folder)
    monkeypatch.setattr(mnist, "_MNIST_SHA256", sums)
    return mnist.load_mnist, [f"mnist/{what}-ubyte.gz" for what in sums]


def fashion_set(folder, monkeypatch):
    sums = small_mnist(folder)
    (folder / "mnist").rename(folder / "fashion_mnist")
    monkeypatch.setattr(mnist, "_FASHION_SHA256", sums)
    return mnist.load_fashion_mnist, [f"fashion_mnist/{what}-ubyte.gz" for what in sums]


def omniglot_set(folder, monkeypatch):
    drawings = scans()
    parts = [{name: drawings[name] for name in NAMES[:2]}, {NAMES[2]: drawings[NAMES[2]]}]
    for (name, file), part in zip(omniglot._ZIPS.items(), parts, strict=True):
        path = zip_of(folder / file.path, part)
        same = functools.partial(omniglot._is_known, omniglot.content_sha256(path))
        changed = file._replace(sha256=sha256_of(path), same=same, homes=NOWHERE)
        monkeypatch.setitem(omniglot._ZIPS, name, changed)
    for name, file in omniglot._SPLITS.items():
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Runes/character02/rot000\nOgham/character01/rot270\n")
        changed = file._replace(sha256=sha256_of(path), homes=NOWHERE)
        monkeypatch.setitem(omniglot._SPLITS, name, changed)
        monkeypatch.setitem(omniglot.CLASSES, name, 2)
    return omniglot.load_omniglot, [
        file.path for file in (*omniglot._ZIPS.values(), *omniglot._SPLITS.values())
    ]


def fsdd_set(folder, monkeypatch):
    path = zipped(folder / "fsdd/recordings.zip", CLIPS)
    monkeypatch.setattr(spoken_digits, "_CONTENT_SHA256", spoken_digits.content_sha256(path))
    file = spoken_digits._RECORDINGS._replace(sha256=sha256_of(path), homes=NOWHERE)
    monkeypatch.setattr(spoken_digits, "_RECORDINGS", file)
    few = spoken_digits.read_recordings(path, STAND_IN)
    monkeypatch.setattr(spoken_digits, "tones", lambda: few)
    return spoken_digits.load_spoken_digits, ["fsdd/recordings.zip"]


def shd_set(folder, monkeypatch):
    (folder / "shd").mkdir()
    for split in SPLITS:
        content = small_shd(folder / "x.h5").read_bytes()
        path = folder / f"shd/shd_{split}.h5.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"shd_{split}.h5", content)
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(shd._MD5, split, digest)
    (folder / "x.h5").unlink()
    return shd.load_shd, [f"shd/shd_{split}.h5.zip" for split in SPLITS]


def gesture_archive(folder, monkeypatch):
    small_gestures(folder / "DvsGesture")
    path = folder / "dvs_gesture/DvsGesture.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / "DvsGesture", "DvsGesture")
    shutil.rmtree(folder / "DvsGesture")
    described(monkeypatch, path, {})
    return dvs_gesture.load_dvs_gesture, ["dvs_gesture/DvsGesture.tar.gz"]


def gesture_folder(folder, monkeypatch):
    small_gestures(folder / "dvs_gesture/DvsGesture")
    described(monkeypatch, None, {})
    names = ("trials_to_train.txt", "trials_to_test.txt", "user01_led.aedat")
    names += ("user01_led_labels.csv",)
    return dvs_gesture.load_dvs_gesture, [f"dvs_gesture/DvsGesture/{name}" for name in names]


def cut_gestures(folder, name="user01_led"):
    """``name/0.npy`` and ``name/10.npy`` below the folders of both splits."""
    events = np.array([[127, 0, 1, 7.0], [3, 4, 0, 7.25], [5, 127, 1, 12.5]])
    for split in SPLITS:
        place = folder / f"ibmGesture{split.title()}" / name
        place.mkdir(parents=True)
        for label in (0, 10):
            np.save(place / f"{label}.npy", events)


def cut_archives(folder, monkeypatch):
    cut_gestures(folder / "all")
    paths = {}
    (folder / "dvs_gesture").mkdir()
    for split in SPLITS:
        name = f"ibmGesture{split.title()}"
        paths[split] = folder / f"dvs_gesture/{name}.tar.gz"
        with tarfile.open(paths[split], "w:gz") as archive:
            archive.add(folder / "all" / name, name)
    shutil.rmtree(folder / "all")
    described(monkeypatch, None, paths)
    return dvs_gesture.load_dvs_gesture, [str(p.relative_to(folder)) for p in paths.values()]


def described(monkeypatch, aedat, cut):
    """Archives of DVS128 Gesture with their checksums."""

    def changed(file, path):
        md5 = hashlib.md5(path.read_bytes()).hexdigest() if path else "none"
        return file._replace(sha256=f"md5:{md5}", homes=NOWHERE)

    monkeypatch.setattr(dvs_gesture, "_ARCHIVE", changed(dvs_gesture._ARCHIVE, aedat))
    files = {split: changed(file, cut.get(split)) for split, file in dvs_gesture._CUT.items()}
    monkeypatch.setattr(dvs_gesture, "_CUT", files)


def packed_differently(path):
    """The same data in other bytes; False where there is no such form."""
    before = path.read_bytes()
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            archive.extractall(path.parent, filter="data")
        path.unlink()
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(gzip.decompress(before), 1, mtime=5))
        assert path.read_bytes() != before
    elif path.name.endswith(".h5.zip"):
        with zipfile.ZipFile(path) as archive:
            path.with_suffix(".gz").write_bytes(gzip.compress(archive.read(path.stem)))
        path.unlink()
    elif path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(before)) as old, zipfile.ZipFile(path, "w") as new:
            for name in reversed(old.namelist()):
                new.writestr(name, old.read(name))
        assert path.read_bytes() != before
    else:
        return False
    return True


def outcome(load, data):
    """What both splits are, or how they fail: the source, "absent", "damaged"."""
    found = []
    for split in SPLITS:
        try:
            found.append(load(split, data).source)
        except AbsentError:
            found.append("absent")
        except UserError as error:
            assert str(error).count("\n") == 0
            found.append("damaged")
    return found


SETS = {
    "MNIST": mnist_set,
    "Fashion-MNIST": fashion_set,
    "Omniglot": omniglot_set,
    "FSDD v1.0.10": fsdd_set,
    "Spiking Heidelberg Digits": shd_set,
    "DVS128 Gesture": gesture_archive,
    "DVS128 Gesture (cut)": cut_archives,
}


@pytest.mark.parametrize("name", SETS)
def test_whole_data_sets_are_loaded(name, given, monkeypatch):
    load, _ = SETS[name](given, monkeypatch)
    no_stand_in = name == "Fashion-MNIST"
    for data in ("auto", "real"):
        assert outcome(load, data) == [name, name]
    assert outcome(load, "embedded") == (["absent"] * 2 if no_stand_in else [STAND_IN] * 2)


@pytest.mark.parametrize("name", SETS)
def test_an_absent_file_is_replaced_with_all_others_or_missed(name, given, monkeypatch):
    load, files = SETS[name](given, monkeypatch)
    for file in files:
        whole = (given / file).read_bytes()
        (given / file).unlink()
        assert outcome(load, "real") == ["absent"] * 2, file
        expected = "absent" if name == "Fashion-MNIST" else STAND_IN
        assert outcome(load, "auto") == outcome(load, "embedded") == [expected] * 2, file
        (given / file).write_bytes(whole)
    assert outcome(load, "auto") == [name, name]


@pytest.mark.parametrize("damage", ["cut off", "a byte changed", "empty"])
@pytest.mark.parametrize("name", SETS)
def test_a_damaged_file_stops_auto_too(name, damage, given, monkeypatch):
    load, files = SETS[name](given, monkeypatch)
    # Of archives in parts, which are not read at once, the other split is sound.
    parts = name in ("Spiking Heidelberg Digits", "DVS128 Gesture (cut)")
    for place, file in enumerate(files):
        whole = (given / file).read_bytes()
        middle = len(whole) // 2
        (given / file).write_bytes(
            {
                "cut off": whole[:middle],
                "a byte changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
                "empty": b"",
            }[damage]
        )
        expected = ["damaged"] * 2
        if parts:
            expected[1 - place] = name
        assert outcome(load, "real") == outcome(load, "auto") == expected, file
        stand_in = "absent" if name == "Fashion-MNIST" else STAND_IN
        assert outcome(load, "embedded") == [stand_in] * 2
        (given / file).write_bytes(whole)
    assert outcome(load, "auto") == [name, name]


@pytest.mark.parametrize("name", SETS)
def test_a_file_that_is_packed_differently_is_read(name, given, monkeypatch):
    load, files = SETS[name](given, monkeypatch)
    changed = [file for file in files if packed_differently(given / file)]
    assert changed
    for data in ("auto", "real"):
        assert outcome(load, data) == [name, name]


@pytest.mark.parametrize("name", ["MNIST", "Fashion-MNIST"])
def test_idx_files_may_lie_there_unpacked(name, given, monkeypatch):
    load, files = SETS[name](given, monkeypatch)
    for file in files:
        path = given / file
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert outcome(load, "real") == [name, name]
    path = (given / files[0]).with_suffix("")
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    assert outcome(load, "auto") == ["damaged"] * 2


@pytest.mark.parametrize("name", SETS)
def test_a_folder_that_is_not_there_is_an_error(name, given, monkeypatch):
    load, _ = SETS[name](given, monkeypatch)
    monkeypatch.setenv("SNN_DATA", str(given / "mistyped"))
    for data in ("auto", "real"):
        with pytest.raises(UserError, match="mistyped, which is not a folder; correct it or unset"):
            load("train", data)


def test_files_of_an_unpacked_folder(given, monkeypatch):
    """They have no published checksums, so a changed byte may pass."""
    load, files = gesture_folder(given, monkeypatch)
    assert outcome(load, "real") == ["DVS128 Gesture"] * 2
    for file in files:
        whole = (given / file).read_bytes()
        (given / file).unlink()
        assert outcome(load, "auto") == ["damaged"] * 2, file
        if not file.endswith(".txt"):
            (given / file).write_bytes(whole[:-3])
            assert outcome(load, "auto") == ["damaged"] * 2, file
        (given / file).write_bytes(whole)
    assert outcome(load, "auto") == ["DVS128 Gesture"] * 2


@pytest.mark.parametrize("place", ["dvs_gesture", "dvs_gesture/DVSGesture", "DVSGesture"])
def test_gestures_cut_into_samples(place, given, monkeypatch):
    described(monkeypatch, None, {})
    cut_gestures(given / place)
    events = dvs_gesture.load_dvs_gesture("train", "real")
    assert events.source == "DVS128 Gesture (cut)" and events.labels.tolist() == [0, 10]
    assert events.times.tolist() == [0, 250, 5500] * 2 and events.durations.tolist() == [5501] * 2
    addresses = np.ravel_multi_index(([1, 0, 1], [0, 4, 127], [127, 3, 5]), (2, 128, 128))
    assert events.addresses.tolist() == addresses.tolist() * 2
    path = given / place / "ibmGestureTest/user01_led/10.npy"
    good = np.load(path)
    for wrong in (good[:, :3], good * [np.nan, 1, 1, 1], good + np.array([128, 0, 0, 0]), good[:0]):
        np.save(path, wrong)
        with pytest.raises(UserError, match=r"10\.npy"):
            dvs_gesture.load_dvs_gesture("test", "auto")
    np.save(path, good)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"10\.npy is damaged or cut off"):
        dvs_gesture.load_dvs_gesture("test", "auto")
    path.rename(path.with_name("99.npy"))
    with pytest.raises(UserError):
        dvs_gesture.load_dvs_gesture("test", "auto")
    shutil.rmtree(given / place / "ibmGestureTest")
    assert outcome(dvs_gesture.load_dvs_gesture, "auto") == [STAND_IN] * 2


def test_a_half_unpacked_folder_is_made_anew(given, monkeypatch):
    load, _ = gesture_archive(given, monkeypatch)
    half = real.DATA_FILES / "dvs_gesture/DvsGesture"
    small_gestures(half)
    (half / "user01_led.aedat").unlink()
    assert outcome(load, "real") == ["DVS128 Gesture"] * 2
    assert (half / "user01_led.aedat").is_file()


@pytest.mark.parametrize("name", ["DVS128 Gesture", "DVS128 Gesture (cut)"])
def test_one_unpacks_and_the_others_wait(name, given, monkeypatch):
    load, _ = SETS[name](given, monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load("train", "real").n_recordings, range(4)))
    assert found == [2] * 4
    names = {path.name for path in (real.DATA_FILES / "dvs_gesture").iterdir()}
    assert len(names) == 2 and not any(".lock" in name for name in names)


@pytest.mark.parametrize("name", ["", "n" * 5000, "a/../../b", "/etc/passwd"])
def test_tar_files_with_impossible_names_are_one_sentence(name, given, monkeypatch):
    path = given / "dvs_gesture/DvsGesture.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    described(monkeypatch, path, {})
    assert outcome(dvs_gesture.load_dvs_gesture, "auto") == ["damaged"] * 2
    assert not list(real.DATA_FILES.rglob("*.aedat"))
