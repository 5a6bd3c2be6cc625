"""The converted convolutional networks in front of a memory: settings, and how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from common.checkpoints import Checkpoint, load_checkpoint
from common.errors import NotThereError, UserError
from common.paths import CHECKPOINTS
from common.runs import find_network, network_file
from common.settings import option
from hebbian_snn.config import NetworkSettings, PairsTrainingSettings
from hebbian_snn.convnets.conversion import convert, copy_weights
from hebbian_snn.convnets.encoders import ConvolutionalEncoder
from hebbian_snn.convnets.spike_cache import thinned, unpack
from hebbian_snn.convnets.spiking_cnn import SpikingEncoder
from hebbian_snn.neurons import IFParameters
from hebbian_snn.training.trained import MODEL

FEATURES_AT_ONCE = 512
"""Images that go through a network without spikes together."""


@dataclass(frozen=True)
class FrontEndSettings:
    """What the tasks' sections ``cnn`` have in common."""

    channels: int = option("channels of every layer", minimum=1)
    freeze_protonet: bool = option("do not train it: its spikes are computed once and stored")
    learn_if_thresholds: bool = option(
        "thresholds from threshold balancing; 0: those that are given"
    )
    threshold_images: int = option("training images for threshold balancing", minimum=1)
    last_threshold: float = option(
        "threshold of the last block as a share of the balanced one; 1: the paper's", minimum=0
    )
    fix_cnn_thresholds: bool = option("the thresholds are not trained with the weights")
    use_batch_norm: bool = option(
        "batch normalisation of the network without spikes", default=False, kw_only=True
    )


@dataclass(frozen=True)
class MemoryTrainingSettings(PairsTrainingSettings):
    """Optimisation of a memory behind converted networks."""

    lost_spikes: float = option(
        "share of the stored spikes that training loses, others every time, with --freeze_protonet",
        default=0.0,
        minimum=0,
        maximum=0.9,
    )


@dataclass(frozen=True)
class Stored:
    """What the memory's network gets of the recordings or images that samples use.

    Attributes:
        numbers: (U,) int64, of these, in ascending order. values: (U, ...) of each.
    """

    numbers: Tensor
    values: Tensor

    def __call__(self, numbers: Tensor) -> Tensor:
        """The values (..., ...) of any numbers (...) among them."""
        return self.values[torch.searchsorted(self.numbers, numbers.contiguous())]


def lose_spikes(
    settings: Any, split: str, generator: Generator, *trains: Tensor
) -> tuple[Tensor, ...]:
    """What training gets of the stored spikes of a batch; all of them in validation and test.

    Args:
        settings: of a task, with sections ``cnn`` and ``training``. split: of the samples.
        generator: of which spikes are lost. trains: packed, of the whole batch.
    """
    stored = settings.cnn.freeze_protonet and not settings.relu
    share = settings.training.lost_spikes if stored and split == "train" else 0.0
    return tuple(thinned(bits, share, generator) for bits in trains)


def answers(encoder: nn.Module | None, items: Tensor, n_features: int, spiking: bool) -> Tensor:
    """What a memory gets of images or recordings (N, n, ...): (N, n, T, n_features) spikes, or
    (N, n, 1, n_features) activities.

    Args:
        encoder: trained with the memory; None: ``items`` are the stored answers, packed spikes or
            features, of one that is not.
    """
    if encoder is not None:
        found = encoder(items.flatten(0, 1)).unflatten(0, items.shape[:2])
    else:
        found = unpack(items, n_features) if spiking else items
    return found if spiking else found[:, :, None]


@torch.no_grad()
def features(encoder: nn.Module, images: Tensor) -> Tensor:
    """Outputs (N, F) of a network that is not trained, for images (N, H, W)."""
    encoder.eval()
    return torch.cat([encoder(chunk) for chunk in images.split(FEATURES_AT_ONCE)])


def pretrained(
    path: str | None, shipped: str, command: str, audio: bool | None = None
) -> Checkpoint:
    """The checkpoint at a path, or the shipped one of this name, where that is not there one's own,
    which ``command`` makes.

    Args:
        audio: a classifier of spoken or of written digits is wanted; None: a prototypical network.

    Raises :class:`NotThereError` where there is none, :class:`UserError` for another kind.
    """
    file = network_file(MODEL, shipped, CHECKPOINTS, or_own=True)
    if path is not None:
        file = find_network(MODEL, path)
    elif not file.exists():
        embedded = " --data embedded" if shipped.endswith("_embedded") else ""
        raise NotThereError(
            f"there is no trained network {shipped!r} to begin with; "
            f"python -m {command}{embedded} makes it"
        )
    found = load_checkpoint(file, model=MODEL)
    kind = found.metadata["data"].get("task")
    dataset = found.metadata["settings"].get("dataset")
    heard = dataset.get("audio") if isinstance(dataset, dict) and kind == "digits" else None
    if (kind, heard) != (("protonet" if audio is None else "digits"), audio):
        raise UserError(
            f"{file} is a network of the task {kind!r}"
            + ("" if heard is None else f" on {'spoken' if heard else 'written'} digits")
            + f"; one of python -m {command} is needed"
        )
    return found


@torch.no_grad()
def relu_encoder(
    cnn: FrontEndSettings,
    source: Checkpoint | None,
    generator: Generator,
    images: Tensor | None = None,
) -> ConvolutionalEncoder:
    """The network without spikes, with the weights of ``source`` if there is one.

    Args:
        cnn: settings. generator: of the start of the weights.
        images: (N, H, W); the last block's weights are scaled so that its largest activity for
            them is 1, which is what balanced thresholds do for spikes. None, or with batch
            normalisation: they are not.
    """
    encoder = ConvolutionalEncoder(cnn.channels, generator, batch_norm=cnn.use_batch_norm)
    if source is not None:
        copy_weights(source, encoder)
    if images is not None and not cnn.use_batch_norm:
        encoder.blocks[-1].weight /= features(encoder, images).max().clamp_min(1e-12)
    return encoder


def spiking_encoder(
    cnn: FrontEndSettings,
    network: NetworkSettings,
    num_time_steps: int,
    source: Checkpoint | None,
    images: Tensor,
    thresholds: Sequence[float],
    generator: Generator,
    backend: str = "auto",
    told: dict[str, Any] | None = None,
) -> tuple[SpikingEncoder, dict[str, Any]]:
    """The converted network, and what a checkpoint says of it; see ``conversion.convert``.

    Args:
        cnn, network: settings. num_time_steps: of an image.
        source: trained network, if there is one.
        images: training images, of which the first ``cnn.threshold_images`` balance the thresholds.
        thresholds: in place of balanced ones, where ``cnn.learn_if_thresholds`` is off.
        generator: of the start of the weights. backend: of the neurons.
        told: what a checkpoint says of it, from which balanced thresholds are taken.
    """
    neuron = network.neuron
    encoder = SpikingEncoder(
        cnn.channels,
        num_time_steps,
        neuron,
        IFParameters(
            neuron.thr, neuron.refractory_time_steps, neuron.perfect_reset, neuron.dampening_factor
        ),
        generator,
        not cnn.fix_cnn_thresholds,
        backend,
    )
    given = None if cnn.learn_if_thresholds else thresholds
    images = images[: cnn.threshold_images]
    return encoder, convert(encoder, source, images, given, cnn.last_threshold, told)
