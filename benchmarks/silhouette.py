"""Synchrony score of one 28 x 28 image: compiled, against a loop over pairs of pixels.

python -m benchmarks.silhouette [--repeats 5] [--seed 0] [--threads 2] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import silhouette_score

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from benchmarks.timing import time_pair
from common.errors import UserError, command_line
from common.spike_metrics import synchrony_score
from common.victor_purpura import textbook_distance

N_STEPS, REFRACTORY, Q = 32, 9, 1 / 6


def example_image(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three 28 x 28 objects of 40 pixels firing in turn: trains (784, T) uint8, groups (784,).

    Background pixels (group -1) are silent; spikes have a jitter of up to 2 steps.
    """
    groups = np.full(28 * 28, -1)
    groups[rng.permutation(groups.size)[:120]] = np.repeat([0, 1, 2], 40)
    trains = np.zeros((groups.size, N_STEPS), np.uint8)
    for pixel in np.flatnonzero(groups >= 0):
        onsets = np.arange(3 * groups[pixel], N_STEPS - 2, REFRACTORY + 2)
        trains[pixel, onsets + rng.integers(0, 3, onsets.size)] = 1
    return trains, groups


def direct_synchrony(trains: np.ndarray, groups: np.ndarray, q: float) -> float:
    """Silhouette over the pixels of groups >= 0, one pair of pixels at a time."""
    kept = groups >= 0
    times = [np.flatnonzero(train) for train in trains[kept]]
    distances = np.zeros((len(times), len(times)))
    for i in range(len(times)):
        for j in range(i):
            distances[i, j] = distances[j, i] = textbook_distance(times[i], times[j], q)
    return float(silhouette_score(distances, groups[kept], metric="precomputed"))


def compare(seed: int, repeats: int) -> Comparison:
    """Time of both sides; raises :class:`UserError` where their scores differ."""
    trains, groups = example_image(np.random.default_rng(seed))
    score, expected = synchrony_score(trains, groups, Q), direct_synchrony(trains, groups, Q)
    if abs(score - expected) > 1e-9:
        raise UserError(f"the compiled score {score} differs from the direct one {expected}")
    fast, direct, ratio = time_pair(
        lambda: synchrony_score(trains, groups, Q),
        lambda: direct_synchrony(trains, groups, Q),
        repeats,
    )
    text = (
        f"silhouette of one image: {1e3 * fast:.3f} ms, direct {1e3 * direct:.1f} ms, "
        f"{ratio:.0f} times faster; both give {score:.6f}"
    )
    what = f"silhouette with the Victor-Purpura metric, 28 x 28 pixels, {N_STEPS} steps"
    return Comparison(what, text, fast, direct, repeats)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, repeats=5)
    parser.add_argument("--seed", type=int, default=0, help="seed of the example image")
    options = read_options(parser, argv)
    report([compare(options.seed, options.repeats)], options)


if __name__ == "__main__":
    raise SystemExit(main())
