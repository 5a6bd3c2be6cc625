"""The loss on spike counts, and what a network predicts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

CORRECT, INCORRECT = 0.8, 0.2
"""Share of the steps in which the right class and each other one should fire."""


def count_targets(
    labels: Tensor, classes: int, steps: int, correct: float = CORRECT, incorrect: float = INCORRECT
) -> Tensor:
    """(B, classes) numbers of spikes: int(correct T) for the right class, int(incorrect T) for
    others."""
    right = one_hot(labels, classes)
    return right * int(correct * steps) + (1 - right) * int(incorrect * steps)


def count_loss(
    spikes: Tensor, labels: Tensor, correct: float = CORRECT, incorrect: float = INCORRECT
) -> Tensor:
    """Squared error of the spike counts, divided by T, its mean over the classes summed over the
    batch.

    Args:
        spikes: (T, B, classes). labels: (B,) int64. correct, incorrect: see :data:`CORRECT`.
    """
    steps, _, classes = spikes.shape
    targets = count_targets(labels, classes, steps, correct, incorrect)
    error = spikes.sum(0) - targets.to(spikes.dtype)
    return error.square().mean(1).sum() / steps


def predicted(spikes: Tensor) -> Tensor:
    """(B,) classes with most spikes, the first of them where several have; spikes
    (T, B, classes)."""
    return spikes.sum(0).argmax(1)


def n_correct(spikes: Tensor, labels: Tensor) -> Tensor:
    """How many of (B,) labels are predicted, 0-d int64."""
    return torch.count_nonzero(predicted(spikes) == labels)
