"""Writing the memory, row by row.

The keys do not depend on the memory: a segment's key spikes and traces come first. Then every row i
of a sample's memory has a life of its own: row i, value neuron i and its trace, driven by the keys.
The memory of a step is never stored, it changes in place::

    mem[j] <- mem[j] + key[j] (g w_max - mem[j] (g + gamma_neg key[j])),  g = gamma_pos value[i]

with the traces key[j] and value[i]. Where key[j] is 0 throughout a segment, column j stays as it
is: most keys do not spike in most trials, so the loops run over the *live* columns alone, which are
laid side by side. The way forward keeps the membranes of all neurons, and the memory at the start
of every segment. The way back takes the segments in reverse: it computes the live columns of a
segment anew, walks their rows backwards and adds up, over the rows, the gradients of key spikes and
key traces; those of the other columns, whose memory does not change, are products; then it walks
the keys backwards. A key that never came near its threshold needs no gradients at all.
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
        columns: (M,) int32, the first ``live[0]`` are the keys with a trace.
        traces: (C, M), of these, side by side.
        active: (C, M) int32, which of these spike. counts: (C,), how many.
    """

    columns: np.ndarray
    live: np.ndarray
    traces: np.ndarray
    active: np.ndarray
    counts: np.ndarray


class Scratch(NamedTuple):
    """Room for one sample: columns of its memory side by side, and what comes of them.

    Attributes:
        mem, d_mem, products: (M, M). rows: (BLOCK * SEGMENT, M).
        d_keys: (2, C, M), gradients of key spikes and traces.
    """

    mem: np.ndarray
    d_mem: np.ndarray
    products: np.ndarray
    rows: np.ndarray
    d_keys: np.ndarray


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
            ctx.needs_input_grad[9],
        )
        d_state[2] = d_state[5] = None
        return *d_currents, d_mem, *d_state, None, None, None


def _neurons(state: list[Tensor]) -> tuple[Neurons, Neurons]:
    """Keys and values."""
    return Neurons(*arrays(*state[:3])), Neurons(*arrays(*state[3:6]))


@numba.njit(cache=True)
def _empty_keys(n, like):
    return Keys(
        np.empty(n, np.int32),
        np.zeros(1, np.int32),
        np.empty((SEGMENT, n), like.dtype),
        np.empty((SEGMENT, n), np.int32),
        np.empty(SEGMENT, np.int32),
    )


@numba.njit(cache=True)
def _enter(keys, spikes, traces):
    """Make the (C, M) spikes and traces those of the segment."""
    steps, n = traces.shape
    live = 0
    for j in range(n):
        for c in range(steps):
            if traces[c, j] != 0:
                keys.columns[live] = j
                live += 1
                break
    keys.live[0] = live
    for c in range(steps):
        count = 0
        for k in range(live):
            j = keys.columns[k]
            keys.traces[c, k] = traces[c, j]
            if spikes[c, j] != 0:
                keys.active[c, count] = k
                count += 1
        keys.counts[c] = count


@numba.njit(cache=True)
def _take(whole, columns, count, out):
    """Lay the first ``count`` of these columns of (N, M) side by side."""
    for i in range(len(whole)):
        for k in range(count):
            out[i, k] = whole[i, columns[k]]


