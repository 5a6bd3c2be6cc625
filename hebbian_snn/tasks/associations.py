"""Memorizing associations: pairs of a random vector and a label, then one of the vectors again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor, nn

from common.settings import option
from common.training import generator
from hebbian_snn.config import NetworkSettings, PairsTrainingSettings
from hebbian_snn.convnets.episodes import asked_places, kept_places
from hebbian_snn.layers import Embedding, LinearEmbedding, Output
from hebbian_snn.memory import Answer, NewMemory, Recalled, memory_of
from hebbian_snn.training.task import Batch, SupervisedTask, shuffled


@dataclass(frozen=True)
class AssociationsData:
    """The pairs."""

    sequence_length: int = option("pairs to remember", minimum=1)
    num_classes: int = option("labels to choose from", minimum=2)
    feature_size: int = option("numbers of a vector", minimum=1)
    inf_data: bool = option("new pairs in every training batch")
    dataset_seed: int = option(
        "random seed of validation and test samples, and of --inf_data 0", minimum=0
    )
    training_size: int = option("samples of an epoch", minimum=1)
    validation_size: int = option("validation samples", minimum=1)
    test_size: int = option("test samples", minimum=1)
    num_time_steps: int = option("steps of an item, ms", minimum=1)

    def __post_init__(self) -> None:
        if self.sequence_length > self.num_classes:
            raise ValueError(
                f"sequence_length is {self.sequence_length} and num_classes {self.num_classes}; "
                "no label comes twice, so there must be at least as many classes as pairs"
            )


@dataclass(frozen=True)
class AssociationsSettings:
    """Everything about one network for associations."""

    relu: bool = option("the twin without spikes")
    dataset: AssociationsData
    network: NetworkSettings
    training: PairsTrainingSettings

    def __post_init__(self) -> None:
        self.training.check_pairs(self.dataset.sequence_length)


class AssociationsNetwork(nn.Module):
    """Remembers pairs of vector and label, and names the label of one of the vectors.

    Args:
        data: with the sizes of vectors and labels. embedding_size: E. memory: spiking or ReLU.
        generator: random generator for the initial weights.
    """

    def __init__(
        self, data: AssociationsData, embedding_size: int, memory: NewMemory, generator: Generator
    ) -> None:
        super().__init__()
        self.vectors = LinearEmbedding(data.feature_size, embedding_size, generator)
        self.labels = Embedding(data.num_classes, embedding_size, generator)
        self.memory = memory(2 * embedding_size, embedding_size)
        size = len(self.memory.read.weight)
        self.output = Output(size, data.num_classes, generator, self.memory.last)

    def activity(
        self, vectors: Tensor, labels: Tensor, query: Tensor
    ) -> tuple[dict[str, Tensor], Recalled]:
        """The (B, T, E) spikes, or (B, items, E) activities, of ``vectors``, ``labels`` and
        ``query``, and the memory's."""
        encode = self.memory.encode
        encoded = {
            "vectors": encode(self.vectors(vectors)),
            "labels": encode(self.labels(labels)),
            "query": encode(self.vectors(query)[:, None]),
        }
        facts = torch.cat([encoded["vectors"], encoded["labels"]], 2)
        return encoded, self.memory(facts, encoded["query"])

    def forward(self, vectors: Tensor, labels: Tensor, query: Tensor) -> Answer:
        """(N, n, F) vectors, (N, n) labels and (B, F) queries, the same number for each sample, one
        after the other, to (B, labels) scores."""
        encoded, recalled = self.activity(vectors, labels, query)
        asked = {"query": encoded.pop("query")}
        rates = self.memory.rates(encoded, recalled, vectors.shape[1], asked)
        return Answer(self.output(recalled.read["values"]), rates)


