"""GUST, evaluation of one image: a batch, against one image and one pair of pixels at a time.

python -m benchmarks.gust_evaluation [--images 100] [--repeats 3] [--threads 2] [--network shapes_3]
    [--json FILE]

Both sides run 30 iterations on clean images, cluster the spikes of the last one by k-medoids
(Victor-Purpura, q = 3) and score them (AMI; silhouette, q = 1/3). The direct side
(``gust/reference.py`` for the dynamics) goes one time step at a time and computes the
distance of every pair of pixels by the textbook recursion. Spikes must be the same, and the scores
of the same clusters; the time of ours is that of the batch divided by its images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import adjusted_mutual_info_score
from threadpoolctl import threadpool_limits

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from benchmarks.silhouette import direct_synchrony
from benchmarks.timing import time_pair
from common.errors import UserError, command_line
from common.victor_purpura import textbook_distance
from gust import reference
from gust.dynamics import Noise
from gust.figures.sources import ensure_test_images, read_test_images
from gust.scoring import EVALUATION_ROUND, bind_and_score, cluster, score, spikes_of
from gust.trained import TrainedNetwork, load_network

SEED = 0


def distance_matrix(trains: np.ndarray, q: float) -> np.ndarray:
    """Victor-Purpura distances (P, P) of (P, T) trains, one pair at a time."""
    times = [np.flatnonzero(train) for train in trains]
    distances = np.zeros((len(times), len(times)))
    for i in range(len(times)):
        for j in range(i):
            distances[i, j] = distances[j, i] = textbook_distance(times[i], times[j], q)
    return distances


def direct_k_medoids(
    distances: np.ndarray, n_clusters: int, rng: np.random.Generator
) -> np.ndarray:
    """Labels (P,) of k-medoids: k-medoids++ start, then nearest medoid and best member in turn."""
    medoids = [int(rng.integers(len(distances)))]
    while len(medoids) < n_clusters:
        chances = distances[:, medoids].min(1) ** 2
        medoids.append(int(rng.choice(len(distances), p=chances / chances.sum())))
    while True:
        labels = distances[:, medoids].argmin(1)
        members = [np.flatnonzero(labels == k) for k in range(n_clusters)]
        better = [
            int(own[distances[np.ix_(own, own)].sum(1).argmin()]) if len(own) else medoids[k]
            for k, own in enumerate(members)
        ]
        if better == medoids:
            return labels
        medoids = better


class Direct:
    """The direct implementation for one network; images (1, P), groups (P,)."""

    def __init__(self, trained: TrainedNetwork) -> None:
        self.trained = trained

    @torch.inference_mode()
    def spikes(self, image: torch.Tensor, index: int) -> np.ndarray:
        """The (T, P) spikes of the last iteration, with the package's random numbers."""
        settings = self.trained.settings
        draws = reference.PackageDraws(
            Noise(SEED, EVALUATION_ROUND, np.array([index])), image.shape[1]
        )
        d = settings.dynamics
        sizes = (d.window, d.refractory, d.thinning, settings.evaluation.settle)
        spikes, _, _ = reference.simulate(image, self.trained.network, *sizes, draws)
        return spikes[-1, 0].numpy()

    def evaluate(
        self, image: torch.Tensor, groups: np.ndarray, index: int, n_clusters: int
    ) -> tuple[float, float]:
        """AMI and SynScore."""
        costs = self.trained.settings.evaluation
        trains = self.spikes(image, index).T
        rng = np.random.default_rng(SEED)
        labels = direct_k_medoids(distance_matrix(trains, costs.cluster_cost), n_clusters, rng)
        kept = groups != 0
        ami = adjusted_mutual_info_score(groups[kept], labels[kept])
        return ami, direct_synchrony(trains, np.where(kept, labels, -1), costs.synchrony_cost)


def check_same(trained: TrainedNetwork, direct: Direct, images, groups, indices) -> None:
    """Raise :class:`UserError` unless spikes, and scores of the same clusters, are the same."""
    costs = trained.settings.evaluation
    n_clusters = trained.settings.train_objects + 1
    *_, spikes = spikes_of(images, trained.network, trained.settings, SEED, indices)
    labels = cluster(spikes, n_clusters, SEED, indices, costs)
    found = score(spikes, groups, labels, costs).synchrony
    for place, index in enumerate(indices):
        expected = direct.spikes(images[place : place + 1].flatten(1), index)
        if not np.array_equal(spikes[place].flatten(1).numpy(), expected):
            raise UserError(f"spikes of test image {index} differ from the direct ones")
        on_objects = np.where(groups[place].flatten() != 0, labels[place].flatten(), -1)
        synchrony = direct_synchrony(expected.T, on_objects, costs.synchrony_cost)
        if abs(found[place] - synchrony) > 1e-9:
            raise UserError(f"SynScore of test image {index}: {found[place]}, not {synchrony}")


def compare(network: str, count: int, repeats: int) -> Comparison:
    """Time of both sides, after a check that they do the same."""
    trained = load_network(network)
    direct = Direct(trained)
    objects = trained.settings.train_objects
    ensure_test_images(objects, count)
    images, groups, indices = read_test_images(objects, 0, count)
    groups = groups.numpy()
    check_same(trained, direct, images[:3], groups[:3], indices[:3])
    one = images[:1].flatten(1), groups[0].flatten(), indices[0], objects + 1
    whole = (trained.network, trained.settings, SEED, indices, objects + 1)
    fast, slow, _ = time_pair(
        lambda: bind_and_score(images, groups, *whole), lambda: direct.evaluate(*one), repeats
    )
    fast /= len(images)
    text = (
        f"evaluation of one image: {1e3 * fast:.2f} ms in a batch of {len(images)}, direct "
        f"{1e3 * slow:.0f} ms, {slow / fast:.0f} times faster"
    )
    what = "GUST, evaluation of one image: 30 iterations, k-medoids, scores"
    note = f"ours is the time of a batch of {len(images)} images divided by {len(images)}"
    return Comparison(what, text, fast, slow, repeats, note=note)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--images", type=int, default=100, help="of the batch (default 100)")
    parser.add_argument("--network", default="shapes_3", help="default: shapes_3")
    options = read_options(parser, argv)
    with threadpool_limits(options.threads):
        report([compare(options.network, options.images, options.repeats)], options)


if __name__ == "__main__":
    raise SystemExit(main())
