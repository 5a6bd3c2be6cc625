"""Networks that remember which image went with a spoken digit, and draw it."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from hebbian_snn.config import NetworkSettings
from hebbian_snn.convnets.encoders import ConvolutionalEncoder
from hebbian_snn.convnets.spike_cache import unpack
from hebbian_snn.convnets.spiking_cnn import SpikingEncoder
from hebbian_snn.layers import SpikingLinear, start_weight
from hebbian_snn.memory import (
    Answer,
    HebbianMemory,
    Recalled,
    ReLUMemory,
    beside,
    recorded_rates,
)
from hebbian_snn.rates import firing_rates

HIDDEN = 256
"""Neurons of the decoder's first layer."""

PIXELS = 784
"""Neurons of its second one: the image drawn."""

FULL_BLACK = 15
"""Spikes of a neuron in a trial that make its pixel 1."""


class CrossModalNetwork(nn.Module):
    """Writes recordings with images, reads with another recording, and decodes the values' spikes.

    Args:
        n_features: outputs of each convolutional network.
        num_time_steps: of an item.
        settings: of neurons and memory.
        generator: of the start of the weights.
        audio, image: convolutional networks that are trained with the memory; None: the inputs are
            the stored spikes of networks that are not.
        backend: of the kernels.
    """

    def __init__(
        self,
        n_features: tuple[int, int],
        num_time_steps: int,
        settings: NetworkSettings,
        generator: Generator,
        audio: SpikingEncoder | None = None,
        image: SpikingEncoder | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.n_features, self.num_time_steps = n_features, num_time_steps
        self.audio, self.image = audio, image
        self.memory = HebbianMemory(sum(n_features), n_features[0], settings, generator, backend)
        self.hidden = SpikingLinear(
            settings.memory_size, HIDDEN, settings.neuron, generator, backend
        )
        self.pixels = SpikingLinear(HIDDEN, PIXELS, settings.neuron, generator, backend)

    def activity(
        self, spoken: Tensor, images: Tensor, query: Tensor
    ) -> tuple[dict[str, Tensor], Recalled, dict[str, Tensor]]:
        """The (B, T, neurons) spikes of ``audio``, ``images`` and ``query``, the memory's, and the
        decoder's, ``hidden`` and ``pixels``."""
        if self.audio is None or self.image is None:
            heard, asked = (unpack(bits, self.n_features[0]) for bits in (spoken, query))
            seen = unpack(images, self.n_features[1])
        else:
            both, n = beside(spoken, query), spoken.shape[1]
            spikes = self.audio(both.flatten(0, 1)).unflatten(0, both.shape[:2])
            heard, asked = spikes[:, :n], spikes[:, n:].flatten(0, 1)
            seen = self.image(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        encoded = {"audio": heard.flatten(1, 2), "images": seen.flatten(1, 2), "query": asked}
        recalled = self.memory(torch.cat([encoded["audio"], encoded["images"]], 2), asked)
        hidden, _ = self.hidden(recalled.read["values"])
        return encoded, recalled, {"hidden": hidden, "pixels": self.pixels(hidden)[0]}

    def forward(self, spoken: Tensor, images: Tensor, query: Tensor) -> Answer:
        """Recordings (N, n, frames, coefficients) and images (N, n, H, W), or their packed spikes
        (N, n, T, bytes), and B recordings as queries, the same number for each sample, one after
        the other, to images (B, 784)."""
        encoded, recalled, decoded = self.activity(spoken, images, query)
        asked = {"query": encoded.pop("query")}
        if self.audio is None:  # no gradient would lower these rates
            encoded, asked = {}, {}
        n = spoken.shape[1]
        rates = recorded_rates(encoded, recalled, self.num_time_steps, n, asked)
        rates |= {name: firing_rates(x, self.num_time_steps) for name, x in decoded.items()}
        return Answer(decoded["pixels"].sum(1) / FULL_BLACK, rates)


class ReLUCrossModalNetwork(nn.Module):
    """The twin of :class:`CrossModalNetwork`; it records no rates.

    Args:
        audio, image: that are trained with the memory; None: the inputs are the features of
            networks that are not.
        bias, sigmoid: the decoder has biases, which start as PyTorch's; its pixels are sigmoids,
            not ReLU.
    """

    def __init__(
        self,
        n_features: tuple[int, int],
        settings: NetworkSettings,
        generator: Generator,
        audio: ConvolutionalEncoder | None = None,
        image: ConvolutionalEncoder | None = None,
        bias: bool = False,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.audio, self.image, self.sigmoid = audio, image, sigmoid
        self.memory = ReLUMemory(sum(n_features), n_features[0], settings, generator)
        self.hidden = start_weight(HIDDEN, settings.memory_size, generator=generator)
        self.pixels = start_weight(PIXELS, HIDDEN, generator=generator)
        self.hidden_bias = self.pixels_bias = None
        if bias:
            self.hidden_bias = _start_bias(HIDDEN, settings.memory_size, generator)
            self.pixels_bias = _start_bias(PIXELS, HIDDEN, generator)

    def forward(self, spoken: Tensor, images: Tensor, query: Tensor) -> Answer:
        """Recordings and images as they are, or their features (N, n, F), to images (B, 784)."""
        return Answer(self.activity(spoken, images, query)[2]["pixels"][:, 0], {})

    def activity(
        self, spoken: Tensor, images: Tensor, query: Tensor
    ) -> tuple[dict[str, Tensor], Recalled, dict[str, Tensor]]:
        """The (B, items, neurons) activities of ``audio``, ``images`` and ``query``, the memory's,
        and the decoder's, ``hidden`` and ``pixels``."""
        heard, n = beside(spoken, query), spoken.shape[1]
        if self.audio is not None and self.image is not None:
            heard = self.audio(heard.flatten(0, 1)).unflatten(0, heard.shape[:2])
            images = self.image(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        asked = heard[:, n:].flatten(0, 1)[:, None]
        encoded = {"audio": heard[:, :n], "images": images, "query": asked}
        recalled = self.memory(torch.cat([encoded["audio"], images], 2), asked)
        values = recalled.read["values"]
        hidden = functional.linear(values, self.hidden, self.hidden_bias).relu()
        pixels = functional.linear(hidden, self.pixels, self.pixels_bias)
        pixels = pixels.sigmoid() if self.sigmoid else pixels.relu()
        return encoded, recalled, {"hidden": hidden, "pixels": pixels}


def _start_bias(n_outputs: int, n_inputs: int, generator: Generator) -> nn.Parameter:
    bound = n_inputs**-0.5
    return nn.Parameter(torch.empty(n_outputs).uniform_(-bound, bound, generator=generator))
