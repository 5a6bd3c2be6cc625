"""Neurons in compiled code: a step forwards, and a step backwards along their history.

Functions that take ``t`` and ``i`` are about step t of neuron i of one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from hebbian_snn.neurons import NeuronParameters, threshold


class Constants(NamedTuple):
    """A neuron's parameters in the currents' type of number, see ``hebbian_snn.neurons``."""

    decay: np.floating
    gain: np.floating
    thr: np.floating
    refractory: np.int32
    perfect_reset: bool
    dampening: np.floating


class Neurons(NamedTuple):
    """Membranes, spikes and counters, or gradients of the first two; (B, N) each, or (N,)."""

    v: np.ndarray
    z: np.ndarray
    r: np.ndarray


class History(NamedTuple):
    """All steps of one sample's neurons, (T + 1, N) each: row t is after t steps, row 0 the start;
    ``slopes`` are the derivatives of the spikes with respect to the membranes."""

    v: np.ndarray
    z: np.ndarray
    slopes: np.ndarray


def constants(neuron: NeuronParameters, dtype: torch.dtype) -> Constants:
    """The parameters for compiled code."""
    number = number_type(dtype)
    return Constants(
        number(neuron.decay),
        number(neuron.gain),
        number(threshold(neuron)),
        np.int32(neuron.refractory_time_steps),
        bool(neuron.perfect_reset),
        number(neuron.dampening_factor),
    )


def number_type(dtype: torch.dtype) -> type[np.floating]:
    """float32 or float64 of NumPy."""
    return np.float32 if dtype == torch.float32 else np.float64


def arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Contiguous arrays, on the tensors' memory where they are contiguous."""
    return tuple(x.detach().contiguous().numpy() for x in tensors)


def copies(*tensors: Tensor) -> list[Tensor]:
    """Contiguous copies, to be changed in place."""
    return [x.detach().clone(memory_format=torch.contiguous_format) for x in tensors]


def gradient_copy(gradient: Tensor | None, shape: Sequence[int], like: Tensor) -> Tensor:
    """A contiguous copy of a gradient of this shape; None stands for zeros."""
    return like.new_zeros(shape) if gradient is None else copies(gradient)[0]


@numba.njit(cache=True)
def sample(neurons, b):
    """The neurons of one sample."""
    return Neurons(neurons.v[b], neurons.z[b], neurons.r[b])


@numba.njit(cache=True)
def empty_history(steps, n, like):
    """Room for a history, of the type of number of ``like``."""
    shape = (steps + 1, n)
    return History(
        np.empty(shape, like.dtype), np.empty(shape, like.dtype), np.empty(shape, like.dtype)
    )


@numba.njit(cache=True)
def fire(v, z, r, current, p):
    """Membrane, spike and counter of a neuron after a step."""
    one = type(v)(1)
    if p.perfect_reset:
        v = p.decay * v * (one - z) + p.gain * current
    else:
        v = p.decay * v + p.gain * current - z * p.thr
    fired = (v > p.thr) & (r == 0)
    waited = max(r - np.int32(1), np.int32(0))
    return v, one if fired else one - one, p.refractory if fired else waited


@numba.njit(cache=True)
def step(neurons, i, current, p):
    """Neuron i through a step, in place; returns its spike."""
    neurons.v[i], neurons.z[i], neurons.r[i] = fire(
        neurons.v[i], neurons.z[i], neurons.r[i], current, p
    )
    return neurons.z[i]


@numba.njit(cache=True)
def slope_at(v, r, p):
    """Derivative of a step's spike with respect to its membrane; r is the counter before."""
    one = type(v)(1)
    height = p.dampening * max(one - abs((v - p.thr) / p.thr), one - one) / p.thr
    return height if r == 0 else one - one


@numba.njit(cache=True)
def start_history(history, start):
    """Fill in row 0."""
    for i in range(start.v.size):
        history.v[0, i] = start.v[i]
        history.z[0, i] = start.z[i]


@numba.njit(cache=True)
def replay(membranes, start, p, history):
    """Fill in the history of neurons from their state at the start and (T, N) membranes."""
    start_history(history, start)
    r = start.r.copy()
    one = membranes.dtype.type(1)
    for t in range(len(membranes)):
        for i in range(r.size):
            v = membranes[t, i]
            fired = (v > p.thr) & (r[i] == 0)
            history.v[t + 1, i] = v
            history.z[t + 1, i] = one if fired else one - one
            history.slopes[t + 1, i] = slope_at(v, r[i], p)
            r[i] = p.refractory if fired else max(r[i] - np.int32(1), np.int32(0))


@numba.njit(inline="always")
def step_back(history, t, i, d_spike, d_neurons, p):
    """Neuron i backwards through step t; returns the gradient of its current.

    ``d_spike`` is what reaches the step's spike from outside. ``d_neurons`` holds the gradients of
    membrane and spike that come from later steps, and then those of the step before.
    """
    d_v = d_neurons.v[i] + (d_spike + d_neurons.z[i]) * history.slopes[t + 1, i]
    if p.perfect_reset:
        d_neurons.z[i] = -p.decay * history.v[t, i] * d_v
        d_neurons.v[i] = p.decay * (d_v - history.z[t, i] * d_v)
    else:
        d_neurons.z[i] = -p.thr * d_v
        d_neurons.v[i] = p.decay * d_v
    return p.gain * d_v
