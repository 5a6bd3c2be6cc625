"""Spoken digits: the Free Spoken Digit Dataset, and telephone tones as a stand-in.

Recordings have different lengths, so all samples lie one after the other in one tensor: recording
k is ``samples[offsets[k] : offsets[k + 1]]``.
"""

from __future__ import annotations

import hashlib
import io
import re
import wave
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from datasets.choices import DATA_CHOICES, Data, check_choice
from datasets.real import SPLITS, RemoteFile, locate, unless_embedded

RATE = 8000
"""Samples per second."""

TEST_INDICES = 5
"""The first recordings of every speaker and digit are the official test set."""

EMBEDDED_TONES = "embedded tones"

_NAME = re.compile(r"(?:.*/)?recordings/(\d)_([a-z]+)_(\d+)\.wav")
# Of names and bytes of all recordings of v1.0.10.
_CONTENT_SHA256 = "9097ad3670be406fb17e077715119bdd81af975de3cd06c4c99977efa1026e21"
_FULL_SCALE = 2**15
_WAV_BYTES = 200_000  # of a recording at most; the longest has 36 568
_MOST_RECORDINGS = 10_000  # there are 3 000


class Recordings(NamedTuple):
    """Spoken digits, sorted by digit, speaker and index.

    Attributes:
        samples: (S,) float32 in [-1, 1), 8 000 a second, of all recordings one after the other.
        offsets: (N + 1,) int64, where each recording starts; the last is S.
        labels: (N,) int64, the digit.
        speakers: (N,) int64, places in ``speaker_names``.
        indices: (N,) int64, number of the recording among those of one speaker and digit.
        speaker_names: of all speakers.
        source: what the recordings really are.
    """

    samples: Tensor
    offsets: Tensor
    labels: Tensor
    speakers: Tensor
    indices: Tensor
    speaker_names: tuple[str, ...]
    source: str

    @property
    def lengths(self) -> Tensor:
        """(N,) int64, samples of each recording."""
        return self.offsets.diff()

    def take(self, rows: Tensor) -> Recordings:
        """Some recordings (n,), by place or as a mask (N,), in the order given."""
        rows = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        clips = [self.samples[a:b] for a, b in self.offsets.unfold(0, 2, 1)[rows].tolist()]
        return self._replace(
            samples=torch.cat(clips) if clips else self.samples[:0],
            offsets=offsets_of(self.lengths[rows]),
            labels=self.labels[rows],
            speakers=self.speakers[rows],
            indices=self.indices[rows],
        )


def offsets_of(lengths: Tensor) -> Tensor:
    """Where things of these lengths (N,) start when they lie one after the other, (N + 1,)."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def load_spoken_digits(split: str, data: Data = "auto") -> Recordings:
    """The Free Spoken Digit Dataset v1.0.10: 2 700 "train" and 300 "test" recordings by 6 speakers.

    The official split: indices 0 to 4 of every speaker and digit are for testing.
    ``data="embedded"``: each digit as the two tones of its telephone key, see :func:`tones`.
    ``"auto"``: the recordings where they can be had, else the tones, with a warning in the log.
    Raises :class:`UserError` for ``"real"`` when they are neither there nor to be downloaded, and
    for damaged files.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    recordings = _load(data)
    is_test = recordings.indices < TEST_INDICES
    return recordings.take(is_test if split == "test" else ~is_test)


def _load(data: Data) -> Recordings:
    stand_in = "using telephone tones instead of the Free Spoken Digit Dataset"
    found = unless_embedded(spoken_digits_file, data, stand_in)
    return tones() if found is None else read_recordings(found, "FSDD v1.0.10")


def spoken_digits_file() -> Path:
    """The checked zip file; raises as ``real.locate``."""
    return locate(_RECORDINGS)


# ---- the recordings -------------------------------------------------------------------------


def read_recordings(path: Path, source: str) -> Recordings:
    """All ``recordings/DIGIT_SPEAKER_INDEX.wav`` of a zip file: mono, 16 bit, 8 000 samples a
    second.

    Raises :class:`UserError` for a damaged file, one without recordings, and recordings of another
    format or without samples.
    """
    clips = {}
    for (digit, speaker, index), (name, content) in _members(path).items():
        clips[digit, speaker, index] = _read_wav(content, f"{path}: {name}")
    if not clips:
        raise UserError(f"{path} holds no recordings/DIGIT_SPEAKER_INDEX.wav; get it again")
    names = tuple(sorted({speaker for _, speaker, _ in clips}))
    return _recordings(
        list(clips.values()),
        [(digit, names.index(speaker), index) for digit, speaker, index in clips],
        names,
        source,
    )


