"""Cross-modal associations: spoken digits with images, then one of the digits is heard again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from common.checkpoints import Checkpoint
from common.settings import option
from common.training import generator as seeded
from datasets.choices import DATA_CHOICES
from hebbian_snn.config import NetworkSettings
from hebbian_snn.convnets.digits import (
    REAL_SOURCES,
    Digits,
    heard_rates,
    spoken_digits,
    written_digits,
)
from hebbian_snn.convnets.encoders import BLOCKS
from hebbian_snn.convnets.episodes import (
    PAIRINGS,
    CrossModal,
    another_of_class,
    asked_places,
    cross_modal,
    kept_places,
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
from hebbian_snn.convnets.spike_cache import cached_trains
from hebbian_snn.convnets.spiking_cnn import SpikingEncoder
from hebbian_snn.layers import SpikingLinear, start_weight
from hebbian_snn.memory import Answer, NewMemory, Recalled, beside, memory_of
from hebbian_snn.rates import firing_rates
from hebbian_snn.training.task import Batch, SupervisedTask, shuffled

MODALITIES = ("audio", "image")

HIDDEN = 256
"""Neurons of the decoder's first layer."""

PIXELS = 784
"""Neurons of its second one: the image drawn."""

FULL_BLACK = 15
"""Spikes of a neuron in a trial that make its pixel 1."""


@dataclass(frozen=True)
class CrossModalData:
    """Digits and episodes."""

    data: str = option(
        "MNIST and FSDD (real), 5 000 of MNIST's images and tones (embedded), or auto: "
        "the first if possible",
        choices=DATA_CHOICES,
    )
    sequence_length: int = option("pairs to remember", minimum=1)
    train_classes: tuple[int, ...] = option(
        "digits of training and validation", minimum=0, maximum=9
    )
    test_classes: tuple[int, ...] = option("digits of the test", minimum=0, maximum=9)
    dataset_size: int = option("training samples", minimum=1)
    validation_size: int = option("validation samples", minimum=1)
    test_size: int = option("test samples", minimum=1)
    num_mfcc: int = option("coefficients of a frame of speech", minimum=16)
    num_mfcc_time_samples: int = option("frames of a recording", minimum=16)
    data_seed: int = option("random seed of the samples", minimum=0)
    num_time_steps: int = option("steps of an item, ms", minimum=1)
    fixed_episodes: bool = option(
        "the same training samples in every epoch, with images of any digits; 0: drawn "
        "anew, with the digits of the recordings in another order",
        default=True,
    )
    image_pool: int | None = option(
        "training images to draw from with --freeze_protonet, whose spikes are "
        "computed once (none: all)",
        default=None,
        minimum=100,
    )
    test_pairing: str = option(
        "images of the test: of any digits, those of the recordings in another order, "
        "or each of the digit that is heard",
        default="any",
        choices=PAIRINGS,
    )

    def __post_init__(self) -> None:
        for name in ("train_classes", "test_classes"):
            digits = getattr(self, name)
            if len(set(digits)) < max(len(digits), self.sequence_length):
                raise ValueError(
                    f"{name} are {', '.join(map(str, digits))}; give different digits, at least as "
                    "many as --sequence_length"
                )


@dataclass(frozen=True)
class CrossModalCNNSettings(FrontEndSettings):
    """Both convolutional networks before the memory."""

    image_protonet_path: str | None = option(
        "classifier of written digits; none: that of pretrain_digit_classifier"
    )
    audio_protonet_path: str | None = option(
        "classifier of spoken digits; none: that of pretrain_digit_classifier"
    )
    image_if_thresholds: tuple[float, ...] = option(
        "thresholds of the four blocks, for --learn_if_thresholds 0"
    )
    audio_if_thresholds: tuple[float, ...] = option(
        "thresholds of the four blocks, for --learn_if_thresholds 0"
    )
    use_pretrained_protonet: bool = option(
        "start with the weights of classifiers of digits", default=True
    )


@dataclass(frozen=True)
class DecoderSettings:
    """What draws the image in the network without spikes."""

    decoder_bias: bool = option("ReLU network: biases in the decoder", default=False)
    decoder_sigmoid: bool = option("ReLU network: sigmoid pixels (0: ReLU)", default=False)


