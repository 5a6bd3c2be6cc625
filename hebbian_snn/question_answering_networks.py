"""The networks that read a story and answer a question about it."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from hebbian_snn.config import NetworkSettings
from hebbian_snn.layers import Embedding, Encoding, Output, SentenceEncoding
from hebbian_snn.models import Answer, HebbianMemory, Recalled, ReLUMemory, recorded_rates

GROUP = 16
"""Stories that go through the network together on a CPU."""


class QuestionAnsweringNetwork(nn.Module):
    """Writes the sentences of a story one after the other, then asks with the question.

    Sentences and question share embedding and encoding. A padding sentence is all zeros, so padding
    in front of a story leaves the network at rest: it is cut off without any change. On a CPU,
    where every step costs, stories of similar lengths go together for that.

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
        self, stories: Tensor, lengths: Tensor, questions: Tensor
    ) -> tuple[dict[str, Tensor], Recalled]:
        """The (B, T, E) spikes of ``story`` and ``question``, padding included, and the memory's;
        arguments as :meth:`forward`."""
        encoded = {
            "story": self.encoding(self.sentences(self.words(stories)))[0],
            "question": self.encoding(self.sentences(self.words(questions))[:, None])[0],
        }
        return encoded, self.memory(encoded["story"], encoded["question"])

    def forward(self, stories: Tensor, lengths: Tensor, questions: Tensor) -> Answer:
        """(B, S, W) words of sentences, of which (B,) are real, and (B, W) words of questions to
        (B, n_words) scores."""
        if not self.padded_in_front or stories.is_cuda or not len(stories):
            return self._answer(stories, lengths, questions)
        order = lengths.argsort(stable=True)
        parts = [
            self._answer(stories[rows, -int(lengths[rows[-1]]) :], lengths[rows], questions[rows])
            for rows in order.split(GROUP)
        ]
        back = order.argsort()
        return Answer(
            torch.cat([part.outputs for part in parts])[back],
            {
                name: torch.cat([part.rates[name] for part in parts])[back]
                for name in parts[0].rates
            },
        )

    def _answer(self, stories: Tensor, lengths: Tensor, questions: Tensor) -> Answer:
        encoded, recalled = self.activity(stories, lengths, questions)
        asked = {"question": encoded.pop("question")}
        rates = recorded_rates(encoded, recalled, self.num_time_steps, lengths, asked)
        return Answer(self.output(recalled.read["values"]), rates)


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

    def forward(self, stories: Tensor, lengths: Tensor, questions: Tensor) -> Answer:
        """As :meth:`QuestionAnsweringNetwork.forward`."""
        facts = self.sentences(self.words(stories)).relu()
        query = self.sentences(self.words(questions)).relu()[:, None]
        return Answer(self.output(self.memory(facts, query).read["values"]), {})
