"""Neurons, traces and plasticity against their equations."""

import math

import pytest
import torch
from hebbian_examples import NEURONS, RULE, Draw

from hebbian_snn.kernels import WritingState
from hebbian_snn.neurons import (
    IFParameters,
    LIFParameters,
    LIFState,
    lif_step,
    map_state,
    rest,
    surrogate_spike,
    trace_step,
)
from hebbian_snn.plasticity import InvertedOja, update_memory


def one(value, dtype=torch.float64, **options):
    return torch.tensor([[value]], dtype=dtype, **options)


def test_a_constant_current_charges_the_membrane_towards_itself():
    neuron, state = LIFParameters(thr=1.0), rest((1, 1), one(0.0))
    for t in range(1, 6):
        _, state = lif_step(one(0.5), state, neuron)
        assert state.v.item() == pytest.approx(0.5 * (1 - math.exp(-t / 20)))


def test_spikes_are_refractory_steps_plus_one_apart():
    for steps in (0, 1, 3):
        neuron, state, times = LIFParameters(0.1, 20.0, steps), rest((1, 1), one(0.0)), []
        for t in range(40):
            z, state = lif_step(one(50.0), state, neuron)
            if z:
                times.append(t)
        assert times == list(range(0, 40, steps + 1))


@pytest.mark.parametrize(
    ("perfect", "leak", "after"),
    [(False, True, 0.5), (True, True, 0.0), (False, False, 0.5), (True, False, 0.0)],
)
def test_resets(perfect, leak, after):
    neuron = LIFParameters(0.1, 20.0, 3, perfect) if leak else IFParameters(0.1, 3, perfect)
    state = LIFState(one(0.6), one(1.0), one(3, torch.int32))
    _, state = lif_step(one(0.0), state, neuron)
    kept = math.exp(-1 / 20) if leak else 1.0
    expected = 0.0 if perfect else kept * 0.6 - 0.1
    assert state.v.item() == pytest.approx(expected)
    assert expected == pytest.approx(after, abs=0.05)
    assert (state.z.item(), state.r.item()) == (0, 2)


def test_the_surrogate_derivative_is_a_triangle():
    u = torch.linspace(-2, 2, 17, dtype=torch.float64, requires_grad=True)
    z = surrogate_spike(u, 0.6)
    (found,) = torch.autograd.grad(z.sum(), u)
    assert torch.equal(z, (u > 0).double())
    torch.testing.assert_close(found, 0.6 * (1 - u.detach().abs()).clamp(min=0))


def test_gradients_pass_through_the_reset():
    """Two steps by hand: the second membrane sees the first current through leak and reset."""
    neuron = LIFParameters(0.1, 20.0, 0, False, 0.8)
    current = one(2.5, requires_grad=True)
    _, state = lif_step(current, rest((1, 1), current.detach()), neuron)
    u = (state.v.item() - 0.1) / 0.1
    _, state = lif_step(one(0.0), state, neuron)
    (found,) = torch.autograd.grad(state.v, current)
    alpha = math.exp(-1 / 20)
    slope = 0.8 * (1 - abs(u)) / 0.1
    assert slope > 0
    assert found.item() == pytest.approx((alpha - slope * 0.1) * (1 - alpha))


def test_a_refractory_neuron_has_no_slope():
    current = one(2.5, requires_grad=True)
    state = rest((1, 1), current.detach())._replace(r=one(2, torch.int32))
    z, _ = lif_step(current, state, LIFParameters())
    (found,) = torch.autograd.grad(z, current)
    assert (z.item(), found.item()) == (0, 0)


def test_the_trace_of_one_spike_decays():
    trace = one(0.0)
    for t in range(30):
        trace = trace_step(trace, one(float(t == 0)), 20.0)
        assert trace.item() == pytest.approx((1 - math.exp(-1 / 20)) * math.exp(-t / 20))


def test_a_trace_ends_below_1e_7_and_its_gradient_does_not():
    before = torch.tensor([1.1e-7, 0.9e-7, 0.0], dtype=torch.float64, requires_grad=True)
    spikes = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    decay = math.exp(-1 / 20)
    trace = trace_step(before, spikes, 20.0)
    assert trace.tolist() == [pytest.approx(1.1e-7 * decay), 0, 0]
    found = torch.autograd.grad(trace.sum(), (before, spikes))
    assert [x.tolist() for x in found] == [pytest.approx([x] * 3) for x in (decay, 1 - decay)]


def test_plasticity_is_the_rule_for_every_synapse():
    draw = Draw(0)
    mem, value, key = draw.normal(2, 3, 3), draw.uniform(2, 3), draw.uniform(2, 3)
    found = update_memory(mem, value, key, RULE)
    for b in range(2):
        for i in range(3):
            for j in range(3):
                m, v, k = mem[b, i, j].item(), value[b, i].item(), key[b, j].item()
                expected = m + 0.25 * (0.9 - m) * v * k - 0.35 * k**2 * m
                assert found[b, i, j].item() == pytest.approx(expected)


def test_without_growth_nothing_is_stored():
    ones = torch.ones(1, 4)
    mem = update_memory(torch.zeros(1, 4, 4), ones, ones, InvertedOja(gamma_pos=0.0))
    assert not mem.any()


def test_parameters_and_states_are_immutable_tuples():
    for neuron in NEURONS.values():
        with pytest.raises(AttributeError):
            neuron.thr = 1.0
    state = rest((2, 3), torch.zeros(0))
    assert [x.dtype for x in state] == [torch.float32, torch.float32, torch.int32]
    nested = WritingState(state, state, torch.ones(2, 3), torch.ones(2, 3))
    part = map_state(lambda x: x[:1], nested)
    assert [x.shape for x in (*part.key, *part.value, *part[2:])] == [(1, 3)] * 8
