"""Train networks on a data set, one trial for every seed.

    python -m snn_tha.run --dataset mnist

The settings stand in ``snn_tha/settings/<dataset>.yaml``; every one is a flag. Without more flags
the network is binarised and its thresholds are annealed; ``--annealing false`` lets them stay where
they start (with ``--fixed final``: at their final values), ``--binarize false`` trains a network of
full precision. The epoch with the best validation accuracy is kept (``--select_on test``: the best
test accuracy, as the original does). A killed training goes on where it was; so does one with
several processes (``torchrun --nproc_per_node 2 -m snn_tha.run ...``).

The log of a trial, one line an epoch, is ``runs/snn_tha/<name>/log.jsonl``, beside its network; at
the end ``<name>.csv`` (a row for every trial and epoch), ``<name>.json`` (settings, scores of the
kept epochs, mean and spread) and, as the original has them, ``<name>_t<trial>.csv`` and
``<name>_log.csv`` (the kept epochs) lie in ``results/snn_tha_runs``.
"""

from __future__ import annotations

import argparse
import copy
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.arguments import Parser
from common.checkpoints import load_checkpoint
from common.checkpoints import network_name as name_of
from common.distributed import Distributed, distributed
from common.distributed import add_arguments as add_distributed_arguments
from common.errors import UserError, command_line
from common.memory import keep_freed_memory
from common.paths import RESULTS
from common.protocol import said_protocol
from common.runs import add_run_arguments, finish_run, open_run
from common.settings import Switch, add_arguments, overrides_from_args
from datasets.choices import DATA_CHOICES, check_choice
from datasets.sources import STAND_IN, is_stand_in
from snn_tha.config import DATASETS, Settings, tha_settings
from snn_tha.data import DataSet, check_training, load_data
from snn_tha.kernels import BACKENDS
from snn_tha.logs import write_logs
from snn_tha.original import flags_of, use_data_of
from snn_tha.train import Trainer, train

MODEL = "snn_tha"
VARIED = ("binarize", "annealing", "fixed")
"""Settings in which the compared conditions differ."""

MOST_TRIALS = 10_000
_WORDS = ("true", "false")


def network_name(settings: Settings, seed: int = 0, ending: str = "") -> str:
    """Of a trained network: data set, condition unless it is annealing, ``ending`` (of stand-ins),
    seed unless it is 0."""
    parts = [settings.dataset]
    if settings.condition != "annealing":
        parts.append(settings.condition)
    name = "_".join(parts) + ending
    return f"{name}_seed{seed}" if seed else name


def spell_switches(arguments: Sequence[str]) -> list[str]:
    """``--binarize false`` and ``--binarize=false`` as ``--no-binarize``, and likewise ``true``."""
    spelled: list[str] = []
    for argument in arguments:
        flag, _, word = argument.rpartition("=")
        if not flag and spelled and spelled[-1].startswith("--") and word.lower() in _WORDS:
            flag = spelled.pop()
        if flag.startswith("--") and word.lower() in _WORDS:
            spelled.append(flag if word.lower() == "true" else f"--no-{flag[2:]}")
        else:
            spelled.append(argument)
    return spelled


def _parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """All flags, with the defaults of the data set that is among the words."""
    named = [word.rpartition("=")[2] for word in words]
    dataset = next((name for name in named if name in DATASETS), DATASETS[0])
    parser = Parser(prog="python -m snn_tha.run", description=__doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "--trials",
        "--num_trials",
        type=int,
        default=1,
        help="trainings, with seeds from --seed on (default: 1)",
    )
    parser.add_argument(
        "--data",
        choices=DATA_CHOICES,
        default="real",
        help="real, the small embedded stand-in, or auto: real if possible (default: real)",
    )
    parser.add_argument(
        "--backend",
        default="auto",
        help=f"implementation of the neurons: {', '.join(BACKENDS)} or auto (default: auto)",
    )
    parser.add_argument(
        "--log_folder",
        "--logs",
        dest="logs",
        type=Path,
        default=RESULTS / "snn_tha_runs",
        help="folder for CSV and JSON logs (default: results/snn_tha_runs); torchrun takes --logs "
        "for a flag of its own, so give it the first spelling",
    )
    parser.add_argument(
        "--save_csv", action=Switch, default=True, help="write CSV logs (default: 1)"
    )
    add_arguments(parser, Settings, tha_settings(dataset))
    add_distributed_arguments(parser)
    return parser


