"""Layers whose weights are +1 or -1 in the forward pass, and their ordinary twins.

The weights that are trained stay real; the forward pass uses their signs, and the gradient of the
signs goes straight through to them. Biases are never binarised.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def binarize(weight: Tensor) -> Tensor:
    """+1 where ``weight`` >= 0, else -1, of the same shape; the gradient passes unchanged."""
    return _Sign.apply(weight)


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def start_bound(fan_in: int, fan_out: int) -> float:
    """Binary layers start from U(-s, s), s = sqrt(1.5 / (fan_in + fan_out))."""
    return math.sqrt(1.5 / (fan_in + fan_out))


class Linear(nn.Module):
    """A linear layer with a bias, binary or not.

    A binary one starts from :func:`start_bound` and a bias of 0, an ordinary one as PyTorch's:
    weights and bias from U(-1/sqrt(n), 1/sqrt(n)), n its inputs.

    Args:
        in_features, out_features: n and the number of outputs.
        binary: use the weights' signs.
        generator: of the start (default: PyTorch's global one).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        binary: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.binary = binary
        bound = start_bound(in_features, out_features) if binary else in_features**-0.5
        self.weight = _uniform((out_features, in_features), bound, generator)
        self.bias = _uniform((out_features,), 0.0 if binary else bound, generator)

    def forward_weight(self) -> Tensor:
        """The (out, in) weights that the forward pass uses."""
        return binarize(self.weight) if self.binary else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return functional.linear(x, self.forward_weight(), self.bias)


class Conv2d(nn.Module):
    """A convolution without padding or bias, binary or not; it starts as :class:`Linear` does, the
    kernel's area being part of both fans.

    Args:
        in_channels, out_channels: of the maps. kernel_size: K, rows and columns of the kernel.
        binary, generator: as for :class:`Linear`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 5,
        binary: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.binary = binary
        fan_in, fan_out = (n * kernel_size**2 for n in (in_channels, out_channels))
        bound = start_bound(fan_in, fan_out) if binary else fan_in**-0.5
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = _uniform(shape, bound, generator)

    def forward_weight(self) -> Tensor:
        """The (out, in, K, K) weights that the forward pass uses."""
        return binarize(self.weight) if self.binary else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H - K + 1, W - K + 1)."""
        return functional.conv2d(x, self.forward_weight())


def _uniform(
    shape: tuple[int, ...], bound: float, generator: torch.Generator | None
) -> nn.Parameter:
    weight = nn.Parameter(torch.zeros(shape))
    if bound:
        nn.init.uniform_(weight, -bound, bound, generator=generator)
    return weight
