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
from hebbian_snn.kernels.cpu.neurons import (
    Neurons,
    arrays,
    constants,
    copies,
    empty_history,
    gradient_copy,
    replay,
    sample,
    step,
    step_back,
)
from hebbian_snn.kernels.cpu.threads import in_shares
from hebbian_snn.neurons import LIFState, NeuronParameters

_FAST = {"reassoc", "contract", "nsz"}  # sums in SIMD order; NaN stays NaN


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
            *arrays(currents, weight.T, mem, delayed),
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
        d_mem = d_values.transpose(1, 2) @ key_spikes
        d_state[2] = d_state[5] = None
        return d_keys, d_weight, d_mem, *d_state, d_delayed, None, None


@numba.njit(cache=True, fastmath=_FAST)
def _add_rows(factors, rows, out):
    """out += factors @ rows, fast where many factors are 0."""
    for i in range(factors.size):
        if factors[i] != 0:
            for j in range(out.size):
                out[j] += factors[i] * rows[i, j]


@numba.njit(cache=True, nogil=True)
def _read(begin, end, currents, weight, mem, delayed, p, neurons, spikes, kept):
    """The samples from ``begin`` to ``end``; ``weight`` is transposed."""
    steps, n = currents.shape[1:]
    delay = delayed.shape[1]
    columns = np.empty((n, n), mem.dtype)
    current = np.empty(n, mem.dtype)
    for b in range(begin, end):
        key, value = sample(neurons[0], b), sample(neurons[1], b)
        for i in range(n):
            for j in range(n):
                columns[j, i] = mem[b, i, j]
        for t in range(steps):
            for j in range(n):
                current[j] = currents[b, t, j]
            heard = delayed[b, t] if t < delay else spikes[1][b, t - delay]
            _add_rows(heard, weight, current)
            for j in range(n):
                spikes[0][b, t, j] = step(key, j, current[j], p)
            current[:] = 0
            _add_rows(key.z, columns, current)
            for i in range(n):
                spikes[1][b, t, i] = step(value, i, current[i], p)
            for i in range(n if len(kept[0]) else 0):
                kept[0][b, t, i], kept[1][b, t, i] = key.v[i], value.v[i]


@numba.njit(cache=True, nogil=True)
def _read_back(begin, end, v, weight, mem, neurons, p, d_keys, d_values, d_neurons, d_delayed):
    """The samples from ``begin`` to ``end`` backwards."""
    steps, n = d_keys.shape[1:]
    delay = d_delayed.shape[1]
    key, value = empty_history(steps, n, mem), empty_history(steps, n, mem)
    d_heard = np.empty((steps, n), mem.dtype)
    d_key_spikes = np.empty(n, mem.dtype)
    for b in range(begin, end):
        replay(v[0][b], sample(neurons[0], b), p, key)
        replay(v[1][b], sample(neurons[1], b), p, value)
        d_key, d_value = sample(d_neurons[0], b), sample(d_neurons[1], b)
        d_heard[:] = 0
        for t in range(steps - 1, -1, -1):
            for i in range(n):
                d_spike = d_values[b, t, i]
                if t + delay < steps:
                    d_spike += d_heard[t + delay, i]
                d_values[b, t, i] = step_back(value, t, i, d_spike, d_value, p)
            for j in range(n):
                d_key_spikes[j] = d_keys[b, t, j]
            _add_rows(d_values[b, t], mem[b], d_key_spikes)
            for j in range(n):
                d_keys[b, t, j] = step_back(key, t, j, d_key_spikes[j], d_key, p)
            _add_rows(d_keys[b, t], weight, d_heard[t])
        for t in range(min(delay, steps)):
            for i in range(n):
                d_delayed[b, t, i] = d_heard[t, i]
