"""Train or test a policy that learns to play Concentration with its Hebbian memory (PPO).

    python -m hebbian_snn.reinforcement_learning_task --num_cells 4

Every observation is shown for ``--num_time_steps`` steps, written into the memory, and the memory
is read with it; the memory lasts as long as a game. The settings stand in
``hebbian_snn/settings/reinforcement_learning.yaml``; every one is a flag. ``--relu`` trains the
twin without spikes. The policy is kept as ``network.safetensors`` in the folder
``runs/hebbian_snn/concentration_<cells>...``, beside log and training state. The same command goes
on with an interrupted training. ``--evaluate`` plays ``--evaluation_games`` games with the most
likely actions. Games of 6 cells need ``--num_steps 100``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import torch

from common.arguments import Parser
from common.checkpoints import load_training_state, save_training_state
from common.distributed import ALONE
from common.errors import UserError, command_line
from common.memory import check_memory, keep_freed_memory
from common.runs import (
    RunFiles,
    check_same_run,
    find_state,
    finish_run,
    open_run,
    upgraded_run,
)
from common.settings import Switch, add_arguments, overrides_from_args
from common.training import choose_device
from hebbian_snn.config import task_settings
from hebbian_snn.reinforcement.ppo import PPOSettings
from hebbian_snn.reinforcement.task import (
    ConcentrationTask,
    ReinforcementSettings,
    evaluate,
    new_state,
    run_summary,
    train,
)
from hebbian_snn.training.command import (
    add_task_arguments,
    event_writer,
    network_to_test,
    say_protocol,
    say_without_effect,
)
from hebbian_snn.training.loop import in_words
from hebbian_snn.training.trained import MODEL, build_from, check_parameters, read_weights

WITHOUT_EFFECT = {
    "use_rms_prop": "the published code optimises with Adam all the same",
    "rms_prop_eps": "the published code optimises with Adam all the same",
    "rms_prop_alpha": "the published code optimises with Adam all the same",
    "normalize_advantage": "advantages are always standardised",
    "use_smooth_l1_loss": "the value loss is always the clipped square",
}
"""Flags of the original script that are accepted, and why nothing comes of them."""


def policy_parser(description: str | None = None, relu: bool = False) -> argparse.ArgumentParser:
    """All flags, with the defaults of the spiking policy or of the one without."""
    parser = Parser(description=description)
    add_task_arguments(parser)
    add = parser.add_argument
    add(
        "--start_update",
        type=int,
        default=0,
        help="first update of a new training, from 0 (default: 0)",
    )
    add(
        "--print_freq",
        type=int,
        default=50,
        help="updates from one line of the log and saved state to the next (default: 50)",
    )
    add(
        "--cuda",
        action=Switch,
        default=None,
        help="the same as --device cuda; --cuda 0: --device cpu",
    )
    for name in WITHOUT_EFFECT:
        kind = {"type": float} if name.startswith("rms_prop") else {"action": Switch}
        add(f"--{name}", default=None, help="accepted, without effect", **kind)
    defaults = task_settings(ReinforcementSettings, ConcentrationTask.name, relu, {})
    add_arguments(parser, ReinforcementSettings, defaults)
    return parser


def task_of(args: argparse.Namespace) -> ConcentrationTask:
    """The game that the flags ask for."""
    overrides = overrides_from_args(ReinforcementSettings, args)
    relu = bool(getattr(args, "relu", False))
    settings = task_settings(
        ReinforcementSettings, ConcentrationTask.name, relu, overrides, args.protocol == "paper"
    )
    return ConcentrationTask(settings, args.seed)


def _device(args: argparse.Namespace) -> torch.device:
    if args.gpu is not None:
        return choose_device(f"cuda:{args.gpu}")
    if args.cuda is not None:
        return choose_device("cuda" if args.cuda else "cpu")
    return choose_device(args.device)


def _test(task: ConcentrationTask, args: argparse.Namespace, device: torch.device) -> None:
    """Play the test games with the policy of --resume, and print what came out."""
    path = network_to_test(task.checkpoint_name, args)
    weights = read_weights(ConcentrationTask, path)
    if args.check_params:
        check_parameters(task, weights, evaluating=True)
    found = evaluate(task, build_from(task, weights, device, args.backend))
    print(f"{path}: {_result(found)}")


def _result(found: dict[str, Any]) -> str:
    return (
        f"{found['flips']:.2f} flips on average (standard deviation {found['spread']:.2f}) in "
        f"{found['games']} games, of which {found['given_up']} were given up"
    )


def _state_of(
    task: ConcentrationTask, args: argparse.Namespace, files: RunFiles, device: torch.device
) -> dict[str, Any]:
    """Where the training begins."""
    path = find_state(MODEL, args.resume) if args.resume else files.state
    if not args.resume and not path.exists():
        if not 0 <= args.start_update < task.settings.training.updates:
            raise UserError(
                f"--start_update is {args.start_update}; the training has the updates 0 to "
                f"{task.settings.training.updates - 1}"
            )
        return new_state(task, device, args.start_update)
    weights = read_weights(ConcentrationTask, path)
    if path.suffix != ".pt":
        raise UserError(f"{path} has no optimiser; go on from a training state (.pt)")
    state = load_training_state(path)
    if args.check_params and args.resume:
        check_parameters(task, weights, evaluating=False)
    if not args.resume:
        there = upgraded_run(ReinforcementSettings, state["run"], path)
        check_same_run(there, run_summary(task), path)
    state["run"] = run_summary(task)
    return state


def _report(line: dict[str, Any], training: PPOSettings, events: Any) -> None:
    """Say how it goes."""
    updates, steps = training.updates, training.steps_of_update
    left = (updates - line["epoch"]) * steps / line["steps_per_second"] / 3600
    shown = {key: line[key] for key in ("flips", "reward", "entropy", "value_loss")}
    print(
        f"update {line['epoch']} of {updates}: {in_words(shown)}; "
        f"{line['steps_per_second']:.0f} actions a second, {left:.1f} h left",
        flush=True,
    )
    if events is not None:
        for name, value in line.items():
            events.add_scalar(name, value, line["epoch"])
        events.flush()


def _train(
    task: ConcentrationTask, args: argparse.Namespace, files: RunFiles, device: torch.device
) -> None:
    """Train to the end and write the checkpoint."""
    state = _state_of(task, args, files, device)
    training = task.settings.training
    events = event_writer(files.events) if args.logging else None
    state = train(
        task,
        device,
        state,
        files,
        args.backend,
        args.print_freq,
        lambda line: _report(line, training, events),
    )
    save_training_state(files.last_state, state)
    finish_run(MODEL, task.settings, state, {"task": task.name}, args.seed, files)
    print(f"{files.checkpoint}: {state['seconds']:.0f} s; {_result(state['best']['test'])}")


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    words = sys.argv[1:] if argv is None else argv
    args = policy_parser(__doc__, relu="--relu" in words).parse_args(argv)
    if args.print_freq < 1:
        raise UserError(f"--print_freq is {args.print_freq}; give 1 or more")
    say_without_effect(args, WITHOUT_EFFECT)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(
            "this training runs in one process, and torchrun has started several; start it with "
            "python -m (policies of other seeds can train beside it)"
        )
    task, device = task_of(args), _device(args)
    penalty = task.settings.game.flip_penalty
    if penalty > 0:
        print(f"warning: --flip_penalty {penalty} is added to the reward, so it rewards every flip")
    check_memory(task.memory_needs())
    keep_freed_memory()
    if args.evaluate:
        _test(task, args, device)
        return
    say_protocol(task, ALONE)
    with open_run(MODEL, task.checkpoint_name, task.settings, args) as files:
        if not files.done:
            _train(task, args, files, device)


if __name__ == "__main__":
    sys.exit(main())
