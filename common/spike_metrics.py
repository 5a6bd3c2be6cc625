"""How well spikes separate groups: silhouettes of the trains of an image, many images at once.

Three scores of one window of spikes with given groups (silhouettes, between -1 and 1):
synchrony (Victor-Purpura metric with cost q), rate (the same with q = 0) and clustering
(Euclidean metric on the smoothed trains the groups are found on).
Distances: :mod:`common.victor_purpura`. Groups and their agreement: :mod:`common.clustering`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike

from common.victor_purpura import (
    as_array,
    as_binary,
    check_cost,
    distances_within,
    distinct_rows,
    pack_trains,
    spike_times,
)


class Scores(NamedTuple):
    """Scores (B,) of B images, float64; 0 where fewer than two clusters remain."""

    synchrony: np.ndarray
    rate: np.ndarray
    clustering: np.ndarray


@numba.njit(cache=True, nogil=True)
def _silhouette(distances, labels, weights, n_clusters):
    """Mean silhouette of N weighted points: distances (N, N), labels (N,) < n_clusters."""
    size = np.zeros(n_clusters)
    for point in range(labels.size):
        size[labels[point]] += weights[point]
    total = 0.0
    sums = np.empty(n_clusters)
    for point in range(labels.size):
        own = labels[point]
        if size[own] <= 1:
            continue
        sums[:] = 0.0
        for other in range(labels.size):
            sums[labels[other]] += weights[other] * distances[point, other]
        nearest = np.inf
        for cluster in range(n_clusters):
            if cluster != own:
                nearest = min(nearest, sums[cluster] / size[cluster])
        inside = sums[own] / (size[own] - 1)
        largest = max(inside, nearest)
        if largest > 0:
            total += weights[point] * (nearest - inside) / largest
    return total / size.sum()


def silhouette(distances: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean silhouette coefficient of points with given clusters (Rousseeuw, 1987).

    For a point with mean distance a to the rest of its cluster and b to the nearest other cluster
    it is (b - a) / max(a, b); 0 for the only point of a cluster and where a = b = 0.

    Args:
        distances: (N, N), zero on the diagonal.
        labels: (N,) whole numbers.
        weights: (N,) how many identical points each stands for; None means 1 each. The result
            equals that of the points repeated.

    Returns:
        The mean over points; 0.0 for fewer than two clusters or none with two points.

    Raises:
        ValueError: shapes that do not fit.
    """
    distances = np.ascontiguousarray(as_array(distances), dtype=np.float64)
    labels = as_array(labels)
    weights = np.ones(labels.shape) if weights is None else as_array(weights).astype(np.float64)
    if distances.shape != (labels.size, labels.size) or weights.shape != (labels.size,):
        raise ValueError(
            f"distances {distances.shape}, labels {labels.shape} and weights {weights.shape} "
            "must have shapes (N, N), (N,) and (N,)"
        )
    present = weights > 0
    if not present.all():
        distances, labels, weights = (
            distances[present][:, present],
            labels[present],
            weights[present],
        )
    names, kinds = np.unique(labels, return_inverse=True)
    if names.size < 2:
        return 0.0
    return float(_silhouette(distances, kinds, weights, names.size))


@numba.njit(cache=True, nogil=True)
def _smoothed_distances(trains, times, counts):
    """Euclidean distances (N, N) of trains smoothed by adding half of the previous step.

    |x - y|^2 = xx + yy - 2xy, and the product of two smoothed trains is a sum over the spikes of
    one of them of ``twice``, the other smoothed once more backwards in time. All terms are
    multiples of 1/4, so nothing is rounded before the square root.
    """
    n_trains, n_steps = trains.shape
    smooth = np.zeros((n_steps + 1, n_trains))
    for train in range(n_trains):
        for step in range(n_steps):
            smooth[step, train] = trains[train, step]
            if step > 0:
                smooth[step, train] += 0.5 * trains[train, step - 1]
    twice = smooth[:-1] + 0.5 * smooth[1:]
    products = np.zeros((n_trains, n_trains))
    for train in range(n_trains):
        for spike in range(counts[train]):
            products[train] += twice[int(times[spike, train])]
    squares = np.diag(products)
    distances = np.empty((n_trains, n_trains))
    for train in range(n_trains):
        distances[train] = np.sqrt(squares[train] + squares - 2 * products[train])
    return distances


@numba.njit(cache=True, nogil=True)
def _merge(keys):
    """Distinct rows of ``keys``: the first row of each kind (U,) and how often it occurs (U,)."""
    first, kind = distinct_rows(keys)
    weights = np.zeros(first.size)
    for row in range(kind.size):
        weights[kind[row]] += 1
    return first, weights


