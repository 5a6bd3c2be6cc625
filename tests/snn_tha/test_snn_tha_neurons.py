"""Neurons, layers and thresholds against their equations and against snnTorch."""

import math

import pytest
import torch
from torch.nn.functional import conv2d

from snn_tha.annealing import Annealing, anneal_step
from snn_tha.layers import Conv2d, Linear, binarize, start_bound
from snn_tha.neurons import LIFParameters, lif_step, rest, surrogate_spike

snntorch = pytest.importorskip("snntorch")


@pytest.mark.parametrize(("beta", "thr", "slope"), [(0.9, 1.3, 5.0), (0.5, 0.4, 25.0)])
def test_the_neuron_is_that_of_snntorch_spike_for_spike(beta, thr, slope):
    """Membranes, spikes and the gradients of both, of random input over 60 steps."""
    surrogate = snntorch.surrogate.fast_sigmoid(slope=slope)
    theirs = snntorch.Leaky(beta=beta, threshold=thr, spike_grad=surrogate)
    inputs = [(0.5 * torch.randn(60, 3, 40) + 0.2).requires_grad_() for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    parameters = LIFParameters(beta, thr, slope)
    state, mem = rest((3, 40), inputs[0]), theirs.init_leaky()
    total = [0.0, 0.0]
    for t in range(60):
        spikes, state = lif_step(inputs[0][t], state, parameters)
        expected, mem = theirs(inputs[1][t], mem)
        assert torch.equal(spikes, expected)
        torch.testing.assert_close(state.mem, mem)
        weights = torch.linspace(-1, 1, 120).view(3, 40) * math.cos(t)
        total[0] = total[0] + (weights * spikes).sum() + state.mem.square().sum()
        total[1] = total[1] + (weights * expected).sum() + mem.square().sum()
    assert 0.05 < spikes.mean() < 0.9
    found, wanted = (torch.autograd.grad(y, x)[0] for y, x in zip(total, inputs, strict=True))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_spike_lowers_the_membrane_one_step_later():
    """By the threshold of that later step."""
    current = torch.tensor([2.0])
    first = LIFParameters(0.5, 1.5, 1.0)
    spikes, state = lif_step(current, rest((1,), current), first)
    assert (spikes.item(), state.mem.item()) == (1, 2)
    spikes, state = lif_step(torch.zeros(1), state, first._replace(thr=1.75))
    assert (spikes.item(), state.mem.item()) == (0, -0.75)


def test_the_surrogate_derivative():
    u = torch.tensor([-2.0, 0.0, 0.5], requires_grad=True)
    spikes = surrogate_spike(u, 3.0)
    assert spikes.tolist() == [0, 0, 1]
    spikes.sum().backward()
    torch.testing.assert_close(u.grad, torch.tensor([1 / 49, 1.0, 1 / 6.25]))


def test_binary_weights_are_signs_and_gradients_pass():
    weight = torch.tensor([-0.3, 0.0, -0.0, 2.0], requires_grad=True)
    signs = binarize(weight)
    assert signs.tolist() == [-1, 1, 1, 1]
    (signs * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert weight.grad.tolist() == [1, 2, 3, 4]


def test_binary_layers_forward_with_signs_and_start_within_their_bound():
    generator = torch.Generator().manual_seed(0)
    layer = Linear(30, 20, generator=generator)
    bound = math.sqrt(1.5 / 50)
    assert start_bound(30, 20) == bound
    assert 0.95 * bound < layer.weight.abs().max() <= bound
    assert (layer.bias == 0).all()
    x = torch.randn(3, 30)
    torch.testing.assert_close(layer(x), x @ torch.where(layer.weight >= 0, 1.0, -1.0).T)
    convolution = Conv2d(2, 4, 5, generator=generator)
    bound = math.sqrt(1.5 / ((2 + 4) * 25))
    assert 0.9 * bound < convolution.weight.abs().max() <= bound
    assert [name for name, _ in convolution.named_parameters()] == ["weight"]
    x = torch.randn(3, 2, 8, 8)
    expected = conv2d(x, torch.where(convolution.weight >= 0, 1.0, -1.0))
    torch.testing.assert_close(convolution(x), expected)


def test_layers_of_full_precision_are_ordinary():
    layer = Linear(30, 20, binary=False, generator=torch.Generator().manual_seed(0))
    for parameter in (layer.weight, layer.bias):
        assert 0.7 * 30**-0.5 < parameter.abs().max() <= 30**-0.5
    x = torch.randn(3, 30)
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)


@pytest.mark.parametrize("alpha", [0.0, 0.0011, 0.119, 1.0])
def test_annealing_in_closed_form_is_one_step_after_the_other(alpha):
    way = Annealing(14.105, 14.105 + 16.29, alpha)
    thr = way.start
    for steps in range(200):
        assert way.after(steps) == pytest.approx(thr, rel=1e-12)
        thr = anneal_step(thr, way.final, alpha)
    assert way.after(10**6) == pytest.approx(way.final if alpha else way.start)
