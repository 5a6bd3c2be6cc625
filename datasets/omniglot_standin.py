"""Procedural characters made of strokes, in place of Omniglot where nothing can be downloaded."""

from __future__ import annotations

import numpy as np

EMBEDDED_STROKES = "embedded strokes"

_CHARACTERS = {"train": 100, "val": 20, "test": 30}
_DRAWINGS, _SIDE = 20, 28
_FEWEST, _STROKES = 2, 3
_KNOTS = 4  # control points of a stroke, a cubic Bezier curve
_POINTS = 48  # of a stroke where the pen is set down
_CORNERS = 0.0, 1.0  # control points lie in this square, the image
_WOBBLE = 0.03  # standard deviation of a control point from drawing to drawing
_SKEW = 0.06  # of the four numbers of a drawing's linear map
_PEN = 2  # pixels


def stroke_characters(seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """150 characters of two or three curved strokes, 20 drawings each.

    Every drawing moves the curves' control points a little and stretches, turns and skews the
    whole.

    Returns:
        the (20, 28, 28) uint8 drawings, 1 = ink, of every character, and the characters of the
        splits: 100 "train", 20 "val", 30 "test", and "trainval".
    """
    rng = np.random.default_rng(seed)
    n = sum(_CHARACTERS.values())
    knots = rng.uniform(*_CORNERS, (n, 1, _STROKES, _KNOTS, 2))
    # A stroke starts where the one before ends, in half of all cases.
    joined = rng.random((n, 1, _STROKES - 1)) < 0.5
    knots[:, :, 1:, 0][joined] = knots[:, :, :-1, -1][joined]
    n_strokes = rng.integers(_FEWEST, _STROKES + 1, n)
    drawn = knots + _WOBBLE * rng.standard_normal((n, _DRAWINGS, _STROKES, _KNOTS, 2))
    maps = np.eye(2) + _SKEW * rng.standard_normal((n, _DRAWINGS, 2, 2))
    drawn = np.einsum("cdij,cdskj->cdski", maps, drawn - 0.5) + 0.5
    images = _paint(drawn, np.arange(_STROKES) < n_strokes[:, None])
    names = [f"Strokes/character{k:03}" for k in range(n)]
    ends = np.cumsum(list(_CHARACTERS.values()))
    parts = {
        split: names[end - count : end]
        for (split, count), end in zip(_CHARACTERS.items(), ends.tolist(), strict=True)
    }
    parts["trainval"] = parts["train"] + parts["val"]
    return dict(zip(names, images, strict=True)), parts


def _paint(knots: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Images (C, 20, 28, 28) of curves with these knots (C, 20, strokes, 4, 2) in the unit square;
    ``there`` (C, strokes) says which strokes a character has."""
    t = np.linspace(0, 1, _POINTS)
    weights = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    points = np.einsum("pk,cdskj->cdspj", weights, knots)
    corners = np.floor(points * _SIDE).astype(int).clip(0, _SIDE - _PEN)
    images = np.zeros((*knots.shape[:2], _SIDE, _SIDE), np.uint8)
    character, drawing, _, _ = np.indices(corners.shape[:-1], sparse=True)
    ink = np.broadcast_to(there[:, None, :, None], corners.shape[:-1]).astype(np.uint8)
    for dy in range(_PEN):
        for dx in range(_PEN):
            place = character, drawing, corners[..., 0] + dy, corners[..., 1] + dx
            np.maximum.at(images, place, ink)
    return images
