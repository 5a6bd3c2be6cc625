"""The memory without spikes, for comparison: ReLU activities, one step for each item.

The activities stand in place of spikes and of traces. Nothing is fed back: neither the memory while
writing nor the values while reading. The paper's growth and decay here are gamma = 0.1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hebbian_snn.layers import start_weight
from hebbian_snn.plasticity import InvertedOja, update_memory

RELU_PLASTICITY = InvertedOja(w_max=1.0, gamma_pos=0.1, gamma_neg=0.1)


class ReLUWritingLayer(nn.Module):
    """Writes one item a step; the weight is (2 M, inputs): keys, then values."""

    def __init__(
        self,
        n_inputs: int,
        memory_size: int,
        generator: Generator,
        plasticity: InvertedOja = RELU_PLASTICITY,
    ) -> None:
        super().__init__()
        self.weight = start_weight(2 * memory_size, n_inputs, generator=generator)
        self.plasticity = plasticity

    def forward(self, items: Tensor, mem: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, inputs) activities to the (B, M, M) memory, default start 0, and the (B, T, M)
        keys and values."""
        keys, values = functional.linear(items, self.weight).relu().chunk(2, -1)
        if mem is None:
            mem = keys.new_zeros(len(keys), keys.shape[-1], keys.shape[-1])
        for key, value in zip(keys.unbind(1), values.unbind(1), strict=True):
            # Keeps one memory a step for the way back, not every product in it.
            mem = checkpoint(update_memory, mem, value, key, self.plasticity, use_reentrant=False)
        return mem, keys, values


class ReLUReadingLayer(nn.Module):
    """Asks the memory; the weight is (M, inputs). The values are ``rectified``, or left as they are
    as in the paper's code."""

    def __init__(
        self, n_inputs: int, memory_size: int, generator: Generator, rectified: bool = True
    ) -> None:
        super().__init__()
        self.weight = start_weight(memory_size, n_inputs, generator=generator)
        self.rectified = rectified

    def forward(self, items: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, inputs) activities and (B, M, M) memory to the (B, T, M) keys and values."""
        keys = functional.linear(items, self.weight).relu()
        values = keys @ mem.transpose(1, 2)
        return keys, values.relu() if self.rectified else values


class BatchNorm(nn.Module):
    """PyTorch's ``BatchNorm2d`` with its defaults; in training the statistics are those of the
    batches of all processes together."""

    eps = 1e-5
    momentum = 0.1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) to the normalised ones."""
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = self._statistics(maps.to(self.running_mean.dtype))
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return maps * scale[:, None, None] + shift[:, None, None]

    def _statistics(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (channels,) of the whole batch; the running ones take them up."""
        count = maps.numel() // maps.shape[1]
        total = _Sum.apply(maps.sum((0, 2, 3)), count)
        counts = _Sum.apply(maps.new_tensor(float(count)), count)
        mean = total / counts
        squares = (maps - mean[:, None, None]).square().sum((0, 2, 3))
        squares = _Sum.apply(squares, count)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(squares / (counts - 1).clamp_min(1), self.momentum)
        return mean, squares / counts


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes, if there are several.

    The gradients that the processes average are weighted by their parts of the batch, so those of
    other processes count here in proportion to theirs.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:
        ctx.count = count
        return _over_processes(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _over_processes(gradient * ctx.count) / max(ctx.count, 1), None


def _over_processes(x: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x


class ReLUConvolution(nn.Module):
    """3 x 3 convolution with padding 1, batch normalisation if wanted, ReLU, 2 x 2 max pooling.

    Without the normalisation it is pooled first, which gives the same and leaves a quarter for the
    ReLU.
    """

    def __init__(
        self,
        n_inputs: int,
        generator: Generator,
        n_outputs: int = 64,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.weight = start_weight(n_outputs, n_inputs, 3, 3, generator=generator)
        self.norm = BatchNorm(n_outputs) if batch_norm else None

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H // 2, W // 2)."""
        currents = functional.conv2d(maps, self.weight, padding=1)
        if self.norm is not None:
            currents = self.norm(currents)
        return functional.max_pool2d(currents, 2).relu()
