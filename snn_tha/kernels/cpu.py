"""The scan compiled for CPUs: a thread takes some units of one sample through all steps.

Nothing but the currents is kept for the way back: it computes the membranes anew, in a buffer that
fits the cache. Spikes leave, and their gradients arrive, in the type that the product of the next
layer takes; NumPy has no bfloat16, so here it is uint16 with the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

from common.counter_noise import GOLDEN, mix, uniform
from snn_tha.kernels import Dropout
from snn_tha.neurons import LIFParameters

TILE = 128
"""Units that a thread advances together."""

_BFLOAT16_ONE = np.uint16(0x3F80)


class _Constants(NamedTuple):
    """Neurons and dropout in the currents' type of number; ``keys`` is empty without dropout."""

    beta: np.floating
    thr: np.floating
    slope: np.floating
    keys: np.ndarray
    rate: np.float32
    scale: np.floating


def lif_scan(
    currents: Tensor,
    neuron: LIFParameters,
    steps: int,
    dropout: Dropout | None,
    spike_type: torch.dtype,
) -> Tensor:
    """See :func:`snn_tha.kernels.lif_scan`."""
    number = np.float32 if currents.dtype == torch.float32 else np.float64
    lost = dropout if dropout is not None and dropout.rate > 0 else None
    constants = _Constants(
        *(number(x) for x in neuron),
        np.empty(0, np.uint64) if lost is None else lost.keys,
        np.float32(0 if lost is None else lost.rate),
        number(1 if lost is None else lost.scale()),
    )
    return _Scan.apply(currents, steps, constants, spike_type)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, currents: Tensor, steps: int, constants: _Constants, spike_type: torch.dtype
    ) -> Tensor:
        currents = currents.contiguous()
        spikes = torch.empty(steps, *currents.shape[1:], dtype=spike_type)
        array = _bits(spikes)
        one = _BFLOAT16_ONE if spike_type == torch.bfloat16 else array.dtype.type(1)
        _scan(currents.numpy(), constants, array, one)
        ctx.save_for_backward(currents)
        ctx.constants = constants
        return spikes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_spikes: Tensor) -> tuple[Tensor, None, None, None]:
        (currents,) = ctx.saved_tensors
        d_currents = torch.empty_like(currents)
        gradient = _bits(d_spikes.contiguous())
        _scan_back(currents.numpy(), ctx.constants, gradient, d_currents.numpy())
        return d_currents, None, None, None


def _bits(tensor: Tensor) -> np.ndarray:
    """An array on the tensor's memory; bfloat16 as uint16."""
    bfloat16 = tensor.dtype == torch.bfloat16
    return tensor.detach().view(torch.uint16).numpy() if bfloat16 else tensor.detach().numpy()


def _number(x):
    """A gradient as a number; uint16 holds the bits of a bfloat16."""
    raise NotImplementedError  # compiled code only, see below


@overload(_number, inline="always")
def _compile_number(x):
    if isinstance(x, types.Integer):
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


@numba.njit(inline="always")
def _arriving(current, b, counter, p):
    """A current after dropout."""
    word = mix(p.keys[b] + np.uint64(counter) * GOLDEN)
    return current * p.scale if uniform(word) >= p.rate else current * (p.scale - p.scale)


@numba.njit(inline="always")
def _step(mem, current, p):
    """The membrane after a step, rounded as the reference does."""
    mem_leaked = p.beta * mem + current
    return mem_leaked - p.thr if mem > p.thr else mem_leaked


