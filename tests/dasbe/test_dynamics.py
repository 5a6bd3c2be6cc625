"""The batched loop against the one written step by step, and what must hold for any spikes."""

import itertools

import numpy as np
import pytest
import torch
from dasbe_examples import MORE_SHAPES, SHAPES, lively_network, random_images
from hypothesis import given, settings
from hypothesis import strategies as st

from dasbe import dynamics, noise, reference
from dasbe.networks import CallableNetwork


def all_iterations(images, network, window, refractory, iterations, seed, indices=None):
    """Spikes and used feedback (B, N, T, H*W) of every iteration, 0 at off-pixels."""
    indices = np.arange(len(images)) if indices is None else indices
    pixels, network = dynamics.restricted(images, network)
    state = dynamics.start(pixels, window, seed, indices)
    steps = dynamics.iterate(state, pixels, network, refractory, seed, indices)
    with torch.inference_mode():
        shown = [iteration for iteration, _ in itertools.islice(steps, iterations)]
    spikes = torch.stack([one.spikes for one in shown], 1)
    feedback = torch.stack([one.feedback for one in shown], 1) * pixels.on[:, None, None]
    return dynamics.scatter_pixels(spikes, pixels), dynamics.scatter_pixels(feedback, pixels)


@pytest.mark.parametrize(
    ("kind", "height", "width", "window", "refractory"),
    [
        (kind, *sizes)
        for kind in MORE_SHAPES
        for sizes in ((5, 7, 9, 2), (8, 3, 13, 5), (6, 6, 1, 0), (9, 9, 7, 3))
        if kind != "convolutional" or sizes[0] == sizes[1]
    ],
)
def test_spikes_equal_the_direct_ones(kind, height, width, window, refractory):
    images = random_images(4, height, width)
    network = lively_network(kind, height * width)
    spikes, feedback = all_iterations(images, network, window, refractory, 8, seed=5)
    for b, image in enumerate(images):
        draws = reference.PackageDraws(5, b, image.numel())
        autoencoder = reference.plain_network(kind, network, draws, window, refractory)
        expected, context = reference.simulate(image, autoencoder, window, refractory, 8, draws)
        torch.testing.assert_close(spikes[b], expected, rtol=0, atol=0)
        torch.testing.assert_close(feedback[b], context * image.flatten(), rtol=1e-5, atol=1e-6)
    assert 0.02 < spikes.float().mean() < 0.6
    assert feedback[:, 1:][feedback[:, 1:] > 0].std() > 0.1


def user_function(coincidences):
    """Feedback from the neighbours of coincident pixels; rows do not depend on each other."""
    total = coincidences + coincidences.roll(1, 1) + 0.5 * coincidences.roll(-2, 1)
    return 0.1 + 0.3 * total, None


@pytest.mark.parametrize("kind", ["recurrent", "contrastive", "autoencoder"])
def test_frames_give_the_spikes_of_the_direct_loop(kind):
    frames = torch.stack([random_images(3, 6, 5, seed) for seed in range(7)], dim=1)
    network = lively_network(kind, 30)
    spikes, pixels = dynamics.simulate_frames(frames, network, 9, 2, seed=4)
    found = dynamics.scatter_pixels(spikes, pixels)
    assert found.any()
    for b, film in enumerate(frames):
        draws = reference.PackageDraws(4, b, 30)
        direct, _ = reference.simulate(
            film, reference.plain_network(kind, network, draws, 9, 2), 9, 2, 7, draws
        )
        assert torch.equal(found[b], direct)


class UserNetwork:
    """A user's object with a state and no ``restrict``: a leaky sum over phases and iterations."""

    def encode(self, coincidences):
        return coincidences[:, :5] + coincidences[:, -5:]

    def step(self, drive, state, uniform, refractory):
        carried = torch.zeros_like(drive[:, 0]) if state is None else state
        fresh = uniform(drive.shape[-1])
        code = torch.empty_like(drive)
        for t in range(drive.shape[1]):
            carried = 0.5 * carried + drive[:, t] + fresh[:, t] / 8
            code[:, t] = carried
        return code, carried

    def decode(self, code):
        return code.repeat(1, 7) / 4


