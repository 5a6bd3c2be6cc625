# ruff: noqa: B905 (compiled zip knows no "strict")
"""Compiled loops that draw and paint images; every one fills (N, H, W) uint8 arrays of zeros.

All draw from a state of :mod:`datasets.mt19937` in the order that defines the datasets: the
position x (column) before y (row). Painting: ``default`` is 1 where there is any object, ``groups``
is the object's label, and 0 where objects overlap.
"""

from __future__ import annotations

import numpy as np

from datasets.mt19937 import compiled, permutation, randint
from datasets.stamps import Stamps


@compiled
def _paint(stamp, height, width, y, x, label, default, groups):
    for row in range(height):
        for column in range(width):
            if stamp[row, column]:
                if default[y + row, x + column]:
                    groups[y + row, x + column] = 0
                else:
                    default[y + row, x + column] = 1
                    groups[y + row, x + column] = label


@compiled
def _position(state, canvas, height, width):
    x = randint(state, canvas.shape[1] - width + 1)
    y = randint(state, canvas.shape[0] - height + 1)
    return y, x


@compiled
def _place(state, stamps, kind, label, default, groups):
    """Draw x and y of one stamp and paint it; returns (y, x)."""
    height, width = stamps.sizes[kind]
    y, x = _position(state, default, height, width)
    _paint(stamps.pixels[kind], height, width, y, x, label, default, groups)
    return y, x


@compiled
def bars(
    state: np.ndarray, vertical: int, horizontal: int, default: np.ndarray, groups: np.ndarray
) -> None:
    """Columns of the vertical bars without repetition, labels from 1 as drawn, then the rows."""
    for image, labels in zip(default, groups):
        height, width = image.shape
        columns = permutation(state, width)[:vertical]
        rows = permutation(state, height)[:horizontal]
        image[:, columns] = 1
        image[rows, :] = 1
        for label, column in enumerate(columns):
            labels[:, column] = label + 1
        for label, row in enumerate(rows):
            labels[row, :] = vertical + label + 1
            labels[row, columns] = 0


@compiled
def corners(
    state: np.ndarray,
    square: Stamps,
    singles: Stamps,
    with_square: int,
    single_corners: int,
    default: np.ndarray,
    groups: np.ndarray,
) -> None:
    """A Kanizsa square (or none), then single corners, each x, y and which of the four."""
    for image, labels in zip(default, groups):
        if with_square:
            _place(state, square, 0, 1, image, labels)
        for corner in range(single_corners):
            y, x = _position(state, image, 5, 5)
            kind = randint(state, 4)
            label = corner + 1 + with_square
            _paint(singles.pixels[kind], 5, 5, y, x, label, image, labels)


@compiled
def shapes(
    state: np.ndarray,
    stamps: Stamps,
    objects: int,
    kind: int,
    default: np.ndarray,
    groups: np.ndarray,
    positions: np.ndarray,
) -> None:
    """``objects`` shapes an image, each kind (drawn when ``kind`` is -1), x, y.

    ``positions`` (N, 2) receives y, x of the last one.
    """
    for i in range(len(default)):
        for label in range(1, objects + 1):
            which = randint(state, len(stamps.sizes)) if kind < 0 else kind
            y, x = _place(state, stamps, which, label, default[i], groups[i])
        positions[i, 0] = y
        positions[i, 1] = x


@compiled
def digit_and_shape(
    state: np.ndarray, digits: np.ndarray, stamps: Stamps, default: np.ndarray, groups: np.ndarray
) -> None:
    """Digit i (already binary, (N, H, W)) is object 1, one random shape on it object 2."""
    for digit, image, labels in zip(digits, default, groups):
        _paint(digit, digit.shape[0], digit.shape[1], 0, 0, 1, image, labels)
        _place(state, stamps, randint(state, len(stamps.sizes)), 2, image, labels)


