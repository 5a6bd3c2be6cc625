"""Writing the memory: a program holds some rows of a sample's memory.

The keys do not depend on the memory, they fire first. Then every row i has a life of its own: row
i, value neuron i and its trace, driven by the key spikes. A program keeps its rows in registers,
and the key traces beside them; the memory of a step is never stored.

The way forward keeps membranes and marks of all neurons, and every 64 steps the memory and the
traces. The way back takes these segments in reverse, with two kernels for each. In the first, a
program computes its rows anew and walks them backwards; the gradients of key spikes and key traces
are added up over its rows, and then over the programs. The second walks the keys backwards.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from hebbian_snn.kernels import WritingState, Written
from hebbian_snn.kernels.cuda_launch import copies, gradient_copy, launch, numbers_of
from hebbian_snn.kernels.cuda_neurons import (
    Gradients,
    History,
    Neurons,
    fire,
    load_gradients,
    load_neurons,
    load_parameters,
    load_spikes,
    look_back,
    record,
    slope_at,
    step_back,
    store_gradients,
    store_neurons,
)
from hebbian_snn.kernels.scan.cuda import advance, empty_history
from hebbian_snn.neurons import LIFState, NeuronParameters, trace_decay
from hebbian_snn.plasticity import InvertedOja

PART = 8
"""A segment has PART parts of PART steps. On the way back a program stores its rows at the start of
every part, then, part by part, before every step: 2 PART copies instead of PART^2."""

ELEMENTS = {torch.float32: 1024, torch.float64: 256}
"""Of the memory in a warp. Most sizes need one warp a program, whose sums want no barriers."""

PROGRAMS = 2048
"""That walk rows backwards at once, enough for the largest GPU; each has 2 PART copies of rows."""

BLOCK = 128
"""Key neurons of a program on the way back."""


class Rule(NamedTuple):
    """The constants of plasticity, traces and feedback."""

    w_max: Any
    gamma_pos: Any
    gamma_neg: Any
    trace_decay: Any
    trace_gain: Any
    feedback: Any


class Rows(NamedTuple):
    """Rows of the memory, the traces of all keys and those of the rows' values."""

    mem: Any
    key_trace: Any
    value_trace: Any


class Carried(NamedTuple):
    """Gradients of some rows and their neurons and traces that come from later steps."""

    mem: Any
    neurons: Gradients
    trace: Any


class Tiling(NamedTuple):
    """How a sample's memory is cut up: ``rows`` of a program, ``lanes`` for the columns (both
    powers of two), ``blocks`` of rows, ``warps`` of a program."""

    rows: int
    lanes: int
    blocks: int
    warps: int


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
    decay = trace_decay(tau_trace)
    numbers = numbers_of(neuron, mem, *plasticity, decay, 1 - decay, feedback)
    inputs = (key_currents, value_currents, mem)
    start = (*state.key, *state.value, state.key_trace, state.value_trace)
    recorded = torch.is_grad_enabled() and any(x.requires_grad for x in (*inputs, *start))
    mem, key_spikes, value_spikes, *after = _Write.apply(*inputs, *start, neuron, numbers, recorded)
    state = WritingState(LIFState(*after[:3]), LIFState(*after[3:6]), *after[6:])
    return Written(mem, key_spikes, value_spikes, state)


