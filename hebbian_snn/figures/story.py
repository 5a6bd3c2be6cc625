"""What a network for question answering does with one story: sentences, spikes, memory, outputs."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.drawing import CYCLE, DOUBLE_COLUMN, panel_label, use_style
from common.errors import UserError
from common.records import Measurement, Record, new_record
from common.settings import to_dict
from hebbian_snn.figures.panels import draw_memory, draw_train
from hebbian_snn.question_answering import QuestionAnsweringTask
from hebbian_snn.trained import TrainedNetwork

NAME = "bAbI: network activity"
WRITTEN = ("story", "write_keys", "write_values")
READ = ("question", "read_keys", "read_values")
SHOWN = 8
"""Words with the highest outputs are drawn, so many."""


def sentence(task: QuestionAnsweringTask, words: np.ndarray) -> str:
    """The numbers of a sentence (W,) as text."""
    return " ".join(task.stories.vocabulary[word] for word in words if word)


@torch.no_grad()
def compute(
    trained: TrainedNetwork, number: int, profile: str = "full"
) -> tuple[Record, dict[str, np.ndarray]]:
    """One test question through the network.

    Returns:
        the record; ``sentences`` (S,), ``question``, ``answer`` and ``words`` (vocabulary,) as
        text, ``outputs`` (vocabulary,), ``mem`` (M, M), and the spikes (T, N) of the layers as
        ``"spikes-NAME"``, uint8.

    Raises :class:`UserError` for the twin, which has no spikes, and for a number that there is not.
    """
    task: QuestionAnsweringTask = trained.task
    if task.settings.relu:
        raise UserError(f"{trained.checkpoint.path} has no spikes; choose a spiking network")
    size = task.sizes()["test"]
    if not 0 <= number < size:
        raise UserError(f"there is no test question {number}; there are 0 to {size - 1}")
    inputs, targets = task.batch("test", 0, range(number, number + 1), slice(None))
    stories, _, questions = inputs
    spikes, recalled = trained.network.activity(stories, questions)
    layers = {
        **spikes,
        **{f"write_{name}": x for name, x in recalled.written.items()},
        **{f"read_{name}": x for name, x in recalled.read.items()},
    }
    vocabulary = np.array(task.stories.vocabulary)
    arrays = {f"spikes-{name}": x[0].byte().numpy() for name, x in layers.items()}
    arrays |= {
        "sentences": np.array([sentence(task, words) for words in stories[0].numpy()]),
        "question": np.array(sentence(task, questions[0].numpy()) + "?"),
        "answer": vocabulary[int(targets[0])],
        "words": vocabulary,
        "outputs": trained.network(*inputs).outputs[0].numpy(),
        "mem": recalled.mem[0].numpy(),
    }
    record = new_record(
        NAME,
        "Hebbian memory",
        profile,
        settings={"network": to_dict(task.settings), "sample": number},
        seeds=[trained.task.seed],
        data=task.stories.source,
        checkpoints={trained.checkpoint.path.stem: trained.checkpoint.sha256},
    )
    record.measurements = [
        Measurement(
            f"mean rate of {name.replace('_', ' ')}",
            float(arrays[f"spikes-{name}"].mean() * 1e3),
            "Hz",
            note=f"test question {number}",
        )
        for name in layers
    ]
    return record, arrays


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """The story above the spikes that it causes (a to c), the question above those it causes (d to
    f), memory (g) and the highest outputs (h); bars are the firing rates of the neurons."""
    items = len(arrays["sentences"])
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 6.6), layout="constrained")
        parts = figure.subfigures(2, 1, height_ratios=(4.6, 2))
        sides = parts[0].subfigures(1, 2, width_ratios=(2.2, 1))
        for side, layers, count, letters in (
            (sides[0], WRITTEN, items, "abc"),
            (sides[1], READ, 1, "def"),
        ):
            axes = side.subplots(3, 2, width_ratios=(5, 1), squeeze=False)
            for row, layer, letter in zip(axes, layers, letters, strict=True):
                draw_train(*row, arrays[f"spikes-{layer}"], layer.replace("_", " "), count)
                row[1].set_xlim(0, max(1.0, 1.05e3 * arrays[f"spikes-{layer}"].mean(0).max()))
                panel_label(row[0], letter)
            axes[-1, 0].set_xlabel("time (ms)")
            axes[-1, 1].set_xlabel("rate (Hz)")
        sides[1].suptitle(str(arrays["question"]), fontsize=6.5)
        sides[0].suptitle(_numbered(arrays["sentences"]), fontsize=5.5)
        axes = parts[1].subplots(1, 2, width_ratios=(1, 1.2))
        draw_memory(axes[0], arrays["mem"], "memory after the story")
        _draw_outputs(axes[1], arrays)
        for ax, letter in zip(axes, "gh", strict=True):
            panel_label(ax, letter)
    return figure


def _numbered(sentences: np.ndarray, last: int = 10) -> str:
    """The last sentences with their numbers, two a line."""
    shown = [f"{k + 1}. {text}" for k, text in enumerate(sentences)][-last:]
    return "\n".join("   ".join(shown[k : k + 2]) for k in range(0, len(shown), 2))


def _draw_outputs(ax: Axes, arrays: dict[str, np.ndarray]) -> None:
    """The words with the highest outputs, the right answer in another colour."""
    best = np.argsort(-arrays["outputs"], kind="stable")[:SHOWN]
    right = arrays["words"][best] == arrays["answer"]
    ax.barh(
        np.arange(len(best)),
        arrays["outputs"][best],
        color=np.where(right, CYCLE[1], "0.7").tolist(),
    )
    ax.set_yticks(np.arange(len(best)), arrays["words"][best])
    ax.invert_yaxis()
    ax.axvline(0, color="0.2", lw=0.6)
    ax.set(title=f"outputs (answer: {arrays['answer']})", xlabel="output")
