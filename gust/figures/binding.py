"""How one image comes to be bound: spikes, rasters, rates and colourings, first and last.

    python -m gust.figures.binding

Iterations are counted from 0. Both profiles do the same; it takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from common.drawing import (
    DOUBLE_COLUMN,
    draw_groups,
    draw_image,
    group_colors,
    panel_label,
    population_rate,
    raster,
    side_by_side,
    use_style,
)
from common.figure import Figure
from common.records import Record
from gust.figures.one_image import IMAGE_FILE, ImageOptions, compute
from gust.figures.pictures import color_objects, color_phases, draw_phase_key


def draw(record: Record, arrays: dict[str, np.ndarray]) -> mpl.figure.Figure:
    """Input, truth, groups and colourings (a-d), spike frames (e), rasters (f), rates (g)."""
    settings = record.settings["figure"]
    with use_style():
        figure = mpl.figure.Figure(figsize=(DOUBLE_COLUMN, 5.8), layout="constrained")
        top, middle, bottom = figure.subfigures(3, 1, height_ratios=[1.2, 1.6, 2.7], hspace=0.02)
        _draw_maps(top, arrays, settings["coloured_iterations"])
        first, last = _ends(len(arrays["spikes"]), settings["shown_iterations"])
        _draw_frames(middle, arrays, first, last)
        _draw_activity(bottom, arrays, first, last)
    return figure


def _ends(n: int, shown: int) -> tuple[range, range]:
    """The first and the last ``shown`` of n iterations, fewer where there are not so many."""
    shown = min(shown, n)
    return range(shown), range(n - shown, n)


def draw_colorings(
    axes: Sequence[Axes], arrays: dict[str, np.ndarray], chosen: Sequence[int]
) -> None:
    """Colour the pixels by their phase in the chosen iterations, one on each of the axes."""
    for ax, n in zip(axes, chosen, strict=True):
        title = f"iteration {n}" if ax is axes[0] else f"{n}"
        draw_image(ax, color_phases(arrays["spikes"][n], arrays["image"]), title)


def _draw_maps(figure: SubFigure, arrays: dict[str, np.ndarray], coloured: Sequence[int]) -> None:
    chosen = [n for n in coloured if n < len(arrays["spikes"])]
    grid = figure.add_gridspec(2, 3 + len(chosen), height_ratios=[1, 0.09])
    axes = [figure.add_subplot(grid[0, column]) for column in range(3 + len(chosen))]
    n_groups = int(max(arrays["true"].max(), arrays["groups"].max())) + 1
    draw_image(axes[0], arrays["image"], "input")
    draw_groups(axes[1], arrays["true"], "objects", n_groups)
    draw_groups(axes[2], arrays["groups"][-1], "groups", n_groups)
    axes[2].set_xlabel(f"AMI {arrays['ami'][-1]:.2f}")
    draw_colorings(axes[3:], arrays, chosen)
    draw_phase_key(figure.add_subplot(grid[1, 3:]), arrays["spikes"].shape[1])
    for ax, letter in zip(axes, "abcd", strict=False):
        panel_label(ax, letter)


def _draw_frames(figure: SubFigure, arrays: dict[str, np.ndarray], *ends: range) -> None:
    """A row of T frames for every iteration; the first ones on the left, the last on the right."""
    spikes, true, image = arrays["spikes"], arrays["true"], arrays["image"]
    n_phases, width = spikes.shape[1], spikes.shape[3] + 1
    axes = figure.subplots(len(ends[0]), 2, squeeze=False)
    for column, iterations in zip(axes.T, ends, strict=True):
        for ax, n in zip(column, iterations, strict=True):
            strip = side_by_side(color_objects(spikes[n], true, image))
            ax.imshow(strip, interpolation="antialiased")
            ax.spines[:].set_visible(False)
            ax.tick_params(length=0)
            ax.set_xticks([])
            ax.set_yticks([spikes.shape[2] / 2], [n])
        column[-1].set_xticks(np.arange(n_phases) * width + (width - 1) / 2, range(n_phases))
        column[-1].set_xlabel("phase (steps)")
    axes[len(axes) // 2, 0].set_ylabel("iteration")
    axes[0, 0].set_title("spikes, first iterations", loc="left")
    axes[0, 1].set_title("spikes, last iterations", loc="left")
    panel_label(axes[0, 0], "e")


def _draw_activity(figure: SubFigure, arrays: dict[str, np.ndarray], *ends: range) -> None:
    """Raster by object and population rates, in the first and in the last iterations."""
    spikes, true = arrays["spikes"], arrays["true"].ravel()
    window = spikes.shape[1]
    axes = figure.subplots(2, 2, sharex="col", sharey="row", height_ratios=[2.2, 1])
    for (above, below), iterations in zip(axes.T, ends, strict=True):
        start = iterations[0] * window
        trains = spikes[iterations.start : iterations.stop].reshape(-1, true.size)
        _draw_raster(above, trains, true, start)
        _draw_rates(below, trains, true, start)
        for ax in (above, below):
            for border in range(1, len(iterations)):
                ax.axvline(start + border * window - 0.5, color="0.75", lw=0.5, zorder=0)
    for ax in axes[:, 1]:
        ax.set_ylabel("")
        ax.tick_params(axis="y", length=0)
    axes[0, 0].set_title("object pixels, first iterations", loc="left")
    axes[0, 1].set_title("object pixels, last iterations", loc="left")
    panel_label(axes[0, 0], "f")
    panel_label(axes[1, 0], "g")


def _draw_raster(ax: Axes, trains: np.ndarray, true: np.ndarray, start: int) -> None:
    colors = group_colors(int(true.max()) + 1, on_white=True)
    names = ["", *(f"object {k}" for k in range(1, len(colors)))]
    raster(ax, trains[:, true > 0], true[true > 0], colors, names, start)
    for spikes in ax.collections:
        spikes.set_linewidth(2)
    ax.set_xlabel("")


def _draw_rates(ax: Axes, trains: np.ndarray, true: np.ndarray, start: int) -> None:
    """The share of each object's pixels that fire, step by step."""
    colors = group_colors(int(true.max()) + 1, on_white=True)
    for number in range(1, len(colors)):
        rate = population_rate(trains[:, true == number])
        ax.plot(start + np.arange(len(rate)), rate, color=colors[number], lw=1)
    ax.set(xlabel="time (steps)", ylabel="share firing", ylim=(0, 1.02))


FIGURE = Figure(
    "gust_binding",
    "Binding of one image",
    "GUST",
    ImageOptions,
    compute,
    draw,
    [IMAGE_FILE],
    "scripts/gust/figure_binding.sh",
)
main = FIGURE.main


if __name__ == "__main__":
    sys.exit(main())
