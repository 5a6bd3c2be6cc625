"""Figure 2: the objects of one image come to fire in synchrony, seen from every side.

    python -m dasbe.figures.figure2

Both profiles do the same; it takes seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from common.clustering import adjusted_mutual_info_batch
from common.drawing import (
    BACKGROUND,
    DOUBLE_COLUMN,
    draw_groups,
    draw_image,
    group_colors,
    line_with_band,
    panel_label,
    phase_coloring,
    population_rate,
    raster,
    side_by_side,
    use_style,
)
from common.errors import UserError, command_line
from common.records import Measurement, Record, mean_measurement, new_record
from common.results import report_results, result_parser
from common.settings import load_settings, to_dict
from common.training import check_seeds, choose_device, progress
from dasbe.binding import DEVICE, TrainedNetwork, load_network
from dasbe.config import FOLDER
from dasbe.dynamics import scatter_pixels, simulate
from dasbe.figures.iterations import (
    RATE_COLOR,
    SCORES,
    SYNCHRONY_COLOR,
    correlation,
    draw_regression,
    draw_scores,
    iteration_scores,
    legend_above,
    mean_band,
)
from dasbe.grouping import group_pixels
from datasets.binding import read_group
from datasets.generate import ensure

NAME = "Figure 2"
SILENT = "#303030"
"""Colour of an object's pixel in a frame in which it does not fire."""


@dataclass(frozen=True)
class Figure2Settings:
    """What stands in ``dasbe/settings/figure2.yaml``.

    Attributes:
        network: name of the shipped network. dataset: of the image. image: its index in
            train_multi.
        iterations: N. seeds: of the dynamics.
        read_iterations: iterations at the end from which groups, coincidence matrix and
            autocorrelation are read.
        synchrony_timescale: 1/q of the synchrony score, steps.
        max_lag: of the autocorrelation, steps.
        frame_iterations, coloured_iterations: iterations that are shown, counted from 0.
    """

    network: str
    dataset: str
    image: int
    iterations: int
    seeds: tuple[int, ...]
    read_iterations: int
    synchrony_timescale: float
    max_lag: int
    frame_iterations: tuple[int, ...]
    coloured_iterations: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """One run: which network, image and seeds, where."""

    profile: str
    network: str
    image: int
    seeds: tuple[int, ...]
    data: str
    device: torch.device
    out: Path


# ---- measuring ------------------------------------------------------------------------------


def coincidence_matrix(spikes: np.ndarray) -> np.ndarray:
    """How often pixels fire together or in successive steps, divided by the largest value.

    M = S'S + S'(S + S+)/2 + S'S-/2 with S+ and S- the same spikes one step earlier and later.

    Args:
        spikes: (S, P) 0/1 spikes of P pixels in S consecutive steps.

    Returns:
        (P, P) in [0, 1]; all 0 without a spike.
    """
    s = spikes.astype(np.float64)
    earlier, later = np.zeros_like(s), np.zeros_like(s)
    earlier[:-1], later[1:] = s[1:], s[:-1]
    matrix = s.T @ s + 0.5 * s.T @ (s + earlier) + 0.5 * s.T @ later
    return matrix / max(matrix.max(), 1.0)


def autocorrelation(rate: np.ndarray, max_lag: int) -> np.ndarray:
    """Autocorrelation (max_lag + 1,) of a rate (S,): lagged products of its deviations from the
    mean, divided by that at lag 0; all 0 for a constant rate.

    Raises ``ValueError`` where the rate has no more than ``max_lag`` steps.
    """
    if len(rate) <= max_lag:
        raise ValueError(f"{len(rate)} steps have no autocorrelation at lag {max_lag}")
    deviation = rate - rate.mean()
    products = [deviation[: len(rate) - lag] @ deviation[lag:] for lag in range(max_lag + 1)]
    return np.array(products) / products[0] if products[0] > 0 else np.zeros(max_lag + 1)


