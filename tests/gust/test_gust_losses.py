"""The ten losses against the formulas of the specification, number by number."""

import math

import pytest
import torch

from gust.losses import LOSSES

E = 1e-6
B, T, P = 3, 4, 6


def example():
    """Feedback with a 0 and a 1 in it, spikes with silent pixels, images with an all-off one."""
    generator = torch.Generator().manual_seed(0)
    g = torch.rand(B, T, P, generator=generator, dtype=torch.float64)
    g[0, 0, 0], g[0, 1, 1] = 0, 1
    spikes = (torch.rand(B, T, P, generator=generator) < 0.4).double()
    spikes[:, :, 2] = 0
    x = (torch.rand(B, P, generator=generator) < 0.5).double()
    x[0], x[2] = torch.tensor([1, 0, 1, 1, 0, 0]), 0
    return g, spikes, x


def log(value):
    return math.log(max(value, E))


def bce(a, b):
    return -b * log(a) - (1 - b) * log(1 - a)


def softmax(values):
    whole = sum(math.exp(value) for value in values)
    return [math.exp(value) / whole for value in values]


def shares(values):
    whole = sum(values) + E
    return [value / whole for value in values]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


class Plain:
    """The losses of one image: g[t][p], s[t][p] and x[p] as lists."""

    def __init__(self, g, s, x):
        self.g, self.s, self.x = g, s, x
        self.m = [mean(g[t][p] for t in range(T)) for p in range(P)]
        self.cells = [(t, p) for t in range(T) for p in range(P)]

    def receptive_field_sum(self):
        return sum((a - b) ** 2 for a, b in zip(shares(self.x), shares(self.m), strict=True))

    def kl_loss(self):
        pairs = zip(softmax(self.x), softmax(self.m), strict=True)
        return mean(a * (math.log(a) - math.log(b)) for a, b in pairs)

    def kl_loss2(self):
        pairs = zip(shares(self.x), shares(self.m), strict=True)
        return mean(a * (log(a) - log(b)) for a, b in pairs)

    def MSE_loss(self):  # noqa: N802
        return sum((a - b) ** 2 for a, b in zip(softmax(self.x), softmax(self.m), strict=True))

    def cross_loss(self):
        pairs = zip(softmax(self.x), softmax(self.m), strict=True)
        return mean(-a * math.log(b) for a, b in pairs)

    def cross_loss2(self):
        return mean(-a * log(b) for a, b in zip(shares(self.x), shares(self.m), strict=True))

    def nem_loss_trivel(self):
        return mean(bce(self.g[t][p], self.x[p]) for t, p in self.cells)

    def nem_loss_stillmap(self):
        total = 0
        for p in range(P):
            weights = [self.s[t][p] + E for t in range(T)]
            seen = sum(weights[t] / sum(weights) * self.g[t][p] for t in range(T))
            total += bce(seen, self.x[p])
        return total / P

    def nem_loss_still(self):
        fired = [mean(self.s[t][p] * self.g[t][p] for t in range(T)) for p in range(P)]
        silent = [mean((1 - self.s[t][p]) * self.g[t][p] for t in range(T)) for p in range(P)]
        parts = zip(shares(self.x), shares(fired), silent, strict=True)
        return sum((a - q) ** 2 + rest**2 for a, q, rest in parts)

    def nem_loss(self):
        def cell(t, p):
            weight = (self.s[t][p] + E) / (sum(self.s[i][p] for i in range(T)) + E)
            g = self.g[t][p]
            return weight * bce(g, self.x[p]) - (1 - weight) * log(1 - g)

        return mean(cell(t, p) for t, p in self.cells)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_formula(name):
    g, spikes, x = example()
    loss = LOSSES[name]
    found = loss.of_images(g, spikes if loss.uses_spikes else None, x)
    expected = [
        getattr(Plain(*image), name)()
        for image in zip(g.tolist(), spikes.tolist(), x.tolist(), strict=True)
    ]
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", LOSSES)
def test_its_gradient_is_that_of_differences(name):
    g, spikes, x = example()
    g = g.clamp(0.05, 0.95).requires_grad_()
    loss = LOSSES[name]
    assert torch.autograd.gradcheck(
        lambda g: loss.of_images(g, spikes if loss.uses_spikes else None, x), g
    )
    assert torch.autograd.grad(loss.of_images(g, spikes, x).sum(), g)[0].abs().max() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_are_finite_at_the_ends(name):
    """Feedback of exactly 0 and 1, as the sigmoid gives in single precision."""
    _, spikes, x = example()
    for value in (0.0, 1.0):
        g = torch.full((B, T, P), value, requires_grad=True)
        found = LOSSES[name].of_images(g, spikes.float(), x.float())
        assert torch.isfinite(found).all()
        assert torch.isfinite(torch.autograd.grad(found.sum(), g)[0]).all()


def test_sums_means_and_spikes():
    """What the specification calls a mean is one over the batch too, a sum is a sum."""
    sums = {name for name, loss in LOSSES.items() if not loss.averaged}
    assert sums == {"receptive_field_sum", "MSE_loss", "nem_loss_still"}
    with_spikes = {name for name, loss in LOSSES.items() if loss.uses_spikes}
    assert with_spikes == {"nem_loss_stillmap", "nem_loss_still", "nem_loss"}
    assert len(LOSSES) == 10


@pytest.mark.parametrize("name", ["receptive_field_sum", "kl_loss", "MSE_loss"])
def test_feedback_that_shows_the_image_is_best(name):
    _, _, x = example()
    x = x[:2]
    shown = x[:, None].expand(-1, T, -1)
    found = LOSSES[name].of_images(shown, None, x)
    assert found.tolist() == pytest.approx([0, 0], abs=1e-10)
    assert (LOSSES[name].of_images(1 - shown, None, x) > 1e-4).all()
