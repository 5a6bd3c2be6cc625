"""The window for CUDA: dense matrix products, and one Triton kernel for all between them.

PyTorch multiplies by the decoder's last layer and by the encoder's first one, in the type of the
input. A program of the kernel takes some pixels of one image through the T phases: sigmoid, random
numbers, threshold, refractory gate and counter, thinning. What the backward kernel must know of a
pixel and phase beside the logit is kept in a byte.

Triton comes with the CUDA builds of PyTorch and is imported only here. Its interpreter runs the
kernels without a GPU: ``TRITON_INTERPRET=1 python -m pytest tests/gust/test_gust_gpu.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.nn.functional import linear

from common.counter_noise import GOLDEN
from gust.kernels import Draws, Scan, Window

BLOCK = 256
"""Pixels of a program."""

_GOLDEN = tl.constexpr(int(GOLDEN))
_NEAR, _STAYS = tl.constexpr(1), tl.constexpr(2)
"""Bits of a pixel's byte at a phase: a gradient passes the step function; a spike there would be
seen one step later."""


def build(
    images: Tensor, last: nn.Linear, first: nn.Linear, refractory_period: int, thinning: float
) -> Scan:
    """See :func:`gust.kernels.build_scan`."""
    on = (images > 0).byte().contiguous()

    def scan(hidden: Tensor, refractory: Tensor, past: Tensor, draws: Draws) -> Window:
        logits = linear(hidden, last.weight, last.bias)
        keys = draws.keys
        if isinstance(keys, np.ndarray):
            keys = torch.from_numpy(keys.view(np.int64).copy()).to(hidden.device)
        constants = (on, keys, draws.first, refractory_period, float(thinning))
        spikes, seen, refractory, past = _Fire.apply(logits, past, refractory, constants)
        return Window(spikes, linear(seen, first.weight, first.bias), refractory, past)

    return scan


class _Fire(torch.autograd.Function):
    """Logits (B, T, P) of the feedback, past spikes (B, P) and the counter (B, P) before the window
    to its spikes (B, T, P), what the encoder sees (B, T, P), counter and past spikes after it."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, past: Tensor, refractory: Tensor, constants: tuple
    ) -> tuple[Tensor, ...]:
        on, keys, first, period, thinning = constants
        spikes = torch.empty_like(logits, dtype=torch.uint8)
        seen, marks = torch.empty_like(logits), torch.empty_like(spikes)
        refractory, past = refractory.contiguous(), past.contiguous()
        refractory_after, past_after = torch.empty_like(refractory), torch.empty_like(past)
        _launch(
            _forward,
            logits,
            (logits, on, keys, past, refractory),
            (spikes, seen, marks, refractory_after, past_after),
            (first, period, thinning),
        )
        ctx.save_for_backward(logits, marks)
        ctx.mark_non_differentiable(spikes, refractory_after)
        ctx.set_materialize_grads(False)
        return spikes, seen, refractory_after, past_after

    @staticmethod
    def backward(
        ctx: Any, _s: None, d_seen: Tensor | None, _r: None, d_past: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        logits, marks = ctx.saved_tensors
        if d_seen is None:
            d_seen = torch.zeros_like(logits)
        if d_past is None:
            d_past = torch.zeros_like(logits[:, 0])
        d_logits, d_past_before = torch.empty_like(logits), torch.empty_like(logits[:, 0])
        inputs = (logits, marks, d_seen.contiguous(), d_past.contiguous())
        _launch(_backward, logits, inputs, (d_logits, d_past_before), ())
        return d_logits, d_past_before, None, None


def _launch(kernel: Any, like: Tensor, inputs: tuple, outputs: tuple, numbers: tuple) -> None:
    """Start a kernel with programs for all images and pixels of ``like`` (B, T, P)."""
    n_images, n_phases, n_pixels = like.shape
    grid = (n_images, triton.cdiv(n_pixels, BLOCK))
    if 0 in grid:
        return
    with torch.cuda.device_of(like):
        kernel[grid](*inputs, *outputs, *numbers, n_pixels, n_phases, BLOCK)


@triton.jit
def _mix(z):
    """``common.counter_noise.mix``; shifts of unsigned numbers are logical."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)


@triton.jit
def _uniform(word):
    """24 bits as a number in [0, 1)."""
    return word.to(tl.int32).to(tl.float32) * 5.9604644775390625e-08


@triton.jit(do_not_specialize=["first"])
def _forward(
    logits,
    on,
    keys,
    past,
    refractory,
    spikes,
    seen,
    marks,
    refractory_after,
    past_after,
    first: tl.int64,
    period,
    thinning,
    n_pixels,
    n_phases: tl.constexpr,
    block: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    inside = pixel < n_pixels
    of_image = image * n_pixels + pixel
    place = image * n_phases * n_pixels + pixel
    is_on = tl.load(on + of_image, mask=inside, other=0) != 0
    wait = tl.load(refractory + of_image, mask=inside, other=0)
    visible = tl.load(past + of_image, mask=inside, other=0)
    key = tl.load(keys + image).to(tl.uint64)
    counter = first.to(tl.int64) + pixel
    for t in range(n_phases):
        may_fire = is_on & (wait < 1)
        g = tl.sigmoid(tl.load(logits + place, mask=may_fire, other=0))
        word = _mix(key + (counter + t * n_pixels).to(tl.uint64) * _GOLDEN)
        u = g + _uniform(word >> 40)
        fired = may_fire & (u > 1)
        stays = _uniform(word & 0xFFFFFF) >= thinning
        near = may_fire & (tl.abs(u - 1) < 0.5)
        tl.store(spikes + place, fired.to(tl.uint8), mask=inside)
        tl.store(seen + place, visible + fired.to(visible.dtype), mask=inside)
        mark = tl.where(near, _NEAR, 0) + tl.where(stays, _STAYS, 0)
        tl.store(marks + place, mark.to(tl.uint8), mask=inside)
        wait = tl.maximum(wait - 1 + fired.to(tl.int32) * period, 0)
        visible = (fired & stays).to(visible.dtype)
        place += n_pixels
    tl.store(refractory_after + of_image, wait, mask=inside)
    tl.store(past_after + of_image, visible, mask=inside)


@triton.jit
def _backward(
    logits,
    marks,
    d_seen,
    d_past,
    d_logits,
    d_past_before,
    n_pixels,
    n_phases: tl.constexpr,
    block: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    inside = pixel < n_pixels
    of_image = image * n_pixels + pixel
    place = (image * n_phases + n_phases - 1) * n_pixels + pixel
    d_next = tl.load(d_past + of_image, mask=inside, other=0)
    for _ in range(n_phases):
        mark = tl.load(marks + place, mask=inside, other=0)
        near = (mark & _NEAR) != 0
        d_here = tl.load(d_seen + place, mask=inside, other=0)
        d_spike = d_here + tl.where((mark & _STAYS) != 0, d_next, 0.0)
        g = tl.sigmoid(tl.load(logits + place, mask=near, other=0))
        tl.store(d_logits + place, tl.where(near, d_spike * g * (1 - g), 0.0), mask=inside)
        d_next = d_here
        place -= n_pixels
    tl.store(d_past_before + of_image, d_next, mask=inside)
