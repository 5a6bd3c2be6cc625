"""One-shot learning on Omniglot: five characters with a label each, then another drawing of one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor, nn

from common.checkpoints import Checkpoint
from common.settings import option
from common.training import generator as seeded
from datasets.omniglot import DRAWINGS
from hebbian_snn.config import NetworkSettings
from hebbian_snn.convnets.encoders import ConvolutionalEncoder
from hebbian_snn.convnets.episodes import (
    OneShot,
    another_of_class,
    asked_places,
    kept_places,
    one_shot,
)
from hebbian_snn.convnets.front_end import (
    FrontEndSettings,
    MemoryTrainingSettings,
    Stored,
    answers,
    features,
    lose_spikes,
    pretrained,
    relu_encoder,
    spiking_encoder,
)
from hebbian_snn.convnets.protonet import CharacterData, about_characters, characters
from hebbian_snn.convnets.spike_cache import cached_trains
from hebbian_snn.convnets.spiking_cnn import SpikingEncoder
from hebbian_snn.layers import Embedding, Output
from hebbian_snn.memory import Answer, NewMemory, Recalled, beside, memory_of
from hebbian_snn.training.task import Batch, SupervisedTask


@dataclass(frozen=True)
class OmniglotData(CharacterData):
    """Characters and episodes."""

    num_classes: int = option("images and labels of an episode", minimum=2)
    iterations: int = option("batches of an epoch", minimum=1)
    validation_size: int = option("validation episodes", minimum=1)
    test_size: int = option("test episodes", minimum=1)
    sampler_seed: int = option("random seed of the episodes", minimum=0)
    num_time_steps: int = option("steps of an item, ms", minimum=1)
    pin_data_to_memory: bool = option("accepted, without effect: the images always lie in memory")


@dataclass(frozen=True)
class CNNSettings(FrontEndSettings):
    """The convolutional network before the memory."""

    use_pretrained_protonet: bool = option("start with the weights of a prototypical network")
    protonet_checkpoint_path: str | None = option(
        "ProtoNet of --use_pretrained_protonet; none: the one of pretrain_protonet"
    )
    if_thresholds: tuple[float, ...] = option(
        "thresholds of the four blocks, for --learn_if_thresholds 0"
    )


@dataclass(frozen=True)
class OmniglotSettings:
    """Everything about one network for one-shot learning."""

    relu: bool = option("the twin without spikes")
    dataset: OmniglotData
    cnn: CNNSettings
    network: NetworkSettings
    training: MemoryTrainingSettings

    def __post_init__(self) -> None:
        self.training.check_pairs(self.dataset.num_classes)


class OneShotNetwork(nn.Module):
    """Writes images with their labels, then reads with another image.

    Args:
        n_features: outputs of the convolutional network. n_labels: outputs.
        embedding_size: of a label. memory: spiking or ReLU.
        generator: random generator for the initial weights.
        encoder: convolutional network that is trained with the memory; None: the inputs are the
            stored spikes or features of one that is not.
    """

    def __init__(
        self,
        n_features: int,
        n_labels: int,
        embedding_size: int,
        memory: NewMemory,
        generator: Generator,
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.encoder = encoder
        self.labels = Embedding(n_labels, embedding_size, generator)
        self.memory = memory(n_features + embedding_size, n_features)
        self.output = Output(len(self.memory.read.weight), n_labels, generator, self.memory.last)

    def activity(
        self, images: Tensor, labels: Tensor, query: Tensor
    ) -> tuple[dict[str, Tensor], Recalled]:
        """The (B, T, neurons) spikes or activities of ``images``, ``labels`` and ``query``, and the
        memory's."""
        both, n = beside(images, query), images.shape[1]
        seen = answers(self.encoder, both, self.n_features, self.memory.spiking)
        encoded = {
            "images": seen[:, :n].flatten(1, 2),
            "labels": self.memory.encode(self.labels(labels)),
            "query": seen[:, n:].flatten(0, 1),
        }
        facts = torch.cat([encoded["images"], encoded["labels"]], 2)
        return encoded, self.memory(facts, encoded["query"])

    def forward(self, images: Tensor, labels: Tensor, query: Tensor) -> Answer:
        """Images (N, n, H, W), their packed spikes (N, n, T, bytes) or features (N, n, F), labels
        (N, n), and B queries, the same number for each sample, one after the other, to scores
        (B, labels)."""
        encoded, recalled = self.activity(images, labels, query)
        asked = {"query": encoded.pop("query")}
        if self.encoder is None:  # no gradient would lower these rates
            encoded.pop("images")
            asked = {}
        rates = self.memory.rates(encoded, recalled, labels.shape[1], asked)
        return Answer(self.output(recalled.read["values"]), rates)


