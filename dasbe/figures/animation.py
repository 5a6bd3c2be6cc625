"""The binding of one image as an animation, phase by phase.

    python -m dasbe.figures.animation

From left to right: the input; the feedback, what the autoencoder expects to fire at this phase; the
spikes, coloured by their true object, which the model is never told; and the groups that k-means
reads from the spikes of the iteration. Below, every spike of the iterations shown, and the share of
each object's pixels that fire.

It is an illustration: image and network are those of Figure 2, but the seed is one that ends with
the right groups, so that there is something to see. How often that happens is what Figure 2 and
Table 1 measure.

Both profiles do the same; it takes half a minute, most of it for drawing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from common.animation import figure_frames, save_animation
from common.clustering import adjusted_mutual_info
from common.drawing import (
    BACKGROUND,
    draw_groups,
    draw_image,
    group_colors,
    match_groups,
    population_rate,
    use_style,
)
from common.errors import UserError, command_line
from common.records import Measurement, Record, new_record
from common.results import report_results, result_parser
from common.settings import load_settings, to_dict
from common.training import choose_device
from dasbe.binding import DEVICE, MOST_ITERATIONS, TrainedNetwork, load_network
from dasbe.config import FOLDER
from dasbe.dynamics import iterate, restricted, scatter_pixels, start
from dasbe.figures.figure2 import SILENT, Figure2Settings, frame_strip
from dasbe.grouping import group_pixels
from datasets.binding import read_group
from datasets.generate import ensure

NAME = "Binding, animated"
SEED = 555
SHOWN = (1, 3, 15)
"""Iterations shown before the last one, counted from 1."""

MOST_SHOWN = 6
"""Iterations for which there is room, the last one included."""

FPS = 10
HOLD, HOLD_LAST = 7, 35
"""Frames for which the end of an iteration, and of the last one, stands still."""

# The picture, in pixels.
DPI = 140
WIDTH, HEIGHT = 800, 512
LEFT, RIGHT, GAP = 44, 12, 24
IMAGES_TOP, RASTER_TOP, RATE_TOP = 66, 272, 420
RASTER_HEIGHT, RATE_HEIGHT = 140, 50
SEPARATION = 2
"""Empty rows between the objects of a raster."""
WAITING = 0.65
"""Grey of the names of iterations that are still to come."""


@dataclass(frozen=True)
class Plan:
    """One run: which image and seed, which iterations (counted from 1), where."""

    profile: str
    image: int
    seed: int
    iterations: int
    shown: tuple[int, ...]
    data: str
    device: torch.device
    out: Path


# ---- computing ------------------------------------------------------------------------------


def simulate_image(
    image: Tensor, true: Tensor, trained: TrainedNetwork, plan: Plan, read_iterations: int
) -> dict[str, np.ndarray]:
    """Simulate one image (1, H, W) with true groups (1, H, W) and keep what is shown.

    Args:
        image, true: of ``plan.image``.
        trained: the network.
        plan: the run; its shown iterations are those that are kept.
        read_iterations: iterations at the end from which the final groups are read.

    Returns:
        ``spikes`` (S, T, H, W) uint8 and ``feedback`` (S, T, H, W) float32 of the S shown
        iterations; ``groups`` (S, H, W) read from the spikes of each, numbered like the true
        ones where they agree; ``ami`` () of the groups of the last ``read_iterations``.
    """
    d, index = trained.settings.dynamics, np.array([plan.image])
    n_groups, shape = int(true.max()) + 1, true.shape[1:]
    kept = []
    with torch.inference_mode():
        pixels, network = restricted(image, trained.network)
        state = start(pixels, d.window, plan.seed, index)
        steps = iterate(state, pixels, network, d.refractory, plan.seed, index)
        for _, (iteration, _) in zip(range(plan.iterations), steps, strict=False):
            kept.append(iteration)

    def groups_of(spikes: Tensor) -> np.ndarray:
        return group_pixels(spikes, pixels, n_groups, plan.seed, index).reshape(shape)

    def whole(values: Tensor) -> np.ndarray:
        return scatter_pixels(values, pixels)[0].unflatten(-1, shape).cpu().numpy()

    shown = [kept[n - 1] for n in plan.shown]
    last = groups_of(torch.cat([iteration.spikes for iteration in kept[-read_iterations:]], dim=1))
    return {
        "spikes": np.stack([whole(s.spikes) for s in shown]),
        "feedback": np.stack([whole(s.feedback) for s in shown]),
        "groups": np.stack([match_groups(true[0], groups_of(s.spikes)) for s in shown]),
        "ami": np.array(adjusted_mutual_info(true[0], torch.from_numpy(last))),
    }


def compute(plan: Plan, settings: Figure2Settings) -> tuple[Record, dict[str, np.ndarray]]:
    """Simulate the image once.

    Returns:
        the record, and ``image`` (H, W), ``true`` (H, W) groups, the ``shown`` (S,) iterations,
        counted from 1, and what :func:`simulate_image` gives.
    """
    trained = load_network(settings.network, plan.device)
    ensure(settings.dataset, {"train_multi": plan.image + 1}, ["train_multi"], data=plan.data)
    image, true = read_group(settings.dataset, "train_multi", start=plan.image, count=1)
    began = time.perf_counter()
    arrays = {
        "image": image[0].numpy().astype(np.uint8),
        "true": true[0].numpy(),
        "shown": np.array(plan.shown),
        **simulate_image(image.to(plan.device), true, trained, plan, settings.read_iterations),
    }
    record = new_record(
        NAME,
        "DASBE",
        plan.profile,
        device=plan.device,
        seeds=[plan.seed],
        settings={"figure": to_dict(settings), "image": plan.image, "iterations": plan.iterations},
        data="generated",
        checkpoints={settings.network: trained.checkpoint.sha256},
        wall_seconds=time.perf_counter() - began,
    )
    record.measurements = [
        Measurement(
            what=f"AMI of this one run after {plan.iterations} iterations",
            value=100 * float(arrays["ami"]),
            unit="x 100",
            seeds=[plan.seed],
            seconds=record.wall_seconds,
            command="scripts/dasbe/animation.sh",
            checkpoint=trained.checkpoint.sha256[:12],
            note=f"image {plan.image}; an illustration with a chosen seed, see Figure 2 for five",
        )
    ]
    return record, arrays


# ---- drawing --------------------------------------------------------------------------------


class Scene(NamedTuple):
    """A figure, ``update(k)`` that changes it to frame k, and the number of frames."""

    figure: Figure
    update: Callable[[int], None]
    n_frames: int


def feedback_picture(feedback: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Feedback (H, W) in [0, 1] as brightness of the on-pixels of an image (H, W): (H, W, 3)."""
    silent, background = np.array(to_rgb(SILENT)), np.array(to_rgb(BACKGROUND))
    level = np.round(16 * feedback[..., None]) / 16  # few colours make a small file
    return np.where(image[..., None] > 0, silent + level * (1 - silent), background)


