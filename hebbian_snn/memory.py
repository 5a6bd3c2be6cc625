"""The memory of the supervised tasks, spiking or ReLU: what is written, what is asked.

A task has one network, which takes either. A network takes a batch's inputs and gives an
:class:`Answer`: its outputs, and the firing rates of the layers that are recorded (see
:mod:`hebbian_snn.rates`; a ReLU memory records none).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from hebbian_snn.config import NetworkSettings
from hebbian_snn.layers import (
    Encoding,
    ReadingLayer,
    ReLUReadingLayer,
    ReLUWritingLayer,
    WritingLayer,
)
from hebbian_snn.rates import firing_rates


class Answer(NamedTuple):
    """What a network gives: outputs (B, ...), and (B, N) rates in Hz of every recorded layer."""

    outputs: Tensor
    rates: dict[str, Tensor]


class Recalled(NamedTuple):
    """What the memory does in a trial.

    Attributes:
        mem: (B, M, M), what is read. written, read: the spikes of ``keys`` and ``values``,
            (N, T, M) while writing and (B, T, M) while reading; N is B unless several questions are
            asked of what one sample has written.
    """

    mem: Tensor
    written: dict[str, Tensor]
    read: dict[str, Tensor]


class Asked(NamedTuple):
    """Of which memory each question is asked.

    Attributes:
        sample: (B,) the sample that writes it. step: (B,) after how many steps of writing.
    """

    sample: Tensor
    step: Tensor


def write_until(
    write: Callable[..., tuple], facts: Tensor, asked: Asked | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Write every sample once, and keep the memory at the places where questions are asked.

    Args:
        write: a writing layer. facts: (N, T, inputs).
        asked: the questions; None: one of each sample, at its end.

    Returns:
        the (B, M, M) memories of the questions, and the (N, T, M) keys and values.
    """
    if asked is None:
        mem, keys, values = write(facts)[:3]
        return mem, {"keys": keys, "values": values}
    size = len(write.weight) // 2
    mem, carried, begin = facts.new_zeros(len(facts), size, size), (), 0
    parts, memories = [], []
    # All that the host must know of the questions, at once: a GPU is waited for once.
    count = Counter(asked.step.tolist())
    order = asked.step.argsort(stable=True)
    samples = iter(asked.sample[order].split([n for _, n in sorted(count.items())]))
    for end in sorted({*count, facts.shape[1]}):
        if end > begin:
            mem, keys, values, *state = write(facts[:, begin:end], *carried)
            carried, begin = (mem, *state), end
            parts.append((keys, values))
        if count[end]:
            memories.append(mem[next(samples)])
    keys, values = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    return torch.cat(memories)[order.argsort()], {"keys": keys, "values": values}


def beside(items: Tensor, queries: Tensor) -> Tensor:
    """Items (N, n, ...) with the K queries (K * N, ...) of each sample behind them,
    (N, n + K, ...)."""
    each = len(queries) // max(len(items), 1)
    return torch.cat([items, queries.view(len(items), each, *queries.shape[1:])], 1)


def questions_of(facts: Tensor, query: Tensor) -> Asked | None:
    """Where queries (K * N, ...) are asked that are K of every sample of ``facts``, (N, T, inputs),
    after all of its steps; None for one of each."""
    if len(query) == len(facts):
        return None
    each = len(query) // len(facts)
    samples = torch.arange(len(facts), device=facts.device).repeat_interleave(each)
    return Asked(samples, torch.full_like(samples, facts.shape[1]))