class AssociationsTask(SupervisedTask):
    """See :class:`hebbian_snn.training.task.SupervisedTask`."""

    name = "associations"
    settings_type = AssociationsSettings
    varied = ("sequence_length", "num_classes")
    may_differ = ("dataset.sequence_length", "dataset.test_size", "dataset.dataset_seed")

    @property
    def checkpoint_name(self) -> str:
        data = self.settings.dataset
        twin = "relu_" if self.settings.relu else ""
        silent = "_no_memory" if self.settings.network.gamma_pos == 0 else ""
        classes = f"_of_{data.num_classes}" if data.num_classes != data.sequence_length else ""
        return f"associations_{twin}{data.sequence_length}{classes}{silent}"

    def sizes(self) -> dict[str, int]:
        data = self.settings.dataset
        return {
            "train": data.training_size,
            "validation": data.validation_size,
            "test": data.test_size,
        }

    def memory_needs(self) -> dict[str, float]:
        data = self.settings.dataset
        of_pair = 4.0 * data.feature_size
        sizes = {
            "--training_size": self.settings.training.batch_size
            if data.inf_data
            else data.training_size,
            "--validation_size": data.validation_size,
            "--test_size": data.test_size,
        }
        of_sample = data.sequence_length * of_pair + 12.0 * data.num_classes
        stored = {flag: size * of_sample for flag, size in sizes.items()}
        weights = 16.0 * self.settings.network.embedding_size * (data.feature_size + 1)
        return {**super().memory_needs(), **stored, "--feature_size, --embedding_size": weights}

    @property
    def pairs(self) -> int:
        return self.settings.dataset.sequence_length

    def batch(
        self, split: str, epoch: int, samples: range, part: slice, pairs: int | None = None
    ) -> Batch:
        """Inputs are (B, n, F) vectors, (B, n) labels and (B, F) queries; targets (B,) labels.

        With ``pairs``, n is only that. In training the queries of a sample are ``--queries``, one
        after the other, as far as it has so many pairs.
        """
        whole = self._whole_batch(split, epoch, samples)
        if pairs is not None and pairs < self.pairs:
            draw = generator(self.seed, "kept", epoch, samples.start)
            whole = fewer_pairs(whole, pairs, draw)
        (vectors, labels, query), targets = whole
        if split == "train" and self.settings.training.queries > 1:
            draw = generator(self.seed, "queries", epoch, samples.start)
            asked = more_places(whole, self.settings.training.queries, draw)
            rows = torch.arange(len(labels))[:, None]
            query, targets = vectors[rows, asked][part], labels[rows, asked][part]
            inputs = (vectors[part], labels[part], query.flatten(0, 1))
            return Batch(inputs, targets.flatten())
        return Batch((vectors[part], labels[part], query[part]), targets[part])

    def _whole_batch(self, split: str, epoch: int, samples: range) -> Batch:
        data = self.settings.dataset
        if split == "train" and data.inf_data:
            draw = generator(self.seed, "pairs", epoch, samples.start)
            return draw_pairs(len(samples), data, draw)
        if split == "train":
            chosen = shuffled(data.training_size, self.seed, epoch, samples)
        else:
            chosen = torch.arange(samples.start, samples.stop)
        inputs, targets = self._stored[split]
        return Batch(tuple(x[chosen] for x in inputs), targets[chosen])

    @cached_property
    def _stored(self) -> dict[str, Batch]:
        data = self.settings.dataset
        return {
            split: draw_pairs(size, data, generator(data.dataset_seed, split))
            for split, size in self.sizes().items()
        }

    def build(self, generator: Generator, backend: str = "auto") -> nn.Module:
        data, network = self.settings.dataset, self.settings.network
        size, relu = network.embedding_size, self.settings.relu
        memory = memory_of(relu, data.num_time_steps, network, generator, size, backend)
        return AssociationsNetwork(data, size, memory, generator)


def draw_pairs(count: int, data: AssociationsData, draw: Generator) -> Batch:
    """Random samples: vectors uniform in [0, 1), labels without repetition, and which is asked."""
    n = data.sequence_length
    vectors = torch.rand(count, n, data.feature_size, generator=draw)
    labels = torch.rand(count, data.num_classes, generator=draw).argsort(1)[:, :n]
    asked = torch.randint(n, (count,), generator=draw)
    rows = torch.arange(count)
    query: Tensor = vectors[rows, asked]
    return Batch((vectors, labels, query), labels[rows, asked])


def fewer_pairs(batch: Batch, pairs: int, draw: Generator) -> Batch:
    """The same questions with ``pairs`` of the pairs, the one that is asked among them."""
    vectors, labels, query = batch.inputs
    rows = torch.arange(len(labels))[:, None]
    kept = kept_places(_asked(batch), labels.shape[1], pairs, draw)
    return Batch((vectors[rows, kept], labels[rows, kept], query), batch.targets)


def more_places(batch: Batch, queries: int, draw: Generator) -> Tensor:
    """(B, K) places of pairs to ask for, the batch's own question first; K is ``queries``, or the
    number of pairs where that is smaller."""
    n = batch.inputs[1].shape[1]
    return asked_places(_asked(batch), n, min(queries, n), draw)


def _asked(batch: Batch) -> Tensor:
    """(B,) places of the pairs that the samples ask for."""
    return (batch.inputs[1] == batch.targets[:, None]).int().argmax(1)
