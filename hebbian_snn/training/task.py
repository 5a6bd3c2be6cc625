"""What a supervised task is to the training loop, :mod:`hebbian_snn.training.loop`.

A task names its settings and its data, builds its network, and says what is lost and what is scored
for every sample. Everything else, from flags to processes, is shared: a task's script is::

    main = task_command(AssociationsTask, __doc__)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from common.gpu import to_device
from common.training import generator


class Batch(NamedTuple):
    """Samples: what the network takes, tensors (B, ...), and what it should answer, (B, ...)."""

    inputs: tuple[Tensor, ...]
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(
            tuple(to_device(x, device) for x in self.inputs), to_device(self.targets, device)
        )


class SupervisedTask(ABC):
    """One task with its settings.

    A subclass sets the class attributes, takes ``(settings, seed)`` and implements the abstract
    methods. By default it is a classification: cross-entropy, and accuracy with ties counted as
    wrong.

    Attributes:
        name: of the task: of its settings file, and in its checkpoints.
        settings_type: dataclass with ``relu: bool`` and the sections ``network`` and ``training``
            of :mod:`hebbian_snn.config`, and any others. Whatever is not in ``training`` changes
            network or data.
        loss_name, score_name: of the two numbers of a sample in logs.
        higher_is_better: what the validation's score of the kept network is.
        first_epoch_with_rates: from this epoch on the loss has the term of the firing rates.
        may_differ: settings ("section.name") that an evaluation may change.
        varied: names of settings that the paper varies, or that change nothing about the protocol.
        settings: of this task. seed: of the random batches.
        told: what a trained network's checkpoint says of its data, once its sources and front ends
            are known to be those that are here; then nothing of it is computed again.
    """

    name: ClassVar[str]
    settings_type: ClassVar[type]
    loss_name: ClassVar[str] = "cross_entropy"
    score_name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    first_epoch_with_rates: ClassVar[int] = 1
    may_differ: ClassVar[tuple[str, ...]] = ()
    varied: ClassVar[tuple[str, ...]] = ("data", "dir")

    def __init__(self, settings: Any, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.told: dict[str, Any] = {}

    def altered(self, settings: Any) -> SupervisedTask:
        """The same task with other settings that change nothing about its front ends."""
        task = type(self)(settings, self.seed)
        task.told = self.told
        return task

    @property
    @abstractmethod
    def checkpoint_name(self) -> str:
        """Of the shipped checkpoint, without folder and suffix."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Samples of an epoch of ``train``, of ``validation`` and of ``test``."""

    @property
    def pairs(self) -> int | None:
        """Pairs of a sample, where a training can begin with fewer (see
        :mod:`hebbian_snn.training.curriculum`); then :meth:`batch` takes ``pairs``, and the
        settings of the training are :class:`hebbian_snn.config.PairsTrainingSettings`."""
        return None

    def batches(self, split: str, epoch: int = 0) -> list[range]:
        """The samples of every batch of an epoch."""
        total, size = self.sizes()[split], self.settings.training.batch_size
        return [range(first, min(first + size, total)) for first in range(0, total, size)]

    def memory_needs(self) -> dict[str, float]:
        """Bytes of the largest tensors of a training step by the flags they come from, see
        :func:`common.memory.check_memory`; without a look at the data."""
        network, data = self.settings.network, self.settings.dataset
        steps = getattr(data, "num_time_steps", getattr(data, "sentence_duration", 1))
        batch, keys = self.settings.training.batch_size, network.memory_size
        return {
            "--memory_size, --batch_size": 4.0 * batch * keys * keys,
            "--embedding_size, --batch_size": 4.0 * batch * steps * network.embedding_size,
            "--embedding_size, --memory_size": 32.0 * network.embedding_size * keys,
        }

    @abstractmethod
    def batch(self, split: str, epoch: int, samples: range, part: slice) -> Batch:
        """A part of a batch, on the CPU.

        The batch must be a function of (seed, epoch, samples) in training and of samples
        otherwise: then it is the same in any number of processes, and after an interruption.

        Args:
            split: ``train``, ``validation`` or ``test``. epoch: from 0.
            samples: of the epoch (of the split), that the whole batch has.
            part: which of these are wanted here.
        """

    @abstractmethod
    def build(self, generator: Generator, backend: str = "auto") -> nn.Module:
        """The network at its start: a batch's inputs to :class:`hebbian_snn.memory.Answer`."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What every sample loses, (B,)."""
        return functional.cross_entropy(outputs, targets, reduction="none")

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What every sample scores, (B,)."""
        return correct(outputs, targets)

    def data_summary(self) -> dict[str, Any]:
        """What a checkpoint says of the data, besides the settings."""
        return self.sources()

    @property
    def is_bound(self) -> bool:
        """Whether the network can be tested only with what :meth:`data_summary` says of its
        training."""
        return False

    def sources(self) -> dict[str, Any]:
        """The part of :meth:`data_summary` that is about the data and takes no time."""
        return {}

    def front_ends(self) -> dict[str, Any]:
        """The part of :meth:`data_summary` with the checksums of trained networks that this one
        builds on."""
        return {}


def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where the target's output (B, classes) is above all others, else 0; (B,).

    A tie is wrong: a network that is silent for a sample knows nothing.
    """
    chosen = outputs.gather(1, targets[:, None])[:, 0]
    others = outputs.scatter(1, targets[:, None], -torch.inf).amax(1)
    return (chosen > others).to(outputs.dtype)


def shuffled(n: int, seed: int, epoch: int, samples: range) -> Tensor:
    """Which of ``n`` stored samples these samples of an epoch are: each one once an epoch."""
    order = torch.randperm(n, generator=generator(seed, "order", epoch))
    return order[samples.start : samples.stop]
