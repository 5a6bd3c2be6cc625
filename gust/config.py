"""The settings of GUST: what stands in ``gust/settings/gust.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.memory import check_memory
from common.settings import load_settings, option
from datasets.catalogue import find
from gust.losses import LOSSES

FILE = Path(__file__).parent / "settings" / "gust.yaml"


@dataclass(frozen=True)
class NetworkSettings:
    """The autoencoder."""

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
class DynamicsSettings:
    """The loop of spiking pixels and autoencoder."""

    window: int = option("phases T of an iteration", minimum=1)
    refractory: int = option("two spikes of a pixel are at least so many steps apart", minimum=1)
    thinning: float = option(
        "the encoder misses a spike of the step before with this probability", minimum=0, maximum=1
    )


@dataclass(frozen=True)
class TrainingSettings:
    """End-to-end training on images of several objects."""

    loss: str = option("what is minimised", choices=tuple(LOSSES))
    images: int = option("images of train_multi to use", minimum=10)
    noise: float = option(
        "pixels of the input are zeroed with this probability", minimum=0, maximum=1
    )
    iterations: int = option("iterations of T steps that are unrolled", minimum=1)
    batch_size: int = option("images of an optimiser step", minimum=1)
    bfloat16: bool = option(
        "dense products of the training in bfloat16 where the hardware has them; "
        "spikes and sums stay in float32"
    )
    learning_rate: float = option("step size of Adam", minimum=0)
    milestones: dict[int, float] = option(
        "epoch=factor pairs by which the learning rate is multiplied"
    )
    epochs: int = option("epochs at most", minimum=1)
    patience: int = option("stop after so many epochs without a better validation", minimum=1)
    score_every: int = option("epochs from one scoring of validation images to the next", minimum=1)
    score_images: int = option("validation images that are scored during training", minimum=1)
    more_iterations: dict[int, int] = option(
        "epoch=iterations pairs: after so many epochs, so many iterations are unrolled",
        default=dict(),
        minimum=1,
    )

    def iterations_in(self, epoch: int) -> int:
        """Iterations that are unrolled in an epoch, counted from 0."""
        passed = [milestone for milestone in self.more_iterations if milestone <= epoch]
        return self.more_iterations[max(passed)] if passed else self.iterations


@dataclass(frozen=True)
class EvaluationSettings:
    """Binding of clean images and its scores."""

    settle: int = option("iterations of T steps on an image", minimum=1)
    cluster_cost: float = option("Victor-Purpura cost q of the clustering, per step", minimum=0)
    synchrony_cost: float = option("Victor-Purpura cost q of the SynScore, per step", minimum=0)


@dataclass(frozen=True)
class Settings:
    """Everything about one network."""

    train_objects: int = option("objects A of a training image", choices=(2, 3, 4))
    height: int = option("image rows", minimum=1)
    width: int = option("image columns", minimum=1)
    network: NetworkSettings
    dynamics: DynamicsSettings
    training: TrainingSettings
    evaluation: EvaluationSettings

    @property
    def dataset(self) -> str:
        """Name of the data set that is trained on."""
        return f"shapes_multiobj_{self.train_objects}_3"


def check_dataset(settings: Settings) -> None:
    """Raise :class:`UserError` unless the images have the data set's size and number, and the
    machine has the memory for one image of a step of the training."""
    data, training = find(settings.dataset), settings.training
    height, width = data.item_shape
    if (settings.height, settings.width) != (height, width):
        raise UserError(
            f"the images of {data.name} have {height} x {width} pixels, not {settings.height} x "
            f"{settings.width}; leave --height and --width"
        )
    if training.images > data.sizes["train_multi"]:
        largest = data.sizes["train_multi"]
        raise UserError(f"--images is {training.images}; {data.name} has {largest} to learn from")
    n_pixels = height * width
    widths = [n_pixels, *settings.network.encoder_widths, *settings.network.decoder_widths]
    check_memory(
        {
            "--window, --iterations": bytes_of_image(settings),
            "--encoder_widths, --decoder_widths": 16.0
            * sum(a * b for a, b in pairwise([*widths, n_pixels])),
        }
    )


def bytes_of_image(settings: Settings) -> float:
    """What a training keeps of an image until its gradients are there, roughly."""
    network, training = settings.network, settings.training
    unrolled = max([training.iterations, *training.more_iterations.values()])
    widths = [2 * settings.height * settings.width, *network.encoder_widths]
    widths += network.decoder_widths
    return 4.0 * settings.dynamics.window * unrolled * sum(widths)


def gust_settings(overrides: dict[str, Any] | None = None, paper: bool = False) -> Settings:
    """The paper's settings, with nested overrides laid over the file.

    ``paper``: the paper's protocol, also where the file differs from it.

    Raises :class:`UserError` as ``common.settings.load_settings``.
    """
    return load_settings(Settings, FILE, overrides, paper)
