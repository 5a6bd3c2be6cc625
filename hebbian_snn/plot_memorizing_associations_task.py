"""Draw what a trained network for associations does in one trial.

    python -m hebbian_snn.plot_memorizing_associations_task \
        --checkpoint_path=checkpoints/hebbian_snn/associations_2.safetensors

The checkpoint is a path, or the name of a shipped one; a training state (.pt) does as well. Its own
settings are taken; flags of the model that are given must agree with them, and --sequence_length
may be another. Pictures, spikes and rates are written to results/hebbian_associations_activity.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path

from common.errors import command_line
from common.paths import RESULTS
from common.results import report_results
from common.settings import add_arguments, from_dict, overrides_from_args, to_dict
from hebbian_snn.associations import AssociationsSettings, AssociationsTask
from hebbian_snn.figures import activity
from hebbian_snn.trained import TrainedNetwork, build_from, check_parameters, load_network


def network_of(args: argparse.Namespace) -> TrainedNetwork:
    """The network of --checkpoint_path with the flags given.

    Raises :class:`UserError` where they do not agree.
    """
    trained = load_network(AssociationsTask, args.checkpoint_path)
    settings = to_dict(trained.task.settings)
    for key, value in overrides_from_args(AssociationsSettings, args).items():
        nested = is_dataclass(getattr(trained.task.settings, key))
        settings[key] = {**settings[key], **value} if nested else value
    task = AssociationsTask(
        from_dict(AssociationsSettings, settings, "the flags given"), trained.task.seed
    )
    check_parameters(task, trained.checkpoint, evaluating=True)
    return TrainedNetwork(build_from(task, trained.checkpoint, "cpu"), task, trained.checkpoint)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint_path", "--checkpoint-path", default="associations_2", help="network to show"
    )
    parser.add_argument("--sample", type=int, default=0, help="test sample, from 0 (default: 0)")
    parser.add_argument("--profile", choices=("quick", "full"), default="quick", help="the same")
    parser.add_argument("--data", choices=("auto", "real", "embedded"), help="without effect")
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "hebbian_associations_activity",
        help="folder (default: results/hebbian_associations_activity)",
    )
    add_arguments(parser, AssociationsSettings)
    args = parser.parse_args(argv)
    record, arrays = activity.compute(network_of(args), args.sample, args.profile)
    report_results(args.out, record, arrays, activity.draw(record, arrays))


if __name__ == "__main__":
    sys.exit(main())
