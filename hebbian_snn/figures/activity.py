"""What a network for associations does in one trial: inputs, spikes, memory, outputs."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from common.drawing import DOUBLE_COLUMN, panel_label, use_style
from common.errors import UserError
from common.records import Measurement, Record, new_record
from common.settings import to_dict
from hebbian_snn.figures.panels import draw_memory, draw_scores, draw_train, label_axes
from hebbian_snn.figures.trials import shown_layer
from hebbian_snn.tasks.associations import AssociationsTask
from hebbian_snn.training.task import Batch
from hebbian_snn.training.trained import TrainedNetwork

NAME = "Associations: network activity"
WRITTEN = ("vectors", "labels", "write_keys", "write_values")
READ = ("query", "read_keys", "read_values")


def trial(task: AssociationsTask, number: int) -> Batch:
    """A test sample as a batch of one.

    Raises :class:`UserError` for a number that there is not.
    """
    size = task.sizes()["test"]
    if not 0 <= number < size:
        raise UserError(f"there is no test sample {number}; there are 0 to {size - 1}")
    return task.batch("test", 0, range(number, number + 1), slice(None))


@torch.no_grad()
def compute(
    trained: TrainedNetwork, number: int, profile: str = "full"
) -> tuple[Record, dict[str, np.ndarray]]:
    """One test sample through the network.

    Returns:
        the record, and ``vectors`` (n, F), ``labels`` (n,), ``query`` (F,), ``target`` (),
        ``outputs`` (classes,), ``mem`` (M, M), and the spikes (T, N) of the layers as
        ``"spikes-NAME"``, uint8; of the twin its activities (items, N), float32.
    """
    inputs, targets = trial(trained.task, number)
    spikes, recalled = trained.network.activity(*inputs)
    layers = {
        **spikes,
        **{f"write_{name}": x for name, x in recalled.written.items()},
        **{f"read_{name}": x for name, x in recalled.read.items()},
    }
    outputs = trained.network(*inputs).outputs[0]
    arrays = {f"spikes-{name}": shown_layer(trained.task, x) for name, x in layers.items()}
    relu = trained.task.settings.relu
    vectors, labels, query = (x[0].numpy() for x in inputs)
    arrays |= {"vectors": vectors, "labels": labels, "query": query}
    arrays |= {"target": targets[0].numpy(), "outputs": outputs.numpy()}
    arrays["mem"] = recalled.mem[0].numpy()
    record = new_record(
        NAME,
        "Hebbian memory",
        profile,
        settings={"network": to_dict(trained.task.settings), "sample": number},
        seeds=[trained.task.seed],
        data="generated",
        checkpoints={trained.checkpoint.name: trained.checkpoint.sha256},
    )
    record.measurements = [
        Measurement(
            f"mean {'activity' if relu else 'rate'} of {name.replace('_', ' ')}",
            float(train.mean()) * (1 if relu else 1e3),
            "" if relu else "Hz",
        )
        for name, train in arrays.items()
        if name.startswith("spikes-")
    ]
    for measurement in record.measurements:
        measurement.what = measurement.what.replace("spikes-", "")
        measurement.note = f"test sample {number}"
    return record, arrays


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Inputs (a, b), encoding (c to e), keys and values while writing (f, g) and while reading (h,
    i), memory (j) and outputs (k); bars are the firing rates of the neurons."""
    items = len(arrays["labels"])
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 7.2), layout="constrained")
        parts = figure.subfigures(2, 1, height_ratios=(5, 1.7))
        upper = parts[0].subfigures(1, 2, width_ratios=(1.5 + 0.14 * items, 1))
        _draw_writing(upper[0], arrays, items)
        _draw_reading(upper[1], arrays)
        axes = parts[1].subplots(1, 2, width_ratios=(1, 1.2))
        draw_memory(axes[0], arrays["mem"], "memory after writing")
        draw_scores(axes[1], arrays["outputs"], int(arrays["target"]))
        for ax, letter in zip(axes, "jk", strict=True):
            panel_label(ax, letter)
    return figure


def _draw_writing(figure: SubFigure, arrays: dict[str, np.ndarray], items: int) -> None:
    axes = figure.subplots(
        5, 2, width_ratios=(6, 1), height_ratios=(0.7, 1, 1, 1, 1), squeeze=False
    )
    _draw_vectors(axes[0, 0], arrays["vectors"], arrays["labels"])
    axes[0, 1].axis("off")
    names = ("encoded vectors", "encoded labels", "write keys", "write values")
    _draw_trains(axes[1:], arrays, WRITTEN, names, items)
    for ax, letter in zip(axes[:, 0], "acdfg", strict=True):
        panel_label(ax, letter)


def _draw_reading(figure: SubFigure, arrays: dict[str, np.ndarray]) -> None:
    axes = figure.subplots(
        5, 2, width_ratios=(3, 1), height_ratios=(0.7, 1, 1, 1, 1), squeeze=False
    )
    _draw_vectors(axes[0, 0], arrays["query"][None], np.array(["?"]))
    axes[0, 0].set(title="query", ylabel="")
    for ax in (axes[0, 1], *axes[2]):
        ax.axis("off")
    names = ("encoded query", "read keys", "read values")
    _draw_trains(axes[[1, 3, 4]], arrays, READ, names, 1)
    for ax, letter in zip(axes[[0, 1, 3, 4], 0], "behi", strict=True):
        panel_label(ax, letter)


def _draw_trains(
    axes: np.ndarray,
    arrays: dict[str, np.ndarray],
    layers: tuple[str, ...],
    names: tuple[str, ...],
    items: int,
) -> None:
    for row, layer, name in zip(axes, layers, names, strict=True):
        draw_train(*row, arrays[f"spikes-{layer}"], name, items)
    label_axes(*axes[-1], arrays[f"spikes-{layers[-1]}"])


def _draw_vectors(ax: Axes, vectors: np.ndarray, labels: np.ndarray) -> None:
    """One column a vector, its label below."""
    ax.imshow(vectors.T, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(labels)), [str(label) for label in labels])
    ax.set(title="vectors, and their labels below", ylabel="feature")
    ax.tick_params(axis="x", length=0)
