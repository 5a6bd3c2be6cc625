"""Train a network on images of single objects.

    python -m dasbe.train --dataset shapes

The settings stand in ``dasbe/settings/<dataset>.yaml``; every one is a flag. The network with the
lowest validation loss is kept. An epoch's random numbers depend on (seed, epoch) only, and the
state after every epoch is on disk, so a killed training goes on exactly where it was; so does one
with several processes (``torchrun --nproc_per_node 2 -m dasbe.train ...``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from common.arguments import Parser
from common.distributed import Distributed, distributed
from common.distributed import add_arguments as add_distributed_arguments
from common.errors import UserError, command_line
from common.learner import Learner
from common.protocol import said_protocol
from common.runs import RunFiles, add_run_arguments, finish_run, open_run
from common.settings import add_arguments, overrides_from_args, to_dict
from common.training import (
    EarlyStopping,
    MetricLog,
    generator,
    piecewise_learning_rate,
    progress,
)
from dasbe.binding import DEVICE, MODEL
from dasbe.config import Settings, check_dataset, dataset_settings, known_datasets
from dasbe.networks import build_network
from dasbe.objectives import Objective, Randomness, build_objective
from datasets.generate import digits_of
from datasets.sources import STAND_IN, is_stand_in


def train(
    settings: Settings, objective: Objective, seed: int, files: RunFiles, group: Distributed
) -> dict[str, Any]:
    """Train to the end and return the state, whose ``best`` holds the chosen network.

    Args:
        settings: of the network and its training.
        objective: data and losses.
        seed: of initialisation, order and noise.
        files: where the state and the log lie; a state found there is resumed.
        group: the processes that train together.
    """
    network = build_network(
        settings.network, settings.height * settings.width, generator(seed, "start")
    ).to(group.device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    stopping = EarlyStopping(settings.training.patience)
    run = {**to_dict(settings), "seed": seed, "data": objective.about}
    learner = Learner(network, optimizer, stopping, run)
    state = learner.start(files.state, group)
    log = MetricLog(files.log, state["epoch"]) if group.is_main else None
    bar = progress(
        total=settings.training.epochs,
        initial=state["epoch"],
        desc=f"training {settings.dataset}",
        unit="epoch",
        shown=group.is_main,
    )
    while state["epoch"] < settings.training.epochs and not stopping.should_stop:
        began = time.perf_counter()
        rate = piecewise_learning_rate(
            settings.training.learning_rate, settings.training.milestones, state["epoch"]
        )
        optimizer.param_groups[0]["lr"] = rate
        random = Randomness(
            generator(seed, "epoch", state["epoch"]),
            generator(seed, "code", state["epoch"], group.rank, device=group.device),
        )
        network.train()
        loss = objective.train_epoch(network, optimizer, state["epoch"], random, group)
        network.eval()
        clean, noisy = objective.validate(network, seed)
        improved = stopping.update(clean if settings.training.choose == "clean" else noisy)
        if improved or settings.training.choose == "last":
            state["best"] = {
                "epoch": state["epoch"] + 1,
                "validation_loss_clean": clean,
                "validation_loss_noisy": noisy,
                "tensors": learner.tensors(),
            }
        state["epoch"] += 1
        state["seconds"] += time.perf_counter() - began
        if group.is_main:
            log.write(state["epoch"], loss=loss, clean=clean, noisy=noisy, learning_rate=rate)
            learner.save(files.state, state)
        bar.update()
        bar.set_postfix(loss=f"{loss:.4f}", best=f"{stopping.best:.4f}")
    bar.close()
    return state


ORIGINAL_NAMES = {"corner": "corners", "shape": "shapes"}
"""What the original's ``train_net.py`` calls them."""


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    words = [word.rpartition("=")[2] for word in (sys.argv[1:] if argv is None else argv)]
    named = [ORIGINAL_NAMES.get(word, word) for word in words]
    datasets = [name for name in named if name in known_datasets()]
    shown = dataset_settings(datasets[0]) if datasets else "as in the file of --dataset"
    parser = Parser(prog="python -m dasbe.train", description=__doc__)
    parser.add_argument(
        "network", nargs="?", help="what to train, as --dataset (also: corner, shape)"
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--data",
        choices=("auto", "real", "embedded"),
        default="real",
        help="for MNIST-based sets: real files, the 5 000 embedded digits, or auto (default: real)",
    )
    add_arguments(parser, Settings, shown)
    add_distributed_arguments(parser)
    args = parser.parse_args(argv)
    if args.network is not None:
        name = ORIGINAL_NAMES.get(args.network, args.network)
        if getattr(args, "dataset", name) != name:
            raise UserError(f"{args.network} and --dataset {args.dataset} are two; give one")
        args.dataset = name
    if "dataset" not in args:
        raise UserError(f"--dataset is missing; choose one of {', '.join(known_datasets())}")
    overrides = overrides_from_args(Settings, args)
    overrides.pop("dataset", None)  # names the settings file
    settings = dataset_settings(args.dataset, overrides, args.protocol == "paper")
    paper = dataset_settings(args.dataset, paper=True)
    check_dataset(settings)
    digits = digits_of(settings.dataset, args.data) if args.data != "real" else ""
    name = args.dataset + STAND_IN * is_stand_in(digits)
    with (
        distributed(args, DEVICE if args.device == "auto" else args.device) as group,
        said_protocol(settings, paper, group),
        open_run(MODEL, name, settings, args, group) as files,
    ):
        if files.done:
            return
        objective = build_objective(settings, args.data)
        state = train(settings, objective, args.seed, files, group)
        if group.is_main:
            finish_run(MODEL, settings, state, objective.about, args.seed, files)
            best = state["best"]
            print(
                f"{files.checkpoint}: validation loss {best['validation_loss_noisy']:.5f} "
                f"(noisy input), {best['validation_loss_clean']:.5f} (clean), "
                f"epoch {best['epoch']} of {state['epoch']}, {state['seconds']:.0f} s"
            )


if __name__ == "__main__":
    sys.exit(main())
