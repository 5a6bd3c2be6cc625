"""Cross-modal associations: the images that a network draws when it hears a digit again.

    python -m hebbian_snn.figures.cross_modal --profile quick

All answer the same test samples (200 in the quick profile, 1000 in the full one), whose images show
any digits: the spiking network; the same with the memory switched off (gamma_pos = 0); and the twin
without spikes. Networks with a memory also answer the paper's test samples, in which every image
shows the digit that is heard ("same digits").
Measured are the mean squared error of the pixels (0 to 1), and the share of drawn images that the
classifier of written digits (``pretrain_digit_classifier``) recognises as the digit of the image
wanted. For comparison: the error of the mean training image, and the share of wanted images
recognised.
Networks that are not trained yet are left out, and said to be missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from common.checkpoints import Checkpoint
from common.drawing import CYCLE, DOUBLE_COLUMN, panel_label, use_style
from common.errors import command_line
from common.records import Measurement, Record, mean_measurement
from common.training import progress
from hebbian_snn.convnets.digit_classifier import ClassifierTask
from hebbian_snn.figures.comparison import (
    Comparison,
    ComparisonSettings,
    Plan,
    answers,
    comparison_command,
    missing_measurements,
    note_of,
    record_of,
    title_of,
    training_command,
    without_memory,
)
from hebbian_snn.figures.trials import images_in_a_row
from hebbian_snn.tasks.cross_modal import CrossModalTask
from hebbian_snn.training.trained import TrainedNetwork, load_network

SHOWN = 4
"""Samples that are drawn."""

SIDE = 28
FULL = 255
"""Of an image as the classifier takes it."""


FIGURE = Comparison(
    name="Cross-modal associations",
    task_type=CrossModalTask,
    module="hebbian_snn.figures.cross_modal",
    makes=partial(training_command, "hebbian_snn.cross_modal_associations_task"),
    settings="figure_cross_modal",
    folder="hebbian_cross_modal",
    has_data=True,
)


# ---- measuring ------------------------------------------------------------------------------


def compute(plan: Plan, settings: ComparisonSettings) -> tuple[Record, dict[str, np.ndarray]]:
    """Test all networks of the plan.

    Returns:
        the record; ``series`` (n,), names, with ``mse``, ``mse_interval`` and ``recognised``,
        ``recognised_interval`` (n,), the latter in %, NaN where it says nothing; and of the first
        samples ``heard`` (k, n), the spoken digits, ``images`` (k, n, 28, 28), ``asked`` (k,), the
        place of the pair asked for, and ``drawn`` (k, 28, 28) by the first network.
    """
    record = record_of(FIGURE, plan, settings)
    rows: list[tuple[str, Measurement, Measurement | None]] = []
    arrays: dict[str, np.ndarray] = {}
    for network in progress(plan.networks.values(), unit="network"):
        trained = paired(network, "any")
        classifier, source = _classifier(trained.task, plan.device)
        record.checkpoints[source.name] = source.sha256
        outputs, targets = answers(trained, plan.device)
        labels = _wanted_labels(trained.task)
        if not rows:
            rows += _references(trained, classifier, targets, labels, plan.device)
            arrays = _samples(trained.task, outputs)
        title = title_of(trained)
        rows.append(_row(trained, title, outputs, targets, labels, classifier, plan.device))
        if not trained.task.settings.relu:
            silent, _ = answers(without_memory(trained, plan.device), plan.device)
            title += ", no memory"
            rows.append(_row(trained, title, silent, targets, labels, classifier, plan.device))
        same = paired(trained, "same")
        found, title = answers(same, plan.device), f"{title_of(trained)}, same digits"
        labels = _wanted_labels(same.task)
        rows.append(_row(same, title, *found, labels, classifier, plan.device))
    for _, *measurements in rows:
        record.measurements += [m for m in measurements if m is not None]
    record.data = rows[0][1].data
    arrays["series"] = np.array([name for name, *_ in rows])
    for place, key in ((1, "mse"), (2, "recognised")):
        found = [row[place] for row in rows]
        arrays[key] = np.array([m.value if m else np.nan for m in found])
        arrays[f"{key}_interval"] = np.array([(m and m.interval95) or 0.0 for m in found])
    record.measurements += missing_measurements(plan)
    return record, arrays


def paired(trained: TrainedNetwork, pairing: str) -> TrainedNetwork:
    """The network with a test in which recordings are paired so with images."""
    settings = trained.task.settings
    dataset = replace(settings.dataset, test_pairing=pairing)
    return replace(trained, task=trained.task.altered(replace(settings, dataset=dataset)))


def _classifier(task: CrossModalTask, device: torch.device) -> tuple[TrainedNetwork, Checkpoint]:
    """The classifier of written digits, and its file."""
    source = task.pretrained("image") or task.classifier("image")
    return load_network(ClassifierTask, source.path, device), source


def _wanted_labels(task: CrossModalTask) -> Tensor:
    """Digits (N,) of the images wanted."""
    _, images, _, asked = task.samples("test")
    return task.digits("image", "test").labels[images[torch.arange(len(images)), asked]]


@torch.no_grad()
def recognised(
    images: Tensor, labels: Tensor, classifier: TrainedNetwork, device: torch.device
) -> Tensor:
    """Whether each image (N, 784) of 0 to 1, cut off there, is seen as its digit (N,)."""
    pixels = (images.clamp(0, 1) * FULL).view(-1, SIDE, SIDE).to(device)
    return (classifier.network(pixels).outputs.argmax(1).cpu() == labels).double()


def _row(
    trained: TrainedNetwork,
    title: str,
    outputs: Tensor,
    targets: Tensor,
    labels: Tensor,
    classifier: TrainedNetwork,
    device: torch.device,
) -> tuple[str, Measurement, Measurement]:
    metadata, task = trained.checkpoint.metadata, trained.task
    fields = {
        "data": _data(task),
        "seeds": [task.seed],
        "checkpoint": trained.checkpoint.sha256[:12],
        "note": note_of(trained),
    }
    errors = task.losses(outputs, targets).double().numpy()
    seen = recognised(outputs, labels, classifier, device).numpy()
    return (
        title,
        mean_measurement(
            f"{title}: mean squared error",
            errors,
            seconds=metadata.get("seconds"),
            command=metadata.get("command", ""),
            **fields,
        ),
        mean_measurement(
            f"{title}: recognised as the paired digit", 100 * seen, unit="%", **fields
        ),
    )


def _data(task: CrossModalTask) -> str:
    return ", ".join(task.digits(modality, "test").source for modality in ("audio", "image"))


def _references(
    trained: TrainedNetwork,
    classifier: TrainedNetwork,
    targets: Tensor,
    labels: Tensor,
    device: torch.device,
) -> list[tuple[str, Measurement, Measurement | None]]:
    """What the mean training image and the wanted images themselves come to."""
    task = trained.task
    mean = task.digits("image", "train").images.float().mean(0).flatten() / FULL
    errors = task.losses(mean.expand_as(targets), targets).double().numpy()
    seen = recognised(targets, labels, classifier, device).numpy()
    fields = {"data": _data(task), "checkpoint": classifier.checkpoint.sha256[:12]}
    perfect = Measurement("the images wanted: mean squared error", 0.0, n=len(targets), **fields)
    return [
        (
            "mean training image",
            mean_measurement("mean training image: mean squared error", errors, data=_data(task)),
            None,
        ),
        (
            "the images wanted",
            perfect,
            mean_measurement(
                "the images wanted: recognised", 100 * seen, unit="%", note="upper limit", **fields
            ),
        ),
    ]


def _samples(task: CrossModalTask, outputs: Tensor) -> dict[str, np.ndarray]:
    """The first samples, and what the network draws."""
    spoken, images, _, asked = (x[:SHOWN] for x in task.samples("test"))
    return {
        "heard": task.digits("audio", "test").labels[spoken].numpy(),
        "images": task.digits("image", "test").images[images].numpy(),
        "asked": asked.numpy(),
        "drawn": outputs[:SHOWN].view(-1, SIDE, SIDE).numpy(),
    }


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Samples (a), error of the images drawn (b), share recognised (c)."""
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.5), layout="constrained")
        axes = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
        _draw_samples(axes[0], arrays)
        _draw_bars(axes[1], arrays, "mse", "mean squared error", ".3f")
        _draw_bars(axes[2], arrays, "recognised", "recognised (%)", ".1f")
        axes[2].set_yticklabels([])
        axes[2].set(xlim=(0, 118), xticks=[0, 50, 100])
        for ax, letter in zip(axes, "abc", strict=True):
            panel_label(ax, letter)
    return figure