def raster_picture(trains: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Spikes (T, P) as a picture (rows, T, 3): rows sorted by their true groups (P,), from 1 on,
    in the groups' colours on white, with ``SEPARATION`` empty rows between groups."""
    colors = group_colors(int(true.max()) + 1, on_white=True)
    rows = []
    for number in range(1, len(colors)):
        fired = trains.T[true == number] > 0
        rows.append(np.where(fired[..., None], colors[number], 1.0))
        rows.append(np.ones((SEPARATION, len(trains), 3)))
    return np.concatenate(rows[:-1])


def build_scene(arrays: dict[str, np.ndarray]) -> Scene:
    """The picture of :func:`compute`'s arrays, one frame for every phase of every iteration shown.

    Artists are made once; ``update`` only changes their data.
    """
    n_shown, window = arrays["spikes"].shape[:2]
    with use_style():
        figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, layout="none")
        title = figure.text(LEFT / WIDTH, 1 - 10 / HEIGHT, "", va="top", fontsize=10)
        show_images = _draw_images(_row_of_axes(figure, 4, IMAGES_TOP), arrays)
        show_spikes = _draw_activity(
            _row_of_axes(figure, n_shown, RASTER_TOP, RASTER_HEIGHT),
            _row_of_axes(figure, n_shown, RATE_TOP, RATE_HEIGHT),
            arrays,
        )

    def update(k: int) -> None:
        n, phase = divmod(k, window)
        title.set_text(f"iteration {arrays['shown'][n]}, phase {phase + 1} of {window}")
        show_images(n, phase)
        show_spikes(n, phase)

    return Scene(figure, update, n_shown * window)


