"""Firing rates, and the term of the loss that pulls them to a target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.distributed import Distributed

STEP = 1e-3
"""Seconds of a step."""


def firing_rates(spikes: Tensor, num_time_steps: int, items: Tensor | int = 1) -> Tensor:
    """Spikes of every neuron per second, over the items that are real.

    Args:
        spikes: (B, T, N). num_time_steps: of an item.
        items: of each sample (B,), without padding; 1 for what is recorded while reading.

    Returns:
        (B, N), in Hz: all spikes / (items * num_time_steps * 1 ms).
    """
    if isinstance(items, Tensor):
        items = items.to(spikes.device, spikes.dtype)
    else:
        items = spikes.new_full((), items)  # made on the device, not copied there
    return spikes.sum(1) / (items * num_time_steps * STEP).view(-1, 1)


def rate_penalty(
    rates: Sequence[Tensor], target: float = 0.0, group: Distributed | None = None
) -> Tensor:
    """The sum over layers of the mean over neurons of (mean rate - target)^2.

    The mean rate of a neuron is that over the global batch. Processes weight their gradients by
    their numbers of samples (``Distributed.average_gradients``): then they take the step of one
    process that has them all.

    Args:
        rates: (B, N) of each recorded layer, in Hz. target: in Hz.
        group: the processes that share the batch; default this one alone.
    """
    size = len(rates[0])
    local = torch.cat([layer.sum(0) for layer in rates])
    mean = local / max(size, 1)
    if group is not None and group.world_size > 1:
        parts = torch.cat([local.detach(), local.new_full((1,), size)])
        total = group.all_reduce_sum(parts, wait=False)
        mean = mean + (total[:-1] / total[-1] - mean).detach()
    squares = (mean - target).square().split([layer.shape[1] for layer in rates])
    return torch.stack([layer.mean() for layer in squares]).sum()
