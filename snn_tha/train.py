"""The training loop: what an epoch does, and all epochs to the chosen network.

An epoch's random numbers depend on (seed, epoch, sample) only, and the state after every epoch is
on disk, so a killed training goes on exactly where it was; several processes do what one does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from common.distributed import Distributed
from common.gpu import to_device
from common.learner import Learner
from common.runs import RunFiles
from common.settings import to_dict
from common.training import (
    EarlyStopping,
    MetricLog,
    check_finite,
    generator,
    has_bfloat16,
    progress,
)
from snn_tha.annealing import Annealing, anneal_step
from snn_tha.config import Settings, TrainingSettings
from snn_tha.data import DataSet, Samples
from snn_tha.losses import count_loss, n_correct
from snn_tha.network import Draws, Execution, Network
from snn_tha.neurons import LIFParameters

VALIDATION_WINDOW = "validation windows"


class Evaluation(NamedTuple):
    """Scores of a network on some samples.

    Attributes:
        accuracy: share of right predictions.
        rates: spikes per neuron and step of every layer.
        dead: share of every layer's neurons that never fire on any sample.
    """

    accuracy: float
    rates: list[float]
    dead: list[float]


def build_network(
    settings: Settings,
    input_shape: tuple[int, ...],
    n_classes: int,
    generator: torch.Generator | None = None,
) -> Network:
    """A fresh network for samples of this shape."""
    network = settings.network
    return Network(
        input_shape,
        network.convolutions,
        [*network.hidden, n_classes],
        batch_norm=network.batch_norm,
        binary=network.binarize,
        dropout=network.dropout,
        generator=generator,
    )


def build_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam or SGD with momentum, without weight decay."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(
            network.parameters(), settings.learning_rate, settings.betas, fused=True
        )
    return torch.optim.SGD(
        network.parameters(), settings.learning_rate, settings.momentum, fused=True
    )


def cosine_rate(settings: TrainingSettings, optimizer_steps: int) -> float:
    """eta_min + (lr - eta_min) (1 + cos(pi n / t_0)) / 2: it goes on up and down."""
    share = (1 + math.cos(math.pi * optimizer_steps / settings.t_0)) / 2
    return settings.eta_min + (settings.learning_rate - settings.eta_min) * share


class Trainer:
    """What an epoch does, in one process or several.

    Args:
        settings: of the network and its training.
        data: its samples.
        seed: of start, order, windows and dropout.
        group: the processes that train together; each takes its part of every batch.
        backend: of the scans.
    """

    def __init__(
        self,
        settings: Settings,
        data: DataSet,
        seed: int,
        group: Distributed,
        backend: str = "auto",
    ) -> None:
        self.settings, self.data, self.seed, self.group = settings, data, seed, group
        bfloat16 = (
            settings.training.bfloat16 and group.device.type == "cpu" and has_bfloat16(group.device)
        )
        self.execution = Execution(backend, bfloat16, group)

    def train_epoch(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        epoch: int,
        optimizer_steps: int,
        shown: bool = False,
    ) -> tuple[float, int]:
        """Epoch number ``epoch`` (from 0), after so many optimiser steps; returns its loss and how
        many steps there are after it."""
        network.train()
        training, samples = self.settings.training, self.data.train_indices
        drawn = torch.randperm(len(samples), generator=generator(self.seed, "epoch", epoch)).numpy()
        order = samples[drawn]
        # Labels and names of the random numbers go to the device once an epoch.
        on_device = to_device(torch.from_numpy(order), self.group.device)
        labels = to_device(self.data.train.labels[order], self.group.device)
        batches = _batches(order, training.batch_size)
        parts = zip(
            on_device.split(training.batch_size), labels.split(training.batch_size), strict=True
        )
        total = torch.zeros((), dtype=torch.float64, device=self.group.device)
        windows = generator(self.seed, "windows", epoch) if self.data.random_windows else None
        neurons = self.settings.neurons(optimizer_steps)
        annealings = self.settings.annealings
        for batch in progress(batches, desc=f"epoch {epoch + 1}", unit="batch", shown=shown):
            optimizer.param_groups[0]["lr"] = cosine_rate(training, optimizer_steps)
            optimizer.zero_grad()
            total += self._loss(network, batch, *next(parts), neurons, epoch, windows)
            self.group.sum_gradients(network)
            clip(network, training)
            optimizer.step()
            optimizer_steps += 1
            neurons = anneal(neurons, annealings)
        loss = self.group.all_reduce_sum(total).item() / len(samples)
        check_finite(loss, "the training loss")
        # Spike counts are finite whatever the weights are.
        weights = torch.stack([p.detach().double().norm() for p in network.parameters()])
        check_finite(weights.norm().item(), "the norm of the weights")
        return loss, optimizer_steps

    def _loss(
        self,
        network: Network,
        batch: np.ndarray,
        on_device: Tensor,
        labels: Tensor,
        neurons: list[LIFParameters],
        epoch: int,
        windows: torch.Generator | None,
    ) -> Tensor:
        """The summed loss of this process's part of a batch, whose indices and labels (B,) also lie
        on the device; the gradients are added up, as parts of those of the batch's mean."""
        part = self.group.local_slice(len(batch))
        x = to_device(self.data.train.batch(batch, windows)[:, part], self.group.device)
        draws = Draws(self.seed, epoch, on_device[part])
        spikes = network(x, neurons, self.data.train.steps, draws, self.execution)
        training = self.settings.training
        loss = count_loss(spikes[-1], labels[part], training.correct_rate, training.incorrect_rate)
        (loss / len(batch)).backward()
        return loss.detach()

    def validate(self, network: Network, optimizer_steps: int) -> Evaluation:
        """Scores on the validation samples, the same windows every time."""
        windows = generator(0, VALIDATION_WINDOW) if self.data.random_windows else None
        return self._evaluate(
            network, self.data.train, self.data.validation_indices, optimizer_steps, windows
        )

    def test(self, network: Network, optimizer_steps: int) -> Evaluation:
        """Scores on the test samples."""
        return self._evaluate(network, self.data.test, self.data.test_indices, optimizer_steps)

    @torch.inference_mode()
    def _evaluate(
        self,
        network: Network,
        samples: Samples,
        indices: np.ndarray,
        optimizer_steps: int,
        windows: torch.Generator | None = None,
    ) -> Evaluation:
        network.eval()
        neurons = self.settings.neurons(optimizer_steps)
        correct = torch.zeros((), dtype=torch.int64, device=self.group.device)
        fired = [
            torch.zeros(math.prod(shape), dtype=torch.float64, device=self.group.device)
            for shape in network.shapes
        ]
        for batch in _batches(indices, self.settings.training.batch_size):
            part = self.group.local_slice(len(batch))
            x = to_device(samples.batch(batch, windows)[:, part], self.group.device)
            spikes = network(x, neurons, samples.steps, execution=self.execution)
            correct += n_correct(spikes[-1], samples.labels[batch[part]].to(correct.device))
            for total, of_layer in zip(fired, spikes, strict=True):
                total += of_layer.sum((0, 1), dtype=torch.float32)
        fired = [self.group.all_reduce_sum(total) for total in fired]
        chances = len(indices) * samples.steps
        return Evaluation(
            self.group.all_reduce_sum(correct).item() / len(indices),
            [total.mean().item() / chances for total in fired],
            [(total == 0).double().mean().item() for total in fired],
        )


