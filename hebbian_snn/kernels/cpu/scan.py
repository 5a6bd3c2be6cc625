"""Neurons without connections among them: one pass, and one back that starts from the currents."""

from __future__ import annotations

from typing import Any

import numba
import torch
from torch import Tensor

from hebbian_snn.kernels.cpu.neurons import (
    Constants,
    Neurons,
    arrays,
    constants,
    copies,
    empty_history,
    fire,
    gradient_copy,
    slope_at,
    start_history,
    step,
    step_back,
)
from hebbian_snn.kernels.cpu.threads import in_shares
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
        )
        total = d_thr.sum().to(thr.dtype) if ctx.needs_input_grad[1] else None
        return d_currents, total, d_v, d_z, None, None, None


def _tiles(n: int) -> int:
    return -(-n // TILE)


@numba.njit(cache=True)
def _tile(neurons, b, part):
    return Neurons(neurons.v[b, part], neurons.z[b, part], neurons.r[b, part])


@numba.njit(cache=True, nogil=True)
def _scan(begin, end, currents, steps, p, neurons, spikes):
    """The tiles from ``begin`` to ``end``, counted sample by sample."""
    tiles = -(-currents.shape[2] // TILE)
    for task in range(begin, end):
        b, first = task // tiles, (task % tiles) * TILE
        part = slice(first, first + TILE)
        _advance(currents[b, :, part], steps, p, _tile(neurons, b, part), spikes[b, :, part])


@numba.njit(cache=True)
def _advance(currents, steps, p, neurons, spikes):
    for t in range(len(spikes)):
        current = currents[t // steps]
        for i in range(current.size):
            spikes[t, i] = step(neurons, i, current[i], p)


@numba.njit(cache=True, nogil=True)
def _scan_back(begin, end, currents, steps, p, neurons, d_spikes, d_currents, d_neurons, d_thr):
    """The tiles from ``begin`` to ``end`` backwards."""
    tiles = -(-currents.shape[2] // TILE)
    history = empty_history(d_spikes.shape[1], TILE, currents)
    for task in range(begin, end):
        b, first = task // tiles, (task % tiles) * TILE
        part = slice(first, first + TILE)
        _fire_again(currents[b, :, part], steps, p, _tile(neurons, b, part), history)
        d_thr[task] = _walk_back(
            history,
            steps,
            p,
            d_spikes[b, :, part],
            d_currents[b, :, part],
            _tile(d_neurons, b, part),
        )


@numba.njit(cache=True)
def _fire_again(currents, steps, p, start, history):
    start_history(history, start)
    r = start.r.copy()
    for t in range(len(currents) * steps):
        current = currents[t // steps]
        for i in range(r.size):
            v, z, after = fire(history.v[t, i], history.z[t, i], r[i], current[i], p)
            history.v[t + 1, i], history.z[t + 1, i] = v, z
            history.slopes[t + 1, i] = slope_at(v, r[i], p)
            r[i] = after


@numba.njit(cache=True)
def _walk_back(history, steps, p, d_spikes, d_currents, d_neurons):
    """Gradients of currents and start, in place; returns that of the threshold."""
    d_thr = 0.0
    d_currents[:] = 0
    for t in range(len(d_spikes) - 1, -1, -1):
        d_current = d_currents[t // steps]
        for i in range(d_current.size):
            d_u = (d_spikes[t, i] + d_neurons.z[i]) * history.slopes[t + 1, i]
            d_thr -= d_u * history.v[t + 1, i] / p.thr
            if not p.perfect_reset:
                d_thr -= (d_neurons.v[i] + d_u) * history.z[t, i]
            d_current[i] += step_back(history, t, i, d_spikes[t, i], d_neurons, p)
    return d_thr
