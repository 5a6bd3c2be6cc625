"""The random numbers of DASBE: those of ``common.counter_noise``, one stream for each purpose.

An image's numbers depend on (seed, stream, image index) alone: it gets the same ones in any batch,
on any device, in any order, and a resumed table equals an uninterrupted one. Of a hash, the pixels
use the uniform number and the two fair coins.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from common.counter_noise import (
    GOLDEN,
    bits,
    coins_of,
    image_keys,
    mix,
    uniform,
    uniform_of,
    uniforms,
)

__all__ = [
    "CODE",
    "DROPS",
    "GOLDEN",
    "KMEANS",
    "PIXELS",
    "START",
    "bits",
    "coins_of",
    "image_keys",
    "mix",
    "phase_uniforms",
    "start_feedback",
    "uniform",
    "uniform_of",
    "uniforms",
]

START, PIXELS, CODE, KMEANS, DROPS = range(5)
"""Streams: start of the feedback, the spiking pixels, a spiking code, k-means, PCNN drop-out."""


def start_feedback(
    seed: int,
    image_indices: np.ndarray | Tensor,
    window: int,
    pixels: Tensor,
    n_pixels: int,
    normalise: bool = True,
) -> Tensor:
    """The feedback before the first iteration: |standard normal| / its sum over the window.

    Args:
        seed, image_indices: as for :func:`image_keys`.
        window: number of phases T.
        pixels: (B or 1, P) int64, the pixels that are wanted.
        n_pixels: number of all pixels H*W of an image.
        normalise: divide each pixel's T values by their sum ("Start").

    Returns:
        (B, T, P) float32.
    """
    u = uniforms(image_keys(seed, START, image_indices), 0, window, pixels, n_pixels)
    half_normal = 2**0.5 * torch.erfinv(u.double() + 2.0**-25)  # the inverse of its CDF
    if normalise:
        half_normal /= half_normal.sum(dim=1, keepdim=True)
    return half_normal.float()


def phase_uniforms(
    keys: np.ndarray, iteration: int, window: int, device: torch.device
) -> Callable[[int], Tensor]:
    """A function n -> (B, T, n) uniform numbers of this iteration, for n code neurons."""

    def of_units(n_units: int) -> Tensor:
        columns = torch.arange(n_units, device=device)[None]
        return uniforms(keys, iteration * window * n_units, window, columns)

    return of_units
