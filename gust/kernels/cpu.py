"""The window compiled for CPUs, with its own backward pass; parallel over images.

Of the decoder's last layer it computes, for every pixel that is on, the phases at which the pixel
is not refractory; of the encoder's first layer, the rows of the pixels that the encoder sees. These
are about 2 % of the two layers' products. The backward pass visits the same places again.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn

from common.counter_noise import GOLDEN, mix, second_uniform, uniform
from gust.kernels import Draws, Scan, Window

_FAST = {"reassoc", "contract"}  # sums in SIMD order

SEEN_NEXT = np.uint8(128)
"""Bit of a pixel's byte at a phase: a spike there would be seen one step later. The other bits
hold how many spikes the encoder sees (0, 1 or 2)."""


def build(
    images: Tensor, last: nn.Linear, first: nn.Linear, refractory_period: int, thinning: float
) -> Scan:
    """See :func:`gust.kernels.build_scan`."""
    pixels, counts = on_pixels(images)
    constants = (pixels, counts, np.int32(refractory_period), np.float32(thinning))
    rows = first.weight.t().contiguous()

    def scan(hidden: Tensor, refractory: Tensor, past: Tensor, draws: Draws) -> Window:
        parameters = (last.weight, last.bias, rows, first.bias)
        return Window(*_Scan.apply(hidden, *parameters, refractory, past, draws, constants))

    return scan


def on_pixels(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The on-pixels of (B, P) images: positions (B, K) int32, K the largest count, and the counts
    (B,) of valid ones."""
    on = images.numpy() > 0
    counts = on.sum(1)
    pixels = np.argsort(~on, axis=1, kind="stable")[:, : counts.max(initial=0)]
    return np.ascontiguousarray(pixels, dtype=np.int32), counts


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        last_weight: Tensor,
        last_bias: Tensor,
        rows: Tensor,
        first_bias: Tensor,
        refractory: Tensor,
        past: Tensor,
        draws: Draws,
        constants: tuple,
    ) -> tuple[Tensor, ...]:
        (n_images, n_phases, _), n_pixels = hidden.shape, len(rows)
        most = constants[0].shape[1]
        spikes = torch.zeros(n_images, n_phases, n_pixels, dtype=torch.uint8)
        drive = hidden.new_empty(n_images, n_phases, rows.shape[1])
        refractory, past_after = refractory.clone(), torch.zeros_like(past)
        seen = np.empty((n_images, most, n_phases), np.uint8)
        slopes = np.empty((n_images, most, n_phases), hidden.numpy().dtype)
        layers = [x.numpy() for x in (hidden, last_weight, last_bias, rows, first_bias)]
        _forward(
            *layers,
            *constants,
            draws.keys,
            np.uint64(draws.first),
            past.numpy(),
            refractory.numpy(),
            past_after.numpy(),
            spikes.numpy(),
            drive.numpy(),
            seen,
            slopes,
        )
        ctx.save_for_backward(hidden, last_weight, rows)
        ctx.rest = (constants[0], constants[1], seen, slopes)
        ctx.mark_non_differentiable(spikes, refractory)
        ctx.set_materialize_grads(False)
        return spikes, drive, refractory, past_after

    @staticmethod
    def backward(
        ctx: Any, _s: None, d_drive: Tensor | None, _r: None, d_past: Tensor | None
    ) -> Any:
        hidden, last_weight, rows = ctx.saved_tensors
        if d_drive is None:
            d_drive = hidden.new_zeros(*hidden.shape[:2], rows.shape[1])
        if d_past is None:
            d_past = hidden.new_zeros(len(hidden), len(rows))
        d_hidden = torch.empty_like(hidden)
        d_past_before = torch.zeros_like(d_past)
        shares = min(numba.get_num_threads(), len(hidden))
        sums = [
            hidden.new_zeros(shares, *shape)
            for shape in (last_weight.shape, (len(rows),), rows.shape, rows.shape[1:])
        ]
        _backward(
            hidden.numpy(),
            last_weight.numpy(),
            rows.numpy(),
            *ctx.rest,
            d_drive.contiguous().numpy(),
            d_past.contiguous().numpy(),
            d_hidden.numpy(),
            d_past_before.numpy(),
            *(x.numpy() for x in sums),
        )
        totals = [x[0] if shares == 1 else x.sum(0) for x in sums]
        return d_hidden, *totals, None, d_past_before, None, None


