"""The compiled scan and batch normalisation against plain PyTorch, values and gradients."""

import numpy as np
import pytest
import torch
from snn_tha_examples import NEURON, SCANS, STEPS, random_currents, some_dropout
from torch import nn

from common.distributed import Distributed
from common.errors import UserError
from snn_tha.kernels import Dropout, lif_scan, load_backend
from snn_tha.normalization import StepBatchNorm

PRECISION = {torch.float32: 1e-4, torch.float64: 1e-12}


def scan_and_gradient(shape, dtype, dropout, backend, spike_type=None):
    currents = random_currents(shape, dtype).requires_grad_()
    spikes = lif_scan(
        currents, NEURON, steps=STEPS, dropout=dropout, spike_type=spike_type, backend=backend
    )
    weights = torch.linspace(-1, 1, spikes.numel()).view(spikes.shape).bfloat16()
    (gradient,) = torch.autograd.grad((spikes * weights.to(spikes.dtype)).sum(), currents)
    return spikes, gradient


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("rate", [None, 0.3])
@pytest.mark.parametrize("shape", SCANS, ids=str)
def test_the_compiled_scan_is_the_reference(shape, rate, dtype):
    """Spikes bit for bit, gradients but for rounding; also with spikes in bfloat16."""
    dropout = None if rate is None else some_dropout(shape[1], rate)
    spikes, gradient = scan_and_gradient(shape, dtype, dropout, "reference")
    assert 0.02 < spikes.mean() < 0.9
    for spike_type in (dtype, torch.bfloat16):
        found, found_gradient = scan_and_gradient(shape, dtype, dropout, "cpu", spike_type)
        assert found.dtype == spike_type
        assert torch.equal(found.to(dtype), spikes)
        error = (found_gradient - gradient).abs().max() / gradient.abs().max()
        assert error < PRECISION[dtype]


def test_currents_may_lie_anyhow_in_memory():
    currents = random_currents((STEPS, 300, 5))
    expected = lif_scan(currents.transpose(1, 2).contiguous(), NEURON, steps=STEPS)
    assert torch.equal(lif_scan(currents.transpose(1, 2), NEURON, steps=STEPS), expected)


def test_dropout_is_fresh_at_every_step_and_belongs_to_the_sample():
    """Its rate, its factor, its independence of the batch."""
    dropout = some_dropout(3)
    kept = dropout.kept(50, 200)
    assert kept.float().mean() == pytest.approx(0.7, abs=0.01)
    assert not torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[:, 0], kept[:, 1])
    alone = Dropout(0.3, dropout.keys[2:]).kept(50, 200)
    assert torch.equal(alone[:, 0], kept[:, 2])
    assert dropout.scale() == np.float32(1 / 0.7)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"backend": "gpu"}, UserError, "unknown backend 'gpu'"),
        ({"backend": "cuda"}, UserError, "does not run on cpu"),
        ({"neuron": NEURON._replace(beta=1.1)}, UserError, "beta is 1.1"),
        ({"neuron": NEURON._replace(slope=-1.0)}, UserError, "slope is -1.0"),
        ({"dropout": some_dropout(5, 1.0)}, UserError, "dropout rate is 1.0"),
        ({"dropout": some_dropout(4)}, ValueError, "4 keys for a batch of 5"),
        ({"steps": 3}, ValueError, "currents have shape"),
    ],
)
def test_what_the_scan_refuses(change, error, message):
    arguments = {"neuron": NEURON, "steps": STEPS, **change}
    with pytest.raises(error, match=message):
        lif_scan(random_currents((STEPS, 5, 7)), **arguments)


def test_half_precision_is_for_the_reference_only():
    currents = random_currents((STEPS, 5, 7), torch.bfloat16)
    assert load_backend("auto", currents).__name__.endswith("reference")
    with pytest.raises(UserError, match="takes float32 and float64"):
        lif_scan(currents, NEURON, steps=STEPS, backend="cpu")


# ---- batch normalisation ----------------------------------------------------------------------


