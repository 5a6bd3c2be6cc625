"""Figure 5: moving objects are bound by a recurrent autoencoder, a frame for every iteration.

    python -m dasbe.figures.figure5 --profile quick

Objects appear one after the other. The groups of a frame are read from that iteration's spikes
alone. The same network without its recurrent connections (W = 0) is measured beside it.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from common.animation import figure_frames, save_animation
from common.clustering import adjusted_mutual_info_batch
from common.drawing import (
    CYCLE,
    DOUBLE_COLUMN,
    draw_image,
    group_colors,
    line_with_band,
    match_groups,
    panel_label,
    phase_coloring,
    side_by_side,
    use_style,
)
from common.errors import UserError, command_line
from common.records import Measurement, Record, mean_measurement, new_record
from common.results import report_results, result_parser
from common.settings import load_settings, to_dict
from common.training import choose_device, progress
from dasbe.binding import DEVICE, load_network
from dasbe.config import FOLDER, DynamicsSettings
from dasbe.dynamics import scatter_pixels, simulate_frames
from dasbe.figures.iterations import draw_scores, legend_above, mean_band, score_iteration
from dasbe.networks import Network
from datasets.binding import read_group
from datasets.generate import ensure

NAME = "Figure 5"
CURVES = ("ami", "synchrony", "rate")
CHUNK = 10
"""Sequences that are simulated together: all spikes of all frames are kept."""
FPS, ANIMATION_DPI = 4, 120


@dataclass(frozen=True)
class Figure5Settings:
    """What stands in ``dasbe/settings/figure5.yaml``.

    Attributes:
        network: name of the shipped network. dataset: of the sequences, group train_multi.
        sequence: the one that is shown. frames: N, one for every iteration.
        sequences_full, sequences_quick: the first ones of the group, measured in the profiles.
        seed: of the dynamics. synchrony_timescale: 1/q of the synchrony score, steps.
        scored_from: the means are over this frame (counted from 1) to the last.
        frames_per_row: of the picture.
    """

    network: str
    dataset: str
    sequence: int
    frames: int
    sequences_full: int
    sequences_quick: int
    seed: int
    synchrony_timescale: float
    scored_from: int
    frames_per_row: int


@dataclass(frozen=True)
class Plan:
    """One run: which sequences and seed, where."""

    profile: str
    sequence: int
    sequences: int
    seed: int
    data: str
    device: torch.device
    out: Path


@dataclass(frozen=True)
class Film:
    """What was found in films.

    Attributes:
        ami, synchrony, rate: (n, N) scores of every frame.
        groups: (n, N, H, W) groups found.
        spikes: (n, N, T, H, W) uint8.
    """

    ami: np.ndarray
    synchrony: np.ndarray
    rate: np.ndarray
    groups: np.ndarray
    spikes: np.ndarray


# ---- measuring ------------------------------------------------------------------------------


def without_recurrence(network: Network) -> Network:
    """A copy of a recurrent autoencoder with W = 0: no code reaches the next iteration."""
    cut = copy.deepcopy(network)
    cut.recurrent.weight.zero_()
    return cut


def bind_film(
    frames: Tensor,
    true: Tensor,
    network: Network,
    dynamics: DynamicsSettings,
    seed: int,
    indices: np.ndarray,
    q: float,
) -> Film:
    """Simulate films and group every frame by the spikes of its iteration.

    Args:
        frames: (n, N, H, W) binary. true: (n, N, H, W) true groups.
        network: with a recurrent code. dynamics: window and refractory period.
        seed, indices: name the random numbers of the films. q: cost of the synchrony score.
    """
    window, refractory = dynamics.window, dynamics.refractory
    spikes, pixels = simulate_frames(frames, network, window, refractory, seed, indices)
    maps, scores = zip(
        *(
            score_iteration(trains, pixels, visible, seed, indices, q)
            for trains, visible in zip(spikes.unbind(1), true.unbind(1), strict=True)
        ),
        strict=True,
    )
    groups = np.stack(maps, axis=1)  # (n, N, H*W)
    flat = true.flatten(2).numpy()
    ami = [adjusted_mutual_info_batch(*film) for film in zip(flat, groups, strict=True)]
    return Film(
        np.array(ami),
        np.stack([score.synchrony for score in scores], axis=1),
        np.stack([score.rate for score in scores], axis=1),
        groups.reshape(true.shape),
        scatter_pixels(spikes, pixels).unflatten(-1, true.shape[2:]).cpu().numpy(),
    )


def read_films(settings: Figure5Settings, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    """Frames and true groups (n, N, H, W) of the sequences with these indices."""
    films = read_group(settings.dataset, "train_multi", indices=indices)
    frames, true = (values[:, : settings.frames] for values in films)
    return frames, true


def compute(plan: Plan, settings: Figure5Settings) -> tuple[Record, dict[str, np.ndarray]]:
    """Bind the first sequences of the group, and the one that is shown.

    Returns:
        the record; ``ami``, ``synchrony``, ``rate`` (n, N), and the same of W = 0 with the ending
        ``_without``; of the shown sequence ``frames``, ``true``, ``groups`` (N, H, W) and
        ``spikes`` (N, T, H, W); the ``refractory`` period.
    """
    trained = load_network(settings.network, plan.device)
    last = max(plan.sequence + 1, plan.sequences)
    ensure(settings.dataset, {"train_multi": last}, ["train_multi"], data=plan.data)
    began = time.perf_counter()
    networks = {"": trained.network, "_without": without_recurrence(trained.network)}
    dynamics, q = trained.settings.dynamics, 1 / settings.synchrony_timescale
    curves = defaultdict(list)
    for indices in progress(chunks(plan.sequences), unit="chunk"):
        frames, true = read_films(settings, indices)
        frames = frames.to(plan.device)
        for ending, network in networks.items():
            film = bind_film(frames, true, network, dynamics, plan.seed, indices, q)
            for name in CURVES:
                curves[name + ending].append(getattr(film, name))
    arrays = {name: np.concatenate(values) for name, values in curves.items()}
    shown = np.array([plan.sequence])
    frames, true = read_films(settings, shown)
    film = bind_film(frames.to(plan.device), true, trained.network, dynamics, plan.seed, shown, q)
    arrays |= {
        "frames": frames[0].numpy().astype(np.uint8),
        "true": true[0].numpy().astype(np.uint8),
        "groups": film.groups[0].astype(np.uint8),
        "spikes": film.spikes[0],
        "refractory": np.array(dynamics.refractory),
    }
    record = new_record(
        NAME,
        "DASBE",
        plan.profile,
        device=plan.device,
        seeds=[plan.seed],
        settings={
            "figure": to_dict(settings),
            "sequences": plan.sequences,
            "sequence": plan.sequence,
        },
        data="generated",
        checkpoints={settings.network: trained.checkpoint.sha256},
        wall_seconds=time.perf_counter() - began,
    )
    record.measurements = measurements(arrays, plan, settings, trained.checkpoint.sha256[:12])
    record.measurements[0].seconds = record.wall_seconds
    return record, arrays


def chunks(count: int) -> list[np.ndarray]:
    """The indices 0..count-1, ``CHUNK`` at a time."""
    return np.split(np.arange(count), range(CHUNK, count, CHUNK))


def measurements(
    arrays: dict[str, np.ndarray], plan: Plan, settings: Figure5Settings, checkpoint: str
) -> list[Measurement]:
    """Means over the last frames with and without recurrence: over sequences, with interval."""
    first = settings.scored_from - 1
    span = f"mean over frames {settings.scored_from} to {settings.frames}"
    found = []

    def add(what: str, values: np.ndarray, unit: str = "") -> None:
        found.append(
            mean_measurement(
                what,
                values,
                unit=unit,
                seeds=[plan.seed],
                data="generated",
                command=f"scripts/dasbe/figure5.sh --profile {plan.profile}",
                checkpoint=checkpoint,
                note=f"{span} (three objects), then over sequences",
            )
        )

    late = {
        name + ending: arrays[name + ending][:, first:].mean(axis=1)
        for name in CURVES
        for ending in ("", "_without")
    }
    add("AMI", 100 * late["ami"], "x 100")
    add("AMI, W = 0", 100 * late["ami_without"], "x 100")
    add("AMI, gain by the recurrence", 100 * (late["ami"] - late["ami_without"]), "x 100")
    for name in ("synchrony", "rate"):
        add(f"{name} score", late[name])
        add(f"{name} score, W = 0", late[f"{name}_without"])
    return found


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Groups over inputs for every frame (a), scores (b) and AMI (c) over the frames."""
    per_row = record.settings["figure"]["frames_per_row"]
    n_rows = -(-len(arrays["frames"]) // per_row)
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 1.05 * n_rows + 2.0), layout="constrained")
        films, curves = figure.subfigures(2, 1, height_ratios=[1.05 * n_rows, 2.0])
        _draw_films(films, arrays, per_row)
        _draw_curves(curves, record, arrays)
    return figure


