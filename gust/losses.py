"""What the network is trained to do: its feedback of the last iteration should show the image.

x is the clean image, g and S the feedback and the spikes of the T steps of the last iteration, and
m the mean of g over the steps. A loss gives one number per image; over a batch these are added or
averaged, as :data:`LOSSES` says. :func:`receptive_field_sum` is the paper's; the others are those
its code offers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

EPSILON = 1e-6


class Loss(NamedTuple):
    """A loss and what it needs.

    Attributes:
        of_images: from g (B, T, P), S (B, T, P) float (None unless ``uses_spikes``) and x (B, P)
            to the (B,) losses of the images.
        averaged: whether a batch's loss is the mean over its images instead of the sum.
        uses_spikes: whether S is needed; it is a constant.
    """

    of_images: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    averaged: bool
    uses_spikes: bool = False


def _shares(values: Tensor) -> Tensor:
    """Values divided by their sum over pixels."""
    return values / (values.sum(-1, keepdim=True) + EPSILON)


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=EPSILON).log()


def _cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """BCE(a, b) = -b log a - (1 - b) log(1 - a) of every element."""
    return -target * _log(prediction) - (1 - target) * _log(1 - prediction)


def receptive_field_sum(g: Tensor, spikes: Tensor | None, x: Tensor) -> Tensor:
    """Sum over pixels of (x / sum x - m / sum m)^2."""
    return (_shares(x) - _shares(g.mean(1))).square().sum(-1)


def kl_loss(g: Tensor, spikes: Tensor | None, x: Tensor) -> Tensor:
    """Mean over pixels of softmax(x) (log softmax(x) - log softmax(m))."""
    log_x, log_m = x.log_softmax(-1), g.mean(1).log_softmax(-1)
    return (log_x.exp() * (log_x - log_m)).mean(-1)


def kl_loss2(g: Tensor, spikes: Tensor | None, x: Tensor) -> Tensor:
    """Mean over pixels of a (log a - log b), a = x / sum x, b = m / sum m."""
    a, b = _shares(x), _shares(g.mean(1))
    return (a * (_log(a) - _log(b))).mean(-1)


def mse_loss(g: Tensor, spikes: Tensor | None, x: Tensor) -> Tensor:
    """Sum over pixels of (softmax(x) - softmax(m))^2."""
    return (x.softmax(-1) - g.mean(1).softmax(-1)).square().sum(-1)


def cross_loss(g: Tensor, spikes: Tensor | None, x: Tensor) -> Tensor:
    """Mean over pixels of -softmax(x) log softmax(m)."""
    return -(x.softmax(-1) * g.mean(1).log_softmax(-1)).mean(-1)


def cross_loss2(g: Tensor, spikes: Tensor | None, x: Tensor) -> Tensor:
    """Mean over pixels of -a log b, a = x / sum x, b = m / sum m."""
    return -(_shares(x) * _log(_shares(g.mean(1)))).mean(-1)


def nem_loss_trivel(g: Tensor, spikes: Tensor | None, x: Tensor) -> Tensor:
    """Mean over steps and pixels of BCE(g, x)."""
    return _cross_entropy(g, x[:, None]).mean((1, 2))


def nem_loss_stillmap(g: Tensor, spikes: Tensor, x: Tensor) -> Tensor:
    """Mean over pixels of BCE(sum_t w g, x), w = (S + e) / sum_t (S + e)."""
    weights = spikes + EPSILON
    weights = weights / weights.sum(1, keepdim=True)
    return _cross_entropy((weights * g).sum(1), x).mean(-1)


def nem_loss_still(g: Tensor, spikes: Tensor, x: Tensor) -> Tensor:
    """Sum over pixels of (x / sum x - q)^2 + (mean_t (1 - S) g)^2, q = mean_t(S g) / its sum."""
    silent = ((1 - spikes) * g).mean(1)
    return ((_shares(x) - _shares((spikes * g).mean(1))).square() + silent.square()).sum(-1)


def nem_loss(g: Tensor, spikes: Tensor, x: Tensor) -> Tensor:
    """Mean over steps and pixels of w BCE(g, x) - (1 - w) log(1 - g), w = (S + e)/(sum_t S + e)."""
    weights = (spikes + EPSILON) / (spikes.sum(1, keepdim=True) + EPSILON)
    fit = weights * _cross_entropy(g, x[:, None])
    return (fit - (1 - weights) * _log(1 - g)).mean((1, 2))


LOSSES: dict[str, Loss] = {
    "receptive_field_sum": Loss(receptive_field_sum, averaged=False),
    "kl_loss": Loss(kl_loss, averaged=True),
    "kl_loss2": Loss(kl_loss2, averaged=True),
    "MSE_loss": Loss(mse_loss, averaged=False),
    "cross_loss": Loss(cross_loss, averaged=True),
    "cross_loss2": Loss(cross_loss2, averaged=True),
    "nem_loss_trivel": Loss(nem_loss_trivel, averaged=True),
    "nem_loss_stillmap": Loss(nem_loss_stillmap, averaged=True, uses_spikes=True),
    "nem_loss_still": Loss(nem_loss_still, averaged=False, uses_spikes=True),
    "nem_loss": Loss(nem_loss, averaged=True, uses_spikes=True),
}
"""The losses by the names of ``--loss``."""