def side_peak(correlation: np.ndarray) -> tuple[float, int]:
    """Height and lag of the highest value after the autocorrelation's first minimum.

    Without a minimum (it falls to the end) these are the last value and lag.
    """
    rises = np.flatnonzero(np.diff(correlation) > 0)
    first = int(rises[0]) if rises.size else len(correlation) - 1
    lag = first + int(np.argmax(correlation[first:]))
    return float(correlation[lag]), lag


def measure_seed(
    image: Tensor,
    true: Tensor,
    trained: TrainedNetwork,
    seed: int,
    index: int,
    settings: Figure2Settings,
) -> dict[str, np.ndarray]:
    """Simulate one image (1, H, W) with true groups (1, H, W) and measure what the figure shows.

    Returns:
        ``spikes`` (N, T, H, W) uint8; ``synchrony``, ``rate``, ``clustering`` (N,); ``groups``
        (H, W) found at the end and their ``ami``; ``autocorrelation`` (objects, max_lag + 1) of
        every object's population rate; ``matrix`` (P, P) of the object pixels, sorted by object.
    """
    d, n, indices = trained.settings.dynamics, settings.iterations, np.array([index])
    kept, pixels = simulate(
        image, trained.network, d.window, d.refractory, n, seed, indices, keep_iterations=n
    )
    q = 1 / settings.synchrony_timescale
    scores = np.array(list(iteration_scores(kept, pixels, true, seed, indices, q)))[:, :, 0]
    read = kept[:, -settings.read_iterations :].flatten(1, 2)
    found = group_pixels(read, pixels, int(true.max()) + 1, seed, indices)
    truth = true.flatten().numpy()
    ami = adjusted_mutual_info_batch(truth[None], found)
    full = scatter_pixels(kept, pixels)[0].cpu().numpy()
    last = full[-settings.read_iterations :].reshape(-1, truth.size)
    rates = [last[:, truth == k].mean(axis=1) for k in range(1, truth.max() + 1)]
    order = np.argsort(truth, kind="stable")
    objects = order[truth[order] > 0]
    return {
        "spikes": full.reshape(*full.shape[:2], *true.shape[1:]),
        **dict(zip(SCORES, scores.T, strict=True)),
        "groups": found.reshape(true.shape[1:]),
        "ami": ami[0],
        "autocorrelation": np.array([autocorrelation(rate, settings.max_lag) for rate in rates]),
        "matrix": coincidence_matrix(last[:, objects]),
    }


