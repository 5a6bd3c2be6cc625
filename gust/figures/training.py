"""Loss, AMI and SynScore over the epochs of the trainings, from the curves in the checkpoints.

    python -m gust.figures.training

Losses are per image. AMI and SynScore are those of clean validation images. A training that is not
finished has no checkpoint yet: it is left out, and said to be missing. Both profiles do the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from common.checkpoints import check_metadata, network_name
from common.drawing import CYCLE, DOUBLE_COLUMN, panel_label, use_style
from common.errors import UserError, command_line
from common.records import Measurement, Record, new_record
from common.results import report_results, result_parser
from common.settings import load_settings, to_dict
from datasets.binding import split_range
from gust.config import FILE
from gust.figures.sources import missing_networks, missing_note, shipped_name
from gust.losses import LOSSES
from gust.trained import TrainedNetwork, load_network

NAME = "Training"
CURVES = ("epoch", "loss", "validation_loss", "ami", "synscore")


@dataclass(frozen=True)
class TrainingFigureSettings:
    """What stands in ``gust/settings/figure_training.yaml``: objects of the training images."""

    train_objects: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """One run: the networks by the names they are given, the missing ones, and where."""

    profile: str
    networks: dict[str, TrainedNetwork]
    missing: tuple[int, ...]
    out: Path


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


def read_curve(trained: TrainedNetwork) -> dict[str, np.ndarray]:
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


def compute(plan: Plan, settings: TrainingFigureSettings) -> tuple[Record, dict[str, np.ndarray]]:
    """Read the curves of the plan's networks.

    Returns:
        the record, and ``"name-curve"`` (epochs,) for every network and every curve of
        :func:`read_curve`, and ``"name-best"`` (), the epoch that was kept.
    """
    record = new_record(
        NAME,
        "GUST",
        plan.profile,
        settings={"figure": to_dict(settings)},
        seeds=sorted({net.checkpoint.metadata["seed"] for net in plan.networks.values()}),
        data="generated",
        checkpoints={name: net.checkpoint.sha256 for name, net in plan.networks.items()},
        wall_seconds=0.0,
    )
    arrays = {}
    for name, trained in plan.networks.items():
        curve = read_curve(trained)
        arrays |= {f"{name}-{key}": values for key, values in curve.items()}
        arrays[f"{name}-best"] = np.array(trained.checkpoint.metadata["epoch"])
        record.measurements += measurements(trained, curve)
    for a in plan.missing:
        note = f"not drawn, the training is not finished: {missing_note(a)}"
        record.measurements.append(Measurement(f"trained on {a} objects", None, n=0, note=note))
    return record, arrays


def measurements(trained: TrainedNetwork, curve: dict[str, np.ndarray]) -> list[Measurement]:
    """What the epoch that was kept had reached."""
    metadata, objects = trained.checkpoint.metadata, trained.settings.train_objects
    best = int(np.flatnonzero(curve["epoch"] == metadata["epoch"])[0])
    scored = trained.settings.training.score_images
    notes = {
        "validation_loss": "per image, noisy input",
        "ami": f"{scored} clean validation images",
        "synscore": f"{scored} clean validation images",
    }
    titles = {"validation_loss": "validation loss", "ami": "AMI", "synscore": "SynScore"}
    return [
        Measurement(
            what=f"trained on {objects} objects: {titles[key]} of the epoch kept",
            value=float(curve[key][best]),
            seeds=[metadata["seed"]],
            seconds=metadata["seconds"] if key == "validation_loss" else None,
            command=metadata["command"],
            checkpoint=trained.checkpoint.sha256[:12],
            note=f"{note}; epoch {metadata['epoch']} of {metadata['epochs']}; the time is that of "
            "the training",
        )
        for key, note in notes.items()
    ]


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Loss (a), AMI (b) and SynScore (c) over epochs; a dot marks the epoch that was kept."""
    names = [key.removesuffix("-best") for key in arrays if key.endswith("-best")]
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.4), layout="constrained")
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


def _draw_curve(
    ax: Axes, arrays: dict[str, np.ndarray], name: str, key: str, color: str, label: str = ""
) -> None:
    epochs, values = arrays[f"{name}-epoch"], arrays[f"{name}-{key}"]
    there = np.isfinite(values)
    ax.plot(epochs[there], values[there], color=color, lw=0.9, label=label)
    kept = there & (epochs == arrays[f"{name}-best"])
    ax.plot(epochs[kept], values[kept], "o", color=color)


# ---- command line ---------------------------------------------------------------------------


def _parser(settings: TrainingFigureSettings) -> argparse.ArgumentParser:
    return result_parser(
        "gust.figures.training",
        __doc__,
        "gust_training",
        "both are the same",
        "names of networks, or checkpoint files (default: "
        f"{', '.join(map(shipped_name, settings.train_objects))}, as far as they are there)",
    )


def plan_from(args: argparse.Namespace, settings: TrainingFigureSettings) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    missing = () if args.networks else missing_networks(settings.train_objects)
    chosen = args.networks or [shipped_name(a) for a in settings.train_objects if a not in missing]
    if not chosen:
        raise UserError(
            "no training is finished yet, so there is nothing to draw; "
            f"{missing_note(settings.train_objects[0])}"
        )
    networks = {network_name(name): load_network(name) for name in chosen}
    return Plan(args.profile, networks, missing, args.out)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = load_settings(TrainingFigureSettings, FILE.with_name("figure_training.yaml"))
    plan = plan_from(_parser(settings).parse_args(argv), settings)
    record, arrays = compute(plan, settings)
    report_results(plan.out, record, arrays, draw(record, arrays))
    for a in plan.missing:
        print(f"the training on {a} objects is not finished and not drawn: {missing_note(a)}")


if __name__ == "__main__":
    sys.exit(main())
