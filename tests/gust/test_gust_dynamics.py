"""The loop against its equations, one step at a time: spikes, codes, gradients."""

import numpy as np
import pytest
import torch
from gust_examples import SIZES, WIDTHS, lively_network, random_images

from common.errors import UserError
from gust import reference
from gust.dynamics import DROPS, PIXELS, START, Noise, drop_pixels, iterate, unroll
from gust.losses import receptive_field_sum

BACKENDS = ["reference", "cpu"]
ITERATIONS = 6
NOISE = Noise(3, 5, np.array([4, 0, 17, 9, 2]))


def run(images, network, settings, iterations, backend, noise=NOISE):
    """Spikes (IT, B, T, P) and codes (IT, B, T, C)."""
    steps = iterate(images, network, settings, noise, backend)
    pairs = [next(steps) for _ in range(iterations)]
    return torch.stack([s for s, _ in pairs]), torch.stack([state.code for _, state in pairs])


def direct(images, network, settings, iterations):
    draws = reference.PackageDraws(NOISE, images.shape[1])
    sizes = (settings.window, settings.refractory, settings.thinning)
    return reference.simulate(images, network, *sizes, iterations, draws)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("settings", SIZES, ids=str)
@pytest.mark.parametrize("widths", WIDTHS)
def test_spikes_and_codes_are_those_of_the_equations(backend, settings, widths):
    images, network = random_images(5, 31), lively_network(widths, 31)
    spikes, codes = run(images, network, settings, ITERATIONS, backend)
    expected_spikes, _, expected_codes = direct(images, network, settings, ITERATIONS)
    assert 0 < spikes.float().mean() < 0.9
    assert torch.equal(spikes.double(), expected_spikes)
    torch.testing.assert_close(codes, expected_codes, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_spikes_in_single_precision(backend):
    images = random_images(5, 31, dtype=torch.float32)
    network = lively_network("plain", 31, dtype=torch.float32)
    spikes, _ = run(images, network, SIZES[0], ITERATIONS, backend)
    expected, _, _ = direct(images, network, SIZES[0], ITERATIONS)
    assert torch.equal(spikes.float(), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("settings", SIZES, ids=str)
@pytest.mark.parametrize("widths", WIDTHS)
def test_gradients_are_those_of_the_equations(backend, settings, widths):
    clean, network = random_images(5, 31), lively_network(widths, 31)
    images = drop_pixels(clean, 0.3, NOISE)
    feedback, spikes = unroll(images, network, settings, ITERATIONS, NOISE, False, backend)
    assert spikes is None
    loss = receptive_field_sum(feedback, None, clean).sum()
    found = torch.autograd.grad(loss, list(network.parameters()))
    sizes = (settings.window, settings.refractory, settings.thinning)
    draws = reference.PackageDraws(NOISE, images.shape[1])
    plain = reference.batch_loss(images, clean, network, *sizes, ITERATIONS, draws)
    expected = torch.autograd.grad(plain, list(network.parameters()))
    assert loss.item() == pytest.approx(plain.item(), rel=1e-12)
    for (name, _), one, other in zip(network.named_parameters(), found, expected, strict=True):
        assert other.abs().max() > 0, name
        error = (one - other).abs().max() / other.abs().max()
        assert error < 1e-12, (name, error)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_codes_pass_through_the_spikes_of_the_iteration_before(backend):
    """With one phase and no thinning, every spike acts on the codes of two iterations."""
    images, network = random_images(5, 31), lively_network("plain", 31)
    _, codes = run(images, network, SIZES[2], 2, backend)
    _, _, expected = direct(images, network, SIZES[2], 2)
    weights = torch.linspace(-1, 1, codes[1].numel()).double().view_as(codes[1])
    for parameter in (network.decoder[-1].weight, network.encoder[0].weight):
        one, other = (
            torch.autograd.grad((weights * c[1]).sum(), parameter, retain_graph=True)[0]
            for c in (codes, expected)
        )
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_images_spikes_do_not_depend_on_its_batch(backend):
    images, network = random_images(5, 31), lively_network("plain", 31)
    together, _ = run(images, network, SIZES[0], ITERATIONS, backend)
    for place in range(5):
        part = slice(place, place + 1)
        alone, _ = run(images[part], network, SIZES[0], ITERATIONS, backend, NOISE.part(part))
        assert torch.equal(alone[:, 0], together[:, place])


def test_a_stopped_loop_goes_on_exactly():
    images, network = random_images(5, 31), lively_network("plain", 31)
    whole, _ = run(images, network, SIZES[1], 6, "cpu")
    steps = iterate(images, network, SIZES[1], NOISE, "cpu")
    for _ in range(3):
        _, state = next(steps)
    again = iterate(images, network, SIZES[1], NOISE, "cpu", state)
    assert torch.equal(torch.stack([next(again)[0] for _ in range(3)]), whole[3:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_unroll_gives_feedback_and_spikes_of_the_last_iteration(backend):
    images, network = random_images(5, 31), lively_network("plain", 31)
    feedback, spikes = unroll(images, network, SIZES[1], 4, NOISE, True, backend)
    expected_spikes, expected_feedback, _ = direct(images, network, SIZES[1], 4)
    assert torch.equal(spikes, expected_spikes[-1].detach())
    assert not spikes.requires_grad
    torch.testing.assert_close(feedback, expected_feedback[-1], rtol=1e-12, atol=1e-13)


def test_spikes_of_a_pixel_keep_their_distance():
    images, network = random_images(5, 31), lively_network("plain", 31)
    spikes, _ = run(images, network, SIZES[0], 20, "cpu")
    trains = spikes.transpose(0, 1).flatten(1, 2).transpose(1, 2).flatten(0, 1)
    gaps = torch.cat([train.nonzero().flatten().diff() for train in trains])
    assert gaps.min() == SIZES[0].refractory
    assert not trains[images.flatten() == 0].any()


def test_numbers_of_rounds_seeds_and_streams_differ():
    keys = [
        Noise(seed, round_, np.arange(50)).keys(stream)
        for seed in range(3)
        for round_ in range(3)
        for stream in (START, PIXELS, DROPS)
    ]
    assert len(np.unique(np.concatenate(keys))) == 27 * 50


def test_pixels_are_dropped_at_the_given_rate():
    clean = torch.ones(200, 300)
    noise = Noise(0, 1, np.arange(200))
    noisy = drop_pixels(clean, 0.65, noise)
    assert set(noisy.unique().tolist()) == {0, 1}
    assert noisy.mean().item() == pytest.approx(0.35, abs=0.01)
    assert noisy.mean(1).std() > 0.015, "pixels are dropped one by one"
    assert torch.equal(drop_pixels(clean[7:9], 0.65, noise.part(slice(7, 9))), noisy[7:9])
    assert not torch.equal(drop_pixels(clean, 0.65, noise._replace(round=2)), noisy)
    assert torch.equal(drop_pixels(clean, 0.0, noise), clean)
    assert not drop_pixels(clean, 1.0, noise).any()


@pytest.mark.parametrize("name", ["nonsense", "cuda"])
def test_a_backend_that_cannot_run(name):
    images, network = random_images(5, 31), lively_network("plain", 31)
    with pytest.raises(UserError, match=name):
        next(iterate(images, network, SIZES[0], NOISE, name))
