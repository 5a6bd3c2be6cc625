"""The binding datasets as streams of batches, bit-identical with those of the papers.

A stream yields :class:`Batch` after :class:`Batch` in the order in which images are drawn; one
group's batches follow each other without a gap. Whoever needs less stops reading or drops what is
too much, so that a small dataset is always a prefix of the full one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from datasets import kernels, stamps
from datasets.mt19937 import permutation

BATCH = 1000

_DIRECTIONS = np.array(
    [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, -1), (-1, 1)], dtype=np.int64
)


class Batch(NamedTuple):
    """Some consecutive images of one group: name of array -> (N, ...) uint8."""

    group: str
    arrays: dict[str, np.ndarray]


class Digits(NamedTuple):
    """What the MNIST datasets are made of: (N, 28, 28) uint8 images, and where they are from."""

    train: np.ndarray
    test: np.ndarray
    source: str


Fill = Callable[[int, np.ndarray, np.ndarray], None]


def _batches(group: str, count: int, shape: tuple[int, ...], fill: Fill) -> Iterator[Batch]:
    """Let ``fill(first, default, groups)`` paint ``count`` images, BATCH at a time."""
    for first in range(0, count, BATCH):
        default = np.zeros((min(BATCH, count - first), *shape), dtype=np.uint8)
        groups = np.zeros_like(default)
        fill(first, default, groups)
        yield Batch(group, {"default": default, "groups": groups})


def _joined(batches: list[Batch]) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([batch.arrays[name] for batch in batches])
        for name in ("default", "groups")
    }


def _shuffled(state: np.ndarray, group: str, batches: list[Batch]) -> Iterator[Batch]:
    """The images of ``batches`` in a random order."""
    arrays = _joined(batches)
    order = permutation(state, len(arrays["default"]))
    for first in range(0, len(order), BATCH):
        chosen = order[first : first + BATCH]
        yield Batch(group, {name: array[chosen] for name, array in arrays.items()})


def bars(state: np.ndarray) -> Iterator[Batch]:
    """Bars, 20 x 20: 6 + 6 bars an image; single bars in ``train_single*``."""

    def draw(group: str, count: int, vertical: int, horizontal: int) -> Iterator[Batch]:
        return _batches(
            group, count, (20, 20), lambda _, d, g: kernels.bars(state, vertical, horizontal, d, g)
        )

    yield from draw("train_multi", 60_000, 6, 6)
    yield from draw("test", 10_000, 6, 6)
    singles = []
    for batch in draw("train_single_hori", 100, 0, 1):
        singles.append(batch)
        yield batch
    for batch in draw("train_single_vert", 100, 1, 0):
        singles.append(batch)
        yield batch
    yield from _shuffled(state, "train_single", singles)


def corners(state: np.ndarray) -> Iterator[Batch]:
    """Corners, 28 x 28: a Kanizsa square and four corners an image."""
    square, singles = stamps.corner_square(), stamps.corners()

    def draw(group: str, count: int, with_square: int, corner_count: int) -> Iterator[Batch]:
        def fill(_: int, default: np.ndarray, groups: np.ndarray) -> None:
            kernels.corners(state, square, singles, with_square, corner_count, default, groups)

        return _batches(group, count, (28, 28), fill)

    yield from draw("train_multi", 60_000, 1, 4)
    yield from draw("test", 10_000, 1, 4)
    squares = 15_000 // 7
    single = [*draw("train_single", squares, 1, 0), *draw("train_single", 15_000 - squares, 0, 1)]
    yield from _shuffled(state, "train_single", single)


def _shapes(
    state: np.ndarray, group: str, count: int, objects: int, kind: int = -1, pos: bool = False
) -> Iterator[Batch]:
    shape_stamps = stamps.shapes()
    positions = np.zeros((BATCH, 2), dtype=np.uint8)

    def fill(_: int, default: np.ndarray, groups: np.ndarray) -> None:
        kernels.shapes(state, shape_stamps, objects, kind, default, groups, positions)

    for batch in _batches(group, count, (28, 28), fill):
        if pos:
            batch.arrays["pos"] = positions[: len(batch.arrays["default"])].copy()
        yield batch


def shapes(state: np.ndarray) -> Iterator[Batch]:
    """Shapes, 28 x 28: three shapes an image."""
    yield from _shapes(state, "train_multi", 60_000, 3)
    yield from _shapes(state, "test", 10_000, 3)
    yield from _shapes(state, "train_single", 20_000, 1)
    for kind in range(3):
        yield from _shapes(state, f"train_single_{kind}", 20_000, 1, kind)


def shapes_with_pos(state: np.ndarray) -> Iterator[Batch]:
    """Single shapes with their positions ``pos`` (N, 2): y, x."""
    for kind in range(3):
        yield from _shapes(state, f"train_single_{kind}", 60_000, 1, kind, pos=True)


def shapes_multiobj(state: np.ndarray, train: int, test: int) -> Iterator[Batch]:
    """Shapes with ``train`` objects (also in ``train_single``) and ``test`` objects (GUST)."""
    yield from _shapes(state, "train_multi", 20_000, train)
    yield from _shapes(state, "test", 10_000, test)
    yield from _shapes(state, "train_single", 20_000, train)
    for kind in range(3):
        yield from _shapes(state, f"train_single_{kind}", 20_000, 1, kind)


def mnist_shape(state: np.ndarray, digits: Digits) -> Iterator[Batch]:
    """A digit (byte > 128, object 1) with one shape on it (object 2), 28 x 28."""
    shape_stamps = stamps.shapes()
    train, test = ((images > 128).astype(np.uint8) for images in (digits.train, digits.test))

    def draw(group: str, count: int, images: np.ndarray) -> Iterator[Batch]:
        def fill(first: int, default: np.ndarray, groups: np.ndarray) -> None:
            chosen = images[np.arange(first, first + len(default)) % len(images)]
            kernels.digit_and_shape(state, chosen, shape_stamps, default, groups)

        return _batches(group, count, (28, 28), fill)

    def draw_digits(_: int, default: np.ndarray, groups: np.ndarray) -> None:
        kernels.chosen_digit(state, train, default, groups)

    yield from draw("train_multi", 60_000, train)
    yield from draw("test", 10_000, test)
    no_digits = np.zeros((1, 28, 28), dtype=np.uint8)
    single = [
        *_batches("train_single", 10_000, (28, 28), draw_digits),
        *draw("train_single", 10_000, no_digits),
    ]
    yield from _shuffled(state, "train_single", single)


def multi_mnist(state: np.ndarray, digits: Digits) -> Iterator[Batch]:
    """Three digits (byte >= 128) an image, 48 x 48; ``train_single`` one."""
    train = stamps.cropped_digits(digits.train)
    test = stamps.cropped_digits(digits.test)

    def draw(group: str, count: int, chosen: stamps.Stamps) -> Iterator[Batch]:
        return _batches(
            group, count, (48, 48), lambda _, d, g: kernels.several_digits(state, chosen, 3, d, g)
        )

    yield from draw("train_multi", 60_000, train)
    yield from draw("test", 10_000, test)
    yield from _batches(
        "train_single",
        300_000,
        (48, 48),
        lambda first, d, g: kernels.single_digit(state, train, first, d, g),
    )


def moving_shapes(
    state: np.ndarray, frames: int, sequences: int, train_multi: int, every: int
) -> Iterator[Batch]:
    """Moving shapes, (T, 28, 28) a sequence: 3 objects in ``train_multi`` and ``test``, else 1.

    ``every`` = 0: all objects from the first frame; otherwise one more every that many frames.
    """
    shape_stamps = stamps.shapes()
    plan = [("train_multi", train_multi, 3, -1), ("test", sequences, 3, -1)]
    plan += [("train_single", sequences, 1, -1)]
    plan += [(f"train_single_{kind}", sequences, 1, kind) for kind in range(3)]
    for group, count, objects, kind in plan:
        for _ in range(count):
            default = np.zeros((1, frames, 28, 28), dtype=np.uint8)
            groups = np.zeros_like(default)
            kernels.moving_shapes(
                state, shape_stamps, _DIRECTIONS, objects, kind, every, default, groups
            )
            yield Batch(group, {"default": default, "groups": groups})
