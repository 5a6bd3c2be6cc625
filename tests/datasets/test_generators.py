import collections
import hashlib
import json

import numpy as np
import plain_generators as plain
import pytest

import datasets
from common.errors import UserError
from common.paths import ROOT
from datasets import generators, kernels, stamps
from datasets.catalogue import catalogue, find
from datasets.generate import CHECKSUMS, load_digits
from datasets.hdf5 import take
from datasets.mt19937 import new_state, randint

PUBLISHED = json.loads(CHECKSUMS.read_text())


@pytest.fixture(scope="module")
def real_digits():
    try:
        return load_digits("real")
    except UserError as error:
        pytest.skip(f"MNIST is needed: {error}")


@pytest.fixture(scope="module")
def embedded_digits():
    return load_digits("embedded")


def hashes(dataset, digits):
    """SHA-256 of every full array, and its number of images, without keeping the images."""
    sums, counts = collections.defaultdict(hashlib.sha256), collections.Counter()
    for group, arrays in dataset.draw(new_state(dataset.seed), digits):
        for name, array in arrays.items():
            sums[f"{group}/{name}"].update(array)
            counts[f"{group}/{name}"] += len(array)
    return {name: (found.hexdigest(), counts[name]) for name, found in sums.items()}


def test_the_package_is_this_repositorys():
    assert datasets.__file__ == str(ROOT / "datasets" / "__init__.py")


def test_catalogue_and_published_checksums_name_the_same_arrays():
    assert set(catalogue()) == set(PUBLISHED)
    for dataset in catalogue().values():
        for name, entry in PUBLISHED[dataset.name].items():
            group, array = name.split("/")
            item = (2,) if array == "pos" else dataset.item_shape
            assert entry["shape"] == [dataset.sizes[group], *item]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_array_is_bit_identical_with_the_published_one(name, request):
    dataset = find(name)
    digits = request.getfixturevalue("real_digits") if dataset.needs_digits else None
    expected = {key: (entry["sha256"], entry["shape"][0]) for key, entry in PUBLISHED[name].items()}
    assert hashes(dataset, digits) == expected


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_small_sets_are_the_beginnings_of_full_ones(name, embedded_digits):
    dataset = find(name)
    full = collections.defaultdict(list)
    for group, arrays in dataset.draw(new_state(1), embedded_digits):
        if len(full) == len(dataset.sizes) and sum(map(len, full[group])) >= 3:
            break
        if sum(map(len, full[group])) < 3:
            full[group].append(arrays["groups"])
    small = collections.defaultdict(list)
    few = {group: 3 for group in dataset.sizes}
    for first, (group, arrays) in take(dataset.draw(new_state(1), embedded_digits), few):
        assert first == sum(map(len, small[group]))
        small[group].append(arrays["groups"])
    assert set(small) == set(full) == set(dataset.sizes)
    for group in dataset.sizes:
        expected = np.concatenate(full[group])[:3]
        np.testing.assert_array_equal(np.concatenate(small[group]), expected)


SHAPES = stamps.shapes()
POSITIONS = np.zeros((generators.BATCH, 2), dtype=np.uint8)
DIRECTIONS = np.array(plain.DIRECTIONS)

