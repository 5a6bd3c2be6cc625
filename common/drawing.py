"""One look for the figures of all papers: style, colours, rasters, curves, files.

Functions draw on given axes and never show anything. Figures are made under :func:`use_style` and
written by :func:`save_figure`; both leave matplotlib's global settings as they were.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from common.files import atomic_path

COLUMN = 3.35  # inches: one column of a page
DOUBLE_COLUMN = 6.9

# Okabe and Ito's colours, safe for colour-blind readers, without yellow, too pale for lines.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
BACKGROUND = "#1A1A1A"
# The same on black, and six more that differ from them in lightness as well as in hue.
GROUPS = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#F0E442",
    "#0072B2",
    "#FFFFFF",
    "#882255",
    "#B2DF8A",
    "#7A5195",
    "#8C6D31",
    "#FFB7A5",
)

_STYLE = {
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "savefig.dpi": 250,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "axes.prop_cycle": mpl.cycler(color=CYCLE),
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlepad": 3,
    "axes.labelpad": 2,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "patch.linewidth": 0.5,
    "image.interpolation": "nearest",
    "image.cmap": "gray",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "figure",
}


# ---- style and files ------------------------------------------------------------------------


@contextlib.contextmanager
def use_style() -> Iterator[None]:
    """The repository's figure style inside the block: sizes for print at column width."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def panel_label(ax: Axes, letter: str) -> None:
    """Write a bold panel letter at the upper left, outside the axes."""
    ax.annotate(
        letter,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(-3, 3),
        textcoords="offset points",
        fontsize=9,
        fontweight="bold",
        ha="right",
        va="bottom",
        annotation_clip=False,
    )


def save_figure(figure: Figure, folder: str | os.PathLike[str], name: str = "figure") -> list[Path]:
    """Write ``folder/name.png`` (250 dpi) and ``folder/name.pdf``, each whole or not at all.

    No time of writing is stored: the same figure gives the same bytes. Returns the two paths.
    """
    undated = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
    paths = []
    with mpl.rc_context({key: _STYLE[key] for key in ("savefig.dpi", "pdf.fonttype")}):
        for kind, metadata in undated.items():
            path = Path(folder) / f"{name}.{kind}"
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format=kind, metadata=metadata)
            paths.append(path)
    return paths


# ---- images and groups ----------------------------------------------------------------------


def group_colors(n: int, on_white: bool = False) -> np.ndarray:
    """Colours (n, 3) in [0, 1] of groups 0..n-1: a near-black background, then distinct colours.

    They are meant for images; ``on_white`` darkens the pale ones, for lines and ticks on paper.

    Raises:
        ValueError: more than 14 (a background and 13 groups).
    """
    if not 1 <= n <= len(GROUPS) + 1:
        raise ValueError(f"there are colours for 1 to {len(GROUPS) + 1} groups, not {n}")
    colors = np.array([to_rgb(color) for color in (BACKGROUND, *GROUPS)[:n]])
    if on_white:
        luminance = colors @ [0.2126, 0.7152, 0.0722]
        colors *= np.minimum(1, 0.55 / luminance)[:, None]
    return colors


def match_groups(true: ArrayLike, predicted: ArrayLike) -> np.ndarray:
    """Rename predicted groups so that as many pixels as possible bear their true group's number.

    Args:
        true: groups of any shape, whole numbers 0 or more.
        predicted: groups of the same shape, whole numbers 0 or more.

    Returns:
        The predicted groups under new numbers. Groups without a partner get the free numbers from
        0 up. The assignment is the best one (Hungarian method).
    """
    true, predicted = np.asarray(true), np.asarray(predicted)
    names, kinds = np.unique(predicted, return_inverse=True)
    n_names = max(int(true.max()) + 1, names.size)
    overlap = np.zeros((names.size, n_names), np.int64)
    np.add.at(overlap, (kinds.ravel(), true.ravel()), 1)
    _, new = linear_sum_assignment(overlap, maximize=True)
    return new[kinds].reshape(predicted.shape)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color("0.6")
    ax.spines[:].set_linewidth(0.4)