class HebbianMemory(nn.Module):
    """Writes one spike train from rest, then is asked with another, from rest.

    Args:
        n_written, n_asked: neurons that are heard while writing, while reading.
        settings: of neurons and memory.
        generator: random generator for the initial weights.
        num_time_steps: of an item. factor: see :class:`hebbian_snn.layers.Encoding`.
        backend: of the kernels.

    Attributes:
        last: steps at the end of reading whose spikes the output counts.
    """

    spiking = True
    last = 30

    def __init__(
        self,
        n_written: int,
        n_asked: int,
        settings: NetworkSettings,
        generator: Generator,
        num_time_steps: int = 1,
        factor: float = 1.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.num_time_steps = num_time_steps
        self.encoding = Encoding(num_time_steps, settings.neuron, factor, backend)
        self.write = WritingLayer(
            n_written,
            settings.memory_size,
            settings.neuron,
            settings.plasticity,
            settings.tau_trace,
            generator,
            backend=backend,
        )
        self.read = ReadingLayer(
            n_asked,
            settings.memory_size,
            settings.neuron,
            generator,
            settings.readout_delay,
            backend,
        )
        self.n_asked = n_asked

    def forward(self, facts: Tensor, query: Tensor, asked: Asked | None = None) -> Recalled:
        """(N, T, n_written) and (B, T', n_asked) spikes; without ``asked`` the same number of
        queries, one after the other, is asked of each sample at its end."""
        mem, written = write_until(self.write, facts, asked or questions_of(facts, query))
        read = self.read(query, mem)
        return Recalled(mem, written, {"keys": read.key_spikes, "values": read.value_spikes})

    def encode(self, items: Tensor) -> Tensor:
        """Embedded items (B, n, E) to (B, n * num_time_steps, E) spikes."""
        return self.encoding(items)[0]

    def rates(
        self,
        encoded: dict[str, Tensor],
        recalled: Recalled,
        items: Tensor | int,
        asked: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Firing rates (B, N), in Hz, of the encoding layers and of both layers of the memory, for
        each question.

        Args:
            encoded: spikes (samples, T, N) of what is written. asked: spikes (B, T', N) of the
                queries, which are the same number for each sample, one after the other.
            recalled: what the memory did.
            items: that are written, without padding; (samples,) or one number.
        """
        steps = self.num_time_steps
        writing = {**encoded, **{f"write_{name}": x for name, x in recalled.written.items()}}
        reading = {**asked, **{f"read_{name}": x for name, x in recalled.read.items()}}
        each = len(recalled.mem) // max(len(recalled.written["keys"]), 1)
        rates = {
            name: firing_rates(x, steps, items).repeat_interleave(each, 0)
            for name, x in writing.items()
        }
        return rates | {name: firing_rates(x, steps) for name, x in reading.items()}


class ReLUMemory(nn.Module):
    """The memory without spikes: one step for each item; arguments as :class:`HebbianMemory`."""

    spiking = False
    last = num_time_steps = 1

    def __init__(
        self, n_written: int, n_asked: int, settings: NetworkSettings, generator: Generator
    ) -> None:
        super().__init__()
        size = settings.memory_size
        self.write = ReLUWritingLayer(n_written, size, generator, settings.plasticity)
        self.read = ReLUReadingLayer(n_asked, size, generator, settings.values_relu)
        self.n_asked = n_asked

    def forward(self, facts: Tensor, query: Tensor, asked: Asked | None = None) -> Recalled:
        """(N, items, n_written) and (B, items', n_asked) activities; ``asked`` as in
        :class:`HebbianMemory`."""
        mem, written = write_until(self.write, facts, asked or questions_of(facts, query))
        keys, values = self.read(query, mem)
        return Recalled(mem, written, {"keys": keys, "values": values})

    def encode(self, items: Tensor) -> Tensor:
        """Embedded items (B, n, E) to activities."""
        return items.relu()

    def rates(self, *_: Any) -> dict[str, Tensor]:
        """None: activities are no rates."""
        return {}


Memory = HebbianMemory | ReLUMemory
NewMemory = Callable[[int, int], Memory]
"""What a network makes its memory with, from the numbers of neurons that are heard while writing
and while reading. It is made after the embeddings, whose initial weights are drawn first."""


def memory_of(
    relu: bool,
    num_time_steps: int,
    settings: NetworkSettings,
    generator: Generator,
    factor: float = 1.0,
    backend: str = "auto",
) -> NewMemory:
    """The memory that a task's settings ask for; arguments as :class:`HebbianMemory`."""
    if relu:
        return lambda written, asked: ReLUMemory(written, asked, settings, generator)
    return lambda written, asked: HebbianMemory(
        written, asked, settings, generator, num_time_steps, factor, backend
    )


@torch.no_grad()
def share_keys(memory: Memory, gain: float) -> None:
    """Let an item have much the same keys when it is written and when it is asked for.

    A start for training: the weights from the ``n_asked`` neurons, which come first among those
    that are heard while writing, become the same in both layers, ``gain`` times larger.
    """
    size, asked = len(memory.read.weight), slice(memory.n_asked)
    memory.write.weight[:size, asked] *= gain
    memory.read.weight[:, asked] = memory.write.weight[:size, asked]
