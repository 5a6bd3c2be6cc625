"""bind(): images in, groups out; and one sentence for everything that cannot be bound."""

import numpy as np
import pytest
import torch
from dasbe_examples import lively_network, random_images

import dasbe
from common.clustering import adjusted_mutual_info_batch
from common.errors import UserError
from dasbe import reference
from dasbe.binding import CHUNK, bind, load_network, simulate_in_chunks
from dasbe.config import known_datasets
from dasbe.dynamics import scatter_pixels
from dasbe.grouping import group_pixels
from datasets.binding import read_group
from datasets.generate import ensure


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("binding_data")
    for name in ("bars", "shapes"):
        ensure(name, 30, ["train_multi"], folder=path)
    return path


def small(count=3):
    return random_images(count, 5, 7), lively_network("autoencoder", 35)


@pytest.mark.parametrize("as_numpy", [True, False])
def test_shapes_and_types(as_numpy):
    images, network = small()
    given = images.numpy().astype(np.uint8) if as_numpy else images
    result = bind(given, network, 6, 2, 7, n_groups=3, keep_iterations=4)
    assert isinstance(result, dasbe.Binding)
    assert result.groups.shape == (3, 5, 7)
    assert result.groups.dtype == torch.int64
    assert result.spikes.shape == (3, 4, 6, 5, 7)
    assert result.spikes.dtype == torch.uint8
    assert (result.groups[images == 0] == 0).all()
    assert not result.spikes.permute(0, 3, 4, 1, 2)[images == 0].any()
    assert result.spikes.any()
    assert set(result.groups.unique().tolist()) == {0, 1, 2}


def test_spikes_and_groups_are_those_of_the_parts():
    images, network = small()
    result = bind(images, network, 6, 2, 7, n_groups=3, seed=4, keep_iterations=4)
    for b, image in enumerate(images):
        expected, _ = reference.simulate(
            image, reference.PlainAutoencoder(network), 6, 2, 7, reference.PackageDraws(4, b, 35)
        )
        assert torch.equal(result.spikes[b].flatten(2), expected[3:])
    ((indices, kept, pixels),) = simulate_in_chunks(images, network, 6, 2, 7, 4, 7)
    labels = group_pixels(kept.flatten(1, 2), pixels, 3, 4, indices)
    assert np.array_equal(result.groups.flatten(1).numpy(), labels)


def test_groups_are_read_from_the_last_ten_iterations_whatever_is_kept():
    images, network = small()
    few, ten, all_of_them = (
        bind(images, network, 6, 2, 14, n_groups=3, keep_iterations=keep) for keep in (3, 10, 14)
    )
    assert torch.equal(few.spikes, ten.spikes[:, 7:])
    assert torch.equal(ten.spikes, all_of_them.spikes[:, 4:])
    assert torch.equal(few.groups, ten.groups)
    assert torch.equal(all_of_them.groups, ten.groups)
    ((indices, kept, pixels),) = simulate_in_chunks(images, network, 6, 2, 14, 0, 10)
    labels = group_pixels(kept.flatten(1, 2), pixels, 3, 0, indices)
    assert np.array_equal(ten.groups.flatten(1).numpy(), labels)


def test_one_image_is_a_batch_of_one():
    images, network = small()
    one = bind(images[0], network, 6, 2, 7, n_groups=2, keep_iterations=2)
    batch = bind(images, network, 6, 2, 7, n_groups=2, keep_iterations=2)
    assert one.groups.shape == (1, 5, 7)
    assert torch.equal(one.groups[0], batch.groups[0])
    assert torch.equal(one.spikes[0], batch.spikes[0])


def test_images_behind_a_chunk_do_not_change_it():
    images = random_images(CHUNK + 3, 4, 5)
    network = lively_network("spiking_code", 20)
    together = bind(images, network, 5, 2, 4, n_groups=3, keep_iterations=2)
    first = bind(images[:10], network, 5, 2, 4, n_groups=3, keep_iterations=2)
    assert torch.equal(together.spikes[:10], first.spikes)
    assert torch.equal(together.groups[:10], first.groups)
    last = simulate_in_chunks(images[CHUNK:], network, 5, 2, 4, 0, 2, first_index=CHUNK)
    ((indices, kept, pixels),) = last
    assert indices.tolist() == [CHUNK, CHUNK + 1, CHUNK + 2]
    expected = scatter_pixels(kept, pixels).view(3, 2, 5, 4, 5)
    assert torch.equal(together.spikes[CHUNK:], expected)


def test_a_seed_repeats_itself():
    images, network = small()
    runs = [
        bind(images, network, 6, 2, 4, n_groups=3, seed=seed, keep_iterations=3)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0].spikes, runs[1].spikes)
    assert torch.equal(runs[0].groups, runs[1].groups)
    assert not torch.equal(runs[0].spikes, runs[2].spikes)


