"""A layer of neurons through all steps at once, and batch normalisation of every step.

Three backends do the same:

- ``reference``: plain PyTorch, step by step, differentiated by autograd, for every device;
- ``cpu``: compiled, with its own backward pass that computes the membranes anew;
- ``cuda``: Triton, with its own backward pass.

Tensors are (time, batch, units): all steps of one layer lie together, so the layer before it is one
large product for all of them.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.counter_noise import uniforms
from common.errors import UserError
from common.gpu import backend_on_gpu
from snn_tha.neurons import LIFParameters

BACKENDS = ("reference", "cpu", "cuda")


class Dropout(NamedTuple):
    """Currents that are lost, drawn anew for every sample, step and unit.

    Attributes:
        rate: share of lost currents, below 1; the others grow by 1 / (1 - rate).
        keys: (B,), one a sample, from ``common.counter_noise.image_keys``.
    """

    rate: float
    keys: np.ndarray | Tensor

    def kept(self, steps: int, units: int, device: torch.device | str = "cpu") -> Tensor:
        """(steps, B, units) bool: which currents arrive."""
        columns = torch.arange(units, device=device)[None]
        drawn = uniforms(self.keys, 0, steps, columns).transpose(0, 1)
        return drawn >= np.float32(self.rate)

    def scale(self, dtype: type[np.floating] = np.float32) -> np.floating:
        """What the currents that arrive are multiplied by."""
        return dtype(1 / (1 - self.rate))


def lif_scan(
    currents: Tensor,
    neuron: LIFParameters,
    *,
    steps: int,
    dropout: Dropout | None = None,
    spike_type: torch.dtype | None = None,
    backend: str = "auto",
) -> Tensor:
    """A layer of :func:`snn_tha.neurons.lif_step` neurons from rest through all steps.

    Args:
        currents: (T, B, U), or (1, B, U) where they are the same at every step.
        neuron: of all units.
        steps: T.
        dropout: of the currents, fresh at every step.
        spike_type: of the spikes (default: the currents'); 0 and 1 are exact in every type.
        backend: ``reference``, ``cpu``, ``cuda`` or ``auto``.

    Returns:
        (T, B, U) spikes, 0 or 1, with gradients with respect to the currents.

    Raises :class:`UserError` for a backend that does not exist or does not run here and for
    parameters out of range, ``ValueError`` for shapes that do not fit.
    """
    _check(currents, neuron, steps, dropout)
    kernel = load_backend(backend, currents)
    return kernel.lif_scan(currents, neuron, steps, dropout, spike_type or currents.dtype)


def load_backend(name: str, currents: Tensor) -> ModuleType:
    """The backend of that name, for ``auto`` the fastest for these currents; errors as
    :func:`lif_scan`."""
    device = currents.device.type
    compiled = currents.dtype in (torch.float32, torch.float64)
    if name == "auto":
        name = device if compiled and device in BACKENDS else "reference"
        name = backend_on_gpu("auto") if name == "cuda" else name
    if name not in BACKENDS:
        raise UserError(f"unknown backend {name!r}; choose auto, {', '.join(BACKENDS)}")
    if name != "reference" and name != device:
        raise UserError(f"the backend {name} does not run on {device}; choose auto")
    if name != "reference" and not compiled:
        raise UserError(
            f"the backend {name} takes float32 and float64, not {currents.dtype}; choose auto"
        )
    if name == "cuda":
        backend_on_gpu(name)
    return importlib.import_module(f"snn_tha.kernels.{name}")


def _check(currents: Tensor, neuron: LIFParameters, steps: int, dropout: Dropout | None) -> None:
    if currents.dim() != 3 or steps < 1 or len(currents) not in (1, steps):
        raise ValueError(
            f"currents have shape {tuple(currents.shape)}; "
            f"it must be ({steps} or 1, batch, units) for {steps} steps"
        )
    if not 0 <= neuron.beta <= 1:
        raise UserError(f"beta is {neuron.beta}; it must be from 0 to 1")
    if not neuron.slope >= 0:
        raise UserError(f"the surrogate's slope is {neuron.slope}; it must be 0 or more")
    if dropout is not None and not 0 <= dropout.rate < 1:
        raise UserError(f"the dropout rate is {dropout.rate}; it must be at least 0 and below 1")
    if dropout is not None and len(dropout.keys) != currents.shape[1]:
        raise ValueError(f"{len(dropout.keys)} keys for a batch of {currents.shape[1]}")
