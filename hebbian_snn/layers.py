"""The layers of the memory network: thin modules over the kernels.

All weights start Xavier-uniform with gain sqrt(2), from the generator that is given; the output
layer keeps PyTorch's start. Nothing has a bias. Spikes are (B, T, neurons); a state that is given
is taken up, and the state after the last step is returned.

The ReLU layers take one step for each item: activities stand in place of spikes and of traces, and
nothing is fed back, neither the memory while writing nor the values while reading. The paper's
growth and decay there are gamma = 0.1.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hebbian_snn.kernels import (
    Read,
    ReadingState,
    WritingState,
    Written,
    lif_scan,
    read_memory,
    write_memory,
)
from hebbian_snn.neurons import IFParameters, LIFState, NeuronParameters
from hebbian_snn.plasticity import InvertedOja, update_memory


def start_weight(*shape: int, generator: Generator) -> nn.Parameter:
    """A weight matrix or convolution kernel, Xavier-uniform with gain sqrt(2)."""
    weight = torch.empty(shape)
    return nn.Parameter(nn.init.xavier_uniform_(weight, math.sqrt(2), generator=generator))


class LinearEmbedding(nn.Module):
    """Vectors (..., F) to embeddings (..., E)."""

    def __init__(self, n_inputs: int, embedding_size: int, generator: Generator) -> None:
        super().__init__()
        self.weight = start_weight(embedding_size, n_inputs, generator=generator)

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., F) to (..., E)."""
        return functional.linear(vectors, self.weight)


class Embedding(nn.Module):
    """Numbers of words or labels (...) to their rows (..., E).

    Args:
        nil: word 0 is the padding, whose row is and stays 0.
    """

    def __init__(
        self, n_words: int, embedding_size: int, generator: Generator, nil: bool = False
    ) -> None:
        super().__init__()
        self.weight = start_weight(n_words, embedding_size, generator=generator)
        self.nil = nil
        if nil:
            nn.init.zeros_(self.weight.data[0])

    def forward(self, words: Tensor) -> Tensor:
        """Integers (...) to (..., E)."""
        return functional.embedding(words, self.weight, padding_idx=0 if self.nil else None)


class SentenceEncoding(nn.Module):
    """Embedded words (..., W, E) to the current of their sentence, (..., E): the sum over w of
    encoding[w] * word[w].

    Args:
        n_words: W. embedding_size: E.
        learned: the encoding, (W, E), is trained; it starts at ones.
        keep_last: the last row stays at ones, for time words.
    """

    def __init__(
        self, n_words: int, embedding_size: int, learned: bool = True, keep_last: bool = False
    ) -> None:
        super().__init__()
        self.encoding = nn.Parameter(torch.ones(n_words, embedding_size), requires_grad=learned)
        self.keep_last = keep_last

    def forward(self, words: Tensor) -> Tensor:
        """(..., W, E) to (..., E)."""
        encoding = self.encoding
        if self.keep_last:
            encoding = torch.cat([encoding[:-1], encoding[-1:].detach()])
        return (words * encoding).sum(-2)


