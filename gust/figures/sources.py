"""Where the figures' networks and test images come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from common.errors import UserError
from common.paths import CHECKPOINTS
from common.runs import network_file
from datasets.binding import read_group
from datasets.catalogue import catalogue, find
from datasets.generate import ensure
from gust.trained import MODEL

TEST_GROUP = "test"
TEST_SETS = "shapes_multiobj_3_"
"""Beginning of the names of the data sets that are tested on; the number of objects follows."""


def dataset_with(n_objects: int) -> str:
    """Name of the data set whose test images have so many objects.

    Raises :class:`UserError` where there is none.
    """
    name = f"{TEST_SETS}{n_objects}"
    if name not in catalogue():
        known = sorted(n.removeprefix(TEST_SETS) for n in catalogue() if n.startswith(TEST_SETS))
        raise UserError(
            f"there are no test images with {n_objects} objects, only with {', '.join(known)}"
        )
    return name


def ensure_test_images(n_objects: int, count: int, group: str = TEST_GROUP) -> None:
    """Generate the first ``count`` test images with so many objects, unless they are there.

    Raises :class:`UserError` where that cannot be done.
    """
    ensure(dataset_with(n_objects), {group: count}, [group])


class ScoredImages(NamedTuple):
    """Test images that can be scored.

    Attributes:
        images: (n, H, W) of 0 and 1.
        groups: (n, H, W) uint8 true objects; 0 is the background or an overlap.
        indices: (n,) in the test group.
    """

    images: Tensor
    groups: Tensor
    indices: np.ndarray


def read_test_images(
    n_objects: int, start: int, count: int, group: str = TEST_GROUP
) -> ScoredImages:
    """Those of ``count`` test images (or images of another group) with so many objects, from number
    ``start`` on, that can be scored.

    A few images with 2 objects cannot: two equal shapes lie exactly on one another, and no pixel
    belongs to one of them alone.

    Raises :class:`UserError` for images that have not been generated, and where none is left.
    """
    dataset = dataset_with(n_objects)
    images, groups = read_group(dataset, group, start=start, count=count)
    scored = (groups != 0).flatten(1).any(1)
    if not scored.any():
        raise UserError(
            f"in image {start} of {dataset}/{group} the objects cover each other, so there "
            "is no pixel to score; choose another one"
        )
    return ScoredImages(images[scored], groups[scored], start + np.flatnonzero(scored.numpy()))


def count_test_images(n_objects: int) -> int:
    """How many test images with so many objects there are."""
    return find(dataset_with(n_objects)).sizes[TEST_GROUP]


def images_note(n_objects: int, scored: int, count: int) -> str:
    """What a record says of the images that a mean is over."""
    note = f"mean over the first {count} test images of {dataset_with(n_objects)}"
    if scored < count:
        note += f", without the {count - scored} in which the objects cover each other"
    return note


def shipped_name(train_objects: int) -> str:
    """Name of the shipped network that was trained on images of so many objects."""
    return f"shapes_{train_objects}"


def missing_networks(train_objects: Sequence[int]) -> tuple[int, ...]:
    """Those numbers of objects of which there is no trained network."""
    return tuple(
        a for a in train_objects if not network_file(MODEL, shipped_name(a), CHECKPOINTS).exists()
    )


def missing_note(train_objects: int) -> str:
    """What a record says of a network that is not there."""
    return (
        f"there is no checkpoints/{MODEL}/{shipped_name(train_objects)}.safetensors "
        f"(python -m gust.train --train_objects {train_objects} makes it)"
    )
