"""One-shot learning on Omniglot: accuracy of the memory and of what it is compared with.

    python -m hebbian_snn.figures.omniglot --profile quick

All answer the same test episodes (1000 in the quick profile, 51 200 in the full one) of 5 classes
with one image each: the spiking network; the same with the memory off (gamma_pos = 0); the twin
without spikes; and the prototypical network whose encoder they use, which takes the nearest of the
five images. A tie counts as wrong; without memory all outputs are 0, so there a tie is broken at
random. Networks that are not trained yet are left out, and said to be missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.drawing import CYCLE, DOUBLE_COLUMN, panel_label, use_style
from common.errors import command_line
from common.records import Measurement, Record, mean_measurement
from common.training import progress
from hebbian_snn.convnets.front_end import features
from hebbian_snn.convnets.protonet import prototype_scores
from hebbian_snn.figures.associations import expected_correct
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
from hebbian_snn.tasks.omniglot import OmniglotTask
from hebbian_snn.training.task import correct
from hebbian_snn.training.trained import TrainedNetwork

SHOWN = 4
"""Episodes that are drawn."""


FIGURE = Comparison(
    name="Omniglot one-shot",
    task_type=OmniglotTask,
    module="hebbian_snn.figures.omniglot",
    makes=partial(training_command, "hebbian_snn.omniglot_one_shot_task"),
    settings="figure_omniglot",
    folder="hebbian_omniglot",
    has_data=True,
)


# ---- measuring ------------------------------------------------------------------------------


def compute(plan: Plan, settings: ComparisonSettings) -> tuple[Record, dict[str, np.ndarray]]:
    """Test all networks of the plan, and the prototypical networks behind them.

    Returns:
        the record; ``series`` (n,), names, with ``accuracy`` and ``interval`` (n,), in %; and of
        the first episodes the ``images`` (k, way, H, W) and ``query`` (k, H, W), ``targets`` (k,)
        and the ``answers`` (k,) of the first network.
    """
    record = record_of(FIGURE, plan, settings)
    arrays: dict[str, np.ndarray] = {}
    done: set[str] = set()
    for name, trained in progress(plan.networks.items(), unit="network"):
        prototypes = _prototypes(trained, plan.device)
        if prototypes is not None and prototypes[0] not in done:
            done.add(prototypes[0])
            record.measurements.append(_measurement(trained, "ProtoNet", *prototypes[1:]))
        outputs, targets = answers(trained, plan.device)
        title = title_of(trained)
        strict = correct(outputs, targets)
        record.measurements.append(_measurement(trained, title, strict, is_network=True))
        if not arrays:
            arrays = _episodes(trained, outputs)
        if not trained.task.settings.relu:
            silent, _ = answers(without_memory(trained, plan.device), plan.device)
            shared = expected_correct(silent, targets)
            note = "all outputs are 0: ties broken at random"
            record.measurements.append(_measurement(trained, f"{title}, no memory", shared, note))
        record.data = trained.checkpoint.metadata["data"]["source"]
        record.checkpoints[f"encoder of {name}"] = prototypes[0] if prototypes else "untrained"
    arrays["series"] = np.array([m.what.removesuffix(": accuracy") for m in record.measurements])
    arrays["accuracy"] = np.array([m.value for m in record.measurements])
    arrays["interval"] = np.array([m.interval95 or 0.0 for m in record.measurements])
    arrays["chance"] = np.array(100 / arrays["images"].shape[1])
    record.measurements += missing_measurements(plan)
    return record, arrays


@torch.no_grad()
def _prototypes(
    trained: TrainedNetwork, device: torch.device
) -> tuple[str, torch.Tensor, str] | None:
    """SHA-256 of the prototypical network behind a network, whether it answers each test episode
    rightly (N,), and a note; None where there is none."""
    task = trained.task
    source = task.pretrained()
    if source is None:
        return None
    encoder = task.relu_encoder(torch.Generator().manual_seed(0)).to(device)
    episodes = task.episodes("test", 0, range(task.sizes()["test"]))
    images = task.images("test")
    numbers = torch.cat([episodes.images, episodes.query[:, None]], 1)
    used, place = numbers.unique(return_inverse=True)
    found = features(encoder, images[used].to(device)).cpu()[place]
    scores = prototype_scores(found[:, :-1, None], found[:, None, -1:])[:, 0]
    own = source.metadata.get("test", {}).get("accuracy")
    note = f"epoch {source.metadata.get('epoch')} of {source.metadata.get('epochs')}"
    if own is not None:
        note += f"; {100 * own:.2f} % in the test of its own training"
    return source.sha256, correct(scores, episodes.labels), note


def _measurement(
    trained: TrainedNetwork,
    what: str,
    values: torch.Tensor,
    note: str = "",
    is_network: bool = False,
) -> Measurement:
    metadata, data = trained.checkpoint.metadata, trained.task.settings.dataset
    if is_network:
        note = (
            f"chance {100 / data.num_classes:.0f} %; {note_of(trained)}; the time is that of the "
            "training"
        )
    return mean_measurement(
        f"{what}: accuracy",
        100 * values.double().numpy(),
        unit="%",
        data=metadata["data"]["source"],
        seeds=[trained.task.seed],
        seconds=metadata.get("seconds") if is_network else None,
        command=metadata.get("command", "") if is_network else "",
        checkpoint=trained.checkpoint.sha256[:12],
        note=note,
    )


def _episodes(trained: TrainedNetwork, outputs: torch.Tensor) -> dict[str, np.ndarray]:
    """The first episodes, and what the network answers."""
    images = trained.task.images("test")
    shown = trained.task.episodes("test", 0, range(min(SHOWN, len(outputs))))
    return {
        "images": images[shown.images].numpy(),
        "query": images[shown.query].numpy(),
        "targets": shown.labels.numpy(),
        "answers": outputs[: len(shown.labels)].argmax(1).numpy(),
    }


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Episodes with the answers (a), accuracy (b)."""
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.3), layout="constrained")
        axes = figure.subplots(1, 2, width_ratios=(1, 1))
        _draw_episodes(axes[0], arrays)
        _draw_bars(axes[1], arrays)
        for ax, letter in zip(axes, "ab", strict=True):
            panel_label(ax, letter)
    return figure