@numba.njit(cache=True, parallel=True)
def _scan(currents, p, spikes, one):
    steps, size, units = spikes.shape
    tiles = -(-units // TILE)
    static = len(currents) == 1
    zero = one - one
    for task in numba.prange(size * tiles):
        b, first = task // tiles, (task % tiles) * TILE
        n = min(TILE, units - first)
        mem = np.zeros(TILE, currents.dtype)
        for t in range(steps):
            current = currents[0 if static else t, b, first : first + n]
            out = spikes[t, b, first : first + n]
            if p.keys.size:
                for i in range(n):
                    arriving = _arriving(current[i], b, t * units + first + i, p)
                    mem[i] = _step(mem[i], arriving, p)
            else:
                for i in range(n):
                    mem[i] = _step(mem[i], current[i], p)
            for i in range(n):
                out[i] = one if mem[i] > p.thr else zero


@numba.njit(cache=True, parallel=True)
def _scan_back(currents, p, d_spikes, d_currents):
    steps, size, units = d_spikes.shape
    tiles = -(-units // TILE)
    static = len(currents) == 1
    one = currents.dtype.type(1)
    for task in numba.prange(size * tiles):
        b, first = task // tiles, (task % tiles) * TILE
        n = min(TILE, units - first)
        mems = np.zeros((steps + 1, TILE), currents.dtype)  # row t is before step t
        for t in range(steps):
            current = currents[0 if static else t, b, first : first + n]
            before, after = mems[t], mems[t + 1]
            if p.keys.size:
                for i in range(n):
                    arriving = _arriving(current[i], b, t * units + first + i, p)
                    after[i] = _step(before[i], arriving, p)
            else:
                for i in range(n):
                    after[i] = _step(before[i], current[i], p)
        d_mem, total = np.zeros(TILE, currents.dtype), np.zeros(TILE, currents.dtype)
        for t in range(steps - 1, -1, -1):
            d_out, mem = d_spikes[t, b, first : first + n], mems[t + 1]
            for i in range(n):
                width = one + p.slope * abs(mem[i] - p.thr)
                d_mem[i] = p.beta * d_mem[i] + _number(d_out[i]) / (width * width)
            if p.keys.size:
                for i in range(n):
                    arriving = _arriving(d_mem[i], b, t * units + first + i, p)
                    total[i] += arriving
                    if not static:
                        d_currents[t, b, first + i] = arriving
            elif static:
                for i in range(n):
                    total[i] += d_mem[i]
            else:
                for i in range(n):
                    d_currents[t, b, first + i] = d_mem[i]
        if static:
            d_currents[0, b, first : first + n] = total[:n]


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`snn_tha.kernels.reference.moments`."""
    mean, squares = (x.new_empty(len(x), x.shape[2], dtype=torch.float64) for _ in range(2))
    _moments(x.numpy(), mean.numpy(), squares.numpy())
    return mean, squares


def normalize(x: Tensor, mean: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """See :func:`snn_tha.kernels.reference.normalize`."""
    out = torch.empty_like(x)
    _normalize(*(a.detach().numpy() for a in (x, mean, scale, bias, out)))
    return out


def gradient_sums(d_out: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`snn_tha.kernels.reference.gradient_sums`."""
    plain, weighted = (torch.empty_like(mean, dtype=torch.float64) for _ in range(2))
    _gradient_sums(*(a.numpy() for a in (d_out, x, mean, plain, weighted)))
    return plain, weighted


def input_gradient(
    d_out: Tensor, x: Tensor, mean: Tensor, scale: Tensor, level: Tensor, tilt: Tensor
) -> Tensor:
    """See :func:`snn_tha.kernels.reference.input_gradient`."""
    out = torch.empty_like(x)
    _input_gradient(*(a.numpy() for a in (d_out, x, mean, scale, level, tilt, out)))
    return out


@numba.njit(cache=True, parallel=True)
def _moments(x, mean, squares):
    steps, rows, channels = x.shape
    for t in numba.prange(steps):
        mean[t] = 0
        squares[t] = 0
        for r in range(rows):
            for c in range(channels):
                mean[t, c] += x[t, r, c]
        for c in range(channels):
            mean[t, c] /= max(rows, 1)
        for r in range(rows):
            for c in range(channels):
                deviation = x[t, r, c] - mean[t, c]
                squares[t, c] += deviation * deviation


@numba.njit(cache=True, parallel=True)
def _normalize(x, mean, scale, bias, out):
    steps, rows, channels = x.shape
    for t in numba.prange(steps):
        for r in range(rows):
            for c in range(channels):
                out[t, r, c] = (x[t, r, c] - mean[t, c]) * scale[t, c] + bias[c]


@numba.njit(cache=True, parallel=True)
def _gradient_sums(d_out, x, mean, plain, weighted):
    steps, rows, channels = x.shape
    for t in numba.prange(steps):
        plain[t] = 0
        weighted[t] = 0
        for r in range(rows):
            for c in range(channels):
                plain[t, c] += d_out[t, r, c]
                weighted[t, c] += d_out[t, r, c] * (x[t, r, c] - mean[t, c])


@numba.njit(cache=True, parallel=True)
def _input_gradient(d_out, x, mean, scale, level, tilt, out):
    steps, rows, channels = x.shape
    for t in numba.prange(steps):
        for r in range(rows):
            for c in range(channels):
                deviation = x[t, r, c] - mean[t, c]
                out[t, r, c] = d_out[t, r, c] * scale[t, c] - level[t, c] - tilt[t, c] * deviation
