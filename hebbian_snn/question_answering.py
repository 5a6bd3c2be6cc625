"""Question answering: the bAbI tasks, one network for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Generator, nn

from datasets.babi import EMBEDDED_STORIES, PADDINGS, BabiTask, Questions, load_babi
from datasets.choices import DATA_CHOICES
from hebbian_snn.config import NetworkSettings, TrainingSettings
from hebbian_snn.question_answering_networks import (
    QuestionAnsweringNetwork,
    ReLUQuestionAnsweringNetwork,
)
from hebbian_snn.tasks import Batch, SupervisedTask, shuffled


@dataclass(frozen=True)
class QuestionAnsweringData:
    """Stories and questions, and how they are shown."""

    task: int = field(metadata={"help": "of bAbI, 1 to 20", "minimum": 1, "maximum": 20})
    ten_k: bool = field(metadata={"help": "10 000 training questions; 0: 1 000"})
    data: str = field(
        metadata={
            "help": "the official files, generated stories, or those only where these are not",
            "choices": DATA_CHOICES,
        }
    )
    add_time_words: bool = field(
        metadata={"help": "say in every sentence how many sentences ago it was told"}
    )
    mask_time_words: bool = field(
        metadata={"help": "the weights of the time words' place are not trained"}
    )
    learn_encoding: bool = field(
        metadata={"help": "weights for every place of a sentence; 0: they stay 1"}
    )
    sentence_duration: int = field(metadata={"help": "steps of a sentence, ms", "minimum": 1})
    max_num_sentences: int = field(
        metadata={"help": "questions with longer stories are left out", "minimum": 1}
    )
    padding: str = field(metadata={"help": "where short stories are padded", "choices": PADDINGS})
    dataset_seed: int = field(
        metadata={"help": "of the split into training and validation", "minimum": 0}
    )


@dataclass(frozen=True)
class QuestionAnsweringSettings:
    """Everything about one network for one task."""

    relu: bool = field(metadata={"help": "the twin without spikes"})
    dataset: QuestionAnsweringData
    network: NetworkSettings
    training: TrainingSettings


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
    """See :class:`hebbian_snn.tasks.SupervisedTask`."""

    name = "question_answering"
    settings_type = QuestionAnsweringSettings
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
        )

    def _questions(self, split: str) -> Questions:
        return getattr(self.stories, split)

    def sizes(self) -> dict[str, int]:
        return {
            split: len(self._questions(split).answers) for split in ("train", "validation", "test")
        }

    def batch(self, split: str, epoch: int, samples: range, part: slice) -> Batch:
        """Inputs are (B, S, W) words of sentences, how many of these are real (B,), and (B, W)
        words of questions; targets are (B,) words.

        S is that of the longest story here: padding in front is cut off, which changes nothing.
        """
        questions = self._questions(split)
        if split == "train":
            chosen = shuffled(len(questions.answers), self.seed, epoch, samples)[part]
        else:
            chosen = torch.arange(samples.start, samples.stop)[part]
        questions = questions.take(chosen)
        stories = questions.stories
        if self.settings.dataset.padding == "pre" and len(chosen):
            stories = stories[:, -int(questions.lengths.max()) :]
        return Batch((stories, questions.lengths, questions.questions), questions.answers)

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
