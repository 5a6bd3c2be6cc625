import gzip
import hashlib
import zipfile

import h5py
import numpy as np
import pytest

from common.errors import UserError
from datasets import event_standins_audio, real, shd
from datasets.event_standins_audio import band_powers, center_frequencies, cochlea_spikes
from datasets.events import bin_events
from datasets.shd import load_shd, read_shd

NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Nothing there and no home that answers."""
    monkeypatch.delenv("SNN_DATA", raising=False)
    monkeypatch.setattr(real, "DATA_FILES", tmp_path / "downloads")
    monkeypatch.setattr(shd, "_HOMES", (NOWHERE,))


def shd_file(path, times, units, labels):
    """As the data set's: float16 seconds and uint16 channels of variable length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values, kind in (("times", times, np.float16), ("units", units, np.uint16)):
            array = file.create_dataset(f"spikes/{name}", (len(values),), h5py.vlen_dtype(kind))
            for i, value in enumerate(values):
                array[i] = np.asarray(value, kind)
        file["labels"] = np.asarray(labels, np.uint16)
        file["extra/speaker"] = np.zeros(len(labels), np.uint16)
    return path


TIMES = [[0.0, 0.25, 0.375, 1.0], [], [0.001, 0.5]]
UNITS = [[0, 699, 5, 5], [], [17, 18]]


def small_file(path):
    return shd_file(path, TIMES, UNITS, [0, 19, 7])


def test_reads_spikes_of_variable_number(tmp_path):
    events = read_shd(small_file(tmp_path / "x.h5"))
    assert events.source == "Spiking Heidelberg Digits" and events.n_classes == 20
    assert events.shape == (700,) and events.labels.tolist() == [0, 19, 7]
    assert events.offsets.tolist() == [0, 4, 4, 6]
    assert events.addresses.tolist() == [0, 699, 5, 5, 17, 18]
    assert events.times[:4].tolist() == [0, 250_000, 375_000, 1_000_000]
    assert events.durations.tolist() == [1_000_001, 0, 500_001]


