"""Small networks, inputs and neurons that the tests share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.counter_noise import image_keys
from snn_tha.kernels import Dropout
from snn_tha.network import Draws, Network
from snn_tha.neurons import LIFParameters

STEPS = 12
SCANS = [(STEPS, 1, 1), (STEPS, 5, 300), (1, 5, 300), (STEPS, 3, 128)]
"""(steps of the currents, batch, units): one unit, more than two tiles, static, one whole tile."""
NEURON = LIFParameters(beta=0.9, thr=1.3, slope=2.0)


class Example(NamedTuple):
    """A network, its neurons, an input (T or 1, B, ...) and the labels (B,)."""

    network: Network
    neurons: list[LIFParameters]
    x: Tensor
    labels: Tensor


def random_currents(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """Currents with which neurons fire now and then."""
    draws = torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return (draws + 0.3).to(dtype)


def some_dropout(batch: int, rate: float = 0.3) -> Dropout:
    """Of samples with these numbers of a data set."""
    return Dropout(rate, image_keys(1, 2, np.arange(batch) * 1000))


def some_draws(batch: int) -> Draws:
    """Of epoch 1."""
    return Draws(3, 1, np.arange(batch)[::-1] * 7)


def example(name: str, dtype: torch.dtype = torch.float64) -> Example:
    """``static``: images, two convolutions, batch normalisation, as for MNIST. ``events``: counts,
    a convolution, two linear layers. ``precise``: the same without binary weights and with batch
    normalisation. ``dense``: linear layers only, as for SHD."""
    generator = torch.Generator().manual_seed(5)
    batch = 4
    if name == "static":
        network = Network(
            (1, 28, 28), (6, 8), (10,), batch_norm=True, binary=True, dropout=(0, 0, 0.3),
            generator=generator,
        )  # fmt: skip
        x = torch.rand(1, batch, 1, 28, 28, generator=generator)
        neurons = [LIFParameters(0.95, thr, 3.0) for thr in (1.2, 1.5, 2.0)]
    elif name == "dense":
        network = Network(
            (30,), (), (17, 5), batch_norm=False, binary=True, dropout=(0.2, 0.3),
            generator=generator,
        )  # fmt: skip
        x = _counts((STEPS, batch, 30), generator)
        neurons = [LIFParameters(0.9, 1.5, 0.3)] * 2
    else:
        precise = name == "precise"
        network = Network(
            (2, 16, 16), (6,), (7, 5), batch_norm=precise, binary=not precise,
            dropout=(0, 0.2, 0.3), generator=generator,
        )  # fmt: skip
        x = _counts((STEPS, batch, 2, 16, 16), generator)
        thresholds = (0.3, 0.2, 0.1) if precise else (1.2, 3.5, 2.0)
        neurons = [LIFParameters(0.9, thr, 0.3) for thr in thresholds]
    x = x if not x.is_floating_point() else x.to(dtype)
    return Example(network.to(dtype), neurons, x, torch.arange(batch) % 5)


def _counts(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.poisson(torch.full(shape, 0.1), generator=generator).to(torch.int16)