def compute(plan: Plan, settings: Figure2Settings) -> tuple[Record, dict[str, np.ndarray]]:
    """Simulate the image with every seed.

    Returns:
        the record, and the image (H, W), its true groups (H, W) and what :func:`measure_seed`
        gives: ``spikes``, ``groups`` and ``matrix`` of ``shown_seed``, the one with the median
        AMI; the rest of all seeds, first axis; ``refractory`` and the iterations to be shown.
    """
    trained = load_network(plan.network, plan.device)
    ensure(settings.dataset, {"train_multi": plan.image + 1}, ["train_multi"], data=plan.data)
    image, true = read_group(settings.dataset, "train_multi", start=plan.image, count=1)
    began = time.perf_counter()
    found = [
        measure_seed(image.to(plan.device), true, trained, seed, plan.image, settings)
        for seed in progress(plan.seeds, unit="seed")
    ]
    arrays = {"image": image[0].numpy().astype(np.uint8), "true": true[0].numpy()}
    arrays |= {
        key: np.array([f[key] for f in found]) for key in (*SCORES, "ami", "autocorrelation")
    }
    median = np.argsort(arrays["ami"], kind="stable")[(len(found) - 1) // 2]
    arrays["shown_seed"] = np.array(plan.seeds[median])
    arrays |= {key: found[median][key] for key in ("spikes", "groups", "matrix")}
    arrays["refractory"] = np.array(trained.settings.dynamics.refractory)
    arrays["frame_iterations"] = np.array(settings.frame_iterations)
    arrays["coloured_iterations"] = np.array(settings.coloured_iterations)
    sha256 = trained.checkpoint.sha256
    record = new_record(
        NAME,
        "DASBE",
        plan.profile,
        device=plan.device,
        seeds=list(plan.seeds),
        settings={"figure": to_dict(settings), "network": plan.network, "image": plan.image},
        data="generated",
        checkpoints={plan.network: sha256},
        wall_seconds=time.perf_counter() - began,
    )
    record.measurements = measurements(arrays, plan, settings, sha256[:12])
    record.measurements[0].seconds = record.wall_seconds
    return record, arrays


def measurements(
    arrays: dict[str, np.ndarray], plan: Plan, settings: Figure2Settings, checkpoint: str
) -> list[Measurement]:
    """AMI, final scores and each object's side peak: mean, interval and spread over seeds."""
    found = []

    def add(what: str, values: np.ndarray, note: str, unit: str = "") -> None:
        found.append(
            mean_measurement(
                what,
                values,
                unit=unit,
                seeds=list(plan.seeds),
                command=f"scripts/dasbe/figure2.sh --profile {plan.profile}",
                checkpoint=checkpoint,
                note=f"image {plan.image}, mean over seeds; {note}",
            )
        )

    ami = 100 * arrays["ami"]
    each = ", ".join(f"{value:.1f}" for value in ami)
    add(f"AMI after {settings.iterations} iterations", ami, f"of each seed: {each}", "x 100")
    for score in SCORES:
        note = f"iteration {settings.iterations}"
        r = correlation(arrays["clustering"], arrays[score])
        if score != "clustering" and r is not None:
            note += f"; correlation with the clustering score over all iterations: {r:.2f}"
        add(f"{score} score", arrays[score][:, -1], note)
    for number, curves in enumerate(arrays["autocorrelation"].swapaxes(0, 1), start=1):
        heights, lags = np.array([side_peak(curve) for curve in curves]).T
        note = f"population rate in the last {settings.read_iterations} iterations"
        add(f"object {number}: side peak of the autocorrelation", heights, note)
        add(f"object {number}: lag of the side peak", lags, note, "steps")
    return found


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """All panels, in the paper's order, from what :func:`compute` returned."""
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 7.7), layout="constrained")
        rows = figure.subfigures(4, 1, height_ratios=[2.02, 2.7, 1.35, 1.6], hspace=0.03)
        left, right = rows[0].subfigures(1, 2, width_ratios=[1, 6.2])
        _draw_image_and_truth(left, arrays)
        _draw_frames(right, arrays)
        _draw_spike_trains(rows[1], arrays)
        _draw_maps(rows[2], arrays)
        _draw_scores(rows[3], arrays, record.settings["figure"]["synchrony_timescale"])
    return figure


def _draw_image_and_truth(figure: SubFigure, arrays: dict[str, np.ndarray]) -> None:
    above, below = figure.subplots(2, 1)
    draw_image(above, arrays["image"], "input")
    draw_groups(below, arrays["true"], "objects")
    panel_label(above, "a")
    panel_label(below, "b")


