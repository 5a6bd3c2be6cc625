"""Neurons without connections among them: one pass, and one back that starts from the currents."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from hebbian_snn.kernels.cpu_neurons import (
    Constants,
    Neurons,
    add_row,
    advance,
    arrays,
    constants,
    copies,
    empty_history,
    gradient_copy,
    put_row,
    slope_row,
    step_back,
)
from hebbian_snn.kernels.cpu_threads import in_shares
from hebbian_snn.neurons import LIFState, NeuronParameters

TILE = 128
"""Neurons that one thread advances together, through all steps."""


def lif_scan(
    currents: Tensor, neuron: NeuronParameters, num_time_steps: int, state: LIFState
) -> tuple[Tensor, LIFState]:
    """See :func:`hebbian_snn.kernels.lif_scan`."""
    p = constants(neuron, currents.dtype)
    spikes, *after = _Scan.apply(currents, neuron.thr, *state, num_time_steps, p)
    return spikes, LIFState(*after)


class _Scan(torch.autograd.Function):
    """Keeps the currents alone; the way back computes the membranes anew."""

    @staticmethod
    def forward(
        ctx: Any,
        currents: Tensor,
        thr: Tensor | float,
        v: Tensor,
        z: Tensor,
        r: Tensor,
        steps: int,
        p: Constants,
    ) -> tuple[Tensor, ...]:
        size, items, n = currents.shape
        spikes = currents.new_empty(size, items * steps, n)
        after = copies(v, z, r)
        in_shares(
            _scan,
            size * _tiles(n),
            *arrays(currents),
            steps,
            p,
            Neurons(*arrays(*after)),
            *arrays(spikes),
        )
        ctx.save_for_backward(currents, v, z, r)
        ctx.rest = steps, p, thr
        ctx.mark_non_differentiable(after[2])
        ctx.set_materialize_grads(False)
        return spikes, *after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, d_spikes: Tensor | None, d_v: Tensor | None, d_z: Tensor | None, _r: None
    ) -> tuple[Tensor | None, ...]:
        currents, *state = ctx.saved_tensors
        steps, p, thr = ctx.rest
        size, items, n = currents.shape
        if d_spikes is None:
            d_spikes = currents.new_zeros(size, items * steps, n)
        d_currents = torch.empty(currents.shape, dtype=currents.dtype)
        d_v, d_z = (gradient_copy(d, (size, n), currents) for d in (d_v, d_z))
        d_thr = torch.zeros(size * _tiles(n), dtype=torch.float64)
        in_shares(
            _scan_back,
            size * _tiles(n),
            *arrays(currents),
            steps,
            p,
            Neurons(*arrays(*state)),
            *arrays(d_spikes, d_currents),
            Neurons(*arrays(d_v, d_z, state[2])),
            *arrays(d_thr),
            ctx.needs_input_grad[1],
        )
        total = d_thr.sum().to(thr.dtype) if ctx.needs_input_grad[1] else None
        return d_currents, total, d_v, d_z, None, None, None


def _tiles(n: int) -> int:
    return -(-n // TILE)


@numba.njit(cache=True)
def _take(whole, b, t, first, row):
    """The first row becomes the tile from neuron ``first`` on, in step t of sample b."""
    for i in range(row.shape[1]):
        row[0, i] = whole[b, t, first + i]


@numba.njit(cache=True)
def _give(part, whole, b, t, first):
    """The way back of :func:`_take`, from an (N,) array."""
    for i in range(part.size):
        whole[b, t, first + i] = part[i]


@numba.njit(cache=True, nogil=True)
def _scan(begin, end, currents, steps, p, neurons, spikes):
    """The tiles from ``begin`` to ``end``, counted sample by sample."""
    n = currents.shape[2]
    for task in range(begin, end):
        b, first = divmod(task, -(-n // TILE))
        first *= TILE
        part = slice(first, first + TILE)
        v, z, r = neurons.v[b, part].copy(), neurons.z[b, part].copy(), neurons.r[b, part].copy()
        current = np.empty((1, v.size), v.dtype)
        for item in range(currents.shape[1]):
            _take(currents, b, item, first, current)
            for t in range(item * steps, (item + 1) * steps):
                advance(v, z, r, current, 0, p)
                _give(z, spikes, b, t, first)
        neurons.v[b, part], neurons.z[b, part], neurons.r[b, part] = v, z, r


@numba.njit(cache=True, nogil=True)
def _scan_back(
    begin, end, currents, steps, p, neurons, d_spikes, d_currents, d_neurons, d_thr, trained
):
    """The tiles from ``begin`` to ``end`` backwards; with ``trained``, the threshold's gradient
    too."""
    items, n, one = currents.shape[1], currents.shape[2], currents.dtype.type(1)
    vs, zs, slopes = empty_history(d_spikes.shape[1], min(TILE, n), currents)
    for task in range(begin, end):
        b, first = divmod(task, -(-n // TILE))
        first *= TILE
        part = slice(first, first + TILE)
        v, z, r = neurons.v[b, part].copy(), neurons.z[b, part].copy(), neurons.r[b, part].copy()
        row, total = np.empty((2, v.size), v.dtype), 0.0
        _fire_again(currents, b, first, steps, p, v, z, r, r.copy(), row, vs, zs, slopes)
        d_v, d_z = d_neurons.v[b, part].copy(), d_neurons.z[b, part].copy()
        for item in range(items - 1, -1, -1):
            row[1, :] = 0
            for t in range((item + 1) * steps - 1, item * steps - 1, -1):
                _take(d_spikes, b, t, first, row)
                if trained:
                    total += _threshold_back(vs, zs, slopes, t, row, d_v, d_z, p)
                step_back(vs, zs, slopes, t, row, 0, d_v, d_z, p)
                add_row(row, 0, row, 1, one)
            _give(row[1], d_currents, b, item, first)
        d_neurons.v[b, part], d_neurons.z[b, part], d_thr[task] = d_v, d_z, total


@numba.njit(cache=True)
def _fire_again(currents, b, first, steps, p, v, z, r, before, row, vs, zs, slopes):
    """Fill in the history of a tile; its neurons go along."""
    put_row(v, vs, 0)
    put_row(z, zs, 0)
    for t in range(currents.shape[1] * steps):
        _take(currents, b, t // steps, first, row)
        for i in range(r.size):
            before[i] = r[i]
        advance(v, z, r, row, 0, p)
        slope_row(v, before, slopes, t + 1, p)
        put_row(v, vs, t + 1)
        put_row(z, zs, t + 1)


@numba.njit(cache=True)
def _threshold_back(vs, zs, slopes, t, d_spikes, d_v, d_z, p):
    """The threshold's gradient from step t, whose spikes' gradients are the first row."""
    d_thr = 0.0
    for i in range(d_v.size):
        d_u = (d_spikes[0, i] + d_z[i]) * slopes[t + 1, i]
        d_thr -= d_u * vs[t + 1, i] / p.thr
        if not p.perfect_reset:
            d_thr -= (d_v[i] + d_u) * zs[t, i]
    return d_thr
