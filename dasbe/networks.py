"""The autoencoders that give the spiking pixels their top-down attention.

All of them are trained on images of single objects (:mod:`dasbe.train`). In the loop
(:mod:`dasbe.dynamics`) they appear as ``encode``, ``step`` and ``decode``; ``restrict`` gives the
same network on a few pixels of each image, which needs only those columns of the first layer and
those rows of the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from dasbe.config import NetworkSettings
from dasbe.dynamics import Pixels


class Network(nn.Module):
    """What all networks share: the decoder, and training with or without a noisy code.

    Attributes:
        n_pixels: H*W.
        decoder: linear layers, ReLU between, sigmoid after the last.
        code_dropout: in training, code neurons are silenced with a probability drawn for each
            image from U(0, code_dropout).
    """

    code_dropout = 0.0

    def __init__(self, n_pixels: int, decoder_widths: Sequence[int]) -> None:
        super().__init__()
        self.n_pixels = n_pixels
        self.decoder = _linear_layers([*decoder_widths, n_pixels])

    def encode(self, coincidences: Tensor) -> Tensor:
        """(..., H*W) coincidences to the (..., C) drive of the code."""
        raise NotImplementedError

    def step(
        self, drive: Tensor, state: Any, uniform: Callable[[int], Tensor], refractory: int
    ) -> tuple[Tensor, Any]:
        """The code is the drive: no state, no noise."""
        return drive, state

    def decode(self, code: Tensor) -> Tensor:
        """(..., C) code to the (..., H*W) feedback in (0, 1)."""
        return self.decode_logits(code).sigmoid_()

    def decode_logits(self, code: Tensor) -> Tensor:
        """The decoder before its last sigmoid."""
        return self.decoder[-1](self.decode_to_last(code))

    def decode_to_last(self, code: Tensor) -> Tensor:
        """The decoder up to the input of its last linear layer."""
        for layer in self.decoder[:-1]:
            code = layer(code).relu_()
        return code

    def sample_code(self, drive: Tensor, generator: torch.Generator | None) -> Tensor:
        """The code of training images, differentiable; here the drive itself."""
        return drive

    def forward(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct images, for training.

        Args:
            images: (M, H*W). generator: of the code's noise.

        Returns:
            the (M, H*W) logits of the reconstruction, the (M, C) code and its (M, C) drive.
        """
        drive = self.encode(images)
        code = self.sample_code(drive, generator)
        if self.training and self.code_dropout:
            silenced = self.code_dropout * _uniform_like(code[:, :1], generator)
            code = code * (_uniform_like(code, generator) >= silenced)
        return self.decode_logits(code), code, drive


class Autoencoder(Network):
    """Linear layers, ReLU between, sigmoid after the code and after the output (real-valued code).

    Args:
        n_pixels: H*W.
        encoder_widths: units of the encoder's layers, the last being the code.
        decoder_widths: the code's units, then those of the decoder's hidden layers.
    """

    def __init__(
        self, n_pixels: int, encoder_widths: Sequence[int], decoder_widths: Sequence[int]
    ) -> None:
        super().__init__(n_pixels, decoder_widths)
        self.encoder = _linear_layers([n_pixels, *encoder_widths])

    def code_activation(self, drive: Tensor) -> Tensor:
        """The non-linearity of the encoder's last layer."""
        return drive.sigmoid_()

    def encode(self, coincidences: Tensor) -> Tensor:
        hidden = self.encoder[0](coincidences)
        for layer in self.encoder[1:]:
            hidden = layer(hidden.relu_())
        return self.code_activation(hidden)

    def restrict(self, pixels: Pixels) -> RestrictedNetwork:
        """This network on the given pixels of every image."""
        return RestrictedNetwork(self, pixels)


