"""The scan of the backend cuda against the reference.

Without a GPU but with Triton, its interpreter runs the same kernels (slowly) on the CPU:
``TRITON_INTERPRET=1 python -m pytest tests/gust/test_gust_gpu.py``.
"""

import os

import numpy as np
import pytest
import torch
from gust_examples import SIZES, WIDTHS, lively_network, random_images

from common import counter_noise
from gust.dynamics import Noise, drop_pixels, start, unroll
from gust.kernels import Draws, reference
from gust.losses import receptive_field_sum

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
with_kernels = pytest.mark.skipif(
    not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1",
    reason="needs a CUDA device or TRITON_INTERPRET=1",
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KEYS = counter_noise.image_keys(2, 7, np.array([3, 1, 2**31, 0, 12]))
PRECISION = {torch.float32: 2e-4, torch.float64: 1e-10}


def example(widths, n_pixels, dtype):
    images = random_images(5, n_pixels, dtype=dtype).to(DEVICE)
    return images, lively_network(widths, n_pixels, dtype=dtype).to(DEVICE)


def windows(module, images, network, settings, iterations, first=0):
    """Some windows, each a :class:`gust.kernels.Window`, and the code after the last one."""
    noise = Noise(0, 0, np.arange(len(images)))
    state = start(images, network.n_code, settings.window, noise)
    layers = (network.decoder[-1], network.encoder[0])
    scan = module.build(images, *layers, settings.refractory, settings.thinning)
    code, refractory, past, found = state.code, state.refractory, state.past, []
    for iteration in range(iterations):
        draws = Draws(KEYS, first + iteration * settings.window * images.shape[1])
        window = scan(network.decode_to_last(code), refractory, past, draws)
        refractory, past = window.refractory, window.past
        found.append(window._replace(drive=window.drive.clone()))
        code = network.encode_drive(window.drive)
    return found, code


def backends():
    from gust.kernels import cuda

    return cuda, reference


@with_kernels
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("settings", SIZES, ids=str)
@pytest.mark.parametrize("n_pixels", [1, 31, 300])
def test_windows_are_those_of_the_reference(dtype, settings, n_pixels):
    """300 pixels need two programs an image; a large first counter needs all 64 bits."""
    images, network = example("plain", n_pixels, dtype)
    first = 2**40 + 1
    both = [windows(m, images, network, settings, 4, first)[0] for m in backends()]
    for one, other in zip(*both, strict=True):
        assert one.spikes.dtype == torch.uint8
        assert one.refractory.dtype == torch.int32
        assert torch.equal(one.spikes, other.spikes)
        assert torch.equal(one.refractory, other.refractory)
        assert torch.equal(one.past, other.past)
        torch.testing.assert_close(one.drive, other.drive)
    if n_pixels > 1:
        assert 0 < torch.stack([w.spikes for w in both[0]]).float().mean() < 0.9


@with_kernels
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("settings", SIZES, ids=str)
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("of", ["code", "past", "both"])
def test_gradients_are_those_of_the_reference(dtype, settings, widths, of):
    """Through code and past spikes after the last window, together and one at a time."""
    images, network = example(widths, 31, dtype)
    gradients = []
    for module in backends():
        found, code = windows(module, images, network, settings, 3)
        parts = {"code": code, "past": found[-1].past}
        wanted = [part for name, part in parts.items() if of in (name, "both")]
        total = sum((torch.linspace(-1, 1, p.numel()).to(p) * p.flatten()).sum() for p in wanted)
        parameters = list(network.parameters())
        gradients.append(torch.autograd.grad(total, parameters, materialize_grads=True))
    names = [name for name, _ in network.named_parameters()]
    for name, one, other in zip(names, *gradients, strict=True):
        if of != "past" or (settings.thinning < 1 and name.startswith("decoder")):
            assert other.abs().max() > 0, name
        error = (one - other).abs().max() / other.abs().max().clamp(min=1e-30)
        assert error < PRECISION[dtype], (name, error)


@with_kernels
@pytest.mark.gpu
def test_images_and_states_may_lie_anyhow_in_memory():
    images, network = example("plain", 31, torch.float64)
    turned = images.t().contiguous().t()
    assert not turned.is_contiguous()
    cuda, _ = backends()
    expected, code = windows(cuda, images, network, SIZES[1], 3)
    found, same_code = windows(cuda, turned, network, SIZES[1], 3)
    assert torch.equal(found[-1].spikes, expected[-1].spikes)
    assert torch.equal(code, same_code)


@on_gpu
@pytest.mark.gpu
def test_the_loss_and_its_gradients_of_a_training_step():
    clean, network = example("deep", 31, torch.float64)
    noise = Noise(3, 5, np.array([4, 0, 17, 9, 2]))
    images = drop_pixels(clean, 0.3, noise)
    found = []
    for backend in ("auto", "reference"):
        feedback, _ = unroll(images, network, SIZES[0], 6, noise, False, backend)
        loss = receptive_field_sum(feedback, None, clean).sum()
        found.append([loss, *torch.autograd.grad(loss, list(network.parameters()))])
    for one, other in zip(*found, strict=True):
        error = (one - other).abs().max() / other.abs().max()
        assert error < PRECISION[torch.float64]
