"""A stand-in for the Spiking Heidelberg Digits: a simple cochlea listens to spoken digits.

A filter bank of 700 channels, evenly spaced on the ear's own scale, with logarithmic compression,
drives one integrate-and-fire neuron a channel. It is another data set, of 10 classes, and
``source`` says so.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numba
import numpy as np
import scipy.fft

from datasets.events import Events, Recording, pack_events
from datasets.real import find_file
from datasets.spoken_digits import RATE, load_spoken_digits

CHANNELS = 700
CLASSES = 10

_SPOKEN_DIGITS = "fsdd/recordings.zip"  # below a data folder
_HOP = 8  # samples from one frame to the next, 1 ms
_FRAME = 256  # samples of a frame, 32 ms
_LOWEST, _HIGHEST = 60.0, 3800.0  # Hz, centres of the first and the last channel
_EAR_BREAK, _EAR_Q = 228.83, 9.265  # of the ear's scale: Glasberg and Moore (1990)
_WIDTH = 1.5  # of a channel, in the ear's bandwidths
_FLOOR = 1e-3  # power, relative to the loudest, that gives 1 / log2(1 + 1 / _FLOOR) of the rate
_HIGHEST_RATE = 80.0  # spikes a second of the loudest channel


def cochlea_digits(split: str) -> Events:
    """Spikes of 700 channels for the spoken digits of :mod:`datasets.spoken_digits`: recordings
    where these are there already, else telephone tones. Nothing is downloaded.

    ``source`` is "cochlea model of ..." what was listened to. The same in every call.
    """
    digits = load_spoken_digits(split, "auto" if find_file(_SPOKEN_DIGITS) else "embedded")
    bounds, labels = digits.offsets.tolist(), digits.labels.tolist()
    samples = digits.samples.numpy()
    rng = np.random.RandomState(0 if split == "train" else 1)

    def listen() -> Iterator[Recording]:
        for first, end, label in zip(bounds[:-1], bounds[1:], labels, strict=True):
            times, channels = cochlea_spikes(samples[first:end], rng.uniform(size=CHANNELS))
            duration = (end - first) * 1_000_000 // RATE
            yield Recording(times, channels, duration, label, f"spoken digit {label}")

    return pack_events(listen(), (CHANNELS,), CLASSES, f"cochlea model of {digits.source}")


def cochlea_spikes(samples: np.ndarray, phases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """When which channel fires.

    The rate of a channel is the compressed power P of its band relative to the loudest one,
    log(1 + P / floor) / log(1 + 1 / floor) times 80 spikes a second; a neuron fires whenever the
    integral of its rate passes a whole number.

    Args:
        samples: (S,) sound at 8 000 samples a second.
        phases: (700,) in [0, 1), state of the neurons at the beginning.

    Returns:
        times (e,) in microseconds, ascending, and channels (e,), 0 the lowest.
    """
    power = band_powers(samples)
    loudest = power.max(initial=0)
    if loudest > 0:
        power /= loudest
    rates = np.log1p(power / _FLOOR) * (_HIGHEST_RATE / np.log1p(1 / _FLOOR))
    frames, channels = _fire(rates.astype(np.float32), _HOP / RATE, phases.astype(np.float32))
    return frames * (_HOP * 1_000_000 // RATE), channels


@numba.njit(cache=True, nogil=True)
def _fire(rates, seconds, phases):
    """Frame and channel of every spike for rates (frames, channels) in spikes a second, one frame
    lasting ``seconds``, too short for a neuron to fire twice."""
    n_frames, n_channels = rates.shape
    states = phases.copy()
    most = int(1.01 * seconds * rates.sum()) + n_channels
    frames, channels = np.empty(most, np.int64), np.empty(most, np.int64)
    count = 0
    step = rates.dtype.type(seconds)
    one = rates.dtype.type(1)
    for frame in range(n_frames):
        for channel in range(n_channels):
            states[channel] += rates[frame, channel] * step
            if states[channel] >= one:
                states[channel] -= one
                frames[count], channels[count] = frame, channel
                count += 1
    return frames[:count], channels[:count]


def band_powers(samples: np.ndarray) -> np.ndarray:
    """Power of every channel in frames of 32 ms, one every 1 ms, (ceil(S / 8), 700)."""
    n_frames = -(-len(samples) // _HOP)
    padded = np.zeros(n_frames * _HOP + _FRAME, np.float32)
    padded[_FRAME // 2 : _FRAME // 2 + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][:n_frames]
    spectrum = scipy.fft.rfft(frames * np.hanning(_FRAME).astype(np.float32), axis=1)
    return (spectrum.real**2 + spectrum.imag**2) @ _filters()


def center_frequencies() -> np.ndarray:
    """(700,) Hz, evenly spaced on the ear's scale."""
    low, high = _EAR_Q * np.log1p(np.array([_LOWEST, _HIGHEST]) / _EAR_BREAK)
    return _EAR_BREAK * np.expm1(np.linspace(low, high, CHANNELS) / _EAR_Q)


@functools.cache
def _filters() -> np.ndarray:
    """Weights (129, 700) of a frame's frequencies in every channel: Gaussian bands."""
    centers = center_frequencies()
    widths = _WIDTH * (centers + _EAR_BREAK) / _EAR_Q
    frequencies = np.fft.rfftfreq(_FRAME, 1 / RATE)
    distances = (frequencies[:, None] - centers) / widths
    return np.exp(-0.5 * distances**2).astype(np.float32)