def draw_image(ax: Axes, image: ArrayLike, title: str | None = None, **options: Any) -> None:
    """Draw an image (H, W), black to white over its range, or (H, W, 3) in [0, 1].

    ``options`` go to ``imshow``; ``vmin``, ``vmax`` fix the range.
    """
    ax.imshow(np.asarray(image), **options)
    _bare(ax)
    if title is not None:
        ax.set_title(title)


def draw_groups(
    ax: Axes, labels: ArrayLike, title: str | None = None, n_groups: int | None = None
) -> None:
    """Draw a label map (H, W) of whole numbers from 0 (background) in :func:`group_colors`."""
    labels = np.asarray(labels)
    colors = group_colors(int(labels.max()) + 1 if n_groups is None else n_groups)
    draw_image(ax, labels, title, cmap=ListedColormap(colors), vmin=-0.5, vmax=len(colors) - 0.5)


def side_by_side(images: ArrayLike) -> np.ndarray:
    """Coloured images (n, H, W, 3) in [0, 1] in a row, (H, n*(W + 1) - 1, 3), white between."""
    images = np.asarray(images)
    n, height, width, channels = images.shape
    row = np.ones((height, n, width + 1, channels))
    row[:, :, :-1] = images.transpose(1, 0, 2, 3)
    return row.reshape(height, -1, channels)[:, :-1]


def draw_spike_frames(
    axes: Sequence[Axes], frames: ArrayLike, titles: Sequence[str] | None = None
) -> None:
    """Draw spikes (n, H, W) 0/1, one frame on each of n axes."""
    for index, (ax, frame) in enumerate(zip(axes, np.asarray(frames), strict=True)):
        draw_image(ax, frame, None if titles is None else titles[index], vmin=0, vmax=1)


def phase_coloring(spikes: ArrayLike, refractory: int) -> np.ndarray:
    """Colour pixels by when they fire in a window.

    Phase t of T has the hue (t/T + 2/3) mod 1, weighted by (sin(2 pi (T/R) t/T) + 1) / 2; a
    pixel's colour is the sum over its spikes, clipped to [0, 1].

    Args:
        spikes: (T, H, W) 0/1.
        refractory: refractory period R in steps.

    Returns:
        (H, W, 3) in [0, 1]; silent pixels are black.
    """
    spikes = np.asarray(spikes, dtype=np.float64)
    n_steps = len(spikes)
    phase = np.arange(n_steps) / n_steps
    hue = (phase + 2 / 3) % 1
    weight = 0.5 * (np.sin(2 * np.pi * n_steps / refractory * phase) + 1)
    hsv = np.stack([hue, np.ones(n_steps), np.ones(n_steps)], axis=-1)
    colors = mpl.colors.hsv_to_rgb(hsv) * weight[:, None]
    return np.tensordot(spikes, colors, axes=(0, 0)).clip(0, 1)


# ---- spike trains ---------------------------------------------------------------------------


def population_rate(spikes: ArrayLike, width: int = 1) -> np.ndarray:
    """Share of neurons that fire (T,), from spikes (T, N); mean over ``width`` steps around each.

    At both ends the mean is over the steps there are.
    """
    rate = np.asarray(spikes, dtype=np.float64).mean(1)
    window = np.ones(width)
    return np.convolve(rate, window, "same") / np.convolve(np.ones(rate.size), window, "same")


def _bracket(ax: Axes, low: float, high: float, text: str, color: Any) -> None:
    """A vertical line right of the axes from row ``low`` to ``high`` with a name beside it."""
    place = ax.get_yaxis_transform()
    ends = [low, high]
    ax.plot(
        [1.015] * 2, ends, color=color, lw=2, transform=place, clip_on=False, solid_capstyle="butt"
    )
    ax.text(1.03, (low + high) / 2, text, color=color, transform=place, va="center", fontsize=6.5)


