"""Clusters from a distance matrix (k-medoids) and their agreement with true groups (AMI)."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics.cluster import expected_mutual_information

from common.errors import UserError
from common.victor_purpura import as_array


def _information(counts: np.ndarray, total: int) -> float:
    """Entropy, in nats, of a distribution of ``total`` items over ``counts`` > 0."""
    shares = counts / total
    return -float(shares @ np.log(shares))


def _contingency(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """How many items of every true group (rows) are in every predicted one (columns)."""
    rows, row = np.unique(true, return_inverse=True)
    columns, column = np.unique(predicted, return_inverse=True)
    table = np.bincount(row * columns.size + column, minlength=rows.size * columns.size)
    return table.reshape(rows.size, columns.size)


def _away_from_zero(value: float) -> float:
    epsilon = float(np.finfo(np.float64).eps)
    return min(value, -epsilon) if value < 0 else max(value, epsilon)


def adjusted_mutual_info(true: ArrayLike, predicted: ArrayLike, ignore: int = 0) -> float:
    """Adjusted mutual information of two groupings (Vinh et al., 2010), arithmetic normaliser.

    (MI - E[MI]) / ((H(true) + H(predicted)) / 2 - E[MI]): 1 for equal groupings, 0 on average for
    independent ones. The value is that of ``sklearn.metrics.adjusted_mutual_info_score``, without
    its overhead for small inputs.

    Args:
        true: groups, (H, W) or of any shape.
        predicted: groups of the same shape.
        ignore: pixels whose true group is this one are left out.

    Raises:
        UserError: no pixel is left.
        ValueError: shapes that differ.
    """
    true, predicted = as_array(true), as_array(predicted)
    if true.shape != predicted.shape:
        raise ValueError(f"groups of shapes {true.shape} and {predicted.shape} cannot be compared")
    kept = true != ignore
    table = _contingency(true[kept], predicted[kept])
    if table.size == 0:
        raise UserError(f"the image has no object pixel: the true group is {ignore} everywhere")
    if 1 in table.shape:
        return float(table.shape == (1, 1))
    total = int(table.sum())
    h_true = _information(table.sum(1), total)
    h_predicted = _information(table.sum(0), total)
    mutual = max(0.0, h_true + h_predicted - _information(table[table > 0], total))
    expected = expected_mutual_information(table, total)
    normaliser = _away_from_zero((h_true + h_predicted) / 2 - expected)
    return _away_from_zero(mutual - expected) / normaliser


def adjusted_mutual_info_batch(
    true: ArrayLike, predicted: ArrayLike, ignore: int = 0
) -> np.ndarray:
    """:func:`adjusted_mutual_info` of every image: groups (B, ...) and (B, ...) -> (B,) float64.

    Raises:
        UserError: an image, named by its index, has no pixel left.
    """
    true, predicted = as_array(true), as_array(predicted)
    empty = np.flatnonzero((true == ignore).reshape(len(true), -1).all(1))
    if empty.size:
        raise UserError(
            f"image {empty[0]} has no object pixel: its true group is {ignore} everywhere"
        )
    pairs = zip(true, predicted, strict=True)
    return np.array([adjusted_mutual_info(one, other, ignore) for one, other in pairs])


@numba.njit(cache=True, nogil=True)
def _below(cost, other):
    """Whether ``cost`` is less by more than rounding, so that ties do not hang on it."""
    return cost < other * (1 - 1e-12)


@numba.njit(cache=True, nogil=True)
def _draw(mass, uniform):
    """The point at which the running sum of ``mass`` exceeds ``uniform`` times its total."""
    running = np.cumsum(mass)
    point = np.searchsorted(running, uniform * running[-1], side="right")
    while point >= mass.size or mass[point] == 0:  # rounding at the upper end
        point -= 1
    return point


@numba.njit(cache=True, nogil=True)
def _start(distances, weights, n_clusters, uniforms):
    """Medoids by k-medoids++: drawn with probability weight * distance^2, best of some trials."""
    medoids = np.empty(n_clusters, np.int64)
    medoids[0] = _draw(weights, uniforms[0, 0])
    nearest = distances[medoids[0]] ** 2
    for cluster in range(1, n_clusters):
        mass = weights * nearest
        if mass.sum() == 0:  # fewer distinct points than clusters
            return medoids[:cluster]
        best = np.inf
        closest = nearest
        for uniform in uniforms[cluster]:
            candidate = _draw(mass, uniform)
            updated = np.minimum(nearest, distances[candidate] ** 2)
            potential = np.sum(weights * updated)
            if _below(potential, best):
                best, closest, medoids[cluster] = potential, updated, candidate
        nearest = closest
    return medoids


@numba.njit(cache=True, nogil=True)
def _assign(distances, weights, medoids, labels):
    """Give every point the label of its nearest medoid; returns the total cost."""
    cost = 0.0
    for point in range(labels.size):
        best = np.inf
        for cluster in range(medoids.size):
            if distances[medoids[cluster], point] < best:
                best = distances[medoids[cluster], point]
                labels[point] = cluster
        cost += weights[point] * best
    return cost


@numba.njit(cache=True, nogil=True)
def _update(distances, weights, labels, medoids):
    """Move each medoid to the cheapest member of its cluster; returns whether one moved."""
    costs = np.zeros(labels.size)
    for point in range(labels.size):
        for other in range(labels.size):
            if labels[other] == labels[point]:
                costs[point] += weights[other] * distances[point, other]
    moved = False
    for point in range(labels.size):
        medoid = medoids[labels[point]]
        if weights[point] > 0 and _below(costs[point], costs[medoid]):
            medoids[labels[point]] = point
            moved = True
    return moved


@numba.njit(cache=True, nogil=True)
def _k_medoids(distances, weights, n_clusters, uniforms, max_iterations):
    """Labels of the cheapest restart; uniforms (restarts, clusters, trials)."""
    best_cost = np.inf
    best = np.zeros(weights.size, np.int64)
    labels = np.zeros(weights.size, np.int64)
    for restart in range(uniforms.shape[0]):
        medoids = _start(distances, weights, n_clusters, uniforms[restart])
        cost = _assign(distances, weights, medoids, labels)
        for _ in range(max_iterations):
            if not _update(distances, weights, labels, medoids):
                break
            cost = _assign(distances, weights, medoids, labels)
        if _below(cost, best_cost):
            best_cost = cost
            best[:] = labels
    return best


@numba.njit(cache=True, nogil=True, parallel=True)
def _k_medoids_images(distances, weights, n_clusters, uniforms, max_iterations):
    labels = np.empty(weights.shape, np.int64)
    for image in numba.prange(weights.shape[0]):
        shared = np.int64(image) % distances.shape[0]
        labels[image] = _k_medoids(
            distances[shared], weights[image], n_clusters[image], uniforms[image], max_iterations
        )
    return labels


def k_medoids_batch(
    distances: ArrayLike,
    n_clusters: int | ArrayLike,
    *,
    rng: np.random.Generator,
    weights: ArrayLike,
    n_restarts: int = 1,
    max_iterations: int = 300,
) -> np.ndarray:
    """K-medoids clusters of B sets of weighted points, compiled and parallel over sets.

    Start: k-medoids++ (each next medoid drawn with probability weight * squared distance to the
    nearest one so far, the best of 2 + log K draws); then points go to their nearest medoid and
    medoids to the cheapest point of their cluster until nothing moves.

    Args:
        distances: (B, N, N), or (N, N) for all sets.
        n_clusters: clusters of every set, one number or (B,).
        rng: source of the start; set b uses the b-th block of its numbers, so results do not
            depend on the number of threads, nor on the sets after b (same largest n_clusters).
        weights: (B, N) how many identical points each stands for; 0 marks padding.
        n_restarts: starts per set; the labels of least total distance are kept.
        max_iterations: most moves of the medoids per start.

    Returns:
        Labels (B, N) in 0..n_clusters-1; fewer appear where a set has fewer distinct points.

    Raises:
        ValueError: shapes that do not fit, no cluster, a set of total weight 0.
    """
    distances = np.ascontiguousarray(as_array(distances), dtype=np.float64)
    distances = distances[None] if distances.ndim == 2 else distances
    weights = np.ascontiguousarray(as_array(weights), dtype=np.float64)
    n_sets, n_points = weights.shape
    if distances.shape[0] not in (1, n_sets) or distances.shape[1:] != (n_points, n_points):
        raise ValueError(f"distances {distances.shape} do not fit weights {weights.shape}")
    counts = np.broadcast_to(as_array(n_clusters).astype(np.int64), (n_sets,)).copy()
    if counts.min() < 1 or n_restarts < 1 or (weights.sum(1) <= 0).any():
        raise ValueError("k-medoids needs a cluster, a start, and a point of positive weight")
    most = int(counts.max())
    uniforms = rng.random((n_sets, n_restarts, most, 2 + int(math.log(most))))
    if n_sets == 1:  # waking threads would take longer
        return _k_medoids(distances[0], weights[0], counts[0], uniforms[0], max_iterations)[None]
    return _k_medoids_images(distances, weights, counts, uniforms, max_iterations)


def k_medoids(
    distances: ArrayLike,
    n_clusters: int,
    *,
    rng: np.random.Generator,
    weights: ArrayLike | None = None,
    n_restarts: int = 1,
    max_iterations: int = 300,
) -> np.ndarray:
    """K-medoids clusters (N,) of points with distances (N, N); see :func:`k_medoids_batch`."""
    distances = as_array(distances)
    weights = np.ones(len(distances)) if weights is None else as_array(weights)
    return k_medoids_batch(
        distances,
        n_clusters,
        rng=rng,
        weights=weights[None],
        n_restarts=n_restarts,
        max_iterations=max_iterations,
    )[0]
