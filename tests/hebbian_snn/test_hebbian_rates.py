"""Firing rates and the term that regularises them, in one process and in several."""

import pytest
import torch
from hebbian_examples import Draw

from hebbian_snn.rates import firing_rates, rate_penalty


def test_rates_count_real_items_only():
    spikes = torch.zeros(2, 300, 3)
    spikes[0, :50, 1] = 1
    spikes[1, 200:210, 2] = 1
    rates = firing_rates(spikes, 100, torch.tensor([3, 1]))
    expected = torch.tensor([[0, 50 / 0.3, 0], [0, 0, 10 / 0.1]])
    torch.testing.assert_close(rates, expected)
    torch.testing.assert_close(firing_rates(spikes, 100), expected * torch.tensor([[3], [1]]))


def test_the_penalty_is_that_of_mean_rates():
    draw = Draw(0)
    layers = [draw.uniform(4, 3, high=20.0), draw.uniform(4, 5, high=20.0)]
    expected = 0.0
    for rates in layers:
        neurons = rates.shape[1]
        for n in range(neurons):
            mean = sum(rates[b, n].item() for b in range(4)) / 4
            expected += (mean - 2.5) ** 2 / neurons
    assert rate_penalty(layers, 2.5).item() == pytest.approx(expected)
    assert rate_penalty([torch.full((4, 3), 7.0)], 7.0).item() == 0


class Shares:
    """One process of several, whose sums over all are known."""

    world_size = 2

    def __init__(self):
        self.parts, self.total = [], None

    def all_reduce_sum(self, tensor, wait=True):
        assert not tensor.requires_grad
        self.parts.append(tensor)
        return tensor if self.total is None else self.total


@pytest.mark.parametrize("split", [1, 3, 0])
def test_shares_of_a_batch_give_the_penalty_and_the_gradient_of_the_whole(split):
    draw = Draw(1)
    layers = [draw.uniform(4, 3, high=20.0).requires_grad_(), draw.uniform(4, 5).requires_grad_()]
    whole = rate_penalty(layers, 1.0)
    expected = torch.autograd.grad(whole, layers)
    group, parts = Shares(), (slice(0, split), slice(split, 4))
    for part in parts:
        rate_penalty([x[part] for x in layers], 1.0, group)
    group.total = sum(group.parts)
    found = [torch.zeros_like(x) for x in layers]
    for part in parts:
        share = [x[part] for x in layers]
        penalty = rate_penalty(share, 1.0, group)
        assert penalty.item() == pytest.approx(whole.item())
        weight = len(share[0]) / 4
        for total, gradient in zip(found, torch.autograd.grad(penalty, layers), strict=True):
            total += weight * gradient
    torch.testing.assert_close(found, list(expected))
