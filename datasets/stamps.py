"""The small pictures that the binding datasets are made of, as ``uint8`` arrays of 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Stamps(NamedTuple):
    """Several stamps in one array, so that compiled loops can pick one by its index.

    ``pixels``: (K, H, W) uint8, each stamp in the upper left corner, zeros around it;
    ``sizes``: (K, 2) int64, height and width of each stamp.
    """

    pixels: np.ndarray
    sizes: np.ndarray


def stack(stamps: Sequence[np.ndarray]) -> Stamps:
    """Put stamps (each (h, w)) of different sizes into one :class:`Stamps`."""
    sizes = np.array([stamp.shape for stamp in stamps], dtype=np.int64)
    pixels = np.zeros((len(stamps), *sizes.max(axis=0)), dtype=np.uint8)
    for stamp, (height, width), target in zip(stamps, sizes, pixels, strict=True):
        target[:height, :width] = stamp
    return Stamps(pixels, sizes)


def square_ring() -> np.ndarray:
    """A (7, 7) square, two pixels thick, with a 3 x 3 hole."""
    stamp = np.ones((7, 7), dtype=np.uint8)
    stamp[2:5, 2:5] = 0
    return stamp


def triangle() -> np.ndarray:
    """The (7, 12) outline of a triangle, apex up: row r spans 2 (r + 1) pixels, strokes are 3."""
    stamp = np.zeros((7, 12), dtype=np.uint8)
    for row in range(7):
        left = max(5 - row, 0)
        stamp[row, left : 12 - left] = 1
    for row in (3, 4):
        left = 5 - row
        stamp[row, left + 3 : 12 - left - 3] = 0
    return stamp


def shapes() -> Stamps:
    """Kinds 0, 1, 2: square ring, triangle, triangle upside down."""
    return stack([square_ring(), triangle(), triangle()[::-1]])


def corners() -> Stamps:
    """The four (5, 5) corners: first rows and columns on, rows flipped, columns flipped, both."""
    corner = np.zeros((5, 5), dtype=np.uint8)
    corner[:2] = 1
    corner[:, :2] = 1
    return stack([corner, corner[::-1], corner[:, ::-1], corner[::-1, ::-1]])


def corner_square() -> Stamps:
    """The (20, 20) Kanizsa square: a corner at each of its four corners, opening inwards."""
    upper_left, lower_left, upper_right, lower_right = corners().pixels
    stamp = np.zeros((20, 20), dtype=np.uint8)
    stamp[:5, :5] = upper_left
    stamp[-5:, :5] = lower_left
    stamp[:5, -5:] = upper_right
    stamp[-5:, -5:] = lower_right
    return stack([stamp])


def cropped_digits(images: np.ndarray) -> Stamps:
    """Digits (N, 28, 28) uint8 without their rows and columns that hold no ink at all (the few
    that are empty inside a digit go as well), on where byte >= 128."""
    return stack([image[image.any(axis=1)][:, image.any(axis=0)] >= 128 for image in images])