def frame_strip(frames: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Frames of spikes (T, H, W) side by side, on the dim objects of the true groups (H, W).

    A spike has its object's colour, or is grey where no object is.

    Returns:
        (H, T*(W + 1) - 1, 3) in [0, 1], white between the frames.
    """
    colors = group_colors(int(true.max()) + 1)
    colors[0] = 0.7
    silent = np.array([to_rgb(BACKGROUND), to_rgb(SILENT)])[(true > 0).astype(int)]
    return side_by_side(np.where(frames[..., None] > 0, colors[true], silent))


def _extent(used: np.ndarray) -> slice:
    """The slice from the first to the last used place, with one more at both ends."""
    places = np.flatnonzero(used)
    return slice(max(places[0] - 1, 0), places[-1] + 2)


def _draw_frames(figure: SubFigure, arrays: dict[str, np.ndarray]) -> None:
    """One row of T frames for every iteration shown, cut to the part where objects are."""
    rows, columns = (_extent(arrays["true"].any(axis=axis)) for axis in (1, 0))
    true, spikes = arrays["true"][rows, columns], arrays["spikes"][:, :, rows, columns]
    n_phases, width = spikes.shape[1], spikes.shape[3] + 1
    shown = arrays["frame_iterations"]
    shown = shown[shown < len(spikes)]
    axes = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for ax, n in zip(axes, shown, strict=True):
        ax.imshow(frame_strip(spikes[n], true), interpolation="antialiased")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set_xticks([])
        ax.set_yticks([spikes.shape[2] / 2], [f"iteration {n + 1}" if ax is axes[0] else n + 1])
    ticks = np.arange(0, n_phases, 4)
    axes[-1].set_xticks(ticks * width + (width - 1) / 2, ticks)
    axes[-1].set_xlabel("phase (steps)")
    axes[0].set_title(f"spikes, seed {arrays['shown_seed']} (median AMI)", loc="left")
    panel_label(axes[0], "c")


def _draw_spike_trains(figure: SubFigure, arrays: dict[str, np.ndarray]) -> None:
    """Raster, population rates and two neurons, in the first and in the last iterations."""
    spikes, true = arrays["spikes"], arrays["true"].ravel()
    window, shown = spikes.shape[1], min(3, len(spikes))
    trains = spikes.reshape(-1, true.size)
    axes = figure.subplots(3, 2, sharex="col", sharey="row", height_ratios=[1.9, 1, 0.5])
    titles = ("first iterations", "last iterations")
    for column, begin, title in zip(axes.T, (0, len(spikes) - shown), titles, strict=True):
        steps = slice(begin * window, (begin + shown) * window)
        _draw_activity(column, trains[steps], true, steps.start)
        for ax in column:
            for border in range(1, shown):
                ax.axvline((begin + border) * window - 0.5, color="0.75", lw=0.5, zorder=0)
        column[0].set_title(title, loc="left")
    for ax in axes[:, 1]:
        ax.set_ylabel("")
        ax.tick_params(axis="y", length=0)
    axes[1, 0].set_ylim(bottom=0)
    panel_label(axes[0, 0], "d")


def typical_neurons(trains: np.ndarray, true: np.ndarray) -> list[tuple[int, int]]:
    """Pixel and object of two neurons: of the first and of the last object, the neuron with the
    median number of spikes in (S, P) trains."""
    found = []
    for number in (1, int(true.max())):
        members = np.flatnonzero(true == number)
        order = np.argsort(trains[:, members].sum(axis=0), kind="stable")
        found.append((int(members[order[len(order) // 2]]), number))
    return found


def _draw_activity(axes: Sequence[Axes], trains: np.ndarray, true: np.ndarray, start: int) -> None:
    colors = group_colors(int(true.max()) + 1, on_white=True)
    objects = true > 0
    names = ["", *(f"object {k}" for k in range(1, len(colors)))]
    raster(axes[0], trains[:, objects], true[objects], colors, names, start)
    axes[0].set_xlabel("")
    time_steps = start + np.arange(len(trains))
    for number in range(1, len(colors)):
        rate = population_rate(trains[:, true == number])
        axes[1].plot(time_steps, rate, color=colors[number], lw=0.9)
    axes[1].set_ylabel("share firing")
    for row, (pixel, number) in enumerate(typical_neurons(trains, true)):
        times = time_steps[trains[:, pixel] > 0]
        axes[2].vlines(times, row - 0.35, row + 0.35, color=colors[number], lw=1)
    axes[2].set(ylim=(1.5, -0.5), xlabel="time (steps)")
    axes[2].set_yticks([0, 1], ["neuron 1", "neuron 2"])


def _draw_maps(figure: SubFigure, arrays: dict[str, np.ndarray]) -> None:
    """Coincidence matrix and colourings."""
    shown = [n for n in arrays["coloured_iterations"] if n < len(arrays["spikes"])]
    axes = figure.subplots(1, len(shown) + 1, width_ratios=[1.35] + [1] * len(shown))
    true = arrays["true"]
    draw_image(axes[0], arrays["matrix"], "coincidences", cmap="magma", vmin=0, vmax=1)
    borders = np.cumsum(np.bincount(true[true > 0])[1:])
    centres = borders - np.diff(borders, prepend=0) / 2
    axes[0].set_yticks(centres - 0.5, [f"{k}" for k in range(1, len(borders) + 1)])
    axes[0].tick_params(length=0)
    axes[0].set_ylabel("object")
    for border in borders[:-1]:
        axes[0].axhline(border - 0.5, color="white", lw=0.4)
        axes[0].axvline(border - 0.5, color="white", lw=0.4)
    for ax, n in zip(axes[1:], shown, strict=True):
        coloring = phase_coloring(arrays["spikes"][n], int(arrays["refractory"]))
        draw_image(ax, coloring, f"iteration {n + 1}")
    panel_label(axes[0], "e")
    panel_label(axes[1], "f")


def _draw_scores(figure: SubFigure, arrays: dict[str, np.ndarray], timescale: float) -> None:
    """Scores over time, autocorrelation, and scores against the clustering score."""
    time_course, lags, synchrony, rate = figure.subplots(1, 4)
    draw_scores(time_course, arrays["synchrony"], arrays["rate"])
    time_course.set_ylabel(f"score (q = 1/{timescale:g})")
    legend_above(time_course)
    curves = arrays["autocorrelation"]
    colors = group_colors(curves.shape[1] + 1, on_white=True)
    for number in range(curves.shape[1]):
        line_with_band(
            lags,
            np.arange(curves.shape[2]),
            *mean_band(curves[:, number]),
            label=f"object {number + 1}" if number == 0 else str(number + 1),
            color=colors[number + 1],
        )
    lags.axhline(0, color="0.7", lw=0.5, zorder=0)
    lags.set(xlabel="lag (steps)", ylabel="autocorrelation", xlim=(0, curves.shape[2] - 1))
    legend_above(lags)
    clustering = arrays["clustering"]
    for ax, name, color in (
        (synchrony, "synchrony", SYNCHRONY_COLOR),
        (rate, "rate", RATE_COLOR),
    ):
        draw_regression(ax, clustering, arrays[name], color)
        ax.set(xlabel="clustering score", ylabel=f"{name} score")
        legend_above(ax)
    for ax, letter in zip((time_course, lags, synchrony, rate), "ghij", strict=True):
        panel_label(ax, letter)


# ---- command line ---------------------------------------------------------------------------


def _parser(settings: Figure2Settings) -> argparse.ArgumentParser:
    parser = result_parser(
        "dasbe.figures.figure2",
        __doc__,
        "dasbe_figure2",
        f"both are the whole figure, seeds {list(settings.seeds)}",
    )
    parser.add_argument(
        "--image",
        type=int,
        default=settings.image,
        help=f"index in train_multi of {settings.dataset} (default: the paper's, %(default)s)",
    )
    parser.add_argument(
        "--network",
        default=settings.network,
        help="name of a shipped network, or a checkpoint (default: %(default)s; shapes is that of "
        "Table 1)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of these")
    return parser


def plan_from(args: argparse.Namespace, settings: Figure2Settings) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    if args.image < 0:
        raise UserError(f"--image is {args.image}; the index of an image must be 0 or more")
    seeds = check_seeds(args.seeds or settings.seeds)
    device = choose_device(args.device, DEVICE)
    return Plan(args.profile, args.network, args.image, seeds, args.data, device, args.out)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = load_settings(Figure2Settings, FOLDER / "figure2.yaml")
    plan = plan_from(_parser(settings).parse_args(argv), settings)
    record, arrays = compute(plan, settings)
    report_results(plan.out, record, arrays, draw(record, arrays))


if __name__ == "__main__":
    sys.exit(main())