class Encoding(nn.Module):
    """Neurons driven by a constant current for each item; no parameters.

    Args:
        num_time_steps: steps of an item. neuron: the neurons.
        factor: the current is so many times the input (associations, games: E).
    """

    def __init__(
        self,
        num_time_steps: int,
        neuron: NeuronParameters,
        factor: float = 1.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.num_time_steps, self.neuron = num_time_steps, neuron
        self.factor, self.backend = factor, backend

    def forward(self, items: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        """(B, items, E) to the (B, items * num_time_steps, E) spikes; ``state`` (B, E)."""
        return lif_scan(
            items * self.factor,
            self.neuron,
            num_time_steps=self.num_time_steps,
            state=state,
            backend=self.backend,
        )


class WritingLayer(nn.Module):
    """Writes what it hears into the memory; see :func:`hebbian_snn.kernels.write_memory`.

    The weight is (2 M, inputs): keys, then values.
    """

    def __init__(
        self,
        n_inputs: int,
        memory_size: int,
        neuron: NeuronParameters,
        plasticity: InvertedOja,
        tau_trace: float,
        generator: Generator,
        feedback: float = 0.2,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.weight = start_weight(2 * memory_size, n_inputs, generator=generator)
        self.neuron, self.plasticity, self.tau_trace = neuron, plasticity, tau_trace
        self.feedback, self.backend = feedback, backend

    def forward(
        self, spikes: Tensor, mem: Tensor | None = None, state: WritingState | None = None
    ) -> Written:
        """(B, T, inputs) spikes, (B, M, M) memory."""
        return self.write(*self.currents(spikes), mem, state)

    def currents(self, spikes: Tensor) -> tuple[Tensor, Tensor]:
        """(..., inputs) spikes to the (..., M) currents of keys and of values."""
        key, value = self.weight.chunk(2)
        return functional.linear(spikes, key), functional.linear(spikes, value)

    def write(
        self,
        key_currents: Tensor,
        value_currents: Tensor,
        mem: Tensor | None = None,
        state: WritingState | None = None,
    ) -> Written:
        """The rest of the layer, from (B, T, M) currents."""
        return write_memory(
            key_currents,
            value_currents,
            neuron=self.neuron,
            plasticity=self.plasticity,
            tau_trace=self.tau_trace,
            mem=mem,
            state=state,
            feedback=self.feedback,
            backend=self.backend,
        )


class ReadingLayer(nn.Module):
    """Asks the memory with what it hears; see :func:`hebbian_snn.kernels.read_memory`.

    The weight is (M, inputs + M): inputs, then value spikes of ``delay`` steps ago.
    """

    def __init__(
        self,
        n_inputs: int,
        memory_size: int,
        neuron: NeuronParameters,
        generator: Generator,
        delay: int = 1,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.weight = start_weight(memory_size, n_inputs + memory_size, generator=generator)
        self.neuron, self.delay, self.backend = neuron, delay, backend

    def forward(self, spikes: Tensor, mem: Tensor, state: ReadingState | None = None) -> Read:
        """(B, T, inputs) spikes, (B, M, M) memory."""
        return self.read(self.currents(spikes), mem, state)

    def currents(self, spikes: Tensor) -> Tensor:
        """(..., inputs) spikes to the (..., M) currents of the keys, without the values' part."""
        return functional.linear(spikes, self.weight[:, : spikes.shape[-1]])

    def read(self, currents: Tensor, mem: Tensor, state: ReadingState | None = None) -> Read:
        """The rest of the layer, from (B, T, M) currents."""
        return read_memory(
            currents,
            self.weight[:, -len(self.weight) :],
            mem,
            neuron=self.neuron,
            delay=self.delay,
            state=state,
            backend=self.backend,
        )


class Output(nn.Module):
    """Linear in the number of value spikes of the last steps; starts as PyTorch's linear layers.

    Args:
        last: over how many steps spikes are counted.
    """

    def __init__(
        self, memory_size: int, n_outputs: int, generator: Generator, last: int = 30
    ) -> None:
        super().__init__()
        bound = memory_size**-0.5
        weight = torch.empty(n_outputs, memory_size)
        self.weight = nn.Parameter(nn.init.uniform_(weight, -bound, bound, generator=generator))
        self.last = last

    def forward(self, value_spikes: Tensor) -> Tensor:
        """(B, T, M) spikes to (B, outputs)."""
        return functional.linear(value_spikes[:, -self.last :].sum(1), self.weight)


class SpikingLinear(nn.Module):
    """A fully connected layer of spiking neurons; the weight is (N, inputs)."""

    def __init__(
        self,
        n_inputs: int,
        n_neurons: int,
        neuron: NeuronParameters,
        generator: Generator,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.weight = start_weight(n_neurons, n_inputs, generator=generator)
        self.neuron, self.backend = neuron, backend

    def forward(self, spikes: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        """(B, T, inputs) to (B, T, N) spikes; ``state`` (B, N)."""
        currents = functional.linear(spikes, self.weight)
        return lif_scan(currents, self.neuron, state=state, backend=self.backend)


class SpikingConvolution(nn.Module):
    """3 x 3 convolution with padding 1, spiking neurons that share a threshold, 2 x 2 max pooling.

    Args:
        n_inputs, n_outputs: channels.
        neuron: the neurons; their threshold becomes the parameter ``thr``, so that it is saved
            with the weights.
        learn_threshold: the threshold is trained.
    """

    def __init__(
        self,
        n_inputs: int,
        neuron: IFParameters,
        generator: Generator,
        n_outputs: int = 64,
        learn_threshold: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.weight = start_weight(n_outputs, n_inputs, 3, 3, generator=generator)
        self.thr = nn.Parameter(torch.tensor(float(neuron.thr)), requires_grad=learn_threshold)
        self.neuron, self.backend = neuron, backend

    def currents(self, spikes: Tensor) -> Tensor:
        """(B, T, inputs, H, W) spikes to the (B, T, outputs, H, W) currents of the neurons."""
        maps = functional.conv2d(spikes.flatten(0, 1), self.weight, padding=1)
        return maps.unflatten(0, spikes.shape[:2])

    def forward(self, spikes: Tensor) -> Tensor:
        """(B, T, inputs, H, W) to (B, T, outputs, H // 2, W // 2) spikes, from rest."""
        currents = self.currents(spikes)
        fired, _ = lif_scan(
            currents.flatten(2), self.neuron._replace(thr=self.thr), backend=self.backend
        )
        maps = fired.view(-1, *currents.shape[2:])
        return functional.max_pool2d(maps, 2).unflatten(0, spikes.shape[:2])


# ---- without spikes -------------------------------------------------------------------------

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
    """Asks the memory; the weight is (M, inputs). The values are ``rectified``, or left as they are
    as in the paper's code."""

    def __init__(
        self, n_inputs: int, memory_size: int, generator: Generator, rectified: bool = True
    ) -> None:
        super().__init__()
        self.weight = start_weight(memory_size, n_inputs, generator=generator)
        self.rectified = rectified

    def forward(self, items: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, inputs) activities and (B, M, M) memory to the (B, T, M) keys and values."""
        keys = functional.linear(items, self.weight).relu()
        values = keys @ mem.transpose(1, 2)
        return keys, values.relu() if self.rectified else values
