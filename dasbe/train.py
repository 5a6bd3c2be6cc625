"""Train a network on images of single objects.

    python -m dasbe.train --dataset shapes

The settings stand in ``dasbe/settings/<dataset>.yaml``; every one is a flag. The network with the
lowest validation loss is kept. An epoch's random numbers depend on (seed, epoch) only, and the
state after every epoch is on disk, so a killed training goes on exactly where it was; so does one
with several processes (``torchrun --nproc_per_node 2 -m dasbe.train ...``).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from common.checkpoints import (
    load_training_state,
    save_checkpoint,
    save_training_state,
)
from common.distributed import Distributed, distributed
from common.distributed import add_arguments as add_distributed_arguments
from common.errors import UserError, command_line
from common.paths import CHECKPOINTS
from common.records import this_command
from common.settings import add_arguments, differences, overrides_from_args, to_dict
from common.training import (
    EarlyStopping,
    MetricLog,
    generator,
    piecewise_learning_rate,
    progress,
)
from dasbe.binding import MODEL, load_network
from dasbe.config import Settings, dataset_settings, known_datasets
from dasbe.networks import build_network
from dasbe.objectives import Objective, Randomness, build_objective


def train(
    settings: Settings, objective: Objective, seed: int, files: Files, group: Distributed
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
    state = {"epoch": 0, "seconds": 0.0, "best": {}}
    if files.state.exists():
        state = load_training_state(files.state)
        check_same_run(state["run"], run, files.state)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        stopping.load_state_dict(state["stopping"])
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
                "tensors": {k: v.cpu().clone() for k, v in network.state_dict().items()},
            }
        state["epoch"] += 1
        state["seconds"] += time.perf_counter() - began
        if group.is_main:
            log.write(state["epoch"], loss=loss, clean=clean, noisy=noisy, learning_rate=rate)
            save_training_state(
                files.state,
                {
                    **state,
                    "run": run,
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "stopping": stopping.state_dict(),
                },
            )
        bar.update()
        bar.set_postfix(loss=f"{loss:.4f}", best=f"{stopping.best:.4f}")
    bar.close()
    return state


class Files:
    """Where one training writes: the checkpoint, the state to resume from, the log."""

    def __init__(self, checkpoint: Path, partial: Path) -> None:
        self.checkpoint = checkpoint
        self.state = partial / f"{MODEL}_{checkpoint.stem}.pt"
        self.log = partial / f"{MODEL}_{checkpoint.stem}.jsonl"


def check_same_run(there: dict[str, Any], here: dict[str, Any], path: Path) -> None:
    """Raise :class:`UserError` when the file at ``path`` is of a training that differs."""
    different = differences(there, here)
    if different:
        raise UserError(
            f"{path} is of a training with other settings or data ({'; '.join(different)}); "
            "give the same flags, another --out, or --overwrite to train from the start"
        )


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dasbe.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, order and noise")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--data",
        choices=("auto", "real", "embedded"),
        default="real",
        help="for MNIST-based sets: real files, or the small embedded default (default: real)",
    )
    parser.add_argument("--out", type=Path, help="checkpoint to write (default: the shipped one)")
    parser.add_argument(
        "--partial",
        type=Path,
        default=CHECKPOINTS / "partial",
        help="folder for the state of an unfinished training (default: checkpoints/partial)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="train from the start, whatever checkpoint or unfinished training is there",
    )
    add_arguments(parser, Settings)
    add_distributed_arguments(parser)
    args = parser.parse_args(argv)
    if "dataset" not in args:
        raise UserError(f"--dataset is missing; choose one of {', '.join(known_datasets())}")
    overrides = overrides_from_args(Settings, args)
    del overrides["dataset"]  # names the settings file
    settings = dataset_settings(args.dataset, overrides)
    files = Files(args.out or CHECKPOINTS / MODEL / f"{args.dataset}.safetensors", args.partial)
    if args.overwrite:
        files.state.unlink(missing_ok=True)
    elif files.checkpoint.exists():
        trained = load_network(files.checkpoint)
        there = {**to_dict(trained.settings), "seed": trained.checkpoint.metadata["seed"]}
        check_same_run(there, {**to_dict(settings), "seed": args.seed}, files.checkpoint)
        print(f"{files.checkpoint} is there already; --overwrite trains it again")
        return
    with distributed(args, args.device) as group:
        objective = build_objective(settings, args.data)
        state = train(settings, objective, args.seed, files, group)
        if group.is_main:
            finish(settings, state, objective.about, args.seed, files)


def finish(
    settings: Settings, state: dict[str, Any], data: dict[str, Any], seed: int, files: Files
) -> None:
    """Write the chosen network as a checkpoint and remove the state."""
    best = state["best"]
    metadata = {
        "model": MODEL,
        "settings": to_dict(settings),
        "seed": seed,
        "data": data,
        "epochs": state["epoch"],
        "seconds": round(state["seconds"], 1),
        "command": this_command(),
        **{key: value for key, value in best.items() if key != "tensors"},
        "curve": [json.loads(line) for line in files.log.read_text().splitlines()],
    }
    save_checkpoint(files.checkpoint, best["tensors"], metadata)
    files.state.unlink(missing_ok=True)
    files.log.unlink()
    print(
        f"{files.checkpoint}: validation loss {best['validation_loss_noisy']:.5f} (noisy input), "
        f"{best['validation_loss_clean']:.5f} (clean), epoch {best['epoch']} of {state['epoch']}, "
        f"{state['seconds']:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
