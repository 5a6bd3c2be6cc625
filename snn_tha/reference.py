"""SNN-THA as a plain loop over the time steps, differentiated by autograd. Start reading here.

The order within a step: convolution, average pooling, batch normalisation, dropout, neuron. After
every optimiser step each threshold moves by :func:`snn_tha.annealing.anneal_step`. The network of
:mod:`snn_tha.network` takes a layer's time steps at once; tests and ``benchmarks/snn_tha.py``
compare the two. Source: Eshraghian and Lu, 2022, sections 2 and 3 (docs/snn_tha.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, linear

from common.counter_noise import image_keys
from snn_tha.kernels import Dropout
from snn_tha.network import Draws, Network
from snn_tha.neurons import LIFParameters, LIFState, lif_step, rest


class PlainNetwork(nn.Module):
    """Runs the parameters of a :class:`Network` step by step: convolution, average pooling, batch
    normalisation, dropout, neuron. Running averages are updated in place, T times a batch."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        x: Tensor,
        neurons: Sequence[LIFParameters],
        steps: int,
        draws: Draws | None = None,
    ) -> list[Tensor]:
        """(T or 1, B, ...) input to the spikes (T, B, C, H, W) or (T, B, U) of every layer."""
        masks = self._masks(draws, steps) if self.training and draws is not None else {}
        states: list[LIFState | None] = [None] * self.network.n_layers
        spikes: list[list[Tensor]] = [[] for _ in states]
        for t in range(steps):
            signal = x[t if len(x) > 1 else 0]
            for layer in range(self.network.n_layers):
                current = self._current(layer, signal)
                if layer in masks:
                    kept, scale = masks[layer]
                    current = current * kept[t].view(current.shape) * scale
                state = states[layer] or rest(current.shape, current)
                signal, states[layer] = lif_step(current, state, neurons[layer])
                spikes[layer].append(signal)
        return [torch.stack(of_layer) for of_layer in spikes]

    def _current(self, layer: int, signal: Tensor) -> Tensor:
        network = self.network
        n_convolutions = len(network.convolutions)
        if layer >= n_convolutions:
            module = network.linears[layer - n_convolutions]
            return linear(signal.flatten(1), module.forward_weight(), module.bias)
        pooled = avg_pool2d(conv2d(signal, network.convolutions[layer].forward_weight()), 2)
        if not network.norms:
            return pooled
        norm = network.norms[layer]
        return batch_norm(
            pooled,
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            self.training,
            norm.momentum,
            norm.eps,
        )

    def _masks(self, draws: Draws, steps: int) -> dict[int, tuple[Tensor, float]]:
        """(T, B, U) bool and the factor of what is kept, for layers with dropout.

        Units of a convolution are taken in the order (C, H, W), which no test compares.
        """
        network = self.network
        masks = {}
        for layer, rate in enumerate(network.dropout):
            if rate:
                keys = image_keys(draws.seed, draws.round * network.n_layers + layer, draws.samples)
                dropout = Dropout(rate, keys)
                units = int(torch.tensor(network.shapes[layer]).prod())
                masks[layer] = dropout.kept(steps, units), float(dropout.scale())
        return masks