@compiled
def chosen_digit(
    state: np.ndarray, digits: np.ndarray, default: np.ndarray, groups: np.ndarray
) -> None:
    """One whole digit an image, drawn among ``digits`` (M, H, W), object 1."""
    for image, labels in zip(default, groups):
        image[:] = digits[randint(state, len(digits))]
        labels[:] = image


@compiled
def single_digit(
    state: np.ndarray, digits: Stamps, first: int, default: np.ndarray, groups: np.ndarray
) -> None:
    """Cropped digit number first + i (counted round) at a random position, object 1."""
    for i in range(len(default)):
        _place(state, digits, (first + i) % len(digits.sizes), 1, default[i], groups[i])


@compiled
def _last_overlap(digits, kind, y, x, default):
    """Share of a cropped digit's ink that falls on what is painted already."""
    height, width = digits.sizes[kind]
    stamp = digits.pixels[kind, :height, :width]
    painted = default[y : y + height, x : x + width]
    return (stamp & painted).sum() / stamp.sum()


@compiled
def several_digits(
    state: np.ndarray, digits: Stamps, objects: int, default: np.ndarray, groups: np.ndarray
) -> None:
    """``objects`` cropped digits an image; all positions are drawn again while the last digit
    has 20 % or more of its ink on the others."""
    kinds = np.empty(objects, dtype=np.int64)
    for image, labels in zip(default, groups):
        for i in range(objects):
            kinds[i] = randint(state, len(digits.sizes))
        while True:
            image[:] = 0
            labels[:] = 0
            for i in range(objects - 1):
                _place(state, digits, kinds[i], i + 1, image, labels)
            last = kinds[objects - 1]
            height, width = digits.sizes[last]
            y, x = _position(state, image, height, width)
            if _last_overlap(digits, last, y, x, image) < 0.2:
                break
        _paint(digits.pixels[last], height, width, y, x, objects, image, labels)


@compiled
def _step(position, direction, limit):
    """Move one coordinate; behind the edge it is set one pixel inside and turns round."""
    position += direction
    if position > limit:
        return limit - 1, -direction
    if position < 0:
        return 1, -direction
    return position, direction


@compiled
def _move(things, stamps, image):
    for thing in things:
        height, width = stamps.sizes[thing[0]]
        thing[3], thing[1] = _step(thing[3], thing[1], image.shape[1] - width)
        thing[4], thing[2] = _step(thing[4], thing[2], image.shape[0] - height)


@compiled
def _draw_things(state, stamps, directions, kind, image, things):
    """All kinds (unless ``kind`` >= 0), all directions, then x, y of each; a thing is
    (kind, dx, dy, x, y)."""
    for thing in things:
        thing[0] = randint(state, len(stamps.sizes)) if kind < 0 else kind
    for thing in things:
        thing[1:3] = directions[randint(state, len(directions))]
    for thing in things:
        height, width = stamps.sizes[thing[0]]
        thing[4], thing[3] = _position(state, image, height, width)


@compiled
def moving_shapes(
    state: np.ndarray,
    stamps: Stamps,
    directions: np.ndarray,
    objects: int,
    kind: int,
    every: int,
    default: np.ndarray,
    groups: np.ndarray,
) -> None:
    """Sequences (N, T, H, W) of shapes that move and bounce.

    With ``every`` = 0 all objects are there from the start; otherwise a new one appears at each
    frame t with t % every == 0 until there are ``objects``.
    """
    things = np.zeros((objects, 5), dtype=np.int64)
    for sequence, labels in zip(default, groups):
        present = 0
        for t in range(len(sequence)):
            new = 0
            if present < objects and (every == 0 or t % every == 0):
                new = objects if every == 0 else 1
            appearing = things[present : present + new]
            _draw_things(state, stamps, directions, kind, sequence[t], appearing)
            present += new
            for i in range(present):
                shape, _, _, x, y = things[i]
                height, width = stamps.sizes[shape]
                pixels = stamps.pixels[shape]
                _paint(pixels, height, width, y, x, i + 1, sequence[t], labels[t])
            _move(things[:present], stamps, sequence[t])
