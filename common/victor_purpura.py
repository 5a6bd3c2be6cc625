"""Victor-Purpura distances between spike trains, all pairs at once.

The distance of two trains is the least total cost of turning one into the other with three moves:
delete a spike (1), insert a spike (1), shift a spike by dt steps (q*|dt|)
(Victor and Purpura, 1996). Limits: q = 0 gives the difference of the spike counts; with spikes at
whole steps, q >= 2 gives the Hamming distance, because shifting never pays.

The recursion over spike counts, G[i, j] = min(G[i-1, j] + 1, G[i, j-1] + 1,
G[i-1, j-1] + q*|a_i - b_j|), runs for one train against all others at a time, with the others in
the innermost (SIMD) loop. Identical trains are computed once.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike


def textbook_distance(a: ArrayLike, b: ArrayLike, q: float) -> float:
    """The distance of two lists of spike times by the recursion of Victor and Purpura (1996), in
    plain Python: what the compiled functions below are tested against."""
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[:, 0] = np.arange(len(a) + 1)
    table[0, :] = np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i, j] = min(
                table[i - 1, j] + 1,
                table[i, j - 1] + 1,
                table[i - 1, j - 1] + q * abs(a[i - 1] - b[j - 1]),
            )
    return float(table[-1, -1])


def as_array(values: Any) -> np.ndarray:
    """A NumPy array from an array, a sequence, or a tensor on any device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def as_binary(spikes: Any) -> np.ndarray:
    """Spikes of any shape and type as contiguous uint8; raises ValueError if one is not 0 or 1."""
    values = as_array(spikes)
    binary = values.astype(np.uint8, copy=False)
    if values.dtype != bool and (binary.max(initial=0) > 1 or (binary != values).any()):
        raise ValueError("spikes must be 0 or 1")
    return np.ascontiguousarray(binary)


def check_cost(q: float) -> float:
    """``q`` as a float; raises ValueError if it is negative or not a number."""
    if not q >= 0:
        raise ValueError(f"the cost q of a shift is {q}; it must be 0 or more")
    return float(q)


