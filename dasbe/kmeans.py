"""k-means from inner products, compiled, in parallel over problems.

With the Gram matrix G of the points, their weights w, and S[k, x] = sum over the members j of
cluster k of w_j G[j, x], the squared distance of point x to the centre of cluster k (of weight
n_k) is

    G[x, x] - 2 S[k, x] / n_k + sum over members i of w_i S[k, i] / n_k^2 .

So Lloyd's algorithm never touches the points' coordinates, and a point that moves from one
cluster to another changes two rows of S by a multiple of one row of G. The rules are
scikit-learn's: greedy k-means++ starts with 2 + log K trials each, an empty cluster takes the
point farthest from its own centre, the restart with the lowest inertia counts. Iteration goes on
until no label changes.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from dasbe.noise import GOLDEN, mix, uniform

MAX_ITERATIONS = 300


@numba.njit(cache=True, parallel=True)
def kmeans_gram(
    gram: np.ndarray, weights: np.ndarray, n_clusters: np.ndarray, keys: np.ndarray, restarts: int
) -> tuple[np.ndarray, np.ndarray]:
    """k-means of B independent problems.

    Args:
        gram: (B, n, n) float32 or float64 inner products of the points.
        weights: (B, n) float64; how often a point counts, 0 for padding.
        n_clusters: (B,) int64.
        keys: (B,) uint64, one random stream per problem (:func:`dasbe.noise.image_keys`).
        restarts: runs with different starts.

    Returns:
        labels (B, n) int64 and inertia (B,) float64 (the sum of squared distances) of each
        problem's best run. O(restarts * (n^2 + iterations * n * K)) for each problem.
    """
    n_problems, n = weights.shape
    labels = np.zeros((n_problems, n), np.int64)
    inertia = np.full(n_problems, np.inf)
    for b in numba.prange(n_problems):
        stream = np.array([keys[b]])
        for _ in range(restarts):
            start = _plus_plus(gram[b], weights[b], n_clusters[b], stream)
            found, value = lloyd_gram(gram[b], weights[b], start)
            if value < inertia[b]:
                inertia[b] = value
                labels[b] = found
    return labels, inertia


@numba.njit(cache=True)
def _next_uniform(stream: np.ndarray) -> float:
    stream[0] += GOLDEN
    return np.float64(uniform(mix(stream[0])))


@numba.njit(cache=True)
def _draw(masses: np.ndarray, total: float, stream: np.ndarray) -> int:
    """An index with probability proportional to its mass."""
    target = _next_uniform(stream) * total
    last = 0
    for x in range(masses.size):
        if masses[x] > 0:
            last = x
            target -= masses[x]
            if target < 0:
                break
    return last


@numba.njit(cache=True)
def _plus_plus(gram, weights, n_clusters, stream):
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): the indices of the start centres."""
    n = weights.size
    trials = 2 + int(math.log(n_clusters))
    centres = np.empty(n_clusters, np.int64)
    closest = np.full(n, np.inf)
    masses = weights.copy()
    total = weights.sum()
    for k in range(n_clusters):
        best_total = np.inf
        best_closest = closest
        for _ in range(trials if k else 1):
            candidate = _draw(masses, total, stream)
            nearer = np.empty(n)
            candidate_total = 0.0
            for x in range(n):
                distance = gram[x, x] - 2 * gram[candidate, x] + gram[candidate, candidate]
                nearer[x] = min(closest[x], max(distance, 0.0))
                candidate_total += weights[x] * nearer[x]
            if candidate_total < best_total:
                best_total = candidate_total
                best_closest = nearer
                centres[k] = candidate
        closest = best_closest
        masses = weights * closest
        total = best_total
    return centres


@numba.njit(cache=True)
def lloyd_gram(
    gram: np.ndarray, weights: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, float]:
    """Lloyd's algorithm from given start centres.

    Args:
        gram: (n, n) inner products. weights: (n,) float64. start: (K,) indices of the points
            that are the first centres.

    Returns:
        labels (n,) int64 and the inertia.
    """
    n, n_clusters = weights.size, start.size
    labels = np.zeros(n, np.int64)
    sums = np.zeros((n_clusters, n))
    sizes = np.zeros(n_clusters)
    # The first centres are points, clusters of one member of weight 1.
    for k in range(n_clusters):
        for x in range(n):
            sums[k, x] = gram[start[k], x]
    offsets = np.array([gram[c, c] for c in start])
    nearest, distances = _assign(sums, np.ones(n_clusters), offsets)
    sums[:] = 0
    for x in range(n):
        labels[x] = nearest[x]
        _add_member(sums, sizes, gram, x, labels[x], weights[x])
    for _ in range(MAX_ITERATIONS):
        _fill_empty_clusters(sums, sizes, gram, weights, labels, distances)
        offsets = _offsets(sums, sizes, weights, labels)
        nearest, distances = _assign(sums, sizes, offsets)
        changed = False
        for x in range(n):
            if nearest[x] != labels[x]:
                changed = changed or weights[x] > 0
                _add_member(sums, sizes, gram, x, labels[x], -weights[x])
                labels[x] = nearest[x]
                _add_member(sums, sizes, gram, x, labels[x], weights[x])
        if not changed:
            break
    inertia = 0.0
    for x in range(n):
        inertia += weights[x] * (gram[x, x] + distances[x])
    return labels, max(inertia, 0.0)


@numba.njit(cache=True)
def _add_member(sums, sizes, gram, x, k, weight):
    if weight == 0.0:
        return
    sizes[k] += weight
    for y in range(sums.shape[1]):
        sums[k, y] += weight * gram[x, y]


@numba.njit(cache=True)
def _offsets(sums, sizes, weights, labels):
    """Squared length of every cluster's centre."""
    offsets = np.zeros(sizes.size)
    for x in range(labels.size):
        offsets[labels[x]] += weights[x] * sums[labels[x], x]
    for k in range(sizes.size):
        offsets[k] = offsets[k] / sizes[k] ** 2 if sizes[k] > 0 else np.inf
    return offsets


@numba.njit(cache=True)
def _assign(sums, sizes, offsets):
    """The nearest centre of every point, and the squared distance to it less <x, x>."""
    n_clusters, n = sums.shape
    nearest = np.zeros(n, np.int64)
    distances = np.full(n, np.inf)
    for k in range(n_clusters):
        if not np.isfinite(offsets[k]):
            continue
        slope = 2 / sizes[k]
        for x in range(n):
            distance = offsets[k] - slope * sums[k, x]
            if distance < distances[x]:
                distances[x] = distance
                nearest[x] = k
    return nearest, distances


@numba.njit(cache=True)
def _fill_empty_clusters(sums, sizes, gram, weights, labels, distances):
    """Give every empty cluster the point farthest from its own centre."""
    for k in range(sizes.size):
        if sizes[k] > 0:
            continue
        farthest, most = -1, 1e-9
        for x in range(labels.size):
            distance = gram[x, x] + distances[x]
            if weights[x] > 0 and distance > most:
                farthest, most = x, distance
        if farthest < 0:  # fewer different points than clusters
            return
        distances[farthest] = -gram[farthest, farthest]
        _add_member(sums, sizes, gram, farthest, labels[farthest], -weights[farthest])
        labels[farthest] = k
        _add_member(sums, sizes, gram, farthest, k, weights[farthest])