def _trial(args: argparse.Namespace, seed: int) -> argparse.Namespace:
    """The flags for one trial: its seed, and with --out or --name a place of its own."""
    trial = copy.copy(args)
    trial.seed = seed
    if args.out and seed != args.seed:
        trial.out = args.out.with_name(f"{args.out.stem}_seed{seed}{args.out.suffix}")
    if args.name and seed != args.seed:
        trial.name = f"{args.name}_seed{seed}"
    return trial


def run_trial(
    settings: Settings,
    args: argparse.Namespace,
    group: Distributed,
    backend: str,
    load: Callable[[], DataSet],
) -> Path:
    """Train one network to the end, unless that was done before; returns its checkpoint (on every
    process, though only rank 0 need have it).

    Args:
        settings: of the network.
        args: with the flags of :func:`common.runs.add_run_arguments`, and --data.
        group: processes that train together. backend: of the neurons.
        load: gives the samples, where they are needed.

    Raises :class:`UserError` when the checkpoint that is there is of another training.
    """
    stand_in = args.data == "embedded" or (
        args.data == "auto" and is_stand_in(load().about["source"])
    )
    name = network_name(settings, ending=STAND_IN if stand_in else "")
    with open_run(MODEL, name, settings, args, group) as files:
        if files.done:
            return files.checkpoint
        data = load()
        state = train(Trainer(settings, data, args.seed, group, backend), files)
        if group.is_main:
            finish_run(MODEL, settings, state, data.about, args.seed, files)
            best = state["best"]
            print(
                f"{files.checkpoint}: test accuracy {100 * best['test_accuracy']:.2f} %, "
                f"epoch {best['epoch']} of {state['epoch']}, {state['seconds']:.0f} s"
            )
        group.barrier()
    return files.checkpoint


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    train_as_told(argv)


def train_as_told(argv: Sequence[str] | None) -> None:
    """Train as the flags say."""
    words = spell_switches(sys.argv[1:] if argv is None else argv)
    args = _parser(words).parse_args(words)
    if not 1 <= args.trials <= MOST_TRIALS:
        raise UserError(f"--trials is {args.trials}; give 1 to {MOST_TRIALS}")
    dataset = getattr(args, "dataset", DATASETS[0])
    check_choice("data set", dataset, DATASETS)
    overrides = overrides_from_args(Settings, args)
    settings = tha_settings(dataset, overrides, args.protocol == "paper")
    check_training(settings)
    keep_freed_memory()
    load = functools.cache(lambda: load_data(settings, args.data))
    with distributed(args, args.device) as group:
        said_protocol(settings, tha_settings(dataset, paper=True), group, VARIED)
        done = [
            run_trial(settings, _trial(args, seed), group, args.backend, load)
            for seed in range(args.seed, args.seed + args.trials)
        ]
        if group.is_main:
            name = name_of(done[0])
            trained = [load_checkpoint(path, model=MODEL) for path in done]
            write_logs(args.logs, name, trained, args.save_csv)
            kinds = ".csv and .json hold" if args.save_csv else ".json holds"
            print(f"{args.logs / name}{kinds} the logs")


def run_dataset(dataset: str, config: Mapping[str, Any]) -> None:
    """The command line for one data set with the settings of its ``conf.py``, as ``python run.py``
    in its folder uses it; flags come after them."""

    @command_line
    def run(argv: Sequence[str] | None) -> None:
        use_data_of(config)
        train_as_told([*flags_of(dataset, config), *argv])

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
