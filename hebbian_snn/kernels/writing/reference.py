"""Writing the memory, step by step; gradients by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from hebbian_snn.kernels import WritingState, Written
from hebbian_snn.neurons import NeuronParameters, lif_step, trace_step
from hebbian_snn.plasticity import InvertedOja, update_memory


def write_memory(
    key_currents: Tensor,
    value_currents: Tensor,
    mem: Tensor,
    state: WritingState,
    neuron: NeuronParameters,
    plasticity: InvertedOja,
    tau_trace: float,
    feedback: float,
) -> Written:
    """See :func:`hebbian_snn.kernels.write_memory`."""
    key, value, key_trace, value_trace = state
    key_spikes, value_spikes = [], []
    for key_current, value_current in zip(
        key_currents.unbind(1), value_currents.unbind(1), strict=True
    ):
        z_key, key = lif_step(key_current, key, neuron)
        recalled = (mem @ z_key[:, :, None])[:, :, 0]
        z_value, value = lif_step(value_current + feedback * recalled, value, neuron)
        key_trace = trace_step(key_trace, z_key, tau_trace)
        value_trace = trace_step(value_trace, z_value, tau_trace)
        mem = update_memory(mem, value_trace, key_trace, plasticity)
        key_spikes.append(z_key)
        value_spikes.append(z_value)
    state = WritingState(key, value, key_trace, value_trace)
    return Written(mem, torch.stack(key_spikes, 1), torch.stack(value_spikes, 1), state)