class OmniglotTask(SupervisedTask):
    """See :class:`hebbian_snn.training.task.SupervisedTask`."""

    name = "omniglot"
    settings_type = OmniglotSettings
    varied = ("data", "dir", "pin_data_to_memory", "protonet_checkpoint_path")
    may_differ = (
        "dataset.data",
        "dataset.dir",
        "dataset.test_size",
        "dataset.sampler_seed",
        "dataset.pin_data_to_memory",
        "cnn.protonet_checkpoint_path",
    )

    @property
    def checkpoint_name(self) -> str:
        settings = self.settings
        real = characters("train", settings.dataset).source == "Omniglot"
        parts = {
            "relu": settings.relu,
            "frozen": settings.cnn.freeze_protonet,
            "no_memory": settings.network.gamma_pos == 0,
            "embedded": not real,
        }
        return "_".join(["omniglot", *(part for part, given in parts.items() if given)])

    # ---- episodes ---------------------------------------------------------------------------

    def sizes(self) -> dict[str, int]:
        data = self.settings.dataset
        return {
            "train": data.iterations * self.settings.training.batch_size,
            "validation": data.validation_size,
            "test": data.test_size,
        }

    @property
    def pairs(self) -> int:
        return self.settings.dataset.num_classes

    def batch(
        self, split: str, epoch: int, samples: range, part: slice, pairs: int | None = None
    ) -> Batch:
        """Inputs are images (B, n, ...), labels (B, n) and a query (B, ...); targets (B,) labels.

        An image is (H, W) uint8 where its network is trained, else (T, bytes) packed spikes, or
        (F,) features for the twin. With ``pairs``, n is only that: some of the classes, in order.
        In training the queries of a sample are ``--queries``, as in associations.
        """
        shown, query, targets = self.episodes(split, epoch, samples)
        labels = torch.arange(shown.shape[1]).expand(len(shown), -1)
        if pairs is not None and pairs < self.pairs:
            draw = seeded(
                self.settings.dataset.sampler_seed, "kept", self.seed, epoch, samples.start
            )
            labels = kept_places(targets, self.pairs, pairs, draw)
            shown = shown.gather(1, labels)
        queries = min(self.settings.training.queries, labels.shape[1]) if split == "train" else 1
        if queries > 1:
            query, targets = self._more(shown, labels, query, targets, queries, epoch, samples)
        stored = self._stored(split)
        draw = seeded(self.settings.dataset.sampler_seed, "lost", self.seed, epoch, samples.start)
        seen, asked = lose_spikes(self.settings, split, draw, stored(shown), stored(query))
        seen, asked, labels, targets = (x[part] for x in (seen, asked, labels, targets))
        if queries > 1:
            asked, targets = asked.flatten(0, 1), targets.flatten()
        return Batch((seen, labels, asked), targets)

    def _more(
        self,
        shown: Tensor,
        labels: Tensor,
        query: Tensor,
        targets: Tensor,
        queries: int,
        epoch: int,
        samples: range,
    ) -> tuple[Tensor, Tensor]:
        """``queries`` images (N, K) to ask with and their labels, of different classes among those
        shown; the first are ``query`` and ``targets``, (N,)."""
        draw = seeded(
            self.settings.dataset.sampler_seed, "queries", self.seed, epoch, samples.start
        )
        first = (labels == targets[:, None]).int().argmax(1)
        places = asked_places(first, labels.shape[1], queries, draw)
        classes = torch.arange(len(self.images("train"))) // DRAWINGS
        more = another_of_class(shown.gather(1, places), classes, draw)
        more[:, 0] = query
        return more, labels.gather(1, places)

    def episodes(self, split: str, epoch: int, samples: range) -> OneShot:
        """The numbers of the images of a batch."""
        if split != "train":
            first, last = samples.start, samples.stop
            return OneShot(*(x[first:last] for x in self._episodes[split]))
        seed = self.settings.dataset.sampler_seed
        draw = seeded(seed, "train", self.seed, epoch, samples.start)
        return self._draw(split, len(samples), draw)

    def _draw(self, split: str, n: int, draw: Generator) -> OneShot:
        way = self.settings.dataset.num_classes
        classes = len(self.images(split)) // DRAWINGS
        return one_shot(n, classes=classes, drawings=DRAWINGS, way=way, generator=draw)

    @cached_property
    def _episodes(self) -> dict[str, OneShot]:
        seed, sizes = self.settings.dataset.sampler_seed, self.sizes()
        return {
            split: self._draw(split, sizes[split], seeded(seed, split))
            for split in ("validation", "test")
        }

    # ---- images -----------------------------------------------------------------------------

    def images(self, split: str) -> Tensor:
        """The drawings of a split, class by class, (C * 20, H, W) uint8; 1 is ink."""
        name = "val" if split == "validation" else split
        return characters(name, self.settings.dataset).images.flatten(0, 1)

    def _stored(self, split: str) -> Stored:
        if split not in self._answers:
            self._answers[split] = self._compute(split)
        return self._answers[split]

    @cached_property
    def _answers(self) -> dict[str, Stored]:
        return {}

    def _compute(self, split: str) -> Stored:
        """Of all training images, and of those that the stored episodes use."""
        images = self.images(split)
        used = torch.arange(len(images))
        if split != "train":
            episodes = self._episodes[split]
            used = torch.cat([episodes.images, episodes.query[:, None]], 1).unique()
        images = images[used]
        if not self.settings.cnn.freeze_protonet:
            return Stored(used, images)
        if self.settings.relu:
            encoder = self.relu_encoder(seeded(self.seed, "encoder"))
            return Stored(used, features(encoder, images))
        encoder, _ = self._frozen
        return Stored(used, cached_trains(encoder, images, f"omniglot_{split}"))

    # ---- networks ---------------------------------------------------------------------------

    def build(self, generator: Generator, backend: str = "auto") -> nn.Module:
        settings = self.settings
        way, frozen = settings.dataset.num_classes, settings.cnn.freeze_protonet
        n_features = settings.cnn.channels  # 28 pixels, halved four times, are one
        encoder: nn.Module | None = None
        if not frozen and settings.relu:
            encoder = self.relu_encoder(generator)
        elif not frozen:
            encoder = self._spiking_encoder(generator, backend)[0]
        network, steps = settings.network, settings.dataset.num_time_steps
        memory = memory_of(settings.relu, steps, network, generator, backend=backend)
        size = network.embedding_size
        return OneShotNetwork(n_features, way, size, memory, generator, encoder)

    def pretrained(self) -> Checkpoint | None:
        """The prototypical network, None where none is wanted."""
        if not self.settings.cnn.use_pretrained_protonet:
            return None
        real = characters("train", self.settings.dataset).source == "Omniglot"
        shipped = "protonet" if real else "protonet_embedded"
        path = self.settings.cnn.protonet_checkpoint_path
        return pretrained(path, shipped, "hebbian_snn.pretrain_protonet")

    def relu_encoder(self, generator: Generator) -> ConvolutionalEncoder:
        return relu_encoder(self.settings.cnn, self.pretrained(), generator)

    def _spiking_encoder(
        self, generator: Generator, backend: str = "auto"
    ) -> tuple[SpikingEncoder, dict[str, Any]]:
        """The converted network, and what a checkpoint says of it."""
        settings = self.settings
        images = self.images("train")
        order = torch.randperm(len(images), generator=seeded(settings.dataset.sampler_seed))
        return spiking_encoder(
            settings.cnn,
            settings.network,
            settings.dataset.num_time_steps,
            self.pretrained(),
            images[order[: settings.cnn.threshold_images]],
            settings.cnn.if_thresholds,
            generator,
            backend,
            self.told.get("cnn"),
        )

    @cached_property
    def _frozen(self) -> tuple[SpikingEncoder, dict[str, Any]]:
        return self._spiking_encoder(seeded(self.seed, "encoder"))

    @property
    def is_bound(self) -> bool:
        return self.settings.cnn.freeze_protonet

    def sources(self) -> dict[str, Any]:
        return about_characters("train", self.settings.dataset)

    def front_ends(self) -> dict[str, Any]:
        trained = self.pretrained()
        return {"cnn": {"checkpoint": trained.sha256 if trained else None}}

    def data_summary(self) -> dict[str, Any]:
        cnn = {"trained": not self.settings.cnn.freeze_protonet, **self.front_ends()["cnn"]}
        if not self.settings.relu:
            cnn |= self._frozen[1]
        return {**self.sources(), "cnn": cnn}
