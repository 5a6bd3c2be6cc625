"""Writing the memory, row by row.

The keys do not depend on the memory: a segment's key spikes and traces come first. Then every row i
of a sample's memory has a life of its own: row i, value neuron i and its trace, driven by the keys.
The memory of a step is never stored, it changes in place::

    mem[j] <- mem[j] + key[j] (g w_max - mem[j] (g + gamma_neg key[j])),  g = gamma_pos value[i]

with the traces key[j] and value[i]. The way forward keeps the membranes of all neurons, and the
memory at the start of every segment. The way back takes the segments in reverse: it computes the
rows of a segment anew, walks them backwards and adds up, over the rows, the gradients of key spikes
and key traces; then it walks the keys backwards.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from hebbian_snn.kernels import WritingState, Written
from hebbian_snn.kernels.cpu.neurons import (
    History,
    Neurons,
    arrays,
    constants,
    copies,
    empty_history,
    gradient_copy,
    number_type,
    replay,
    sample,
    step,
    step_back,
)
from hebbian_snn.kernels.cpu.threads import in_shares
from hebbian_snn.neurons import LIFState, NeuronParameters, trace_decay
from hebbian_snn.plasticity import InvertedOja

SEGMENT = 64
"""Steps from one stored copy of the memory to the next."""

BLOCK = 8
"""Rows that are walked backwards together: one waits for its sums while others work."""

_FAST = {"reassoc", "contract", "nsz"}  # sums in SIMD order; NaN stays NaN


class Rule(NamedTuple):
    """The constants of plasticity, traces and feedback in the currents' type of number."""

    w_max: np.floating
    gamma_pos: np.floating
    gamma_neg: np.floating
    trace_decay: np.floating
    trace_gain: np.floating
    feedback: np.floating


class Keys(NamedTuple):
    """What the rows see of the keys in the C steps of a segment.

    Attributes:
        traces: (C, M). active: (C, M) int32, the indices of those that spike.
        counts: (C,), how many spike. traced: (C,), whether any trace is not 0.
    """

    traces: np.ndarray
    active: np.ndarray
    counts: np.ndarray
    traced: np.ndarray


class Population(NamedTuple):
    """The keys or the values of one sample on the way back.

    Attributes:
        history: of all steps. traces: (T + 1, M), row t after t steps.
        d_neurons, d_traces: (M,) gradients of membranes and spikes, and of traces, through all
            steps that have been walked.
    """

    history: History
    traces: np.ndarray
    d_neurons: Neurons
    d_traces: np.ndarray


def write_memory(
    key_currents: Tensor,
    value_currents: Tensor,
    mem: Tensor,
    state: WritingState,
    neuron: NeuronParameters,
    plasticity: InvertedOja,
    tau_trace: float,
    feedback: float,
) -> Written:
    """See :func:`hebbian_snn.kernels.write_memory`."""
    number = number_type(key_currents.dtype)
    decay = trace_decay(tau_trace)
    rule = Rule(*(number(x) for x in (*plasticity, decay, 1 - decay, feedback)))
    p = constants(neuron, key_currents.dtype)
    inputs = (key_currents, value_currents, mem)
    start = (*state.key, *state.value, state.key_trace, state.value_trace)
    recorded = torch.is_grad_enabled() and any(x.requires_grad for x in (*inputs, *start))
    mem, key_spikes, value_spikes, *after = _Write.apply(*inputs, *start, p, rule, recorded)
    state = WritingState(LIFState(*after[:3]), LIFState(*after[3:6]), *after[6:])
    return Written(mem, key_spikes, value_spikes, state)