def raster(
    ax: Axes,
    spikes: ArrayLike,
    groups: ArrayLike | None = None,
    colors: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    start: int = 0,
) -> None:
    """Spike raster, a tick for every spike, rows sorted by group with a bracket for each group.

    Args:
        ax: axes to draw on.
        spikes: (T, N) 0/1.
        groups: (N,) whole numbers from 0; None draws all rows in black, unsorted.
        colors: (n_groups, 3), by default those of :func:`group_colors` on white.
        names: name of every group number, by default "group 1" and so on, "background" for 0.
        start: time of the first step, in steps.
    """
    spikes = np.asarray(spikes).astype(bool)
    n_steps, n_neurons = spikes.shape
    groups = None if groups is None else np.asarray(groups)
    order = np.arange(n_neurons) if groups is None else np.argsort(groups, kind="stable")
    sorted_groups = np.zeros(n_neurons, int) if groups is None else groups[order]
    if colors is None:
        colors = group_colors(int(sorted_groups.max(initial=0)) + 1, on_white=True)
    gap = 0.004 * n_neurons
    for group in np.unique(sorted_groups):
        rows = np.flatnonzero(sorted_groups == group)
        time, row = np.nonzero(spikes[:, order[rows]])
        color = np.asarray(colors)[group]
        ax.vlines(start + time, rows[row] - 0.45, rows[row] + 0.45, color=color, lw=0.8)
        if groups is not None:
            default = f"group {group}" if group else "background"
            text = default if names is None else names[group]
            _bracket(ax, rows[0] - 0.5 + gap, rows[-1] + 0.5 - gap, text, color)
    ax.set(xlim=(start - 1, start + n_steps), ylim=(n_neurons - 0.5, -0.5))
    ax.set(xlabel="time (steps)", ylabel="neuron")


# ---- curves and bars ------------------------------------------------------------------------


def line_with_band(
    ax: Axes,
    x: ArrayLike,
    mean: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    label: str | None = None,
    color: Any = None,
) -> None:
    """A curve (n,) with a shaded band from ``low`` to ``high``; NaN leaves gaps."""
    (line,) = ax.plot(x, mean, label=label, color=color)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _bars(ax, places, values, spread, options, value_format):
    """Bars with error bars, their values written above both and above the axis."""
    ax.bar(places, np.nan_to_num(values), **options)
    shown = spread > 0
    ax.errorbar(places[shown], values[shown], spread[shown], fmt="none", ecolor="0.1", capsize=1.5)
    for place, value, error in zip(places, values, spread, strict=True):
        if np.isfinite(value):
            ax.annotate(
                f"{value:{value_format}}",
                (place, max(value + error, 0)),
                xytext=(0, 1.5),
                textcoords="offset points",
                ha="center",
                fontsize=5.5,
            )


def draw_comparison(
    ax: Axes,
    names: Sequence[str],
    paper: Sequence[float | None],
    measured: Sequence[float],
    errors: Sequence[float | None] | None = None,
    ylabel: str | None = None,
    value_format: str = ".1f",
) -> None:
    """Grouped bars: the paper's value beside the one measured here.

    Args:
        ax: axes to draw on.
        names: what each pair of bars is; broken at underscores.
        paper: values; None where nothing was published, which the figure says.
        measured: values.
        errors: half lengths of the error bars of the measured values, None for none.
        ylabel: quantity and unit.
        value_format: how the values above the bars are written.
    """
    places, width = np.arange(len(names), dtype=float), 0.4
    left, right = places - width / 2, places + width / 2
    published, measured = _floats(paper), _floats(measured)
    spread = np.nan_to_num(_floats(errors)) if errors is not None else np.zeros(len(names))
    grey, blue = {"label": "paper", "color": "0.7"}, {"label": "here", "color": CYCLE[0]}
    _bars(ax, left, published, np.zeros(len(names)), {"width": width, **grey}, value_format)
    _bars(ax, right, measured, spread, {"width": width, **blue}, value_format)
    for place in left[np.isnan(published)]:
        text = ax.text(place, 0, " not published", rotation=90, ha="center", va="bottom")
        text.set(color="0.4", fontsize=5.5)
    ax.axhline(0, color="0.2", lw=0.6)
    ax.set_xticks(places, [name.replace("_", "\n") for name in names])
    ax.tick_params(axis="x", length=0)
    ax.margins(y=0.12)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    ax.set_ylabel(ylabel or "")