def test_a_users_function_gets_all_phases_of_all_images():
    seen = []

    def function(coincidences):
        seen.append(coincidences.shape)
        assert set(coincidences.unique().tolist()) <= {0, 1}
        return 0.5 * coincidences, "a code of any kind"

    bind(random_images(3, 5, 7), function, 6, 2, 4, n_groups=2, keep_iterations=1)
    assert seen == [(3 * 6, 35)] * 4


ON = torch.ones(2, 5, 7)
NAN = ON.clone()
NAN[1, 2, 3] = float("nan")
EMPTY = ON.clone()
EMPTY[1] = 0


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (NAN, "NaN"),
        (ON / 0, "infinite"),
        (0.5 * ON, "other than 0 and 1"),
        (255 * ON.to(torch.uint8), "other than 0 and 1"),
        (-ON, "other than 0 and 1"),
        (EMPTY, "image 1 is empty"),
        (ON[None], r"shape .*\(1, 2, 5, 7\)"),
        (ON[0, 0], "shape"),
        (ON[:0], "shape"),
    ],
)
def test_images_that_cannot_be_bound(images, says):
    with pytest.raises(UserError, match=says):
        bind(images, lambda c: (c, None), 5, 2, 12, n_groups=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"window": 0}, "window is 0"),
        ({"refractory": -1}, "refractory is -1"),
        ({"iterations": 0}, "iterations is 0"),
        ({"keep_iterations": 0}, "keep_iterations is 0"),
        ({"iterations": 5}, "keep_iterations is 10, more than the 5"),
        ({"n_groups": 0}, "n_groups is 0"),
        ({"n_groups": 36}, "n_groups is 36"),
        ({"n_groups": None}, "n_groups is None"),
    ],
)
def test_numbers_out_of_range(arguments, says):
    usual = {"window": 5, "refractory": 2, "iterations": 12, "n_groups": 2}
    with pytest.raises(UserError, match=says):
        bind(ON, lambda c: (c, None), **{**usual, **arguments})


def test_a_function_that_gives_another_shape():
    with pytest.raises(UserError, match=r"\(10, 35\)"):
        bind(ON, lambda c: (c[:, :3], None), 5, 2, 12, n_groups=2)


def test_an_unknown_network_is_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"'nonsense'.*shapes"):
        bind(ON, "nonsense", 5, 2)


def test_a_missing_or_damaged_checkpoint(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        bind(ON, str(tmp_path / "none.safetensors"), 5, 2)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="damaged"):
        bind(ON, str(broken), 5, 2)


def test_a_shipped_network_wants_images_of_its_size():
    with pytest.raises(UserError, match=r"5 x 7.*20 x 20"):
        bind(ON, "bars", 54, 6)


@pytest.mark.parametrize("dataset", ["bars", "shapes", "corners", "multi_mnist", "mnist_shape"])
def test_shipped_networks_fit_their_settings(dataset):
    assert dataset in known_datasets()
    trained = load_network(dataset)
    assert trained.settings.dataset == dataset
    assert not trained.network.training
    assert trained.network.n_pixels == trained.settings.height * trained.settings.width


@pytest.mark.parametrize(
    ("dataset", "window", "refractory", "at_least"),
    [("bars", 54, 6, 0.9), ("shapes", 32, 9, 0.75)],
)
def test_shipped_networks_bind(folder, dataset, window, refractory, at_least):
    images, truth = read_group(dataset, "train_multi", count=20, folder=folder)
    found = bind(images, dataset, window, refractory, seed=111)
    assert adjusted_mutual_info_batch(truth, found.groups).mean() > at_least
    assert int(found.groups.max()) == load_network(dataset).settings.n_groups - 1


def test_bars_equal_the_direct_implementation(folder):
    """A real image with the shipped network: the same spikes, and as good a grouping; and with
    random numbers of its own, the direct loop fires as much."""
    images, truth = read_group("bars", "train_multi", count=2, folder=folder)
    network = load_network("bars").network
    found = bind(images, "bars", 54, 6, 15, n_groups=13, seed=3)
    direct = reference.PlainAutoencoder(network)
    spikes, _ = reference.simulate(images[0], direct, 54, 6, 15, reference.PackageDraws(3, 0, 400))
    assert torch.equal(found.spikes[0].flatten(2), spikes[5:])
    labels, _ = reference.group_pixels(spikes[5:].flatten(0, 1).numpy(), 13, 0)
    ours = reference.ami(truth[0], found.groups[0])
    assert ours == pytest.approx(reference.ami(truth[0], labels), abs=0.1)
    assert adjusted_mutual_info_batch(truth[:1], found.groups[:1])[0] == pytest.approx(ours)
    fresh = reference.FreshDraws(torch.Generator().manual_seed(0), 400)
    plain, _ = reference.simulate(images[0], direct, 54, 6, 15, fresh)
    # Between seeds, the rate of one image varies by a few percent.
    assert plain.float().mean().item() == pytest.approx(spikes.float().mean().item(), rel=0.2)
