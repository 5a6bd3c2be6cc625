"""The networks: convolutions with pooling, then linear layers, each followed by LIF neurons.

They run layer by layer: all steps of the first layer, then all steps of the second. That is exact,
because nothing goes back from a layer to one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from common.counter_noise import image_keys
from common.distributed import Distributed
from common.errors import UserError
from snn_tha.kernels import Dropout, lif_scan
from snn_tha.layers import Conv2d, Linear
from snn_tha.neurons import LIFParameters
from snn_tha.normalization import StepBatchNorm
from snn_tha.products import LARGEST_EXACT, convolve_and_pool, fold_blocks, multiply

KERNEL = 5
"""Rows and columns of a convolution's kernel."""


class Draws(NamedTuple):
    """Where the random numbers of dropout come from: ``samples`` (B,) are the batch's indices in
    its data set, ``round`` differs from epoch to epoch."""

    seed: int
    round: int
    samples: np.ndarray | Tensor


class Execution(NamedTuple):
    """How a network is computed, not what.

    Attributes:
        backend: of the scans, see :mod:`snn_tha.kernels`.
        bfloat16: binary products of whole numbers in bfloat16, see :mod:`snn_tha.products`.
        group: processes that share each batch; batch normalisation is over all of it.
    """

    backend: str = "auto"
    bfloat16: bool = False
    group: Distributed | None = None


AUTOMATIC = Execution()
"""The fastest backend, everything in the network's own type, one process."""