def _row_of_axes(figure: Figure, n: int, top: int, height: int | None = None) -> list[Axes]:
    """``n`` axes side by side, ``top`` pixels below the figure's upper edge; square by default."""
    width = (WIDTH - LEFT - RIGHT - (n - 1) * GAP) / n
    height = width if height is None else height
    lefts = LEFT + np.arange(n) * (width + GAP)
    bottom, size = 1 - (top + height) / HEIGHT, (width / WIDTH, height / HEIGHT)
    return [figure.add_axes((left / WIDTH, bottom, *size)) for left in lefts]


def _draw_images(axes: Sequence[Axes], arrays: dict[str, np.ndarray]) -> Callable[[int, int], None]:
    """Input, feedback, spikes and groups; returns what shows them at a phase of an iteration."""
    image, true, spikes, shown = (arrays[key] for key in ("image", "true", "spikes", "shown"))
    window, empty = spikes.shape[1], np.zeros_like(true)
    draw_image(axes[0], image, "input")
    draw_image(axes[1], feedback_picture(empty, image), "feedback")
    draw_image(axes[2], frame_strip(empty[None], true), "spikes")
    draw_groups(axes[3], empty, "groups", int(true.max()) + 1)
    feedback, firing, groups = (ax.images[0] for ax in axes[1:])

    def show(n: int, phase: int) -> None:
        feedback.set_data(feedback_picture(arrays["feedback"][n, phase], image))
        firing.set_data(frame_strip(spikes[n, phase][None], true))
        known = n if phase == window - 1 else n - 1
        groups.set_data(arrays["groups"][known] if known >= 0 else empty)
        axes[3].title.set_text(f"groups, iteration {shown[known]}" if known >= 0 else "groups")

    return show


def _draw_activity(
    rasters: Sequence[Axes], rates: Sequence[Axes], arrays: dict[str, np.ndarray]
) -> Callable[[int, int], None]:
    """Rasters and population rates, one column for an iteration; returns what shows them up to a
    phase of an iteration."""
    spikes, true = arrays["spikes"], arrays["true"].ravel()
    trains = spikes.reshape(*spikes.shape[:2], -1)
    window, colors = trains.shape[1], group_colors(int(true.max()) + 1, on_white=True)
    pictures = [raster_picture(iteration, true) for iteration in trains]
    curves = [
        [population_rate(iteration[:, true == k]) for k in range(1, len(colors))]
        for iteration in trains
    ]
    shown_pictures, shown_curves = [], []
    for raster, rate, number in zip(rasters, rates, arrays["shown"], strict=True):
        shown_pictures.append(raster.imshow(np.ones_like(pictures[0]), aspect="auto"))
        raster.set(title=f"iteration {number}", xticks=[], yticks=[])
        shown_curves.append([rate.plot([], color=color, lw=1.2)[0] for color in colors[1:]])
        rate.set(xlim=(-0.5, window - 0.5), ylim=(-0.04, 1.04), xlabel="phase (steps)")
        rate.set(xticks=range(0, window, 8), yticks=[0, 1])
        rate.tick_params(labelleft=rate is rates[0])
    _name_objects(rasters[0], true, colors)
    rasters[0].set_ylabel("object")
    rates[0].set_ylabel("firing")
    rasters[0].figure.align_ylabels([rasters[0], rates[0]])

    def show(n: int, phase: int) -> None:
        for m in range(len(trains)):
            steps = window if m < n else phase + 1 if m == n else 0
            rasters[m].title.set_color(str(0.0 if steps else WAITING))
            picture = pictures[m].copy()
            picture[:, steps:] = 1
            shown_pictures[m].set_data(picture)
            for line, curve in zip(shown_curves[m], curves[m], strict=True):
                line.set_data(np.arange(steps), curve[:steps])

    return show


