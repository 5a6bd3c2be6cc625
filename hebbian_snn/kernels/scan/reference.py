"""Neurons alone, step by step; gradients by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from hebbian_snn.neurons import LIFState, NeuronParameters, lif_step


def lif_scan(
    currents: Tensor, neuron: NeuronParameters, num_time_steps: int, state: LIFState
) -> tuple[Tensor, LIFState]:
    """See :func:`hebbian_snn.kernels.lif_scan`."""
    spikes = []
    for current in currents.unbind(1):
        for _ in range(num_time_steps):
            z, state = lif_step(current, state, neuron)
            spikes.append(z)
    return torch.stack(spikes, 1), state
