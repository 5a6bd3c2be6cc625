"""MFCC against the formulas in plain NumPy, one recording, frame and band at a time."""

import math
import os

import numpy as np
import pytest
import torch

from common.errors import UserError
from datasets.mfcc import cosines, digit_maps, mel_filters, mfcc
from datasets.spoken_digits import Recordings, load_spoken_digits, offsets_of, tones

GIVEN = os.environ.get("SNN_DATA")


def plain_filter(band):
    """HTK's triangle at the 201 frequencies of the transform."""

    def hertz(mel):
        return 700 * (10 ** (mel / 2595) - 1)

    step = 2595 * math.log10(1 + 4000 / 700) / 129
    low, middle, high = (hertz(step * (band + k)) for k in range(3))
    weights = []
    for f in np.arange(201) * 20.0:
        up, down = (f - low) / (middle - low), (high - f) / (high - middle)
        weights.append(max(0.0, min(up, down)))
    return np.array(weights)


def plain_mfcc(samples):
    """Frames (F, 20) of one recording, float64."""
    samples = np.asarray(samples, np.float64)
    heard = np.flatnonzero(np.abs(samples) > 1e-6)
    samples = samples[heard[0] : heard[-1] + 1]
    padded = np.pad(samples, 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    filters = np.stack([plain_filter(band) for band in range(128)])
    levels = []
    for k in range(1 + len(samples) // 200):
        power = np.abs(np.fft.rfft(window * padded[200 * k : 200 * k + 400])) ** 2
        levels.append(10 * np.log10(np.maximum(filters @ power, 1e-10)))
    levels = np.array(levels)
    levels = np.maximum(levels, levels.max() - 80)
    frames = np.zeros((len(levels), 20))
    for k in range(1, 21):
        basis = math.sqrt(2 / 128) * np.cos(math.pi * k * (np.arange(128) + 0.5) / 128)
        frames[:, k - 1] = levels @ basis
    return frames


def plain_map(samples):
    """The map (30, 20) of one recording."""
    frames = plain_mfcc(samples)
    peak = int(np.argmax(frames.sum(1)))
    start = min(max(peak - 15, 0), max(len(frames) - 30, 0))
    chosen = frames[start : start + 30]
    if len(chosen) < 30:
        chosen = np.concatenate([chosen, np.zeros((30 - len(chosen), 20))])
    rows = []
    for frame in chosen:
        spread = frame.std()
        rows.append((frame - frame.mean()) / spread if spread > 1e-3 else 0 * frame)
    return np.array(rows)


def chirp(length=5000):
    """A rising tone that swells, with silent ends."""
    t = np.arange(length) / 8000
    tone = 0.4 * np.sin(np.pi * t / t[-1]) * np.sin(2 * np.pi * (300 * t + 900 * t**2))
    return np.concatenate([np.zeros(70), tone + 0.05 * np.cos(2 * np.pi * 1700 * t), np.zeros(130)])


def recordings_of(*clips, dtype=torch.float64):
    samples = torch.cat([torch.as_tensor(clip, dtype=dtype) for clip in clips])
    numbers = torch.zeros(len(clips), dtype=torch.int64)
    offsets = offsets_of(torch.tensor([len(clip) for clip in clips]))
    return Recordings(samples, offsets, numbers, numbers, numbers, ("nobody",), "test")


def test_filters_and_cosines():
    plain = np.stack([plain_filter(band) for band in range(128)], 1)
    np.testing.assert_allclose(mel_filters().numpy(), plain, atol=1e-9)
    basis = cosines(20)
    torch.testing.assert_close(basis.T @ basis, torch.eye(20, dtype=torch.float64))


@pytest.mark.parametrize("length", [400, 401, 599, 600, 3000, 7777])
def test_every_frame_equals_the_formulas(length):
    """Also beside other recordings, louder and quieter ones."""
    noise = np.random.default_rng(length).normal(size=1234) * 1e-3
    clips = [noise, chirp(length), 0.9 * chirp(900)]
    found = mfcc(*recordings_of(*clips)[:2])
    for k, clip in enumerate(clips):
        own = found.coefficients[found.offsets[k] : found.offsets[k + 1]]
        np.testing.assert_allclose(own.numpy(), plain_mfcc(clip), atol=1e-6)


def test_frozen_values():
    """Of ``plain_mfcc`` and ``plain_map``, so that both cannot change together."""
    frames = [
        [38.634668, 3.757145, -17.325528],
        [44.580505, -66.601905, -26.566125],
        [-44.059701, -54.181772, -5.513775],
    ]
    mapped = [
        [1.321929, 1.374538, -0.440755],
        [0.127776, -0.124201, -0.722867],
        [0.0, 0.0, 0.0],
    ]
    recordings = recordings_of(chirp())
    for found in (plain_mfcc(chirp()), mfcc(*recordings[:2]).coefficients.numpy()):
        assert len(found) == 26
        np.testing.assert_allclose(found[[0, 7, -1]][:, [0, 1, 19]], frames, atol=2e-6)
    for found in (plain_map(chirp()), digit_maps(recordings)[0, 0].numpy()):
        np.testing.assert_allclose(found[[0, 15, 29]][:, [0, 9, 19]], mapped, atol=2e-6)


def test_maps_equal_the_formulas():
    generator = np.random.default_rng(5)
    lengths = [400, 2400, 5799, 5800, 6000, 9000, 15000]
    clips = [chirp(n) + 1e-4 * generator.normal(size=n + 200) for n in lengths]
    found = digit_maps(recordings_of(*clips))
    assert found.shape == (len(lengths), 1, 30, 20)
    for clip, own in zip(clips, found, strict=True):
        np.testing.assert_allclose(own[0].numpy(), plain_map(clip), atol=1e-6)
    single = digit_maps(recordings_of(*clips, dtype=torch.float32))
    torch.testing.assert_close(single.double(), found, atol=2e-3, rtol=0)


def test_other_sizes():
    clip = chirp(9000)
    whole = mfcc(*recordings_of(clip)[:2], coefficients=33).coefficients
    torch.testing.assert_close(whole[:, :20], mfcc(*recordings_of(clip)[:2]).coefficients)
    own = digit_maps(recordings_of(clip), frames=12, coefficients=33)[0, 0]
    start = int(whole.sum(1).argmax()) - 6
    expected = whole[start : start + 12]
    expected = (expected - expected.mean(1, keepdim=True)) / expected.std(
        1, correction=0, keepdim=True
    )
    torch.testing.assert_close(own, expected)
    with pytest.raises(UserError, match="1 to 127 coefficients, not 128"):
        digit_maps(recordings_of(clip), coefficients=128)


def test_the_window_is_around_the_peak_and_inside():
    """The louder part decides; at both ends the window moves inward."""
    for seed in range(20):
        generator = np.random.default_rng(seed)
        clip = generator.normal(size=12000) * 1e-3
        at = int(generator.integers(0, 11000))
        clip[at : at + 1000] += chirp(800)
        own = digit_maps(recordings_of(clip))[0, 0]
        np.testing.assert_allclose(own.numpy(), plain_map(clip), atol=1e-6)


def test_a_silent_stretch_becomes_zeros_not_noise():
    clip = np.concatenate([chirp(1000)[70:-130], np.zeros(2000), [0.3]])
    own = digit_maps(recordings_of(clip, dtype=torch.float32))[0, 0]
    assert (own[7:13] == 0).all() and (own[0] != 0).any()
    assert (own[16:] == 0).all(), "the recording ends after 16 frames"


@pytest.mark.parametrize("clip", [np.zeros(3000), chirp(399), chirp(10)])
def test_too_short_to_hold_a_frame(clip):
    with pytest.raises(UserError, match=r"recording 1 of 2 .* fewer than the 400 of a frame"):
        digit_maps(recordings_of(chirp(), clip))


def test_tones_are_told_apart_by_their_maps():
    """The nearest mean map of other recordings names the digit."""
    recordings = tones()
    maps = digit_maps(recordings).flatten(1)
    train = recordings.indices >= 5
    means = torch.stack([maps[train & (recordings.labels == d)].mean(0) for d in range(10)])
    found = torch.cdist(maps[~train], means).argmin(1)
    assert (found == recordings.labels[~train]).float().mean() > 0.8


@pytest.mark.skipif(not GIVEN, reason="SNN_DATA is not set")
def test_real_recordings():
    recordings = load_spoken_digits("test", "real")
    maps = digit_maps(recordings)
    for k in (0, 77, 299):
        clip = recordings.samples[recordings.offsets[k] : recordings.offsets[k + 1]]
        np.testing.assert_allclose(maps[k, 0].numpy(), plain_map(clip.numpy()), atol=2e-3)
