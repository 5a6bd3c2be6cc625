"""The scan for CUDA: a Triton program takes some units of one sample through all steps.

The forward pass keeps the membranes, (T, B, U); the way back reads them. Batch normalisation is
PyTorch's.

Triton comes with the CUDA builds of PyTorch and is imported only here. Its interpreter runs the
kernels without a GPU: ``TRITON_INTERPRET=1 python -m pytest tests/snn_tha/test_snn_tha_gpu.py``.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from snn_tha.kernels import Dropout
from snn_tha.kernels.reference import gradient_sums, input_gradient, moments, normalize
from snn_tha.neurons import LIFParameters

__all__ = ["gradient_sums", "input_gradient", "lif_scan", "moments", "normalize"]

BLOCK = 128
"""Units of a program."""


def lif_scan(
    currents: Tensor,
    neuron: LIFParameters,
    steps: int,
    dropout: Dropout | None,
    spike_type: torch.dtype,
) -> Tensor:
    """See :func:`snn_tha.kernels.lif_scan`."""
    kept, scale = None, 1.0
    if dropout is not None and dropout.rate > 0:
        kept = dropout.kept(steps, currents.shape[2], currents.device).byte().contiguous()
        scale = float(dropout.scale())
    return _Scan.apply(currents, kept, steps, (*neuron, scale), spike_type)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        currents: Tensor,
        kept: Tensor | None,
        steps: int,
        constants: tuple[float, ...],
        spike_type: torch.dtype,
    ) -> Tensor:
        currents = currents.contiguous()
        shape = (steps, *currents.shape[1:])
        spikes = torch.empty(shape, dtype=spike_type, device=currents.device)
        mems = torch.empty(shape, dtype=currents.dtype, device=currents.device)
        beta, thr, _, scale = constants
        _launch(_forward, spikes, (currents, kept, beta, thr, scale, spikes, mems), len(currents))
        ctx.save_for_backward(mems, kept)
        ctx.rest = constants, len(currents)
        return spikes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_spikes: Tensor) -> tuple[Tensor, None, None, None, None]:
        mems, kept = ctx.saved_tensors
        constants, n_currents = ctx.rest
        d_currents = mems.new_empty(n_currents, *mems.shape[1:])
        arguments = (d_spikes.contiguous(), mems, kept, *constants, d_currents)
        _launch(_backward, d_spikes, arguments, n_currents)
        return d_currents, None, None, None, None


def _launch(kernel: Any, spikes: Tensor, arguments: tuple, n_currents: int) -> None:
    """Start a kernel with programs for all samples and units of ``spikes`` (T, B, U).

    Without dropout its place is taken by the spikes, which are then not read as such.
    """
    steps, size, units = spikes.shape
    if 0 in spikes.shape:
        return
    dropped = all(x is not None for x in arguments)
    given = [spikes if x is None else x for x in arguments]
    with torch.cuda.device_of(spikes):
        kernel[(size, triton.cdiv(units, BLOCK))](
            *given, size, units, steps, n_currents == 1, dropped, BLOCK
        )


@triton.jit
def _of(kind: tl.constexpr, number):
    """A kernel's number, in the type of the currents."""
    return tl.full((), number, kind)


@triton.jit
def _forward(
    currents,
    kept,
    beta: tl.float64,
    thr: tl.float64,
    scale: tl.float64,
    spikes,
    mems,
    size,
    units,
    steps,
    static: tl.constexpr,
    dropped: tl.constexpr,
    block: tl.constexpr,
):
    unit = tl.program_id(1) * block + tl.arange(0, block)
    inside = unit < units
    place = tl.program_id(0).to(tl.int64) * units + unit
    row = tl.full((), size, tl.int64) * units  # size and units are Python's where they are 1
    kind = mems.dtype.element_ty
    leak, threshold, factor = _of(kind, beta), _of(kind, thr), _of(kind, scale)
    mem = tl.zeros([block], kind)
    source = place
    for _ in range(steps):
        current = tl.load(currents + source, mask=inside, other=0)
        if dropped:
            arrives = tl.load(kept + place, mask=inside, other=0) != 0
            current = tl.where(arrives, current * factor, 0.0)
        reset = tl.where(mem > threshold, threshold, 0.0)
        mem = leak * mem + current - reset
        tl.store(mems + place, mem, mask=inside)
        fired = (mem > threshold).to(spikes.dtype.element_ty)
        tl.store(spikes + place, fired, mask=inside)
        place += row
        if not static:
            source += row


@triton.jit
def _backward(
    d_spikes,
    mems,
    kept,
    beta: tl.float64,
    thr: tl.float64,
    slope: tl.float64,
    scale: tl.float64,
    d_currents,
    size,
    units,
    steps,
    static: tl.constexpr,
    dropped: tl.constexpr,
    block: tl.constexpr,
):
    unit = tl.program_id(1) * block + tl.arange(0, block)
    inside = unit < units
    first = tl.program_id(0).to(tl.int64) * units + unit
    row = tl.full((), size, tl.int64) * units
    place = first + (steps - 1) * row
    kind = mems.dtype.element_ty
    leak, threshold, factor = _of(kind, beta), _of(kind, thr), _of(kind, scale)
    steepness = _of(kind, slope)
    d_mem = tl.zeros([block], kind)
    total = tl.zeros([block], kind)
    for _ in range(steps):
        mem = tl.load(mems + place, mask=inside, other=0)
        d_out = tl.load(d_spikes + place, mask=inside, other=0).to(mem.dtype)
        width = 1 + steepness * tl.abs(mem - threshold)
        d_mem = leak * d_mem + d_out / (width * width)
        d_current = d_mem
        if dropped:
            arrives = tl.load(kept + place, mask=inside, other=0) != 0
            d_current = tl.where(arrives, d_mem * factor, 0.0)
        if static:
            total += d_current
        else:
            tl.store(d_currents + place, d_current, mask=inside)
        place -= row
    if static:
        tl.store(d_currents + first, total, mask=inside)