def _draw_episodes(ax: Axes, arrays: dict[str, np.ndarray]) -> None:
    """A row for each episode: its images, a gap, the query."""
    images, query = arrays["images"].astype(float), arrays["query"].astype(float)
    n, way, height, width = images.shape
    rows = np.full((n, height + 2, (way + 2) * (width + 2)), np.nan)
    for k in range(way):
        rows[:, :height, k * (width + 2) : k * (width + 2) + width] = images[:, k]
    rows[:, :height, -width:] = query
    ax.imshow(rows.reshape(-1, rows.shape[2]), cmap="gray_r")
    labels = [str(k) for k in range(way)]
    middle = [(k + 0.5) * (width + 2) - 1 for k in range(way)]
    ax.set_xticks([*middle, rows.shape[2] - width / 2], [*labels, "query"])
    ax.set(yticks=[], title="test episodes and answers")
    ax.tick_params(axis="x", length=0)
    ax.spines[:].set_visible(False)
    for k, (answer, target) in enumerate(zip(arrays["answers"], arrays["targets"], strict=True)):
        mark = f"{answer}" if answer == target else f"{answer}, not {target}"
        color = "0.2" if answer == target else CYCLE[1]
        place = (rows.shape[2] + 4, k * (height + 2) + height / 2)
        ax.text(*place, mark, va="center", fontsize=6.5, color=color)


def _draw_bars(ax: Axes, arrays: dict[str, np.ndarray]) -> None:
    names, accuracy = arrays["series"].tolist(), arrays["accuracy"]
    places = np.arange(len(names))[::-1]
    colors = ["0.6" if "Proto" in n else CYCLE[1 if "ReLU" in n else 0] for n in names]
    ax.barh(places, accuracy, color=colors, xerr=arrays["interval"], ecolor="0.1", capsize=1.5)
    for place, value, half in zip(places, accuracy, arrays["interval"], strict=True):
        ax.annotate(
            f"{value:.1f}",
            (value + half, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6,
        )
    ax.axvline(float(arrays["chance"]), color="0.3", lw=0.8, ls=":")
    ax.annotate(
        "chance",
        (float(arrays["chance"]), 1),
        xycoords=ax.get_xaxis_transform(),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        fontsize=6,
    )
    ax.set_yticks(places, [name.replace(", ", ",\n", 1) for name in names])
    ax.set(xlim=(0, 112), xlabel="test accuracy (%)")
    ax.tick_params(axis="y", length=0)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    comparison_command(FIGURE, __doc__, compute, draw, argv)


if __name__ == "__main__":
    sys.exit(main())
