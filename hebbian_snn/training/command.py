"""The command line of the supervised tasks, with the flags of the original scripts.

:func:`task_command` is all that a task's script calls.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.arguments import Parser
from common.checkpoints import load_training_state, save_training_state
from common.distributed import Distributed, distributed
from common.distributed import add_arguments as add_distributed_arguments
from common.errors import UserError, command_line
from common.memory import check_memory, keep_freed_memory
from common.protocol import said_protocol
from common.runs import (
    RunFiles,
    add_networks_argument,
    add_run_arguments,
    check_same_run,
    find_network,
    find_state,
    finish_run,
    open_run,
    upgraded_run,
)
from common.settings import Switch, add_arguments, flag_names, overrides_from_args
from hebbian_snn.config import task_settings
from hebbian_snn.training.launch import launch
from hebbian_snn.training.loop import (
    Reporting,
    Trainer,
    about_data,
    in_words,
    new_state,
    run_summary,
    train,
)
from hebbian_snn.training.task import SupervisedTask
from hebbian_snn.training.trained import (
    MODEL,
    build_from,
    check_data,
    check_parameters,
    check_sources,
    read_weights,
)

WITHOUT_EFFECT = {
    "pin_data_to_memory": "the data always lie in memory",
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
        help="name or folder of a run, or training state (.pt), to go on from; with --evaluate "
        "also a checkpoint (default: the unfinished training of the same command, if there is one)",
    )
    add("--evaluate", action=Switch, help="test the network of --resume, of --out, or the shipped")
    add_networks_argument(parser)
    add(
        "--check_params",
        action=Switch,
        default=True,
        help="flags must be those of the file of --resume (default: 1)",
    )
    add("--logging", action=Switch, help="write TensorBoard events to the run's folder")
    add("--gpu", type=int, help="number of the GPU (the same as --device cuda:<number>)")
    add(
        "--backend",
        default="auto",
        help="implementation of the kernels: reference, cpu, cuda or auto (default: auto)",
    )


def task_parser(
    task_type: type[SupervisedTask], description: str | None, relu: bool = False
) -> argparse.ArgumentParser:
    """All flags of a task, with the defaults of the spiking network or of the one without."""
    parser = Parser(description=description)
    add_task_arguments(parser)
    add = parser.add_argument
    add(
        "--start_epoch",
        type=int,
        default=0,
        help="first epoch of a new training, from 0 (default: 0)",
    )
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
    defaults = task_settings(task_type.settings_type, task_type.name, relu, {})
    add_arguments(parser, task_type.settings_type, defaults)
    settings = flag_names(task_type.settings_type)
    if "pin_data_to_memory" not in settings:
        add("--pin_data_to_memory", action=Switch, help="accepted, without effect")
    if "dir" not in settings:
        add("--dir", type=Path, help="folder of the data, in place of $SNN_DATA")
    add_distributed_arguments(parser)
    return parser


def add_spellings(parser: argparse.ArgumentParser, spellings: Mapping[str, str]) -> None:
    """Other names of flags that the parser has; see :func:`resolve_spellings`."""
    for other, name in spellings.items():
        action = parser._option_string_actions[f"--{name}"]
        parser.add_argument(
            f"--{other}", type=action.type, metavar="VALUE", help=f"the same as --{name}"
        )


def resolve_spellings(args: argparse.Namespace, spellings: Mapping[str, str]) -> None:
    """Give flags the values of their other names.

    Raises :class:`UserError` where two names of a flag have different values.
    """
    for other, name in spellings.items():
        value = getattr(args, other)
        if value is None:
            continue
        if name in args and getattr(args, name) not in (None, value):
            raise UserError(f"--{other} {value} and --{name} {getattr(args, name)} are the same")
        setattr(args, name, value)


def task_command(
    task_type: type[SupervisedTask],
    description: str | None,
    spellings: Mapping[str, str] | None = None,
    without_effect: Mapping[str, str] | None = None,
) -> Callable[..., int]:
    """The ``main`` of a task's script; arguments as :func:`run_task`."""

    @command_line
    def main(argv: Sequence[str] | None = None) -> None:
        """Command line."""
        run_task(task_type, description, argv, spellings, without_effect)

    return main


def relu_command(main: Callable[..., int]) -> Callable[..., int]:
    """The ``main`` of a script that trains without spikes, by the one that takes ``--relu``."""

    def with_relu(argv: Sequence[str] | None = None) -> int:
        """Command line."""
        return main(["--relu", *(sys.argv[1:] if argv is None else argv)])

    return with_relu


def run_task(
    task_type: type[SupervisedTask],
    description: str | None,
    argv: Sequence[str] | None,
    spellings: Mapping[str, str] | None = None,
    without_effect: Mapping[str, str] | None = None,
) -> None:
    """Train or evaluate as the flags say.

    Args:
        task_type, description: of the script. argv: flags.
        spellings: other names of flags. without_effect: more flags of the original that change
            nothing, and why.

    Raises :class:`UserError` for flags, files and environments that do not work.
    """
    words = sys.argv[1:] if argv is None else argv
    parser = task_parser(task_type, description, relu="--relu" in words)
    add_spellings(parser, spellings or {})
    for name in without_effect or {}:
        parser.add_argument(f"--{name}", type=int, help="accepted, without effect")
    args = parser.parse_args(argv)
    resolve_spellings(args, spellings or {})
    say_without_effect(args, without_effect or {})
    _check_flags(args)
    check_memory(_task_of(task_type, args).memory_needs())
    launch(args, run_process, task_type)


