"""bAbI: the error on each of the twenty tasks, with a readout delay of 30 steps and of 1.

    scripts/hebbian_snn/table_babi.sh --train --tasks 1 4 --delays 30 --jobs 2

``--train`` first trains what is missing, several networks at once, and may be interrupted and
repeated at will; ``--launch "torchrun --nproc_per_node 2"`` trains each with several processes, on
several nodes with torchrun's own flags. Without ``--train`` the table is made of what is there.
A task counts as failed when its error is above 5 %. The quick profile takes the test results that
were stored at the end of the trainings, without looking at the data; the full one tests every
network again.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.checkpoints import Checkpoint, check_metadata, check_tensors, load_checkpoint
from common.distributed import Distributed
from common.drawing import CYCLE, DOUBLE_COLUMN, use_style
from common.errors import NotThereError, UserError, command_line
from common.paper_values import result_of
from common.records import Measurement, Record, mean_measurement, new_record
from common.results import report_results, result_parser
from common.settings import from_dict, load_settings, to_dict
from common.training import choose_device, progress
from datasets.babi_files import TASKS
from datasets.choices import Data
from hebbian_snn.config import FOLDER
from hebbian_snn.figures.comparison import over_seeds
from hebbian_snn.memory import memory_of
from hebbian_snn.tasks.babi_sweep import MODULE, Job, available_data, run_sweep, sweep_jobs
from hebbian_snn.tasks.question_answering import (
    QuestionAnsweringNetwork,
    QuestionAnsweringSettings,
    QuestionAnsweringTask,
)
from hebbian_snn.training.loop import Trainer
from hebbian_snn.training.trained import MODEL, build_from, check_sources, read_weights

NAME = "bAbI"
RESULT = "hebbian_babi"
ABSENT = {3: "the official 10k training file of task 3 is missing in some copies"}


@dataclass(frozen=True)
class BabiFigureSettings:
    """What stands in ``hebbian_snn/settings/figure_babi.yaml``.

    Attributes:
        tasks: in the order in which they are trained. delays: of the readout, steps.
        failed_above: error from which on a task counts as failed, %.
    """

    tasks: tuple[int, ...]
    delays: tuple[int, ...]
    failed_above: float


@dataclass(frozen=True)
class Plan:
    """One run: all networks that are meant, those that are there, by name, device and folder;
    ``generated``: they are tested on generated stories, whatever they were trained on."""

    profile: str
    data: str
    jobs: tuple[Job, ...]
    networks: dict[str, Checkpoint]
    device: torch.device
    out: Path
    generated: bool = False


METADATA = {
    "epoch": int,
    "data": {"source": str, "words": int, "test_questions": int, "left_out": [int]},
    "test?": {"accuracy": float},
}
"""What the table reads of a network, besides what every one has."""


# ---- networks -------------------------------------------------------------------------------


def read_network(path: Path) -> Checkpoint:
    """A network of the table; raises :class:`UserError` for a file that is not one."""
    network = load_checkpoint(path, model=MODEL)
    check_metadata(network, METADATA)
    settings = from_dict(QuestionAnsweringSettings, network.metadata["settings"], str(path))
    encoding = network.tensors.get("sentences.encoding", torch.zeros(1, 1))
    start = torch.Generator().manual_seed(0)
    sizes = network.metadata["data"]["words"], max(1, len(encoding))
    memory = memory_of(settings.relu, 1, settings.network, start)
    fresh = QuestionAnsweringNetwork(*sizes, settings.network.embedding_size, memory, start)
    check_tensors(network, fresh.state_dict(), type(fresh).__name__)
    return network


# ---- measuring ------------------------------------------------------------------------------


def test_errors(network: Checkpoint, plan: Plan) -> tuple[np.ndarray, str]:
    """100 for every test question (n,) that is answered wrongly, else 0, and what the questions
    are. Where the official files are absent, a network that was trained on them is tested on
    generated stories: their words have the same numbers."""
    tested, source = network.metadata.get("test"), network.metadata["data"]["source"]
    count = network.metadata["data"]["test_questions"]
    if plan.profile == "full" or plan.generated or tested is None:  # a snapshot is not tested yet
        weights = read_weights(QuestionAnsweringTask, network.path)
        task, source = _task_to_test(weights, plan)
        group, count = Distributed(0, 1, plan.device), task.sizes()["test"]
        tested = Trainer(task, build_from(task, weights, plan.device), group).evaluate("test")
    return 100.0 * (np.arange(count) >= round(tested["accuracy"] * count)), source


def _task_to_test(weights: Checkpoint, plan: Plan) -> tuple[QuestionAnsweringTask, str]:
    """With its own stories or, if need be, with generated ones, and what these are."""
    settings = from_dict(QuestionAnsweringSettings, weights.metadata["settings"], NAME)
    data, told = settings.dataset, weights.metadata["data"]
    if plan.generated or (data.data != "embedded" and available_data("auto") == "embedded"):
        data = dataclasses.replace(data, data="embedded")
    task = QuestionAnsweringTask(
        dataclasses.replace(settings, dataset=data), weights.metadata["seed"]
    )
    check_sources(task, weights)
    source, trained = task.stories.source, told["source"]
    return task, source if source == trained else f"generated stories, trained on {trained}"


def compute(plan: Plan, settings: BabiFigureSettings) -> tuple[Record, dict[str, np.ndarray]]:
    """The errors of the plan's networks.

    Returns:
        the record, and for every delay D that has a network ``"D-tasks"`` and ``"D-error"``, in %,
        with the half width of its 95 % interval in ``"D-interval"``.
    """
    record = new_record(
        NAME,
        "Hebbian memory",
        plan.profile,
        device=plan.device,
        settings={"figure": to_dict(settings)},
        seeds=sorted({network.metadata["seed"] for network in plan.networks.values()}),
        checkpoints={name: network.sha256 for name, network in plan.networks.items()},
    )
    found: dict[str, Measurement] = {}
    for name, network in progress(plan.networks.items(), unit="network"):
        found[name] = _measurement(network, *test_errors(network, plan))
    record.data = ", ".join(sorted({m.data for m in found.values()}))
    arrays = {}
    for delay in dict.fromkeys(job.delay for job in plan.jobs):
        jobs = sorted((j for j in plan.jobs if j.delay == delay), key=lambda job: job.task)
        record.measurements += [found.get(job.name) or _missing(job, plan.data) for job in jobs]
        done = [job for job in jobs if job.name in found]
        if done:
            errors = [found[job.name] for job in done]
            record.measurements += _summary(jobs, errors, settings.failed_above)
            arrays[f"{delay}-tasks"] = np.array([job.task for job in done])
            arrays[f"{delay}-error"] = np.array([m.value for m in errors])
            arrays[f"{delay}-interval"] = np.array([m.interval95 for m in errors])
    return record, arrays


def _title(task: int, delay: int, relu: bool) -> str:
    kind = "ReLU twin" if relu else f"delay {delay}"
    return f"task {task} ({TASKS[task].replace('-', ' ')}), {kind}"


def _measurement(network: Checkpoint, errors: np.ndarray, source: str) -> Measurement:
    metadata = network.metadata
    settings, data = metadata["settings"], metadata["data"]
    title = _title(
        settings["dataset"]["task"], settings["network"]["readout_delay"], settings["relu"]
    )
    left_out = f" ({data['left_out'][1]} with too long stories left out)"
    note = (
        f"{len(errors)} test questions{left_out if source == data['source'] else ''}; "
        f"epoch {metadata['epoch']} of {metadata['epochs']}; the time is that of the training"
    )
    return mean_measurement(
        f"{title}: error",
        errors,
        unit="%",
        data=source,
        seeds=[metadata["seed"]],
        seconds=metadata["seconds"],
        command=metadata["command"],
        checkpoint=network.sha256[:12],
        note=note,
    )


def _missing(job: Job, data: str) -> Measurement:
    title = _title(job.task, job.delay, "--relu" in job.flags)
    note = f"not trained yet: python -m {MODULE} {shlex.join(job.flags)}"
    reason = ABSENT.get(job.task) if data != "embedded" else None
    return Measurement(f"{title}: error", None, n=0, note=f"{reason}; {note}" if reason else note)


def _summary(
    jobs: Sequence[Job], errors: Sequence[Measurement], failed_above: float
) -> list[Measurement]:
    """Mean accuracy, mean error and number of failed tasks of one delay.

    Beside the published mean stands only one over all tasks; others say over how many they are.
    """
    relu, delay = "--relu" in jobs[0].flags, jobs[0].delay
    values = np.array([error.value for error in errors])
    missing = sorted(set(TASKS) - {job.task for job in jobs}) if len(jobs) < len(TASKS) else []
    kind = "ReLU twin" if relu else f"delay {delay}"
    note = f"over {len(values)} of {len(TASKS)} tasks; the spread is over tasks"
    if missing:
        note += f"; not asked for: {', '.join(map(str, missing))}"
    official = all(error.data.endswith("en-10k") for error in errors)
    fields: dict[str, Any] = {"unit": "%", "data": errors[0].data, "note": note}
    paper: dict[str, Any] = {}
    of_tasks = f" of {len(values)} tasks"
    if len(values) >= len(TASKS) - 1:  # the training file of task 3 may be missing
        of_tasks = ""
        if official:
            published = result_of(RESULT).row(f"mean accuracy, {kind}")
            paper = {"paper": published.value, "paper_source": published.source}
    return [
        mean_measurement(f"mean accuracy{of_tasks}, {kind}", 100 - values, **fields, **paper),
        mean_measurement(f"mean error{of_tasks}, {kind}", values, **fields),
        Measurement(
            f"failed{of_tasks or ' tasks'}, {kind}",
            int((values > failed_above).sum()),
            n=len(values),
            data=errors[0].data,
            note=f"error above {failed_above:g} %; of {len(values)} tasks",
        ),
    ]


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """The error of every task, a bar for each delay; the line is where a task counts as failed."""
    delays = [key.removesuffix("-tasks") for key in arrays if key.endswith("-tasks")]
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.4), layout="constrained")
        ax = figure.subplots()
        width = 0.8 / max(len(delays), 1)
        for place, (delay, color) in enumerate(zip(delays, CYCLE, strict=False)):
            shift = (place - (len(delays) - 1) / 2) * width
            _draw_bars(ax, arrays, delay, shift, width, color)
        limit = record.settings["figure"]["failed_above"]
        ax.axhline(limit, color="0.4", lw=0.8, ls="--", label=f"failed above {limit:g} %")
        ax.set_xticks(list(TASKS), [f"{task}" for task in TASKS])
        ax.set(xlim=(0.4, len(TASKS) + 0.6), ylim=(0, None))
        ax.set(xlabel="bAbI task (no bar: not trained)", ylabel="test error (%)")
        ax.tick_params(axis="x", length=0)
        ax.margins(y=0.12)
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)
    return figure


def _draw_bars(
    ax: Axes, arrays: dict[str, np.ndarray], delay: str, shift: float, width: float, color: str
) -> None:
    tasks, errors = arrays[f"{delay}-tasks"], arrays[f"{delay}-error"]
    ax.bar(tasks + shift, errors, width, color=color, label=f"readout delay {delay} ms")
    ax.errorbar(
        tasks + shift,
        errors,
        np.stack([np.minimum(errors, arrays[f"{delay}-interval"]), arrays[f"{delay}-interval"]]),
        fmt="none",
        ecolor="0.1",
        capsize=1,
        lw=0.6,
    )
    for task, error, interval in zip(tasks, errors, arrays[f"{delay}-interval"], strict=True):
        ax.annotate(
            f"{error:.1f}",
            (task + shift, error + interval),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha="center",
            fontsize=5,
        )


# ---- command line ---------------------------------------------------------------------------


def _parser(settings: BabiFigureSettings) -> argparse.ArgumentParser:
    parser = result_parser(
        "hebbian_snn.figures.babi",
        __doc__,
        RESULT,
        "the stored test results, or every network tested again",
    )
    add = parser.add_argument
    add("--tasks", nargs="+", type=int, default=list(settings.tasks), help="only these")
    add("--delays", nargs="+", type=int, default=list(settings.delays), help="only these")
    add("--train", action="store_true", help="train what is missing first")
    add("--jobs", type=int, default=1, help="trainings at once (default: 1)")
    add("--launch", default="", help='in place of python: "torchrun --nproc_per_node 2"')
    add("--generated", action="store_true", help="test on 1000 generated questions of each task")
    add("--flags", default="", help="of all trainings, in quotes: --flags '--epochs 50 --relu'")
    add(
        "--checkpoints",
        type=Path,
        help="folder of the networks (default: the shipped ones, and those in runs/ that are not)",
    )
    return parser


def _jobs(args: argparse.Namespace) -> tuple[list[Job], Data]:
    """The networks that the flags ask for, and the data they are trained on.

    Without --train, ``auto`` asks for no data: it takes networks trained on the official stories
    where there are any, and else those trained on generated ones.
    """
    for name in ("flags", "launch"):
        try:
            shlex.split(getattr(args, name))
        except ValueError as error:
            raise UserError(
                f"--{name} {getattr(args, name)}: {str(error).lower()}; close what was opened"
            ) from None
    flags = [*shlex.split(args.flags), "--device", args.device]

    def trained_on(data: Data) -> list[Job]:
        return sweep_jobs(args.tasks, args.delays, data, flags, args.checkpoints)

    if args.train or args.data != "auto":
        data = available_data(args.data)
        return trained_on(data), data
    generated = {(job.task, job.delay): job for job in trained_on("embedded")}
    jobs = []
    for job in trained_on("auto"):
        other = generated.get((job.task, job.delay))
        stands_in = other is not None and other.checkpoint.exists()
        jobs.append(other if stands_in and not job.checkpoint.exists() else job)
    return jobs, "auto"


def _train(jobs: Sequence[Job], args: argparse.Namespace) -> list[str]:
    """Train what is missing; the names of those that did not end well."""
    failed = []
    missing = sum(not job.checkpoint.exists() for job in jobs)
    print(f"{missing} of {len(jobs)} networks are to be trained, {args.jobs} at once", flush=True)
    for job, seconds, status, said in run_sweep(jobs, args.jobs, args.launch):
        end = f"failed, see {said}" if status else "trained"
        print(f"{job.name}: {end}, {seconds / 60:.1f} min", flush=True)
        failed += [job.name] if status else []
    return failed


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = load_settings(BabiFigureSettings, FOLDER / "figure_babi.yaml")
    args = _parser(settings).parse_args(argv)
    unknown = sorted(set(args.tasks) - set(TASKS))
    if unknown:
        raise UserError(f"--tasks {unknown[0]}: there are tasks 1 to {len(TASKS)}")
    jobs, data = _jobs(args)
    failed = _train(jobs, args) if args.train else []
    device = choose_device(args.device)
    there = [job for job in jobs if job.checkpoint.exists()]
    if not there:
        raise NotThereError(
            f"no network is trained yet; --train trains them, or "
            f"python -m {MODULE} --task {args.tasks[0]}"
        )
    networks = {job.name: read_network(job.checkpoint) for job in there}
    plan = Plan(args.profile, data, tuple(jobs), networks, device, args.out, args.generated)
    record, arrays = compute(plan, settings)
    record.measurements += over_seeds(networks)
    report_results(plan.out, record, arrays, draw(record, arrays))
    if failed:
        raise UserError(f"these trainings failed: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
