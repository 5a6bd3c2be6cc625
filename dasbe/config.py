"""The settings of one dataset: what stands in ``dasbe/settings/<dataset>.yaml``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.memory import check_memory
from common.settings import load_settings, option
from datasets.catalogue import find

FOLDER = Path(__file__).parent / "settings"
_OTHERS = ("table", "figure")


@dataclass(frozen=True)
class NetworkSettings:
    """The autoencoder (paper, section 3.2)."""

    kind: str = option(
        "kind of autoencoder",
        choices=(
            "autoencoder",
            "convolutional",
            "spiking_code",
            "contrastive",
            "recurrent",
        ),
    )
    encoder_widths: tuple[int, ...] = option(
        "units of the encoder's layers; the last is the code", minimum=1
    )
    decoder_widths: tuple[int, ...] = option(
        "units of the decoder's layers from the code on", minimum=1
    )

    def __post_init__(self) -> None:
        if not self.encoder_widths or self.encoder_widths[-1:] != self.decoder_widths[:1]:
            raise ValueError(
                "encoder_widths must end with the number of code units that decoder_widths "
                "starts with"
            )


@dataclass(frozen=True)
class TrainingSettings:
    """Training on images of single objects."""

    objective: str = option(
        "what the network learns", choices=("reconstruction", "contrast", "next_frame")
    )
    loss: str = option(
        "binary cross-entropy, mean over batch and pixels or summed",
        choices=("bce_mean", "bce_sum"),
    )
    images: int = option("images of train_single to use", minimum=10)
    batch_size: int = option("images of an optimiser step", minimum=1)
    learning_rate: float = option("step size of Adam", minimum=0)
    milestones: dict[int, float] = option(
        "epoch=factor pairs by which the learning rate is multiplied"
    )
    epochs: int = option("epochs at most", minimum=1)
    patience: int = option("stop after so many epochs without a better validation", minimum=1)
    noise: tuple[float, float] = option(
        "pixels are zeroed with a probability drawn per batch from this range", minimum=0, maximum=1
    )
    steps_per_epoch: int | None = option(
        "optimiser steps of an epoch, on images drawn with replacement; "
        "none is one pass through the data",
        default=None,
        minimum=1,
    )
    choose: str = option(
        "keep the network with the best validation on noisy (fixed noise) or clean "
        "input, or the last one",
        default="noisy",
        choices=("noisy", "clean", "last"),
    )
    bfloat16: bool = option(
        "matrix products of the training in bfloat16 where the hardware has "
        "them (weights stay float32)",
        default=False,
    )
    contraction: float = option(
        "weight of the contractive penalty on the first layer", default=0.0, minimum=0
    )
    interference: float = option(
        "pixels of another image of the batch are set with a probability drawn per "
        "image up to this (reconstruction)",
        default=0.0,
        minimum=0,
        maximum=1,
    )
    salt: float = option("pixels are set with this probability", default=0.0, minimum=0, maximum=1)
    unroll: int = option("frames of truncated back-propagation", default=1, minimum=1)
    contrast_weight: float = option(
        "weight of the sum over all pairs of codes (contrast)", default=1.0, minimum=0
    )
    groups: tuple[str, ...] = option(
        "groups of the dataset whose sequences are learnt (next_frame)", default=("train_single",)
    )
    code_terms_from: int = option(
        "epoch from which on the following terms act", default=0, minimum=0
    )
    blank: float = option(
        "share of empty images in a batch, or of empty frames", default=0.0, minimum=0, maximum=1
    )
    code_cost: float = option("cost of a code neuron's drive", default=0.0, minimum=0)
    blank_code_cost: float = option(
        "cost of a code neuron's drive in empty images", default=0.0, minimum=0
    )
    code_dropout: float = option(
        "code neurons are silenced with a probability drawn per image up to this",
        default=0.0,
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        if self.noise[0] > self.noise[1]:
            low, high = self.noise
            raise ValueError(f"noise is {low} {high}; give the lower end of the range first")


@dataclass(frozen=True)
class DynamicsSettings:
    """The simulation (paper, appendix)."""

    window: int = option("phases T of an iteration", minimum=1)
    refractory: int = option("refractory period R in steps", minimum=0)
    iterations: int = option("iterations N", minimum=1)


@dataclass(frozen=True)
class PcnnSettings:
    """The pulse-coupled network, the pure-SNN baseline."""

    threshold_jump: float = option("V, added to the threshold by a spike")
    threshold_tau: float = option("tau, decay of the threshold in steps")


@dataclass(frozen=True)
class Settings:
    """Everything about one dataset."""

    dataset: str = option("name of the dataset")
    height: int = option("image rows", minimum=1)
    width: int = option("image columns", minimum=1)
    n_groups: int = option("groups of an image, background included")
    network: NetworkSettings
    training: TrainingSettings
    dynamics: DynamicsSettings
    pcnn: PcnnSettings


def check_dataset(settings: Settings) -> None:
    """Raise :class:`UserError` unless size and objective are those of the data set, and the machine
    has the memory for a step of the training."""
    data, training = find(settings.dataset), settings.training
    height, width = data.item_shape[-2:]
    if (settings.height, settings.width) != (height, width):
        raise UserError(
            f"the images of {data.name} have {height} x {width} pixels, not {settings.height} x "
            f"{settings.width}; leave --height and --width"
        )
    is_film, is_recurrent = len(data.item_shape) == 3, settings.network.kind == "recurrent"
    of_films = training.objective == "next_frame"
    kinds = training.objective != "contrast" or "train_single_0" in data.sizes
    if is_film != of_films or is_recurrent != of_films or not kinds:
        raise UserError(
            f"--objective {training.objective} and a network of the kind {settings.network.kind} "
            f"cannot learn {data.name}; leave the data set's own"
        )
    n_pixels = height * width
    widths = [n_pixels, *settings.network.encoder_widths, *settings.network.decoder_widths]
    rows = training.batch_size * (3 if training.objective == "contrast" else 1)
    steps = training.steps_per_epoch or 1
    check_memory(
        {
            "--images": training.images * math.prod(data.item_shape),
            "--batch_size": 4.0 * rows * sum(widths),
            "--steps_per_epoch": 8.0 * steps * training.batch_size,
            "--encoder_widths, --decoder_widths": 16.0
            * sum(a * b for a, b in pairwise([*widths, n_pixels])),
        }
    )
    largest = min(data.sizes.get(name, 0) for name in _groups_of(training))
    if not 0 < training.images <= largest:
        raise UserError(f"--images is {training.images}; {data.name} has {largest} to learn from")


def _groups_of(training: TrainingSettings) -> tuple[str, ...]:
    """The groups of images that an objective reads."""
    if training.objective == "contrast":
        return ("train_single_0", "train_single_1", "train_single_2")
    return training.groups if training.objective == "next_frame" else ("train_single",)


def known_datasets() -> list[str]:
    """Names of the datasets that have a settings file (tables and figures have theirs)."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if not path.stem.startswith(_OTHERS))


def dataset_settings(
    dataset: str, overrides: dict[str, Any] | None = None, paper: bool = False
) -> Settings:
    """The settings of a dataset, with nested overrides laid over the file.

    ``paper``: the paper's protocol, also where the file differs from it.

    Raises :class:`UserError` for an unknown dataset, and as ``common.settings.load_settings``.
    """
    if dataset not in known_datasets():
        known = ", ".join(known_datasets())
        raise UserError(f"unknown dataset {dataset!r}; DASBE knows {known}")
    return load_settings(Settings, FOLDER / f"{dataset}.yaml", overrides, paper)