class _Write(torch.autograd.Function):
    """Keeps the membranes of all steps, and the memory at the start of every segment."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        key_currents, value_currents, mem, *state, p, rule, recorded = arguments
        size, steps, n = key_currents.shape
        spikes = [mem.new_empty(size, steps, n) for _ in range(2)]
        kept = [mem.new_empty(size if recorded else 0, steps, n) for _ in range(2)]
        rows = mem.new_empty(size if recorded else 0, -(-steps // SEGMENT), n, n)
        mem, *after = copies(mem, *state)
        in_shares(
            _write,
            size,
            arrays(key_currents, value_currents),
            p,
            rule,
            *arrays(mem),
            _neurons(after),
            arrays(*after[6:]),
            arrays(*spikes),
            arrays(*kept),
            *arrays(rows),
        )
        ctx.save_for_backward(*kept, rows, *state)
        ctx.rest = p, rule
        ctx.mark_non_differentiable(after[2], after[5])
        ctx.set_materialize_grads(False)
        return mem, *spikes, *after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_mem: Tensor | None, *gradients: Tensor | None) -> tuple[Any, ...]:
        key_v, value_v, rows, *state = ctx.saved_tensors
        # The gradients of spikes, memory and last state turn, in place, into those of currents,
        # memory and state at the start.
        d_currents = [gradient_copy(d, key_v.shape, key_v) for d in gradients[:2]]
        d_mem = gradient_copy(d_mem, rows[:, 0].shape, rows)
        d_state = [gradient_copy(d, state[0].shape, rows) for d in gradients[2:]]
        in_shares(
            _write_back,
            len(key_v),
            arrays(key_v, value_v),
            *arrays(rows),
            _neurons(state),
            arrays(*state[6:]),
            *ctx.rest,
            arrays(*d_currents),
            *arrays(d_mem),
            _neurons(d_state),
            arrays(*d_state[6:]),
        )
        d_state[2] = d_state[5] = None
        return *d_currents, d_mem, *d_state, None, None, None


def _neurons(state: list[Tensor]) -> tuple[Neurons, Neurons]:
    """Keys and values."""
    return Neurons(*arrays(*state[:3])), Neurons(*arrays(*state[3:6]))


@numba.njit(cache=True)
def _empty_keys(n, like):
    return Keys(
        np.empty((SEGMENT, n), like.dtype),
        np.empty((SEGMENT, n), np.int32),
        np.empty(SEGMENT, np.int32),
        np.empty(SEGMENT, np.bool_),
    )


@numba.njit(cache=True)
def _enter(keys, c, spikes, traces):
    """Make the (M,) spikes and traces those of step c of the segment."""
    count, traced = 0, False
    for j in range(spikes.size):
        keys.traces[c, j] = traces[j]
        traced |= traces[j] != 0
        if spikes[j] != 0:
            keys.active[c, count] = j
            count += 1
    keys.counts[c] = count
    keys.traced[c] = traced


@numba.njit(inline="always")
def _trace(before, z, rule):
    return rule.trace_decay * before + rule.trace_gain * z


@numba.njit(inline="always")
def _learn(before, g, growth, rule, key):
    """An element of the memory after a step."""
    return before + key * (growth - before * (g + rule.gamma_neg * key))


@numba.njit(cache=True, nogil=True)
def _write(begin, end, currents, p, rule, mem, neurons, traces, spikes, kept_v, kept_rows):
    """The samples from ``begin`` to ``end``."""
    steps, n = currents[0].shape[1:]
    keys = _empty_keys(n, mem)
    for b in range(begin, end):
        key, value = sample(neurons[0], b), sample(neurons[1], b)
        for first in range(0, steps, SEGMENT):
            last = min(first + SEGMENT, steps)
            for i in range(n if len(kept_rows) else 0):
                for j in range(n):
                    kept_rows[b, first // SEGMENT, i, j] = mem[b, i, j]
            for t in range(first, last):
                for j in range(n):
                    z = step(key, j, currents[0][b, t, j], p)
                    traces[0][b, j] = _trace(traces[0][b, j], z, rule)
                    spikes[0][b, t, j] = z
                _enter(keys, t - first, key.z, traces[0][b])
                for j in range(n if len(kept_rows) else 0):
                    kept_v[0][b, t, j] = key.v[j]
            for t in range(first, last):
                _write_step(
                    currents[1][b, t], p, rule, mem[b], value, traces[1][b], keys, t - first
                )
                for i in range(n):
                    spikes[1][b, t, i] = value.z[i]
                for i in range(n if len(kept_rows) else 0):
                    kept_v[1][b, t, i] = value.v[i]


@numba.njit(cache=True, fastmath=_FAST)
def _write_step(currents, p, rule, mem, value, traces, keys, c):
    """The value neurons and the memory of a sample through step c of the segment."""
    for i in range(len(mem)):
        recalled = rule.feedback * 0
        for k in range(keys.counts[c]):
            recalled += mem[i, keys.active[c, k]]
        z = step(value, i, currents[i] + rule.feedback * recalled, p)
        traces[i] = _trace(traces[i], z, rule)
        if keys.traced[c]:
            g = rule.gamma_pos * traces[i]
            growth = g * rule.w_max
            for j in range(mem.shape[1]):
                mem[i, j] = _learn(mem[i, j], g, growth, rule, keys.traces[c, j])


@numba.njit(cache=True)
def _replay_traces(z, start, rule, traces):
    """Traces (T + 1, M), row t after t steps, of the spikes of a history."""
    for i in range(start.size):
        traces[0, i] = start[i]
    for t in range(1, len(z)):
        for i in range(start.size):
            traces[t, i] = _trace(traces[t - 1, i], z[t, i], rule)


@numba.njit(inline="always")
def _traced_step_back(population, t, i, d_spike, d_trace, p, rule):
    """:func:`step_back` of a neuron whose trace ``d_trace`` reaches from outside."""
    d_trace += population.d_traces[i]
    population.d_traces[i] = rule.trace_decay * d_trace
    d_spike += rule.trace_gain * d_trace
    return step_back(population.history, t, i, d_spike, population.d_neurons, p)


@numba.njit(cache=True)
def _neurons_back(population, first, last, d_currents, d_outside, p, rule):
    """Neurons backwards through the steps from ``first`` to ``last``.

    ``d_currents`` (T, M) holds gradients of spikes, then those of currents; ``d_outside`` (2, C, M)
    is what else reaches spikes and traces.
    """
    for t in range(last - 1, first - 1, -1):
        for i in range(d_currents.shape[1]):
            d_currents[t, i] = _traced_step_back(
                population,
                t,
                i,
                d_currents[t, i] + d_outside[0, t - first, i],
                d_outside[1, t - first, i],
                p,
                rule,
            )


@numba.njit(cache=True)
def _is_blank(mem, keys, value_traces, first, last):
    """Whether the memory and all traces are 0 throughout a segment, as in a story's padding."""
    if np.any(keys.traced[: last - first]) or np.any(value_traces[first + 1 : last + 1]):
        return False
    return not np.any(mem)