class ConvolutionalAutoencoder(Network):
    """Three 3 x 3 convolutions of stride 2 (64, 32, 32 channels, ReLU) before the code's layer.

    Real-valued code after a sigmoid; the decoder is that of :class:`Autoencoder`. For square
    images.
    """

    CHANNELS = (1, 64, 32, 32)

    def __init__(
        self, n_pixels: int, encoder_widths: Sequence[int], decoder_widths: Sequence[int]
    ) -> None:
        super().__init__(n_pixels, decoder_widths)
        self.size = math.isqrt(n_pixels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
            for inputs, outputs in pairwise(self.CHANNELS)
        )
        reduced = math.ceil(self.size / 2 ** len(self.convolutions))
        self.encoder = _linear_layers([self.CHANNELS[-1] * reduced**2, *encoder_widths])

    def encode(self, coincidences: Tensor) -> Tensor:
        maps = coincidences.unflatten(-1, (1, self.size, self.size))
        for convolution in self.convolutions:
            maps = convolution(maps).relu_()
        return self.encoder[0](maps.flatten(1)).sigmoid_()


class SpikingCodeAutoencoder(Autoencoder):
    """An autoencoder whose code neurons spike: z = 1 where h + U(0, 1) > 1, h after a ReLU.

    In the loop the code neurons have the pixels' refractory period. In training the step's
    derivative at u = h + U(0, 1) is 1 where |u - 1| < 0.5, else 0.
    """

    def code_activation(self, drive: Tensor) -> Tensor:
        return drive.relu_()

    def step(
        self, drive: Tensor, state: Tensor | None, uniform: Callable[[int], Tensor], refractory: int
    ) -> tuple[Tensor, Tensor]:
        """Sample the code of T phases with refractoriness; the state is a (B, C) counter."""
        excited = drive + uniform(drive.shape[-1]) > 1
        countdown = (
            torch.zeros(drive[:, 0].shape, dtype=torch.int32, device=drive.device)
            if state is None
            else state
        )
        code = torch.empty_like(drive)
        for t in range(drive.shape[1]):
            countdown = countdown - 1
            fired = excited[:, t] & (countdown < 0)
            countdown = countdown.masked_fill(fired, refractory)
            code[:, t] = fired
        return code, countdown

    def sample_code(self, drive: Tensor, generator: torch.Generator | None) -> Tensor:
        return _SurrogateStep.apply(drive + _uniform_like(drive, generator))


class ContrastiveAutoencoder(SpikingCodeAutoencoder):
    """A spiking code with a sigmoid in place of the ReLU before the sampling (figure 4)."""

    def code_activation(self, drive: Tensor) -> Tensor:
        return drive.sigmoid_()


class RecurrentAutoencoder(Autoencoder):
    """An autoencoder that predicts the next frame (figure 5): with h the code of a frame, the
    decoder's input is sigmoid(W h_previous + h + b).

    In the loop, h_previous is the code of the same phase one iteration earlier. W starts N(0, 1),
    b at 0, h_previous at 0.
    """

    def __init__(
        self, n_pixels: int, encoder_widths: Sequence[int], decoder_widths: Sequence[int]
    ) -> None:
        super().__init__(n_pixels, encoder_widths, decoder_widths)
        self.recurrent = nn.Linear(encoder_widths[-1], encoder_widths[-1])
        nn.init.normal_(self.recurrent.weight)
        nn.init.zeros_(self.recurrent.bias)

    def step(
        self, drive: Tensor, state: Tensor | None, uniform: Callable[[int], Tensor], refractory: int
    ) -> tuple[Tensor, Tensor]:
        """The decoder's input of T phases; the state is the (B, T, C) code h of the last frame."""
        previous = torch.zeros_like(drive) if state is None else state
        return torch.sigmoid(self.recurrent(previous) + drive), drive