def _draw_samples(ax: Axes, arrays: dict[str, np.ndarray]) -> None:
    """A row for each sample: its images, a gap, the image drawn; the digits heard above them."""
    rows = []
    for images, drawn in zip(arrays["images"] / FULL, arrays["drawn"], strict=True):
        gap = np.full((1, *drawn.shape), np.nan)
        rows.append(images_in_a_row(np.concatenate([images, gap, drawn[None].clip(0, 1)])))
    height, width = rows[0].shape
    space = 12  # pixels between rows, for the digits
    stack = np.full((len(rows) * (height + space), width), np.nan)
    for k, row in enumerate(rows):
        stack[k * (height + space) + space : (k + 1) * (height + space)] = row
    ax.imshow(stack, cmap="gray_r", vmin=0, vmax=1)
    n = arrays["images"].shape[1]
    for k, (heard, asked) in enumerate(zip(arrays["heard"], arrays["asked"], strict=True)):
        top = k * (height + space) + space - 2
        for place, digit in enumerate([*heard, None, heard[asked]]):
            if digit is not None:
                mine = place == asked or place > n
                ax.text(
                    (place + 0.5) * (SIDE + 2),
                    top,
                    f'"{digit}"',
                    ha="center",
                    fontsize=6,
                    color=CYCLE[1] if mine else "0.3",
                )
    ax.set(xticks=[(n / 2) * (SIDE + 2), (n + 1.5) * (SIDE + 2)], yticks=[])
    ax.set_xticklabels(["pairs: heard, seen", "query, drawn"])
    ax.tick_params(axis="x", length=0)
    ax.spines[:].set_visible(False)


def _draw_bars(
    ax: Axes, arrays: dict[str, np.ndarray], key: str, label: str, value_format: str
) -> None:
    names, values = arrays["series"].tolist(), arrays[key]
    places = np.arange(len(names))[::-1]
    grey = ("mean training image", "the images wanted")
    colors = ["0.7" if n in grey else CYCLE[1 if "ReLU" in n else 0] for n in names]
    halves = arrays[f"{key}_interval"]
    ax.barh(places, np.nan_to_num(values), color=colors, xerr=halves, ecolor="0.1", capsize=1.5)
    for place, value, half in zip(places, values, halves, strict=True):
        known = np.isfinite(value)
        ax.annotate(
            f"{value:{value_format}}" if known else "does not apply",
            (value + half if known else 0, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6,
        )
    ax.set_yticks(places, [name.replace(", ", ",\n", 1) for name in names])
    ax.set(xlabel=label)
    ax.margins(x=0.2)
    ax.tick_params(axis="y", length=0)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    comparison_command(FIGURE, __doc__, compute, draw, argv)


if __name__ == "__main__":
    sys.exit(main())
