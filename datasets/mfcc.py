"""Mel-frequency cepstral coefficients (MFCC) of recordings of different lengths, all at once.

The recordings are laid end to end, each with its own reflected margins, so that one short-time
Fourier transform covers them all; frames that would reach from one into the next are left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from common.errors import UserError
from datasets.spoken_digits import RATE, Recordings, offsets_of

FRAME = 400
"""Samples of a frame, 50 ms at 8 kHz, and of its Fourier transform."""

HOP = 200
"""Samples from one frame to the next, 25 ms."""

BANDS = 128
SILENCE = 1e-6  # magnitude of samples that are cut off at both ends
_FLOOR = 1e-10  # power
_RANGE = 80.0  # dB below the loudest band of a recording
_FLAT = 1e-3  # dB, standard deviation of a frame without any contrast


class Frames(NamedTuple):
    """Coefficients (F, n) of the frames of all recordings, and where each recording starts,
    (N + 1,)."""

    coefficients: Tensor
    offsets: Tensor


def digit_maps(recordings: Recordings, frames: int = 30, coefficients: int = 20) -> Tensor:
    """Recordings as maps (N, 1, frames, coefficients) for convolutional networks.

    The frames around the one with the largest sum of coefficients (shifted inward at both ends,
    zeros after the end of shorter recordings), every frame with mean 0 and variance 1 over its
    coefficients. Frames without contrast become 0. Raises as :func:`mfcc`.
    """
    found = mfcc(recordings.samples, recordings.offsets, coefficients)
    counts = found.offsets.diff()
    parts = found.coefficients.split(counts.tolist())
    padded = pad_sequence(parts, batch_first=True)  # (N, longest, coefficients)
    padded = pad(padded, (0, 0, 0, max(0, frames - padded.shape[1])))
    places = torch.arange(padded.shape[1])
    sums = padded.sum(2).masked_fill(places >= counts[:, None], -math.inf)
    last_start = (counts - frames).clamp(min=0)
    starts = (sums.argmax(1) - frames // 2).clamp(min=0).minimum(last_start)
    chosen = starts[:, None] + torch.arange(frames)
    maps = padded.take_along_dim(chosen[:, :, None], 1)
    centred = maps - maps.mean(2, keepdim=True)
    spread = centred.square().mean(2, keepdim=True).sqrt()
    return torch.where(spread > _FLAT, centred / spread.clamp(min=_FLAT), 0)[:, None]


def mfcc(samples: Tensor, offsets: Tensor, coefficients: int = 20) -> Frames:
    """Coefficients 1, 2, ... of all frames of recordings without their silent ends.

    Frames of 400 samples every 200, centred, reflected at both ends, under a periodic Hann window;
    power in 128 mel bands from 0 to 4 kHz (triangles of height 1, HTK's scale); 10 log10, at most
    80 dB below the recording's maximum; orthonormal DCT-II without coefficient 0, the loudness.

    Args:
        samples: (S,) in [-1, 1), 8 000 a second. offsets: (N + 1,), see :class:`Recordings`.
        coefficients: of a frame, 127 at most.

    Raises :class:`UserError` for a recording that is shorter than a frame without its silent ends,
    and for a number of coefficients that there are not.
    """
    starts, lengths = _trim(samples, offsets)
    counts = 1 + lengths // HOP
    laid = samples[_reflected(starts, lengths, counts)]
    window = torch.hann_window(FRAME, dtype=samples.dtype)
    spectrum = torch.stft(laid, FRAME, HOP, FRAME, window, center=False, return_complex=True)
    power = spectrum.abs().square().T @ mel_filters().to(samples.dtype)
    # After each recording comes a frame that reaches into the next one.
    clip = torch.repeat_interleave(counts + 1)[: len(power)]
    inside = torch.ones(len(power) + 1, dtype=torch.bool)
    inside[(counts + 1).cumsum(0) - 1] = False
    power, clip = power[inside[:-1]], clip[inside[:-1]]
    level = 10 * power.clamp(min=_FLOOR).log10()
    loudest = level.new_full((len(counts),), -math.inf)
    loudest.scatter_reduce_(0, clip, level.amax(1), "amax")
    level = level.maximum(loudest[clip, None] - _RANGE)
    return Frames(level @ cosines(coefficients).to(samples.dtype), offsets_of(counts))


def mel_filters() -> Tensor:
    """Triangular filters (201, 128) float64: frequencies of the transform, bands.

    mel = 2595 log10(1 + f / 700); the corners of the bands are equally far apart in mel.
    """
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    mel = torch.linspace(0, top, BANDS + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mel / 2595) - 1)
    frequencies = torch.linspace(0, RATE / 2, FRAME // 2 + 1, dtype=torch.float64)
    widths = corners.diff()
    rising = (frequencies[:, None] - corners[:-2]) / widths[:-1]
    falling = (corners[2:] - frequencies[:, None]) / widths[1:]
    return rising.minimum(falling).clamp(min=0)


def cosines(coefficients: int) -> Tensor:
    """Orthonormal DCT-II (128, coefficients) float64, from coefficient 1 on.

    Raises :class:`UserError` unless there are so many.
    """
    if not 0 < coefficients < BANDS:
        raise UserError(f"{BANDS} bands have 1 to {BANDS - 1} coefficients, not {coefficients}")
    band = torch.arange(BANDS, dtype=torch.float64) + 0.5
    numbers = torch.arange(1, coefficients + 1)
    return math.sqrt(2 / BANDS) * torch.cos(math.pi / BANDS * band[:, None] * numbers)


def _trim(samples: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Starts and lengths (N,) of the recordings without their silent ends."""
    heard = (samples.abs() > SILENCE).nonzero()[:, 0]
    first = torch.searchsorted(heard, offsets[:-1].contiguous())
    last = torch.searchsorted(heard, offsets[1:].contiguous()) - 1
    lengths = torch.zeros_like(first)
    some = last >= first
    lengths[some] = heard[last[some]] - heard[first[some]] + 1
    short = (lengths < FRAME).nonzero()[:, 0]
    if len(short):
        k = int(short[0])
        raise UserError(
            f"recording {k} of {len(lengths)} has {int(lengths[k])} samples without its silent "
            f"ends, fewer than the {FRAME} of a frame; leave it out"
        )
    return heard[first], lengths


def _reflected(starts: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    """Places of samples such that each recording, its margins reflected, fills ``counts`` frames,
    all of them end to end."""
    sizes = HOP * (counts + 1)
    clip = torch.repeat_interleave(sizes)
    place = torch.arange(len(clip)) - offsets_of(sizes)[clip] - FRAME // 2
    last = lengths[clip] - 1
    return starts[clip] + last - (last - place.abs()).abs()
