"""Reading the memory: a program takes one sample through all steps.

The value spikes come back to the keys, so every step needs one product with the weight and one with
the memory. The neurons stay in registers; spikes pass from one product to the next through the
arrays that hold them anyway. Value spikes are kept in one array with the D delayed ones in front:
row t is what the keys hear in step t, row D + t is the spikes of step t.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from hebbian_snn.kernels import Read, ReadingState
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
from hebbian_snn.kernels.scan.cuda import empty_history
from hebbian_snn.neurons import LIFState, NeuronParameters

ELEMENTS = {torch.float32: 8192, torch.float64: 4096}
"""Of a matrix that a program multiplies at once."""

WARPS = 8


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
    key_spikes, value_spikes, *after = _Read.apply(*inputs, neuron, recorded)
    trains = torch.cat([state.delayed, value_spikes[:, -delay:]], 1)
    key, value = LIFState(*after[:3]), LIFState(*after[3:])
    return Read(key_spikes, value_spikes, ReadingState(key, value, trains[:, -delay:]))


class _Read(torch.autograd.Function):
    """Keeps the history and the spikes of all steps."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        currents, weight, mem, *state, delayed, neuron, recorded = arguments
        size, steps, n = currents.shape
        delay, kept = delayed.shape[1], size if recorded else 0
        key, value = (empty_history((kept, steps, n), mem) for _ in range(2))
        key_spikes = torch.empty_like(currents, memory_format=torch.contiguous_format)
        trains = torch.cat([delayed, torch.empty_like(key_spikes)], 1)
        weight, mem, numbers = weight.contiguous(), mem.contiguous(), numbers_of(neuron, currents)
        after = copies(*state)
        launch(
            _read,
            (size,),
            currents.contiguous(),
            weight,
            mem,
            numbers,
            int(neuron.refractory_time_steps),
            Neurons(*after[:3]),
            Neurons(*after[3:]),
            key_spikes,
            trains,
            key,
            value,
            steps,
            delay,
            n,
            neuron.perfect_reset,
            recorded,
            *_tile(n, mem.dtype),
            warps=WARPS,
        )
        ctx.save_for_backward(*key, *value, key_spikes, trains, weight, mem, *state, numbers)
        ctx.perfect_reset = neuron.perfect_reset
        ctx.mark_non_differentiable(after[2], after[5])
        ctx.set_materialize_grads(False)
        return key_spikes, trains[:, delay:], *after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        *saved, numbers = ctx.saved_tensors
        key, value = History(*saved[:2]), History(*saved[2:4])
        key_spikes, trains, weight, mem, *state = saved[4:]
        state = [x.contiguous() for x in state]
        size, steps, n = key_spikes.shape
        delay = trains.shape[1] - steps
        # The gradients of spikes and last state turn, in place, into those of currents and start.
        d_keys = gradient_copy(gradients[0], key_spikes.shape, numbers)
        d_trains = numbers.new_zeros(trains.shape)
        if gradients[1] is not None:
            d_trains[:, delay:] = gradients[1]
        d_state = [gradient_copy(d, state[0].shape, numbers) for d in gradients[2:]]
        launch(
            _read_back,
            (size,),
            weight,
            mem,
            numbers,
            key,
            value,
            Neurons(*state[:3]),
            Neurons(*state[3:]),
            d_keys,
            d_trains,
            Gradients(*d_state[:2]),
            Gradients(*d_state[3:5]),
            steps,
            delay,
            n,
            ctx.perfect_reset,
            *_tile(n, mem.dtype),
            warps=WARPS,
        )
        d_weight = d_keys.flatten(0, 1).T @ trains[:, :steps].flatten(0, 1)
        d_mem = d_trains[:, delay:].transpose(1, 2) @ key_spikes
        d_state[2] = d_state[5] = None
        return d_keys, d_weight, d_mem, *d_state, d_trains[:, :delay], None, None


