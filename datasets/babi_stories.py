"""Stories of the twenty bAbI tasks, generated: ``python -m datasets.babi_stories 7 --questions 5``.

A small world tells them in the sentences, with the words, questions, answers and supporting facts
of the official files, and as often as these do (see :mod:`datasets.babi_people` and
:mod:`datasets.babi_things`). The text has the official format: numbered lines, and after a question
its answer and its supporting lines, separated by tabs. The same numbers come out on every machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

from common.errors import UserError, command_line
from datasets import babi_people, babi_things
from datasets.babi_draws import Story
from datasets.choices import check_choice

STORIES: dict[int, Story] = dict(sorted((babi_people.STORIES | babi_things.STORIES).items()))
"""Every task's teller of one story."""


def babi_text(task: int, questions: int, seed: int | str) -> str:
    """Stories of a task with so many questions in all, as the text of an official file.

    The same arguments give the same text, and fewer questions give its beginning. Raises
    :class:`UserError` for an unknown task.
    """
    check_choice("bAbI task", task, STORIES)
    draw, tell = Random(f"bAbI {task} {seed}").random, STORIES[task]
    lines: list[str] = []
    asked = 0
    while asked < questions:
        for number, (text, answer, support) in enumerate(tell(draw), start=1):
            if not answer:
                lines.append(f"{number} {text}\n")
                continue
            lines.append(f"{number} {text}\t{answer}\t{' '.join(map(str, support))}\n")
            asked += 1
            if asked == questions:
                break
    return "".join(lines)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line: fresh stories as a file, or on the screen."""
    parser = argparse.ArgumentParser(
        prog="python -m datasets.babi_stories",
        description="Stories of a bAbI task in the official format, any number of them.",
    )
    parser.add_argument("task", type=int, help="1 to 20")
    parser.add_argument("--questions", type=int, default=1000, help="in all (default: 1000)")
    parser.add_argument("--seed", default="fresh", help="another word, other stories")
    parser.add_argument("--out", type=Path, help="file (default: the screen)")
    args = parser.parse_args(argv)
    if args.questions < 1:
        raise UserError(f"--questions is {args.questions}; give 1 or more")
    text = babi_text(args.task, args.questions, args.seed)
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