class _Write(torch.autograd.Function):
    """Keeps the history of all neurons, and memory and traces at the start of every segment."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        key_currents, value_currents, mem, *state, neuron, numbers, recorded = arguments
        size, steps, n = key_currents.shape
        kept = size if recorded else 0
        key, value = (empty_history((kept, steps, n), mem) for _ in range(2))
        starts = _empty_rows((kept, triton.cdiv(steps, PART**2)), (n, n), mem)
        mem, *after = copies(mem, *state)
        key_spikes = advance(key_currents, neuron, 1, after[:3], key if recorded else None)
        value_spikes = torch.empty_like(key_spikes)
        tiling = _tiling(n, mem.dtype)
        launch(
            _write_rows,
            (size, tiling.blocks),
            value_currents.contiguous(),
            key_spikes,
            numbers,
            int(neuron.refractory_time_steps),
            Rows(mem, state[6].contiguous(), after[7]),
            after[6],
            Neurons(*after[3:6]),
            value_spikes,
            value,
            starts,
            steps,
            n,
            neuron.perfect_reset,
            recorded,
            PART,
            tiling.rows,
            tiling.lanes,
            warps=tiling.warps,
            fuse=True,
        )
        ctx.save_for_backward(*key, *value, *starts, *state[:6], numbers)
        ctx.perfect_reset = neuron.perfect_reset
        ctx.mark_non_differentiable(after[2], after[5])
        ctx.set_materialize_grads(False)
        return mem, key_spikes, value_spikes, *after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_mem: Tensor | None, *gradients: Tensor | None) -> tuple[Any, ...]:
        *saved, numbers = ctx.saved_tensors
        key, value, starts = History(*saved[:2]), History(*saved[2:4]), Rows(*saved[4:7])
        state = [x.contiguous() for x in saved[7:]]
        # The gradients of spikes, memory and last state turn, in place, into those of currents,
        # memory and state at the start.
        d_keys, d_values = (gradient_copy(d, key.v.shape, numbers) for d in gradients[:2])
        d_mem = gradient_copy(d_mem, starts.mem[:, 0].shape, numbers)
        d_state = [gradient_copy(d, state[0].shape, numbers) for d in gradients[2:]]
        d_key, d_value = Gradients(*d_state[:2]), Gradients(*d_state[3:5])
        size, steps, n = d_keys.shape
        tiling = _tiling(n, numbers.dtype)
        programs = min(size * tiling.blocks, PROGRAMS)
        scratch = _empty_rows((programs, 2 * PART), (tiling.rows, tiling.lanes), numbers)
        segments = triton.cdiv(steps, PART**2)
        # of spikes and traces of the keys, from every block of rows, in one segment
        d_outside = numbers.new_empty(size, tiling.blocks, 2, PART**2, n)
        for segment in range(segments - 1, -1, -1):
            launch(
                _rows_back,
                (programs,),
                numbers,
                starts,
                key,
                value,
                Neurons(*state[3:6]),
                d_values,
                Rows(d_mem, d_state[6], d_state[7]),
                d_value,
                d_outside,
                scratch,
                segment,
                segments,
                size * tiling.blocks,
                tiling.blocks,
                steps,
                n,
                ctx.perfect_reset,
                PART,
                tiling.rows,
                tiling.lanes,
                warps=tiling.warps,
                fuse=True,
            )
            launch(
                _keys_back,
                (triton.cdiv(size * n, BLOCK),),
                numbers,
                key,
                Neurons(*state[:3]),
                d_outside.sum(1),
                d_keys,
                d_key,
                d_state[6],
                segment,
                size * n,
                steps,
                n,
                ctx.perfect_reset,
                PART,
                BLOCK,
            )
        d_state[2] = d_state[5] = None
        return d_keys, d_values, d_mem, *d_state, None, None, None


def _tiling(n: int, dtype: torch.dtype) -> Tiling:
    elements = ELEMENTS[dtype]
    lanes = max(triton.next_power_of_2(n), 16)
    rows = min(max(elements // lanes, 1), lanes)
    return Tiling(rows, lanes, triton.cdiv(n, rows), min(triton.cdiv(rows * lanes, elements), 32))


def _empty_rows(shape: tuple[int, int], size: tuple[int, int], like: Tensor) -> Rows:
    """Room for copies of rows of this size."""
    rows, columns = size
    return Rows(
        like.new_empty(*shape, rows, columns),
        like.new_empty(*shape, columns),
        like.new_empty(*shape, rows),
    )


@triton.jit
def _load_rule(numbers):
    return Rule(
        tl.load(numbers + 4),
        tl.load(numbers + 5),
        tl.load(numbers + 6),
        tl.load(numbers + 7),
        tl.load(numbers + 8),
        tl.load(numbers + 9),
    )


@triton.jit
def _trace(before, spikes, rule):
    trace = rule.trace_decay * before + rule.trace_gain * spikes
    return tl.where(trace < 1e-7, 0.0, trace)  # hebbian_snn.neurons.LEAST_TRACE


@triton.jit
def _learn(mem, key_trace, value_trace, rule):
    """Rows of the memory after a step, from the traces after it."""
    g = (rule.gamma_pos * value_trace)[:, None]
    key = key_trace[None, :]
    return mem + key * (g * rule.w_max - mem * (g + rule.gamma_neg * key))


@triton.jit
def _load_rows(pointers, copy, row, column, n):
    """Copy number ``copy`` of rows."""
    inside = (row < n)[:, None] & (column < n)[None, :]
    place = row[:, None] * n + column[None, :]
    return Rows(
        tl.load(pointers.mem + copy * n * n + place, mask=inside, other=0),
        tl.load(pointers.key_trace + copy * n + column, mask=column < n, other=0),
        tl.load(pointers.value_trace + copy * n + row, mask=row < n, other=0),
    )


@triton.jit
def _store_rows(pointers, copy, row, column, n, values):
    inside = (row < n)[:, None] & (column < n)[None, :]
    place = row[:, None] * n + column[None, :]
    tl.store(pointers.mem + copy * n * n + place, values.mem, mask=inside)
    tl.store(pointers.key_trace + copy * n + column, values.key_trace, mask=column < n)
    tl.store(pointers.value_trace + copy * n + row, values.value_trace, mask=row < n)


@triton.jit
def _write_rows(
    currents,
    key_spikes,
    numbers,
    refractory,
    memory,
    key_trace_after,
    state,
    spikes,
    history,
    starts,
    steps,
    n: tl.constexpr,
    perfect_reset: tl.constexpr,
    recorded: tl.constexpr,
    part: tl.constexpr,
    rows: tl.constexpr,
    lanes: tl.constexpr,
):
    sample = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * rows + tl.arange(0, rows)
    column = tl.arange(0, lanes)
    exists, inside = row < n, column < n
    p, rule = load_parameters(numbers), _load_rule(numbers)
    now = load_neurons(state, sample * n + row, exists)
    held = _load_rows(memory, sample, row, column, n)
    segments = tl.cdiv(steps, part * part)
    for s in range(segments):
        if recorded:
            _store_rows(starts, sample * segments + s, row, column, n, held)
        for t in range(s * part * part, tl.minimum((s + 1) * part * part, steps)):
            place = (sample * steps + t) * n + row
            heard = tl.load(key_spikes + (sample * steps + t) * n + column, mask=inside, other=0)
            recalled = rule.feedback * tl.sum(held.mem * heard[None, :], 1)
            current = tl.load(currents + place, mask=exists, other=0) + recalled
            r_before = now.r
            now = fire(now, current, p, refractory, perfect_reset)
            tl.store(spikes + place, now.z, mask=exists)
            if recorded:
                record(history, place, exists, now, r_before)
            key_trace = _trace(held.key_trace, heard, rule)
            value_trace = _trace(held.value_trace, now.z, rule)
            mem = _learn(held.mem, key_trace, value_trace, rule)
            held = Rows(mem, key_trace, value_trace)
    tl.debug_barrier()  # all threads have loaded what is now overwritten
    store_neurons(state, sample * n + row, exists, now)
    after = Rows(memory.mem, key_trace_after, memory.value_trace)
    _store_rows(after, sample, row, column, n, held)


@triton.jit
def _traced_step_back(d_spike, d_trace, d_later, slope, before, d, p, rule, perfect_reset):
    """:func:`step_back` of neurons whose traces ``d_trace`` reaches from outside, ``d_later`` from
    later steps; returns that of the step before as well."""
    d_trace += d_later
    d_spike += rule.trace_gain * d_trace
    d_current, d = step_back(d_spike, slope, before, d, p, perfect_reset)
    return d_current, d, rule.trace_decay * d_trace


@triton.jit
def _own(scratch, copies, rows, lanes):
    """The program's share of the scratch."""
    first = tl.program_id(0).to(tl.int64) * copies
    return Rows(
        scratch.mem + first * rows * lanes,
        scratch.key_trace + first * lanes,
        scratch.value_trace + first * rows,
    )


