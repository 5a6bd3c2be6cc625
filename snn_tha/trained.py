"""Trained networks: read from their files, and tested again."""

from __future__ import annotations

from pathlib import Path

import torch

from common.checkpoints import Checkpoint, check_tensors, load_checkpoint, load_into
from common.distributed import Distributed
from common.settings import from_dict
from snn_tha.config import Settings
from snn_tha.data import DataSet, sample_shape
from snn_tha.run import MODEL
from snn_tha.train import Evaluation, Trainer, build_network


def settings_of(network: Checkpoint) -> Settings:
    """What it was trained with; raises :class:`UserError` for settings that do not fit."""
    return from_dict(Settings, network.metadata["settings"], str(network.path))


def read_network(path: Path) -> Checkpoint:
    """A trained network; raises :class:`UserError` for a file that is not one."""
    network = load_checkpoint(path, model=MODEL)
    settings = settings_of(network)
    layers = settings.network.n_layers - len(settings.network.convolutions)
    outputs = network.tensors.get(f"linears.{layers - 1}.bias", torch.zeros(1))
    fresh = build_network(settings, sample_shape(settings), max(1, len(outputs)))
    check_tensors(network, fresh.state_dict(), type(fresh).__name__)
    return network


def score_again(network: Checkpoint, data: DataSet, device: str | torch.device) -> Evaluation:
    """Its scores on test samples of the data, with the thresholds of its last optimiser step.

    Raises :class:`UserError` where it does not fit them.
    """
    settings = settings_of(network)
    built = build_network(settings, data.test.shape, data.test.n_classes)
    load_into(built, network)
    trainer = Trainer(
        settings, data, network.metadata["seed"], Distributed(0, 1, torch.device(device))
    )
    return trainer.test(built.to(device), network.metadata["optimizer_steps"])
