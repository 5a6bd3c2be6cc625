"""Settings that the supervised tasks share: the memory network and its training.

Every task has a settings class of its own, with its sections of these classes, and a YAML file in
``hebbian_snn/settings/``, where the numbers stand. The file of the ReLU twin holds only what
differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from common.errors import UserError
from common.settings import load_settings, option
from hebbian_snn.kernels.checks import check_neuron, check_plasticity
from hebbian_snn.neurons import LIFParameters
from hebbian_snn.plasticity import InvertedOja

T = TypeVar("T")

FOLDER = Path(__file__).parent / "settings"


@dataclass(frozen=True)
class NetworkSettings:
    """Neurons and memory."""

    embedding_size: int = option("neurons of the encoding layer", minimum=1)
    memory_size: int = option("keys, and as many values", minimum=1)
    w_max: float = option("weight at which Hebbian growth ends")
    gamma_pos: float = option("rate of growth, per step; 0: no memory")
    gamma_neg: float = option("rate of decay, per step")
    tau_trace: float = option("time constant of the spike traces, ms")
    readout_delay: int = option("steps from the values' spikes back to the keys", minimum=1)
    thr: float = option("threshold of the neurons")
    perfect_reset: bool = option("a spike sets the membrane to 0")
    refractory_time_steps: int = option("steps without a second spike")
    tau_mem: float = option("time constant of the membrane, ms")
    dampening_factor: float = option("height of the surrogate derivative")
    values_relu: bool = option(
        "ReLU network: rectify the values read (0: as the paper's code)", default=True
    )

    def __post_init__(self) -> None:
        try:
            check_neuron(self.neuron)
            check_plasticity(self.plasticity, self.tau_trace, 0.0)
        except UserError as error:
            raise ValueError(str(error)) from None

    @property
    def neuron(self) -> LIFParameters:
        """The neurons of all layers."""
        return LIFParameters(
            self.thr,
            self.tau_mem,
            self.refractory_time_steps,
            self.perfect_reset,
            self.dampening_factor,
        )

    @property
    def plasticity(self) -> InvertedOja:
        """The rule of the memory."""
        return InvertedOja(self.w_max, self.gamma_pos, self.gamma_neg)


@dataclass(frozen=True)
class TrainingSettings:
    """Optimisation; none of it changes the network or the data."""

    epochs: int = option("epochs, at most", minimum=1)
    batch_size: int = option("samples of a step, over all processes", minimum=1)
    learning_rate: float = option("step size of Adam", minimum=0)
    learning_rate_decay: float = option("factor of the rate at every decay", minimum=0)
    decay_learning_rate_every: int = option("epochs from one decay to the next", minimum=1)
    max_grad_norm: float = option(
        "longer gradients are shortened to this norm; 0 or less: none are"
    )
    l2: float = option("weight of the firing rates in the loss", minimum=0)
    target_rate: float = option("rate that neurons are pulled to, Hz", minimum=0)
    stop_score: float | None = option(
        "end once the validation has scored this for --stop_epochs epochs"
    )
    stop_epochs: int = option("epochs in a row that must reach --stop_score", minimum=1)

    def learning_rate_in(self, epoch: int) -> float:
        """The rate in an epoch, counted from 0."""
        decays = epoch // self.decay_learning_rate_every
        return self.learning_rate * self.learning_rate_decay**decays


@dataclass(frozen=True)
class PairsTrainingSettings(TrainingSettings):
    """Optimisation where samples are sequences of pairs."""

    curriculum: float | None = option(
        "training score from which on samples get more pairs, from 1 on "
        "(none: all pairs from the beginning)"
    )
    key_gain: float | None = option(
        "start with the same weights from what is asked with to the keys of both "
        "layers, this many times larger (none: independent, as in the paper)",
        default=None,
        minimum=0,
    )
    queries: int = option(
        "questions asked of every training sample, about different pairs; what the "
        "sample writes is shared, the loss is the mean over all questions (1, as in the "
        "paper; validation and test always ask one)",
        default=1,
        minimum=1,
    )

    def check_pairs(self, pairs: int) -> None:
        """Raises ``ValueError`` for more questions than a sample has ``pairs``."""
        if self.queries > pairs:
            raise ValueError(
                f"queries is {self.queries}; a sample has {pairs} pairs, ask for fewer"
            )


def task_settings(
    cls: type[T], name: str, relu: bool, overrides: Mapping[str, Any], paper: bool = False
) -> T:
    """The settings of a task: its file, the file of its ReLU twin if that is meant, the flags.

    Args:
        cls: of the settings. name: of the file in ``hebbian_snn/settings``.
        relu: the twin. overrides: nested, as of ``common.settings.overrides_from_args``.
        paper: the paper's protocol, also where the file differs from it.

    Raises :class:`UserError` as ``common.settings.load_settings``.
    """
    layers: dict[str, Any] = {}
    if relu:
        twin = yaml.safe_load((FOLDER / f"{name}_relu.yaml").read_text(encoding="utf-8"))
        layers = {**twin, "relu": True}
    for key, value in overrides.items():
        layers[key] = {**layers.get(key, {}), **value} if isinstance(value, Mapping) else value
    return load_settings(cls, FOLDER / f"{name}.yaml", layers, paper)
