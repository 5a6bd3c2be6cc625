"""Untrained networks in place of the shipped ones, for the tests of figures and commands."""

import torch

from common.checkpoints import save_checkpoint
from common.settings import to_dict
from gust.config import gust_settings
from gust.trained import MODEL, build_network

ITERATIONS = 4
CURVE = [
    {"epoch": 1, "loss": 36.0, "validation_loss": 5.0, "ami": 0.1, "synscore": 0.3},
    {"epoch": 2, "loss": 18.0, "validation_loss": 3.0},
    {"epoch": 3, "loss": 9.0, "validation_loss": 4.0, "ami": 0.4, "synscore": 0.5},
]
"""Of a training on 20 images, 18 for training and 2 for validation."""


def write_network(path, train_objects, seed=0, loss="receptive_field_sum", **metadata):
    """A small random network whose pixels fire, as a checkpoint with a log of its training."""
    settings = gust_settings(
        {
            "train_objects": train_objects,
            "network": {"encoder_widths": [12, 10], "decoder_widths": [10, 14]},
            "training": {"loss": loss},
            "evaluation": {"settle": ITERATIONS},
        }
    )
    network = build_network(settings, torch.Generator().manual_seed(seed))
    for parameter in network.parameters():
        parameter.data.mul_(3)
    about = {
        "model": MODEL,
        "settings": to_dict(settings),
        "seed": seed,
        "data": {"images": 20},
        "epoch": 2,
        "epochs": 3,
        "seconds": 6.5,
        "command": "python -m gust.train",
        "curve": CURVE,
    }
    save_checkpoint(path, network.state_dict(), about | metadata)
    return path


def install_networks(monkeypatch, folder, *train_objects):
    """Put small networks in place of the shipped ones, and generated data into a folder of their
    own; returns the folder of the networks."""
    networks = folder / "checkpoints" / MODEL
    for a in train_objects:
        write_network(networks / f"shapes_{a}.safetensors", a, seed=a)
    for module in ("gust.trained", "gust.figures.sources"):
        monkeypatch.setattr(f"{module}.CHECKPOINTS", networks.parent)
    monkeypatch.setattr("datasets.real.DATA_FILES", folder / "data")
    return networks


def error_of(capsys, status):
    """The one sentence of a command that refuses."""
    assert status == 1
    text = capsys.readouterr().err.strip()
    assert text.startswith("error: ") and len(text.splitlines()) == 1
    return text