class Network(nn.Module):
    """A spiking network.

    Each convolution (5 x 5, no padding) is followed by 2 x 2 average pooling, batch normalisation
    where there is one, and neurons; each linear layer by neurons.

    Args:
        input_shape: (C, H, W) of images or events, or (U,).
        convolutions: channels of each convolution.
        linears: units of each linear layer; the last ones are the classes.
        batch_norm: normalise the currents of the convolutions, every step for itself.
        binary: weights of +1 and -1.
        dropout: share of lost currents of each layer in training.
        generator: of the start (default: PyTorch's global one).

    Raises :class:`UserError` for an input or widths that do not fit together.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        convolutions: Sequence[int],
        linears: Sequence[int],
        *,
        batch_norm: bool,
        binary: bool,
        dropout: Sequence[float],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        self.binary = binary
        self.dropout = tuple(dropout)
        self.shapes = layer_shapes(input_shape, convolutions, linears)
        if len(self.dropout) != self.n_layers:
            raise UserError(
                f"there are {len(self.dropout)} dropout rates for {self.n_layers} layers"
            )
        channels = [self.input_shape[0], *convolutions]
        self.convolutions = nn.ModuleList(
            Conv2d(*pair, KERNEL, binary, generator) for pair in pairwise(channels)
        )
        self.norms = nn.ModuleList(StepBatchNorm(n) for n in convolutions if batch_norm)
        shapes = [self.input_shape, *self.shapes]
        widths = [int(np.prod(shape)) for shape in shapes[len(convolutions) :]]
        self.linears = nn.ModuleList(Linear(*pair, binary, generator) for pair in pairwise(widths))

    @property
    def n_layers(self) -> int:
        """Layers of neurons."""
        return len(self.shapes)

    def forward(
        self,
        x: Tensor,
        neurons: Sequence[LIFParameters],
        steps: int,
        draws: Draws | None = None,
        execution: Execution = AUTOMATIC,
    ) -> list[Tensor]:
        """All layers through all steps.

        Args:
            x: (T, B, *input_shape), or (1, B, *input_shape) for an input that stays; of an integer
                type where it counts events, else floating-point.
            neurons: of each layer, with the thresholds of now.
            steps: T.
            draws: of dropout; needed in training where there is some.
            execution: how.

        Returns:
            the spikes (T, B, U) of every layer, 0 or 1. The units of a convolution are in no
            particular order; those of the last layer are the classes.

        Raises ``ValueError`` for an input of another shape.
        """
        if tuple(x.shape[2:]) != self.input_shape or len(x) not in (1, steps):
            raise ValueError(
                f"the input has shape {tuple(x.shape)}; "
                f"({steps} or 1, batch, {', '.join(map(str, self.input_shape))}) is needed"
            )
        run = _Run(self, neurons, steps, draws, execution)
        x = x.to(run.product_type if holds_exactly(run.product_type, x) else run.dtype)
        if self.convolutions:
            x = fold_blocks(x.permute(0, 1, 3, 4, 2))
        for k in range(len(self.convolutions)):
            x = run.convolution(k, x)
        x = x.flatten(2)
        for k in range(len(self.linears)):
            x = run.linear(k, x)
        return run.spikes


def holds_exactly(dtype: torch.dtype, counts: Tensor) -> bool:
    """Whether all these numbers are whole and exact in a type; floating-point ones are not looked
    at and said not to be."""
    if counts.is_floating_point():
        return False
    return dtype != torch.bfloat16 or counts.numel() == 0 or counts.max().item() <= LARGEST_EXACT


def layer_shapes(
    input_shape: Sequence[int], convolutions: Sequence[int], linears: Sequence[int]
) -> list[tuple[int, ...]]:
    """(C, H, W) or (U,) of every layer of neurons.

    Raises :class:`UserError` for maps that the convolutions do not fit.
    """
    if convolutions and len(input_shape) != 3:
        raise UserError("convolutions need an input of channels, rows and columns")
    if not linears:
        raise UserError("the network needs a linear layer for its classes")
    shapes = []
    sides = tuple(input_shape[1:])
    for channels in convolutions:
        sides = tuple(side - KERNEL + 1 for side in sides)
        if any(side < 2 or side % 2 for side in sides):
            raise UserError(
                f"2 x 2 pooling does not fit maps of {sides[0]} x {sides[1]}; "
                "use fewer convolutions or another input size"
            )
        sides = tuple(side // 2 for side in sides)
        shapes.append((channels, *sides))
    return [*shapes, *((n,) for n in linears)]


class _Run:
    """One call of a network."""

    def __init__(
        self,
        network: Network,
        neurons: Sequence[LIFParameters],
        steps: int,
        draws: Draws | None,
        execution: Execution,
    ) -> None:
        self.network, self.neurons, self.steps = network, neurons, steps
        self.draws, self.execution = draws, execution
        self.dtype = network.linears[0].weight.dtype
        low = execution.bfloat16 and network.binary and self.dtype == torch.float32
        self.product_type = torch.bfloat16 if low else self.dtype
        self.spikes: list[Tensor] = []

    def convolution(self, k: int, folded: Tensor) -> Tensor:
        """Layer k's (T, B, ...) spikes from folded maps (T or 1, B, H / 2, W / 2, 4 C); folded too
        where another convolution follows, else (T, B, H, W, C)."""
        network = self.network
        kernel = network.convolutions[k].forward_weight()
        maps = convolve_and_pool(folded.flatten(0, 1), kernel).unflatten(0, folded.shape[:2])
        if network.norms:
            rows = maps.flatten(1, 3).contiguous()
            group, backend = self.execution.group, self.execution.backend
            maps = network.norms[k](rows, self.steps, group, backend).view(maps.shape)
        if k + 1 < len(network.convolutions):
            maps = fold_blocks(maps)
        return self._fire(k, maps.flatten(2)).unflatten(2, maps.shape[2:])

    def linear(self, k: int, x: Tensor) -> Tensor:
        """Spikes (T, B, U) of the k-th linear layer from (T or 1, B, I) spikes or counts."""
        network = self.network
        layer, before = network.linears[k], len(network.convolutions)
        weight = layer.forward_weight()
        if k == 0 and before:  # units are (H, W, C) in memory, weights (C, H, W)
            channels, height, width = network.shapes[before - 1]
            weight = weight.unflatten(1, (channels, height, width)).permute(0, 2, 3, 1).flatten(1)
        currents = multiply(x.flatten(0, 1), weight) + layer.bias
        return self._fire(before + k, currents.unflatten(0, x.shape[:2]))

    def _fire(self, layer: int, currents: Tensor) -> Tensor:
        """(T or 1, B, U) currents to (T, B, U) spikes."""
        last = layer == self.network.n_layers - 1
        spikes = lif_scan(
            currents,
            self.neurons[layer],
            steps=self.steps,
            dropout=self._dropout(layer),
            spike_type=self.dtype if last else self.product_type,
            backend=self.execution.backend,
        )
        self.spikes.append(spikes)
        return spikes

    def _dropout(self, layer: int) -> Dropout | None:
        rate = self.network.dropout[layer]
        if not self.network.training or rate == 0:
            return None
        if self.draws is None:
            raise ValueError("dropout in training needs draws")
        seed, round_, samples = self.draws
        return Dropout(rate, image_keys(seed, round_ * self.network.n_layers + layer, samples))
