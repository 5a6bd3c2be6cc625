"""The converted encoder against all steps of all layers, thresholds, and stored spike trains."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from common.checkpoints import Checkpoint
from common.errors import UserError
from common.training import generator
from hebbian_snn.convnets import conversion, spike_cache
from hebbian_snn.convnets.conversion import (
    balance_thresholds,
    balanced,
    convert,
    copy_weights,
    fingerprint,
    set_thresholds,
)
from hebbian_snn.convnets.encoders import ConvolutionalEncoder
from hebbian_snn.convnets.spike_cache import cached_trains, pack, thinned, unpack
from hebbian_snn.convnets.spiking_cnn import CHUNK, FAST_CHUNK, Passage, SpikingEncoder
from hebbian_snn.kernels.scan.reference import lif_scan
from hebbian_snn.neurons import IFParameters, LIFParameters, rest

STEPS = 40
IMAGES = {
    "black and white": (28, 28),
    "grey": (28, 28),
    "two greys": (28, 28),
    "negative": (30, 20),
    "odd sides": (35, 17),
}


def draw(kind, n=5, seed=0):
    """Images (n, H, W); the first is blank."""
    numbers = torch.rand(n, *IMAGES[kind], generator=generator(seed, kind))
    images = {
        "black and white": (numbers < 0.2).byte(),
        "grey": numbers * (numbers > 0.6),
        "two greys": 0.4 * (numbers < 0.2) + (numbers > 0.9),
        "negative": 4 * (numbers - 0.5),
        "odd sides": (numbers < 0.3).byte(),
    }[kind]
    images[0] = 0
    return images


def encoder(seed=0, refractory=3, perfect_reset=False, channels=8, **options):
    network = SpikingEncoder(
        channels,
        STEPS,
        LIFParameters(refractory_time_steps=refractory, perfect_reset=perfect_reset),
        IFParameters(1.0, refractory, perfect_reset),
        generator(seed, "encoder"),
        **options,
    )
    set_thresholds(network, [0.9, 1.1, 0.8, 0.6])
    return network.requires_grad_(False)


def plain_spikes(network, images):
    """Every step of every layer, with the kernels' reference."""

    def fire(currents, neuron):
        start = rest((currents.shape[0], currents.shape[2]), currents)
        return lif_scan(currents, neuron, 1, start)[0]

    maps = images.float().flatten(1)[:, None].expand(-1, STEPS, -1)
    maps = fire(maps, network.pixels.neuron).unflatten(2, (1, *images.shape[1:]))
    for block in network.blocks:
        currents = functional.conv2d(maps.flatten(0, 1), block.weight, padding=1)
        currents = currents.unflatten(0, maps.shape[:2])
        fired = fire(currents.flatten(2), block.neuron._replace(thr=float(block.thr)))
        fired = fired.view_as(currents)
        maps = functional.max_pool2d(fired.flatten(0, 1), 2).unflatten(0, maps.shape[:2])
    return maps.flatten(2)


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize(("refractory", "perfect_reset"), [(3, False), (0, False), (2, True)])
def test_both_ways_give_the_spikes_of_all_steps(kind, refractory, perfect_reset):
    """Thresholds are high enough for few spikes and low enough for bursts."""
    network, images = encoder(1, refractory, perfect_reset), draw(kind)
    expected = plain_spikes(network, images)
    assert 0.005 < expected.mean() < 0.5 and not expected[0].any()
    assert torch.equal(network(images), expected)
    found = network.trains(images)
    assert found.dtype == torch.uint8 and torch.equal(found.float(), expected)


def test_black_and_white_images_take_the_short_way():
    network = encoder()
    passage = Passage(network, draw("black and white"))
    assert passage.regular and passage.constant and len(passage.steps) == STEPS // 4
    assert passage.steps.diff().unique().tolist() == [4]
    assert passage.currents(network.blocks[0]).shape == (5, 1, 28, 28, 8)
    grey = Passage(network, draw("grey"))
    assert not grey.regular and not grey.constant and len(grey.steps) == STEPS
    blank = Passage(network, torch.zeros(2, 28, 28))
    assert (
        blank.trains().shape == (2, STEPS, 784) and not network.trains(torch.zeros(2, 28, 28)).any()
    )


@pytest.mark.parametrize("n", [1, 8, 9, FAST_CHUNK, FAST_CHUNK + 3])
def test_chunks_do_not_matter(n):
    network, images = encoder(), draw("black and white", n + 1)
    whole = network.trains(images)
    single = torch.cat([network.trains(image[None]) for image in images])
    assert torch.equal(whole, single) and torch.equal(network(images), whole.float())