class _SurrogateStep(torch.autograd.Function):
    """[u > 1], with derivative 1 where |u - 1| < 0.5."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward((u - 1).abs() < 0.5)
        return (u > 1).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (near,) = ctx.saved_tensors
        return gradient * near


class RestrictedNetwork:
    """An :class:`Autoencoder` on the simulated pixels of every image, (B, T, P) in and out.

    Columns of the first layer and rows of the last one are gathered once per image; padding has
    input 0 and its output is not used. For inference only.
    """

    def __init__(self, network: Autoencoder, pixels: Pixels) -> None:
        first, last = network.encoder[0], network.decoder[-1]
        self.encoder = [_packed(layer) for layer in network.encoder[1:]]
        self.decoder = [_packed(layer) for layer in network.decoder[:-1]]
        self.code_activation = network.code_activation
        self.first_weight = first.weight.detach().T[pixels.index]  # (B, P, hidden)
        self.first_bias = first.bias.detach()
        self.last_weight = last.weight.detach()[pixels.index].transpose(1, 2)  # (B, hidden, P)
        self.last_bias = last.bias.detach()[pixels.index][:, None]  # (B, 1, P)
        self.step = network.step

    def encode(self, coincidences: Tensor) -> Tensor:
        """(B, T, P) coincidences to the (B, T, C) drive."""
        hidden = torch.baddbmm(self.first_bias, coincidences, self.first_weight)
        for layer in self.encoder:
            hidden = layer(hidden.relu_())
        return self.code_activation(hidden)

    def decode(self, code: Tensor) -> Tensor:
        """(B, T, C) code to the (B, T, P) feedback."""
        for layer in self.decoder:
            code = layer(code).relu_()
        return torch.baddbmm(self.last_bias, code, self.last_weight).sigmoid_()


def _packed(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    """The layer for inference: by oneDNN on CPUs, where that is twice as fast as MKL on some."""
    if layer.weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return layer
    weight, bias = (parameter.detach().to_mkldnn() for parameter in (layer.weight, layer.bias))

    def apply(values: Tensor) -> Tensor:
        rows = values.flatten(0, -2).to_mkldnn()
        product = torch.ops.aten.mkldnn_linear(rows, weight, bias)
        return product.to_dense().unflatten(0, values.shape[:-1])

    return apply


class CallableNetwork:
    """A user's function as a network of the loop.

    Args:
        function: (M, H*W) float coincidences to ``(output (M, H*W), code)``, M = images x window,
            image-major; stateless.
    """

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, Any]]) -> None:
        self.function = function

    def encode(self, coincidences: Tensor) -> Tensor:
        """The coincidences themselves: the function does everything in :meth:`decode`."""
        return coincidences

    def step(self, drive: Tensor, state: Any, uniform: Any, refractory: int) -> tuple[Tensor, Any]:
        """No code neurons, no state."""
        return drive, state

    def decode(self, code: Tensor) -> Tensor:
        """The function's output, (M, H*W). Raises :class:`UserError` if it fails or has
        another shape.
        """
        try:
            output, _ = self.function(code)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"the network failed on coincidences of shape {tuple(code.shape)} ({reason}); "
                "it must take (M, H*W) and give (output, code)"
            ) from error
        if (
            not isinstance(output, Tensor)
            or output.shape != code.shape
            or output.is_complex()
            or output.device != code.device
        ):
            raise UserError(
                f"the network gave {_shape_of(output)} for coincidences of shape "
                f"{tuple(code.shape)}; it must give (output, code) with an output of that shape, "
                f"of real numbers, on the device {code.device}"
            )
        return output


_KINDS = {
    "autoencoder": Autoencoder,
    "convolutional": ConvolutionalAutoencoder,
    "spiking_code": SpikingCodeAutoencoder,
    "contrastive": ContrastiveAutoencoder,
    "recurrent": RecurrentAutoencoder,
}


def build_network(
    settings: NetworkSettings,
    n_pixels: int,
    generator: torch.Generator | None = None,
) -> Network:
    """A freshly initialised network for images of ``n_pixels`` pixels (PyTorch's default start).

    The initial values come from ``generator``, or from torch's global one without it.
    """
    with torch.random.fork_rng(devices=[]):
        if generator is not None:
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        return _KINDS[settings.kind](n_pixels, settings.encoder_widths, settings.decoder_widths)


def _uniform_like(values: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(values.shape, generator=generator, device=values.device)


def _linear_layers(widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))


def _shape_of(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(type(value))