def run_process(args: argparse.Namespace, task_type: type[SupervisedTask]) -> None:
    """What each process does."""
    keep_freed_memory()
    task = _task_of(task_type, args)
    with distributed(args, args.device) as group:
        if args.evaluate:
            evaluate(task, args, group)
            return
        say_protocol(task, group)
        if args.out and args.out.exists() and not args.overwrite:
            read_weights(task_type, args.out)  # or it is of another task
        with open_run(MODEL, task.checkpoint_name, task.settings, args, group) as files:
            if not files.done:
                train_and_finish(task, args, files, group)


def evaluate(task: SupervisedTask, args: argparse.Namespace, group: Distributed) -> None:
    """Test the network of --resume and print what came out."""
    weights = read_weights(type(task), network_to_test(task.checkpoint_name, args))
    if args.check_params:
        check_parameters(task, weights, evaluating=True)
        (check_sources if task.is_bound else check_data)(task, weights)
    network = build_from(task, weights, group.device, args.backend)
    found = Trainer(task, network, group).evaluate("test")
    if group.is_main:
        source = task.sources().get("source", "")
        on = "" if source == weights.metadata["data"].get("source", "") else f" of {source}"
        print(f"{weights.path}: {task.sizes()['test']} test samples{on}: {in_words(found)}")


def network_to_test(name: str, args: argparse.Namespace) -> Path:
    """The file that --evaluate means; ``name`` is that of the shipped network."""
    if args.resume is None:
        return args.out or find_network(MODEL, name)
    path = Path(args.resume)
    return path if path.suffix == ".pt" else find_network(MODEL, path)


def train_and_finish(
    task: SupervisedTask, args: argparse.Namespace, files: RunFiles, group: Distributed
) -> None:
    """Train to the end and write the checkpoint."""
    state = _state_of(task, args, files, group)
    reporting = Reporting(args.print_freq, _events(files, args, group))
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
    paper = args.protocol == "paper"
    settings = task_settings(task_type.settings_type, task_type.name, relu, overrides, paper)
    return task_type(settings, args.seed)


def say_protocol(task: Any, group: Distributed) -> None:
    """Print which protocol a training follows."""
    settings = task.settings
    relu = getattr(settings, "relu", False)
    paper = task_settings(type(settings), task.name, relu, {}, paper=True)
    said_protocol(settings, paper, group, task.varied)


def say_without_effect(args: argparse.Namespace, reasons: Mapping[str, str]) -> None:
    """A line for every flag given that changes nothing, and why."""
    for name, reason in reasons.items():
        if getattr(args, name, None) not in (None, False):
            print(f"--{name} has no effect: {reason}")


def _check_flags(args: argparse.Namespace) -> None:
    """Translate the originals' ways of saying things, and refuse what cannot be."""
    say_without_effect(args, WITHOUT_EFFECT)
    if args.world_size == -1 and args.rank in (None, -1):  # the originals' defaults
        args.world_size = args.rank = None
    folder = getattr(args, "dir", None)
    if isinstance(folder, Path):  # of Omniglot it is a setting
        if not folder.is_dir():
            raise UserError(f"--dir is {folder}, which is not a folder; give the one of the data")
        os.environ["SNN_DATA"] = str(folder.resolve())  # also for the processes started here
    for name in ("start_epoch", "print_freq"):
        if getattr(args, name) < 0:
            raise UserError(f"--{name} is {getattr(args, name)}; give 0 or more")
    if args.gpu is not None:
        if args.gpu < 0:
            raise UserError(f"--gpu is {args.gpu}; give the number of a GPU, from 0")
        args.device = f"cuda:{args.gpu}"


def _state_of(
    task: SupervisedTask, args: argparse.Namespace, files: RunFiles, group: Distributed
) -> dict[str, Any]:
    """Where the training begins: at the file of --resume, at this command's own unfinished state,
    or at ``start_epoch``."""
    group.check_alike(run_summary(task))
    found = group.from_main(lambda: _read_state(task, args, files))
    if found is None:
        state = new_state(task, args.start_epoch)
    else:
        path, state = found
        if args.resume is None:
            there = upgraded_run(type(task.settings), state["run"], path)
            check_same_run(there, run_summary(task), path)
        state["run"] = run_summary(task)
    if state["epoch"] >= task.settings.training.epochs and not state["best"]:
        raise UserError(
            f"--start_epoch is {args.start_epoch} of {task.settings.training.epochs} epochs; "
            "give a smaller one"
        )
    return state


def _read_state(
    task: SupervisedTask, args: argparse.Namespace, files: RunFiles
) -> tuple[Path, dict[str, Any]] | None:
    """The state to go on from with its file, None where there is none."""
    if args.resume is None:
        return (files.state, load_training_state(files.state)) if files.state.exists() else None
    path = find_state(MODEL, args.resume)
    weights = read_weights(type(task), path)
    if path.suffix != ".pt":
        raise UserError(
            f"{path} is a trained network without its optimiser; go on from a training "
            "state (.pt), or test it with --evaluate"
        )
    if args.check_params:
        check_parameters(task, weights, evaluating=False)
        check_sources(task, weights, exactly=True)
    return path, load_training_state(path)


def _events(files: RunFiles, args: argparse.Namespace, group: Distributed) -> Any:
    return event_writer(files.events) if args.logging and group.is_main else None


def event_writer(folder: Path) -> Any:
    """TensorBoard's writer to a folder of events.

    Raises :class:`UserError` where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--logging needs the package tensorboard; install it") from None
    return SummaryWriter(str(folder))
