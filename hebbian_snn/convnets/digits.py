"""Written and spoken digits for the cross-modal task: loaded once, divided the same everywhere."""

from __future__ import annotations

import functools
import hashlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datasets.choices import Data
from datasets.mfcc import digit_maps
from datasets.mnist import load_mnist
from datasets.spoken_digits import load_spoken_digits
from hebbian_snn.layers import Encoding
from hebbian_snn.neurons import LIFParameters

VALIDATION_EVERY = 10
"""Every tenth sample of the official training set is for validation."""

RECORDINGS_AT_ONCE = 256
"""That :func:`heard_rates` computes together."""

REAL_SOURCES = ("MNIST", "FSDD v1.0.10")


class Digits(NamedTuple):
    """``images`` (N, H, W), uint8 or float32; ``labels`` (N,) int64; ``source``, what they are."""

    images: Tensor
    labels: Tensor
    source: str

    @property
    def summary(self) -> dict[str, Any]:
        """What a checkpoint says of them."""
        digest = hashlib.sha256(self.images.numpy()).hexdigest()
        return {"source": self.source, "samples": len(self.labels), "sha256": digest}


@functools.cache
def written_digits(split: str, data: Data) -> Digits:
    """Images (N, 28, 28) uint8 of "train", "validation" or "test"; errors as ``load_mnist``."""
    found = load_mnist("test" if split == "test" else "train", data)
    return _part(found.images, found.labels, found.source, split)


@functools.cache
def spoken_digits(split: str, data: Data, num_mfcc: int, num_mfcc_time_samples: int) -> Digits:
    """Maps (N, num_mfcc_time_samples, num_mfcc) float32 of "train", "validation" or "test"; errors
    as ``load_spoken_digits`` and ``digit_maps``."""
    found = load_spoken_digits("test" if split == "test" else "train", data)
    maps = digit_maps(found, num_mfcc_time_samples, num_mfcc)[:, 0]
    return _part(maps, found.labels, found.source, split)


@torch.no_grad()
def heard_rates(maps: Tensor, neuron: LIFParameters, num_time_steps: int) -> Tensor:
    """How often the neurons of a spiking network's input fire, relative to how often they can.

    With low thresholds this is hardly more than which coefficients are above 0: a network that is
    to be converted has to do with that.

    Args:
        maps: (N, H, W) coefficients. neuron: that each drives. num_time_steps: of a recording.

    Returns:
        (N, H, W) float32 in 0 to 1.
    """
    encoding = Encoding(num_time_steps, neuron)
    most = -(-num_time_steps // (neuron.refractory_time_steps + 1))
    counts = [
        encoding(some.flatten(1)[:, None])[0].sum(1) for some in maps.split(RECORDINGS_AT_ONCE)
    ]
    return torch.cat(counts).view(maps.shape) / most


def _part(images: Tensor, labels: Tensor, source: str, split: str) -> Digits:
    if split == "test":
        return Digits(images, labels, source)
    held_out = torch.arange(len(labels)) % VALIDATION_EVERY == VALIDATION_EVERY - 1
    chosen = held_out if split == "validation" else ~held_out
    return Digits(images[chosen], labels[chosen], source)
