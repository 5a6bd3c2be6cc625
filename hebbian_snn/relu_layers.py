"""The memory without spikes, for comparison: ReLU activities, one step for each item.

The activities stand in place of spikes and of traces. Nothing is fed back: neither the memory while
writing nor the values while reading. The paper's growth and decay here are gamma = 0.1.
"""

from __future__ import annotations

from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hebbian_snn.layers import start_weight
from hebbian_snn.plasticity import InvertedOja, update_memory

RELU_PLASTICITY = InvertedOja(w_max=1.0, gamma_pos=0.1, gamma_neg=0.1)


class ReLUWritingLayer(nn.Module):
    """Writes one item a step; the weight is (2 M, inputs): keys, then values."""

    def __init__(
        self,
        n_inputs: int,
        memory_size: int,
        generator: Generator,
        plasticity: InvertedOja = RELU_PLASTICITY,
    ) -> None:
        super().__init__()
        self.weight = start_weight(2 * memory_size, n_inputs, generator=generator)
        self.plasticity = plasticity

    def forward(self, items: Tensor, mem: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, inputs) activities to the (B, M, M) memory, default start 0, and the (B, T, M)
        keys and values."""
        keys, values = functional.linear(items, self.weight).relu().chunk(2, -1)
        if mem is None:
            mem = keys.new_zeros(len(keys), keys.shape[-1], keys.shape[-1])
        for key, value in zip(keys.unbind(1), values.unbind(1), strict=True):
            # Keeps one memory a step for the way back, not every product in it.
            mem = checkpoint(update_memory, mem, value, key, self.plasticity, use_reentrant=False)
        return mem, keys, values


class ReLUReadingLayer(nn.Module):
    """Asks the memory; the weight is (M, inputs)."""

    def __init__(self, n_inputs: int, memory_size: int, generator: Generator) -> None:
        super().__init__()
        self.weight = start_weight(memory_size, n_inputs, generator=generator)

    def forward(self, items: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, inputs) activities and (B, M, M) memory to the (B, T, M) keys and values."""
        keys = functional.linear(items, self.weight).relu()
        return keys, (keys @ mem.transpose(1, 2)).relu()


class ReLUConvolution(nn.Module):
    """3 x 3 convolution with padding 1, ReLU, 2 x 2 max pooling.

    Pooled first, which gives the same and leaves a quarter for the ReLU.
    """

    def __init__(self, n_inputs: int, generator: Generator, n_outputs: int = 64) -> None:
        super().__init__()
        self.weight = start_weight(n_outputs, n_inputs, 3, 3, generator=generator)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H // 2, W // 2)."""
        currents = functional.conv2d(maps, self.weight, padding=1)
        return functional.max_pool2d(currents, 2).relu()