@numba.njit(cache=True, fastmath=_FAST)
def _learn_again(mem, low, high, first, last, traces, rule, keys, rows):
    """The rows from ``low`` to ``high`` before every step of a segment, from its start."""
    for i in range(low, high):
        k = (i - low) * SEGMENT
        for j in range(mem.shape[1]):
            rows[k, j] = mem[i, j]
        for c in range(last - first - 1):
            g = rule.gamma_pos * traces[first + c + 1, i]
            growth = g * rule.w_max
            for j in range(mem.shape[1]):
                rows[k + c + 1, j] = _learn(rows[k + c, j], g, growth, rule, keys.traces[c, j])


@numba.njit(cache=True, fastmath=_FAST)
def _rows_step_back(low, high, t, c, value, p, rule, keys, rows, d_currents, d_mem, d_keys):
    """Rows ``low`` to ``high`` and their neurons through step t, step c of the segment."""
    n = d_mem.shape[1]
    for i in range(low, high):
        k = (i - low) * SEGMENT + c
        d_g = rule.w_max * 0
        for j in range(n):
            d_g += d_mem[i, j] * (rule.w_max - rows[k, j]) * keys.traces[c, j]
        d_currents[t, i] = _traced_step_back(
            value, t, i, d_currents[t, i], rule.gamma_pos * d_g, p, rule
        )
    twice = rule.gamma_neg + rule.gamma_neg
    for i in range(low, high):
        k = (i - low) * SEGMENT + c
        g = rule.gamma_pos * value.traces[t + 1, i]
        growth = g * rule.w_max
        d_recalled = rule.feedback * d_currents[t, i]
        for j in range(n):
            m, d, key = rows[k, j], d_mem[i, j], keys.traces[c, j]
            d_keys[0, c, j] += d_recalled * m
            d_keys[1, c, j] += d * (growth - m * (g + twice * key))
            d_mem[i, j] = d - d * key * (g + rule.gamma_neg * key)
        for a in range(keys.counts[c]):
            d_mem[i, keys.active[c, a]] += d_recalled


@numba.njit(cache=True, nogil=True)
def _write_back(
    begin, end, v, kept_rows, neurons, start, p, rule, d_currents, d_mem, d_neurons, d_traces
):
    """The samples from ``begin`` to ``end`` backwards."""
    steps, n = v[0].shape[1:]
    histories = empty_history(steps, n, d_mem), empty_history(steps, n, d_mem)
    traces = np.empty_like(histories[0].v), np.empty_like(histories[0].v)
    keys = _empty_keys(n, d_mem)
    rows = np.empty((BLOCK * SEGMENT, n), d_mem.dtype)
    d_keys = np.empty((2, SEGMENT, n), d_mem.dtype)  # of spikes and traces, over all rows
    for b in range(begin, end):
        for k in range(2):
            replay(v[k][b], sample(neurons[k], b), p, histories[k])
            _replay_traces(histories[k].z, start[k][b], rule, traces[k])
        key = Population(histories[0], traces[0], sample(d_neurons[0], b), d_traces[0][b])
        value = Population(histories[1], traces[1], sample(d_neurons[1], b), d_traces[1][b])
        for segment in range(kept_rows.shape[1] - 1, -1, -1):
            first = segment * SEGMENT
            last = min(first + SEGMENT, steps)
            for t in range(first, last):
                _enter(keys, t - first, key.history.z[t + 1], key.traces[t + 1])
            d_keys[:] = 0
            mem = kept_rows[b, segment]
            if _is_blank(mem, keys, value.traces, first, last):
                _neurons_back(value, first, last, d_currents[1][b], d_keys, p, rule)
            else:
                for low in range(0, n, BLOCK):
                    high = min(low + BLOCK, n)
                    _learn_again(mem, low, high, first, last, value.traces, rule, keys, rows)
                    for t in range(last - 1, first - 1, -1):
                        _rows_step_back(
                            low,
                            high,
                            t,
                            t - first,
                            value,
                            p,
                            rule,
                            keys,
                            rows,
                            d_currents[1][b],
                            d_mem[b],
                            d_keys,
                        )
            _neurons_back(key, first, last, d_currents[0][b], d_keys, p, rule)
