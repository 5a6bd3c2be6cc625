"""How well a network binds the pixels of each object: simulate, cluster the spikes, score.

All of an image's numbers depend on the seed and its index alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from common.clustering import adjusted_mutual_info_batch, k_medoids
from common.spike_metrics import scores
from common.victor_purpura import as_array, distinct_trains, victor_purpura_distances
from gust.config import EvaluationSettings, Settings
from gust.dynamics import Noise, iterate
from gust.network import Autoencoder

CHUNK = 100
"""Images that are simulated together."""

EVALUATION_ROUND = 0
"""Round of the random numbers of an evaluation (training and validation have others)."""


class Scores(NamedTuple):
    """Per image, float64: adjusted mutual information and silhouette of the spike trains."""

    ami: np.ndarray
    synchrony: np.ndarray


@torch.inference_mode()
def spikes_of(
    images: Tensor,
    network: Autoencoder,
    settings: Settings,
    seed: int,
    image_indices: np.ndarray,
    iterations: int | None = None,
    backend: str = "auto",
) -> Iterator[Tensor]:
    """Run the loop on clean images.

    Args:
        images: (B, H, W) of 0 and 1, on the network's device.
        network, settings: of a training.
        seed, image_indices: name the random numbers; the indices (B,) are those in the data set.
        iterations: how many (default: as in the settings).
        backend: of the scan, see :func:`gust.kernels.build_scan`.

    Yields:
        for every iteration the (B, T, H, W) uint8 spikes.
    """
    noise = Noise(seed, EVALUATION_ROUND, np.asarray(image_indices))
    steps = iterate(images.flatten(1), network, settings.dynamics, noise, backend)
    for _ in range(iterations or settings.evaluation.settle):
        spikes, _ = next(steps)
        yield spikes.unflatten(2, images.shape[1:])


def cluster(
    spikes: ArrayLike,
    n_clusters: int,
    seed: int,
    image_indices: np.ndarray,
    settings: EvaluationSettings,
) -> np.ndarray:
    """K-medoids clusters of the spike trains of all pixels, silent ones included.

    Args:
        spikes: (B, T, ...) of one iteration.
        n_clusters: K, objects + 1.
        seed, image_indices: name the random numbers of the start (k-medoids++, one start).
        settings: with the cost q of the Victor-Purpura metric.

    Returns:
        (B, ...) int64 labels 0..K-1.
    """
    spikes = as_array(spikes)
    labels = np.empty((len(spikes), int(np.prod(spikes.shape[2:]))), np.int64)
    for image, index in enumerate(image_indices):
        trains, kind, weights = distinct_trains(spikes[image].reshape(spikes.shape[1], -1).T)
        labels[image] = k_medoids(
            victor_purpura_distances(trains, settings.cluster_cost),
            n_clusters,
            rng=np.random.default_rng([seed, index]),
            weights=weights,
        )[kind]
    return labels.reshape(len(spikes), *spikes.shape[2:])


def score(
    spikes: ArrayLike, groups: ArrayLike, labels: np.ndarray, settings: EvaluationSettings
) -> Scores:
    """Scores over the object pixels.

    Args:
        spikes: (B, T, ...) of one iteration.
        groups: (B, ...) true objects 1..; 0 is the background or an overlap.
        labels: (B, ...) clusters found.
        settings: with the cost q of the SynScore's metric.

    Returns:
        AMI of labels and groups, and the silhouette of the trains (Victor-Purpura metric) with the
        labels as clusters; (B,) each.

    Raises :class:`UserError` for an image without an object pixel.
    """
    groups = as_array(groups)
    on_objects = np.where(groups != 0, labels, -1)
    return Scores(
        adjusted_mutual_info_batch(groups, labels),
        scores(spikes, on_objects, settings.synchrony_cost).synchrony,
    )


def bind_and_score(
    images: Tensor,
    groups: Tensor,
    network: Autoencoder,
    settings: Settings,
    seed: int,
    image_indices: np.ndarray,
    n_clusters: int,
    backend: str = "auto",
) -> Scores:
    """Scores of images (B, H, W) after the settings' iterations; arguments as above."""
    parts = []
    for begin in range(0, len(images), CHUNK):
        part = slice(begin, begin + CHUNK)
        indices = image_indices[part]
        *_, spikes = spikes_of(images[part], network, settings, seed, indices, backend=backend)
        labels = cluster(spikes, n_clusters, seed, indices, settings.evaluation)
        parts.append(score(spikes, groups[part], labels, settings.evaluation))
    return Scores(*(np.concatenate(values) for values in zip(*parts, strict=True)))