@triton.jit
def _store_scratch(scratch, copy, values):
    rows: tl.constexpr = values.mem.shape[0]
    lanes: tl.constexpr = values.mem.shape[1]
    row, column = tl.arange(0, rows), tl.arange(0, lanes)
    place = (copy * rows + row)[:, None] * lanes + column[None, :]
    tl.store(scratch.mem + place, values.mem)
    tl.store(scratch.key_trace + copy * lanes + column, values.key_trace)
    tl.store(scratch.value_trace + copy * rows + row, values.value_trace)


@triton.jit
def _load_scratch(scratch, copy, rows: tl.constexpr, lanes: tl.constexpr):
    row, column = tl.arange(0, rows), tl.arange(0, lanes)
    place = (copy * rows + row)[:, None] * lanes + column[None, :]
    return Rows(
        tl.load(scratch.mem + place),
        tl.load(scratch.key_trace + copy * lanes + column),
        tl.load(scratch.value_trace + copy * rows + row),
    )


@triton.jit
def _replay(held, scratch, copy, spacing, first, last, begin, key, value, row, column, n, rule):
    """Rows through the steps from ``first`` to ``last``, whose spikes are in the history; every
    ``spacing`` steps a copy, the first one has number ``copy``."""
    for t in range(first, last):
        if (t - first) % spacing == 0:
            _store_scratch(scratch, copy + (t - first) // spacing, held)
        place = begin + t * n
        heard = load_spikes(key.marks, place + column, column < n, held.mem)
        fired = load_spikes(value.marks, place + row, row < n, held.mem)
        key_trace = _trace(held.key_trace, heard, rule)
        value_trace = _trace(held.value_trace, fired, rule)
        mem = _learn(held.mem, key_trace, value_trace, rule)
        held = Rows(mem, key_trace, value_trace)
    tl.debug_barrier()  # copies that some threads have stored are read by all


@triton.jit
def _rows_step_back(
    held,
    t,
    place,
    row,
    column,
    n,
    key,
    value,
    start,
    d_currents,
    outside,
    carried,
    p,
    rule,
    part,
    perfect_reset,
):
    """Rows and their neurons backwards through step t, at ``place`` in the history for neuron 0;
    ``held`` are the rows before it. The gradients of key spikes and traces go to ``outside``."""
    exists, inside = row < n, column < n
    heard = load_spikes(key.marks, place + column, inside, held.mem)
    fired = load_spikes(value.marks, place + row, exists, held.mem)
    trace = _trace(held.key_trace, heard, rule)[None, :]
    g = (rule.gamma_pos * _trace(held.value_trace, fired, rule))[:, None]
    d_mem = carried.mem
    d_current, d_neurons, d_trace = _traced_step_back(
        tl.load(d_currents + place + row, mask=exists, other=0),
        rule.gamma_pos * tl.sum(d_mem * (rule.w_max - held.mem) * trace, 1),
        carried.trace,
        slope_at(value, place + row, exists, p),
        look_back(value, start, t, place + row, n, exists),
        carried.neurons,
        p,
        rule,
        perfect_reset,
    )
    tl.debug_barrier()  # a row is held by several threads: all have loaded what one overwrites
    tl.store(d_currents + place + row, d_current, mask=exists)
    d_recalled = (rule.feedback * d_current)[:, None]
    decay = rule.gamma_neg * trace
    d_key_trace = d_mem * (g * rule.w_max - held.mem * (g + 2 * decay))
    tl.store(outside + column, tl.sum(d_recalled * held.mem, 0), mask=inside)
    tl.store(outside + part * part * n + column, tl.sum(d_key_trace, 0), mask=inside)
    d_mem += d_recalled * heard[None, :] - d_mem * trace * (g + decay)
    return Carried(d_mem, d_neurons, d_trace)


@triton.jit(do_not_specialize=["segment"])
def _rows_back(
    numbers,
    starts,
    key,
    value,
    state,
    d_currents,
    d_memory,
    d_state,
    d_outside,
    scratch,
    segment,
    segments,
    tasks,
    blocks,
    steps,
    n: tl.constexpr,
    perfect_reset: tl.constexpr,
    part: tl.constexpr,
    rows: tl.constexpr,
    lanes: tl.constexpr,
):
    p, rule = load_parameters(numbers), _load_rule(numbers)
    column = tl.arange(0, lanes)
    first = segment * part * part
    last = tl.minimum(first + part * part, steps)
    scratch = _own(scratch, 2 * part, rows, lanes)
    for task in range(tl.program_id(0), tasks, tl.num_programs(0)):
        sample = (task // blocks).to(tl.int64)
        row = task % blocks * rows + tl.arange(0, rows)
        exists = row < n
        begin = sample * steps * n
        outside = d_outside + (sample * blocks + task % blocks) * 2 * part * part * n
        held = _load_rows(starts, sample * segments + segment, row, column, n)
        _replay(held, scratch, 0, part, first, last, begin, key, value, row, column, n, rule)
        start = load_neurons(state, sample * n + row, exists)
        after = _load_rows(d_memory, sample, row, column, n)
        d = load_gradients(d_state, sample * n + row, exists)
        carried = Carried(after.mem, d, after.value_trace)
        for later in range(tl.cdiv(last - first, part)):
            k = tl.cdiv(last - first, part) - 1 - later
            low = first + k * part
            high = tl.minimum(low + part, last)
            held = _load_scratch(scratch, k, rows, lanes)
            _replay(held, scratch, part, 1, low, high, begin, key, value, row, column, n, rule)
            for back in range(high - low):
                t = high - 1 - back
                held = _load_scratch(scratch, part + t - low, rows, lanes)
                carried = _rows_step_back(
                    held,
                    t,
                    begin + t * n,
                    row,
                    column,
                    n,
                    key,
                    value,
                    start,
                    d_currents,
                    outside + (t - first) * n,
                    carried,
                    p,
                    rule,
                    part,
                    perfect_reset,
                )
            tl.debug_barrier()
        store_gradients(d_state, sample * n + row, exists, carried.neurons)
        # those of the key traces stay as they are until the keys walk back
        after = Rows(carried.mem, after.key_trace, carried.trace)
        _store_rows(d_memory, sample, row, column, n, after)


@triton.jit(do_not_specialize=["segment"])
def _keys_back(
    numbers,
    history,
    state,
    d_outside,
    d_currents,
    d_state,
    d_traces,
    segment,
    count,
    steps,
    n,
    perfect_reset: tl.constexpr,
    part: tl.constexpr,
    block: tl.constexpr,
):
    neuron = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = neuron < count
    sample, column = neuron // n, neuron % n
    p, rule = load_parameters(numbers), _load_rule(numbers)
    first = segment * part * part
    last = tl.minimum(first + part * part, steps)
    start = load_neurons(state, neuron, inside)
    d = load_gradients(d_state, neuron, inside)
    d_trace = tl.load(d_traces + neuron, mask=inside, other=0)
    for back in range(last - first):
        t = last - 1 - back
        place = (sample * steps + t) * n + column
        outside = d_outside + (sample * 2 * part * part + t - first) * n + column
        d_spike = tl.load(d_currents + place, mask=inside, other=0)
        d_spike += tl.load(outside, mask=inside, other=0)
        d_current, d, d_trace = _traced_step_back(
            d_spike,
            tl.load(outside + part * part * n, mask=inside, other=0),
            d_trace,
            slope_at(history, place, inside, p),
            look_back(history, start, t, place, n, inside),
            d,
            p,
            rule,
            perfect_reset,
        )
        tl.store(d_currents + place, d_current, mask=inside)
    store_gradients(d_state, neuron, inside, d)
    tl.store(d_traces + neuron, d_trace, mask=inside)
