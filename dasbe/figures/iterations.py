"""How well the spikes of every single iteration separate objects, and how that is drawn.

The groups of an iteration are read from its own T steps by k-means (all pixels, smoothed). Over
object pixels, the synchrony score is the silhouette of the spike trains with these groups in the
Victor-Purpura metric, the rate score the same at q = 0, and the clustering score the Euclidean
silhouette of the smoothed trains (paper, section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor

from common.drawing import CYCLE, line_with_band
from common.spike_metrics import Scores, scores
from dasbe.dynamics import Pixels
from dasbe.grouping import group_pixels

SCORES = Scores._fields
SYNCHRONY_COLOR, RATE_COLOR = CYCLE[0], CYCLE[1]


def score_iteration(
    trains: Tensor,
    pixels: Pixels,
    groups: Tensor,
    seed: int,
    image_indices: np.ndarray,
    q: float,
) -> tuple[np.ndarray, Scores]:
    """Group and score the spikes of one iteration by themselves.

    Args:
        trains: (B, T, P) uint8 spikes of the on-pixels.
        pixels: the on-pixels.
        groups: (B, H, W) true groups; pixels of group 0 are not scored. Each image's largest
            group + 1 is its number of clusters.
        seed, image_indices: name the random numbers of k-means.
        q: cost of shifting a spike by one step.

    Returns:
        the (B, H*W) groups found, and the scores (B,).
    """
    true = groups.flatten(1).cpu().numpy().astype(np.int64)
    index = pixels.index.cpu().numpy()
    scored = (pixels.on.cpu().numpy() > 0) & (np.take_along_axis(true, index, axis=1) > 0)
    maps = group_pixels(trains, pixels, true.max(axis=1) + 1, seed, image_indices)
    labels = np.where(scored, np.take_along_axis(maps, index, axis=1), -1)
    return maps, scores(trains, labels, q)


def iteration_scores(
    spikes: Tensor,
    pixels: Pixels,
    groups: Tensor,
    seed: int,
    image_indices: np.ndarray,
    q: float,
) -> Iterator[Scores]:
    """The scores (B,) of one iteration after the other (see :func:`score_iteration`), from the
    (B, N, T, P) spikes of N iterations."""
    for trains in spikes.unbind(1):
        yield score_iteration(trains, pixels, groups, seed, image_indices, q)[1]


def mean_band(values: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis of (n, ...) and its 95 % confidence band (Student's t).

    Returns mean, lower and upper limit, each (...); with n = 1 the limits are NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    n, mean = len(values), values.mean(axis=0)
    if n == 1:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    half = stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def correlation(x: ArrayLike, y: ArrayLike) -> float | None:
    """Pearson's correlation of all values of two arrays; None where one of them is constant."""
    x, y = np.ravel(x), np.ravel(y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def draw_scores(ax: Axes, synchrony: ArrayLike, rate: ArrayLike) -> None:
    """Synchrony and rate score (n, N) of N iterations: mean over n and its 95 % band."""
    for values, color, name in (
        (synchrony, SYNCHRONY_COLOR, "synchrony"),
        (rate, RATE_COLOR, "rate"),
    ):
        iterations = np.arange(1, np.shape(values)[1] + 1)
        line_with_band(ax, iterations, *mean_band(values), label=name, color=color)
    ax.axhline(0, color="0.7", lw=0.5, zorder=0)
    ax.set(xlabel="iteration", xlim=(1, np.shape(synchrony)[1]))


def legend_above(ax: Axes, columns: int = 3) -> None:
    """Put the legend above the axes, where it hides nothing."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        borderaxespad=0,
        columnspacing=0.8,
        handlelength=1,
        handletextpad=0.4,
    )


def draw_regression(ax: Axes, x: ArrayLike, y: ArrayLike, color: str, size: float = 2.0) -> None:
    """Points of all values of two arrays, and their regression line with r as its label.

    The line is left out where one of the arrays is constant.
    """
    x, y = np.ravel(x), np.ravel(y)
    ax.scatter(x, y, s=size, color=color, alpha=min(1.0, 15 / len(x) ** 0.5), lw=0, rasterized=True)
    r = correlation(x, y)
    if r is None:
        return
    slope, intercept = np.polyfit(x, y, 1)
    ends = np.array([x.min(), x.max()])
    ax.plot(ends, slope * ends + intercept, color="white", lw=2.2, zorder=3)
    ax.plot(ends, slope * ends + intercept, color=color, zorder=4, label=f"r = {r:.2f}")
