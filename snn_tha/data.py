"""The data sets as batches of what a network sees: images that stay, or events in time bins."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.memory import check_memory
from common.training import generator
from datasets.choices import Data
from datasets.dvs_gesture import load_dvs_gesture
from datasets.events import Events, bin_events, random_starts, scaled_shape
from datasets.mnist import LabelledImages, load_fashion_mnist, load_mnist
from datasets.shd import load_shd
from snn_tha.config import InputSettings, Settings
from snn_tha.network import layer_shapes

LOADERS = {
    "mnist": load_mnist,
    "fmnist": load_fashion_mnist,
    "shd": load_shd,
    "dvs": load_dvs_gesture,
}


TRAINING_SAMPLES = {"mnist": 60_000, "fmnist": 60_000, "shd": 8_156, "dvs": 1_077}
SHAPES = {"mnist": (1, 28, 28), "fmnist": (1, 28, 28), "shd": (700,), "dvs": (2, 128, 128)}
"""Of a sample at one step, before pixels are joined."""


def sample_shape(settings: Settings) -> tuple[int, ...]:
    """What the network sees at one step; raises :class:`UserError` for a scale that does not
    fit."""
    try:
        return scaled_shape(SHAPES[settings.dataset], settings.input.scale)
    except ValueError as error:
        raise UserError(f"{error}; choose another --scale") from None


def check_training(settings: Settings) -> None:
    """Raise :class:`UserError` for more memory than the machine has in a step of the training."""
    network, shown, batch = settings.network, settings.input, settings.training.batch_size
    shapes = layer_shapes(sample_shape(settings), network.convolutions, [*network.hidden, 1])
    units = sum(math.prod(shape) for shape in shapes)
    there = shown.train_samples or TRAINING_SAMPLES[settings.dataset]
    steps = max(shown.steps, shown.test_steps)
    check_memory(
        {
            "--steps, --batch_size": 4.0 * steps * min(batch, there) * units,
            "--hidden": 16.0 * sum(a * b for a, b in pairwise([1, *network.hidden])),
        }
    )


class Samples(Protocol):
    """Labelled samples of one split.

    Attributes:
        labels: (N,) int64. shape: of one sample at one step. steps: T. n_classes: labels are below.
        source: what they really are.
    """

    labels: Tensor
    shape: tuple[int, ...]
    steps: int
    n_classes: int
    source: str

    def batch(self, indices: np.ndarray, windows: torch.Generator | None = None) -> Tensor:
        """(T or 1, B, *shape) inputs of the samples with these indices; ``windows`` draws where
        each one's part of its recording begins."""


class ImageSamples:
    """Images in [0, 1] that stay for all steps.

    Args:
        images: bytes (N, H, W), their labels and source. steps: T.
    """

    n_classes = 10

    def __init__(self, images: LabelledImages, steps: int) -> None:
        self.images, self.labels, self.source = images
        self.shape = (1, *self.images.shape[1:])
        self.steps = steps

    def batch(self, indices: np.ndarray, windows: torch.Generator | None = None) -> Tensor:
        """(1, B, 1, H, W) float32."""
        return self.images[indices][None, :, None].float() / 255


class EventSamples:
    """Numbers of events in time bins.

    Args:
        events: recordings. settings: of the bins. steps: T.
    """

    def __init__(self, events: Events, settings: InputSettings, steps: int) -> None:
        self.events, self.settings, self.steps = events, settings, steps
        self.labels, self.source, self.n_classes = events.labels, events.source, events.n_classes
        try:
            self.shape = scaled_shape(events.shape, settings.scale)
        except ValueError as error:
            raise UserError(f"{error}; choose another --scale") from None

    def batch(self, indices: np.ndarray, windows: torch.Generator | None = None) -> Tensor:
        """(T, B, *shape) int16. Without ``windows`` the first T steps of each recording."""
        step = self.settings.step_us
        start = 0
        if windows is not None:
            start = random_starts(self.events, indices, step * self.steps, windows)
        counts = torch.empty(len(indices), self.steps, *self.shape, dtype=torch.int16)
        bin_events(
            self.events,
            indices,
            step,
            self.steps,
            start,
            self.settings.scale,
            self.settings.binary_events,
            out=counts,
        )
        return counts.transpose(0, 1)


class DataSet(NamedTuple):
    """What a training needs.

    Attributes:
        train: all training samples. train_indices, validation_indices: which of them train and
            which validate.
        test: test samples. test_indices: which of them are used.
        random_windows: training takes a random part of each recording.
    """

    train: Samples
    test: Samples
    train_indices: np.ndarray
    validation_indices: np.ndarray
    test_indices: np.ndarray
    random_windows: bool

    @property
    def about(self) -> dict[str, str | int]:
        """What it is, for checkpoints."""
        return {
            "source": self.train.source,
            "train": len(self.train_indices),
            "validation": len(self.validation_indices),
            "test": len(self.test_indices),
        }


def load_data(settings: Settings, data: Data = "auto") -> DataSet:
    """The samples that the settings ask for; ``data`` as the loaders of ``datasets`` take it.

    The validation samples are drawn once, the same for all seeds. Raises :class:`UserError` as the
    loaders do.
    """
    loader = LOADERS[settings.dataset]
    parts = []
    for split, steps in (("train", settings.input.steps), ("test", settings.input.test_steps)):
        loaded = loader(split, data)
        if isinstance(loaded, Events):
            parts.append(EventSamples(loaded, settings.input, steps))
        else:
            parts.append(ImageSamples(loaded, steps))
    train, test = parts
    order = torch.randperm(len(train.labels), generator=generator(0, "split")).numpy()
    order = order[: settings.input.train_samples]
    n_validation = round(len(order) * settings.training.validation_share)
    if settings.training.select_on == "test":
        n_validation = 0
    elif not 0 < n_validation < len(order):
        raise UserError(
            f"of {len(order)} training samples {n_validation} would validate; use more "
            "(--train_samples) or another --validation_share"
        )
    tested = np.arange(len(test.labels))
    if settings.input.test_samples is not None and settings.input.test_samples < len(tested):
        tested = torch.randperm(len(tested), generator=generator(0, "test")).numpy()
        tested = np.sort(tested[: settings.input.test_samples])
    validation, training = np.split(order, [n_validation])
    random_windows = settings.dataset == "dvs"
    return DataSet(train, test, training, validation, tested, random_windows)
