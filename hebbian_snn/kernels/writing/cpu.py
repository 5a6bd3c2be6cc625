"""Writing the memory, column by column.

The keys do not depend on the memory: a segment's key spikes and traces come first. Column j of a
sample's memory holds the synapses of key j, and element i of it changes with the trace of value i::

    mem[i] <- mem[i] (1 - gamma_neg key^2 - key g[i]) + key w_max g[i],  g[i] = gamma_pos value[i]

Columns lie side by side in memory (the tensors are transposed), so that the inner loops run over
all rows of a column and are vectorised. Where the trace of key j is 0, column j stays as it is:
most keys do not spike in most trials, so the loops are about the *live* columns alone, from a key's
first spike on.

A column is needed only when its key spikes: then it is added to the values' currents. So a column
waits until then, and catches up with the steps in between, a *stretch*, four steps in one pass.

The way forward keeps the membranes of all neurons, and the memory and the neurons at the start of
every segment. The way back takes the segments in reverse. It computes the live columns of a segment
anew, a copy every four steps; the value neurons then walk backwards step by step, and a column's
gradient goes ahead of them to the spike of its key before. The gradients of key spikes and key
traces are sums over the rows; where a key is not live its column does not change, and they are
products of a matrix and vectors, taken in those steps alone in which the key's spike has a slope.
Last, the keys walk backwards.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from hebbian_snn.kernels import WritingState, Written
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
    number_type,
    put_row,
    replay,
    step_back,
)
from hebbian_snn.kernels.cpu_threads import in_shares
from hebbian_snn.neurons import LEAST_TRACE, LIFState, NeuronParameters, trace_decay
from hebbian_snn.plasticity import InvertedOja

SEGMENT = 64
"""Steps from one stored copy of the memory to the next."""

# Sums in SIMD order; NaN stays NaN. Functions with such sums go into their callers whole: of a
# function of its own LLVM may order them otherwise where the process compiles and where it takes
# the compiled caller from the cache, and the first run would end in other numbers than the second.
_FAST = {"reassoc", "contract", "nsz"}


class Rule(NamedTuple):
    """The constants of plasticity, traces and feedback in the currents' type of number."""

    w_max: np.floating
    gamma_pos: np.floating
    gamma_neg: np.floating
    trace_decay: np.floating
    trace_gain: np.floating
    feedback: np.floating
    least_trace: np.floating


class Keys(NamedTuple):
    """What the memory sees of the keys in the C steps of a segment.

    Attributes:
        columns: (M,), the first ones are the live keys, those with a trace, in order.
        begin: (M,) int32, the first step with a trace, for all keys; C where there is none.
        traces, spikes: (M, C) of the live keys, the first of them first.
        active: (C, M), which of the live keys spike. counts: (C,), how many.
        since: (C, M), when these spiked before, or else began to live. latest: (M,), when a live
            key spiked last, or else began.
    """

    columns: np.ndarray
    begin: np.ndarray
    traces: np.ndarray
    spikes: np.ndarray
    active: np.ndarray
    counts: np.ndarray
    since: np.ndarray
    latest: np.ndarray


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
    """See :func:`hebbian_snn.kernels.write_memory`; ``mem`` is fastest as this function gives it,
    the columns contiguous."""
    number = number_type(key_currents.dtype)
    decay = trace_decay(tau_trace)
    rule = Rule(*(number(x) for x in (*plasticity, decay, 1 - decay, feedback, LEAST_TRACE)))
    p = constants(neuron, key_currents.dtype)
    inputs = (key_currents, value_currents, mem.mT)
    start = (*state.key, *state.value, state.key_trace, state.value_trace)
    recorded = torch.is_grad_enabled() and any(x.requires_grad for x in (*inputs, *start))
    mem, key_spikes, value_spikes, *after = _Write.apply(*inputs, *start, p, rule, recorded)
    state = WritingState(LIFState(*after[:3]), LIFState(*after[3:6]), *after[6:])
    return Written(mem.mT, key_spikes, value_spikes, state)