def painted_frames(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The shown film in colours, (N, H, W, 3) each: the groups found, named like the true ones
    where they agree most, and the input."""
    true, frames = arrays["true"], arrays["frames"]
    renamed = np.stack([match_groups(t, g) for t, g in zip(true, arrays["groups"], strict=True)])
    colors = group_colors(max(int(true.max()), int(renamed.max())) + 1)
    inputs = np.where(frames[..., None] > 0, 0.85, colors[0])
    return colors[renamed], inputs


def _draw_films(figure: SubFigure, arrays: dict[str, np.ndarray], per_row: int) -> None:
    groups, inputs = painted_frames(arrays)
    starts = range(0, len(inputs), per_row)
    axes = figure.subplots(len(starts), 1, squeeze=False)[:, 0]
    height, width = inputs.shape[1:3]
    for ax, start in zip(axes, starts, strict=True):
        rows = [side_by_side(images[start : start + per_row]) for images in (groups, inputs)]
        gap = np.ones((1, *rows[0].shape[1:]))
        ax.imshow(np.concatenate([rows[0], gap, rows[1]]), interpolation="antialiased")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, pad=1)
        ax.set_yticks([height / 2, 1.5 * height + 1], ["groups", "input"])
        shown = np.arange(min(per_row, len(inputs) - start))
        ax.set_xticks(shown * (width + 1) + (width - 1) / 2, start + shown + 1)
    axes[-1].set_xlabel("frame and iteration")
    panel_label(axes[0], "a")


def _draw_curves(figure: SubFigure, record: Record, arrays: dict[str, np.ndarray]) -> None:
    scores, ami = figure.subplots(1, 2)
    timescale = record.settings["figure"]["synchrony_timescale"]
    draw_scores(scores, arrays["synchrony"], arrays["rate"])
    scores.set(xlabel="frame", ylabel=f"score (q = 1/{timescale:g})")
    legend_above(scores)
    frames = np.arange(1, arrays["ami"].shape[1] + 1)
    visible = arrays["true"].reshape(len(frames), -1).max(axis=1)
    for name, color, label in (
        ("ami", CYCLE[0], "recurrent"),
        ("ami_without", CYCLE[1], "W = 0"),
    ):
        # One object alone cannot be told from another: no AMI.
        curve, low, high = (np.where(visible > 1, band, np.nan) for band in mean_band(arrays[name]))
        line_with_band(ami, frames, curve, low, high, label=label, color=color)
    ami.set(xlabel="frame", ylabel="AMI", xlim=(1, frames[-1]), ylim=(0, 1))
    legend_above(ami)
    for ax in (scores, ami):
        for frame in np.flatnonzero(np.diff(visible)) + 1.5:
            ax.axvline(frame, color="0.75", lw=0.5, zorder=0)
    panel_label(scores, "b")
    panel_label(ami, "c")


def film_frames(arrays: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    """The shown film as an animation, a picture (H, W, 3) uint8 for every frame: input, spikes
    coloured by their phase, groups."""
    groups, inputs = painted_frames(arrays)
    phases = [phase_coloring(one, int(arrays["refractory"])) for one in arrays["spikes"]]
    columns = {"input": inputs, "spikes (colour: phase)": phases, "groups": groups}
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN * 0.8, 2.25), layout="constrained")
        axes = figure.subplots(1, len(columns))
        for ax, (name, images) in zip(axes, columns.items(), strict=True):
            draw_image(ax, images[0], name)
        title = figure.suptitle("frame 1", fontsize=9)

        def update(n: int) -> None:
            title.set_text(f"frame {n + 1}")
            for ax, images in zip(axes, columns.values(), strict=True):
                ax.images[0].set_data(images[n])

        yield from figure_frames(figure, update, len(inputs), dpi=ANIMATION_DPI)


def animate(arrays: dict[str, np.ndarray], path: Path) -> Path:
    """Write the shown film as a GIF and return its path."""
    return save_animation(path, film_frames(arrays), FPS)


# ---- command line ---------------------------------------------------------------------------


def _parser(settings: Figure5Settings) -> argparse.ArgumentParser:
    parser = result_parser(
        "dasbe.figures.figure5",
        __doc__,
        "dasbe_figure5",
        f"quick: {settings.sequences_quick} sequences; full: {settings.sequences_full}",
    )
    parser.add_argument(
        "--sequence",
        type=int,
        default=settings.sequence,
        help=f"the one shown, of train_multi of {settings.dataset} (default: the paper's, "
        "%(default)s)",
    )
    parser.add_argument("--sequences", type=int, help="in place of the profile's number")
    parser.add_argument("--seed", type=int, default=settings.seed, help="of the dynamics")
    return parser


def plan_from(args: argparse.Namespace, settings: Figure5Settings) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    sequences = settings.sequences_full if args.profile == "full" else settings.sequences_quick
    sequences = sequences if args.sequences is None else args.sequences
    if sequences < 2:
        raise UserError(f"--sequences is {sequences}; an interval needs at least 2")
    if args.sequence < 0:
        raise UserError(f"--sequence is {args.sequence}; the index must be 0 or more")
    device = choose_device(args.device, DEVICE)
    return Plan(args.profile, args.sequence, sequences, args.seed, args.data, device, args.out)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = load_settings(Figure5Settings, FOLDER / "figure5.yaml")
    plan = plan_from(_parser(settings).parse_args(argv), settings)
    record, arrays = compute(plan, settings)
    report_results(plan.out, record, arrays, draw(record, arrays))
    print(f"animation: {animate(arrays, plan.out / 'film.gif')}")


if __name__ == "__main__":
    sys.exit(main())