def _name_objects(raster: Axes, true: np.ndarray, colors: np.ndarray) -> None:
    """Write the objects' numbers beside their rows of a raster from :func:`raster_picture`."""
    sizes = np.bincount(true)[1:]
    middles = np.cumsum(sizes + SEPARATION) - SEPARATION - sizes / 2 - 0.5
    raster.set_yticks(middles, range(1, len(colors)))
    raster.tick_params(axis="y", length=0)
    for label, color in zip(raster.get_yticklabels(), colors[1:], strict=True):
        label.set_color(color)


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """The last frame, from what :func:`compute` returned."""
    scene = build_scene(arrays)
    scene.update(scene.n_frames - 1)
    return scene.figure


def frames(arrays: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    """The frames of the film, (HEIGHT, WIDTH, 3) uint8; the end of an iteration stands still."""
    scene, window = build_scene(arrays), arrays["spikes"].shape[1]
    for k, frame in enumerate(figure_frames(*scene, dpi=DPI), start=1):
        repeats = HOLD_LAST if k == scene.n_frames else HOLD if k % window == 0 else 1
        yield from [frame] * repeats


# ---- command line ---------------------------------------------------------------------------


def _parser(settings: Figure2Settings) -> argparse.ArgumentParser:
    parser = result_parser(
        "dasbe.figures.animation", __doc__, "dasbe_animation", "both are the whole animation"
    )
    parser.add_argument(
        "--image",
        type=int,
        default=settings.image,
        help=f"index in train_multi of {settings.dataset} (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument(
        "--iterations",
        type=int,
        default=settings.iterations,
        help="of the simulation, the last of which is always shown (default: %(default)s)",
    )
    parser.add_argument(
        "--shown",
        nargs="*",
        type=int,
        help="iterations shown before the last, counted from 1 (default: "
        f"{' '.join(map(str, SHOWN))})",
    )
    return parser


def plan_from(args: argparse.Namespace) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    if args.image < 0:
        raise UserError(f"--image is {args.image}; the index of an image must be 0 or more")
    if not 1 <= args.iterations <= MOST_ITERATIONS:
        raise UserError(f"--iterations is {args.iterations}; give 1 to {MOST_ITERATIONS}")
    given = [n for n in SHOWN if n < args.iterations] if args.shown is None else args.shown
    for n in given:
        if not 1 <= n <= args.iterations:
            raise UserError(f"--shown {n}: there are iterations 1 to {args.iterations}")
    shown = tuple(sorted({*given, args.iterations}))
    if len(shown) > MOST_SHOWN:
        raise UserError(
            f"--shown: with the last there are {len(shown)} iterations, and there is room for "
            f"{MOST_SHOWN}"
        )
    device = choose_device(args.device, DEVICE)
    return Plan(
        args.profile, args.image, args.seed, args.iterations, shown, args.data, device, args.out
    )


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = load_settings(Figure2Settings, FOLDER / "figure2.yaml")
    plan = plan_from(_parser(settings).parse_args(argv))
    record, arrays = compute(plan, settings)
    report_results(plan.out, record, arrays, draw(record, arrays))
    print(f"animation: {save_animation(plan.out / 'binding.gif', frames(arrays), FPS)}")


if __name__ == "__main__":
    sys.exit(main())
