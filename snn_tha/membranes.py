"""Membranes of a layer of leaky integrate-and-fire neurons through all steps at once.

For losses on the membrane itself; ``snn_tha.kernels`` gives the spikes. The equations are those of
:func:`snn_tha.neurons.lif_step`. The reset passes no gradient on, so the way back needs nothing of
the way there: d_mem[t] <- d_mem[t] + beta d_mem[t + 1].
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from snn_tha.neurons import LIFParameters


def membrane_scan(currents: Tensor, neuron: LIFParameters) -> Tensor:
    """The membranes after each step, from rest.

    Args:
        currents: (T, U), float32 or float64, on the CPU. neuron: of all units.

    Returns:
        (T, U), with gradients with respect to the currents.
    """
    return _Membranes.apply(currents, neuron)


class _Membranes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, currents: Tensor, neuron: LIFParameters) -> Tensor:
        currents = currents.contiguous()
        membranes = torch.empty_like(currents)
        number = np.float64 if currents.dtype == torch.float64 else np.float32
        ctx.beta = number(neuron.beta)
        _scan(currents.detach().numpy(), ctx.beta, number(neuron.thr), membranes.numpy())
        return membranes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        d_currents = gradient.clone(memory_format=torch.contiguous_format)
        _scan_back(ctx.beta, d_currents.numpy())
        return d_currents, None


@numba.njit(cache=True)
def _scan(currents, beta, thr, membranes):
    n_steps, n_units = currents.shape
    mem = np.zeros(n_units, currents.dtype)
    for t in range(n_steps):
        for i in range(n_units):
            leaked = beta * mem[i] + currents[t, i]
            mem[i] = leaked - thr if mem[i] > thr else leaked
            membranes[t, i] = mem[i]


@numba.njit(cache=True)
def _scan_back(beta, d_currents):
    n_steps, n_units = d_currents.shape
    for t in range(n_steps - 2, -1, -1):
        for i in range(n_units):
            d_currents[t, i] += beta * d_currents[t + 1, i]