class DirectUserNetwork:
    """:class:`UserNetwork` for one row at a time."""

    def __init__(self, draws):
        self.draws, self.carried = draws, 0

    def __call__(self, row, step):
        drive = row[:, :5] + row[:, -5:]
        self.carried = 0.5 * self.carried + drive + self.draws.code(step, 5) / 8
        return self.carried.repeat(1, 7) / 4


def test_a_users_function_equals_the_direct_one():
    images = random_images(3, 5, 7)
    spikes, _ = all_iterations(images, CallableNetwork(user_function), 6, 3, 9, seed=2)
    for b, image in enumerate(images):
        expected, _ = reference.simulate(
            image, reference.PlainFunction(user_function), 6, 3, 9, reference.PackageDraws(2, b, 35)
        )
        torch.testing.assert_close(spikes[b], expected, rtol=0, atol=0)
    assert spikes.any()


def test_a_users_object_with_a_state_equals_the_direct_one():
    images = random_images(3, 5, 7)
    spikes, _ = all_iterations(images, UserNetwork(), 6, 3, 9, seed=2)
    for b, image in enumerate(images):
        draws = reference.PackageDraws(2, b, 35)
        expected, _ = reference.simulate(image, DirectUserNetwork(draws), 6, 3, 9, draws)
        torch.testing.assert_close(spikes[b], expected, rtol=0, atol=0)
    assert spikes.any()


@pytest.mark.parametrize("kind", SHAPES)
def test_whole_images_give_the_spikes_of_the_on_pixels_alone(kind):
    images = random_images(4, 7, 5, seed=3)
    network = lively_network(kind, 35)
    pixels = dynamics.on_pixels(images)
    indices = np.arange(4)
    runs = []
    for one in (network.restrict(pixels), dynamics.WholeImageNetwork(network, pixels)):
        state = dynamics.start(pixels, 8, 0, indices)
        steps = dynamics.iterate(state, pixels, one, 4, 0, indices)
        runs.append(torch.stack([i.spikes for i, _ in itertools.islice(steps, 7)]))
    assert torch.equal(*runs)
    assert runs[0].any()


@given(
    st.integers(1, 4), st.integers(1, 9), st.integers(1, 11), st.integers(0, 6), st.integers(0, 99)
)
@settings(max_examples=30, deadline=None)
def test_compiled_scan_equals_the_torch_one(batch, side, window, refractory, seed):
    random = torch.Generator().manual_seed(seed)
    images = (torch.rand(batch, side, side, generator=random) < 0.5).float()
    images[:, 0, 0] = 1
    pixels = dynamics.on_pixels(images)
    shape = pixels.on.shape

    def bit():
        return torch.randint(0, 2, shape, generator=random, dtype=torch.uint8)

    state = dynamics.State(
        torch.rand(batch, window, shape[1], generator=random),
        torch.randint(-3, 3, shape, generator=random, dtype=torch.int32),
        bit(),
        bit(),
        None,
        3,
    )
    keys = noise.image_keys(seed, noise.PIXELS, np.arange(batch) + 7)
    before = [tensor.clone() for tensor in state[:4]]
    arguments = (state.feedback, pixels, keys, 3 * window * pixels.total, refractory, state)
    expected = dynamics.scan_torch(*arguments)
    spikes, coincidences, after = dynamics.scan_window(state, pixels, keys, refractory)
    found = (spikes, coincidences, after.countdown, after.past, after.past_before)
    for name, one, other in zip(
        ("spikes", "coincidences", "countdown", "past", "past_before"), found, expected, strict=True
    ):
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name
    assert all(map(torch.equal, state[:4], before)), "the state before must stay as it was"


