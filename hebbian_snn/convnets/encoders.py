"""Convolutional networks that turn an image or the map of a recording into 64 numbers.

They are trained without spikes, as prototypical networks or as classifiers of digits, and then
converted (:mod:`hebbian_snn.convnets.conversion`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from common.training import bfloat16_products
from hebbian_snn.layers import start_weight

BLOCKS = 4
"""Of convolution, ReLU and pooling."""


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


class ConvolutionalEncoder(nn.Module):
    """Four blocks of 3 x 3 convolution, ReLU and 2 x 2 max pooling.

    Args:
        channels: of every block.
        generator: of the start of the weights.
        bfloat16: products are taken in bfloat16 where the device is fast at it.
        batch_norm: the blocks have it.
    """

    def __init__(
        self,
        channels: int,
        generator: Generator,
        bfloat16: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ReLUConvolution(1 if k == 0 else channels, generator, channels, batch_norm)
            for k in range(BLOCKS)
        )
        self.bfloat16 = bfloat16

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W) intensities to (B, channels * (H // 16) * (W // 16)) activities, float32."""
        # Channels last: a third faster on CPUs, twice as fast with bfloat16.
        maps = images[:, None].float().contiguous(memory_format=torch.channels_last)
        with bfloat16_products(self.bfloat16, images.device):
            for block in self.blocks:
                maps = block(maps)
        return maps.flatten(1).float()


class LinearClassifier(nn.Module):
    """An encoder and a linear layer, which starts as PyTorch's.

    Args:
        encoder: of the images. n_features: its outputs. n_classes: outputs.
        generator: of the start of the linear layer.
    """

    def __init__(
        self, encoder: nn.Module, n_features: int, n_classes: int, generator: Generator
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.classes = skip_init(nn.Linear, n_features, n_classes)
        bound = n_features**-0.5
        for parameter in self.classes.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W) intensities to (B, classes)."""
        return self.classes(self.encoder(images))
