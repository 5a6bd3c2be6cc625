"""The binding datasets by name: seed, groups, sizes, and the generator of each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from datasets import generators
from datasets.choices import check_choice
from datasets.generators import Batch, Digits

GENERATOR_VERSION = 1  # to be raised when a change alters any array


@dataclass(frozen=True)
class Dataset:
    """What a generated file holds.

    ``sizes``: images (or sequences) of each full group; ``item_shape``: (H, W) or (T, H, W);
    ``draw(state, digits)`` yields the batches, ``digits`` being None unless ``needs_digits``;
    ``usual``: smaller numbers that are made unless more is asked for.
    """

    name: str
    seed: int
    item_shape: tuple[int, ...]
    sizes: dict[str, int]
    draw: Callable[[np.ndarray, Digits | None], Iterator[Batch]]
    arrays: tuple[str, ...] = ("default", "groups")
    dtype: str = "float32"
    needs_digits: bool = False
    usual: tuple[tuple[str, int], ...] = ()

    @property
    def usual_counts(self) -> dict[str, int]:
        """Images (or sequences) of each group that are made by default."""
        return self.sizes | dict(self.usual)


def _sizes(train_multi: int, test: int, train_single: int, kinds: int = 0) -> dict[str, int]:
    sizes = {"train_multi": train_multi, "test": test, "train_single": train_single}
    return sizes | {f"train_single_{kind}": kinds for kind in range(3) if kinds}


def _without_digits(draw: Callable[..., Iterator[Batch]], **options: int):
    return lambda state, _: draw(state, **options)


def _multiobj(train: int, test: int) -> Dataset:
    return Dataset(
        f"shapes_multiobj_{train}_{test}",
        265076,
        (28, 28),
        _sizes(20_000, 10_000, 20_000, 20_000),
        _without_digits(generators.shapes_multiobj, train=train, test=test),
    )


def _moving(name: str, frames: int, train_multi: int, every: int) -> Dataset:
    return Dataset(
        name,
        265076,
        (frames, 28, 28),
        _sizes(train_multi, 60, 60, 60),
        _without_digits(
            generators.moving_shapes,
            frames=frames,
            sequences=60,
            train_multi=train_multi,
            every=every,
        ),
        dtype="uint8",
    )


@functools.cache
def catalogue() -> dict[str, Dataset]:
    """All binding datasets by name."""
    bar_sizes = _sizes(60_000, 10_000, 200) | {"train_single_hori": 100, "train_single_vert": 100}
    known = [
        Dataset("bars", 471958, (20, 20), bar_sizes, _without_digits(generators.bars)),
        Dataset(
            "corners",
            746519283,
            (28, 28),
            _sizes(60_000, 10_000, 15_000),
            _without_digits(generators.corners),
        ),
        Dataset(
            "shapes",
            265076,
            (28, 28),
            _sizes(60_000, 10_000, 20_000, 20_000),
            _without_digits(generators.shapes),
        ),
        Dataset(
            "shapes_with_pos",
            265076,
            (28, 28),
            {f"train_single_{kind}": 60_000 for kind in range(3)},
            _without_digits(generators.shapes_with_pos),
            arrays=("default", "groups", "pos"),
        ),
        *(_multiobj(train, test) for train, test in ((2, 3), (3, 3), (4, 3), (3, 2), (3, 4))),
        Dataset(
            "mnist_shape",
            985619,
            (28, 28),
            _sizes(60_000, 10_000, 20_000),
            generators.mnist_shape,
            needs_digits=True,
        ),
        Dataset(
            "multi_mnist",
            36520,
            (48, 48),
            _sizes(60_000, 10_000, 300_000),
            generators.multi_mnist,
            needs_digits=True,
            usual=(("train_single", 60_000),),
        ),
        _moving("moving_shapes", frames=1000, train_multi=60, every=0),
        _moving("moving_shapes_3", frames=200, train_multi=600, every=15),
    ]
    return {dataset.name: dataset for dataset in known}


def find(name: str) -> Dataset:
    """The dataset called ``name``; raises :class:`UserError` that lists the known names."""
    check_choice("dataset", name, catalogue())
    return catalogue()[name]


def check_groups(dataset: Dataset, groups: list[str]) -> None:
    """Raise :class:`UserError` naming the dataset's groups unless it has all of ``groups``."""
    for group in groups:
        check_choice(f"group of {dataset.name}", group, dataset.sizes)