def _members(path: Path) -> dict[tuple[int, str, int], tuple[str, bytes]]:
    """Name and bytes of the recordings in a zip file by digit, speaker and index, sorted."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if match := _NAME.fullmatch(name := member.filename):
                    if member.file_size > _WAV_BYTES or len(found) == _MOST_RECORDINGS:
                        raise UserError(f"{path}: {name} is too large or one too many")
                    digit, speaker, index = match.groups()
                    found[int(digit), speaker, int(index)] = name, archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: not a whole zip file ({error}); get it again") from error
    return dict(sorted(found.items()))


def _read_wav(content: bytes, where: str) -> np.ndarray:
    """The samples (n,) int16 of a wav file."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            form = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            promised, frames = file.getnframes(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UserError(f"{where} is not a whole wav file ({error}); get it again") from error
    if form != (1, 16, RATE):
        raise UserError(
            f"{where} has {form[0]} channel(s) of {form[1]} bit and {form[2]} samples a second; "
            f"convert it to one channel of 16 bit and {RATE}"
        )
    if not promised:
        raise UserError(f"{where} holds no samples; record it again or leave it out")
    if len(frames) != 2 * promised:
        raise UserError(f"{where} is cut off; get it again")
    return np.frombuffer(frames, "<i2")


def _recordings(
    clips: Sequence[np.ndarray],
    keys: Sequence[tuple[int, int, int]],
    names: tuple[str, ...],
    source: str,
) -> Recordings:
    """From int16 clips and their (digit, speaker, index)."""
    samples = torch.from_numpy(np.concatenate(clips).astype(np.float32) / _FULL_SCALE)
    lengths = torch.tensor([len(clip) for clip in clips])
    labels, speakers, indices = torch.tensor(keys).T.contiguous()
    return Recordings(samples, offsets_of(lengths), labels, speakers, indices, names, source)


def content_sha256(path: Path) -> str:
    """SHA-256 over names and bytes of the recordings in a zip file, however it was packed."""
    digest = hashlib.sha256()
    for (digit, speaker, index), (_, content) in _members(path).items():
        digest.update(f"{digit}_{speaker}_{index} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _same_recordings(path: Path) -> bool:
    try:
        return content_sha256(path) == _CONTENT_SHA256
    except UserError:
        return False


_RECORDINGS = RemoteFile(
    "fsdd/recordings.zip",
    "075c6164440a5922ea8475e128d55771c663fd1773ca56e5b72765a93bbfd4fd",
    (
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
        "https://codeload.github.com/Jakobovski/free-spoken-digit-dataset/zip/refs/tags/v1.0.10",
    ),
    _same_recordings,
)


# ---- the stand-in ---------------------------------------------------------------------------

_ROWS = np.array([941, 697, 697, 697, 770, 770, 770, 852, 852, 852])  # Hz, of digits 0 to 9
_COLUMNS = np.array([1336, 1209, 1336, 1477, 1209, 1336, 1477, 1209, 1336, 1477])
_SPEAKERS = ("high", "low", "middle")
_PITCHES = np.array([1.04, 0.96, 1.0])  # of the speakers
_PER_DIGIT = 25  # recordings of every speaker and digit
_SHORTEST, _LONGEST = 0.3, 0.7  # seconds
_NOISE = 0.02


def tones(seed: int = 0) -> Recordings:
    """750 recordings of telephone keys by three "speakers", who differ in pitch.

    A digit is the sum of its key's two tones, at 0.96, 1 or 1.04 times their frequency and 1 % more
    or less, 0.3 to 0.7 s long, swelling and fading, with noise.
    """
    rng = np.random.default_rng(seed)
    keys = np.indices((10, len(_SPEAKERS), _PER_DIGIT)).reshape(3, -1).T
    digits, speakers, _ = keys.T
    lengths = (RATE * rng.uniform(_SHORTEST, _LONGEST, len(keys))).astype(int)
    pitches = _PITCHES[speakers] * rng.uniform(0.99, 1.01, len(keys))
    loudness = rng.uniform(0.1, 0.3, len(keys))
    starts = np.cumsum(lengths) - lengths
    clip = np.repeat(np.arange(len(keys)), lengths)
    step = np.arange(lengths.sum()) - starts[clip]
    envelope = loudness[clip] * np.sin(np.pi * (step + 0.5) / lengths[clip])
    phase = 2 * np.pi * step / RATE * pitches[clip]
    wave_ = np.sin(phase * _ROWS[digits][clip]) + np.sin(phase * _COLUMNS[digits][clip])
    wave_ = envelope * (wave_ + _NOISE * rng.standard_normal(len(step)))
    samples = np.round(wave_ * _FULL_SCALE).astype(np.int16)
    clips = np.split(samples, starts[1:])
    return _recordings(clips, keys.tolist(), _SPEAKERS, EMBEDDED_TONES)
