"""Hebbian memory: questions of a story that is written once, against questions one by one (bAbI).

python -m benchmarks.hebbian_stories [--tasks 1 2] [--questions 64] [--repeats 3] [--threads 1]
    [--json FILE]

Both sides take the same questions of whole generated stories (at least --questions of them) through
the network at its start: forward, cross-entropy with the term of the rates, backward; the published
sizes. One by one, each question writes all that was told before it, as in training without
--share_stories.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from benchmarks.timing import time_pair
from common.errors import command_line
from common.training import generator
from hebbian_snn.config import task_settings
from hebbian_snn.rates import rate_penalty
from hebbian_snn.tasks.question_answering import (
    QuestionAnsweringSettings,
    QuestionAnsweringTask,
    last_questions,
)

SEED = 0


def compare(number: int, questions: int, repeats: int) -> Comparison:
    """Time and memory of both sides for one task of bAbI, and how far their gradients agree."""
    overrides = {
        "dataset": {"task": number, "data": "embedded"},
        "training": {"batch_size": questions},
    }
    settings = task_settings(
        QuestionAnsweringSettings, QuestionAnsweringTask.name, False, overrides
    )
    task = QuestionAnsweringTask(settings, SEED)
    network = task.build(generator(SEED, "start"))
    every = task.stories.train
    kept = every.story.unique()[: len(every.story.unique()) * questions // len(every.story) + 1]
    asked = every.take(torch.isin(every.story, kept).nonzero()[:, 0])
    story_of, last = last_questions(asked.story, asked.lengths)

    def step(stories: Tensor, of: Tensor | None) -> list[Tensor]:
        outputs, rates = network(stories, asked.lengths, asked.questions, of)
        penalty = settings.training.l2 * rate_penalty(list(rates.values()))
        network.zero_grad()
        (functional.cross_entropy(outputs, asked.answers) + penalty).backward()
        return [p.grad for p in network.parameters()]

    def shared() -> list[Tensor]:
        return step(asked.stories[last], story_of)

    def one_by_one() -> list[Tensor]:
        return step(asked.stories, None)

    found, expected = shared(), one_by_one()
    error = max(float((x - y).norm() / y.norm()) for x, y in zip(found, expected, strict=True))
    fast, direct, ratio = time_pair(shared, one_by_one, repeats)
    text = (
        f"bAbI task {number}, {len(story_of)} questions of {len(last)} stories, a step: "
        f"{fast:.3f} s, one by one {direct:.3f} s, {ratio:.1f} times faster; "
        f"gradients differ by {error:.1e} at most (relative)"
    )
    what = (
        f"Hebbian memory, a training step of bAbI task {number}: {len(story_of)} questions of "
        f"{len(last)} stories, each written once, against questions one by one"
    )
    return Comparison(what, text, fast, direct, repeats)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 2], help="of bAbI")
    parser.add_argument("--questions", type=int, default=64, help="at least (default 64)")
    options = read_options(parser, argv)
    report((compare(n, options.questions, options.repeats) for n in options.tasks), options)


if __name__ == "__main__":
    raise SystemExit(main())