@dataclass(frozen=True)
class CrossModalSettings:
    """Everything about one network for cross-modal associations."""

    relu: bool = option("the twin without spikes")
    dataset: CrossModalData
    cnn: CrossModalCNNSettings
    network: NetworkSettings
    training: MemoryTrainingSettings
    decoder: DecoderSettings = DecoderSettings()

    def __post_init__(self) -> None:
        self.training.check_pairs(self.dataset.sequence_length)


class CrossModalNetwork(nn.Module):
    """Writes recordings with images, reads with another recording, and decodes the values.

    Args:
        n_features: outputs of each convolutional network.
        settings: of neurons and memory. memory: spiking or ReLU, which the decoder is, too.
        generator: random generator for the initial weights.
        audio, image: convolutional networks that are trained with the memory; None: the inputs are
            the stored spikes or features of networks that are not.
        decoder: of the ReLU decoder; biases start as PyTorch's. backend: of the spiking decoder.
    """

    def __init__(
        self,
        n_features: tuple[int, int],
        settings: NetworkSettings,
        memory: NewMemory,
        generator: Generator,
        audio: nn.Module | None = None,
        image: nn.Module | None = None,
        decoder: DecoderSettings = DecoderSettings(),
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.n_features, self.sigmoid = n_features, decoder.decoder_sigmoid
        self.audio, self.image = audio, image
        self.memory = memory(sum(n_features), n_features[0])
        size, neuron = settings.memory_size, settings.neuron
        if self.memory.spiking:
            self.hidden = SpikingLinear(size, HIDDEN, neuron, generator, backend)
            self.pixels = SpikingLinear(HIDDEN, PIXELS, neuron, generator, backend)
            return
        self.hidden = start_weight(HIDDEN, size, generator=generator)
        self.pixels = start_weight(PIXELS, HIDDEN, generator=generator)
        self.hidden_bias = self.pixels_bias = None
        if decoder.decoder_bias:
            self.hidden_bias = _start_bias(HIDDEN, size, generator)
            self.pixels_bias = _start_bias(PIXELS, HIDDEN, generator)

    def activity(
        self, spoken: Tensor, images: Tensor, query: Tensor
    ) -> tuple[dict[str, Tensor], Recalled, dict[str, Tensor]]:
        """The (B, T, neurons) spikes or activities of ``audio``, ``images`` and ``query``, the
        memory's, and the decoder's, ``hidden`` and ``pixels``."""
        both, n, spiking = beside(spoken, query), spoken.shape[1], self.memory.spiking
        heard = answers(self.audio, both, self.n_features[0], spiking)
        seen = answers(self.image, images, self.n_features[1], spiking)
        encoded = {
            "audio": heard[:, :n].flatten(1, 2),
            "images": seen.flatten(1, 2),
            "query": heard[:, n:].flatten(0, 1),
        }
        facts = torch.cat([encoded["audio"], encoded["images"]], 2)
        recalled = self.memory(facts, encoded["query"])
        return encoded, recalled, self.decode(recalled.read["values"])

    def decode(self, values: Tensor) -> dict[str, Tensor]:
        """The values read, (B, T, M), to the layers ``hidden`` and ``pixels``, (B, T, neurons)."""
        if self.memory.spiking:
            hidden, _ = self.hidden(values)
            return {"hidden": hidden, "pixels": self.pixels(hidden)[0]}
        hidden = functional.linear(values, self.hidden, self.hidden_bias).relu()
        pixels = functional.linear(hidden, self.pixels, self.pixels_bias)
        return {"hidden": hidden, "pixels": pixels.sigmoid() if self.sigmoid else pixels.relu()}

    def forward(self, spoken: Tensor, images: Tensor, query: Tensor) -> Answer:
        """Recordings (N, n, frames, coefficients) and images (N, n, H, W), or their packed spikes
        (N, n, T, bytes) or features (N, n, F), and B recordings as queries, the same number for
        each sample, one after the other, to images (B, 784)."""
        encoded, recalled, decoded = self.activity(spoken, images, query)
        if not self.memory.spiking:
            return Answer(decoded["pixels"][:, 0], {})
        asked = {"query": encoded.pop("query")}
        if self.audio is None:  # no gradient would lower these rates
            encoded, asked = {}, {}
        rates = self.memory.rates(encoded, recalled, spoken.shape[1], asked)
        steps = self.memory.num_time_steps
        rates |= {name: firing_rates(x, steps) for name, x in decoded.items()}
        return Answer(decoded["pixels"].sum(1) / FULL_BLACK, rates)


def _start_bias(n_outputs: int, n_inputs: int, generator: Generator) -> nn.Parameter:
    bound = n_inputs**-0.5
    return nn.Parameter(torch.empty(n_outputs).uniform_(-bound, bound, generator=generator))


class CrossModalTask(SupervisedTask):
    """See :class:`hebbian_snn.training.task.SupervisedTask`. Loss and score are the mean squared
    error of the pixels, whose range is 0 to 1."""

    name = "cross_modal"
    settings_type = CrossModalSettings
    loss_name = score_name = "mse"
    higher_is_better = False
    first_epoch_with_rates = 0
    varied = ("data", "image_protonet_path", "audio_protonet_path")
    may_differ = (
        "dataset.data",
        "dataset.test_classes",
        "dataset.test_size",
        "dataset.test_pairing",
        "dataset.dataset_size",
        "dataset.validation_size",
        "dataset.fixed_episodes",
        "dataset.image_pool",
        "cnn.image_protonet_path",
        "cnn.audio_protonet_path",
    )

    @property
    def checkpoint_name(self) -> str:
        settings = self.settings
        sources = {self.digits(modality, "train").source for modality in MODALITIES}
        parts = {
            "relu": settings.relu,
            "frozen": settings.cnn.freeze_protonet,
            "no_memory": settings.network.gamma_pos == 0,
            "embedded": not sources <= set(REAL_SOURCES),
        }
        return "_".join(["cross_modal", *(part for part, given in parts.items() if given)])

    # ---- samples ----------------------------------------------------------------------------

    def digits(self, modality: str, split: str) -> Digits:
        """Recordings ("audio") or images ("image") of a split."""
        data = self.settings.dataset
        if modality == "audio":
            return spoken_digits(split, data.data, data.num_mfcc, data.num_mfcc_time_samples)
        return written_digits(split, data.data)

    def sizes(self) -> dict[str, int]:
        data = self.settings.dataset
        return {
            "train": data.dataset_size,
            "validation": data.validation_size,
            "test": data.test_size,
        }

    def samples(self, split: str) -> CrossModal:
        """Which recordings and images every sample of a split consists of; with episodes that are
        drawn anew, not of training."""
        return self._samples[split]

    @cached_property
    def _samples(self) -> dict[str, CrossModal]:
        data = self.settings.dataset
        return {
            split: self._draw(split, size, seeded(data.data_seed, split))
            for split, size in self.sizes().items()
            if data.fixed_episodes or split != "train"
        }

    def _draw(self, split: str, n: int, draw: Generator) -> CrossModal:
        data = self.settings.dataset
        labels = self.digits("image", split).labels
        if split == "train" and not data.fixed_episodes:
            # Places that are not in the pool show no digit.
            labels = torch.full_like(labels, -1).scatter(0, self._pool, labels[self._pool])
        pairing = data.test_pairing
        if split != "test":
            pairing = "any" if data.fixed_episodes else "permuted"
        return cross_modal(
            n,
            spoken_labels=self.digits("audio", split).labels,
            image_labels=labels,
            classes=data.test_classes if split == "test" else data.train_classes,
            pairs=data.sequence_length,
            generator=draw,
            pairing=pairing,
        )

    @cached_property
    def _pool(self) -> Tensor:
        """The training images that new episodes are drawn from, in ascending order."""
        settings, count = self.settings, len(self.digits("image", "train").labels)
        pool = settings.dataset.image_pool
        if pool is None or settings.relu or not settings.cnn.freeze_protonet:
            return torch.arange(count)
        order = torch.randperm(count, generator=seeded(settings.dataset.data_seed, "pool"))
        return order[:pool].sort().values

    @property
    def pairs(self) -> int:
        return self.settings.dataset.sequence_length

    def batch(
        self, split: str, epoch: int, samples: range, part: slice, pairs: int | None = None
    ) -> Batch:
        """Inputs are recordings (B, n, ...), images (B, n, ...) and a query (B, ...); targets
        (B, 784) in 0 to 1.

        A recording or an image is as it is where its network is trained, else its (T, bytes) packed
        spikes, or (F,) features for the twin. With ``pairs``, n is only that. In training the
        queries of a sample are ``--queries``, as in associations.
        """
        spoken, images, query, asked = self._episodes(split, epoch, samples)
        wanted = images[torch.arange(len(images)), asked]
        if pairs is not None and pairs < self.pairs:
            draw = seeded(self.settings.dataset.data_seed, "kept", self.seed, epoch, samples.start)
            kept = kept_places(asked, self.pairs, pairs, draw)
            spoken, images = spoken.gather(1, kept), images.gather(1, kept)
        queries = min(self.settings.training.queries, images.shape[1]) if split == "train" else 1
        if queries > 1:
            seed = self.settings.dataset.data_seed
            draw = seeded(seed, "queries", self.seed, epoch, samples.start)
            query, wanted = self._more(spoken, images, query, wanted, queries, draw)
        heard, seen = (self._stored(modality, split) for modality in MODALITIES)
        draw = seeded(self.settings.dataset.data_seed, "lost", self.seed, epoch, samples.start)
        inputs = lose_spikes(self.settings, split, draw, heard(spoken), seen(images), heard(query))
        spoken, images, query = (x[part] for x in inputs)
        wanted = wanted[part]
        if queries > 1:
            query, wanted = query.flatten(0, 1), wanted.flatten()
        pixels = self.digits("image", split).images[wanted].flatten(1)
        return Batch((spoken, images, query), pixels.float() / 255)

    def _more(
        self,
        spoken: Tensor,
        images: Tensor,
        query: Tensor,
        wanted: Tensor,
        queries: int,
        draw: Generator,
    ) -> tuple[Tensor, Tensor]:
        """``queries`` recordings (N, K) to ask with and the images that they ask for; the first are
        ``query`` and ``wanted``, (N,). Recordings are among those that samples use."""
        first = (images == wanted[:, None]).int().argmax(1)
        places = asked_places(first, images.shape[1], queries, draw)
        used = self._stored("audio", "train").numbers
        labels = self.digits("audio", "train").labels[used]
        heard = torch.searchsorted(used, spoken.gather(1, places))
        more = used[another_of_class(heard, labels, draw)]
        more[:, 0] = query
        return more, images.gather(1, places)

    def _episodes(self, split: str, epoch: int, samples: range) -> CrossModal:
        data = self.settings.dataset
        if split == "train" and not data.fixed_episodes:
            draw = seeded(data.data_seed, "episodes", self.seed, epoch, samples.start)
            return self._draw(split, len(samples), draw)
        chosen = torch.arange(samples.start, samples.stop)
        if split == "train":
            chosen = shuffled(self.sizes()["train"], self.seed, epoch, samples)
        return CrossModal(*(x[chosen] for x in self.samples(split)))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(1)

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.losses(outputs, targets)

    # ---- what the networks get of a recording or an image -----------------------------------

    def _stored(self, modality: str, split: str) -> Stored:
        if (modality, split) not in self._answers:
            self._answers[modality, split] = self._compute(modality, split)
        return self._answers[modality, split]

    @cached_property
    def _answers(self) -> dict[tuple[str, str], Stored]:
        return {}

    def _compute(self, modality: str, split: str) -> Stored:
        if split == "train" and not self.settings.dataset.fixed_episodes:
            spoken = torch.arange(len(self.digits("audio", split).labels))
            used = self._pool if modality == "image" else spoken
        else:
            samples = self.samples(split)
            heard = torch.cat([samples.spoken, samples.query[:, None]], 1)
            used = (samples.images if modality == "image" else heard).unique()
        images = self.intensities(modality, split, used)
        if not self.settings.cnn.freeze_protonet:
            return Stored(used, images)
        if self.settings.relu:
            encoder = self._relu_encoder(modality, seeded(self.seed, modality))
            return Stored(used, features(encoder, images))
        encoder, _ = self._frozen[modality]
        return Stored(used, cached_trains(encoder, images, f"{modality}_{split}"))

    def intensities(self, modality: str, split: str, numbers: Tensor) -> Tensor:
        """Some recordings or images, (n, H, W) float32: the MFCC, or bytes / 255."""
        images = self.digits(modality, split).images[numbers]
        if modality == "image":
            return images / 255
        if self.settings.relu and self._twin_hears_rates:
            network, data = self.settings.network, self.settings.dataset
            return heard_rates(images, network.neuron, data.num_time_steps)
        return images

    @cached_property
    def _twin_hears_rates(self) -> bool:
        """Whether the classifier that the twin begins with was trained on firing rates."""
        classifier = self.pretrained("audio")
        return bool(classifier) and classifier.metadata["settings"]["dataset"]["spoken_rates"]

    # ---- networks ---------------------------------------------------------------------------

    @property
    def n_features(self) -> tuple[int, int]:
        """Outputs of the convolutional networks for recordings and for images."""
        data, channels = self.settings.dataset, self.settings.cnn.channels
        audio = (data.num_mfcc_time_samples >> BLOCKS) * (data.num_mfcc >> BLOCKS)
        return channels * audio, channels

    def build(self, generator: Generator, backend: str = "auto") -> nn.Module:
        settings = self.settings
        encoders: list[Any] = [None, None]
        if not settings.cnn.freeze_protonet:
            encoders = [self._encoder(modality, generator, backend) for modality in MODALITIES]
        network, steps = settings.network, settings.dataset.num_time_steps
        memory = memory_of(settings.relu, steps, network, generator, backend=backend)
        return CrossModalNetwork(
            self.n_features, network, memory, generator, *encoders, settings.decoder, backend
        )

    def _encoder(self, modality: str, generator: Generator, backend: str) -> nn.Module:
        if self.settings.relu:
            return self._relu_encoder(modality, generator)
        return self._spiking_encoder(modality, generator, backend)[0]

    def pretrained(self, modality: str) -> Checkpoint | None:
        """The classifier of a modality, None where none is wanted."""
        return self.classifier(modality) if self.settings.cnn.use_pretrained_protonet else None

    def classifier(self, modality: str) -> Checkpoint:
        """The classifier of a modality, whether or not the network begins with it."""
        real = self.digits(modality, "train").source in REAL_SOURCES
        shipped = f"digits_{modality}" if real else f"digits_{modality}_embedded"
        audio = " --audio" if modality == "audio" else ""
        path = getattr(self.settings.cnn, f"{modality}_protonet_path")
        command = f"hebbian_snn.pretrain_digit_classifier{audio}"
        return pretrained(path, shipped, command, audio=modality == "audio")

    def _relu_encoder(self, modality: str, generator: Generator) -> nn.Module:
        return relu_encoder(
            self.settings.cnn, self.pretrained(modality), generator, self._balancing(modality)
        )

    def _balancing(self, modality: str) -> Tensor:
        """The training recordings or images that thresholds are balanced on."""
        settings = self.settings
        count = len(self.digits(modality, "train").labels)
        order = torch.randperm(count, generator=seeded(settings.dataset.data_seed, "balancing"))
        return self.intensities(modality, "train", order[: settings.cnn.threshold_images])

    def _spiking_encoder(
        self, modality: str, generator: Generator, backend: str = "auto"
    ) -> tuple[SpikingEncoder, dict[str, Any]]:
        """The converted network of a modality, and what a checkpoint says of it."""
        settings = self.settings
        return spiking_encoder(
            settings.cnn,
            settings.network,
            settings.dataset.num_time_steps,
            self.pretrained(modality),
            self._balancing(modality),
            getattr(settings.cnn, f"{modality}_if_thresholds"),
            generator,
            backend,
            self.told.get(modality, {}).get("cnn"),
        )

    @cached_property
    def _frozen(self) -> dict[str, tuple[SpikingEncoder, dict[str, Any]]]:
        return {
            modality: self._spiking_encoder(modality, seeded(self.seed, modality))
            for modality in MODALITIES
        }

    @property
    def is_bound(self) -> bool:
        return self.settings.cnn.freeze_protonet

    def sources(self) -> dict[str, Any]:
        return {modality: self.digits(modality, "train").summary for modality in MODALITIES}

    def front_ends(self) -> dict[str, Any]:
        trained = {modality: self.pretrained(modality) for modality in MODALITIES}
        return {
            modality: {"cnn": {"checkpoint": classifier.sha256 if classifier else None}}
            for modality, classifier in trained.items()
        }

    def data_summary(self) -> dict[str, Any]:
        found: dict[str, Any] = {"cnn_trained": not self.settings.cnn.freeze_protonet}
        networks = self.front_ends()
        for modality, about in self.sources().items():
            found[modality] = {**about, **networks[modality]}
            if not self.settings.relu:
                found[modality]["cnn"] |= self._frozen[modality][1]
        return found
