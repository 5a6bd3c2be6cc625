"""The leaky integrate-and-fire neuron as a function ``step(current, state, parameters)``.

The current I of a step acts on the membrane of the same step, the reset comes from the membrane of
the step before::

    r <- [mem > thr]                          with the threshold of now, no gradient
    mem <- beta mem + I - r thr
    z <- [mem - thr > 0]

These are the equations of snnTorch's ``Leaky`` (reset by subtraction). The derivative of z with
respect to mem is that of a fast sigmoid, 1 / (1 + slope |mem - thr|)^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LIFParameters(NamedTuple):
    """A layer of neurons.

    Attributes:
        beta: what is left of the membrane after a step, from 0 to 1.
        thr: threshold, in units of the membrane; also what a reset subtracts.
        slope: steepness of the surrogate derivative, per unit of the membrane.
    """

    beta: float
    thr: float
    slope: float


class LIFState(NamedTuple):
    """What a layer carries from step to step: its membranes, of the currents' shape."""

    mem: Tensor


def rest(shape: Sequence[int], like: Tensor) -> LIFState:
    """Membranes of 0, with the device and type of number of ``like``."""
    return LIFState(like.new_zeros(shape))


def lif_step(
    current: Tensor, state: LIFState, parameters: LIFParameters
) -> tuple[Tensor, LIFState]:
    """One step of a layer; see the equations above.

    Args:
        current: of any shape. state: of the same shape. parameters: of all neurons.

    Returns:
        the spikes, 0 or 1, and the state after the step, both of the current's shape.
    """
    beta, thr, slope = parameters
    reset = (state.mem > thr).to(current.dtype)
    mem = beta * state.mem + current - reset * thr
    return surrogate_spike(mem - thr, slope), LIFState(mem)


def surrogate_spike(u: Tensor, slope: float) -> Tensor:
    """[u > 0] as 0 or 1, with derivative 1 / (1 + slope |u|)^2; any shape."""
    return _SurrogateSpike.apply(u, slope)


class _SurrogateSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.slope = slope
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return gradient / (1 + ctx.slope * u.abs()) ** 2, None
