"""The same on a GPU: its random numbers are the same, matrix products differ in rounding."""

import numpy as np
import pytest
import torch

import dasbe
from common.training import generator
from dasbe import noise
from dasbe.baselines import pcnn, pure_ann
from dasbe.config import NetworkSettings
from dasbe.dynamics import restricted, scan_window, start
from dasbe.networks import build_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def images():
    return (torch.rand(3, 8, 9, generator=generator(0, "images")) < 0.4).float()


@pytest.fixture
def network():
    settings = NetworkSettings("spiking_code", (20, 10), (10, 20))
    return build_network(settings, 72, generator(0, "network")).eval().requires_grad_(False)


def test_one_window_is_the_same(images, network) -> None:
    keys = noise.image_keys(1, noise.PIXELS, np.arange(3))
    results = []
    for device in ("cpu", "cuda"):
        pixels, _ = restricted(images.to(device), network.to(device))
        state = start(pixels, 13, 1, np.arange(3))
        spikes, coincidences, state = scan_window(state, pixels, keys, 4)
        results.append([spikes, coincidences, state.countdown, state.past, state.past_before])
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert torch.equal(on_cpu, on_gpu.cpu())


def test_bind_and_baselines_run(images, network) -> None:
    on_gpu = images.cuda()
    binding = dasbe.bind(on_gpu, network.cuda(), 13, 4, iterations=12, n_groups=3)
    assert binding.groups.shape == (3, 8, 9)
    assert binding.spikes.any()
    rates, _ = pure_ann(on_gpu, network, 13, 12, 1, np.arange(3))
    assert torch.isfinite(rates).all()
    spikes, _ = pcnn(on_gpu, 10, 6, 1, np.arange(3), steps=60, keep_steps=20)
    expected, _ = pcnn(images, 10, 6, 1, np.arange(3), steps=60, keep_steps=20)
    assert torch.equal(spikes.cpu(), expected)
