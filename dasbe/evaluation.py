"""Grouping scores (AMI) of many images, kept on disk as they come.

A *part* is one dataset, method and seed: the AMI of its first images, in order. Parts grow by
whole chunks of images, so a killed run goes on where it was and a longer run starts with what a
shorter one measured.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.clustering import adjusted_mutual_info_batch
from common.errors import UserError
from common.files import atomic_path
from common.results import load_arrays
from dasbe.baselines import pcnn, pure_ann
from dasbe.binding import CHUNK, TrainedNetwork
from dasbe.dynamics import Pixels, simulate
from dasbe.grouping import group_pixels

Activity = Callable[[Tensor, np.ndarray, int], tuple[Tensor, Pixels]]
"""(B, H, W) images, their indices and a seed to (B, S, P) activity of S steps at the on-pixels."""


@dataclass
class Part:
    """AMI (n,) of the first n images, the seconds they took, and what they were measured with."""

    ami: np.ndarray
    seconds: float
    key: dict[str, Any]


def dasbe_activity(trained: TrainedNetwork, keep_iterations: int) -> Activity:
    """The spikes of DASBE's last iterations."""
    d = trained.settings.dynamics

    def activity(images: Tensor, indices: np.ndarray, seed: int) -> tuple[Tensor, Pixels]:
        spikes, pixels = simulate(
            images,
            trained.network,
            d.window,
            d.refractory,
            d.iterations,
            seed,
            indices,
            keep_iterations,
        )
        return spikes.flatten(1, 2), pixels

    return activity


def pure_ann_activity(
    trained: TrainedNetwork, keep_iterations: int, normalise_start: bool = True
) -> Activity:
    """The rates of the last iterations of the loop without spikes."""
    d = trained.settings.dynamics

    def activity(images: Tensor, indices: np.ndarray, seed: int) -> tuple[Tensor, Pixels]:
        rates, pixels = pure_ann(
            images,
            trained.network,
            d.window,
            d.iterations,
            seed,
            indices,
            keep_iterations,
            normalise_start,
        )
        return rates.flatten(1, 2), pixels

    return activity


def pcnn_activity(
    threshold_jump: float, threshold_tau: float, steps: int, keep_steps: int
) -> Activity:
    """The last spikes of the pulse-coupled network."""

    def activity(images: Tensor, indices: np.ndarray, seed: int) -> tuple[Tensor, Pixels]:
        return pcnn(images, threshold_jump, threshold_tau, seed, indices, steps, keep_steps)

    return activity


def score_chunk(
    images: Tensor, groups: Tensor, indices: np.ndarray, activity: Activity, seed: int
) -> np.ndarray:
    """AMI (B,) over object pixels of (B, H, W) images with true (B, H, W) groups.

    The number of clusters is the image's largest true group + 1 (background included).
    """
    values, pixels = activity(images, indices, seed)
    true = groups.flatten(1).numpy()
    found = group_pixels(values, pixels, true.max(axis=1).astype(np.int64) + 1, seed, indices)
    return adjusted_mutual_info_batch(true, found)


def measure_part(
    path: Path,
    key: dict[str, Any],
    read: Callable[[int, int], tuple[Tensor, Tensor]],
    n_images: int,
    activity: Activity,
    seed: int,
    device: torch.device,
) -> Iterator[Part]:
    """Measure the first ``n_images`` images, going on from what ``path`` holds.

    Args:
        path: file of the part. key: what it depends on; a file with another key starts anew.
        read: (start, count) -> images (count, H, W) and true groups.
        activity: the method. seed: of its random numbers. device: where it runs.

    Yields:
        the part so far: once before the first and once after every chunk, saved each time.
    """
    part = load_part(path, key)
    if len(part.ami) < n_images:
        part = whole_chunks(part)
    yield part
    while len(part.ami) < n_images:
        begin = len(part.ami)
        began = time.perf_counter()
        images, groups = read(begin, min(CHUNK, n_images - begin))
        indices = np.arange(begin, begin + len(images))
        ami = score_chunk(images.to(device), groups, indices, activity, seed)
        part = Part(
            np.concatenate([part.ami, ami]), part.seconds + time.perf_counter() - began, key
        )
        save_part(path, part)
        yield part


def load_part(path: Path, key: dict[str, Any]) -> Part:
    """The part at ``path``; empty where there is none, or a damaged one, or one with another
    key."""
    empty = Part(np.empty(0), 0.0, key)
    try:
        file = load_arrays(path)
        stored = Part(file["ami"], float(file["seconds"]), json.loads(str(file["key"])))
    except (UserError, ValueError, TypeError, KeyError, RecursionError):
        return empty
    sound = stored.ami.ndim == 1 and stored.ami.dtype.kind == "f" and np.isfinite(stored.ami).all()
    return stored if sound and stored.key == json.loads(json.dumps(key)) else empty


def whole_chunks(part: Part) -> Part:
    """A part without an incomplete last chunk: images are always simulated in the same chunks."""
    n = len(part.ami) // CHUNK * CHUNK
    share = n / len(part.ami) if n else 0.0
    return Part(part.ami[:n], part.seconds * share, part.key)


def save_part(path: str | os.PathLike[str], part: Part) -> None:
    """Write a part, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, ami=part.ami, seconds=part.seconds, key=json.dumps(part.key))