@numba.njit(inline="always")
def _dot(a, b):
    total = a.dtype.type(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@numba.njit(inline="always")
def _add(factor, a, out):
    for i in range(out.size):
        out[i] += factor * a[i]


@numba.njit(cache=True, parallel=True, fastmath=_FAST)
def _forward(
    hidden,
    last_weight,
    last_bias,
    rows,
    first_bias,
    pixels,
    counts,
    refractory_period,
    thinning,
    keys,
    first,
    past,
    refractory,
    past_after,
    spikes,
    drive,
    seen,
    slopes,
):
    n_images, n_phases, _ = hidden.shape
    n_pixels = np.uint64(rows.shape[0])
    one = hidden.dtype.type(1)
    for b in numba.prange(n_images):
        for t in range(n_phases):
            drive[b, t] = first_bias
        for k in range(counts[b]):
            p = pixels[b, k]
            wait = refractory[b, p]
            visible = past[b, p]
            key = keys[b] + (first + np.uint64(p)) * GOLDEN
            for t in range(n_phases):
                fired = False
                stays = False
                slope = one - one
                if wait < 1:
                    z = last_bias[p] + _dot(last_weight[p], hidden[b, t])
                    g = one / (one + np.exp(-z))
                    word = mix(key + np.uint64(t) * n_pixels * GOLDEN)
                    u = g + uniform(word)
                    fired = u > one
                    stays = second_uniform(word) >= thinning
                    if abs(u - one) < hidden.dtype.type(0.5):
                        slope = g * (one - g)
                if fired:
                    visible += one
                    spikes[b, t, p] = 1
                    wait += refractory_period
                wait = max(wait - np.int32(1), np.int32(0))
                slopes[b, k, t] = slope
                seen[b, k, t] = np.uint8(visible) | (SEEN_NEXT if stays else np.uint8(0))
                if visible > 0:
                    _add(visible, rows[p], drive[b, t])
                visible = one if fired and stays else one - one
            refractory[b, p] = wait
            past_after[b, p] = visible


@numba.njit(cache=True, parallel=True, fastmath=_FAST)
def _backward(
    hidden,
    last_weight,
    rows,
    pixels,
    counts,
    seen,
    slopes,
    d_drive,
    d_past,
    d_hidden,
    d_past_before,
    d_last_weight,
    d_last_bias,
    d_rows,
    d_first_bias,
):
    n_images, n_phases, _ = hidden.shape
    shares = len(d_rows)
    for share in numba.prange(shares):
        # A spike that stays acts on the drive of its own phase and of the next.
        both = np.empty(d_drive.shape[1:], d_drive.dtype)
        for b in range(n_images * share // shares, n_images * (share + 1) // shares):
            for t in range(n_phases):
                _add(1, d_drive[b, t], d_first_bias[share])
                for i in range(both.shape[1]):
                    both[t, i] = d_drive[b, t, i]
                    if t + 1 < n_phases:
                        both[t, i] += d_drive[b, t + 1, i]
            d_hidden[b] = 0
            for k in range(counts[b]):
                p = pixels[b, k]
                d_past_before[b, p] = _dot(rows[p], d_drive[b, 0])
                for t in range(n_phases):
                    visible = seen[b, k, t] & ~SEEN_NEXT
                    if visible:
                        _add(visible, d_drive[b, t], d_rows[share, p])
                    if slopes[b, k, t] == 0:
                        continue
                    if seen[b, k, t] & SEEN_NEXT:
                        d_spike = _dot(rows[p], both[t])
                        if t == n_phases - 1:
                            d_spike += d_past[b, p]
                    else:
                        d_spike = _dot(rows[p], d_drive[b, t])
                    d_z = d_spike * slopes[b, k, t]
                    d_last_bias[share, p] += d_z
                    _add(d_z, hidden[b, t], d_last_weight[share, p])
                    _add(d_z, last_weight[p], d_hidden[b, t])
