"""The pure ANN and the pulse-coupled network against their equations written out."""

import math

import numpy as np
import pytest
import torch
from dasbe_examples import SHAPES, lively_network, random_images

from dasbe import noise, reference
from dasbe.baselines import neighbour_weights, pcnn, pcnn_torch, pure_ann
from dasbe.dynamics import scatter_pixels


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("kind", SHAPES)
def test_pure_ann_equals_the_direct_loop(kind, normalise):
    images = random_images(4, 5, 7)
    network = lively_network(kind, 35)
    rates, pixels = pure_ann(images, network, 9, 6, 4, np.arange(4) + 2, 3, normalise)
    assert rates.shape == (4, 3, 9, pixels.on.shape[1])
    everywhere = scatter_pixels(rates, pixels)
    for b, image in enumerate(images):
        draws = reference.PackageDraws(4, b + 2, 35)
        direct = (
            reference.PlainUngatedCode(network, draws)
            if kind == "spiking_code"
            else reference.PlainAutoencoder(network)
        )
        expected = reference.simulate_pure_ann(image, direct, 9, 6, draws, normalise)
        torch.testing.assert_close(everywhere[b], expected[3:], rtol=1e-4, atol=1e-5)
    assert everywhere[everywhere > 0].std() > 0.1


def test_pure_ann_starts_from_the_feedback_as_asked():
    images = random_images(3, 5, 7)
    network = lively_network("autoencoder", 35)
    for normalise in (True, False):
        rates, pixels = pure_ann(images, network, 6, 1, 0, np.arange(3), 1, normalise)
        start = noise.start_feedback(0, np.arange(3), 6, pixels.index, 35, normalise)
        assert torch.equal(rates[:, 0], start * pixels.on[:, None])


@pytest.mark.parametrize("jump, tau", [(10, 6), (6, 8)])
def test_pcnn_equals_its_equations(jump, tau):
    images = random_images(5, 11, 13)
    indices = np.array([0, 3, 4, 9, 1])
    spikes, pixels = pcnn(images, jump, tau, 3, indices, 120, 90)
    assert spikes.shape == (5, 90, pixels.on.shape[1])
    assert spikes.dtype == torch.uint8
    everywhere = scatter_pixels(spikes, pixels)
    keys = noise.image_keys(3, noise.DROPS, indices)
    convolved = pcnn_torch(images.double(), jump, math.exp(-1 / tau), keys, 120, 90)
    assert torch.equal(everywhere, convolved.flatten(2))
    for b, image in enumerate(images):
        expected = reference.simulate_pulse_coupled(
            image, jump, tau, 120, reference.PackageDraws(3, indices[b], 143)
        )
        assert np.array_equal(everywhere[b].numpy(), expected[30:])
    assert (everywhere.sum((1, 2)) > 0).all()


def test_a_single_pixel_fires_when_its_threshold_has_decayed():
    """Alone, U = 1 where the pixel is not dropped; theta = 2 exp(-(n + 1) / tau) reaches it at
    n + 1 = 5 > 6 ln 2. A spike adds V = 10 one step later, when U = 1 - 3.5 < 0."""
    tau, jump, n_images = 6, 10, 60
    images = torch.zeros(n_images, 4, 5)
    images[:, 2, 3] = 1
    spikes, _ = pcnn(images, jump, tau, 0, np.arange(n_images), 60, 60)
    for b in range(n_images):
        draws = reference.PackageDraws(0, b, 20)
        present = np.array([draws.drops(n)[13].item() >= np.float32(0.2) for n in range(60)])
        first = 4 + int(present[4:].argmax())
        after = 2 * math.exp(-(first + 2) / tau) + jump
        wait = math.ceil(tau * math.log(after))
        second = first + 1 + wait + int(present[first + 1 + wait :].argmax())
        assert spikes[b, :, 0].nonzero()[:2, 0].tolist() == [first, second]


def test_linking_weights():
    weights = neighbour_weights()
    assert weights.shape == (9, 9)
    assert weights[4, 4] == 0
    assert weights[0, 8] == pytest.approx(math.exp(-math.sqrt(32)))
    assert weights[4, 1] == pytest.approx(math.exp(-3))
    assert torch.equal(weights, weights.T)


@pytest.mark.parametrize("method", ["pure_ann", "pcnn"])
def test_an_image_does_not_depend_on_its_batch(method):
    images = random_images(6, 6, 7)
    network = lively_network("spiking_code", 42)

    def run(chosen):
        if method == "pcnn":
            values, pixels = pcnn(images[chosen], 10, 6, 1, chosen, 60, 40)
        else:
            values, pixels = pure_ann(images[chosen], network, 5, 4, 1, chosen, 2)
        return scatter_pixels(values, pixels)

    chosen = np.array([4, 1])
    together = run(np.arange(6))
    torch.testing.assert_close(run(chosen), together[chosen], rtol=1e-5, atol=1e-6)
    assert (together.flatten(2) if method == "pcnn" else together).any()
    off = images.flatten(1) == 0
    assert not together.flatten(1, -2).permute(0, 2, 1)[off].any()
