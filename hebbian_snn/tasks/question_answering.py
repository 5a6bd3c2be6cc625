"""Question answering: the bAbI tasks, one network for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor, nn

from common.settings import option
from common.training import generator as seeded
from datasets.babi import EMBEDDED_STORIES, PADDINGS, BabiTask, Questions, load_babi
from datasets.choices import DATA_CHOICES
from hebbian_snn.config import NetworkSettings, TrainingSettings
from hebbian_snn.tasks.question_answering_networks import (
    QuestionAnsweringNetwork,
    ReLUQuestionAnsweringNetwork,
)
from hebbian_snn.training.task import Batch, SupervisedTask, shuffled


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
        if self.settings.relu:
            return ReLUQuestionAnsweringNetwork(
                n_words, n_places, network, generator, learned, keep_last
            )
        return QuestionAnsweringNetwork(
            n_words,
            n_places,
            data.sentence_duration,
            network,
            generator,
            learned,
            keep_last,
            data.padding == "pre",
            backend,
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
