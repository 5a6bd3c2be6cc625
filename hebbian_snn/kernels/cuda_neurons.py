"""Neurons in Triton: a step forwards, and a step backwards along their history.

Functions work on blocks of neurons. ``place`` says where these lie in memory, ``inside`` which of
them exist. Named tuples hold pointers when they are a kernel's arguments, and blocks otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

_FIRED, _QUIET = tl.constexpr(1), tl.constexpr(2)
"""Bits of a neuron's mark at a step: it fired; it was not refractory."""


class Parameters(NamedTuple):
    """A neuron's parameters, see ``hebbian_snn.neurons``."""

    decay: Any
    gain: Any
    thr: Any
    dampening: Any


class Neurons(NamedTuple):
    """Membranes, spikes and counters."""

    v: Any
    z: Any
    r: Any


class History(NamedTuple):
    """Membranes and marks (bytes), (B, T, N) each, after every step."""

    v: Any
    marks: Any


class Gradients(NamedTuple):
    """Of membranes and spikes, from later steps."""

    v: Any
    z: Any


@triton.jit
def load_parameters(numbers):
    """Decay, gain, threshold and dampening, which lie there in this order."""
    return Parameters(
        tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3)
    )


@triton.jit
def load_neurons(neurons, place, inside):
    """Membranes, spikes and counters of a block; 0 where there is no neuron."""
    return Neurons(
        tl.load(neurons.v + place, mask=inside, other=0),
        tl.load(neurons.z + place, mask=inside, other=0),
        tl.load(neurons.r + place, mask=inside, other=0),
    )


@triton.jit
def store_neurons(neurons, place, inside, values):
    """Write a block that :func:`load_neurons` would read."""
    tl.store(neurons.v + place, values.v, mask=inside)
    tl.store(neurons.z + place, values.z, mask=inside)
    tl.store(neurons.r + place, values.r, mask=inside)


@triton.jit
def load_gradients(gradients, place, inside):
    """Gradients of a block's membranes and spikes; 0 where there is no neuron."""
    return Gradients(
        tl.load(gradients.v + place, mask=inside, other=0),
        tl.load(gradients.z + place, mask=inside, other=0),
    )


@triton.jit
def store_gradients(gradients, place, inside, values):
    """Write a block that :func:`load_gradients` would read."""
    tl.store(gradients.v + place, values.v, mask=inside)
    tl.store(gradients.z + place, values.z, mask=inside)


@triton.jit
def fire(neurons, current, p, refractory, perfect_reset: tl.constexpr):
    """The neurons after a step."""
    if perfect_reset:
        v = p.decay * neurons.v * (1 - neurons.z) + p.gain * current
    else:
        v = p.decay * neurons.v + p.gain * current - neurons.z * p.thr
    fired = (v > p.thr) & (neurons.r == 0)
    r = tl.where(fired, refractory, tl.maximum(neurons.r - 1, 0))
    return Neurons(v, fired.to(v.dtype), r)


@triton.jit
def record(history, place, inside, after, r_before):
    """Enter a step into the history; ``r_before`` is the counter before it."""
    mark = tl.where(after.z != 0, _FIRED, 0) + tl.where(r_before == 0, _QUIET, 0)
    tl.store(history.v + place, after.v, mask=inside)
    tl.store(history.marks + place, mark.to(tl.uint8), mask=inside)


@triton.jit
def load_spikes(marks, place, inside, like):
    """Spikes of a step, from the history's marks, in the type of number of ``like``."""
    return (tl.load(marks + place, mask=inside, other=0) & _FIRED).to(like.dtype)


@triton.jit
def slope_at(history, place, inside, p):
    """Derivative of a step's spikes with respect to its membranes."""
    v = tl.load(history.v + place, mask=inside, other=0)
    quiet = (tl.load(history.marks + place, mask=inside, other=0) & _QUIET) != 0
    height = p.dampening * tl.maximum(1 - tl.abs((v - p.thr) / p.thr), 0) / p.thr
    return tl.where(quiet, height, 0)


@triton.jit
def look_back(history, start, t, place, n, inside):
    """The neurons before step t, where ``place`` is in the history; ``start`` before step 0."""
    earlier = tl.where(t > 0, place - n, place)
    v = tl.load(history.v + earlier, mask=inside, other=0)
    z = load_spikes(history.marks, earlier, inside, v)
    return Neurons(tl.where(t > 0, v, start.v), tl.where(t > 0, z, start.z), start.r)


@triton.jit
def step_back(d_spike, slope, before, d, p, perfect_reset: tl.constexpr):
    """Neurons backwards through a step.

    ``d_spike`` is what reaches the step's spikes from outside, ``before`` are the neurons before
    the step. Returns the gradient of the current, and ``d`` for the step before.
    """
    d_v = d.v + (d_spike + d.z) * slope
    if perfect_reset:
        d = Gradients(p.decay * (d_v - before.z * d_v), -p.decay * before.v * d_v)
    else:
        d = Gradients(p.decay * d_v, -p.thr * d_v)
    return p.gain * d_v, d
