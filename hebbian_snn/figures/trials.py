"""The activity of a network in one trial: what the activity plots of all tasks have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from common.drawing import DOUBLE_COLUMN, panel_label, use_style
from common.errors import NotThereError, UserError
from common.paths import CHECKPOINTS
from common.records import Measurement, Record, new_record
from common.results import report_results
from common.runs import network_file
from common.settings import to_dict
from hebbian_snn.figures.panels import draw_train, label_axes
from hebbian_snn.figures.plot_flags import network_of, plot_parser
from hebbian_snn.training.task import SupervisedTask
from hebbian_snn.training.trained import MODEL, TrainedNetwork, check_sources, need_shipped

Layer = tuple[str, str]
"""Name of a layer among the arrays, and its title."""


# ---- one trial ------------------------------------------------------------------------------


def shown_layer(task: SupervisedTask, x: torch.Tensor) -> np.ndarray:
    """A layer (1, T, N) as the figures take it: bytes are spikes, floats activities."""
    return x[0].float().numpy() if task.settings.relu else x[0].byte().numpy()


@torch.no_grad()
def compute_trial(
    trained: TrainedNetwork, number: int, name: str, profile: str = "full"
) -> tuple[Record, dict[str, np.ndarray]]:
    """One test sample through a network.

    Returns:
        the record with the mean rates, and ``mem`` (M, M), ``outputs`` and ``target`` of the
        sample, and the spikes (T, N) uint8 of every layer as ``"spikes-NAME"``; of the twin, which
        has none, its activities (items, N) float32.

    Raises :class:`UserError` for a sample that there is not.
    """
    task = trained.task
    size = task.sizes()["test"]
    if not 0 <= number < size:
        raise UserError(f"there is no test sample {number}; there are 0 to {size - 1}")
    inputs, targets = task.batch("test", 0, range(number, number + 1), slice(None))
    encoded, recalled, *decoded = trained.network.activity(*inputs)
    layers = {
        **encoded,
        **{f"write_{key}": x for key, x in recalled.written.items()},
        **{f"read_{key}": x for key, x in recalled.read.items()},
        **(decoded[0] if decoded else {}),
    }
    arrays = {f"spikes-{key}": shown_layer(task, x) for key, x in layers.items()}
    arrays["mem"] = recalled.mem[0].numpy()
    arrays["outputs"] = trained.network(*inputs).outputs[0].numpy()
    arrays["target"] = targets[0].numpy()
    record = new_record(
        name,
        "Hebbian memory",
        profile,
        settings={"network": to_dict(task.settings), "sample": number},
        seeds=[task.seed],
        checkpoints={trained.checkpoint.name: trained.checkpoint.sha256},
    )
    record.measurements = [
        Measurement(
            f"mean {'activity' if task.settings.relu else 'rate'} of {key.replace('_', ' ')}",
            float(x[0].mean()) * (1 if task.settings.relu else 1e3),
            "" if task.settings.relu else "Hz",
            note=f"test sample {number}",
        )
        for key, x in layers.items()
    ]
    return record, arrays


@dataclass(frozen=True)
class TrialFigure:
    """What an activity plot shows.

    Attributes:
        items: that are written.
        written, read: layers from top to bottom, on the left and on the right.
        draw_inputs, draw_query: on the axes above them.
        below: further panels.
    """

    items: int
    written: tuple[Layer, ...]
    read: tuple[Layer, ...]
    draw_inputs: Callable[[Axes], None]
    draw_query: Callable[[Axes], None]
    below: tuple[Callable[[Axes], None], ...]


def draw_trial(arrays: dict[str, np.ndarray], what: TrialFigure) -> Figure:
    """Inputs and spikes while writing on the left, while reading on the right; panels below. Bars
    are the firing rates of the neurons."""
    rows = 1 + max(len(what.written), len(what.read))
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 1.2 * rows + 1.8), layout="constrained")
        parts = figure.subfigures(2, 1, height_ratios=(1.2 * rows, 1.8))
        upper = parts[0].subfigures(1, 2, width_ratios=(min(1 + 0.3 * what.items, 2.5), 1))
        labelled = _draw_side(
            upper[0], arrays, what.written, rows, what.items, what.draw_inputs, (6, 1)
        )
        labelled += _draw_side(upper[1], arrays, what.read, rows, 1, what.draw_query, (3, 1))
        below = parts[1].subplots(1, len(what.below), squeeze=False)[0]
        for ax, draw in zip(below, what.below, strict=True):
            draw(ax)
        for ax, letter in zip([*labelled, *below], "abcdefghijklmnopqrst", strict=False):
            panel_label(ax, letter)
    return figure


def _draw_side(
    figure: SubFigure,
    arrays: dict[str, np.ndarray],
    layers: Sequence[Layer],
    rows: int,
    items: int,
    draw_input: Callable[[Axes], None],
    widths: tuple[int, int],
) -> list[Axes]:
    """The axes that get a letter."""
    axes = figure.subplots(rows, 2, width_ratios=widths, squeeze=False)
    draw_input(axes[0, 0])
    axes[0, 1].axis("off")
    for row, (name, title) in zip(axes[1:], layers, strict=False):
        draw_train(*row, arrays[f"spikes-{name}"], title, items)
    label_axes(*axes[len(layers)], arrays[f"spikes-{layers[-1][0]}"])
    for ax in axes[len(layers) + 1 :].flat:
        ax.axis("off")
    return list(axes[: len(layers) + 1, 0])


def draw_weights(ax: Axes, mem: np.ndarray) -> None:
    """How many synapses (M, M) have which weight."""
    ax.hist(mem.ravel(), bins=40, color="0.5")
    ax.set_yscale("log")
    ax.set(title="association weights", xlabel="weight", ylabel="synapses")


def images_in_a_row(images: np.ndarray) -> np.ndarray:
    """(n, H, W) to (H, n * (W + 2)), white lines between."""
    padded = np.pad(np.asarray(images, float), ((0, 0), (0, 0), (1, 1)), constant_values=np.nan)
    return np.concatenate(list(padded), axis=1)


def draw_row(ax: Axes, images: np.ndarray, labels: Sequence[str], title: str) -> None:
    """Images (n, H, W) side by side with a label below each."""
    n, _, width = images.shape
    ax.imshow(images_in_a_row(images), cmap="gray_r")
    ax.set_xticks([(k + 0.5) * (width + 2) - 0.5 for k in range(n)], labels)
    ax.set(title=title, yticks=[])
    ax.tick_params(axis="x", length=0)


# ---- command line ---------------------------------------------------------------------------


def plot_command(
    task_type: type[SupervisedTask],
    description: str | None,
    network: str,
    folder: str,
    compute: Callable[..., tuple[Record, dict[str, np.ndarray]]],
    draw: Callable[..., Figure],
    argv: Sequence[str] | None,
    generated: bool = False,
) -> None:
    """Draw what a network does in one trial, as the flags say.

    Args:
        task_type, description: of the script. network: that is shown by default.
        folder: of its results. compute, draw: of its figure. argv: flags.
        generated: the data are neither real nor embedded.
    """
    args = plot_parser(task_type, description, network, folder, generated).parse_args(argv)
    data = getattr(args, "data", None)
    chosen, stand_in = args.checkpoint_path, f"{network}_embedded"
    if chosen is None:
        embedded = not generated and data == "embedded"
        args.checkpoint_path = need_shipped(stand_in if embedded else network)
    try:
        trained = network_of(task_type, args)
        check_sources(trained.task, trained.checkpoint)
    except NotThereError as error:  # the data of its training are not there
        if chosen is not None or generated or data not in (None, "auto"):
            raise
        if not network_file(MODEL, stand_in, CHECKPOINTS).exists():
            raise
        print(f"A network trained on a stand-in is shown: {error}")
        args.checkpoint_path = stand_in
        trained = network_of(task_type, args)
        check_sources(trained.task, trained.checkpoint)
    record, arrays = compute(trained, args.sample, args.profile)
    report_results(args.out, record, arrays, draw(record, arrays))
