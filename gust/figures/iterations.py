"""Groups and scores of every single iteration, each from its own T steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from gust.scoring import Scores, cluster, score, spikes_of
from gust.trained import TrainedNetwork

SCORE_NAMES = {"ami": "AMI", "synchrony": "SynScore"}
"""The fields of :class:`gust.scoring.Scores` as they are called in pictures and tables."""


class Iteration(NamedTuple):
    """What one iteration leaves.

    Attributes:
        spikes: (B, T, H, W) uint8.
        labels: (B, H, W) clusters of the spike trains.
        scores: of them, (B,) each.
    """

    spikes: Tensor
    labels: np.ndarray
    scores: Scores


def bound_iterations(
    images: Tensor,
    groups: Tensor,
    trained: TrainedNetwork,
    seed: int,
    image_indices: np.ndarray,
    n_clusters: int,
    iterations: int | None = None,
) -> Iterator[Iteration]:
    """Bind images, and cluster and score the spikes of one iteration after the other.

    Args:
        images: (B, H, W) of 0 and 1, on the network's device.
        groups: (B, H, W) true objects; 0 is the background or an overlap.
        trained: the network.
        seed, image_indices: name the random numbers.
        n_clusters: objects + 1.
        iterations: how many (default: the evaluation's).

    Raises :class:`UserError` for an image without an object pixel.
    """
    settings = trained.settings
    for spikes in spikes_of(images, trained.network, settings, seed, image_indices, iterations):
        labels = cluster(spikes, n_clusters, seed, image_indices, settings.evaluation)
        yield Iteration(spikes, labels, score(spikes, groups, labels, settings.evaluation))
