"""Groups are read from spike times by k-means, batched over images.

Every pixel of the image is a point, whose coordinates are its spikes in the last iterations,
smoothed. k-means needs only the points' inner products (:mod:`dasbe.kmeans`). Pixels that are off
never fire: they are all the same point, the origin, which stands once, with their number as its
weight.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from dasbe import noise
from dasbe.dynamics import Pixels
from dasbe.kmeans import kmeans_gram

RESTARTS = 10


def smooth(activity: Tensor) -> Tensor:
    """Add half of the previous step to every step; the first has none.

    Args:
        activity: (B, S, P) spikes or rates of S consecutive steps.

    Returns:
        (B, S, P) float.
    """
    values = activity if activity.is_floating_point() else activity.float()
    smoothed = values.clone()
    smoothed[:, 1:].add_(values[:, :-1], alpha=0.5)
    return smoothed


def group_pixels(
    activity: Tensor,
    pixels: Pixels,
    n_groups: int | np.ndarray,
    seed: int,
    image_indices: np.ndarray,
    restarts: int = RESTARTS,
) -> np.ndarray:
    """Group the pixels of every image by k-means on their smoothed activity.

    Args:
        activity: (B, S, P) uint8 spikes or float rates of the on-pixels in S consecutive steps.
        pixels: the on-pixels.
        n_groups: number of groups K, one for all or (B,); the background counts.
        seed, image_indices: name the random numbers of the starts.
        restarts: k-means runs with different starts, of which the best counts.

    Returns:
        (B, H*W) int64 labels; 0 is the group of the pixels that are off.
    """
    # Inner products of smoothed spikes are multiples of 1/4: exact in float32.
    points = smooth(activity) if activity.dtype == torch.uint8 else smooth(activity.double())
    points = pad(points, (0, 1))  # the origin
    gram = torch.bmm(points.transpose(1, 2), points).cpu().numpy()
    present = pixels.on.cpu().numpy() > 0
    off = pixels.total - present.sum(axis=1, keepdims=True)
    weights = np.concatenate([present, off], axis=1).astype(np.float64)
    n_clusters = np.full(len(gram), 0, dtype=np.int64) + n_groups
    keys = noise.image_keys(seed, noise.KMEANS, image_indices)
    labels, _ = kmeans_gram(gram, weights, n_clusters, keys, restarts)
    return _label_maps(labels, present, pixels)


def _label_maps(labels: np.ndarray, present: np.ndarray, pixels: Pixels) -> np.ndarray:
    """(B, P + 1) labels of on-pixels and origin to (B, H*W) maps, the origin's label being 0."""
    origin = labels[:, -1:]
    labels = np.where(labels == origin, 0, np.where(labels == 0, origin, labels))
    maps = np.zeros((len(labels), pixels.total), np.int64)
    rows, columns = np.nonzero(present)
    maps[rows, pixels.index.cpu().numpy()[rows, columns]] = labels[rows, columns]
    return maps
