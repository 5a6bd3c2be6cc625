"""Train networks for many bAbI tasks, several at once, each by a command of its own.

What is trained already is left alone, and an interrupted training goes on where it was, so the same
sweep may be started again at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.jobs import Training, run_here
from common.paths import CHECKPOINTS
from common.runs import network_file
from common.settings import overrides_from_args
from datasets.babi import EMBEDDED_STORIES, load_babi
from datasets.choices import Data
from hebbian_snn.config import task_settings
from hebbian_snn.tasks.question_answering import (
    QuestionAnsweringSettings,
    QuestionAnsweringTask,
    network_name,
)
from hebbian_snn.training.command import task_parser
from hebbian_snn.training.trained import MODEL

MODULE = "hebbian_snn.question_answering_task"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        task: of bAbI. delay: of the readout. name: of the checkpoint.
        flags: of its command.
        folder: where checkpoints lie (None: shipped, or else in runs/).
    """

    task: int
    delay: int
    name: str
    flags: tuple[str, ...]
    folder: Path | None

    @property
    def checkpoint(self) -> Path:
        """What it makes."""
        if self.folder is None:
            return network_file(MODEL, self.name, CHECKPOINTS, or_own=True)
        return self.folder / f"{self.name}.safetensors"

    @property
    def words(self) -> list[str]:
        """Flags of its command, with where it writes."""
        place = ["--out", str(self.checkpoint)] if self.folder else ["--name", self.name]
        return [*self.flags, *place]


def available_data(data: Data) -> Data:
    """``embedded`` in place of ``auto`` where the official files cannot be had."""
    if data == "auto" and load_babi(1).source == EMBEDDED_STORIES:
        return "embedded"
    return data


def sweep_jobs(
    tasks: Sequence[int],
    delays: Sequence[int],
    data: Data,
    flags: Sequence[str] = (),
    folder: Path | None = None,
) -> list[Job]:
    """The trainings of every task with every readout delay, delay by delay.

    Args:
        data: ``auto`` and ``real`` mean the official files.
        flags: further ones of ``question_answering_task.py``, for all.
        folder: of the checkpoints (None: shipped ones and runs/).

    The twin has no delay: with ``--relu`` among the flags there is one training for each task.
    """
    jobs = []
    for delay in delays:
        for task in tasks:
            words = (*flags, "--task", str(task), "--readout_delay", str(delay))
            # The default is not told: what is trained by hand is the same training.
            words += ("--data", data) if data != "auto" else ()
            args = task_parser(QuestionAnsweringTask, None).parse_args(list(words))
            settings = task_settings(
                QuestionAnsweringSettings,
                QuestionAnsweringTask.name,
                bool(getattr(args, "relu", False)),
                overrides_from_args(QuestionAnsweringSettings, args),
            )
            source = EMBEDDED_STORIES if data == "embedded" else ""
            job = Job(task, delay, network_name(settings, source), words, folder)
            if job.name not in {other.name for other in jobs}:
                jobs.append(job)
    return jobs


def run_sweep(
    jobs: Sequence[Job], at_once: int = 1, launch: str = ""
) -> Iterator[tuple[Job, float, int, Path]]:
    """Train what is not there yet; yields each training as it ends, its seconds, exit status and
    the file of what it said (:func:`common.jobs.run_here`)."""
    threads = max(1, (os.cpu_count() or 1) // max(1, at_once))
    missing = {job.name: job for job in jobs if not job.checkpoint.exists()}
    trainings = [
        Training(name, ("-m", MODULE, *job.words), launch, threads=threads)
        for name, job in missing.items()
    ]
    for training, *ended in run_here(trainings, at_once):
        yield missing[training.name], *ended
