"""The spike-timing task: membranes of the output neuron before, during and after training.

    python -m snn_tha.figures.temporal

For the four conditions of ``snn_tha.spike_timing``: the target, the membrane in three iterations,
and its spikes below. Two films show the membranes over training, one as they are and one as
moving averages over 5 steps. quick trains with one seed, full with ten; the first seed is drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter1d

from common.animation import figure_frames, save_animation
from common.drawing import CYCLE, DOUBLE_COLUMN, panel_label, use_style
from common.errors import command_line
from common.records import Record
from common.results import report_results, result_parser
from common.settings import load_settings
from common.training import choose_device
from snn_tha.spike_timing import (
    CONDITIONS,
    FILE,
    SpikeTimingSettings,
    compute,
    timing_lines,
)

FPS = 8
DPI = 110  # of the films
SNAPSHOT_COLORS = ("#56B4E9", "#E69F00", CYCLE[0])
TARGET_STYLE = {"color": "black", "ls": "--", "lw": 1.0}
THRESHOLD_STYLE = {"color": "0.5", "ls": ":", "lw": 1.0}
LOWEST, HIGHEST = -1.0, 1.8
"""Membranes are drawn from and to these multiples of the target's peak."""


@dataclass(frozen=True)
class FigureSettings:
    """What stands in ``snn_tha/settings/figure_temporal.yaml``."""

    seeds_quick: tuple[int, ...]
    seeds_full: tuple[int, ...]
    film_every: int
    smooth: int


class Scene(NamedTuple):
    """A figure, ``update(k)`` that changes it to frame k, and the iteration of every frame."""

    figure: Figure
    update: Callable[[int], None]
    iterations: np.ndarray


# ---- the figure -----------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """The four conditions; see the module's description."""
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 4.6), layout="constrained")
        grid = figure.subplots(4, 2, sharex=True, height_ratios=[4, 1, 4, 1])
        for place, condition in enumerate(CONDITIONS):
            row, column = 2 * (place // 2), place % 2
            _draw_membranes(grid[row, column], arrays, condition)
            _draw_spikes(grid[row + 1, column], arrays, condition)
        for ax in grid[3]:
            ax.set_xlabel("time (steps)")
        for ax in grid[:, 0]:
            ax.yaxis.set_label_coords(-0.1, 0.5)
        lines = grid[0, 0].get_lines()[:2]
        figure.legend(lines, ["target", "threshold"], loc="outside upper center", ncols=2)
    return figure


def _parts(arrays: dict[str, np.ndarray], condition: str, *keys: str) -> list[np.ndarray]:
    return [arrays[f"{condition}-{key}"] for key in keys]


def _prepare(ax: Axes, arrays: dict[str, np.ndarray], condition: str) -> None:
    """Axes of a condition's membranes, with its target."""
    (target,) = _parts(arrays, condition, "target")
    ax.plot(target, zorder=3, **TARGET_STYLE)
    ax.set(xlim=(-1, len(target)), ylim=(LOWEST * target.max(), HIGHEST * target.max()))
    ax.set_title(CONDITIONS[condition])
    ax.set_ylabel("membrane")
    panel_label(ax, condition)


def _draw_membranes(ax: Axes, arrays: dict[str, np.ndarray], condition: str) -> None:
    """Target, threshold in the last snapshot, and membrane in every snapshot."""
    keys = ("membranes", "thresholds", "snapshots")
    membranes, thresholds, snapshots = _parts(arrays, condition, *keys)
    _prepare(ax, arrays, condition)
    ax.axhline(thresholds[snapshots[-1]], **THRESHOLD_STYLE)
    for iteration, color in zip(snapshots, SNAPSHOT_COLORS, strict=True):
        ax.plot(membranes[iteration], color=color, lw=0.9)


def _draw_spikes(ax: Axes, arrays: dict[str, np.ndarray], condition: str) -> None:
    """A row of spikes for every snapshot, in the colour of its membrane."""
    spikes, snapshots = _parts(arrays, condition, "spikes", "snapshots")
    for row, (iteration, color) in enumerate(zip(snapshots, SNAPSHOT_COLORS, strict=True)):
        ax.vlines(np.flatnonzero(spikes[iteration]), row - 0.38, row + 0.38, color=color, lw=1)
    ax.set_yticks(range(len(snapshots)), [str(iteration) for iteration in snapshots])
    for label, color in zip(ax.get_yticklabels(), SNAPSHOT_COLORS, strict=True):
        label.set_color(color)
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(len(snapshots) - 0.5, -0.5), ylabel="spikes at\niteration")


