"""Prototypical networks on Omniglot: an image belongs to the class whose mean is the nearest.

Snell, Swersky, Zemel, *Prototypical networks for few-shot learning*, NeurIPS 2017.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from common.settings import option
from common.training import generator
from datasets.choices import DATA_CHOICES
from datasets.omniglot import DRAWINGS, Characters, load_omniglot
from hebbian_snn.config import TrainingSettings
from hebbian_snn.convnets.encoders import ConvolutionalEncoder
from hebbian_snn.convnets.episodes import prototypical
from hebbian_snn.memory import Answer
from hebbian_snn.training.task import Batch, SupervisedTask


@dataclass(frozen=True)
class CharacterData:
    """Which characters, and how they lie."""

    data: str = option(
        "Omniglot (real), stroke characters (embedded), or auto: the first if possible",
        choices=DATA_CHOICES,
    )
    exchange_axes: bool = option(
        "rows and columns of the images are exchanged, as in the published nets"
    )
    dir: str | None = option("folder of data that are not in $SNN_DATA; none: datasets/files")


@dataclass(frozen=True)
class EpisodeSettings:
    """Episodes of training, of validation and of test."""

    way: int = option("classes of a training episode", minimum=2)
    shot: int = option("images that give the mean of a class", minimum=1)
    queries: int = option("other images of a class in training", minimum=1)
    iterations: int = option("training episodes of an epoch", minimum=1)
    evaluated_way: int = option("classes of other episodes", minimum=2)
    evaluated_queries: int = option("queries of a class in them", minimum=1)
    validation_size: int = option("validation episodes", minimum=1)
    test_size: int = option("test episodes", minimum=1)
    dataset_seed: int = option("random seed of validation and test episodes", minimum=0)


@dataclass(frozen=True)
class EncoderSettings:
    """The convolutional network."""

    channels: int = option("channels of every layer", minimum=1)
    bfloat16: bool = option("products in bfloat16, where the processor is fast at it")
    use_batch_norm: bool = option(
        "batch normalisation; such a network cannot be converted to spikes", default=False
    )


@dataclass(frozen=True)
class ProtonetSettings:
    """Everything about a prototypical network."""

    dataset: CharacterData
    episodes: EpisodeSettings
    network: EncoderSettings
    training: TrainingSettings


@functools.cache
def characters(split: str, settings: CharacterData) -> Characters:
    """The classes of a split; loaded once."""
    folder = Path(settings.dir) if settings.dir else None
    return load_omniglot(split, settings.data, settings.exchange_axes, folder)


def about_characters(split: str, settings: CharacterData) -> dict[str, Any]:
    """What a checkpoint says of its training images."""
    found = characters(split, settings)
    return {
        "source": found.source,
        "split": split,
        "classes": len(found.names),
        "sha256": hashlib.sha256(found.images.numpy()).hexdigest(),
    }


class ProtoNet(nn.Module):
    """Compares queries with the means of their episode's classes."""

    def __init__(self, encoder: nn.Module, shot: int) -> None:
        super().__init__()
        self.encoder, self.shot = encoder, shot

    def forward(self, images: Tensor) -> Answer:
        """(B, way, shot + queries, H, W) images, the supports first, to (B, way * queries, way)
        scores, minus the squared distances; queries are sorted by class."""
        found = self.encoder(images.flatten(0, 2)).unflatten(0, images.shape[:3])
        scores = prototype_scores(found[:, :, : self.shot], found[:, :, self.shot :])
        return Answer(scores, {})


def prototype_scores(support: Tensor, queries: Tensor) -> Tensor:
    """Minus the squared distances of queries to the classes' means.

    Args:
        support: (B, way, shot, D). queries: (B, way, queries, D).

    Returns:
        (B, way * queries, way).
    """
    means = support.mean(2)
    apart = queries.flatten(1, 2)[:, :, None] - means[:, None]
    return -apart.square().sum(3)


class ProtonetTask(SupervisedTask):
    """A sample is an episode; see :class:`hebbian_snn.training.task.SupervisedTask`."""

    name = "protonet"
    settings_type = ProtonetSettings
    may_differ = ("episodes.test_size", "episodes.dataset_seed", "dataset.data", "dataset.dir")

    @property
    def checkpoint_name(self) -> str:
        real = characters("train", self.settings.dataset).source == "Omniglot"
        return "protonet" if real else "protonet_embedded"

    def memory_needs(self) -> dict[str, float]:
        settings, shown = self.settings, self.settings.episodes
        tested = shown.evaluated_way * (shown.shot + shown.evaluated_queries)
        images = max(shown.way * (shown.shot + shown.queries), tested)
        maps = 4.0 * 28 * 28 * settings.network.channels
        return {"--batch_size, --way, --queries": settings.training.batch_size * images * maps}

    def sizes(self) -> dict[str, int]:
        episodes = self.settings.episodes
        return {
            "train": episodes.iterations,
            "validation": episodes.validation_size,
            "test": episodes.test_size,
        }

    def batch(self, split: str, epoch: int, samples: range, part: slice) -> Batch:
        """Inputs are (B, way, shot + queries, H, W) uint8; targets (B, way * queries)."""
        if split == "train":
            draw = generator(self.seed, "episodes", epoch, samples.start)
            numbers = self._draw(split, len(samples), draw)[part]
        else:
            numbers = self._stored[split][samples.start : samples.stop][part]
        images = self.images(split).flatten(0, 1)[numbers]
        way, queries = images.shape[1], images.shape[2] - self.settings.episodes.shot
        targets = torch.arange(way).repeat_interleave(queries).expand(len(images), -1)
        return Batch((images,), targets)

    def images(self, split: str) -> Tensor:
        """(C, 20, 28, 28) uint8 of the classes of a split."""
        name = "val" if split == "validation" else split
        return characters(name, self.settings.dataset).images

    def _draw(self, split: str, n: int, draw: Generator) -> Tensor:
        """Numbers of the images of ``n`` episodes, (n, way, shot + queries)."""
        settings, training = self.settings.episodes, split == "train"
        drawn = prototypical(
            n,
            classes=len(self.images(split)),
            drawings=DRAWINGS,
            way=settings.way if training else settings.evaluated_way,
            shot=settings.shot,
            queries=settings.queries if training else settings.evaluated_queries,
            generator=draw,
        )
        return torch.cat(drawn, 2)

    @functools.cached_property
    def _stored(self) -> dict[str, Tensor]:
        seed, sizes = self.settings.episodes.dataset_seed, self.sizes()
        return {
            split: self._draw(split, sizes[split], generator(seed, split))
            for split in ("validation", "test")
        }

    def build(self, generator: Generator, backend: str = "auto") -> nn.Module:
        network = self.settings.network
        encoder = ConvolutionalEncoder(
            network.channels, generator, network.bfloat16, network.use_batch_norm
        )
        return ProtoNet(encoder, self.settings.episodes.shot)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of each episode's queries, (B,)."""
        losses = functional.cross_entropy(outputs.mT, targets, reduction="none")
        return losses.mean(1)

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Share of each episode's queries that are nearest to their class, (B,)."""
        return (outputs.argmax(2) == targets).float().mean(1)

    def sources(self) -> dict[str, Any]:
        return about_characters("train", self.settings.dataset)
