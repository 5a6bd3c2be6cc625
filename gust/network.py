"""The autoencoder that learns to give spiking pixels their feedback."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """Linear layers, ReLU between, sigmoid after the code and after the output.

    All layers start as PyTorch's default: weights and biases from U(-1/sqrt(n), 1/sqrt(n)), n the
    layer's inputs.

    Args:
        n_pixels: H*W.
        encoder_widths: units of the encoder's layers, the last being the code.
        decoder_widths: the code's units, then those of the decoder's hidden layers.
        generator: of the start (default: PyTorch's global one).
    """

    def __init__(
        self,
        n_pixels: int,
        encoder_widths: Sequence[int],
        decoder_widths: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_pixels, self.n_code = n_pixels, decoder_widths[0]
        self.encoder = _linear_layers([n_pixels, *encoder_widths], generator)
        self.decoder = _linear_layers([*decoder_widths, n_pixels], generator)

    def encode(self, spikes: Tensor) -> Tensor:
        """(..., H*W) spikes and past spikes to the (..., C) code in (0, 1)."""
        return self.encode_drive(self.encoder[0](spikes))

    def encode_drive(self, drive: Tensor) -> Tensor:
        """The encoder from the (..., N) output of its first linear layer on."""
        rows = drive.flatten(0, -2)
        for layer in self.encoder[1:]:
            rows = layer(rows.relu_())
        return rows.sigmoid_().unflatten(0, drive.shape[:-1])

    def decode(self, code: Tensor) -> Tensor:
        """(..., C) code to the (..., H*W) feedback in (0, 1)."""
        return self.decoder[-1](self.decode_to_last(code)).sigmoid_()

    def decode_to_last(self, code: Tensor) -> Tensor:
        """The decoder up to the (..., M) input of its last linear layer."""
        rows = code.flatten(0, -2)
        for layer in self.decoder[:-1]:
            rows = layer(rows).relu_()
        return rows.unflatten(0, code.shape[:-1])


def _linear_layers(widths: Sequence[int], generator: torch.Generator | None) -> nn.ModuleList:
    layers = nn.ModuleList(
        nn.utils.skip_init(nn.Linear, inputs, outputs) for inputs, outputs in pairwise(widths)
    )
    for layer in layers:
        bound = layer.in_features**-0.5
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layers
