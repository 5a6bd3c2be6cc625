"""Policies with a memory that learns during a game: spiking, and the twin without spikes.

A policy takes one observation after the other. Its state, carried from one to the next, is that of
its neurons and of its memory; a game starts from :meth:`Policy.start`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from hebbian_snn.config import NetworkSettings
from hebbian_snn.kernels import ReadingState, WritingState
from hebbian_snn.layers import (
    Encoding,
    LinearEmbedding,
    ReadingLayer,
    ReLUReadingLayer,
    ReLUWritingLayer,
    WritingLayer,
)
from hebbian_snn.neurons import LIFState, map_state, rest

LAST = 30
"""The policy sees the value spikes of so many steps at the end of an observation."""


class SpikingState(NamedTuple):
    """What the spiking memory carries: encoding neurons (B, E), the memory (B, M, M) from keys to
    values, and the neurons that write and that read it."""

    encoding: LIFState
    mem: Tensor
    writing: WritingState
    reading: ReadingState


class SpikingRecall(nn.Module):
    """Writes an observation into the memory, then reads with the same spikes.

    Args:
        n_inputs: numbers of an observation. num_time_steps: that it is shown.
        settings: of neurons and memory.
        generator: of the start of the weights.
        backend: of the kernels.
    """

    def __init__(
        self,
        n_inputs: int,
        num_time_steps: int,
        settings: NetworkSettings,
        generator: Generator,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        size, n, neuron = settings.embedding_size, settings.memory_size, settings.neuron
        self.embedding_size, self.memory_size = size, n
        self.delay = settings.readout_delay
        self.embedding = LinearEmbedding(n_inputs, size, generator)
        self.encoding = Encoding(num_time_steps, neuron, size, backend)
        self.write = WritingLayer(
            size, n, neuron, settings.plasticity, settings.tau_trace, generator, backend=backend
        )
        self.read = ReadingLayer(size, n, neuron, generator, self.delay, backend)

    def start(self, size: int, like: Tensor) -> SpikingState:
        """The state of ``size`` games that begin, with device and type of number of ``like``."""
        n = self.memory_size
        still, zeros = rest((size, n), like), like.new_zeros(size, n)
        return SpikingState(
            rest((size, self.embedding_size), like),
            like.new_zeros(size, n, n),
            WritingState(still, still, zeros, zeros),
            ReadingState(still, still, like.new_zeros(size, self.delay, n)),
        )

    def forward(self, observation: Tensor, state: SpikingState) -> tuple[Tensor, SpikingState]:
        """(B, D) observations to the (B, M) numbers of value spikes at their end."""
        items = self.embedding(observation)[:, None]
        spikes, encoding = self.encoding(items, state.encoding)
        written = self.write(spikes, state.mem, state.writing)
        read = self.read(spikes, written.mem, state.reading)
        counts = read.value_spikes[:, -LAST:].sum(1)
        return counts, SpikingState(encoding, written.mem, written.state, read.state)

    def replay(self, observations: Tensor, ended: Tensor, state: SpikingState) -> Tensor:
        """(T, B, D) observations to the (T, B, M) numbers of value spikes: :meth:`forward` for one
        after the other, with a new game after those that ``ended`` (T, B).

        Weights are applied to the spikes of all observations at once.
        """
        items, ends = self.embedding(observations)[:, :, None], ended.any(1).tolist()
        trains, encoding = [], state.encoding
        for step, item in enumerate(items):
            spikes, encoding = self.encoding(item, encoding)
            trains.append(spikes)
            if ends[step]:
                encoding = begin_anew(encoding, ended[step])
        heard = torch.stack(trains)
        currents = zip(*self.write.currents(heard), self.read.currents(heard), strict=True)
        _, mem, writing, reading = state
        counts = []
        for step, (key, value, asking) in enumerate(currents):
            written = self.write.write(key, value, mem, writing)
            read = self.read.read(asking, written.mem, reading)
            counts.append(read.value_spikes[:, -LAST:].sum(1))
            mem, writing, reading = written.mem, written.state, read.state
            if ends[step]:
                mem, writing, reading = (
                    begin_anew(part, ended[step]) for part in (mem, writing, reading)
                )
        return torch.stack(counts)


class ReLURecall(nn.Module):
    """The twin of :class:`SpikingRecall`, whose state is the memory alone."""

    def __init__(self, n_inputs: int, settings: NetworkSettings, generator: Generator) -> None:
        super().__init__()
        size, n = settings.embedding_size, settings.memory_size
        self.memory_size = n
        self.embedding = LinearEmbedding(n_inputs, size, generator)
        self.write = ReLUWritingLayer(size, n, generator, settings.plasticity)
        self.read = ReLUReadingLayer(size, n, generator)

    def start(self, size: int, like: Tensor) -> Tensor:
        """An empty memory (B, M, M) for each game."""
        return like.new_zeros(size, self.memory_size, self.memory_size)

    def forward(self, observation: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) observations to the (B, M) values that are read."""
        item = self.embedding(observation).relu()[:, None]
        mem = self.write(item, state)[0]
        return self.read(item, mem)[1][:, 0], mem

    def replay(self, observations: Tensor, ended: Tensor, state: Tensor) -> Tensor:
        """As :meth:`SpikingRecall.replay`."""
        values, ends = [], ended.any(1).tolist()
        for step, observation in enumerate(observations):
            value, state = self(observation, state)
            values.append(value)
            if ends[step]:
                state = begin_anew(state, ended[step])
        return torch.stack(values)


