"""Neurons in compiled code: a population's step forwards, and a step backwards along its history.

Every loop runs over all neurons of one sample and touches few arrays, so that it becomes vector
instructions: a loop is only vectorised where the arrays that it writes to can be told apart from
all others with few comparisons. Arrays are of one sample, (N,) or with a step in front, (T, N).
What is called in every step takes arrays, not tuples of arrays: taking one out of a tuple, like
taking a slice, counts a reference atomically, and that costs more than such a loop.
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
def empty_history(steps, n, like):
    """Room for membranes, spikes and their slopes, (T + 1, N) each: row t is after t steps, row 0
    the start. Slopes are the derivatives of the spikes with respect to the membranes."""
    shape, dtype = (steps + 1, n), like.dtype
    return np.empty(shape, dtype), np.empty(shape, dtype), np.empty(shape, dtype)


@numba.njit(cache=True)
def copy_row(source, s, target, t):
    """Row s of an array becomes row t of another."""
    for i in range(source.shape[1]):
        target[t, i] = source[s, i]


@numba.njit(cache=True)
def put_row(source, target, t):
    """An (N,) array becomes row t of another."""
    for i in range(source.size):
        target[t, i] = source[i]


@numba.njit(cache=True)
def add_row(source, s, target, t, factor):
    """Row s of an array, ``factor`` times, is added to row t of another."""
    for i in range(target.shape[1]):
        target[t, i] += factor * source[s, i]


@numba.njit(cache=True)
def advance(v, z, r, currents, t, p):
    """All neurons through a step with row t of the currents, in place."""
    n = v.size
    if p.perfect_reset:
        one = v.dtype.type(1)
        for i in range(n):
            v[i] = p.decay * v[i] * (one - z[i]) + p.gain * currents[t, i]
    else:
        for i in range(n):
            v[i] = p.decay * v[i] + p.gain * currents[t, i] - z[i] * p.thr
    spike(v, z, r, p)


@numba.njit(cache=True)
def spike(v, z, r, p):
    """Spikes and counters after a step from the membranes after it, in place."""
    one, rest, count = v.dtype.type(1), v.dtype.type(0), np.int32(1)
    for i in range(v.size):
        fired = (v[i] > p.thr) & (r[i] == 0)
        waited = r[i] - count if r[i] > 0 else r[i]
        z[i] = one if fired else rest
        r[i] = p.refractory if fired else waited


@numba.njit(cache=True)
def slope_row(v, r, slopes, t, p):
    """Row t becomes the derivatives of a step's spikes with respect to its membranes; r are the
    counters before the step."""
    one, rest = v.dtype.type(1), v.dtype.type(0)
    height, scale = p.dampening / p.thr, one / p.thr
    for i in range(v.size):
        u = (v[i] - p.thr) * scale
        distance = u if u > rest else -u
        slope = height * (one - distance)
        slopes[t, i] = slope if (r[i] == 0) & (slope > rest) else rest


@numba.njit(cache=True)
def replay(membranes, first, last, v, z, r, p, vs, zs, slopes):
    """Fill in the history of the steps from ``first`` to ``last`` from the neurons before them,
    which go along, and from (T, N) membranes."""
    put_row(v, vs, 0)
    put_row(z, zs, 0)
    for t in range(first, last):
        c = t - first + 1
        for i in range(v.size):
            v[i] = membranes[t, i]
        slope_row(v, r, slopes, c, p)
        spike(v, z, r, p)
        put_row(v, vs, c)
        put_row(z, zs, c)


@numba.njit(cache=True)
def step_back(vs, zs, slopes, c, d_currents, t, d_v, d_z, p):
    """All neurons backwards through step c of their history.

    Row t of ``d_currents`` is what reaches the step's spikes from outside and becomes the gradient
    of the currents. ``d_v`` and ``d_z`` are the gradients of membranes and spikes that come from
    later steps, and then those of the step before.
    """
    n = d_v.size
    for i in range(n):
        d_v[i] += (d_currents[t, i] + d_z[i]) * slopes[c + 1, i]
    if p.perfect_reset:
        for i in range(n):
            d_z[i] = -p.decay * vs[c, i] * d_v[i]
        for i in range(n):
            d_currents[t, i] = p.gain * d_v[i]
            d_v[i] = p.decay * (d_v[i] - zs[c, i] * d_v[i])
    else:
        for i in range(n):
            d_currents[t, i] = p.gain * d_v[i]
            d_z[i] = -p.thr * d_v[i]
            d_v[i] = p.decay * d_v[i]
