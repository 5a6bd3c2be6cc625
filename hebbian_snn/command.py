"""The command line of the supervised tasks, with the flags of the original scripts.

:func:`run_task` is all that a task's script calls.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.arguments import Parser
from common.checkpoints import load_training_state, save_training_state
from common.distributed import Distributed, distributed
from common.distributed import add_arguments as add_distributed_arguments
from common.errors import UserError
from common.memory import keep_freed_memory
from common.paths import CHECKPOINTS, ROOT
from common.runs import RunFiles, add_run_arguments, check_same_run, finish_run, start_run
from common.settings import Switch, add_arguments, from_dict, overrides_from_args, to_dict
from hebbian_snn.config import task_settings
from hebbian_snn.launch import launch
from hebbian_snn.supervised import (
    Reporting,
    Trainer,
    about_data,
    in_words,
    new_state,
    run_summary,
    train,
)
from hebbian_snn.tasks import SupervisedTask
from hebbian_snn.trained import (
    MODEL,
    build_from,
    check_parameters,
    check_sources,
    read_weights,
)

EVENTS = ROOT / "runs"
"""Folder of TensorBoard's events, with a folder for every checkpoint."""

WITHOUT_EFFECT = {
    "workers": "batches are made by the training process itself",
    "prefetch_factor": "batches are made by the training process itself",
    "learn_readout_delay": "the published code does not learn the delay either",
}
"""Flags of the original scripts that are accepted, and why nothing comes of them."""


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of every training here, by gradients of a loss or by rewards."""
    add_run_arguments(parser)
    add = parser.add_argument
    add(
        "--resume",
        type=Path,
        help="training state (.pt) to go on from; with --evaluate also a "
        "checkpoint (default: the unfinished training of the same command, if there is one)",
    )
    add("--evaluate", action=Switch, help="test a trained network, by default that of --out")
    add(
        "--check_params",
        action=Switch,
        default=True,
        help="flags must be those of the file of --resume (default: 1)",
    )
    add("--logging", action=Switch, help="write TensorBoard events to runs/")
    add("--gpu", type=int, help="number of the GPU (the same as --device cuda:<number>)")
    add("--backend", default="auto", help="of the kernels: reference, cpu, cuda or auto (default)")


def task_parser(
    task_type: type[SupervisedTask], description: str | None
) -> argparse.ArgumentParser:
    """All flags of a task."""
    parser = Parser(description=description)
    add_task_arguments(parser)
    add = parser.add_argument
    add("--start_epoch", type=int, default=0, help="of a new training, from 0 (default: 0)")
    add(
        "--print_freq",
        type=int,
        default=0,
        help="say how it goes every so many steps, too (default: 0, only after every epoch)",
    )
    add(
        "--multiprocessing_distributed",
        action=Switch,
        help="start a process for every GPU of this node; --world_size and --rank then count nodes",
    )
    add(
        "--processes_per_node",
        type=int,
        help="with --multiprocessing_distributed (default: one for every GPU, on CPUs one)",
    )
    add("--workers", type=int, help="accepted, without effect")
    add("--prefetch_factor", type=int, help="accepted, without effect")
    add("--learn_readout_delay", action=Switch, help="accepted, without effect")
    add_arguments(parser, task_type.settings_type)
    add_distributed_arguments(parser)
    return parser


def run_task(
    task_type: type[SupervisedTask], description: str | None, argv: Sequence[str] | None
) -> None:
    """Train or evaluate as the flags say.

    Raises :class:`UserError` for flags, files and environments that do not work.
    """
    args = task_parser(task_type, description).parse_args(argv)
    _check_flags(args)
    task = _task_of(task_type, args)
    there = _files_of(task, args).checkpoint
    if there.exists() and not args.overwrite:
        read_weights(task_type, there)  # or it is of another task
    if not args.evaluate and start_run(MODEL, task.checkpoint_name, task.settings, args) is None:
        return
    launch(args, run_process, task_type)


def run_process(args: argparse.Namespace, task_type: type[SupervisedTask]) -> None:
    """What each process does."""
    keep_freed_memory()
    task = _task_of(task_type, args)
    with distributed(args, args.device) as group:
        if args.evaluate:
            evaluate(task, args, group)
        else:
            train_and_finish(task, args, group)


def evaluate(task: SupervisedTask, args: argparse.Namespace, group: Distributed) -> None:
    """Test the network of --resume and print what came out."""
    files = _files_of(task, args)
    weights = read_weights(type(task), args.resume or files.checkpoint)
    if args.check_params:
        check_parameters(task, weights, evaluating=True)
        if task.is_bound:
            check_sources(task, weights)
    network = build_from(task, weights, group.device, args.backend)
    found = Trainer(task, network, group).evaluate("test")
    if group.is_main:
        print(f"{weights.path}: {task.sizes()['test']} test samples: {in_words(found)}")


def train_and_finish(task: SupervisedTask, args: argparse.Namespace, group: Distributed) -> None:
    """Train to the end and write the checkpoint."""
    files = _files_of(task, args)
    state = _state_of(task, args, files, group)
    reporting = Reporting(args.print_freq, _events(task, args, group))
    state = train(task, group, state, files, args.backend, reporting)
    if group.is_main:
        save_training_state(files.last_state, state)
        finish_run(MODEL, task.settings, state, about_data(task), args.seed, files)
        best = state["best"]
        print(
            f"{files.checkpoint}: epoch {best['epoch']} of {state['epoch']}, "
            f"{state['seconds']:.0f} s; test: {in_words(best['test'])}"
        )


def _task_of(task_type: type[SupervisedTask], args: argparse.Namespace) -> SupervisedTask:
    overrides = overrides_from_args(task_type.settings_type, args)
    relu = bool(getattr(args, "relu", False))
    return task_type(
        task_settings(task_type.settings_type, task_type.name, relu, overrides), args.seed
    )


def _check_flags(args: argparse.Namespace) -> None:
    """Translate the originals' ways of saying things, and refuse what cannot be."""
    for name, reason in WITHOUT_EFFECT.items():
        if getattr(args, name) not in (None, False):
            print(f"--{name} has no effect: {reason}")
    if args.world_size == -1 and args.rank in (None, -1):  # the originals' defaults
        args.world_size = args.rank = None
    for name in ("start_epoch", "print_freq"):
        if getattr(args, name) < 0:
            raise UserError(f"--{name} is {getattr(args, name)}; give 0 or more")
    if args.gpu is not None:
        if args.gpu < 0:
            raise UserError(f"--gpu is {args.gpu}; give the number of a GPU, from 0")
        args.device = f"cuda:{args.gpu}"