def test_gradients_are_those_of_all_steps():
    """Computing anew changes nothing; thresholds learn if they are to."""
    images = draw("two greys", CHUNK["cpu"] + 2)
    network = encoder(channels=4, learn_thresholds=True).requires_grad_(True)
    found = network(images)
    weights = torch.randn(found.shape, generator=generator(5))
    parameters = list(network.parameters())
    one = torch.autograd.grad((found * weights).sum(), parameters)
    two = torch.autograd.grad((network._all_steps(images) * weights).sum(), parameters)
    assert len(one) == 8 and all(gradient.abs().max() > 0 for gradient in one)
    for pair in zip(one, two, strict=True):
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-5)
    fixed = encoder(channels=4)
    assert [p.requires_grad for p in SpikingEncoder.parameters(fixed)] == [False] * 8


# ---- thresholds and weights -----------------------------------------------------------------


def test_weights_are_copied_and_rates_follow_the_activities():
    """With balanced thresholds the converted network orders images as the trained one."""
    trained = ConvolutionalEncoder(8, generator(3, "trained"))
    tensors = {f"network.encoder.{name}": x for name, x in trained.state_dict().items()}
    network, images = encoder(), draw("grey", 40)
    copy_weights(Checkpoint("a.safetensors", {**tensors, "other": images}, {}, ""), network)
    for mine, theirs in zip(network.blocks, trained.blocks, strict=True):
        assert torch.equal(mine.weight, theirs.weight)
    balance_thresholds(network, images)
    rates = network.trains(images[1:]).float().mean(1)
    activities = trained(images[1:])
    both = torch.stack([rates.flatten(), activities.flatten()]).corrcoef()[0, 1]
    assert both > 0.7
    smaller = {name: x[:3] for name, x in tensors.items()}
    for wrong in (
        {},
        smaller,
        {**tensors, "x.blocks.0.weight": tensors["network.encoder.blocks.0.weight"]},
    ):
        with pytest.raises(UserError, match=r"a\.safetensors does not hold the encoder"):
            copy_weights(Checkpoint("a.safetensors", wrong, {}, ""), network)


@pytest.mark.parametrize("kind", ["black and white", "grey"])
def test_thresholds_are_the_largest_currents(kind):
    """Layer by layer, over all images and steps; the later layers hear those that are set."""
    network, images = encoder(2), draw(kind, FAST_CHUNK + 5)
    found = balance_thresholds(network, images)
    other = encoder(2)
    set_thresholds(other, [9e9] * 4)
    for k in range(4):
        maps = other.pixels(images.float().flatten(1)[:, None])[0].unflatten(2, (1, 28, 28))
        for block in other.blocks[:k]:
            maps = block(maps)
        largest = float(other.blocks[k].currents(maps).max())
        assert found[k] == pytest.approx(largest * (1 + 1e-5), rel=3e-6)
        other.blocks[k].thr.fill_(found[k])
    assert [float(block.thr) for block in network.blocks] == pytest.approx(found)
    assert balance_thresholds(encoder(2), images) == found, "deterministic"


def test_rounding_does_not_decide_at_balanced_thresholds():
    """Many neurons of these images get the largest current."""
    images = (draw("two greys", 6).repeat_interleave(4, 1).repeat_interleave(4, 2))[:, :28, :28]
    network = encoder(3)
    balance_thresholds(network, images)
    expected = plain_spikes(network, images)
    assert expected.any() and torch.equal(network.trains(images).float(), expected)
    assert torch.equal(network(images), expected)


def test_thresholds_that_cannot_be():
    network = encoder()
    with pytest.raises(UserError, match="no neuron of block 1 gets a current from 3 images"):
        balance_thresholds(network, torch.zeros(3, 28, 28))
    for wrong in ([1.0] * 3, [1.0, 1.0, 0.0, 1.0], [1.0, float("nan"), 1.0, 1.0]):
        with pytest.raises(UserError, match="4 thresholds above 0 are needed"):
            set_thresholds(network, wrong)


def test_balancing_is_remembered(tmp_path, monkeypatch):
    images = draw("grey")
    found = balanced(encoder(), images, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "balance_thresholds", None)
        network = encoder()
        assert balanced(network, images, tmp_path) == found
        assert [float(block.thr) for block in network.blocks] == pytest.approx(found)
    (path,) = tmp_path.iterdir()
    path.write_text("[1, 2")
    assert balanced(encoder(), images, tmp_path) == found
    assert balanced(encoder(), images[1:], tmp_path) != 0
    assert len(list(tmp_path.iterdir())) == 2