def _tile(n: int, dtype: torch.dtype) -> tuple[int, int]:
    """Lanes for neurons and columns that are multiplied at once, powers of two."""
    lanes = max(triton.next_power_of_2(n), 16)
    return lanes, min(max(ELEMENTS[dtype] // lanes, 1), lanes)


@triton.jit
def _product(matrix, vector, n, row_stride, column_stride, lanes: tl.constexpr, tile: tl.constexpr):
    """matrix @ vector, n x n numbers and n numbers in memory."""
    row = tl.arange(0, lanes)
    total = tl.zeros((lanes,), vector.dtype.element_ty)
    for first in range(0, n, tile):
        column = first + tl.arange(0, tile)
        inside = (row < n)[:, None] & (column < n)[None, :]
        place = row[:, None] * row_stride + column[None, :] * column_stride
        part = tl.load(matrix + place, mask=inside, other=0)
        total += tl.sum(part * tl.load(vector + column, mask=column < n, other=0)[None, :], 1)
    return total


@triton.jit
def _read(
    currents,
    weight,
    mem,
    numbers,
    refractory,
    key_state,
    value_state,
    key_spikes,
    trains,
    key_history,
    value_history,
    steps,
    delay,
    n: tl.constexpr,
    perfect_reset: tl.constexpr,
    recorded: tl.constexpr,
    lanes: tl.constexpr,
    tile: tl.constexpr,
):
    sample = tl.program_id(0).to(tl.int64)
    neuron = tl.arange(0, lanes)
    inside = neuron < n
    p = load_parameters(numbers)
    key = load_neurons(key_state, sample * n + neuron, inside)
    value = load_neurons(value_state, sample * n + neuron, inside)
    mem += sample * n * n
    trains += sample * (delay + steps) * n
    for t in range(steps):
        spikes_of_step = key_spikes + (sample * steps + t) * n
        place = (sample * steps + t) * n + neuron
        current = tl.load(currents + place, mask=inside, other=0)
        current += _product(weight, trains + t * n, n, n, 1, lanes, tile)
        r_before = key.r
        key = fire(key, current, p, refractory, perfect_reset)
        tl.store(spikes_of_step + neuron, key.z, mask=inside)
        if recorded:
            record(key_history, place, inside, key, r_before)
        tl.debug_barrier()  # spikes that some threads have stored are read by all
        current = _product(mem, spikes_of_step, n, n, 1, lanes, tile)
        r_before = value.r
        value = fire(value, current, p, refractory, perfect_reset)
        tl.store(trains + (delay + t) * n + neuron, value.z, mask=inside)
        if recorded:
            record(value_history, place, inside, value, r_before)
        tl.debug_barrier()
    store_neurons(key_state, sample * n + neuron, inside, key)
    store_neurons(value_state, sample * n + neuron, inside, value)


@triton.jit
def _read_back(
    weight,
    mem,
    numbers,
    key_history,
    value_history,
    key_state,
    value_state,
    d_keys,
    d_trains,
    d_key_state,
    d_value_state,
    steps,
    delay,
    n: tl.constexpr,
    perfect_reset: tl.constexpr,
    lanes: tl.constexpr,
    tile: tl.constexpr,
):
    sample = tl.program_id(0).to(tl.int64)
    neuron = tl.arange(0, lanes)
    inside = neuron < n
    p = load_parameters(numbers)
    key_start = load_neurons(key_state, sample * n + neuron, inside)
    value_start = load_neurons(value_state, sample * n + neuron, inside)
    d_key = load_gradients(d_key_state, sample * n + neuron, inside)
    d_value = load_gradients(d_value_state, sample * n + neuron, inside)
    mem += sample * n * n
    d_trains += sample * (delay + steps) * n
    for back in range(steps):
        t = steps - 1 - back
        place = (sample * steps + t) * n + neuron
        d_currents = d_trains + (delay + t) * n
        d_current, d_value = step_back(
            tl.load(d_currents + neuron, mask=inside, other=0),
            slope_at(value_history, place, inside, p),
            look_back(value_history, value_start, t, place, n, inside),
            d_value,
            p,
            perfect_reset,
        )
        # a neuron is held by several threads: all have loaded what one of them overwrites
        tl.debug_barrier()
        tl.store(d_currents + neuron, d_current, mask=inside)
        tl.debug_barrier()
        d_spike = tl.load(d_keys + place, mask=inside, other=0)
        d_spike += _product(mem, d_currents, n, 1, n, lanes, tile)
        d_current, d_key = step_back(
            d_spike,
            slope_at(key_history, place, inside, p),
            look_back(key_history, key_start, t, place, n, inside),
            d_key,
            p,
            perfect_reset,
        )
        tl.debug_barrier()
        tl.store(d_keys + place, d_current, mask=inside)
        tl.debug_barrier()
        d_heard = _product(weight, d_keys + (sample * steps + t) * n, n, 1, n, lanes, tile)
        heard = d_trains + t * n + neuron
        tl.store(heard, tl.load(heard, mask=inside, other=0) + d_heard, mask=inside)
        tl.debug_barrier()
    store_gradients(d_key_state, sample * n + neuron, inside, d_key)
    store_gradients(d_value_state, sample * n + neuron, inside, d_value)
