"""Convolutional networks that turn an image or the map of a recording into 64 numbers.

They are trained without spikes, as prototypical networks or as classifiers of digits, and then
converted (:mod:`hebbian_snn.convnets.conversion`).
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from common.training import bfloat16_products
from hebbian_snn.relu_layers import ReLUConvolution

BLOCKS = 4
"""Of convolution, ReLU and pooling."""


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
