"""The binding of one image as an animation, step by step.

    python -m gust.figures.animation

From left to right: the input; the spikes of the iteration so far, coloured by their phase; the
groups that k-medoids finds in the spikes of the last whole iteration; the true objects, which the
network is never told. Below, every spike of the objects' pixels, and AMI and SynScore of every
iteration. Iterations are counted from 0. Both profiles do the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from common.animation import figure_frames, save_animation
from common.drawing import CYCLE, draw_groups, draw_image, group_colors, use_style
from common.figure import Figure
from common.records import Record
from gust.figures.iterations import SCORE_NAMES
from gust.figures.one_image import IMAGE_FILE, ImageOptions, compute
from gust.figures.pictures import color_phases

FPS = 20
HOLD_LAST = 60
"""Frames for which the end stands still."""

# The picture, in pixels.
DPI = 140
WIDTH, HEIGHT = 800, 560
LEFT, RIGHT, GAP = 58, 14, 26
IMAGES_TOP, RASTER_TOP, RASTER_HEIGHT, CURVES_TOP, CURVES_HEIGHT = 62, 262, 150, 424, 84
SEPARATION = 3
"""Empty rows between the objects of the raster."""


class Scene(NamedTuple):
    """A figure, ``update(k)`` that changes it to frame k, and the number of frames."""

    figure: mpl.figure.Figure
    update: Callable[[int], None]
    n_frames: int


def raster_picture(trains: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Spikes (S, P) as a picture (rows, S, 3): the pixels of one object after the other, in the
    objects' colours on white, with ``SEPARATION`` empty rows between them."""
    colors = group_colors(int(true.max()) + 1, on_white=True)
    blocks = []
    for number in range(1, len(colors)):
        fired = trains.T[true == number] > 0
        blocks += [
            np.where(fired[..., None], colors[number], to_rgb("white")),
            np.ones((SEPARATION, len(trains), 3)),
        ]
    return np.concatenate(blocks[:-1])


def build_scene(arrays: dict[str, np.ndarray]) -> Scene:
    """The picture of one image's arrays (see ``one_image.bind_image``), a frame for every step.

    Artists are made once; ``update`` only changes their data.
    """
    n_iterations, window = arrays["spikes"].shape[:2]
    with use_style():
        figure = mpl.figure.Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, layout="none")
        title = figure.text(LEFT / WIDTH, 1 - 10 / HEIGHT, "", va="top", fontsize=10)
        size = (WIDTH - LEFT - RIGHT - 3 * GAP) / 4
        lefts = LEFT + np.arange(4) * (size + GAP)
        images = [_add_axes(figure, left, IMAGES_TOP, size, size) for left in lefts]
        whole = WIDTH - LEFT - RIGHT
        raster = _add_axes(figure, LEFT, RASTER_TOP, whole, RASTER_HEIGHT)
        curves = _add_axes(figure, LEFT, CURVES_TOP, whole, CURVES_HEIGHT)
        parts = [
            _draw_images(images, arrays),
            _draw_raster(raster, arrays),
            _draw_curves(curves, arrays),
        ]

    def update(k: int) -> None:
        n, phase = divmod(k, window)
        title.set_text(f"iteration {n}, phase {phase}")
        for show in parts:
            show(n, phase)

    return Scene(figure, update, n_iterations * window)


def _add_axes(
    figure: mpl.figure.Figure, left: float, top: float, width: float, height: float
) -> Axes:
    """Axes at a place in pixels from the figure's upper left corner."""
    bottom = HEIGHT - top - height
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))


