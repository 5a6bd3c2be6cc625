"""Figure 5: moving objects are bound by a recurrent autoencoder, a frame for every iteration.

    python -m dasbe.figures.figure5 --profile quick

Objects appear one after the other. The groups of a frame are read from that iteration's spikes
alone. The same network without its recurrent connections (W = 0) is measured beside it.
"""

from __future__ import annotations

import copy
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import SubFigure
from torch import Tensor

from common.animation import figure_frames, save_animation
from common.checkpoints import Checkpoint
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
from common.figure import Arrays, Figure, FigureOptions, FigureRecord
from common.records import Record
from common.settings import option
from common.training import progress
from dasbe.binding import DEVICE, load_network
from dasbe.config import FOLDER, DynamicsSettings
from dasbe.dynamics import scatter_pixels, simulate_frames
from dasbe.figures.iterations import draw_scores, legend_above, mean_band, score_iteration
from dasbe.networks import Network
from datasets.binding import read_group
from datasets.generate import ensure

CURVES = ("ami", "synchrony", "rate")
CHUNK = 10
"""Sequences that are simulated together: all spikes of all frames are kept."""
FPS, ANIMATION_DPI = 4, 120


@dataclass(frozen=True, kw_only=True)
class Options(FigureOptions):
    """What stands in ``dasbe/settings/figure5.yaml``, and the flags.

    Attributes:
        network: name of the shipped network. dataset: of the sequences, group train_multi.
        frames: N, one for every iteration. synchrony_timescale: 1/q of the synchrony score, steps.
        scored_from: the means are over this frame (counted from 1) to the last.
        frames_per_row: of the picture.
    """

    network: str
    dataset: str
    sequence: int = option("the sequence shown, of train_multi", minimum=0)
    frames: int
    sequences: int = option("sequences to measure, the first ones of train_multi", minimum=2)
    seed: int = option("random seed of the dynamics")
    synchrony_timescale: float
    scored_from: int
    frames_per_row: int


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


