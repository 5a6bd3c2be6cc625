"""Reading the memory: every sample for itself, adding up the columns of the neurons that spike.

The value spikes come back to the keys, so this stays a loop over steps; but few neurons spike in a
step, and only their columns of ``mem`` and of the weight count. The way back needs one product
with ``mem`` and one with the weight a step.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from hebbian_snn.kernels import Read, ReadingState
from hebbian_snn.kernels.cpu_neurons import (
    Neurons,
    add_row,
    advance,
    arrays,
    constants,
    copies,
    copy_row,
    empty_history,
    gradient_copy,
    put_row,
    replay,
    step_back,
)
from hebbian_snn.kernels.cpu_threads import in_shares
from hebbian_snn.neurons import LIFState, NeuronParameters

# Sums in SIMD order; NaN stays NaN. Functions with such sums go into their callers whole: of a
# function of its own LLVM may order them otherwise where the process compiles and where it takes
# the compiled caller from the cache, and the first run would end in other numbers than the second.
_FAST = {"reassoc", "contract", "nsz"}


def read_memory(
    currents: Tensor,
    weight: Tensor,
    mem: Tensor,
    state: ReadingState,
    neuron: NeuronParameters,
    delay: int,
) -> Read:
    """See :func:`hebbian_snn.kernels.read_memory`."""
    inputs = (currents, weight, mem, *state.key, *state.value, state.delayed)
    recorded = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    p = constants(neuron, currents.dtype)
    key_spikes, value_spikes, *after = _Read.apply(*inputs, p, recorded)
    # All value spikes in a row: those from before, then the new ones.
    trains = torch.cat([state.delayed, value_spikes[:, -delay:]], 1)
    key, value = LIFState(*after[:3]), LIFState(*after[3:])
    return Read(key_spikes, value_spikes, ReadingState(key, value, trains[:, -delay:]))


class _Read(torch.autograd.Function):
    """Keeps the membranes and spikes of all steps."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        currents, weight, mem, *state, delayed, p, recorded = arguments
        size, steps, n = currents.shape
        spikes = [currents.new_empty(size, steps, n) for _ in range(2)]
        kept = [currents.new_empty(size if recorded else 0, steps, n) for _ in range(2)]
        after = copies(*state)
        in_shares(
            _read,
            size,
            *arrays(currents, weight.T, mem.mT, delayed),
            p,
            (Neurons(*arrays(*after[:3])), Neurons(*arrays(*after[3:]))),
            arrays(*spikes),
            arrays(*kept),
        )
        ctx.save_for_backward(*kept, *spikes, weight, mem, *state, delayed)
        ctx.constants = p
        ctx.mark_non_differentiable(after[2], after[5])
        ctx.set_materialize_grads(False)
        return *spikes, *after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        key_v, value_v, key_spikes, value_spikes, weight, mem, *state, delayed = ctx.saved_tensors
        # The gradients of spikes and last state turn, in place, into those of currents and start.
        d_keys, d_values = (gradient_copy(d, key_v.shape, key_v) for d in gradients[:2])
        d_state = [gradient_copy(d, state[0].shape, key_v) for d in gradients[2:]]
        d_delayed = torch.zeros_like(delayed, memory_format=torch.contiguous_format)
        in_shares(
            _read_back,
            len(key_v),
            arrays(key_v, value_v),
            *arrays(weight, mem),
            (Neurons(*arrays(*state[:3])), Neurons(*arrays(*state[3:]))),
            ctx.constants,
            *arrays(d_keys, d_values),
            (Neurons(*arrays(*d_state[:3])), Neurons(*arrays(*d_state[3:]))),
            *arrays(d_delayed),
        )
        heard = torch.cat([delayed, value_spikes], 1)[:, : d_keys.shape[1]]
        d_weight = d_keys.flatten(0, 1).T @ heard.flatten(0, 1)
        d_mem = (key_spikes.mT @ d_values).mT  # laid out as writing wants it
        d_state[2] = d_state[5] = None
        return d_keys, d_weight, d_mem, *d_state, d_delayed, None, None


@numba.njit(cache=True, fastmath=_FAST, forceinline=True)
def _add_rows(factors, f, rows, out, t):
    """Row t of ``out`` += row f of ``factors`` @ rows, fast where many factors are 0."""
    for i in range(factors.shape[1]):
        factor = factors[f, i]
        if factor != 0:
            for j in range(out.shape[1]):
                out[t, j] += factor * rows[i, j]


@numba.njit(cache=True, nogil=True)
def _read(begin, end, currents, weight, mem, delayed, p, neurons, spikes, kept):
    """The samples from ``begin`` to ``end``; ``weight`` and ``mem`` are transposed."""
    steps, n = currents.shape[1:]
    delay = delayed.shape[1]
    current = np.empty((2, n), mem.dtype)
    recorded = len(kept[0]) > 0
    for b in range(begin, end):
        key_v, key_z, key_r = neurons[0].v[b], neurons[0].z[b], neurons[0].r[b]
        value_v, value_z, value_r = neurons[1].v[b], neurons[1].z[b], neurons[1].r[b]
        inputs, before, columns = currents[b], delayed[b], mem[b]
        keys, values = spikes[0][b], spikes[1][b]
        kept_keys, kept_values = kept[0][b], kept[1][b]  # not looked at unless recorded
        for t in range(steps):
            copy_row(inputs, t, current, 0)
            if t < delay:
                _add_rows(before, t, weight, current, 0)
            else:
                _add_rows(values, t - delay, weight, current, 0)
            advance(key_v, key_z, key_r, current, 0, p)
            put_row(key_z, keys, t)
            current[1, :] = 0
            _add_rows(keys, t, columns, current, 1)
            advance(value_v, value_z, value_r, current, 1, p)
            put_row(value_z, values, t)
            if recorded:
                put_row(key_v, kept_keys, t)
                put_row(value_v, kept_values, t)


@numba.njit(cache=True, nogil=True)
def _read_back(begin, end, v, weight, mem, neurons, p, d_keys, d_values, d_neurons, d_delayed):
    """The samples from ``begin`` to ``end`` backwards; ``mem`` is not transposed."""
    steps, n = d_keys.shape[1:]
    delay = d_delayed.shape[1]
    key_v, key_z, key_slopes = empty_history(steps, n, mem)
    value_v, value_z, value_slopes = empty_history(steps, n, mem)
    d_heard = np.empty((steps, n), mem.dtype)
    one = mem.dtype.type(1)
    for b in range(begin, end):
        for k in range(2):
            now, history = neurons[k], (key_v, key_z, key_slopes)
            if k == 1:
                history = (value_v, value_z, value_slopes)
            start = now.v[b].copy(), now.z[b].copy(), now.r[b].copy()
            replay(v[k][b], 0, steps, *start, p, *history)
        d_key_v, d_key_z = d_neurons[0].v[b], d_neurons[0].z[b]
        d_value_v, d_value_z = d_neurons[1].v[b], d_neurons[1].z[b]
        d_key, d_value, rows, d_before = d_keys[b], d_values[b], mem[b], d_delayed[b]
        d_heard[:] = 0
        for t in range(steps - 1, -1, -1):
            if t + delay < steps:
                add_row(d_heard, t + delay, d_value, t, one)
            step_back(value_v, value_z, value_slopes, t, d_value, t, d_value_v, d_value_z, p)
            _add_rows(d_value, t, rows, d_key, t)
            step_back(key_v, key_z, key_slopes, t, d_key, t, d_key_v, d_key_z, p)
            _add_rows(d_key, t, weight, d_heard, t)
        for t in range(min(delay, steps)):
            copy_row(d_heard, t, d_before, t)
