"""Neurons without connections among them: a program takes some neurons through all steps.

The way back starts from the currents: it computes the neurons at the start of every segment, then,
segment by segment in reverse, their history in the segment, and walks it backwards.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from hebbian_snn.kernels.cuda_launch import copies, gradient_copy, launch, numbers_of
from hebbian_snn.kernels.cuda_neurons import (
    Gradients,
    History,
    Neurons,
    fire,
    load_gradients,
    load_neurons,
    load_parameters,
    look_back,
    record,
    slope_at,
    step_back,
    store_gradients,
    store_neurons,
)
from hebbian_snn.neurons import LIFState, NeuronParameters

BLOCK = 128
"""Neurons of a program."""

SEGMENT = 64
"""Steps whose history is computed together on the way back."""


def lif_scan(
    currents: Tensor, neuron: NeuronParameters, num_time_steps: int, state: LIFState
) -> tuple[Tensor, LIFState]:
    """See :func:`hebbian_snn.kernels.lif_scan`."""
    spikes, *after = _Scan.apply(currents, neuron.thr, *state, num_time_steps, neuron)
    return spikes, LIFState(*after)


def advance(
    currents: Tensor,
    neuron: NeuronParameters,
    steps: int,
    state: list[Tensor],
    history: History | None = None,
) -> Tensor:
    """Spikes (B, items * steps, N) of neurons driven by (B, items, N) currents.

    ``state``, contiguous, is changed in place; the history is filled in if there is one.
    """
    size, items, n = currents.shape
    spikes = currents.new_empty(size, items * steps, n)
    launch(
        _scan,
        (triton.cdiv(size * n, BLOCK),),
        currents.contiguous(),
        numbers_of(neuron, currents),
        int(neuron.refractory_time_steps),
        Neurons(*state),
        spikes,
        History(spikes, spikes) if history is None else history,
        size * n,
        n,
        items,
        steps,
        neuron.perfect_reset,
        history is not None,
        BLOCK,
    )
    return spikes


class _Scan(torch.autograd.Function):
    """Keeps the currents alone."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        currents, thr, v, z, r, steps, neuron = arguments
        after = copies(v, z, r)
        spikes = advance(currents, neuron, steps, after)
        ctx.save_for_backward(currents, v, z, r)
        ctx.rest = steps, neuron, thr
        ctx.mark_non_differentiable(after[2])
        ctx.set_materialize_grads(False)
        return spikes, *after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, d_spikes: Tensor | None, d_v: Tensor | None, d_z: Tensor | None, _r: None
    ) -> tuple[Tensor | None, ...]:
        currents, *state = ctx.saved_tensors
        steps, neuron, thr = ctx.rest
        size, items, n = currents.shape
        if d_spikes is None:
            d_spikes = currents.new_zeros(size, items * steps, n)
        d_currents = torch.empty_like(currents, memory_format=torch.contiguous_format)
        d_v, d_z, d_thr = (gradient_copy(d, (size, n), currents) for d in (d_v, d_z, None))
        rows = triton.cdiv(items * steps, SEGMENT), size, n
        starts = Neurons(
            currents.new_empty(rows),
            currents.new_empty(rows),
            currents.new_empty(rows, dtype=torch.int32),
        )
        history = empty_history((SEGMENT, size, n), currents)
        launch(
            _scan_back,
            (triton.cdiv(size * n, BLOCK),),
            currents.contiguous(),
            numbers_of(neuron, currents),
            int(neuron.refractory_time_steps),
            Neurons(*(x.contiguous() for x in state)),
            starts,
            history,
            d_spikes.contiguous(),
            d_currents,
            Gradients(d_v, d_z),
            d_thr,
            size * n,
            n,
            items,
            steps,
            neuron.perfect_reset,
            SEGMENT,
            BLOCK,
        )
        total = d_thr.sum(dtype=torch.float64).to(thr) if ctx.needs_input_grad[1] else None
        return d_currents, total, d_v, d_z, None, None, None


def empty_history(shape: tuple[int, ...], like: Tensor) -> History:
    """Room for a history, of the type of number of ``like``."""
    return History(like.new_empty(shape), like.new_empty(shape, dtype=torch.uint8))


@triton.jit
def _scan(
    currents,
    numbers,
    refractory,
    state,
    spikes,
    history,
    count,
    n,
    items,
    steps,
    perfect_reset: tl.constexpr,
    recorded: tl.constexpr,
    block: tl.constexpr,
):
    neuron = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = neuron < count
    sample, column = neuron // n, neuron % n
    p = load_parameters(numbers)
    now = load_neurons(state, neuron, inside)
    place = sample * items * steps * n + column
    for item in range(items):
        current = tl.load(currents + (sample * items + item) * n + column, mask=inside, other=0)
        for _ in range(steps):
            r_before = now.r
            now = fire(now, current, p, refractory, perfect_reset)
            tl.store(spikes + place, now.z, mask=inside)
            if recorded:
                record(history, place, inside, now, r_before)
            place += n
    store_neurons(state, neuron, inside, now)


@triton.jit
def _scan_back(
    currents,
    numbers,
    refractory,
    state,
    starts,
    history,
    d_spikes,
    d_currents,
    d_state,
    d_thr,
    count,
    n,
    items,
    steps,
    perfect_reset: tl.constexpr,
    segment: tl.constexpr,
    block: tl.constexpr,
):
    neuron = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = neuron < count
    sample, column = neuron // n, neuron % n
    p = load_parameters(numbers)
    total = items * steps
    segments = tl.cdiv(total, segment)
    currents += sample * items * n + column
    d_currents += sample * items * n + column
    d_spikes += sample * total * n + column

    now = load_neurons(state, neuron, inside)
    for s in range(segments):
        store_neurons(starts, s * count + neuron, inside, now)
        for t in range(s * segment, tl.minimum((s + 1) * segment, total)):
            current = tl.load(currents + t // steps * n, mask=inside, other=0)
            now = fire(now, current, p, refractory, perfect_reset)
    tl.debug_barrier()

    d = load_gradients(d_state, neuron, inside)
    d_current = tl.zeros_like(d.v)
    d_threshold = tl.zeros_like(d.v)
    for later in range(segments):
        s = segments - 1 - later
        first, last = s * segment, tl.minimum((s + 1) * segment, total)
        start = load_neurons(starts, s * count + neuron, inside)
        now = start
        for t in range(first, last):
            current = tl.load(currents + t // steps * n, mask=inside, other=0)
            r_before = now.r
            now = fire(now, current, p, refractory, perfect_reset)
            record(history, (t - first) * count + neuron, inside, now, r_before)
        tl.debug_barrier()
        for back in range(last - first):
            t = last - 1 - back
            place = (t - first) * count + neuron
            slope = slope_at(history, place, inside, p)
            before = look_back(history, start, t - first, place, count, inside)
            d_spike = tl.load(d_spikes + t.to(tl.int64) * n, mask=inside, other=0)
            d_u = (d_spike + d.z) * slope
            d_threshold -= d_u * tl.load(history.v + place, mask=inside, other=0) / p.thr
            if not perfect_reset:
                d_threshold -= (d.v + d_u) * before.z
            more, d = step_back(d_spike, slope, before, d, p, perfect_reset)
            d_current += more
            if t % steps == 0:
                tl.store(d_currents + t // steps * n, d_current, mask=inside)
                d_current = tl.zeros_like(d_current)
        tl.debug_barrier()
    store_gradients(d_state, neuron, inside, d)
    tl.store(d_thr + neuron, d_threshold, mask=inside)