def read_films(options: Options, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    """Frames and true groups (n, N, H, W) of the sequences with these indices."""
    films = read_group(options.dataset, "train_multi", indices=indices)
    frames, true = (values[:, : options.frames] for values in films)
    return frames, true


def compute(options: Options, record: FigureRecord) -> Arrays:
    """Bind the first sequences of the group, and the one that is shown.

    Returns:
        ``ami``, ``synchrony``, ``rate`` (n, N), and the same of W = 0 with the ending
        ``_without``; of the shown sequence ``frames``, ``true``, ``groups`` (N, H, W) and
        ``spikes`` (N, T, H, W); the ``refractory`` period.
    """
    trained = load_network(options.network, options.device)
    last = max(options.sequence + 1, options.sequences)
    ensure(options.dataset, {"train_multi": last}, ["train_multi"], data=options.data)
    networks = {"": trained.network, "_without": without_recurrence(trained.network)}
    dynamics, q = trained.settings.dynamics, 1 / options.synchrony_timescale

    def bind(network: Network, indices: np.ndarray, frames: Tensor, true: Tensor) -> Film:
        frames = frames.to(options.device)
        return bind_film(frames, true, network, dynamics, options.seed, indices, q)

    curves = defaultdict(list)
    with record.timed():
        for indices in progress(chunks(options.sequences), unit="chunk"):
            films = read_films(options, indices)
            for ending, network in networks.items():
                film = bind(network, indices, *films)
                for name in CURVES:
                    curves[name + ending].append(getattr(film, name))
        arrays = {name: np.concatenate(values) for name, values in curves.items()}
        shown = np.array([options.sequence])
        frames, true = read_films(options, shown)
        film = bind(trained.network, shown, frames, true)
    arrays |= {
        "frames": frames[0].numpy().astype(np.uint8),
        "true": true[0].numpy().astype(np.uint8),
        "groups": film.groups[0].astype(np.uint8),
        "spikes": film.spikes[0],
        "refractory": np.array(dynamics.refractory),
    }
    record.seeds, record.data = [options.seed], "generated"
    record.checkpoints = {options.network: trained.checkpoint.sha256}
    record.settings |= {"sequences": options.sequences, "sequence": options.sequence}
    measure(record, arrays, options, trained.checkpoint)
    record.measurements[0].seconds = record.wall_seconds
    return arrays


def chunks(count: int) -> list[np.ndarray]:
    """The indices 0..count-1, ``CHUNK`` at a time."""
    return np.split(np.arange(count), range(CHUNK, count, CHUNK))


def measure(record: FigureRecord, arrays: Arrays, options: Options, checkpoint: Checkpoint) -> None:
    """Record means over the last frames with and without recurrence: over sequences."""
    first = options.scored_from - 1
    span = f"mean over frames {options.scored_from} to {options.frames}"
    common = {
        "of": checkpoint,
        "data": "generated",
        "note": f"{span} (three objects), then over sequences",
    }
    late = {
        name + ending: arrays[name + ending][:, first:].mean(axis=1)
        for name in CURVES
        for ending in ("", "_without")
    }
    gain = 100 * (late["ami"] - late["ami_without"])
    record.measure("AMI", 100 * late["ami"], unit="x 100", **common)
    record.measure("AMI, W = 0", 100 * late["ami_without"], unit="x 100", **common)
    record.measure("AMI, gain by the recurrence", gain, unit="x 100", **common)
    for name in ("synchrony", "rate"):
        record.measure(f"{name} score", late[name], **common)
        record.measure(f"{name} score, W = 0", late[f"{name}_without"], **common)


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: Arrays) -> mpl.figure.Figure:
    """Groups over inputs for every frame (a), scores (b) and AMI (c) over the frames."""
    per_row = record.settings["figure"]["frames_per_row"]
    n_rows = -(-len(arrays["frames"]) // per_row)
    with use_style():
        figure = mpl.figure.Figure(
            figsize=(DOUBLE_COLUMN, 1.05 * n_rows + 2.0), layout="constrained"
        )
        films, curves = figure.subfigures(2, 1, height_ratios=[1.05 * n_rows, 2.0])
        _draw_films(films, arrays, per_row)
        _draw_curves(curves, record, arrays)
    return figure


def painted_frames(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The shown film in colours, (N, H, W, 3) each: the groups found, named like the true ones
    where they agree most, and the input."""
    true, frames = arrays["true"], arrays["frames"]
    renamed = np.stack([match_groups(t, g) for t, g in zip(true, arrays["groups"], strict=True)])
    colors = group_colors(max(int(true.max()), int(renamed.max())) + 1)
    inputs = np.where(frames[..., None] > 0, 0.85, colors[0])
    return colors[renamed], inputs


def _draw_films(figure: SubFigure, arrays: Arrays, per_row: int) -> None:
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


def _draw_curves(figure: SubFigure, record: Record, arrays: Arrays) -> None:
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


def film_frames(arrays: Arrays) -> Iterator[np.ndarray]:
    """The shown film as an animation, a picture (H, W, 3) uint8 for every frame: input, spikes
    coloured by their phase, groups."""
    groups, inputs = painted_frames(arrays)
    phases = [phase_coloring(one, int(arrays["refractory"])) for one in arrays["spikes"]]
    columns = {"input": inputs, "spikes (colour: phase)": phases, "groups": groups}
    with use_style():
        figure = mpl.figure.Figure(figsize=(DOUBLE_COLUMN * 0.8, 2.25), layout="constrained")
        axes = figure.subplots(1, len(columns))
        for ax, (name, images) in zip(axes, columns.items(), strict=True):
            draw_image(ax, images[0], name)
        title = figure.suptitle("frame 1", fontsize=9)

        def update(n: int) -> None:
            title.set_text(f"frame {n + 1}")
            for ax, images in zip(axes, columns.values(), strict=True):
                ax.images[0].set_data(images[n])

        yield from figure_frames(figure, update, len(inputs), dpi=ANIMATION_DPI)


def animate(arrays: Arrays, path: Path) -> Path:
    """Write the shown film as a GIF and return its path."""
    return save_animation(path, film_frames(arrays), FPS)


def save_film(options: Options, record: Record, arrays: Arrays) -> None:
    """Write the film."""
    print(f"animation: {animate(arrays, options.out / 'film.gif')}")


FIGURE = Figure(
    "dasbe_figure5",
    "Figure 5",
    "DASBE",
    Options,
    compute,
    draw,
    [FOLDER / "figure5.yaml"],
    "scripts/dasbe/figure5.sh --profile {profile}",
    auto_device=DEVICE,
    after=save_film,
)
main = FIGURE.main


if __name__ == "__main__":
    sys.exit(main())