def head(n_inputs: int, hidden: int, n_outputs: int, gain: float, random: Generator) -> nn.Module:
    """Two tanh layers and a linear one, orthogonal, with biases of 0; ``gain`` is of the last."""
    sizes, gains = (n_inputs, hidden, hidden, n_outputs), (math.sqrt(2), math.sqrt(2), gain)
    layers: list[nn.Module] = []
    for n_in, n_out, scale in zip(sizes, sizes[1:], gains, strict=False):
        layer = nn.Linear(n_in, n_out)
        nn.init.orthogonal_(layer.weight, scale, generator=random)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Policy(nn.Module):
    """Actor and critic on what the memory recalls.

    Args:
        recall: :class:`SpikingRecall` or :class:`ReLURecall`.
        n_inputs: numbers of an observation. n_actions: to choose from.
        hidden: units of a layer of actor and critic.
        deck: (pairs, card_size), the cards that are played with; saved with the weights.
        generator: of the start of the weights.
    """

    def __init__(
        self,
        recall: SpikingRecall | ReLURecall,
        n_inputs: int,
        n_actions: int,
        hidden: int,
        deck: Tensor,
        generator: Generator,
    ) -> None:
        super().__init__()
        self.recall = recall
        self.actor = head(recall.memory_size, hidden, n_actions, 0.01, generator)
        self.critic = head(recall.memory_size + n_inputs, hidden, 1, math.sqrt(2), generator)
        self.register_buffer("deck", deck.clone())

    def start(self, size: int) -> SpikingState | Tensor:
        """The state of ``size`` games that begin."""
        return self.recall.start(size, self.recall.embedding.weight)

    def decide(self, observation: Tensor, recalled: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) observations and (..., M) recalled to (..., actions) logits and (...) values."""
        value = self.critic(torch.cat([observation, recalled], -1))[..., 0]
        return self.actor(recalled), value

    def forward(
        self, observation: Tensor, state: SpikingState | Tensor
    ) -> tuple[Tensor, Tensor, SpikingState | Tensor]:
        """(B, D) observations to (B, actions) logits, (B,) values and the state after them."""
        recalled, state = self.recall(observation, state)
        return *self.decide(observation, recalled), state

    def replay(
        self, observations: Tensor, ended: Tensor, state: SpikingState | Tensor
    ) -> tuple[Tensor, Tensor]:
        """A whole rollout again, with gradients through all of it.

        Args:
            observations: (T, B, D). ended: (T, B) bool, the game ended with the action taken on
                this observation, so that the next one is of a new game.
            state: before the first observation.

        Returns:
            (T, B, actions) logits and (T, B) values.
        """
        return self.decide(observations, self.recall.replay(observations, ended, state))


def begin_anew(state: SpikingState | Tensor, ended: Tensor) -> SpikingState | Tensor:
    """The state with that of the games (B,) that have ended set back to 0, the start."""

    def cleared(x: Tensor) -> Tensor:
        return x.masked_fill(ended.view(-1, *[1] * (x.dim() - 1)), 0)

    return map_state(cleared, state)
