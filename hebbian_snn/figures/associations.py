"""How many associations are remembered: accuracy against the number of pairs.

    python -m hebbian_snn.figures.associations --profile quick

Networks trained on n pairs of n labels; the same with the memory switched off (gamma_pos = 0); the
twin without spikes; and networks trained on fewer pairs than labels, tested on up to all of them.
Every network is tested on fixed samples that it was neither trained nor chosen by: 500 (quick) or
2000 (full). A sample whose target ties with another label counts as wrong; without memory
all outputs are 0, so there a tie is broken at random. Networks that are not trained yet are left
out, and said to be missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from common.drawing import CYCLE, DOUBLE_COLUMN, panel_label, use_style
from common.errors import command_line
from common.records import Measurement, Record, mean_measurement, new_record
from common.settings import to_dict
from common.training import progress
from hebbian_snn.figures.comparison import (
    Comparison,
    Plan,
    missing_measurements,
    run_figure,
    without_memory,
)
from hebbian_snn.tasks.associations import AssociationsTask
from hebbian_snn.training.trained import TrainedNetwork

BATCH = 128
TITLES = {
    "spiking": "spiking network",
    "no memory": "without memory",
    "twin": "ReLU twin",
    "chance": "chance",
}
STYLES = {"spiking": "o-", "no memory": "s:", "twin": "^--"}


@dataclass(frozen=True)
class AssociationsFigureSettings:
    """What stands in ``hebbian_snn/settings/figure_associations.yaml``.

    Attributes:
        pairs: of the networks trained on as many pairs as labels, and of their twins.
        trained_pairs, trained_classes: of the networks trained on fewer pairs than labels.
        samples_quick, samples_full: test samples of each network.
    """

    pairs: tuple[int, ...]
    trained_pairs: tuple[int, ...]
    trained_classes: tuple[int, ...]
    samples_quick: int
    samples_full: int


# ---- measuring ------------------------------------------------------------------------------


def expected_correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """The chance (B,) that the target is chosen if ties of outputs (B, classes) are broken at
    random."""
    highest = outputs == outputs.amax(1, keepdim=True)
    return highest.gather(1, targets[:, None])[:, 0] / highest.sum(1)


def with_pairs(task: AssociationsTask, pairs: int, samples: int) -> AssociationsTask:
    """The task with another number of pairs and of test samples."""
    dataset = replace(task.settings.dataset, sequence_length=pairs, test_size=samples)
    return AssociationsTask(replace(task.settings, dataset=dataset), task.seed)


@torch.no_grad()
def test(trained: TrainedNetwork, pairs: int, plan: Plan) -> dict[str, np.ndarray]:
    """Whether each sample (n,) is answered rightly: with ties as ``wrong``, broken at ``random``,
    and with the ``first`` of the highest outputs, as the published code chooses."""
    task = with_pairs(trained.task, pairs, plan.samples)
    found = []
    for first in range(0, plan.samples, BATCH):
        samples = range(first, min(first + BATCH, plan.samples))
        inputs, targets = task.batch("test", 0, samples, slice(None)).to(plan.device)
        outputs = trained.network(*inputs).outputs
        first_of_highest = (outputs.argmax(1) == targets).to(outputs.dtype)
        counted = (
            task.scores(outputs, targets),
            expected_correct(outputs, targets),
            first_of_highest,
        )
        found.append(torch.stack(counted))
    columns = torch.cat(found, 1).double().cpu().numpy()
    return dict(zip(("wrong", "random", "first"), columns, strict=True))


def compute(
    plan: Plan, settings: AssociationsFigureSettings
) -> tuple[Record, dict[str, np.ndarray]]:
    """Test all networks of the plan.

    Returns:
        the record, and for every series ``"SERIES-pairs"`` and ``"SERIES-accuracy"`` (points,),
        with the half widths of the 95 % intervals in ``"SERIES-interval"``. Series are
        ``spiking``, ``no memory``, ``twin`` and ``"trained on A of C"``.
    """
    record = new_record(
        FIGURE.name,
        "Hebbian memory",
        plan.profile,
        device=plan.device,
        settings={"figure": to_dict(settings), "samples": plan.samples},
        seeds=sorted({net.task.seed for net in plan.networks.values()}),
        data="generated",
        checkpoints={name: net.checkpoint.sha256 for name, net in plan.networks.items()},
    )
    points: dict[str, list[tuple[int, Measurement]]] = {}
    jobs = [job for net in plan.networks.values() for job in _jobs(net, plan)]
    for series, trained, pairs in progress(jobs, unit="test"):
        measurement = _measurement(series, trained, pairs, test(trained, pairs, plan))
        points.setdefault(series, []).append((pairs, measurement))
        record.measurements.append(measurement)
    arrays = {}
    for series, found in points.items():
        found.sort(key=lambda point: point[0])
        arrays[f"{series}-pairs"] = np.array([pairs for pairs, _ in found])
        arrays[f"{series}-accuracy"] = np.array([m.value for _, m in found])
        arrays[f"{series}-interval"] = np.array([m.interval95 or 0.0 for _, m in found])
    record.measurements += missing_measurements(plan)
    return record, arrays


def _jobs(trained: TrainedNetwork, plan: Plan) -> list[tuple[str, TrainedNetwork, int]]:
    """(series, network, pairs) of every test of a network."""
    dataset = trained.task.settings.dataset
    pairs, classes = dataset.sequence_length, dataset.num_classes
    if pairs < classes:
        series = f"trained on {pairs} of {classes}"
        return [(series, trained, n) for n in range(2, classes + 1)]
    if trained.task.settings.relu:
        return [("twin", trained, pairs)]
    silent = without_memory(trained, plan.device)
    return [("spiking", trained, pairs), ("no memory", silent, pairs)]


def _measurement(
    series: str, trained: TrainedNetwork, pairs: int, counted: dict[str, np.ndarray]
) -> Measurement:
    metadata = trained.checkpoint.metadata
    classes = trained.task.settings.dataset.num_classes
    silent = series == "no memory"
    values = counted["random" if silent else "wrong"]
    note = f"chance {100 / classes:.1f} %"
    if silent:
        note += "; all outputs are 0: ties broken at random"
    else:
        note += (
            f"; ties broken at random: {100 * counted['random'].mean():.1f} %, by the first label, "
            f"as in the published code: {100 * counted['first'].mean():.1f} %; epoch "
            f"{metadata.get('epoch')} of {metadata.get('epochs')}; the time is that of the training"
        )
    return mean_measurement(
        f"{pairs} pairs, {TITLES.get(series, series)}: accuracy",
        100 * values,
        unit="%",
        data="generated",
        seeds=[trained.task.seed],
        seconds=None if silent or series not in TITLES else metadata.get("seconds"),
        command=metadata.get("command", ""),
        checkpoint=trained.checkpoint.sha256[:12],
        note=note,
    )


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Accuracy against the number of pairs (a), and beyond the number trained on (b)."""
    names = [key.removesuffix("-pairs") for key in arrays if key.endswith("-pairs")]
    beyond = [name for name in names if name not in STYLES]
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.5), layout="constrained")
        axes = figure.subplots(1, 2)
        for name, color in zip(STYLES, CYCLE, strict=False):
            if name in names:
                _draw_series(axes[0], arrays, name, STYLES[name], color, TITLES[name])
        drawn = [arrays[f"{name}-pairs"] for name in STYLES if name in names]
        if drawn:
            pairs = np.unique(np.concatenate(drawn))
            axes[0].plot(pairs, 100 / pairs, "-", color="0.6", lw=0.8, label=TITLES["chance"])
            axes[0].set_xticks(pairs)
        axes[0].set_title("trained and tested on n pairs of n labels")
        for name, color in zip(beyond, CYCLE, strict=False):
            _draw_series(axes[1], arrays, name, "o-", color, f"{name} labels")
        if not beyond:
            axes[1].text(0.5, 0.5, "not trained yet", ha="center", transform=axes[1].transAxes)
            axes[1].set_xticks([])
        axes[1].set_title("tested on more pairs than trained on")
        for ax, letter in zip(axes, "ab", strict=True):
            ax.set(xlabel="pairs n", ylabel="test accuracy (%)", ylim=(-3, 103))
            if ax.get_legend_handles_labels()[0]:
                ax.legend(loc="best")
            panel_label(ax, letter)
    return figure


