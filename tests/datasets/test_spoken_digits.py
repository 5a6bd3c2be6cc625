import io
import os
import wave
import zipfile

import numpy as np
import pytest
import torch

from common.errors import UserError
from datasets import real, spoken_digits
from datasets.spoken_digits import (
    RATE,
    content_sha256,
    load_spoken_digits,
    read_recordings,
    tones,
)

GIVEN = os.environ.get("SNN_DATA")
CLIPS = {
    "recordings/3_theo_10.wav": [5, -6, 7],
    "recordings/3_theo_9.wav": [32767, -32768],
    "recordings/0_ann_0.wav": [1, 2, 3, 4],
}


def wav(values, rate=RATE, channels=1, width=2):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.asarray(values, f"<i{width}").tobytes())
    return buffer.getvalue()


def zipped(path, members, kind=zipfile.ZIP_DEFLATED):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, bytes) else wav(content))
    return path


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No data anywhere, and a home that does not answer."""
    monkeypatch.delenv("SNN_DATA", raising=False)
    monkeypatch.setattr(real, "DATA_FILES", tmp_path / "downloads")
    away = spoken_digits._RECORDINGS._replace(homes=("http://127.0.0.1:9/v1.zip",))
    monkeypatch.setattr(spoken_digits, "_RECORDINGS", away)


def test_recordings_are_sorted_by_digit_speaker_and_number(tmp_path):
    path = zipped(tmp_path / "a.zip", {**CLIPS, "recordings/notes.txt": b"no recording"})
    found = read_recordings(path, "test")
    assert found.labels.tolist() == [0, 3, 3]
    assert found.indices.tolist() == [0, 9, 10]
    assert [found.speaker_names[k] for k in found.speakers] == ["ann", "theo", "theo"]
    assert found.offsets.tolist() == [0, 4, 6, 9] and found.lengths.tolist() == [4, 2, 3]
    expected = [1, 2, 3, 4, 32767, -32768, 5, -6, 7]
    assert (found.samples * 2**15).tolist() == expected
    assert found.samples.dtype == torch.float32


def test_take_keeps_the_order_asked_for(tmp_path):
    found = read_recordings(zipped(tmp_path / "a.zip", CLIPS), "test")
    some = found.take(torch.tensor([2, 0]))
    assert (some.samples * 2**15).tolist() == [5, -6, 7, 1, 2, 3, 4]
    assert some.offsets.tolist() == [0, 3, 7] and some.indices.tolist() == [10, 0]
    masked = found.take(found.labels == 3)
    assert masked.offsets.tolist() == [0, 2, 5] and masked.labels.tolist() == [3, 3]
    none = found.take(found.labels == 7)
    assert none.samples.numel() == 0 and none.offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (wav([1, 2], rate=16000), "1 channel.* of 16 bit and 16000 samples a second; convert"),
        (wav([1, 2, 3, 4], channels=2), "2 channel"),
        (wav([1, 2, 3], width=4), "32 bit"),
        (wav([]), "holds no samples; record it again"),
        (wav([1, 2, 3])[:-2], "cut off"),
        (wav([1, 2])[:20], "not a whole wav file"),
        (b"nothing of the kind", "not a whole wav file"),
        (b"", "not a whole wav file"),
    ],
)
def test_a_bad_recording_is_named(content, says, tmp_path):
    path = zipped(tmp_path / "a.zip", {**CLIPS, "recordings/3_theo_9.wav": content})
    with pytest.raises(UserError, match=rf"a\.zip: recordings/3_theo_9.wav.*{says}"):
        read_recordings(path, "test")


def test_damaged_archives(tmp_path):
    path = zipped(tmp_path / "a.zip", CLIPS, zipfile.ZIP_STORED)
    whole = path.read_bytes()
    place = whole.index(wav(CLIPS["recordings/0_ann_0.wav"])) + 44
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    for content in (whole[:-30], flipped, b"PK", b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.zip: not a whole zip file .* get it again"):
            read_recordings(path, "test")
    zipped(path, {"readme.txt": b"empty"})
    with pytest.raises(UserError, match="holds no recordings/DIGIT_SPEAKER_INDEX"):
        read_recordings(path, "test")


def test_a_packing_of_its_own_holds_the_same_recordings(offline, tmp_path, monkeypatch):
    """As the archive of the official home: a folder around, other compression, more files."""
    one = zipped(tmp_path / "one.zip", CLIPS)
    renamed = {f"free-spoken-digit-dataset-1.0.10/{k}": v for k, v in reversed(CLIPS.items())}
    other = zipped(tmp_path / "other.zip", {"x/README.md": b"hello", **renamed}, zipfile.ZIP_STORED)
    changed = zipped(tmp_path / "c.zip", {**CLIPS, "recordings/0_ann_0.wav": [1, 2, 3, 5]})
    assert content_sha256(one) == content_sha256(other) != content_sha256(changed)

    monkeypatch.setattr(spoken_digits, "_CONTENT_SHA256", content_sha256(one))
    place = tmp_path / "given/fsdd/recordings.zip"
    monkeypatch.setenv("SNN_DATA", str(tmp_path / "given"))
    place.parent.mkdir(parents=True)
    place.write_bytes(other.read_bytes())
    found = load_spoken_digits("train", "real")
    assert found.indices.tolist() == [9, 10] and found.source == "FSDD v1.0.10"
    assert load_spoken_digits("test", "real").labels.tolist() == [0]
    place.write_bytes(changed.read_bytes())
    with pytest.raises(UserError, match=r"fsdd/recordings.zip: SHA-256 is"):
        load_spoken_digits("train", "real")
    place.write_bytes(one.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"SHA-256 is .*damaged"):
        load_spoken_digits("train", "real")


def test_without_data_tones_or_a_clear_sentence(offline, caplog):
    assert load_spoken_digits("test", "auto").source == "embedded tones"
    assert "telephone tones" in caplog.text and "could not be downloaded" in caplog.text
    with pytest.raises(UserError, match=r"could not be downloaded .* or give --data embedded"):
        load_spoken_digits("test", "real")
    with pytest.raises(UserError, match="unknown split 'val'"):
        load_spoken_digits("val")
    with pytest.raises(UserError, match="unknown data 'fake'"):
        load_spoken_digits("test", "fake")


def test_tones_are_those_of_telephone_keys(offline):
    train, test = load_spoken_digits("train", "embedded"), load_spoken_digits("test", "embedded")
    assert len(train.labels) == 600 and len(test.labels) == 150
    assert (test.indices < 5).all() and (train.indices >= 5).all()
    assert torch.equal(test.labels.bincount(), torch.full((10,), 15))
    assert torch.equal(tones().samples, tones().samples)
    assert not torch.equal(tones().samples[:99], tones(1).samples[:99])
    seconds = train.lengths / RATE
    assert seconds.min() > 0.29 and seconds.max() < 0.71
    one = test.take((test.labels == 1) & (test.speakers == 2))  # at the keys' own pitch
    spectrum = torch.fft.rfft(one.samples[: one.lengths[0]]).abs()
    peaks = spectrum.topk(8).indices * RATE / one.lengths[0]
    for frequency in (697, 1209):
        assert (peaks / frequency - 1).abs().min() < 0.03


@pytest.mark.skipif(not GIVEN, reason="SNN_DATA is not set")
def test_real_recordings_where_there_are_any():
    train, test = load_spoken_digits("train", "real"), load_spoken_digits("test", "real")
    assert len(train.labels) == 2700 and len(test.labels) == 300
    assert train.labels.bincount().tolist() == [270] * 10
    assert test.speakers.bincount().tolist() == [50] * 6
    assert train.speaker_names == ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    seconds = torch.cat([train.lengths, test.lengths]) / RATE
    assert seconds.sum().round() == 1312 and seconds.min() > 0.14 and seconds.max() < 2.29
    assert train.offsets[-1] == len(train.samples)
    path = real.locate(spoken_digits._RECORDINGS)
    assert content_sha256(path) == spoken_digits._CONTENT_SHA256