# name -> (shape of an item, compiled loop, plain generator of item i)
PAIRS = {
    "bars": (
        (20, 20),
        lambda s, d, g: kernels.bars(s, 6, 6, d, g),
        lambda r, i: plain.bars(r, 6, 6),
    ),
    "one bar": (
        (20, 20),
        lambda s, d, g: kernels.bars(s, 0, 1, d, g),
        lambda r, i: plain.bars(r, 0, 1),
    ),
    "corners": (
        (28, 28),
        lambda s, d, g: kernels.corners(s, stamps.corner_square(), stamps.corners(), 1, 4, d, g),
        lambda r, i: plain.corners(r, 1, 4),
    ),
    "corner": (
        (28, 28),
        lambda s, d, g: kernels.corners(s, stamps.corner_square(), stamps.corners(), 0, 1, d, g),
        lambda r, i: plain.corners(r, 0, 1),
    ),
    "shapes": (
        (28, 28),
        lambda s, d, g: kernels.shapes(s, SHAPES, 3, -1, d, g, POSITIONS),
        lambda r, i: plain.shapes(r, 3),
    ),
    "triangle": (
        (28, 28),
        lambda s, d, g: kernels.shapes(s, SHAPES, 1, 1, d, g, POSITIONS),
        lambda r, i: plain.shapes(r, 1, 1),
    ),
    "moving": (
        (40, 28, 28),
        lambda s, d, g: kernels.moving_shapes(s, SHAPES, DIRECTIONS, 3, -1, 0, d, g),
        lambda r, i: plain.moving(r, 40, 3),
    ),
    "appearing": (
        (50, 28, 28),
        lambda s, d, g: kernels.moving_shapes(s, SHAPES, DIRECTIONS, 3, -1, 15, d, g),
        lambda r, i: plain.moving(r, 50, 3, every=15),
    ),
    "one square moving": (
        (40, 28, 28),
        lambda s, d, g: kernels.moving_shapes(s, SHAPES, DIRECTIONS, 1, 0, 15, d, g),
        lambda r, i: plain.moving(r, 40, 1, 0, every=15),
    ),
}


def check_against_plain(shape, compiled, plainly, count=25, seed=11):
    state, rng = new_state(seed), np.random.RandomState(seed)
    default = np.zeros((count, *shape), dtype=np.uint8)
    groups = np.zeros_like(default)
    compiled(state, default, groups)
    for i in range(count):
        image, labels = plainly(rng, i)
        np.testing.assert_array_equal(default[i], image)
        np.testing.assert_array_equal(groups[i], labels)
    assert randint(state, 10**6) == rng.randint(0, 10**6), "not the same number of draws"


@pytest.mark.parametrize("name", PAIRS)
def test_compiled_loops_draw_what_the_plain_generators_draw(name):
    check_against_plain(*PAIRS[name])


def test_compiled_digits_draw_what_the_plain_generators_draw(embedded_digits):
    digits = embedded_digits.test
    cropped, binary = stamps.cropped_digits(digits), (digits > 128).astype(np.uint8)
    check_against_plain(
        (28, 28),
        lambda s, d, g: kernels.digit_and_shape(s, binary[:25], SHAPES, d, g),
        lambda r, i: plain.digit_and_shape(r, digits[i]),
    )
    check_against_plain(
        (28, 28),
        lambda s, d, g: kernels.chosen_digit(s, binary, d, g),
        lambda r, i: plain.labels_of([digits[r.randint(0, len(digits))] > 128]),
    )
    check_against_plain(
        (48, 48),
        lambda s, d, g: kernels.several_digits(s, cropped, 3, d, g),
        lambda r, i: plain.several_digits(r, digits),
    )
    check_against_plain(
        (48, 48),
        lambda s, d, g: kernels.single_digit(s, cropped, 290, d, g),
        lambda r, i: plain.single_digit(r, digits[(290 + i) % len(digits)]),
    )


def test_positions_say_where_the_shape_is():
    dataset = find("shapes_with_pos")
    (_, batch), *_ = take(dataset.draw(new_state(dataset.seed), None), {"train_single_1": 50})
    for image, (y, x) in zip(batch.arrays["default"], batch.arrays["pos"], strict=True):
        np.testing.assert_array_equal(image[y : y + 7, x : x + 12], stamps.triangle())


def test_single_groups_are_shuffled_and_hold_what_they_should():
    dataset = find("corners")
    batches = take(dataset.draw(new_state(dataset.seed), None), {"train_single": 15_000})
    ink = np.concatenate([batch.arrays["default"].sum(axis=(1, 2)) for _, batch in batches])
    single = stamps.corners().pixels[0].sum()
    assert np.count_nonzero(ink == 4 * single) == 15_000 // 7
    assert np.count_nonzero(ink == single) == 15_000 - 15_000 // 7
    assert not (ink[: 15_000 // 7] == 4 * single).all()