def _draw_images(axes: Sequence[Axes], arrays: dict[str, np.ndarray]) -> Callable[[int, int], None]:
    """Input, spikes, groups and objects; returns what shows them at a phase of an iteration."""
    image, true, spikes, groups = (arrays[key] for key in ("image", "true", "spikes", "groups"))
    window, empty = spikes.shape[1], np.zeros_like(true)
    n_groups = int(max(true.max(), groups.max())) + 1
    draw_image(axes[0], image, "input")
    draw_image(axes[1], color_phases(spikes[0, :0], image), "spikes by phase")
    draw_groups(axes[2], empty, "groups", n_groups)
    draw_groups(axes[3], true, "objects", n_groups)

    def show(n: int, phase: int) -> None:
        so_far = spikes[n].copy()
        so_far[phase + 1 :] = 0
        axes[1].images[0].set_data(color_phases(so_far, image))
        known = n if phase == window - 1 else n - 1
        axes[2].images[0].set_data(groups[known] if known >= 0 else empty)
        axes[2].title.set_text(f"groups, iteration {known}" if known >= 0 else "groups")

    return show


def _draw_raster(ax: Axes, arrays: dict[str, np.ndarray]) -> Callable[[int, int], None]:
    """A raster that grows; returns what shows it up to a phase of an iteration."""
    true, window = arrays["true"].ravel(), arrays["spikes"].shape[1]
    picture = raster_picture(arrays["spikes"].reshape(-1, true.size), true)
    shown = ax.imshow(np.ones_like(picture), aspect="auto", interpolation="nearest")
    sizes = np.bincount(true)[1:]
    middles = np.cumsum(sizes + SEPARATION) - SEPARATION - sizes / 2 - 0.5
    ax.set_yticks(middles, range(1, len(sizes) + 1))
    ax.tick_params(axis="y", length=0)
    for label, color in zip(
        ax.get_yticklabels(), group_colors(len(sizes) + 1, on_white=True)[1:], strict=True
    ):
        label.set_color(color)
    ax.set(ylabel="object", xticks=[])

    def show(n: int, phase: int) -> None:
        past = picture.copy()
        past[:, n * window + phase + 1 :] = 1
        shown.set_data(past)

    return show


def _draw_curves(ax: Axes, arrays: dict[str, np.ndarray]) -> Callable[[int, int], None]:
    """AMI and SynScore, a step for every iteration; returns what shows the whole ones."""
    window, n_iterations = arrays["spikes"].shape[1], len(arrays["ami"])
    steps = np.arange(n_iterations + 1) * window - 0.5
    lines = []
    for (key, name), color in zip(SCORE_NAMES.items(), CYCLE, strict=False):
        line = ax.stairs(np.full(n_iterations, np.nan), steps, baseline=None, color=color, lw=1.4)
        line.set_label(name)
        lines.append((line, arrays[key]))
    ax.legend(loc="lower right", ncols=2, borderaxespad=0.2)
    ax.set(xlim=(-0.5, steps[-1]), ylim=(min(-0.05, *arrays["ami"], *arrays["synchrony"]), 1.05))
    ax.set(xlabel="time (steps)", ylabel="score", yticks=[0, 1])

    def show(n: int, phase: int) -> None:
        whole = n + 1 if phase == window - 1 else n
        for line, values in lines:
            line.set_data(np.where(np.arange(n_iterations) < whole, values, np.nan))

    return show


def draw(record: Record, arrays: dict[str, np.ndarray]) -> mpl.figure.Figure:
    """The last frame."""
    scene = build_scene(arrays)
    scene.update(scene.n_frames - 1)
    return scene.figure


def frames(arrays: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    """The frames of the film, (HEIGHT, WIDTH, 3) uint8; the last one stands still."""
    scene = build_scene(arrays)
    for frame in figure_frames(*scene, dpi=DPI):
        yield frame
    yield from [frame] * (HOLD_LAST - 1)


def save_film(options: ImageOptions, record: Record, arrays: dict[str, np.ndarray]) -> None:
    """Write the film."""
    print(f"animation: {save_animation(options.out / 'binding.gif', frames(arrays), FPS)}")


FIGURE = Figure(
    "gust_animation",
    "Binding, animated",
    "GUST",
    ImageOptions,
    compute,
    draw,
    [IMAGE_FILE],
    "scripts/gust/figure_animation.sh",
    after=save_film,
)
main = FIGURE.main


if __name__ == "__main__":
    sys.exit(main())