def batch_norm_pair(channels, dtype):
    """Ours and PyTorch's with the same, uncommon parameters."""
    ours, theirs = StepBatchNorm(channels).to(dtype), nn.BatchNorm2d(channels).to(dtype)
    draws = torch.randn(4, channels, generator=torch.Generator().manual_seed(1)).to(dtype)
    for norm in (ours, theirs):
        norm.weight.data, norm.bias.data = draws[0].clone(), draws[1].clone()
        norm.running_mean.copy_(draws[2])
        norm.running_var.copy_(draws[3].square() + 0.1)
    return ours, theirs


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("channels", [1, 6, 64])
def test_batch_norm_is_pytorchs_called_once_a_step(channels, static, dtype, backend):
    """Values, gradients and running averages in training, values afterwards."""
    ours, theirs = batch_norm_pair(channels, dtype)
    x = 3 * random_currents((1 if static else STEPS, 5, channels, 2, 3), dtype) + 1
    x = [x.clone().requires_grad_() for _ in range(2)]
    weights = torch.randn(STEPS, 5, channels, 2, 3, generator=torch.Generator().manual_seed(3))
    weights = weights.to(dtype)
    expected = torch.stack([theirs(x[1][0 if static else t]) for t in range(STEPS)])
    rows = x[0].permute(0, 1, 3, 4, 2).reshape(len(x[0]), 30, channels)
    found = ours(rows, STEPS, backend=backend)
    found = found.view(-1, 5, 2, 3, channels).permute(0, 1, 4, 2, 3)
    tolerances = {"rtol": 10 * PRECISION[dtype], "atol": PRECISION[dtype]}
    torch.testing.assert_close(found.expand_as(expected), expected, **tolerances)
    for result, norm, inputs in ((found, ours, x[0]), (expected, theirs, x[1])):
        (result * weights).sum().backward()
        assert norm.weight.grad.abs().max() > 0
        assert inputs.grad.abs().max() > 0
    tolerances["atol"] *= 30
    torch.testing.assert_close(x[0].grad, x[1].grad, **tolerances)
    for name, value in theirs.named_parameters():
        torch.testing.assert_close(getattr(ours, name).grad, value.grad, **tolerances)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), **tolerances)
    ours.eval()
    theirs.eval()
    torch.testing.assert_close(
        ours(rows, STEPS, backend=backend).view(-1, 5, 2, 3, channels)[0],
        theirs(x[1][0]).permute(0, 2, 3, 1),
        **tolerances,
    )


class TwoHalves(Distributed):
    """Process 0 of 2, the other of which holds what ``other`` says."""

    def __init__(self, others):
        super().__init__(0, 2, torch.device("cpu"))
        object.__setattr__(self, "others", iter(others))

    def all_reduce_sum(self, tensor, wait=True):
        return tensor + next(self.others)


def test_batch_norm_of_a_shared_batch_is_that_of_the_whole():
    """What the other process contributes is computed here from its share of the batch."""
    x = random_currents((STEPS, 10, 4))
    weights = random_currents((STEPS, 10, 4)).cos()
    whole = StepBatchNorm(4).double()
    inputs = x.clone().requires_grad_()
    expected = whole(inputs, STEPS)
    (expected * weights).sum().backward()
    mine, other = x[:, :3].contiguous().requires_grad_(), x[:, 3:]
    mean = other.mean(1)
    raw = torch.stack([7 * mean, other.square().sum(1), torch.full_like(mean, 7)])
    centred = other - x.mean(1, keepdim=True)
    sums = torch.stack([weights[:, 3:].sum(1), (weights[:, 3:] * centred).sum(1)])
    shared = StepBatchNorm(4).double()
    found = shared(mine, STEPS, TwoHalves([raw, sums]))
    (found * weights[:, :3]).sum().backward()
    torch.testing.assert_close(found, expected[:, :3])
    torch.testing.assert_close(mine.grad, inputs.grad[:, :3])
    torch.testing.assert_close(shared.running_mean, whole.running_mean)
    torch.testing.assert_close(shared.running_var, whole.running_var)