@given(
    st.integers(1, 12), st.integers(0, 9), st.integers(0, 10**9), st.sampled_from(sorted(SHAPES))
)
@settings(max_examples=25, deadline=None)
def test_spikes_are_more_than_the_refractory_period_apart(window, refractory, seed, kind):
    images = random_images(3, 4, 6, seed=seed % 97)
    network = lively_network(kind, 24, seed % 7)
    spikes, _ = all_iterations(images, network, window, refractory, 60 // window, seed)
    trains = spikes.flatten(1, 2)  # (B, steps, H*W)
    for train in trains.permute(0, 2, 1).reshape(-1, trains.shape[1]):
        gaps = train.nonzero()[:, 0].diff()
        assert not (gaps < refractory + 1).any()
    assert not trains.permute(0, 2, 1)[images.flatten(1) == 0].any(), "an off-pixel fired"


def test_certain_feedback_gives_the_shortest_interval():
    """With g = 1 a pixel fires as soon as it may: every R + 1 steps (U(0, 1) > 0.00001)."""
    images = torch.ones(2, 3, 3)
    always = CallableNetwork(lambda c: (torch.ones_like(c), None))
    spikes, _ = all_iterations(images, always, 5, 3, 12, seed=0)
    trains = spikes[:, 2:].flatten(1, 2)
    assert (trains.sum(1) >= 12).all()
    assert (trains.sum(1) <= 13).all()


@pytest.mark.parametrize("kind", SHAPES)
def test_an_image_does_not_depend_on_its_batch(kind):
    images = random_images(9, 6, 7, seed=1)
    network = lively_network(kind, 42)
    together, _ = all_iterations(images, network, 7, 3, 6, seed=9)
    first, _ = all_iterations(images[:5], network, 7, 3, 6, seed=9)
    assert torch.equal(first, together[:5])
    order = np.array([7, 2, 4])
    some, _ = all_iterations(images[order], network, 7, 3, 6, seed=9, indices=order)
    assert torch.equal(some, together[order])


def test_seeds_and_indices_name_the_random_numbers():
    images = random_images(1, 6, 7)[:1].expand(3, -1, -1).clone()
    images[:] = 1
    network = lively_network("autoencoder", 42)
    spikes, _ = all_iterations(images, network, 7, 3, 4, seed=9)
    assert not torch.equal(spikes[0], spikes[1])
    same, _ = all_iterations(images, network, 7, 3, 4, 9, np.array([1, 1, 0]))
    assert torch.equal(same[0], spikes[1])
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[2], spikes[0])
    other, _ = all_iterations(images, network, 7, 3, 4, seed=10)
    assert not torch.equal(other[0], spikes[0])


@pytest.mark.parametrize("kind", [*SHAPES, "recurrent"])
def test_going_on_from_a_state_equals_going_through(kind):
    images = random_images(3, 5, 6)
    indices = np.array([4, 0, 11])
    pixels, network = dynamics.restricted(images, lively_network(kind, 30))
    state = dynamics.start(pixels, 6, 1, indices)
    through = list(itertools.islice(dynamics.iterate(state, pixels, network, 2, 1, indices), 7))
    halfway = through[2][1]
    assert halfway.iteration == 3
    resumed = itertools.islice(dynamics.iterate(halfway, pixels, network, 2, 1, indices), 4)
    for (one, state_one), (other, state_other) in zip(through[3:], resumed, strict=True):
        assert all(map(torch.equal, one, other))
        assert torch.equal(state_one.feedback, state_other.feedback)
        assert state_one.iteration == state_other.iteration


def test_simulate_keeps_the_last_iterations():
    images = random_images(3, 5, 6)
    network = lively_network("spiking_code", 30)
    everything, _ = all_iterations(images, network, 6, 2, 7, seed=1)
    kept, pixels = dynamics.simulate(images, network, 6, 2, 7, 1, keep_iterations=3)
    assert kept.dtype == torch.uint8
    assert torch.equal(dynamics.scatter_pixels(kept, pixels), everything[:, 4:])


def test_on_pixels_are_those_of_the_image():
    images = random_images(5, 4, 7)
    pixels = dynamics.on_pixels(images)
    assert pixels.total == 28
    assert torch.equal(dynamics.scatter_pixels(pixels.on, pixels), images.flatten(1))
    for image, index, on in zip(images, pixels.index, pixels.on, strict=True):
        assert torch.equal(index[on > 0], image.flatten().nonzero()[:, 0])
