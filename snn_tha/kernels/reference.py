"""The scan in plain PyTorch, step by step; gradients by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from snn_tha.kernels import Dropout
from snn_tha.neurons import LIFParameters, lif_step, rest


def lif_scan(
    currents: Tensor,
    neuron: LIFParameters,
    steps: int,
    dropout: Dropout | None,
    spike_type: torch.dtype,
) -> Tensor:
    """See :func:`snn_tha.kernels.lif_scan`."""
    if dropout is not None and dropout.rate > 0:
        kept = dropout.kept(steps, currents.shape[2], currents.device)
        currents = currents * kept * float(dropout.scale())
    spikes, state = [], rest(currents.shape[1:], currents)
    for current in currents.expand(steps, -1, -1).unbind(0):
        z, state = lif_step(current, state, neuron)
        spikes.append(z)
    return torch.stack(spikes).to(spike_type)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and sum of squared deviations from it, of every step and channel.

    Args:
        x: (T, R, C).

    Returns:
        two of (T, C), float64.
    """
    x = x.double()
    mean = x.sum(1) / max(x.shape[1], 1)
    return mean, (x - mean[:, None]).square().sum(1)


def normalize(x: Tensor, mean: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """(x - mean) scale + bias; x (T, R, C), mean and scale (T, C), bias (C,)."""
    return (x - mean[:, None]) * scale[:, None] + bias


def gradient_sums(d_out: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over R of d_out and of d_out (x - mean); (T, R, C) to two of (T, C), float64."""
    d_out = d_out.double()
    return d_out.sum(1), (d_out * (x - mean[:, None])).sum(1)


def input_gradient(
    d_out: Tensor, x: Tensor, mean: Tensor, scale: Tensor, level: Tensor, tilt: Tensor
) -> Tensor:
    """d_out scale - level - tilt (x - mean); (T, R, C) from two such and four of (T, C)."""
    return d_out * scale[:, None] - level[:, None] - tilt[:, None] * (x - mean[:, None])