def test_bins_are_those_of_the_times_in_seconds(tmp_path):
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, 1.2, 3000)).astype(np.float16)
    units = rng.integers(0, 700, 3000)
    events = read_shd(shd_file(tmp_path / "x.h5", [times], [units], [3]))
    # 3 ms are no binary fraction: the exact bin is that of whole microseconds or finer.
    ratios = [float(t).as_integer_ratio() for t in times]
    exact = [numerator * 1000 // (3 * denominator) for numerator, denominator in ratios]
    expected = np.zeros((333, 700))
    for t, unit in zip(exact, units, strict=True):
        if t < 333:
            expected[t, unit] += 1
    np.testing.assert_array_equal(bin_events(events, [0], 3000, 333)[0].numpy(), expected)


@pytest.mark.parametrize(
    ("times", "units", "labels", "message"),
    [
        (TIMES, UNITS, [0, 20, 7], "recording 1: the label is 20; it must be from 0 to 19"),
        (TIMES, [[0, 700, 5, 5], [], [1, 2]], [0, 1, 2], "address 700, not 0 to 699"),
        ([[0.1, -0.5, 0.2, 0.3], [], [0, 0]], UNITS, [0, 1, 2], "recording 0: .* time -500000"),
        ([[0.1, np.nan, 0, 0], [], [0, 0]], UNITS, [0, 1, 2], "a spike has no finite time"),
        ([[0.1], [], [0, 0]], UNITS, [0, 1, 2], "1 times but 4 addresses"),
        (TIMES, UNITS, [0, 1], "3 times, 3 units and 2 labels"),
        ([], [], [], "there are no recordings"),
    ],
)
def test_what_is_out_of_range_is_one_sentence(tmp_path, times, units, labels, message):
    path = shd_file(tmp_path / "x.h5", times, units, labels)
    with pytest.raises(UserError, match=message):
        read_shd(path)


def test_damaged_files_are_one_sentence(tmp_path):
    path = small_file(tmp_path / "x.h5")
    whole = path.read_bytes()
    for broken in (b"", b"no HDF5", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match="is damaged or no SHD file"):
            read_shd(path)
    with h5py.File(path, "w") as file:
        file["labels"] = np.zeros(3)
    with pytest.raises(UserError, match="is damaged or no SHD file"):
        read_shd(path)


def test_given_files_are_used_packed_or_not(tmp_path, monkeypatch, caplog):
    standin = object()
    monkeypatch.setattr(shd, "cochlea_digits", lambda split: standin)
    monkeypatch.setenv("SNN_DATA", str(tmp_path / "given"))
    content = small_file(tmp_path / "shd_train.h5").read_bytes()
    folder = tmp_path / "given/shd"
    folder.mkdir(parents=True)
    packed = folder / "shd_train.h5.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("shd_train.h5", content)
    assert load_shd("train", "auto") is standin, "the test file is absent"
    small_file(folder / "shd_test.h5")
    with pytest.raises(UserError, match=r"MD5 is .* replace it or unset SNN_DATA"):
        load_shd("train", "real")
    digest = hashlib.md5(packed.read_bytes()).hexdigest()
    monkeypatch.setitem(shd._MD5, "train", digest)
    caplog.clear()
    assert load_shd("train", "real").labels.tolist() == [0, 19, 7]
    unpacked = tmp_path / "downloads/shd/shd_train.h5"
    assert unpacked.read_bytes() == content
    made = unpacked.stat().st_mtime_ns
    assert load_shd("train", "real").n_recordings == 3 and unpacked.stat().st_mtime_ns == made
    packed.unlink()
    assert load_shd("train", "real").n_recordings == 3  # what was unpacked is kept
    # A newer archive is unpacked anew.
    newer = shd_file(tmp_path / "new.h5", TIMES, UNITS, [[1], [2], [3]]).read_bytes()
    (folder / "shd_train.h5.gz").write_bytes(gzip.compress(newer))
    events = load_shd("train")
    assert events.source == "Spiking Heidelberg Digits" and events.labels.tolist() == [1, 2, 3]
    assert load_shd("test").n_recordings == 3
    (folder / "shd_test.h5").write_bytes(content[:900])
    with pytest.raises(UserError, match="is damaged or no SHD file"):
        load_shd("test")
    (folder / "shd_train.h5.gz").write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(UserError, match=r"shd_train\.h5\.gz is damaged or cut off"):
        load_shd("train")
    assert not caplog.text


def test_an_old_unpacked_copy_gives_way_to_an_archive_that_was_given(tmp_path, monkeypatch):
    small_file(tmp_path / "downloads/shd/shd_train.h5")
    small_file(tmp_path / "downloads/shd/shd_test.h5")
    assert load_shd("train").labels.tolist() == [0, 19, 7]
    monkeypatch.setenv("SNN_DATA", str(tmp_path / "given"))
    newer = shd_file(tmp_path / "new.h5", TIMES, UNITS, [1, 2, 3]).read_bytes()
    (tmp_path / "given/shd").mkdir(parents=True)
    (tmp_path / "given/shd/shd_train.h5.gz").write_bytes(gzip.compress(newer))
    assert load_shd("train").labels.tolist() == [1, 2, 3]


def test_what_unpacks_to_too_much_is_one_sentence(tmp_path, monkeypatch):
    small_file(tmp_path / "downloads/shd/shd_test.h5")
    packed = tmp_path / "downloads/shd/shd_train.h5.gz"
    packed.write_bytes(gzip.compress(bytes(10**6)))
    monkeypatch.setattr(shd, "_MOST", 10**5)
    with pytest.raises(UserError, match="unpacks to more than 100000 bytes"):
        load_shd("train")
    assert not (tmp_path / "downloads/shd/shd_train.h5").exists()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("spikes/times", "spikes/units", "labels"):
            file.create_dataset(name, (10**10,), "f4", chunks=(1000,), compression="gzip")
    with pytest.raises(UserError, match="holds more than 100000 recordings"):
        read_shd(tmp_path / "x.h5")


def test_without_the_files_the_stand_in_says_so(monkeypatch, caplog):
    standin = object()
    monkeypatch.setattr(shd, "cochlea_digits", lambda split: standin)
    assert load_shd("test", "embedded") is standin
    assert "instead of the Spiking Heidelberg Digits" in caplog.text
    caplog.clear()
    assert load_shd("test") is standin
    assert "could not be downloaded" in caplog.text
    with pytest.raises(UserError, match=r"get it from https://zenkelab.* or give --data embedded"):
        load_shd("test", "real")
    with pytest.raises(UserError, match="unknown split"):
        load_shd("validation")


# ---- the stand-in ---------------------------------------------------------------------------


def test_the_cochlea_hears_where_a_tone_is():
    t = np.arange(8000) / 8000
    centers = center_frequencies()
    assert len(centers) == 700 and centers[0] == pytest.approx(60)
    assert centers[-1] == pytest.approx(3800)
    for frequency in (300.0, 1000.0, 3000.0):
        sound = np.sin(2 * np.pi * frequency * t).astype(np.float32)
        powers = band_powers(sound)
        assert powers.shape == (1000, 700)
        assert centers[powers[500].argmax()] == pytest.approx(frequency, rel=0.03)
        times, channels = cochlea_spikes(sound, np.zeros(700))
        counts = np.bincount(channels, minlength=700)
        assert counts.max() == pytest.approx(80, abs=4)  # spikes a second of the loudest channel
        assert counts[powers[500].argmax()] == counts.max()
        assert (np.diff(times) >= 0).all() and times.max() < 1_000_000


def test_the_cochlea_fires_when_the_sound_comes():
    sound = np.zeros(8000, np.float32)
    sound[4000:6000] = np.sin(2 * np.pi * 700 * np.arange(2000) / 8000)
    times, _ = cochlea_spikes(sound, np.zeros(700))
    inside = (times > 480_000) & (times < 770_000)
    assert inside.mean() > 0.99
    assert len(cochlea_spikes(np.zeros(800, np.float32), np.full(700, 0.9))[0]) == 0


def test_spikes_are_the_rates_integrated_neuron_by_neuron():
    rng = np.random.default_rng(0)
    sound = rng.standard_normal(400).astype(np.float32)
    phases = rng.uniform(size=700)
    power = band_powers(sound)
    rates = 80 * np.log1p(power / power.max() * 1000) / np.log1p(1000)
    expected = []
    for channel in range(700):
        state = phases[channel]
        for frame in range(50):
            state += rates[frame, channel] * 1e-3
            if state >= 1:
                state -= 1
                expected.append((frame * 1000, channel))
    found = set(zip(*(x.tolist() for x in cochlea_spikes(sound, phases)), strict=True))
    assert len(found ^ set(expected)) <= 2  # rounding


def test_stand_in_of_tones_where_no_digits_are(caplog):
    events = event_standins_audio.cochlea_digits("test")
    assert events.source == "cochlea model of embedded tones"
    assert events.n_classes == 10 and events.shape == (700,)
    assert (events.labels.bincount() == events.n_recordings // 10).all()
    again = event_standins_audio.cochlea_digits("test")
    np.testing.assert_array_equal(events.times, again.times)
    np.testing.assert_array_equal(events.addresses, again.addresses)
    assert events.durations.max() < 1_000_000 and (events.times < 1_000_000).all()
    assert "tones instead of the Free Spoken Digit" in caplog.text
