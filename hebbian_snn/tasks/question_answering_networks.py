"""The networks that read a story and answer a question about it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from hebbian_snn.config import NetworkSettings
from hebbian_snn.layers import Embedding, Encoding, Output, SentenceEncoding
from hebbian_snn.memory import Answer, Asked, HebbianMemory, Recalled, ReLUMemory
from hebbian_snn.rates import firing_rates

GROUP = 16
"""Stories that go through the network together on a CPU."""


def group_sizes(lengths: Sequence[int]) -> list[int]:
    """How many stories, sorted by length, go together: :data:`GROUP` at most, and none that is much
    longer than the first, for padding takes as long as sentences do."""
    sizes, first = [], 0
    for place, length in enumerate(lengths):
        if place - first == GROUP or length > 1.25 * lengths[first] + 1:
            sizes.append(place - first)
            first = place
    return [*sizes, len(lengths) - first]


def places(stories: Tensor, lengths: Tensor, story_of: Tensor | None) -> Asked:
    """Of which story each question is asked, and after how many of its S sentences, padding in
    front included; see :meth:`QuestionAnsweringNetwork.forward`."""
    if story_of is None:
        story_of = torch.arange(len(lengths), device=lengths.device)
    longest = _story_lengths(stories, lengths, story_of)
    return Asked(story_of, stories.shape[1] - longest[story_of] + lengths)


def _story_lengths(stories: Tensor, lengths: Tensor, story_of: Tensor) -> Tensor:
    """(N,), the sentences before the last question of each story."""
    return lengths.new_zeros(len(stories)).scatter_reduce(0, story_of, lengths, "amax")


class QuestionAnsweringNetwork(nn.Module):
    """Writes the sentences of a story one after the other, then asks with the question.

    Sentences and question share embedding and encoding. Several questions of one story are asked
    while it is written: each reads the memory as it is at its place. A padding sentence is all
    zeros, so padding in front of a story leaves the network at rest: it is cut off without any
    change. On a CPU, where every step costs, stories of similar lengths go together for that.

    Args:
        n_words: of the vocabulary, word 0 being none; also the outputs.
        n_places: W, words of a sentence.
        num_time_steps: of a sentence.
        settings: of neurons and memory.
        generator: of the start of the weights.
        learn_encoding: the weights of the places in a sentence are trained.
        keep_last: those of the last place are not, for time words.
        padded_in_front: stories are padded in front, not at their end.
        backend: of the kernels.
    """

    def __init__(
        self,
        n_words: int,
        n_places: int,
        num_time_steps: int,
        settings: NetworkSettings,
        generator: Generator,
        learn_encoding: bool = True,
        keep_last: bool = False,
        padded_in_front: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        size, self.num_time_steps = settings.embedding_size, num_time_steps
        self.padded_in_front = padded_in_front
        self.words = Embedding(n_words, size, generator, nil=True)
        self.sentences = SentenceEncoding(n_places, size, learn_encoding, keep_last)
        self.encoding = Encoding(num_time_steps, settings.neuron, backend=backend)
        self.memory = HebbianMemory(size, size, settings, generator, backend)
        self.output = Output(settings.memory_size, n_words, generator)

    def activity(
        self,
        stories: Tensor,
        lengths: Tensor,
        questions: Tensor,
        story_of: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], Recalled]:
        """The spikes of ``story``, (N, T, E), padding included, and of ``question``, (B, T', E),
        and the memory's; arguments as :meth:`forward`."""
        encoded = {
            "story": self.encoding(self.sentences(self.words(stories)))[0],
            "question": self.encoding(self.sentences(self.words(questions))[:, None])[0],
        }
        sample, sentence = places(stories, lengths, story_of)
        asked = Asked(sample, sentence * self.num_time_steps)
        return encoded, self.memory(encoded["story"], encoded["question"], asked)

    def forward(
        self,
        stories: Tensor,
        lengths: Tensor,
        questions: Tensor,
        story_of: Tensor | None = None,
    ) -> Answer:
        """Answer B questions about N stories.

        Args:
            stories: (N, S, W) words of sentences, up to the last question of each story.
            lengths: (B,) sentences before each question.
            questions: (B, W) words. story_of: (B,) story of each; default one question a story.

        Returns:
            (B, n_words) scores, and the rates up to each question.
        """
        if story_of is None:
            story_of = torch.arange(len(lengths), device=lengths.device)
        if not self.padded_in_front or stories.is_cuda or not len(lengths):
            return self._answer(stories, lengths, questions, story_of)
        longest = _story_lengths(stories, lengths, story_of)
        order = longest.argsort(stable=True)
        rank = order.argsort()[story_of]
        by_rank = rank.argsort(stable=True)
        questions_of = story_of.bincount(minlength=len(order))[order]
        parts, first, asked_before = [], 0, 0
        for rows in order.split(group_sizes(longest[order].tolist())):
            needed = max(int(longest[rows[-1]]), 1)
            count = int(questions_of[first : first + len(rows)].sum())
            asked = by_rank[asked_before : asked_before + count]
            parts.append(
                self._answer(
                    stories[rows, -needed:], lengths[asked], questions[asked], rank[asked] - first
                )
            )
            first, asked_before = first + len(rows), asked_before + count
        back = by_rank.argsort()
        return Answer(
            torch.cat([part.outputs for part in parts])[back],
            {
                name: torch.cat([part.rates[name] for part in parts])[back]
                for name in parts[0].rates
            },
        )

    def _answer(
        self, stories: Tensor, lengths: Tensor, questions: Tensor, story_of: Tensor
    ) -> Answer:
        encoded, recalled = self.activity(stories, lengths, questions, story_of)
        asked = places(stories, lengths, story_of)
        written = {"story": encoded["story"], **_named("write", recalled.written)}
        read = {"question": encoded["question"], **_named("read", recalled.read)}
        steps = self.num_time_steps
        rates = {name: rates_until(x, steps, asked, lengths) for name, x in written.items()}
        rates |= {name: firing_rates(x, steps) for name, x in read.items()}
        return Answer(self.output(recalled.read["values"]), rates)


def _named(prefix: str, spikes: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}_{name}": x for name, x in spikes.items()}


def rates_until(spikes: Tensor, num_time_steps: int, asked: Asked, lengths: Tensor) -> Tensor:
    """Firing rates (B, n), in Hz, of (N, S * num_time_steps, n) spikes up to each question.

    ``asked.step`` counts sentences, padding included, and ``lengths``, (B,), those that are real.
    """
    counts = spikes.unflatten(1, (-1, num_time_steps)).sum(2).cumsum(1)
    until = functional.pad(counts, (0, 0, 1, 0))[asked.sample, asked.step]
    return firing_rates(until[:, None], num_time_steps, lengths.clamp_min(1))


class ReLUQuestionAnsweringNetwork(nn.Module):
    """The twin of :class:`QuestionAnsweringNetwork` without spikes; it records no rates."""

    def __init__(
        self,
        n_words: int,
        n_places: int,
        settings: NetworkSettings,
        generator: Generator,
        learn_encoding: bool = True,
        keep_last: bool = False,
    ) -> None:
        super().__init__()
        size = settings.embedding_size
        self.words = Embedding(n_words, size, generator, nil=True)
        self.sentences = SentenceEncoding(n_places, size, learn_encoding, keep_last)
        self.memory = ReLUMemory(size, size, settings, generator)
        self.output = Output(settings.memory_size, n_words, generator, last=1)

    def forward(
        self,
        stories: Tensor,
        lengths: Tensor,
        questions: Tensor,
        story_of: Tensor | None = None,
    ) -> Answer:
        """As :meth:`QuestionAnsweringNetwork.forward`."""
        facts = self.sentences(self.words(stories)).relu()
        query = self.sentences(self.words(questions)).relu()[:, None]
        recalled = self.memory(facts, query, places(stories, lengths, story_of))
        return Answer(self.output(recalled.read["values"]), {})