def _files_of(task: SupervisedTask, args: argparse.Namespace) -> RunFiles:
    """As ``start_run`` names them, without looking at what is there."""
    shipped = CHECKPOINTS / MODEL / f"{task.checkpoint_name}.safetensors"
    return RunFiles.of(MODEL, args.out or shipped, args.partial)


def _state_of(
    task: SupervisedTask, args: argparse.Namespace, files: RunFiles, group: Distributed
) -> dict[str, Any]:
    """Where the training begins: at the file of --resume, at this command's own unfinished state,
    or at ``start_epoch``."""
    group.barrier()  # nobody looks for a state while another may already write one
    if args.resume is not None:
        weights = read_weights(type(task), args.resume)
        if args.resume.suffix != ".pt":
            raise UserError(
                f"{args.resume} is a trained network without its optimiser; go on from a training "
                "state (.pt), or test it with --evaluate"
            )
        if args.check_params:
            check_parameters(task, weights, evaluating=False)
            check_sources(task, weights)
        state = load_training_state(args.resume)
        state["run"] = run_summary(task)
    elif files.state.exists():
        state = load_training_state(files.state)
        state["run"] = completed(type(task), state["run"], files.state)
        check_same_run(state["run"], run_summary(task), files.state)
    else:
        state = new_state(task, args.start_epoch)
    if state["epoch"] >= task.settings.training.epochs and not state["best"]:
        raise UserError(
            f"--start_epoch is {args.start_epoch} of {task.settings.training.epochs} epochs; "
            "give a smaller one"
        )
    group.barrier()
    return state


def completed(task_type: type[SupervisedTask], run: dict[str, Any], source: Path) -> dict[str, Any]:
    """What a training state says of its run; settings that are newer than it have their default."""
    others = {key: run[key] for key in ("seed", "data")}
    settings = {key: value for key, value in run.items() if key not in others}
    return {**to_dict(from_dict(task_type.settings_type, settings, str(source))), **others}


def _events(task: SupervisedTask, args: argparse.Namespace, group: Distributed) -> Any:
    if not args.logging or not group.is_main:
        return None
    return event_writer(_files_of(task, args).checkpoint.stem)


def event_writer(name: str) -> Any:
    """TensorBoard's writer to the folder ``name`` of events.

    Raises :class:`UserError` where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--logging needs the package tensorboard; install it") from None
    return SummaryWriter(str(EVENTS / name))
