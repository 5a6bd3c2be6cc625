"""One window of T phases: feedback, spikes and the encoder's input, in one pass.

Three backends do the same with the same random numbers:

- ``reference``: plain PyTorch, differentiated by autograd;
- ``cpu``: compiled; a pixel's feedback is computed only where it may fire, and the encoder's
  first layer adds up the rows of the pixels that did;
- ``cuda``: dense matrix products and a fused Triton scan.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.gpu import backend_on_gpu

BACKENDS = ("reference", "cpu", "cuda")


class Window(NamedTuple):
    """What a window leaves behind.

    Attributes:
        spikes: (B, T, P) uint8.
        drive: (B, T, N), output of the encoder's first linear layer for spikes and past spikes.
        refractory: (B, P) int32, the refractory counter after the window.
        past: (B, P), the spikes of the last step that the next step still sees.
    """

    spikes: Tensor
    drive: Tensor
    refractory: Tensor
    past: Tensor


class Draws(NamedTuple):
    """Names the random numbers of one window: that of pixel p at phase t has the counter
    ``first + t * P + p`` under the image's key (see ``common.counter_noise``)."""

    keys: np.ndarray | Tensor
    first: int


class Scan(Protocol):
    """Fires the pixels of a fixed batch of images, one window a call."""

    def __call__(self, hidden: Tensor, refractory: Tensor, past: Tensor, draws: Draws) -> Window:
        """Run T phases.

        Args:
            hidden: (B, T, M), input of the decoder's last linear layer.
            refractory: (B, P) int32. past: (B, P). draws: of this window.
        """


def build_scan(
    images: Tensor,
    last: nn.Linear,
    first: nn.Linear,
    refractory_period: int,
    thinning: float,
    backend: str = "auto",
) -> Scan:
    """The scan of a batch of images.

    Args:
        images: (B, P) of 0 and 1.
        last: the decoder's last layer, M to P. first: the encoder's first layer, P to N.
        refractory_period: two spikes of a pixel are at least so many steps apart.
        thinning: probability that a spike is not seen at the step after it.
        backend: ``reference``, ``cpu``, ``cuda``, or ``auto``: compiled where there is a compiled
            one for the images' device and type of number.

    Raises :class:`UserError` for an unknown backend, or one that does not run on the images'
    device.
    """
    name = choose_backend(backend, images.device)
    module = importlib.import_module(f"gust.kernels.{name}")
    return module.build(images, last, first, refractory_period, thinning)


def choose_backend(name: str, device: torch.device) -> str:
    """``auto`` as the name of a backend; errors as :func:`build_scan`."""
    if name == "auto" and device.type != "cuda":
        return device.type if device.type in BACKENDS else "reference"
    if name == "auto":
        return backend_on_gpu(name)
    if name not in BACKENDS:
        raise UserError(f"unknown backend {name!r}; choose auto, {', '.join(BACKENDS)}")
    if name not in ("reference", device.type):
        raise UserError(f"the backend {name} does not run on {device.type}; use --backend auto")
    return backend_on_gpu(name) if name == "cuda" else name
