"""The settings of SNN-THA: what stands in ``snn_tha/settings/<dataset>.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.settings import load_settings, option
from snn_tha.annealing import Annealing
from snn_tha.neurons import LIFParameters

FOLDER = Path(__file__).parent / "settings"
DATASETS = ("mnist", "fmnist", "shd", "dvs")
OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class InputSettings:
    """What the network sees."""

    steps: int = option("time steps T of a training sample", minimum=1)
    test_steps: int = option("time steps of a test sample", minimum=1)
    step_us: int = option(
        "length of a step in microseconds, for events", minimum=1, maximum=1_000_000_000
    )
    scale: int = option("scale x scale pixels of an event camera become one", minimum=1)
    binary_events: bool = option("1 in place of higher numbers of events")
    train_samples: int | None = option(
        "use so many training samples, validation included", minimum=10
    )
    test_samples: int | None = option("use so many test samples", minimum=1)


@dataclass(frozen=True)
class NetworkSettings:
    """The layers."""

    convolutions: tuple[int, ...] = option(
        "channels of the 5 x 5 convolutions, each pooled 2 x 2", minimum=1
    )
    hidden: tuple[int, ...] = option("units of the linear layers before the last one", minimum=1)
    batch_norm: bool = option("normalise the convolutions' currents")
    binarize: bool = option("weights of +1 and -1 in the forward pass")
    dropout: tuple[float, ...] = option(
        "share of a layer's currents that is lost in training, for every layer",
        minimum=0,
        maximum=0.999,
    )

    @property
    def n_layers(self) -> int:
        """Layers of neurons."""
        return len(self.convolutions) + len(self.hidden) + 1

    def __post_init__(self) -> None:
        if len(self.dropout) != self.n_layers:
            raise ValueError(
                f"there are {len(self.dropout)} values of dropout for {self.n_layers} layers"
            )


@dataclass(frozen=True)
class NeuronSettings:
    """The neurons and their thresholds, layer by layer."""

    beta: float = option("what is left of a membrane after a step", minimum=0, maximum=1)
    slope: float = option("steepness of the surrogate derivative", minimum=0)
    annealing: bool = option("let the thresholds of a binarised network grow after every step")
    fixed: str = option(
        "where thresholds stay without annealing: at their start or at their final values",
        choices=("start", "final"),
    )
    thr_start: tuple[float, ...] = option("thresholds at the start")
    thr_added: tuple[float, ...] = option(
        "the final threshold is so much above the one at the start"
    )
    alpha: tuple[float, ...] = option(
        "share of the remaining way that a threshold takes in an optimiser step",
        minimum=0,
        maximum=1,
    )
    thr_full_precision: tuple[float, ...] = option(
        "thresholds of the network that is not binarised; they stay"
    )

    def annealings(self, binarize: bool) -> list[Annealing]:
        """The way of every layer's threshold."""
        if not binarize:
            return [Annealing(thr, thr, 0.0) for thr in self.thr_full_precision]
        ways = []
        for start, added, alpha in zip(self.thr_start, self.thr_added, self.alpha, strict=True):
            final = start + added
            if self.annealing:
                ways.append(Annealing(start, final, alpha))
            else:
                thr = start if self.fixed == "start" else final
                ways.append(Annealing(thr, thr, 0.0))
        return ways


@dataclass(frozen=True)
class TrainingSettings:
    """One training."""

    batch_size: int = option("samples of an optimiser step", minimum=1)
    epochs: int = option("epochs at most", minimum=1)
    optimizer: str = option("optimiser", choices=OPTIMIZERS)
    momentum: float = option("momentum of SGD", minimum=0, maximum=1)
    learning_rate: float = option(
        "lr in eta_min + (lr - eta_min) (1 + cos(pi n / t_0)) / 2 after n steps", minimum=0
    )
    t_0: int = option("optimiser steps until the rate is 0, half a period", minimum=1)
    gradient_clip: float | None = option("largest norm of all gradients together", minimum=0)
    weight_clip: float | None = option("weights stay within so much of 0", minimum=0)
    validation_share: float = option(
        "share of the training samples that validates", minimum=0.01, maximum=0.9
    )
    select_on: str = option(
        "what chooses the epoch that is kept and stops the training; test is the "
        "original's way, with all training samples",
        choices=("validation", "test"),
    )
    patience: int = option("stop after so many epochs without a better one", minimum=1)
    bfloat16: bool = option(
        "products of binary weights and spikes in bfloat16 where the processor has "
        "them: exact forwards, gradients are rounded"
    )
    early_stopping: bool = option("stop after --patience epochs without a better one", default=True)
    betas: tuple[float, float] = option(
        "decay of Adam's averages", default=(0.9, 0.999), minimum=0, maximum=0.999999
    )
    eta_min: float = option("lowest learning rate", default=0.0, minimum=0)
    correct_rate: float = option(
        "share of the steps in which the right class should fire", default=0.8, minimum=0, maximum=1
    )
    incorrect_rate: float = option(
        "share of the steps in which every other class should fire",
        default=0.2,
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True)
class Settings:
    """Everything about one network."""

    dataset: str = option("what to learn", choices=DATASETS)
    input: InputSettings
    network: NetworkSettings
    neuron: NeuronSettings
    training: TrainingSettings

    def __post_init__(self) -> None:
        for name in ("thr_start", "thr_added", "alpha", "thr_full_precision"):
            count = len(getattr(self.neuron, name))
            if count != self.network.n_layers:
                raise ValueError(
                    f"there are {count} values of {name} for {self.network.n_layers} layers"
                )

    @property
    def condition(self) -> str:
        """How it is trained: ``full_precision``, ``annealing``, ``start`` or ``final``."""
        if not self.network.binarize:
            return "full_precision"
        return "annealing" if self.neuron.annealing else self.neuron.fixed

    @property
    def annealings(self) -> list[Annealing]:
        """The way of every layer's threshold."""
        return self.neuron.annealings(self.network.binarize)

    def neurons(self, optimizer_steps: int) -> list[LIFParameters]:
        """Every layer's neurons after so many optimiser steps."""
        return [
            LIFParameters(self.neuron.beta, way.after(optimizer_steps), self.neuron.slope)
            for way in self.annealings
        ]


def tha_settings(
    dataset: str, overrides: dict[str, Any] | None = None, paper: bool = False
) -> Settings:
    """The published settings of a data set, with nested overrides laid over the file.

    ``paper``: the paper's protocol, also where the file differs from it.

    Raises :class:`UserError` as ``common.settings.load_settings``.
    """
    return load_settings(Settings, FOLDER / f"{dataset}.yaml", overrides, paper)
