"""Panels that the activity plots of all tasks are made of."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from common.drawing import CYCLE, raster
from hebbian_snn.rates import STEP

RATE_COLOR = CYCLE[0]


def draw_train(ax: Axes, rates_ax: Axes, spikes: np.ndarray, title: str, items: int = 1) -> None:
    """The spikes of a layer, and a bar with the firing rate of every neuron; or its activities, and
    their means.

    Args:
        ax: of the raster. rates_ax: of the bars, beside it.
        spikes: (T, N) of 0 and 1, or floats, activities. title: of the raster.
        items: that follow each other in the T steps; lines part them.
    """
    steps, n = spikes.shape
    if is_activity(spikes):
        ax.imshow(spikes.T, cmap="gray_r", vmin=0, aspect="auto", interpolation="nearest")
        ax.set_xticks(range(steps))
    else:
        raster(ax, spikes)
    for item in range(1, items):
        ax.axvline(item * steps / items - 0.5, color="0.6", lw=0.5, zorder=0)
    ax.set(title=title, xlabel="", ylabel="neuron")
    rates = spikes.mean(0) / (1 if is_activity(spikes) else STEP)
    least = 1e-6 if is_activity(spikes) else 10
    rates_ax.barh(np.arange(n), rates, height=1.0, color=RATE_COLOR, lw=0)
    rates_ax.set(
        ylim=(n - 0.5, -0.5), yticks=[], xlabel="", xlim=(0, max(1.1 * rates.max(), least))
    )
    rates_ax.locator_params(axis="x", nbins=2)


def is_activity(layer: np.ndarray) -> bool:
    """Whether a layer has activities in place of spikes."""
    return layer.dtype.kind == "f"


def label_axes(ax: Axes, rates_ax: Axes, layer: np.ndarray) -> None:
    """Say what is along the axes of :func:`draw_train`."""
    ax.set_xlabel("item" if is_activity(layer) else "time (ms)")
    rates_ax.set_xlabel("activity" if is_activity(layer) else "rate (Hz)")


def draw_memory(ax: Axes, mem: np.ndarray, title: str = "memory") -> None:
    """The weights (M, M) from keys (columns) to values (rows), with a bar of their scale."""
    highest = max(float(mem.max()), 1e-12)
    image = ax.imshow(mem, cmap="magma_r", vmin=0, vmax=highest, aspect="auto")
    ax.set(title=title, xlabel="key neuron", ylabel="value neuron")
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.06, pad=0.02)
    bar.set_label("weight")
    bar.outline.set_linewidth(0.4)


def draw_scores(ax: Axes, scores: np.ndarray, target: int, title: str = "outputs") -> None:
    """The output (classes,) of every class as a bar, that of the target in another colour."""
    colors = [CYCLE[1] if label == target else "0.7" for label in range(len(scores))]
    ax.bar(np.arange(len(scores)), scores, color=colors)
    ax.axhline(0, color="0.2", lw=0.6)
    ax.set(title=title, xlabel="label (target coloured)", ylabel="output")
    if len(scores) <= 12:
        ax.set_xticks(range(len(scores)))
