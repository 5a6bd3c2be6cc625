"""Trained networks by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from common.checkpoints import Checkpoint, load_checkpoint, load_into
from common.paths import CHECKPOINTS
from common.runs import find_network
from common.settings import from_dict
from gust.config import Settings
from gust.network import Autoencoder

MODEL = "gust"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network from a checkpoint, ready to bind, with its settings."""

    network: Autoencoder
    settings: Settings
    checkpoint: Checkpoint


def build_network(settings: Settings, generator: torch.Generator | None = None) -> Autoencoder:
    """A fresh network for the settings' images."""
    return Autoencoder(
        settings.height * settings.width,
        settings.network.encoder_widths,
        settings.network.decoder_widths,
        generator,
    )


def load_network(name: str | Path, device: str | torch.device = "cpu") -> TrainedNetwork:
    """A trained network by its name (``shapes_3``: trained on 3 objects) or its path.

    Raises :class:`UserError` when there is none, or when the file is damaged or another model's.
    """
    path = find_network(MODEL, name, CHECKPOINTS)
    checkpoint = load_checkpoint(path, model=MODEL)
    settings = from_dict(Settings, checkpoint.metadata.get("settings"), str(path))
    network = build_network(settings)
    load_into(network, checkpoint)
    return TrainedNetwork(network.to(device).eval().requires_grad_(False), settings, checkpoint)
