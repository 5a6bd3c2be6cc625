"""bAbI question answering (Weston et al. 2015), v1.2: stories as arrays of word numbers.

Text is in lower case, without full stops and question marks, and is split at blanks; an answer of
several parts ("milk,apple") is one word. A question's story is what was told before it in its
story, other questions left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.training import generator
from datasets.babi_files import TASKS, file_name, read_files
from datasets.babi_stories import babi_text
from datasets.choices import DATA_CHOICES, Data, check_choice
from datasets.real import SPLITS, unless_embedded

EMBEDDED_STORIES = "embedded stories"
PADDINGS = ("pre", "post")
NIL = "NIL"
"""The word that is none, number 0."""

WORDS = Path(__file__).with_name("babi_words.json")

_TEST_QUESTIONS = 1000


class Text(NamedTuple):
    """A file, read.

    Attributes:
        sentences: words of each sentence of all stories, one after the other.
        spans: (Q, 2), the first sentence of each question's story and the one after its last.
        questions: words of each. answers: one word each.
    """

    sentences: list[list[str]]
    spans: np.ndarray
    questions: list[list[str]]
    answers: list[str]


class Questions(NamedTuple):
    """Questions about stories, as numbers of words.

    Attributes:
        stories: (Q, S, W) int64, S sentences of W words. questions: (Q, W). answers: (Q,).
        lengths: (Q,), sentences that are real; the others, all 0, are padding.
        story: (Q,), a number for each story: of two questions with the same number one's sentences
            are the beginning of the other's (time words aside).
    """

    stories: Tensor
    questions: Tensor
    answers: Tensor
    lengths: Tensor
    story: Tensor

    def take(self, rows: Tensor) -> Questions:
        """Some questions, by place (n,)."""
        return Questions(*(part[rows] for part in self))


class OfficialWords(NamedTuple):
    """What the official files of a task hold.

    Attributes:
        words: of sentences, questions and answers, in order. places: words of the longest sentence.
        sentences: of the longest story.
    """

    words: tuple[str, ...]
    places: int
    sentences: int


class BabiTask(NamedTuple):
    """One of the twenty tasks.

    Attributes:
        train, validation, test: the first two are 90 % and 10 % of the training file.
        vocabulary: every word by number; the first is NIL.
        n_time_words: how many of them, at the end, are TIME1, TIME2, ...
        dropped: questions left out of the training and of the test file for their long stories.
        source: what the stories really are.
    """

    train: Questions
    validation: Questions
    test: Questions
    vocabulary: tuple[str, ...]
    n_time_words: int
    dropped: tuple[int, int]
    source: str

    @property
    def n_words(self) -> int:
        """W, places of a sentence."""
        return self.test.questions.shape[1]


def load_babi(
    task: int,
    ten_k: bool = True,
    data: Data = "auto",
    *,
    max_num_sentences: int = 50,
    padding: str = "pre",
    add_time_words: bool = False,
    dataset_seed: int = 42,
    questions: int = 0,
) -> BabiTask:
    """Task 1 to 20: 10 000 (``ten_k``) or 1 000 questions for training, 1 000 for testing.

    ``data="embedded"``: stories of :mod:`datasets.babi_stories`, with the numbers that the words
    have in the official files, so that a network trained on these understands them; ``"auto"``: the
    official files where they can be had, else those, with a warning in the log.

    Args:
        max_num_sentences: a question with a longer story is left out, in training and test.
        padding: ``pre`` pads stories in front to the longest of their file, ``post`` at their end.
        add_time_words: the last place of a sentence, one more than before, says how many sentences
            ago it was told: TIME1 for the last one.
        dataset_seed: of the split into training and validation; the same split on every machine.
        questions: for training, of generated stories; 0: as many as in the official files.

    Raises :class:`UserError` for unknown tasks and files that are damaged or cannot be had, also
    under ``auto`` when they are damaged, or the official data are there and just a file is missing.
    """
    check_choice("padding", padding, PADDINGS)
    if max_num_sentences < 1:
        raise UserError(f"--max_num_sentences is {max_num_sentences}; give 1 or more")
    texts, source = _load_texts(task, ten_k, data, questions)
    official = official_words(task) if source == EMBEDDED_STORIES else None
    if official:
        max_num_sentences = min(max_num_sentences, official.sentences)
    read = {split: parse(text, f"{source}, {split}") for split, text in texts.items()}
    kept = {split: _without_long_stories(text, max_num_sentences) for split, text in read.items()}
    for split, text in kept.items():
        if len(text.answers) < 10:
            raise UserError(
                f"bAbI task {task} has {len(text.answers)} {split} questions with stories of up to "
                f"{max_num_sentences} sentences; give a larger --max_num_sentences"
            )
    dropped = {split: len(read[split].answers) - len(kept[split].answers) for split in SPLITS}
    longest = max_num_sentences if official else max(map(_longest_story, kept.values()))
    n_time_words = longest if add_time_words else 0
    words = official.words if official else _words(read.values())
    vocabulary = (NIL, *words, *(f"TIME{ago + 1}" for ago in range(n_time_words)))
    width = official.places if official else max(map(_longest_sentence, read.values()))
    width += add_time_words
    train, test = (
        encode(kept[split], vocabulary, width, n_time_words, padding) for split in SPLITS
    )
    order = torch.randperm(len(train.answers), generator=generator(dataset_seed, "bAbI", task))
    n_validation = len(order) // 10
    return BabiTask(
        train.take(order[n_validation:].sort().values),
        train.take(order[:n_validation].sort().values),
        test,
        vocabulary,
        n_time_words,
        (dropped["train"], dropped["test"]),
        source,
    )


def _load_texts(task: int, ten_k: bool, data: Data, questions: int) -> tuple[dict[str, str], str]:
    """The texts of training and test, and what they are."""
    check_choice("data", data, DATA_CHOICES)
    if questions and data != "embedded":
        raise UserError(f"--questions {questions} is for generated stories: give --data embedded")
    names = {split: file_name(task, split, ten_k) for split in SPLITS}
    texts = unless_embedded(
        lambda: read_files(list(names.values())),
        data,
        "using generated stories instead of the official bAbI files",
    )
    if texts is not None:
        source = f"bAbI v1.2 {'en-10k' if ten_k else 'en'}"
        return {split: texts[name] for split, name in names.items()}, source
    counts = {"train": questions or (10_000 if ten_k else 1000), "test": _TEST_QUESTIONS}
    texts = {split: babi_text(task, count, split) for split, count in counts.items()}
    return texts, EMBEDDED_STORIES


@cache
def official_words(task: int) -> OfficialWords:
    """The words of a task's official files (10 000 questions), known without them.

    Raises :class:`UserError` for an unknown task.
    """
    check_choice("bAbI task", task, TASKS)
    known = json.loads(WORDS.read_text(encoding="utf-8"))[str(task)]
    return OfficialWords(tuple(known["words"].split()), known["places"], known["sentences"])


# ---- text to words --------------------------------------------------------------------------


def tokens(text: str) -> list[str]:
    """The words of a sentence or question."""
    return text.lower().replace(".", " ").replace("?", " ").split()


def parse(text: str, where: str) -> Text:
    """Read the text of an official file.

    ``where`` names it in errors: :class:`UserError` for a line that does not fit the format, and
    for a file without questions.
    """
    sentences, spans, questions, answers = [], [], [], []
    begin = expected = 0
    for place, line in enumerate(text.splitlines(), start=1):
        number, _, rest = line.partition(" ")
        fields = rest.split("\t")
        expected = 1 if number == "1" else expected + 1
        asked = len(fields) > 1
        told = expected > 1 and begin < len(sentences)
        if (
            number != str(expected)
            or len(fields) not in (1, 3)
            or not tokens(fields[0])
            or (asked and not told)
        ):
            raise UserError(
                f"{where}: line {place} is not the numbered sentence or question that should be "
                f"there: {line[:60]!r}; put the official file in its place"
            )
        if expected == 1:
            begin = len(sentences)
        if not asked:
            sentences.append(tokens(rest))
            continue
        questions.append(tokens(fields[0]))
        answers.append(fields[1].strip().lower())
        spans.append((begin, len(sentences)))
    if not answers:
        raise UserError(f"{where} holds no questions; put the official file in its place")
    return Text(sentences, np.array(spans), questions, answers)


def _without_long_stories(text: Text, max_num_sentences: int) -> Text:
    kept = np.flatnonzero(np.diff(text.spans)[:, 0] <= max_num_sentences)
    return text._replace(
        spans=text.spans[kept],
        questions=[text.questions[row] for row in kept],
        answers=[text.answers[row] for row in kept],
    )


def _longest_story(text: Text) -> int:
    return int(np.diff(text.spans).max())


def _longest_sentence(text: Text) -> int:
    return max(map(len, (*text.sentences, *text.questions)))


def _words(texts: Iterable[Text]) -> tuple[str, ...]:
    words: set[str] = set()
    for text in texts:
        words.update(*text.sentences, *text.questions, text.answers)
    return tuple(sorted(words))


# ---- words to arrays ------------------------------------------------------------------------


def encode(
    text: Text, vocabulary: tuple[str, ...], n_words: int, n_time_words: int, padding: str
) -> Questions:
    """The questions of a text as arrays, stories padded to the longest one.

    ``vocabulary``: its last ``n_time_words`` are TIME1, ...; if there are any, they take the last
    of the ``n_words`` places of every sentence.
    """
    number = {word: place for place, word in enumerate(vocabulary)}
    # Row 0 is the sentence without words that pads stories.
    table = _rows([[], *text.sentences], number, n_words)
    first, end = text.spans.T[:, :, None]
    longest = _longest_story(text)
    places = np.arange(longest) + (end - longest if padding == "pre" else first)
    real = (places >= first) & (places < end)
    stories = table[np.where(real, places + 1, 0)]
    if n_time_words:
        stories[..., -1] = np.where(real, len(vocabulary) - n_time_words + end - places - 1, 0)
    return Questions(
        torch.from_numpy(stories),
        torch.from_numpy(_rows(text.questions, number, n_words)),
        torch.tensor([number[answer] for answer in text.answers]),
        torch.from_numpy((end - first)[:, 0]),
        torch.from_numpy(first[:, 0].copy()),
    )


def _rows(sentences: list[list[str]], number: dict[str, int], n_words: int) -> np.ndarray:
    """Sentences as rows (n, n_words) int64 of word numbers, 0 behind the last word."""
    lengths = np.array([len(sentence) for sentence in sentences])
    rows = np.zeros((len(sentences), n_words), np.int64)
    flat = [number[word] for sentence in sentences for word in sentence]
    rows[np.arange(n_words) < lengths[:, None]] = flat
    return rows