def draw_training(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Thresholds, error relative to the target's power, and silent hidden neurons, over
    iterations."""
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.1), layout="constrained")
        axes = figure.subplots(1, 3, sharex=True)
        for condition, color in zip(CONDITIONS, CYCLE, strict=False):
            keys = ("thresholds", "mse", "dead", "target")
            thresholds, mse, dead, target = _parts(arrays, condition, *keys)
            axes[0].plot(thresholds, color=color, label=f"({condition}) {CONDITIONS[condition]}")
            axes[1].plot(mse / np.square(target).mean(), color=color, lw=0.8)
            axes[2].plot(dead, color=color, lw=0.8)
        axes[0].set(ylabel="threshold", yscale="log")
        axes[1].set(ylabel="MSE / power of the target", yscale="log")
        axes[2].set(ylabel="silent hidden neurons", ylim=(-0.03, 1.03))
        for ax, letter in zip(axes, "abc", strict=True):
            ax.set_xlabel("iteration")
            panel_label(ax, letter)
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=4)
    return figure


# ---- the films ------------------------------------------------------------------------------


def moving_average(membranes: np.ndarray, width: int) -> np.ndarray:
    """Means over ``width`` neighbouring steps of (..., T); the ends are continued as they are."""
    return uniform_filter1d(membranes, width, axis=-1, mode="nearest")


def build_scene(arrays: dict[str, np.ndarray], every: int, smooth: int = 1) -> Scene:
    """The membranes of the four conditions in one iteration a frame.

    Args:
        arrays: of :func:`snn_tha.spike_timing.compute`.
        every: iterations from one frame to the next.
        smooth: membranes are shown as means over so many steps; spikes are the true ones.
    """
    iterations = np.arange(0, len(arrays["a-mse"]), every)
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 3.8), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True)
        title = figure.suptitle("iteration 0")
        parts = []
        for ax, condition in zip(axes.flat, CONDITIONS, strict=True):
            _prepare(ax, arrays, condition)
            parts.append(_moving_parts(ax, arrays, condition, smooth))
        for ax in axes[1]:
            ax.set_xlabel("time (steps)")

    def update(k: int) -> None:
        title.set_text(f"iteration {iterations[k]}")
        for show in parts:
            show(iterations[k])

    return Scene(figure, update, iterations)


def _moving_parts(
    ax: Axes, arrays: dict[str, np.ndarray], condition: str, smooth: int
) -> Callable[[int], None]:
    """Membrane, threshold and spikes of a condition; returns what shows an iteration."""
    keys = ("membranes", "spikes", "thresholds", "target")
    membranes, spikes, thresholds, target = _parts(arrays, condition, *keys)
    shown = moving_average(membranes, smooth)
    steps, height = np.arange(len(target)), 0.94 * HIGHEST * target.max()
    threshold = ax.axhline(thresholds[0], **THRESHOLD_STYLE)
    (membrane,) = ax.plot(steps, shown[0], color=CYCLE[0], lw=0.9)
    (marks,) = ax.plot(steps, np.full(len(steps), np.nan), "|", color=CYCLE[1], ms=5, mew=1)

    def show(iteration: int) -> None:
        threshold.set_ydata([thresholds[iteration]] * 2)
        membrane.set_ydata(shown[iteration])
        marks.set_ydata(np.where(spikes[iteration] > 0, height, np.nan))

    return show


def frames(arrays: dict[str, np.ndarray], every: int, smooth: int = 1) -> Iterator[np.ndarray]:
    """The frames of a film, (H, W, 3) uint8; arguments as for :func:`build_scene`."""
    scene = build_scene(arrays, every, smooth)
    return figure_frames(scene.figure, scene.update, len(scene.iterations), DPI)


# ---- command line ---------------------------------------------------------------------------


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    chosen = load_settings(FigureSettings, FILE.with_name("figure_temporal.yaml"))
    profiles = f"quick: {len(chosen.seeds_quick)} seed(s); full: {len(chosen.seeds_full)}"
    parser = result_parser("snn_tha.figures.temporal", __doc__, "snn_tha_temporal", profiles)
    args = parser.parse_args(argv)
    if choose_device(args.device).type != "cpu" and args.device != "auto":
        print("the spike-timing task is small and runs on the CPU", file=sys.stderr)
    settings = load_settings(SpikeTimingSettings, FILE)
    seeds = chosen.seeds_quick if args.profile == "quick" else chosen.seeds_full
    record, arrays = compute(settings, seeds, args.profile)
    report_results(args.out, record, arrays, draw(record, arrays))
    print("\n".join(timing_lines(record)))
    for name, width in (("membranes", 1), (f"membranes_mean_of_{chosen.smooth}", chosen.smooth)):
        film = frames(arrays, chosen.film_every, width)
        print(f"film: {save_animation(args.out / f'{name}.gif', film, FPS)}")


if __name__ == "__main__":
    sys.exit(main())
