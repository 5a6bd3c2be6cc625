"""Classifiers of written and of spoken digits, whose encoders are then converted to spikes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor, nn

from common.settings import option
from datasets.choices import DATA_CHOICES
from hebbian_snn.config import TrainingSettings, task_settings
from hebbian_snn.convnets.digits import (
    REAL_SOURCES,
    Digits,
    heard_rates,
    spoken_digits,
    written_digits,
)
from hebbian_snn.convnets.encoders import BLOCKS, ConvolutionalEncoder, LinearClassifier
from hebbian_snn.convnets.protonet import EncoderSettings
from hebbian_snn.memory import Answer
from hebbian_snn.tasks.cross_modal import CrossModalSettings
from hebbian_snn.training.task import Batch, SupervisedTask, shuffled


@dataclass(frozen=True)
class DigitData:
    """Which digits."""

    data: str = option(
        "MNIST and FSDD (real), 5 000 of MNIST's images and tones (embedded), or auto: "
        "the first if possible",
        choices=DATA_CHOICES,
    )
    audio: bool = option("spoken digits, not written ones")
    spoken_rates: bool = option(
        "spoken digits as the firing rates of the neurons that the cross-modal "
        "network's audio drives; 0: as coefficients of both signs, as in the paper"
    )
    num_mfcc: int = option("coefficients of a frame of speech", minimum=16)
    num_mfcc_time_samples: int = option("frames of a recording", minimum=16)


@dataclass(frozen=True)
class ClassifierSettings:
    """Everything about a classifier."""

    dataset: DigitData
    network: EncoderSettings
    training: TrainingSettings


class Classifier(nn.Module):
    """Scores of the ten digits."""

    def __init__(self, network: LinearClassifier, scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, images: Tensor) -> Answer:
        """(B, H, W), of any type of number, to (B, 10)."""
        return Answer(self.network(images * self.scale), {})


class ClassifierTask(SupervisedTask):
    """See :class:`hebbian_snn.training.task.SupervisedTask`."""

    name = "digits"
    settings_type = ClassifierSettings
    varied = ("data", "audio")

    @property
    def checkpoint_name(self) -> str:
        kind = "digits_audio" if self.settings.dataset.audio else "digits_image"
        return kind if self.digits("train").source in REAL_SOURCES else f"{kind}_embedded"

    def memory_needs(self) -> dict[str, float]:
        data, settings = self.settings.dataset, self.settings
        pixels = data.num_mfcc * data.num_mfcc_time_samples if data.audio else 28 * 28
        maps = 4.0 * settings.network.channels * pixels
        recordings = {"--num_mfcc, --num_mfcc_time_samples": 4.0 * 2700 * pixels}
        return {
            "--batch_size, --channels": settings.training.batch_size * maps,
            **(recordings if data.audio else {}),
        }

    def digits(self, split: str) -> Digits:
        """The samples of a split."""
        data = self.settings.dataset
        if data.audio:
            found = spoken_digits(split, data.data, data.num_mfcc, data.num_mfcc_time_samples)
            return found._replace(images=self._heard[split]) if data.spoken_rates else found
        return written_digits(split, data.data)

    @cached_property
    def _heard(self) -> dict[str, Tensor]:
        """The maps of spoken digits as firing rates."""
        data = self.settings.dataset
        network = task_settings(CrossModalSettings, "cross_modal", False, {})
        return {
            split: heard_rates(
                spoken_digits(split, data.data, data.num_mfcc, data.num_mfcc_time_samples).images,
                network.network.neuron,
                network.dataset.num_time_steps,
            )
            for split in ("train", "validation", "test")
        }

    def sizes(self) -> dict[str, int]:
        return {split: len(self.digits(split).labels) for split in ("train", "validation", "test")}

    def batch(self, split: str, epoch: int, samples: range, part: slice) -> Batch:
        """Inputs are (B, H, W) images, uint8 or float32; targets (B,) digits."""
        found = self.digits(split)
        chosen = torch.arange(samples.start, samples.stop)[part]
        if split == "train":
            chosen = shuffled(len(found.labels), self.seed, epoch, samples)[part]
        return Batch((found.images[chosen],), found.labels[chosen])

    def build(self, generator: Generator, backend: str = "auto") -> nn.Module:
        data, network = self.settings.dataset, self.settings.network
        side = (28, 28)
        if data.audio:
            side = data.num_mfcc_time_samples, data.num_mfcc
        n_features = network.channels * (side[0] >> BLOCKS) * (side[1] >> BLOCKS)
        encoder = ConvolutionalEncoder(
            network.channels, generator, network.bfloat16, network.use_batch_norm
        )
        classifier = LinearClassifier(encoder, n_features, 10, generator)
        return Classifier(classifier, 1.0 if data.audio else 1 / 255)

    def sources(self) -> dict[str, Any]:
        return self.digits("train").summary
