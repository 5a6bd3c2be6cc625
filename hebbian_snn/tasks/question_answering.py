"""Question answering: the bAbI tasks, one network for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from common.settings import option
from common.training import generator as seeded
from datasets.babi import EMBEDDED_STORIES, PADDINGS, BabiTask, Questions, load_babi
from datasets.choices import DATA_CHOICES
from hebbian_snn.config import NetworkSettings, TrainingSettings
from hebbian_snn.layers import Embedding, Output, SentenceEncoding
from hebbian_snn.memory import Answer, Asked, NewMemory, Recalled, memory_of
from hebbian_snn.rates import firing_rates
from hebbian_snn.training.task import Batch, SupervisedTask, shuffled

GROUP = 16
"""Stories that go through the network together on a CPU."""


@dataclass(frozen=True)
class QuestionAnsweringData:
    """Stories and questions, and how they are shown."""

    task: int = option("bAbI task, 1 to 20", minimum=1, maximum=20)
    ten_k: bool = option("10 000 training questions; 0: 1 000")
    data: str = option(
        "the official files, generated stories, or those only where these are not",
        choices=DATA_CHOICES,
    )
    add_time_words: bool = option("say in every sentence how many sentences ago it was told")
    mask_time_words: bool = option("the weights of the time words' place are not trained")
    learn_encoding: bool = option("weights for every place of a sentence; 0: they stay 1")
    sentence_duration: int = option("steps of a sentence, ms", minimum=1)
    max_num_sentences: int = option("questions with longer stories are left out", minimum=1)
    padding: str = option("where short stories are padded", choices=PADDINGS)
    dataset_seed: int = option("random seed of the split into training and validation", minimum=0)
    questions: int = option(
        "training questions of generated stories; 0: as many as usual", default=0, minimum=0
    )


@dataclass(frozen=True)
class StoriesTrainingSettings(TrainingSettings):
    """Optimisation where several questions are asked of one story."""

    share_stories: bool = option(
        "a batch is whole stories with all of their questions, at least --batch_size "
        "of them, and every story is written once: several times faster. Gradients are exact, "
        "but the questions of a batch depend on each other, unlike the single questions that "
        "are drawn without it, as in the paper",
        default=False,
    )


@dataclass(frozen=True)
class QuestionAnsweringSettings:
    """Everything about one network for one task."""

    relu: bool = option("the twin without spikes")
    dataset: QuestionAnsweringData
    network: NetworkSettings
    training: StoriesTrainingSettings


def network_name(settings: QuestionAnsweringSettings, source: str) -> str:
    """Of the checkpoint that is trained with these settings on stories from ``source``."""
    data, network = settings.dataset, settings.network
    parts = {
        "relu": settings.relu,
        str(data.task): True,
        "1k": not data.ten_k,
        "time_words": data.add_time_words,
        f"delay_{network.readout_delay}": not settings.relu,
        "no_memory": network.gamma_pos == 0,
        "embedded": source == EMBEDDED_STORIES,
    }
    return "_".join(["babi", *(part for part, given in parts.items() if given)])


# ---- network --------------------------------------------------------------------------------


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
        embedding_size: E. memory: spiking or ReLU.
        generator: random generator for the initial weights.
        learn_encoding: the weights of the places in a sentence are trained.
        keep_last: those of the last place are not, for time words.
        padded_in_front: stories are padded in front, not at their end.
    """

    def __init__(
        self,
        n_words: int,
        n_places: int,
        embedding_size: int,
        memory: NewMemory,
        generator: Generator,
        learn_encoding: bool = True,
        keep_last: bool = False,
        padded_in_front: bool = True,
    ) -> None:
        super().__init__()
        size = embedding_size
        self.padded_in_front = padded_in_front
        self.words = Embedding(n_words, size, generator, nil=True)
        self.sentences = SentenceEncoding(n_places, size, learn_encoding, keep_last)
        self.memory = memory(size, size)
        self.output = Output(len(self.memory.read.weight), n_words, generator, self.memory.last)

    def activity(
        self,
        stories: Tensor,
        lengths: Tensor,
        questions: Tensor,
        story_of: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], Recalled]:
        """The spikes or activities of ``story``, (N, T, E), padding included, and of ``question``,
        (B, T', E), and the memory's; arguments as :meth:`forward`."""
        encode = self.memory.encode
        encoded = {
            "story": encode(self.sentences(self.words(stories))),
            "question": encode(self.sentences(self.words(questions))[:, None]),
        }
        sample, sentence = places(stories, lengths, story_of)
        asked = Asked(sample, sentence * self.memory.num_time_steps)
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
        grouped = self.memory.spiking and self.padded_in_front and not stories.is_cuda
        if not grouped or not len(lengths):
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
        outputs = self.output(recalled.read["values"])
        if not self.memory.spiking:
            return Answer(outputs, {})
        asked = places(stories, lengths, story_of)
        written = {"story": encoded["story"], **_named("write", recalled.written)}
        read = {"question": encoded["question"], **_named("read", recalled.read)}
        steps = self.memory.num_time_steps
        rates = {name: rates_until(x, steps, asked, lengths) for name, x in written.items()}
        rates |= {name: firing_rates(x, steps) for name, x in read.items()}
        return Answer(outputs, rates)


def _named(prefix: str, spikes: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}_{name}": x for name, x in spikes.items()}


def rates_until(spikes: Tensor, num_time_steps: int, asked: Asked, lengths: Tensor) -> Tensor:
    """Firing rates (B, n), in Hz, of (N, S * num_time_steps, n) spikes up to each question.

    ``asked.step`` counts sentences, padding included, and ``lengths``, (B,), those that are real.
    """
    counts = spikes.unflatten(1, (-1, num_time_steps)).sum(2).cumsum(1)
    until = functional.pad(counts, (0, 0, 1, 0))[asked.sample, asked.step]
    return firing_rates(until[:, None], num_time_steps, lengths.clamp_min(1))