def anneal(
    neurons: Sequence[LIFParameters], annealings: Sequence[Annealing]
) -> list[LIFParameters]:
    """Every layer's neurons after one more optimiser step."""
    return [
        neuron._replace(thr=anneal_step(neuron.thr, way.final, way.alpha))
        for neuron, way in zip(neurons, annealings, strict=True)
    ]


def clip(network: Network, settings: TrainingSettings) -> None:
    """Clip the gradients' norm, then the weights, as far as the settings say so."""
    if settings.gradient_clip is not None:
        nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
    if settings.weight_clip is not None:
        with torch.no_grad():
            for layer in (*network.convolutions, *network.linears):
                layer.weight.clamp_(-settings.weight_clip, settings.weight_clip)


def _batches(indices: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(indices, range(size, len(indices), size))


def train(trainer: Trainer, files: RunFiles) -> dict[str, Any]:
    """Train to the end and return the state, whose ``best`` holds the chosen network.

    Args:
        trainer: what an epoch does.
        files: where the state and the log lie; a state found there is resumed.
    """
    settings, group, data = trainer.settings, trainer.group, trainer.data
    training = settings.training
    network = build_network(
        settings, data.train.shape, data.train.n_classes, generator(trainer.seed, "start")
    ).to(group.device)
    optimizer = build_optimizer(network, training)
    stopping = EarlyStopping(training.patience if training.early_stopping else None)
    run = {**to_dict(settings), "seed": trainer.seed, "data": data.about}
    learner = Learner(network, optimizer, stopping, run)
    state = learner.start(files.state, group, optimizer_steps=0)
    log = MetricLog(files.log, state["epoch"]) if group.is_main else None
    while state["epoch"] < training.epochs and not stopping.should_stop:
        began = time.perf_counter()
        loss, state["optimizer_steps"] = trainer.train_epoch(
            network, optimizer, state["epoch"], state["optimizer_steps"], shown=group.is_main
        )
        train_seconds = time.perf_counter() - began
        line = scores(trainer, network, state["optimizer_steps"])
        state["epoch"] += 1
        if stopping.update(1 - line[f"{training.select_on}_accuracy"]):
            tensors = learner.tensors()
            state["best"] = {"epoch": state["epoch"], **line, "tensors": tensors}
        state["seconds"] += time.perf_counter() - began
        if group.is_main:
            log.write(state["epoch"], loss=loss, **line, seconds=round(train_seconds, 2))
            learner.save(files.state, state)
    return state


def scores(trainer: Trainer, network: Network, optimizer_steps: int) -> dict[str, Any]:
    """What the log says of an epoch besides its loss and time.

    Firing rates (spikes per neuron and step) and shares of dead neurons are those on test samples.
    """
    training = trainer.settings.training
    tested = trainer.test(network, optimizer_steps)
    line: dict[str, Any] = {}
    if training.select_on == "validation":
        line["validation_accuracy"] = trainer.validate(network, optimizer_steps).accuracy
    return {
        **line,
        "test_accuracy": tested.accuracy,
        "learning_rate": cosine_rate(training, optimizer_steps),
        "optimizer_steps": optimizer_steps,
        "thresholds": [neuron.thr for neuron in trainer.settings.neurons(optimizer_steps)],
        "rates": tested.rates,
        "dead": tested.dead,
    }
