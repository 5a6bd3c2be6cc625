"""Networks that remember the labels of five images and name that of a sixth."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from hebbian_snn.config import NetworkSettings
from hebbian_snn.convnets.encoders import ConvolutionalEncoder
from hebbian_snn.convnets.spike_cache import unpack
from hebbian_snn.convnets.spiking_cnn import SpikingEncoder
from hebbian_snn.layers import Embedding, Encoding, Output
from hebbian_snn.memory import (
    Answer,
    HebbianMemory,
    Recalled,
    ReLUMemory,
    beside,
    recorded_rates,
)


class OneShotNetwork(nn.Module):
    """Writes images with their labels, then reads with another image.

    Args:
        n_features: outputs of the convolutional network. n_labels: outputs.
        num_time_steps: of an item.
        settings: of neurons and memory.
        generator: of the start of the weights.
        encoder: convolutional network that is trained with the memory; None: the inputs are the
            stored spikes of one that is not.
        backend: of the kernels.
    """

    def __init__(
        self,
        n_features: int,
        n_labels: int,
        num_time_steps: int,
        settings: NetworkSettings,
        generator: Generator,
        encoder: SpikingEncoder | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        size = settings.embedding_size
        self.n_features, self.num_time_steps = n_features, num_time_steps
        self.encoder = encoder
        self.labels = Embedding(n_labels, size, generator)
        self.encoding = Encoding(num_time_steps, settings.neuron, backend=backend)
        self.memory = HebbianMemory(n_features + size, n_features, settings, generator, backend)
        self.output = Output(settings.memory_size, n_labels, generator)

    def activity(
        self, images: Tensor, labels: Tensor, query: Tensor
    ) -> tuple[dict[str, Tensor], Recalled]:
        """The (B, T, neurons) spikes of ``images``, ``labels`` and ``query``, and the memory's."""
        if self.encoder is None:
            seen, asked = unpack(images, self.n_features), unpack(query, self.n_features)
        else:
            both, n = beside(images, query), images.shape[1]
            spikes = self.encoder(both.flatten(0, 1)).unflatten(0, both.shape[:2])
            seen, asked = spikes[:, :n], spikes[:, n:].flatten(0, 1)
        encoded = {
            "images": seen.flatten(1, 2),
            "labels": self.encoding(self.labels(labels))[0],
            "query": asked,
        }
        facts = torch.cat([encoded["images"], encoded["labels"]], 2)
        return encoded, self.memory(facts, asked)

    def forward(self, images: Tensor, labels: Tensor, query: Tensor) -> Answer:
        """Images (N, n, H, W) or their packed spikes (N, n, T, bytes), labels (N, n), and queries
        (B, H, W) or (B, T, bytes), the same number for each sample, one after the other, to scores
        (B, labels)."""
        encoded, recalled = self.activity(images, labels, query)
        asked = {"query": encoded.pop("query")}
        if self.encoder is None:  # no gradient would lower these rates
            encoded.pop("images")
            asked = {}
        rates = recorded_rates(encoded, recalled, self.num_time_steps, labels.shape[1], asked)
        return Answer(self.output(recalled.read["values"]), rates)


class ReLUOneShotNetwork(nn.Module):
    """The twin of :class:`OneShotNetwork`; it records no rates.

    Args:
        encoder: that is trained with the memory; None: the inputs are the features of one that is
            not.
    """

    def __init__(
        self,
        n_features: int,
        n_labels: int,
        settings: NetworkSettings,
        generator: Generator,
        encoder: ConvolutionalEncoder | None = None,
    ) -> None:
        super().__init__()
        size = settings.embedding_size
        self.encoder = encoder
        self.labels = Embedding(n_labels, size, generator)
        self.memory = ReLUMemory(n_features + size, n_features, settings, generator)
        self.output = Output(settings.memory_size, n_labels, generator, last=1)

    def forward(self, images: Tensor, labels: Tensor, query: Tensor) -> Answer:
        """Images (N, n, H, W) or their features (N, n, F), labels (N, n), and B queries, to scores
        (B, labels)."""
        _, recalled = self.activity(images, labels, query)
        return Answer(self.output(recalled.read["values"]), {})

    def activity(
        self, images: Tensor, labels: Tensor, query: Tensor
    ) -> tuple[dict[str, Tensor], Recalled]:
        """The (B, items, neurons) activities of ``images``, ``labels`` and ``query``, and the
        memory's."""
        both, n = beside(images, query), images.shape[1]
        if self.encoder is not None:
            both = self.encoder(both.flatten(0, 1)).unflatten(0, both.shape[:2])
        encoded = {
            "images": both[:, :n],
            "labels": self.labels(labels).relu(),
            "query": both[:, n:].flatten(0, 1)[:, None],
        }
        facts = torch.cat([encoded["images"], encoded["labels"]], 2)
        return encoded, self.memory(facts, encoded["query"])
