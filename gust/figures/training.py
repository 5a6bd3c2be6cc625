"""Loss, AMI and SynScore over the epochs of the trainings, from the curves in the checkpoints.

    python -m gust.figures.training

Losses are per image. AMI and SynScore are those of clean validation images. A training that is not
finished has no checkpoint yet: it is left out, and said to be missing. Both profiles do the same.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from common.checkpoints import check_metadata, network_name
from common.drawing import CYCLE, DOUBLE_COLUMN, panel_label, use_style
from common.errors import UserError
from common.figure import Arrays, Figure, FigureOptions, FigureRecord
from common.records import Record
from datasets.binding import split_range
from gust.config import FILE
from gust.figures.sources import missing_networks, missing_note, shipped_name
from gust.losses import LOSSES
from gust.trained import TrainedNetwork, load_network

CURVES = ("epoch", "loss", "validation_loss", "ami", "synscore")


@dataclass(frozen=True, kw_only=True)
class Options(FigureOptions):
    """What stands in ``gust/settings/figure_training.yaml``: objects of the training images."""

    train_objects: tuple[int, ...]


# ---- measuring ------------------------------------------------------------------------------


METADATA = {
    "epoch": int,
    "data": {"images": int},
    "curve": [
        {
            "epoch": int,
            "loss": float,
            "validation_loss": float,
            "ami?": float,
            "synscore?": float,
        }
    ],
}
"""What the figure reads of a network, besides what every one has."""


def read_curve(trained: TrainedNetwork) -> Arrays:
    """The log of a training as arrays (epochs,).

    Returns:
        ``epoch``, ``loss`` and ``validation_loss`` per image, ``ami`` and ``synscore`` (NaN for
        epochs without).

    Raises :class:`UserError` for a checkpoint without a log of the epoch that was kept.
    """
    check_metadata(trained.checkpoint, METADATA)
    metadata = trained.checkpoint.metadata
    lines, count = metadata["curve"], metadata["data"]["images"]
    if metadata["epoch"] not in [line["epoch"] for line in lines]:
        raise UserError(
            f"{trained.checkpoint.path} holds no log of its training; train it with gust.train"
        )
    curve = {
        key: np.array([line.get(key, np.nan) for line in lines], dtype=np.float64) for key in CURVES
    }
    if not LOSSES[trained.settings.training.loss].averaged:
        curve["loss"] /= len(split_range(count, "train"))
        curve["validation_loss"] /= len(split_range(count, "validation"))
    return curve


def compute(options: Options, record: FigureRecord) -> Arrays:
    """Read the curves of the networks that are named, or of all that are there.

    Returns:
        ``"name-curve"`` (epochs,) for every network and every curve of :func:`read_curve`, and
        ``"name-best"`` (), the epoch that was kept.
    """
    missing = () if options.networks else missing_networks(options.train_objects)
    shipped = [shipped_name(a) for a in options.train_objects if a not in missing]
    networks = {network_name(name): load_network(name) for name in options.networks or shipped}
    if not networks:
        raise UserError(
            "no training is finished yet, so there is nothing to draw; "
            f"{missing_note(options.train_objects[0])}"
        )
    record.data, record.wall_seconds = "generated", 0.0
    record.seeds = sorted({net.checkpoint.metadata["seed"] for net in networks.values()})
    record.checkpoints = {name: net.checkpoint.sha256 for name, net in networks.items()}
    arrays = {}
    for name, trained in networks.items():
        curve = read_curve(trained)
        arrays |= {f"{name}-{key}": values for key, values in curve.items()}
        arrays[f"{name}-best"] = np.array(trained.checkpoint.metadata["epoch"])
        measure(record, trained, curve)
    for a in missing:
        note = f"not drawn, the training is not finished: {missing_note(a)}"
        record.measure(f"trained on {a} objects", None, note=note)
    return arrays


def measure(record: FigureRecord, trained: TrainedNetwork, curve: Arrays) -> None:
    """Record what the epoch that was kept had reached."""
    metadata, objects = trained.checkpoint.metadata, trained.settings.train_objects
    best = int(np.flatnonzero(curve["epoch"] == metadata["epoch"])[0])
    scored = f"{trained.settings.training.score_images} clean validation images"
    for key, title, note in (
        ("validation_loss", "validation loss", "per image, noisy input"),
        ("ami", "AMI", scored),
        ("synscore", "SynScore", scored),
    ):
        record.measure(
            f"trained on {objects} objects: {title} of the epoch kept",
            curve[key][best],
            of=trained.checkpoint,
            seeds=[metadata["seed"]],
            seconds=metadata["seconds"] if key == "validation_loss" else None,
            command=metadata["command"],
            note=f"{note}; epoch {metadata['epoch']} of {metadata['epochs']}; the time is that of "
            "the training",
        )


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: Arrays) -> mpl.figure.Figure:
    """Loss (a), AMI (b) and SynScore (c) over epochs; a dot marks the epoch that was kept."""
    names = [key.removesuffix("-best") for key in arrays if key.endswith("-best")]
    with use_style():
        figure = mpl.figure.Figure(figsize=(DOUBLE_COLUMN, 2.4), layout="constrained")
        axes = figure.subplots(1, 3, sharex=True)
        for name, color in zip(names, CYCLE, strict=False):
            label = f"{name.removeprefix('shapes_')} objects"
            _draw_curve(axes[0], arrays, name, "validation_loss", color, label)
            _draw_curve(axes[1], arrays, name, "ami", color)
            _draw_curve(axes[2], arrays, name, "synscore", color)
            axes[0].plot(arrays[f"{name}-epoch"], arrays[f"{name}-loss"], ":", color=color, lw=0.9)
        axes[0].set(ylabel="loss per image", xscale="log")
        axes[0].ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
        axes[0].xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        axes[0].xaxis.set_minor_formatter(NullFormatter())
        axes[1].set(ylabel="AMI of validation images", ylim=(0, 1))
        axes[2].set(ylabel="SynScore of validation images", ylim=(0, 1))
        for ax, letter in zip(axes, "abc", strict=True):
            ax.set_xlabel("epoch")
            panel_label(ax, letter)
        axes[0].plot([], [], "-", color="0.4", label="validation")
        axes[0].plot([], [], ":", color="0.4", lw=0.9, label="training")
        axes[0].plot([], [], "o", color="0.4", label="epoch kept")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    return figure


def _draw_curve(ax: Axes, arrays: Arrays, name: str, key: str, color: str, label: str = "") -> None:
    epochs, values = arrays[f"{name}-epoch"], arrays[f"{name}-{key}"]
    there = np.isfinite(values)
    ax.plot(epochs[there], values[there], color=color, lw=0.9, label=label)
    kept = there & (epochs == arrays[f"{name}-best"])
    ax.plot(epochs[kept], values[kept], "o", color=color)


FIGURE = Figure(
    "gust_training",
    "Training",
    "GUST",
    Options,
    compute,
    draw,
    [FILE.with_name("figure_training.yaml")],
    "scripts/gust/figure_training.sh",
    networks="names of networks, or checkpoint files (default: those of 2, 3 and 4 objects, as far "
    "as they are there)",
)
main = FIGURE.main


if __name__ == "__main__":
    sys.exit(main())
