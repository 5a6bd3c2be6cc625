"""Spiking neurons as functions ``step(current, state, parameters) -> (spikes, state)``.

One step is 1 ms. The current I of a step acts on the membrane of the same step::

    v <- alpha v + (1 - alpha) I - z thr       soft reset; z is the spike of the step before
    v <- alpha v (1 - z) + (1 - alpha) I       perfect reset
    z <- [(v - thr) / thr > 0], and 0 while r > 0
    r <- r - 1 where r > 0, else R z

with alpha = exp(-1 / tau_mem). A neuron that does not leak takes ``v <- v + I - z thr``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor


class LIFParameters(NamedTuple):
    """A leaky integrate-and-fire neuron.

    Attributes:
        thr: threshold, in units of the membrane; a 0-d tensor where it is trained.
        tau_mem: time constant of the membrane, ms.
        refractory_time_steps: R, steps after a spike in which the neuron cannot fire.
        perfect_reset: a spike sets the membrane to 0 instead of lowering it by ``thr``.
        dampening_factor: d, height of the surrogate derivative.
    """

    thr: float | Tensor = 0.1
    tau_mem: float = 20.0
    refractory_time_steps: int = 3
    perfect_reset: bool = False
    dampening_factor: float = 1.0

    @property
    def decay(self) -> float:
        """What is left of the membrane after a step, alpha."""
        return math.exp(-1 / self.tau_mem)

    @property
    def gain(self) -> float:
        """How much a current of 1 adds to the membrane in a step."""
        return 1 - self.decay


class IFParameters(NamedTuple):
    """A neuron without leak, for networks converted from ReLU; attributes as
    :class:`LIFParameters`."""

    thr: float | Tensor
    refractory_time_steps: int = 3
    perfect_reset: bool = False
    dampening_factor: float = 1.0

    @property
    def decay(self) -> float:
        """Nothing is lost."""
        return 1.0

    @property
    def gain(self) -> float:
        """The current is added as it is."""
        return 1.0


LEAST_TRACE = 1e-7
"""Traces below count as 0: with tau 20 ms, from 262 steps after a single spike on."""

State = TypeVar("State")

NeuronParameters = LIFParameters | IFParameters


def threshold(parameters: NeuronParameters) -> float:
    """The threshold as a number, trained or not."""
    thr = parameters.thr
    return float(thr.detach()) if isinstance(thr, Tensor) else float(thr)


class LIFState(NamedTuple):
    """What a population of neurons carries from step to step, (B, N) each.

    Attributes:
        v: membrane. z: spikes of the last step, 0 or 1. r: int32, steps still refractory.
    """

    v: Tensor
    z: Tensor
    r: Tensor


def rest(shape: Sequence[int], like: Tensor) -> LIFState:
    """The state in which everything is 0, with the device and type of number of ``like``."""
    zeros = like.new_zeros(shape)
    return LIFState(zeros, zeros, zeros.to(torch.int32))


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """The state with ``function`` applied to every tensor of it, however nested: detached, of a
    part of the samples, set back to 0 where a game ended."""
    if isinstance(state, Tensor):
        return function(state)
    return type(state)(*(map_state(function, part) for part in state))


def lif_step(
    current: Tensor, state: LIFState, parameters: NeuronParameters
) -> tuple[Tensor, LIFState]:
    """One step of a population; see the equations above.

    The spike's derivative with respect to u = (v - thr) / thr is d max(0, 1 - |u|), and 0 while
    refractory. Gradients pass through the reset, not through the refractory counter.

    Args:
        current: (B, N). state: (B, N). parameters: of all neurons, leaky or not.

    Returns:
        the (B, N) spikes, 0 or 1, and the state after the step.
    """
    p = parameters
    if p.perfect_reset:
        v = p.decay * state.v * (1 - state.z) + p.gain * current
    else:
        v = p.decay * state.v + p.gain * current - state.z * p.thr
    z = surrogate_spike((v - p.thr) / p.thr, p.dampening_factor) * (state.r == 0)
    fired = z.detach().to(torch.int32)
    r = torch.where(state.r > 0, state.r - 1, p.refractory_time_steps * fired)
    return z, LIFState(v, z, r)


def trace_step(trace: Tensor, spikes: Tensor, tau: float) -> Tensor:
    """The exponential trace after a step: exp(-1 / tau) trace + (1 - exp(-1 / tau)) spikes.

    A trace below :data:`LEAST_TRACE` becomes 0; gradients pass as if it did not.

    Args:
        trace: (B, N), from 0. spikes: (B, N). tau: time constant, ms.
    """
    decay = trace_decay(tau)
    trace = decay * trace + (1 - decay) * spikes
    return trace + (trace * (trace >= LEAST_TRACE) - trace).detach()


def trace_decay(tau: float) -> float:
    """What is left of a trace after a step, exp(-1 / tau)."""
    return math.exp(-1 / tau)


def surrogate_spike(u: Tensor, dampening_factor: float = 1.0) -> Tensor:
    """[u > 0] as 0 or 1, with derivative ``dampening_factor * max(0, 1 - |u|)``; any shape."""
    return _SurrogateSpike.apply(u, dampening_factor)


class _SurrogateSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, dampening_factor: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.dampening_factor = dampening_factor
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return gradient * ctx.dampening_factor * (1 - u.abs()).clamp(min=0), None
