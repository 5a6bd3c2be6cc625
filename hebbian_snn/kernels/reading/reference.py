"""Reading the memory, step by step; gradients by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from hebbian_snn.kernels import Read, ReadingState
from hebbian_snn.neurons import NeuronParameters, lif_step


def read_memory(
    currents: Tensor,
    weight: Tensor,
    mem: Tensor,
    state: ReadingState,
    neuron: NeuronParameters,
    delay: int,
) -> Read:
    """See :func:`hebbian_snn.kernels.read_memory`."""
    key, value, delayed = state
    key_spikes, value_spikes = [], list(delayed.unbind(1))
    for t, current in enumerate(currents.unbind(1)):
        z_key, key = lif_step(current + value_spikes[t] @ weight.T, key, neuron)
        z_value, value = lif_step((mem @ z_key[:, :, None])[:, :, 0], value, neuron)
        key_spikes.append(z_key)
        value_spikes.append(z_value)
    state = ReadingState(key, value, torch.stack(value_spikes[-delay:], 1))
    return Read(torch.stack(key_spikes, 1), torch.stack(value_spikes[delay:], 1), state)