class _Write(torch.autograd.Function):
    """Keeps the membranes of all steps, and memory and neurons at the start of every segment; the
    memory is transposed."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        key_currents, value_currents, mem, *state, p, rule, recorded = arguments
        size, steps, n = key_currents.shape
        spikes = [mem.new_empty(size, steps, n) for _ in range(2)]
        kept = [mem.new_empty(size if recorded else 0, steps, n) for _ in range(2)]
        segments = (size if recorded else 0, -(-steps // SEGMENT))
        columns = mem.new_empty(*segments, n, n)
        starts = [x.new_empty(*segments, 2, n) for x in (mem, state[2])]
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
            *arrays(columns),
            arrays(*starts),
        )
        ctx.save_for_backward(*kept, columns, *starts, state[0], state[3])
        ctx.rest = p, rule
        ctx.mark_non_differentiable(after[2], after[5])
        ctx.set_materialize_grads(False)
        return mem, *spikes, *after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_mem: Tensor | None, *gradients: Tensor | None) -> tuple[Any, ...]:
        key_v, value_v, columns, *starts = ctx.saved_tensors
        starts, state = starts[:2], starts[2:]
        # The gradients of spikes, memory and last state turn, in place, into those of currents,
        # memory and state at the start.
        d_currents = [gradient_copy(d, key_v.shape, key_v) for d in gradients[:2]]
        d_mem = gradient_copy(d_mem, columns[:, 0].shape, columns)
        d_state = [gradient_copy(d, state[0].shape, columns) for d in gradients[2:]]
        in_shares(
            _write_back,
            len(key_v),
            arrays(key_v, value_v),
            *arrays(columns),
            arrays(*starts),
            arrays(*state),
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
        np.empty(n, np.int64),
        np.empty(n, np.int32),
        np.empty((n, SEGMENT), like.dtype),
        np.empty((n, SEGMENT), np.bool_),
        np.empty((SEGMENT, n), np.int64),
        np.empty(SEGMENT, np.int64),
        np.empty((SEGMENT, n), np.int64),
        np.empty(n, np.int64),
    )


@numba.njit(cache=True)
def _enter(keys, spikes, traces, steps):
    """Make the spikes and traces (C + 1, M), row c after c steps, those of the segment; returns
    the number of live keys."""
    columns, begin, traces_of, spikes_of, active, counts, since, latest = keys
    n = begin.size
    for j in range(n):
        begin[j] = steps
    for c in range(steps - 1, -1, -1):
        now = np.int32(c)
        for j in range(n):
            begin[j] = now if traces[c + 1, j] != 0 else begin[j]
    live = 0
    for j in range(n):
        if begin[j] < steps:
            columns[live] = j
            latest[live] = begin[j]
            for c in range(steps):
                traces_of[live, c] = traces[c + 1, j]
                spikes_of[live, c] = spikes[c + 1, j] != 0
            live += 1
    for c in range(steps):
        count = 0
        for k in range(live):
            if spikes_of[k, c]:
                active[c, count] = k
                since[c, count] = latest[k]
                latest[k] = c
                count += 1
        counts[c] = count
    return live


@numba.njit(cache=True)
def _trace_step(traces, z, rule):
    """Traces (M,) after a step, in place."""
    rest = traces.dtype.type(0)
    for i in range(traces.size):
        trace = rule.trace_decay * traces[i] + rule.trace_gain * z[i]
        traces[i] = rest if trace < rule.least_trace else trace


@numba.njit(cache=True)
def _growth(traces, g, c, rule):
    """Row c becomes gamma_pos times the traces (M,)."""
    for i in range(traces.size):
        g[c, i] = rule.gamma_pos * traces[i]


@numba.njit(cache=True)
def _four(traces, k, c, end):
    """The traces of live key k in four steps from c on, 0 from ``end`` on."""
    rest = traces.dtype.type(0)
    return (
        traces[k, c],
        traces[k, c + 1] if c + 1 < end else rest,
        traces[k, c + 2] if c + 2 < end else rest,
        traces[k, c + 3] if c + 3 < end else rest,
    )


@numba.njit(cache=True)
def _kept(key, rule):
    """What a trace leaves of the memory where the value has none."""
    return type(key)(1) - rule.gamma_neg * key * key


@numba.njit(cache=True, fastmath=_FAST, forceinline=True)
def _learn(mem, j, g, traces, k, begin, end, rule):
    """Row j of the transposed memory, of live key k, through the steps from ``begin`` to
    ``end``."""
    w = rule.w_max
    for c in range(begin, end, 4):
        k0, k1, k2, k3 = _four(traces, k, c, end)
        a0, a1, a2, a3 = _kept(k0, rule), _kept(k1, rule), _kept(k2, rule), _kept(k3, rule)
        w0, w1, w2, w3 = w * k0, w * k1, w * k2, w * k3
        for i in range(mem.shape[1]):
            m = mem[j, i] * (a0 - k0 * g[c, i]) + w0 * g[c, i]
            m = m * (a1 - k1 * g[c + 1, i]) + w1 * g[c + 1, i]
            m = m * (a2 - k2 * g[c + 2, i]) + w2 * g[c + 2, i]
            mem[j, i] = m * (a3 - k3 * g[c + 3, i]) + w3 * g[c + 3, i]


@numba.njit(cache=True)
def _keep_start(traces, z, r, starts, counters):
    """Keep the traces of a population, and its counters, twice, and spikes, in one number."""
    for i in range(traces.size):
        starts[i] = traces[i]
        counters[i] = 2 * r[i] + np.int32(z[i])


@numba.njit(cache=True, nogil=True)
def _write(begin, end, currents, p, rule, mem, neurons, traces, trains, kept_v, kept_mem, starts):
    """The samples from ``begin`` to ``end``."""
    steps, n = currents[0].shape[1:]
    dtype = mem.dtype
    keys = _empty_keys(n, mem)
    columns, key_begin, live_traces, _, active, counts, _, _ = keys
    spikes, key_traces = np.empty((SEGMENT + 1, n), dtype), np.empty((SEGMENT + 1, n), dtype)
    g = np.zeros((SEGMENT + 3, n), dtype)
    recalled, current = np.empty((1, n), dtype), np.empty((1, n), dtype)
    done = np.empty(n, np.int64)
    one, kept = dtype.type(1), len(kept_mem) > 0
    for b in range(begin, end):
        key_v, key_z, key_r = neurons[0].v[b], neurons[0].z[b], neurons[0].r[b]
        v, z, r = neurons[1].v[b], neurons[1].z[b], neurons[1].r[b]
        key_trace, trace = traces[0][b], traces[1][b]
        key_currents, value_currents = currents[0][b], currents[1][b]
        key_train, train, memory = trains[0][b], trains[1][b], mem[b]
        kept_key, kept_value = kept_v[0][b], kept_v[1][b]  # not looked at unless kept
        for first in range(0, steps, SEGMENT):
            last = min(first + SEGMENT, steps)
            if kept:
                s = first // SEGMENT
                kept_mem[b, s] = memory
                _keep_start(key_trace, key_z, key_r, starts[0][b, s, 0], starts[1][b, s, 0])
                _keep_start(trace, z, r, starts[0][b, s, 1], starts[1][b, s, 1])
            for t in range(first, last):
                advance(key_v, key_z, key_r, key_currents, t, p)
                _trace_step(key_trace, key_z, rule)
                put_row(key_z, key_train, t)
                put_row(key_z, spikes, t - first + 1)
                put_row(key_trace, key_traces, t - first + 1)
                if kept:
                    put_row(key_v, kept_key, t)
            live = _enter(keys, spikes, key_traces, last - first)
            for k in range(live):
                done[k] = key_begin[columns[k]]
            for t in range(first, last):
                c = t - first
                copy_row(value_currents, t, current, 0)
                if counts[c] > 0:
                    for i in range(n):
                        recalled[0, i] = 0
                    for a in range(counts[c]):
                        k = active[c, a]
                        _learn(memory, columns[k], g, live_traces, k, done[k], c, rule)
                        done[k] = c
                        add_row(memory, columns[k], recalled, 0, one)
                    add_row(recalled, 0, current, 0, rule.feedback)
                advance(v, z, r, current, 0, p)
                _trace_step(trace, z, rule)
                _growth(trace, g, c, rule)
                put_row(z, train, t)
                if kept:
                    put_row(v, kept_value, t)
            for k in range(live):
                _learn(memory, columns[k], g, live_traces, k, done[k], last - first, rule)


@numba.njit(cache=True)
def _block_end(spikes, k, c, steps):
    """Where the block of steps from c on ends: after four, before a spike, with the segment."""
    end = c + 1
    while end < min(c + 4, steps) and not spikes[k, end]:
        end += 1
    return end


@numba.njit(cache=True, forceinline=True)
def _learn_again(mem, j, begin, g, traces, spikes, k, steps, rule, rows, places, copies):
    """Keep column j, of live key k, before every block; returns the number of copies with
    these."""
    copy_row(mem, j, rows, copies)
    c = begin
    while c < steps:
        places[k, c] = copies
        copies += 1
        end = _block_end(spikes, k, c, steps)
        if end < steps:
            copy_row(rows, copies - 1, rows, copies)
            _learn(rows, copies, g, traces, k, c, end, rule)
        c = end
    return copies


@numba.njit(cache=True, fastmath=_FAST, forceinline=True)
def _stretch_back(rows, places, g, d_g, d_mem, d_learned, traces, k, j, begin, end, rule):
    """The gradient of column j, of live key k, backwards through a stretch, four steps at a time;
    those of ``g`` and of the key's traces are added up."""
    w, twice = rule.w_max, rule.gamma_neg + rule.gamma_neg
    for c in range(begin + (end - begin - 1) // 4 * 4, begin - 1, -4):
        row = places[k, c]
        k0, k1, k2, k3 = _four(traces, k, c, end)
        a0, a1, a2, a3 = _kept(k0, rule), _kept(k1, rule), _kept(k2, rule), _kept(k3, rule)
        w0, w1, w2 = w * k0, w * k1, w * k2
        grown0 = grown1 = grown2 = grown3 = type(w)(0)
        lost0 = lost1 = lost2 = lost3 = type(w)(0)
        for i in range(d_mem.shape[1]):
            m0 = rows[row, i]
            g0, g1, g2, g3 = g[c, i], g[c + 1, i], g[c + 2, i], g[c + 3, i]
            s0, s1, s2, s3 = a0 - k0 * g0, a1 - k1 * g1, a2 - k2 * g2, a3 - k3 * g3
            m1 = m0 * s0 + w0 * g0
            m2 = m1 * s1 + w1 * g1
            m3 = m2 * s2 + w2 * g2
            d = d_mem[j, i]
            grow = d * (w - m3)
            d_g[c + 3, i] += k3 * grow
            grown3 += g3 * grow
            lost3 += d * m3
            d *= s3
            grow = d * (w - m2)
            d_g[c + 2, i] += k2 * grow
            grown2 += g2 * grow
            lost2 += d * m2
            d *= s2
            grow = d * (w - m1)
            d_g[c + 1, i] += k1 * grow
            grown1 += g1 * grow
            lost1 += d * m1
            d *= s1
            grow = d * (w - m0)
            d_g[c, i] += k0 * grow
            grown0 += g0 * grow
            lost0 += d * m0
            d_mem[j, i] = d * s0
        d_learned[k, c] = grown0 - twice * k0 * lost0
        if c + 1 < end:
            d_learned[k, c + 1] = grown1 - twice * k1 * lost1
        if c + 2 < end:
            d_learned[k, c + 2] = grown2 - twice * k2 * lost2
        if c + 3 < end:
            d_learned[k, c + 3] = grown3 - twice * k3 * lost3


@numba.njit(cache=True)
def _trace_back(d_trace, d_g, c, d_spikes, t, rule):
    """The values' traces backwards through step c; row t of ``d_spikes`` takes up their share."""
    for i in range(d_trace.size):
        d = d_trace[i] + rule.gamma_pos * d_g[c, i]
        d_spikes[t, i] += rule.trace_gain * d
        d_trace[i] = rule.trace_decay * d


@numba.njit(cache=True, fastmath=_FAST, forceinline=True)
def _any(rows, j):
    """Whether row j holds anything but 0."""
    total = rows.dtype.type(0)
    for i in range(rows.shape[1]):
        total += abs(rows[j, i])
    return total != 0


@numba.njit(cache=True, fastmath=_FAST, forceinline=True)
def _heard(rows, places, g, d_recalled, d_spikes, slopes, traces, spikes, k, j, begin, steps, rule):
    """Gradients of the spikes of live key k, since it is live, where it has a slope."""
    w, c, end = rule.w_max, begin, begin
    while end < steps:
        c = end
        end = _block_end(spikes, k, c, steps)
        steep = False
        for s in range(c, end):
            steep |= slopes[s + 1, j] != 0
        if not steep:
            continue
        row = places[k, c]
        k0, k1, k2, _ = _four(traces, k, c, end)
        a0, a1, a2 = _kept(k0, rule), _kept(k1, rule), _kept(k2, rule)
        w0, w1, w2 = w * k0, w * k1, w * k2
        sum0 = sum1 = sum2 = sum3 = type(w)(0)
        for i in range(g.shape[1]):
            m = rows[row, i]
            sum0 += d_recalled[c, i] * m
            m = m * (a0 - k0 * g[c, i]) + w0 * g[c, i]
            sum1 += d_recalled[c + 1, i] * m
            m = m * (a1 - k1 * g[c + 1, i]) + w1 * g[c + 1, i]
            sum2 += d_recalled[c + 2, i] * m
            m = m * (a2 - k2 * g[c + 2, i]) + w2 * g[c + 2, i]
            sum3 += d_recalled[c + 3, i] * m
        d_spikes[c, j] = sum0
        if c + 1 < end:
            d_spikes[c + 1, j] = sum1
        if c + 2 < end:
            d_spikes[c + 2, j] = sum2
        if c + 3 < end:
            d_spikes[c + 3, j] = sum3


@numba.njit(cache=True)
def _live_traces_back(d_learned, d_traces, k, j, begin, steps, d_trace, rule):
    """Gradients of the traces of live key k since it is live; returns that of the trace before,
    from the one after the segment."""
    for c in range(steps - 1, begin - 1, -1):
        d_trace += d_learned[k, c]
        d_traces[c, j] = d_trace
        d_trace *= rule.trace_decay
    return d_trace


@numba.njit(cache=True)
def _steep_steps(slopes, j, end, chosen):
    """The steps before ``end`` in which key j has a slope, and the first; their number. Four more
    are ``end``."""
    chosen[0], count = 0, 1
    for c in range(1, end):
        chosen[count] = c
        count += slopes[c + 1, j] != 0
    for a in range(count, count + 4):
        chosen[a] = end
    return count


@numba.njit(cache=True, fastmath=_FAST, forceinline=True)
def _still(
    mem, d_mem, j, d_recalled, later, chosen, count, powers, d_spikes, d_traces, d_trace, rule
):
    """Gradients of spikes and traces of key j in the chosen steps, in which it is not live and
    column j does not change."""
    end, unit = chosen[count], type(rule.w_max)
    y0 = unit(0)
    for i in range(mem.shape[1]):
        y0 += later[end, i] * d_mem[j, i] * (rule.w_max - mem[j, i])
    d_trace -= rule.trace_decay * y0
    for a in range(0, count, 4):
        c0, c1, c2, c3 = chosen[a], chosen[a + 1], chosen[a + 2], chosen[a + 3]
        x0 = x1 = x2 = x3 = unit(0)
        y0 = y1 = y2 = y3 = unit(0)
        for i in range(mem.shape[1]):
            m = mem[j, i]
            grow = d_mem[j, i] * (rule.w_max - m)
            x0 += d_recalled[c0, i] * m
            x1 += d_recalled[c1, i] * m
            x2 += d_recalled[c2, i] * m
            x3 += d_recalled[c3, i] * m
            y0 += later[c0, i] * grow
            y1 += later[c1, i] * grow
            y2 += later[c2, i] * grow
            y3 += later[c3, i] * grow
        if c3 < end:
            d_spikes[c3, j], d_traces[c3, j] = x3, y3 + powers[end - 1 - c3] * d_trace
        if c2 < end:
            d_spikes[c2, j], d_traces[c2, j] = x2, y2 + powers[end - 1 - c2] * d_trace
        if c1 < end:
            d_spikes[c1, j], d_traces[c1, j] = x1, y1 + powers[end - 1 - c1] * d_trace
        d_spikes[c0, j], d_traces[c0, j] = x0, y0 + powers[end - 1 - c0] * d_trace


@numba.njit(cache=True)
def _start_again(kept_v, first, v_start, starts, counters, v, z, r, trace):
    """The neurons and traces of a population before a segment."""
    for i in range(v.size):
        v[i] = kept_v[first - 1, i] if first > 0 else v_start[i]
        trace[i] = starts[i]
    for i in range(v.size):
        z[i] = counters[i] & 1
        r[i] = counters[i] >> 1


@numba.njit(cache=True)
def _traces_again(zs, steps, trace, traces, rule):
    """Traces (C + 1, M) of the spikes of a history, from that before, which goes along."""
    z = np.empty_like(trace)
    put_row(trace, traces, 0)
    for c in range(1, steps + 1):
        for i in range(z.size):
            z[i] = zs[c, i]
        _trace_step(trace, z, rule)
        put_row(trace, traces, c)


@numba.njit(cache=True)
def _growth_again(traces, steps, g, later, rule):
    """Fill in ``g`` and its sums over the steps from each one on, decayed as traces are."""
    for i in range(g.shape[1]):
        later[steps, i] = 0
    for c in range(steps - 1, -1, -1):
        for i in range(g.shape[1]):
            g[c, i] = rule.gamma_pos * traces[c + 1, i]
        for i in range(g.shape[1]):
            later[c, i] = g[c, i] + rule.trace_decay * later[c + 1, i]


@numba.njit(cache=True, nogil=True)
def _write_back(
    begin, end, v, kept_mem, starts, v_start, p, rule, d_currents, d_mems, d_neurons, d_traces_
):
    """The samples from ``begin`` to ``end`` backwards."""
    n, dtype = d_mems.shape[1], d_mems.dtype
    all_steps, one = v[0].shape[1], dtype.type(1)
    key_vs, key_zs, key_slopes = empty_history(SEGMENT, n, d_mems)
    vs, zs, slopes = empty_history(SEGMENT, n, d_mems)
    key_traces, traces = np.empty((SEGMENT + 1, n), dtype), np.empty((SEGMENT + 1, n), dtype)
    now_v, now_z, now_r = np.empty(n, dtype), np.empty(n, dtype), np.empty(n, np.int32)
    trace = np.empty(n, dtype)
    keys = _empty_keys(n, d_mems)
    columns, key_begin, live_traces, live_spikes, active, counts, since, latest = keys
    # Steps beyond a segment count nothing, but must be numbers.
    g, d_g = np.zeros((SEGMENT + 3, n), dtype), np.zeros((SEGMENT + 3, n), dtype)
    later, d_recalled = np.zeros((SEGMENT + 1, n), dtype), np.zeros((SEGMENT + 3, n), dtype)
    rows, places = np.empty((SEGMENT * n, n), dtype), np.empty((n, SEGMENT), np.int64)
    d_learned = np.empty((n, SEGMENT), dtype)
    d_spikes, d_traces = np.empty((SEGMENT, n), dtype), np.empty((SEGMENT, n), dtype)
    d_live, chosen = np.empty(n, np.bool_), np.empty(SEGMENT + 4, np.int64)
    powers = rule.trace_decay ** np.arange(SEGMENT).astype(dtype)
    for b in range(begin, end):
        d_key_v, d_key_z, d_key_trace = d_neurons[0].v[b], d_neurons[0].z[b], d_traces_[0][b]
        d_v, d_z, d_trace = d_neurons[1].v[b], d_neurons[1].z[b], d_traces_[1][b]
        d_key_train, d_train, d_mem = d_currents[0][b], d_currents[1][b], d_mems[b]
        key_v, value_v = v[0][b], v[1][b]
        for j in range(n):
            d_live[j] = _any(d_mem, j)
        for segment in range(kept_mem.shape[1] - 1, -1, -1):
            first = segment * SEGMENT
            last = min(first + SEGMENT, all_steps)
            steps = last - first
            mem, start, counters = (
                kept_mem[b, segment],
                starts[0][b, segment],
                starts[1][b, segment],
            )
            _start_again(
                key_v, first, v_start[0][b], start[0], counters[0], now_v, now_z, now_r, trace
            )
            replay(key_v, first, last, now_v, now_z, now_r, p, key_vs, key_zs, key_slopes)
            _traces_again(key_zs, steps, trace, key_traces, rule)
            _start_again(
                value_v, first, v_start[1][b], start[1], counters[1], now_v, now_z, now_r, trace
            )
            replay(value_v, first, last, now_v, now_z, now_r, p, vs, zs, slopes)
            _traces_again(zs, steps, trace, traces, rule)
            _growth_again(traces, steps, g, later, rule)
            live = _enter(keys, key_zs, key_traces, steps)
            d_g[:] = 0
            d_learned[:live] = 0
            d_spikes[:] = 0
            d_traces[:] = 0
            copies = 0
            for k in range(live):
                j = columns[k]
                copies = _learn_again(
                    mem,
                    j,
                    key_begin[j],
                    g,
                    live_traces,
                    live_spikes,
                    k,
                    steps,
                    rule,
                    rows,
                    places,
                    copies,
                )
                if d_live[j]:
                    _stretch_back(
                        rows,
                        places,
                        g,
                        d_g,
                        d_mem,
                        d_learned,
                        live_traces,
                        k,
                        j,
                        latest[k],
                        steps,
                        rule,
                    )
            for t in range(last - 1, first - 1, -1):
                c = t - first
                _trace_back(d_trace, d_g, c, d_train, t, rule)
                step_back(vs, zs, slopes, c, d_train, t, d_v, d_z, p)
                for i in range(n):
                    d_recalled[c, i] = rule.feedback * d_train[t, i]
                for a in range(counts[c]):
                    k = active[c, a]
                    j = columns[k]
                    add_row(d_recalled, c, d_mem, j, one)
                    if not d_live[j]:
                        d_live[j] = _any(d_mem, j)
                    if d_live[j]:
                        _stretch_back(
                            rows,
                            places,
                            g,
                            d_g,
                            d_mem,
                            d_learned,
                            live_traces,
                            k,
                            j,
                            since[c, a],
                            c,
                            rule,
                        )
            k = 0
            for j in range(n):
                d_key = d_key_trace[j]
                if key_begin[j] < steps:
                    d_key = _live_traces_back(
                        d_learned, d_traces, k, j, key_begin[j], steps, d_key, rule
                    )
                    _heard(
                        rows,
                        places,
                        g,
                        d_recalled,
                        d_spikes,
                        key_slopes,
                        live_traces,
                        live_spikes,
                        k,
                        j,
                        key_begin[j],
                        steps,
                        rule,
                    )
                    k += 1
                if key_begin[j] > 0 and (d_key != 0 or d_live[j] or _any(mem, j)):
                    count = _steep_steps(key_slopes, j, key_begin[j], chosen)
                    _still(
                        mem,
                        d_mem,
                        j,
                        d_recalled,
                        later,
                        chosen,
                        count,
                        powers,
                        d_spikes,
                        d_traces,
                        d_key,
                        rule,
                    )
            for t in range(last - 1, first - 1, -1):
                c = t - first
                add_row(d_spikes, c, d_key_train, t, one)
                add_row(d_traces, c, d_key_train, t, rule.trace_gain)
                step_back(key_vs, key_zs, key_slopes, c, d_key_train, t, d_key_v, d_key_z, p)
            for j in range(n):
                d_key_trace[j] = rule.trace_decay * d_traces[0, j]
