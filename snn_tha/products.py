"""Products of spikes and weights, for all steps and samples in one call.

Average pooling after a convolution is a convolution too: a 5 x 5 kernel and 2 x 2 pooling are one
6 x 6 kernel with stride 2, which takes 2.8 times fewer multiplications. A stride of 2 over maps
whose 2 x 2 blocks were folded into channels is a plain 3 x 3 convolution: that is the form used
here, maps being (N, H / 2, W / 2, 4 C) in memory.

With bfloat16, spikes and binary weights are exact, pooled kernels are multiples of 1/4, and
processors add the products up in float32; so the forward product is exact as long as its result
is, which is so where its magnitude stays below 256 multiples. That is checked, and a larger one is
computed in float32. Gradients are rounded to bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, linear, pad

LARGEST_EXACT = 256
"""bfloat16 holds all whole numbers up to here."""


POOLED_UNIT = 0.25
"""Binary kernels averaged over 2 x 2 are multiples of it."""


def fold_blocks(maps: Tensor) -> Tensor:
    """(..., H, W, C) maps to (..., H / 2, W / 2, 4 C), the blocks' rows and columns before C.

    Raises ``ValueError`` for an odd H or W.
    """
    height, width, channels = maps.shape[-3:]
    if height % 2 or width % 2:
        raise ValueError(f"maps of {height} x {width} have no 2 x 2 blocks")
    blocks = maps.unflatten(-2, (width // 2, 2)).unflatten(-4, (height // 2, 2))
    return blocks.transpose(-4, -3).reshape(*maps.shape[:-3], height // 2, width // 2, 4 * channels)


def pooled_kernel(kernel: Tensor) -> Tensor:
    """The (O, C, K + 1, K + 1) kernel which, with stride 2, does the convolution with (O, C, K, K)
    and 2 x 2 average pooling."""
    return avg_pool2d(pad(kernel, (1, 1, 1, 1)), 2, stride=1)


def folded_kernel(kernel: Tensor) -> Tensor:
    """A (O, C, 2 k, 2 k) kernel of stride 2 for folded maps: (O, 4 C, k, k)."""
    blocks = kernel.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (O, C, k, 2, k, 2)
    return blocks.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def convolve_and_pool(folded: Tensor, kernel: Tensor) -> Tensor:
    """Convolution and 2 x 2 average pooling.

    Args:
        folded: (N, H / 2, W / 2, 4 C) maps after :func:`fold_blocks`; bfloat16 maps must be whole
            numbers and the kernel binary.
        kernel: (O, C, K, K), K odd.

    Returns:
        (N, (H - K + 1) / 2, (W - K + 1) / 2, O), in the kernel's type.
    """
    weight = folded_kernel(pooled_kernel(kernel)).contiguous(memory_format=torch.channels_last)
    maps = folded.permute(0, 3, 1, 2)
    product = _exactly(conv2d, maps, weight, POOLED_UNIT)
    return product.permute(0, 2, 3, 1)


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """(N, I) times the transposed (O, I) weight, in the weight's type; a bfloat16 ``x`` must be
    whole numbers and the weight binary."""
    return _exactly(linear, x, weight, 1.0)


def _exactly(
    product: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, unit: float
) -> Tensor:
    if x.dtype == torch.bfloat16:
        return _BFloat16Product.apply(product, x, weight, unit)
    return product(x, weight)


def _largest(x: Tensor) -> float:
    """Of all magnitudes, 0 without any."""
    if not x.numel():
        return 0.0
    lowest, highest = torch.aminmax(x)
    return max(-lowest.item(), highest.item())


class _BFloat16Product(torch.autograd.Function):
    """``product(x, weight)``, all whose terms are multiples of ``unit``."""

    @staticmethod
    def forward(
        ctx: Any,
        product: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        weight: Tensor,
        unit: float,
    ) -> Tensor:
        rounded = weight.bfloat16()
        ctx.save_for_backward(x, rounded)
        ctx.product, ctx.dtype = product, weight.dtype
        out = product(x, rounded)
        if _largest(out) < LARGEST_EXACT * unit:
            return out.to(weight.dtype)
        return product(x.to(weight.dtype), weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        d_out = d_out.bfloat16()
        wanted = ctx.needs_input_grad[1:3]
        if ctx.product is linear:
            d_x = d_out @ weight if wanted[0] else None
            d_weight = d_out.T @ x if wanted[1] else None
        else:
            d_x, d_weight, _ = torch.ops.aten.convolution_backward(
                d_out, x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [*wanted, False]
            )
        return None, d_x, None if d_weight is None else d_weight.to(ctx.dtype), None