# ---- task -----------------------------------------------------------------------------------


class QuestionAnsweringTask(SupervisedTask):
    """See :class:`hebbian_snn.training.task.SupervisedTask`."""

    name = "question_answering"
    settings_type = QuestionAnsweringSettings
    varied = ("data", "task", "ten_k", "readout_delay", "add_time_words")
    may_differ = ("dataset.data",)

    @property
    def checkpoint_name(self) -> str:
        return network_name(self.settings, self.stories.source)

    @cached_property
    def stories(self) -> BabiTask:
        """All of the data."""
        data = self.settings.dataset
        return load_babi(
            data.task,
            data.ten_k,
            data.data,
            max_num_sentences=data.max_num_sentences,
            padding=data.padding,
            add_time_words=data.add_time_words,
            dataset_seed=data.dataset_seed,
            questions=data.questions,
        )

    def _questions(self, split: str) -> Questions:
        return getattr(self.stories, split)

    def sizes(self) -> dict[str, int]:
        return {
            split: len(self._questions(split).answers) for split in ("train", "validation", "test")
        }

    def batches(self, split: str, epoch: int = 0) -> list[range]:
        if split != "train" or not self.settings.training.share_stories:
            return super().batches(split, epoch)
        sizes = [len(self._whole_stories[story]) for story in self._story_order(epoch)]
        return story_batches(sizes, self.settings.training.batch_size)

    def batch(self, split: str, epoch: int, samples: range, part: slice) -> Batch:
        """Inputs are (N, S, W) words of the sentences of N stories, how many sentences come before
        each question (B,), (B, W) words of questions, and the story (B,) of each; targets are (B,)
        words.

        Every question of a training has a story of its own, unless stories are shared. S is that of
        the longest story here: padding in front is cut off, which changes nothing.
        """
        shared = split != "train" or self.settings.training.share_stories
        if split != "train":
            chosen = torch.arange(samples.start, samples.stop)
        elif shared:
            order = [self._whole_stories[story] for story in self._story_order(epoch)]
            chosen = torch.cat(order)[samples.start : samples.stop]
        else:
            chosen = shuffled(len(self._questions(split).answers), self.seed, epoch, samples)
        chosen = chosen[part]
        questions = self._questions(split).take(chosen)
        numbers = self._stories(split)[chosen] if shared else torch.arange(len(chosen))
        story_of, longest = last_questions(numbers, questions.lengths)
        stories = questions.stories[longest]
        if self.settings.dataset.padding == "pre" and len(chosen):
            stories = stories[:, -int(questions.lengths.max()) :]
        inputs = (stories, questions.lengths, questions.questions, story_of)
        return Batch(inputs, questions.answers)

    def _stories(self, split: str) -> Tensor:
        """The number (Q,) of the story of each question. With time words, and with padding at the
        end, every question has its own: what comes before it is not the beginning of another's."""
        data, questions = self.settings.dataset, self._questions(split)
        if data.add_time_words or data.padding == "post":
            return torch.arange(len(questions.answers))
        return questions.story

    @cached_property
    def _whole_stories(self) -> tuple[Tensor, ...]:
        """The training questions of each story. One with more questions than a batch is divided,
        which bounds what a step holds in memory."""
        numbers = self._stories("train")
        counts = numbers.unique(return_counts=True)[1]
        whole = numbers.argsort(stable=True).split(counts.tolist())
        size = self.settings.training.batch_size
        return tuple(part for questions in whole for part in questions.split(size))

    def _story_order(self, epoch: int) -> list[int]:
        draw = seeded(self.seed, "stories", epoch)
        return torch.randperm(len(self._whole_stories), generator=draw).tolist()

    def build(self, generator: Generator, backend: str = "auto") -> nn.Module:
        data, network = self.settings.dataset, self.settings.network
        n_words, n_places = len(self.stories.vocabulary), self.stories.n_words
        keep_last = data.add_time_words and data.mask_time_words
        learned = data.learn_encoding
        memory = memory_of(
            self.settings.relu, data.sentence_duration, network, generator, backend=backend
        )
        return QuestionAnsweringNetwork(
            n_words,
            n_places,
            network.embedding_size,
            memory,
            generator,
            learned,
            keep_last,
            data.padding == "pre",
        )

    @property
    def is_bound(self) -> bool:
        return True  # words are numbers of a vocabulary

    def sources(self) -> dict[str, Any]:
        stories = self.stories
        return {
            "source": stories.source,
            "questions": sum(self.sizes().values()),
            "test_questions": self.sizes()["test"],
            "left_out": list(stories.dropped),
            "words": len(stories.vocabulary),
        }


def story_batches(sizes: Sequence[int], least: int) -> list[range]:
    """Batches of whole stories with ``sizes`` questions, in order, of ``least`` questions or more
    each; the last one has what is left."""
    batches, first, last = [], 0, 0
    for size in sizes:
        last += size
        if last - first >= least:
            batches.append(range(first, last))
            first = last
    return [*batches, range(first, last)] if last > first else batches


def last_questions(numbers: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Of questions with these stories and so many sentences before them, (B,) each: the place (B,)
    of each one's story among the N that there are, and (N,) the last question of each story."""
    stories, story_of = numbers.unique(return_inverse=True)
    longest = torch.zeros_like(stories).scatter_reduce(0, story_of, lengths, "amax")
    (last,) = (lengths == longest[story_of]).nonzero(as_tuple=True)
    return story_of, torch.zeros_like(stories).scatter_reduce(0, story_of[last], last, "amax")