@numba.njit(cache=True, nogil=True)
def _score_image(spikes, labels, q):
    """Synchrony, rate and clustering score of one image: spikes (T, P), labels (P,)."""
    pixels = np.flatnonzero(labels >= 0)
    names, cluster = distinct_rows(labels[pixels].reshape(-1, 1))
    n_clusters = names.size
    if n_clusters < 2:
        return 0.0, 0.0, 0.0
    trains = np.empty((pixels.size, spikes.shape[0]), np.uint8)
    for row in range(pixels.size):
        for step in range(spikes.shape[0]):
            trains[row, step] = spikes[step, pixels[row]]

    # Pixels of one cluster with the same train are one weighted point.
    keys = pack_trains(trains, 1)
    keys[:, -1] = cluster
    first, weights = _merge(keys)
    trains, cluster = trains[first], cluster[first]
    times, counts = spike_times(trains)
    synchrony = _silhouette(distances_within(times, counts, q), cluster, weights, n_clusters)
    smoothed = _smoothed_distances(trains, times, counts)
    clustering = _silhouette(smoothed, cluster, weights, n_clusters)

    # With q = 0, so are those with the same number of spikes.
    keys = np.stack((counts, cluster), axis=1)
    first, kind = distinct_rows(keys)
    merged = np.zeros(first.size)
    for row in range(kind.size):
        merged[kind[row]] += weights[row]
    counts = counts[first]
    differences = np.abs(counts.reshape(-1, 1) - counts).astype(np.float64)
    rate = _silhouette(differences, cluster[first], merged, n_clusters)
    return synchrony, rate, clustering


@numba.njit(cache=True, nogil=True, parallel=True)
def _score_images(spikes, labels, q):
    scores = np.empty((3, spikes.shape[0]))
    for image in numba.prange(spikes.shape[0]):
        synchrony, rate, clustering = _score_image(spikes[image], labels[image], q)
        scores[0, image] = synchrony
        scores[1, image] = rate
        scores[2, image] = clustering
    return scores


def scores(spikes: ArrayLike, labels: ArrayLike, q: float) -> Scores:
    """Synchrony, rate and clustering score of a batch of images, compiled and parallel over images.

    Args:
        spikes: (B, T, ...) 0/1, one window of T steps per image; uint8 and bool need no copy.
        labels: (B, ...) group of every pixel, whole numbers; pixels with a negative one are left
            out.
        q: cost of shifting a spike by one step in the synchrony score.

    Returns:
        Three arrays (B,): silhouettes over the pixels kept with the Victor-Purpura metric (q),
        with the same at q = 0, and with the Euclidean metric on s[t] + s[t-1]/2.
        0 for an image with fewer than two clusters.

    Raises:
        ValueError: shapes that do not fit, spikes that are not 0 or 1, negative q.
    """
    spikes, labels = as_binary(spikes), as_array(labels)
    if spikes.ndim < 3 or labels.shape != spikes.shape[:1] + spikes.shape[2:]:
        raise ValueError(
            f"spikes {spikes.shape} and labels {labels.shape} do not have shapes (B, T, ...) and "
            "(B, ...)"
        )
    q, (n_images, n_steps) = check_cost(q), spikes.shape[:2]
    n_pixels = math.prod(labels.shape[1:])
    spikes = spikes.reshape(n_images, n_steps, n_pixels)
    labels = np.ascontiguousarray(labels, dtype=np.int64).reshape(n_images, n_pixels)
    if n_images == 1:  # waking threads would take longer
        return Scores(*np.reshape(_score_image(spikes[0], labels[0], q), (3, 1)))
    return Scores(*_score_images(spikes, labels, q))


def _scores_of_one(trains: ArrayLike, labels: ArrayLike, q: float) -> Scores:
    return scores(as_array(trains).T[None], as_array(labels)[None], q)


def synchrony_score(trains: ArrayLike, labels: ArrayLike, q: float = 1 / 6) -> float:
    """Silhouette of trains (N, T) with groups (N,), Victor-Purpura metric; see :func:`scores`."""
    return float(_scores_of_one(trains, labels, q).synchrony[0])


def rate_score(trains: ArrayLike, labels: ArrayLike) -> float:
    """Silhouette of trains (N, T) with groups (N,) by their spike counts; see :func:`scores`."""
    return float(_scores_of_one(trains, labels, 0.0).rate[0])


def clustering_score(trains: ArrayLike, labels: ArrayLike) -> float:
    """Euclidean silhouette of smoothed trains (N, T) with groups (N,); see :func:`scores`."""
    return float(_scores_of_one(trains, labels, 0.0).clustering[0])
