"""The command line of the scripts that draw what a trained network does in one trial."""

from __future__ import annotations

import argparse
from dataclasses import is_dataclass

from common.arguments import Parser
from common.files import folder_to_write
from common.paths import RESULTS
from common.runs import add_networks_argument
from common.settings import Switch, add_arguments, from_dict, overrides_from_args, to_dict
from datasets.choices import DATA_CHOICES
from hebbian_snn.training.task import SupervisedTask
from hebbian_snn.training.trained import TrainedNetwork, build_from, check_parameters, load_network


def plot_parser(
    task_type: type[SupervisedTask],
    description: str | None,
    network: str,
    folder: str,
    generated: bool = False,
) -> argparse.ArgumentParser:
    """All flags; ``network`` is the one to show by default, ``folder`` that of the results, and
    ``generated`` data are neither real nor embedded, so --data has no effect."""
    parser = Parser(description=description)
    add = parser.add_argument
    shown = f"network to show (default: {network}"
    shown += ")" if generated else f"; with --data embedded {network}_embedded)"
    add("--checkpoint_path", "--checkpoint-path", help=shown)
    add_networks_argument(parser)
    if generated:
        add("--data", choices=DATA_CHOICES, help="without effect")
    add("--sample", "--example", type=int, default=0, help="test sample, from 0 (default: 0)")
    add("--seed", type=int, help="without effect: the test samples are the same for every seed")
    add(
        "--check_params",
        action=Switch,
        default=True,
        help="flags must be those that the network was trained with (default: 1)",
    )
    add("--profile", choices=("quick", "full"), default="quick", help="the same")
    add(
        "--out",
        type=folder_to_write,
        default=str(RESULTS / folder),
        help=f"folder (default: results/{folder})",
    )
    add_arguments(parser, task_type.settings_type, "that of the network")
    return parser


def network_of(task_type: type[SupervisedTask], args: argparse.Namespace) -> TrainedNetwork:
    """The network of --checkpoint_path with the flags given.

    Raises :class:`UserError` where they do not agree.
    """
    trained = load_network(task_type, args.checkpoint_path)
    settings = to_dict(trained.task.settings)
    for key, value in overrides_from_args(task_type.settings_type, args).items():
        nested = is_dataclass(getattr(trained.task.settings, key))
        settings[key] = {**settings[key], **value} if nested else value
    task = task_type(
        from_dict(task_type.settings_type, settings, "the flags given"), trained.task.seed
    )
    if args.check_params:
        check_parameters(task, trained.checkpoint, evaluating=True)
    return TrainedNetwork(build_from(task, trained.checkpoint, "cpu"), task, trained.checkpoint)