@numba.njit(cache=True, nogil=True)
def distinct_rows(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal rows of ``keys`` (N, W): the first row of each kind (U,) and the kind of each (N,)."""
    first = np.empty(keys.shape[0], np.int64)
    kind = np.empty(keys.shape[0], np.int64)
    n_kinds = 0
    for row in range(keys.shape[0]):
        found = n_kinds
        for candidate in range(n_kinds):
            equal = True
            for word in range(keys.shape[1]):
                if keys[row, word] != keys[first[candidate], word]:
                    equal = False
                    break
            if equal:
                found = candidate
                break
        if found == n_kinds:
            first[n_kinds] = row
            n_kinds += 1
        kind[row] = found
    return first[:n_kinds], kind


@numba.njit(cache=True, nogil=True)
def pack_trains(trains: np.ndarray, n_extra: int) -> np.ndarray:
    """Trains (N, T) as 64-bit words (N, ceil(T / 64) + n_extra), the extra words 0."""
    n_trains, n_steps = trains.shape
    words = np.zeros((n_trains, (n_steps + 63) // 64 + n_extra), np.int64)
    for train in range(n_trains):
        for step in range(n_steps):
            words[train, step >> 6] |= np.int64(trains[train, step]) << (step & 63)
    return words


@numba.njit(cache=True, nogil=True)
def spike_times(trains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spike times (S, N) in steps, S the largest spike count, and the counts (N,).

    Columns with fewer than S spikes end in zeros, which no distance depends on.
    """
    n_trains, n_steps = trains.shape
    counts = np.zeros(n_trains, np.int64)
    for train in range(n_trains):
        for step in range(n_steps):
            counts[train] += trains[train, step]
    times = np.zeros((counts.max() if n_trains else 0, n_trains))
    for train in range(n_trains):
        spike = 0
        for step in range(n_steps):
            if trains[train, step]:
                times[spike, train] = step
                spike += 1
    return times, counts


@numba.njit(cache=True, nogil=True)
def _distances_from(spikes, times, counts, q, start, table, distances):
    """Distances (N,) of one train, spike times (n,), to trains start..N-1 of ``times`` (S, N).

    ``table`` (2, S + 1, N) is working memory: the last two rows of the recursion.
    """
    n_spikes, n_trains = times.shape
    previous, current = table[0], table[1]
    for j in range(n_spikes + 1):
        for train in range(start, n_trains):
            previous[j, train] = j
    for i in range(spikes.size):
        time = spikes[i]
        for train in range(start, n_trains):
            current[0, train] = i + 1
        for j in range(n_spikes):
            for train in range(start, n_trains):
                delete, insert = previous[j + 1, train], current[j, train]
                single = (delete if delete < insert else insert) + 1.0
                shift = previous[j, train] + q * abs(time - times[j, train])
                current[j + 1, train] = single if single < shift else shift
        previous, current = current, previous
    for train in range(start, n_trains):
        distances[train] = previous[counts[train], train]


@numba.njit(cache=True, nogil=True)
def distances_within(times: np.ndarray, counts: np.ndarray, q: float) -> np.ndarray:
    """Distances (N, N) of the trains with spike times (S, N) and counts (N,), in one thread."""
    n_trains = counts.size
    distances = np.zeros((n_trains, n_trains))
    table = np.empty((2, times.shape[0] + 1, n_trains))
    for train in range(n_trains):
        spikes = times[: counts[train], train].copy()
        _distances_from(spikes, times, counts, q, train + 1, table, distances[train])
        for other in range(train):
            distances[train, other] = distances[other, train]
    return distances


@numba.njit(cache=True, nogil=True)
def _distances_between(times_a, counts_a, times_b, counts_b, q):
    distances = np.empty((counts_a.size, counts_b.size))
    table = np.empty((2, times_b.shape[0] + 1, counts_b.size))
    for train in range(counts_a.size):
        spikes = times_a[: counts_a[train], train].copy()
        _distances_from(spikes, times_b, counts_b, q, 0, table, distances[train])
    return distances


def distinct_trains(trains: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merge identical trains (N, T).

    Returns the distinct trains (U, T) uint8 in order of first appearance, the row (N,) of each
    train among them, and how often each occurs (U,).
    """
    trains = as_binary(trains)
    if trains.ndim != 2:
        raise ValueError(f"spike trains must have shape (N, T), not {trains.shape}")
    first, kind = distinct_rows(pack_trains(trains, 0))
    return trains[first], kind, np.bincount(kind, minlength=first.size)


def victor_purpura_distances(
    trains: ArrayLike, q: float, other: ArrayLike | None = None
) -> np.ndarray:
    """Victor-Purpura distances between all pairs of spike trains, in one thread.

    Args:
        trains: (N, T) spikes 0/1 in whole time steps, array or tensor.
        q: cost of shifting a spike by one step, 0 or more; deleting or inserting one costs 1.
        other: (M, T) trains to compare with; None compares ``trains`` with themselves.

    Returns:
        (N, M) float64. Cost: proportional to U_a * U_b * S_a * S_b for U distinct trains of up to
        S spikes; one matrix product where q >= 2.

    Raises:
        ValueError: spikes that are not 0 or 1, wrong shapes, negative q.
    """
    q = check_cost(q)
    a, kind_a, _ = distinct_trains(trains)
    b, kind_b, _ = (a, kind_a, None) if other is None else distinct_trains(other)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"trains of {a.shape[1]} and of {b.shape[1]} steps cannot be compared")
    if q == 0:
        distances = np.abs(a.sum(1, dtype=np.float64)[:, None] - b.sum(1))
    elif q >= 2:
        coincidences = a.astype(np.float32) @ b.astype(np.float32).T  # exact below 2^24 spikes
        distances = a.sum(1, dtype=np.float64)[:, None] + b.sum(1) - 2.0 * coincidences
    elif other is None:
        distances = distances_within(*spike_times(a), q)
    else:
        distances = _distances_between(*spike_times(a), *spike_times(b), q)
    return distances[np.ix_(kind_a, kind_b)]
