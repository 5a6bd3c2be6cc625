"""The scan of the backend cuda against the reference.

Without a GPU but with Triton, its interpreter runs the same kernels (slowly) on the CPU:
``TRITON_INTERPRET=1 python -m pytest tests/snn_tha/test_snn_tha_gpu.py``.
"""

import copy
import os

import pytest
import torch
from snn_tha_examples import (
    NEURON,
    SCANS,
    STEPS,
    example,
    random_currents,
    some_draws,
    some_dropout,
)

from snn_tha.kernels import reference
from snn_tha.losses import count_loss
from snn_tha.network import Execution

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
with_kernels = pytest.mark.skipif(
    not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1",
    reason="needs a CUDA device or TRITON_INTERPRET=1",
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PRECISION = {torch.float32: 1e-4, torch.float64: 1e-12}


def cuda():
    from snn_tha.kernels import cuda

    return cuda


@with_kernels
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("rate", [None, 0.3])
@pytest.mark.parametrize("shape", SCANS, ids=str)
def test_the_scan_is_the_reference(shape, rate, dtype):
    """Gradients but for rounding; products may be fused, which float32 spikes near the threshold
    could show, so a spike in ten thousand may differ there."""
    dropout = None if rate is None else some_dropout(shape[1], rate)
    found = []
    for module in (cuda(), reference):
        currents = random_currents(shape, dtype).to(DEVICE).requires_grad_()
        spikes = module.lif_scan(currents, NEURON, STEPS, dropout, dtype)
        weights = torch.linspace(-1, 1, spikes.numel()).to(spikes).view(spikes.shape)
        (gradient,) = torch.autograd.grad((spikes * weights).sum(), currents)
        found.append((spikes, gradient))
    (spikes, gradient), (expected, expected_gradient) = found
    assert 0.02 < expected.mean() < 0.9
    different = (spikes != expected).double().mean()
    assert different <= (0 if dtype == torch.float64 else 1e-4)
    if different == 0:
        error = (gradient - expected_gradient).abs().max() / expected_gradient.abs().max()
        assert error < PRECISION[dtype]


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("name", ["static", "events", "precise", "dense"])
def test_a_training_step_is_that_of_the_reference(name):
    ours = example(name)
    found = []
    for backend in ("auto", "reference"):
        network = copy.deepcopy(ours.network).to(DEVICE)
        draws = some_draws(len(ours.labels))
        spikes = network(ours.x.to(DEVICE), ours.neurons, STEPS, draws, Execution(backend))
        count_loss(spikes[-1], ours.labels.to(DEVICE)).backward()
        found.append([spikes[-1], *(p.grad for p in network.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
