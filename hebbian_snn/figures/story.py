"""What a network for question answering does with one story: sentences, spikes, memory, outputs."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.drawing import CYCLE
from common.records import Record
from hebbian_snn.figures.panels import draw_memory
from hebbian_snn.figures.trials import TrialFigure, compute_trial, draw_trial
from hebbian_snn.tasks.question_answering import QuestionAnsweringTask
from hebbian_snn.training.trained import TrainedNetwork

NAME = "bAbI: network activity"
WRITTEN = tuple((name, name.replace("_", " ")) for name in ("story", "write_keys", "write_values"))
READ = tuple((name, name.replace("_", " ")) for name in ("question", "read_keys", "read_values"))
SHOWN = 8
"""Words with the highest outputs, and sentences at the end of the story, that are drawn."""


def sentence(task: QuestionAnsweringTask, words: np.ndarray) -> str:
    """The numbers of a sentence (W,) as text."""
    return " ".join(task.stories.vocabulary[word] for word in words if word)


def compute(
    trained: TrainedNetwork, number: int, profile: str = "full"
) -> tuple[Record, dict[str, np.ndarray]]:
    """One test question through the network.

    Returns:
        record and arrays of :func:`hebbian_snn.figures.trials.compute_trial`, and as text the
        ``sentences`` (S,), the ``question``, the ``answer`` and the ``words`` (vocabulary,) that
        the outputs stand for.
    """
    record, arrays = compute_trial(trained, number, NAME, profile)
    task: QuestionAnsweringTask = trained.task
    inputs, targets = task.batch("test", 0, range(number, number + 1), slice(None))
    stories, _, questions, _ = inputs
    record.data = task.stories.source
    vocabulary = np.array(task.stories.vocabulary)
    arrays |= {
        "sentences": np.array([sentence(task, words) for words in stories[0].numpy()]),
        "question": np.array(sentence(task, questions[0].numpy()) + "?"),
        "answer": vocabulary[int(targets[0])],
        "words": vocabulary,
    }
    return record, arrays


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """The story (a) above the spikes that it causes, the question (e) above those it causes; the
    memory after the story, and the highest outputs."""
    told = [f"{k + 1}. {text}" for k, text in enumerate(arrays["sentences"])]
    question = [str(arrays["question"]), f"answer: {arrays['answer']}"]
    return draw_trial(
        arrays,
        TrialFigure(
            len(told),
            WRITTEN,
            READ,
            partial(_draw_text, lines=told[-SHOWN:], title="end of the story"),
            partial(_draw_text, lines=question, title="question"),
            (
                partial(draw_memory, mem=arrays["mem"], title="memory after the story"),
                partial(_draw_outputs, arrays=arrays),
            ),
        ),
    )


def _draw_text(ax: Axes, lines: list[str], title: str) -> None:
    """Lines of text, the longer lists in two columns."""
    half = len(lines) if len(lines) < 5 else -(-len(lines) // 2)
    for column, part in enumerate((lines[:half], lines[half:])):
        place = (0.5 * column, 0.95)
        ax.text(*place, "\n".join(part), va="top", fontsize=5.5, transform=ax.transAxes)
    ax.set_title(title)
    ax.axis("off")


def _draw_outputs(ax: Axes, arrays: dict[str, np.ndarray]) -> None:
    """The words with the highest outputs, the right answer in another colour."""
    best = np.argsort(-arrays["outputs"], kind="stable")[:SHOWN]
    right = arrays["words"][best] == arrays["answer"]
    colors = np.where(right, CYCLE[1], "0.7").tolist()
    ax.barh(np.arange(len(best)), arrays["outputs"][best], color=colors)
    ax.set_yticks(np.arange(len(best)), arrays["words"][best])
    ax.invert_yaxis()
    ax.axvline(0, color="0.2", lw=0.6)
    ax.set(title=f"highest outputs (answer: {arrays['answer']})", xlabel="output")