def test_what_an_earlier_conversion_said_is_taken_if_it_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "FOLDER", tmp_path)
    trained = ConvolutionalEncoder(8, generator(3, "trained"))
    tensors = {f"network.encoder.{name}": x for name, x in trained.state_dict().items()}
    source, images = Checkpoint("a.safetensors", tensors, {}, "12ab"), draw("grey")
    told = convert(encoder(), source, images, None, 0.7)
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "balanced", None)
        network = encoder()
        assert convert(network, source, images, None, 0.7, told) == told
        assert [float(block.thr) for block in network.blocks] == pytest.approx(told["thresholds"])
        assert convert(network, source, images, [1, 2, 3, 4], 0.7, told)["threshold_images"] == 0
    false = {**told, "thresholds": [9.0] * 4}
    for other in ({"checkpoint": "34cd"}, {"threshold_images": 1}):
        assert convert(encoder(), source, images, None, 0.7, {**false, **other}) == told


def test_fingerprints_differ_for_all_that_matters():
    images = draw("grey")
    network = encoder()
    lower = encoder()
    set_thresholds(lower, [0.9, 1.1, 0.8, 0.59])
    longer = encoder()
    longer.num_time_steps += 1
    all_ = [
        fingerprint(network, images),
        fingerprint(network, images[1:]),
        fingerprint(network, images + 1e-3),
        fingerprint(encoder(seed=1), images),
        fingerprint(encoder(refractory=2), images),
        fingerprint(lower, images),
        fingerprint(longer, images),
    ]
    assert len(set(all_)) == len(all_) and fingerprint(encoder(), images.clone()) == all_[0]
    assert fingerprint(lower, images, False) == fingerprint(network, images, False)


# ---- stored trains --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 8, 13, 64])
def test_bits(n):
    spikes = (torch.rand(3, 5, n, generator=generator(n)) < 0.3).byte()
    bits = pack(spikes)
    assert bits.shape == (3, 5, -(-n // 8)) and bits.dtype == torch.uint8
    assert torch.equal(unpack(bits, n), spikes.float())
    np.testing.assert_array_equal(bits.numpy(), np.packbits(spikes.numpy(), axis=2))
    assert unpack(bits, n, torch.float64).dtype == torch.float64


def test_lost_spikes():
    bits = pack((torch.rand(50, 100, 12, generator=torch.Generator().manual_seed(0)) < 0.4).float())
    assert thinned(bits, 0.0, None) is bits
    fewer = thinned(bits, 0.3, torch.Generator().manual_seed(1))
    before, after = unpack(bits, 12), unpack(fewer, 12)
    assert (after <= before).all(), "none is added"
    assert after.sum() / before.sum() == pytest.approx(0.7, abs=0.01)
    assert torch.equal(fewer, thinned(bits, 0.3, torch.Generator().manual_seed(1)))
    assert not torch.equal(fewer, thinned(bits, 0.3, torch.Generator().manual_seed(2)))


def test_trains_are_stored_in_parts_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(spike_cache, "PART", 16)
    network, images = encoder(), draw("black and white", 40)
    found = cached_trains(network, images, "test", tmp_path)
    assert torch.equal(unpack(found, 8), network.trains(images).float())
    (folder,) = tmp_path.iterdir()
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == [f"{k:03}.safetensors" for k in range(3)]

    counted = []
    whole = SpikingEncoder.trains

    def trains(self, some):
        counted.append(len(some))
        return whole(self, some)

    monkeypatch.setattr(SpikingEncoder, "trains", trains)
    assert torch.equal(cached_trains(network, images, "test", tmp_path), found) and not counted
    files[1].write_bytes(files[1].read_bytes()[:-7])
    files[2].unlink()
    assert torch.equal(cached_trains(network, images, "test", tmp_path), found)
    assert sum(counted) == 16 + 8
    other = draw("black and white", 40, seed=1)
    assert not torch.equal(cached_trains(network, other, "test", tmp_path), found)


def test_an_interruption_loses_one_part(tmp_path, monkeypatch):
    monkeypatch.setattr(spike_cache, "PART", 16)
    network, images = encoder(), draw("black and white", 40)
    whole, count = SpikingEncoder.trains, 0

    def trains(self, some):
        nonlocal count
        count += 1
        if count == 20:
            raise KeyboardInterrupt
        return whole(self, some)

    with monkeypatch.context() as patch:
        patch.setattr(SpikingEncoder, "trains", trains)
        with pytest.raises(KeyboardInterrupt):
            cached_trains(network, images, "test", tmp_path)
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in folder.iterdir()] == ["000.safetensors"]
    expected = network.trains(images).float()
    assert torch.equal(unpack(cached_trains(network, images, "test", tmp_path), 8), expected)