@numba.njit(cache=True)
def _put(parts, columns, count, whole):
    """The way back of :func:`_take`."""
    for i in range(len(whole)):
        for k in range(count):
            whole[i, columns[k]] = parts[i, k]


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
    keys, key_traces = _empty_keys(n, mem), np.empty((SEGMENT, n), mem.dtype)
    columns = np.empty((n, n), mem.dtype)
    kept = len(kept_rows) > 0
    for b in range(begin, end):
        key, value = sample(neurons[0], b), sample(neurons[1], b)
        for first in range(0, steps, SEGMENT):
            last = min(first + SEGMENT, steps)
            if kept:
                kept_rows[b, first // SEGMENT] = mem[b]
            for t in range(first, last):
                for j in range(n):
                    z = step(key, j, currents[0][b, t, j], p)
                    traces[0][b, j] = _trace(traces[0][b, j], z, rule)
                    spikes[0][b, t, j] = z
                    key_traces[t - first, j] = traces[0][b, j]
                for j in range(n if kept else 0):
                    kept_v[0][b, t, j] = key.v[j]
            _enter(keys, spikes[0][b, first:last], key_traces[: last - first])
            _take(mem[b], keys.columns, keys.live[0], columns)
            for t in range(first, last):
                _write_step(
                    currents[1][b, t], p, rule, columns, value, traces[1][b], keys, t - first
                )
                for i in range(n):
                    spikes[1][b, t, i] = value.z[i]
                for i in range(n if kept else 0):
                    kept_v[1][b, t, i] = value.v[i]
            _put(columns, keys.columns, keys.live[0], mem[b])


@numba.njit(cache=True, fastmath=_FAST)
def _write_step(currents, p, rule, mem, value, traces, keys, c):
    """The value neurons and the live columns of a sample through step c of the segment."""
    live = keys.live[0]
    for i in range(len(mem)):
        recalled = rule.feedback * 0
        for k in range(keys.counts[c]):
            recalled += mem[i, keys.active[c, k]]
        z = step(value, i, currents[i] + rule.feedback * recalled, p)
        traces[i] = _trace(traces[i], z, rule)
        g = rule.gamma_pos * traces[i]
        growth = g * rule.w_max
        for k in range(live):
            mem[i, k] = _learn(mem[i, k], g, growth, rule, keys.traces[c, k])


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
    if keys.live[0] > 0 or np.any(value_traces[first + 1 : last + 1]):
        return False
    return not np.any(mem)


@numba.njit(cache=True, fastmath=_FAST)
def _learn_again(mem, low, high, first, last, traces, rule, keys, rows):
    """The live columns of the rows from ``low`` to ``high``, before every step of a segment."""
    live = keys.live[0]
    for i in range(low, high):
        k = (i - low) * SEGMENT
        for j in range(live):
            rows[k, j] = mem[i, j]
        for c in range(last - first - 1):
            g = rule.gamma_pos * traces[first + c + 1, i]
            growth = g * rule.w_max
            for j in range(live):
                rows[k + c + 1, j] = _learn(rows[k + c, j], g, growth, rule, keys.traces[c, j])


@numba.njit(cache=True, fastmath=_FAST)
def _rows_step_back(low, high, t, c, value, p, rule, keys, room, d_currents):
    """Rows ``low`` to ``high`` of the live columns, and their neurons, through step t, step c of
    the segment."""
    live, rows, d_mem, d_keys = keys.live[0], room.rows, room.d_mem, room.d_keys
    for i in range(low, high):
        k = (i - low) * SEGMENT + c
        d_g = rule.w_max * 0
        for j in range(live):
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
        for j in range(live):
            m, d, key = rows[k, j], d_mem[i, j], keys.traces[c, j]
            d_keys[0, c, j] += d_recalled * m
            d_keys[1, c, j] += d * (growth - m * (g + twice * key))
            d_mem[i, j] = d - d * key * (g + rule.gamma_neg * key)
        for a in range(keys.counts[c]):
            d_mem[i, keys.active[c, a]] += d_recalled


@numba.njit(cache=True)
def _live_back(first, last, mem, value, p, rule, keys, room, d_currents, d_mem, d_keys):
    """The live columns and the value neurons of a sample through a segment."""
    live, n = keys.live[0], len(mem)
    _take(mem, keys.columns, live, room.mem)
    _take(d_mem, keys.columns, live, room.d_mem)
    room.d_keys[:] = 0
    for low in range(0, n, BLOCK):
        high = min(low + BLOCK, n)
        _learn_again(room.mem, low, high, first, last, value.traces, rule, keys, room.rows)
        for t in range(last - 1, first - 1, -1):
            _rows_step_back(low, high, t, t - first, value, p, rule, keys, room, d_currents)
    _put(room.d_mem, keys.columns, live, d_mem)
    for k in range(2):
        _put(room.d_keys[k], keys.columns, live, d_keys[k])


@numba.njit(cache=True, fastmath=_FAST)
def _still_back(first, last, mem, value, rule, columns, count, room, d_currents, d_mem, d_keys):
    """The gradients of key spikes and traces of ``count`` columns that do not change in a segment:
    as in :func:`_rows_step_back`, for a trace of 0."""
    _take(mem, columns, count, room.mem)
    _take(d_mem, columns, count, room.d_mem)
    for i in range(len(mem)):
        for k in range(count):
            room.products[i, k] = room.d_mem[i, k] * (rule.w_max - room.mem[i, k])
    for t in range(first, last):
        sums = room.d_keys[:, t - first]
        for k in range(count):
            sums[0, k] = 0
            sums[1, k] = 0
        for i in range(len(mem)):
            d_recalled = rule.feedback * d_currents[t, i]
            if d_recalled != 0:
                for k in range(count):
                    sums[0, k] += d_recalled * room.mem[i, k]
            g = rule.gamma_pos * value.traces[t + 1, i]
            if g != 0:
                for k in range(count):
                    sums[1, k] += g * room.products[i, k]
    for k in range(2):
        _put(room.d_keys[k], columns, count, d_keys[k])


@numba.njit(cache=True)
def _still_columns(keys, first_slopes, last, out):
    """The columns that are not live and whose key had a slope before step ``last``; their
    number."""
    live, count = 0, 0
    for j in range(first_slopes.size):
        if live < keys.live[0] and keys.columns[live] == j:
            live += 1
        elif first_slopes[j] < last:
            out[count] = j
            count += 1
    return count


@numba.njit(cache=True)
def _first_slopes(slopes, out):
    """The first step in which each neuron has a slope; T where there is none."""
    steps = len(slopes) - 1
    for j in range(out.size):
        out[j] = steps
    for t in range(steps - 1, -1, -1):
        for j in range(out.size):
            if slopes[t + 1, j] != 0:
                out[j] = t


@numba.njit(cache=True)
def _empty_scratch(n, like):
    return Scratch(
        np.empty((n, n), like.dtype),
        np.empty((n, n), like.dtype),
        np.empty((n, n), like.dtype),
        np.empty((BLOCK * SEGMENT, n), like.dtype),
        np.empty((2, SEGMENT, n), like.dtype),
    )


@numba.njit(cache=True, nogil=True)
def _write_back(
    begin, end, v, kept_rows, neurons, start, p, rule, d_currents, d_mem, d_neurons, d_traces, all_
):
    """The samples from ``begin`` to ``end`` backwards; with ``all_``, keys without any slope too,
    for the gradient of their trace at the start."""
    steps, n = v[0].shape[1:]
    histories = empty_history(steps, n, d_mem), empty_history(steps, n, d_mem)
    traces = np.empty_like(histories[0].v), np.empty_like(histories[0].v)
    keys, room = _empty_keys(n, d_mem), _empty_scratch(n, d_mem)
    d_keys = np.empty((2, SEGMENT, n), d_mem.dtype)  # of spikes and traces, over all rows
    still, slopes_from = np.empty(n, np.int32), np.zeros(n, np.int64)
    for b in range(begin, end):
        for k in range(2):
            replay(v[k][b], sample(neurons[k], b), p, histories[k])
            _replay_traces(histories[k].z, start[k][b], rule, traces[k])
        key = Population(histories[0], traces[0], sample(d_neurons[0], b), d_traces[0][b])
        value = Population(histories[1], traces[1], sample(d_neurons[1], b), d_traces[1][b])
        if not all_:
            _first_slopes(key.history.slopes, slopes_from)
        for segment in range(kept_rows.shape[1] - 1, -1, -1):
            first = segment * SEGMENT
            last = min(first + SEGMENT, steps)
            _enter(keys, key.history.z[first + 1 : last + 1], key.traces[first + 1 : last + 1])
            d_keys[:] = 0
            mem, back = kept_rows[b, segment], d_currents[1][b]
            if _is_blank(mem, keys, value.traces, first, last):
                _neurons_back(value, first, last, back, d_keys, p, rule)
            else:
                _live_back(first, last, mem, value, p, rule, keys, room, back, d_mem[b], d_keys)
                count = _still_columns(keys, slopes_from, last, still)
                _still_back(
                    first, last, mem, value, rule, still, count, room, back, d_mem[b], d_keys
                )
            _neurons_back(key, first, last, d_currents[0][b], d_keys, p, rule)