def _draw_series(
    ax: Axes, arrays: dict[str, np.ndarray], name: str, style: str, color: str, label: str
) -> None:
    ax.errorbar(
        arrays[f"{name}-pairs"],
        arrays[f"{name}-accuracy"],
        arrays[f"{name}-interval"],
        fmt=style,
        color=color,
        label=label,
        capsize=1.5,
    )


# ---- command line ---------------------------------------------------------------------------


def wanted_networks(settings: AssociationsFigureSettings) -> list[str]:
    """The names of all networks of the figure."""
    beyond = zip(settings.trained_pairs, settings.trained_classes, strict=True)
    return [
        *(f"associations_{n}" for n in settings.pairs),
        *(f"associations_relu_{n}" for n in settings.pairs),
        *(f"associations_{n}_of_{classes}" for n, classes in beyond),
    ]


def training_command(name: str) -> str:
    """What trains the network of this name."""
    numbers = [part for part in name.split("_") if part.isdigit()]
    twin = " --relu" if "relu" in name else ""
    return (
        f"python -m hebbian_snn.memorizing_associations_task{twin} "
        f"--sequence_length {numbers[0]} --num_classes {numbers[-1]}"
    )


FIGURE = Comparison(
    name="Associations",
    task_type=AssociationsTask,
    module="hebbian_snn.figures.associations",
    makes=training_command,
    settings="figure_associations",
    folder="hebbian_associations",
)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = FIGURE.load(AssociationsFigureSettings)
    samples = settings.samples_quick, settings.samples_full
    compute_all = partial(compute, settings=settings)
    run_figure(FIGURE, __doc__, wanted_networks(settings), samples, compute_all, draw, argv)


if __name__ == "__main__":
    sys.exit(main())
