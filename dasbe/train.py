"""Train a network on images of single objects.

    python -m dasbe.train --dataset shapes

The settings stand in ``dasbe/settings/<dataset>.yaml``; every one is a flag. The network with the
lowest validation loss is kept. An epoch's random numbers depend on (seed, epoch) only, and the
state after every epoch is on disk, so a killed training goes on exactly where it was; so does one
with several processes (``torchrun --nproc_per_node 2 -m dasbe.train ...``).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from common.checkpoints import (
    load_checkpoint,
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
    check_finite,
    generator,
    piecewise_learning_rate,
    progress,
)
from dasbe.binding import MODEL
from dasbe.config import Settings, TrainingSettings, dataset_settings, known_datasets
from dasbe.networks import Autoencoder, build_network
from datasets.binding import read_group, source_of, split_range
from datasets.generate import ensure

VALIDATION_BATCH = 1000
READ_BLOCK = 10_000


def drop_pixels(images: Tensor, noise: tuple[float, float], random: torch.Generator) -> Tensor:
    """Zero pixels of (M, P) images with one probability p ~ U(noise) for the whole batch."""
    low, high = noise
    p = low + (high - low) * torch.rand((), generator=random)
    return images * (torch.rand(images.shape, generator=random) >= p)


def blank_images(images: Tensor, share: float) -> Tensor:
    """Replace the first ``share`` of (M, P) images by empty ones."""
    blank = images.clone()
    blank[: round(share * len(images))] = 0
    return blank


def reconstruction_loss(
    network: Autoencoder, noisy: Tensor, clean: Tensor, random: torch.Generator, bfloat16: bool
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy between (M, P) reconstructions and clean images, summed, and the
    (M, C) drive of the code."""
    with torch.autocast(noisy.device.type, torch.bfloat16, enabled=bfloat16):
        logits, drive = network(noisy, random)
    loss = binary_cross_entropy_with_logits(logits.float(), clean, reduction="sum")
    return loss, drive.float()


def penalty(
    network: Autoencoder, noisy: Tensor, clean: Tensor, drive: Tensor, settings: TrainingSettings
) -> Tensor | float:
    """The costs beside the reconstruction, summed over the batch.

    The contractive term is the sum over images and first-layer units of (h (1 - h))^2 |w|^2. The
    code's costs keep it sparse, and silent for empty images.
    """
    cost = 0.0
    if settings.contraction:
        h = torch.sigmoid(network.encoder[0](noisy))
        slopes = (h * (1 - h)).square().sum(0)
        cost = settings.contraction * (slopes @ network.encoder[0].weight.square().sum(1))
    if settings.code_cost or settings.blank_code_cost:
        empty = ~clean.any(dim=1, keepdim=True)
        weights = torch.where(empty, settings.blank_code_cost, settings.code_cost)
        cost = cost + (weights * drive).sum()
    return cost


def epoch_batches(
    n_images: int, settings: TrainingSettings, random: torch.Generator
) -> list[Tensor]:
    """The image indices of every optimiser step of one epoch."""
    if settings.steps_per_epoch is None:
        return list(torch.randperm(n_images, generator=random).split(settings.batch_size))
    shape = (settings.steps_per_epoch, settings.batch_size)
    return list(torch.randint(n_images, shape, generator=random))


def train_epoch(
    network: Autoencoder,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    settings: TrainingSettings,
    random: torch.Generator,
    code_random: torch.Generator,
    group: Distributed,
) -> float:
    """One epoch over (M, P) uint8 images; returns the mean reconstruction loss per pixel."""
    total, count = 0.0, 0
    for batch in epoch_batches(len(images), settings, random):
        clean = blank_images(images[batch].float(), settings.blank)
        noisy = drop_pixels(clean, settings.noise, random)
        part = group.local_slice(len(batch))
        clean, noisy = clean[part].to(group.device), noisy[part].to(group.device)
        optimizer.zero_grad()
        loss, drive = reconstruction_loss(network, noisy, clean, code_random, settings.bfloat16)
        scale = len(batch) * images.shape[1]
        cost = loss + penalty(network, noisy, clean, drive, settings)
        (cost / scale if settings.loss == "bce_mean" else cost).backward()
        group.sum_gradients(network)
        optimizer.step()
        total += group.all_reduce_sum(loss).item()
        count += scale
    check_finite(total / count, "the training loss")
    return total / count


@torch.inference_mode()
def validate(
    network: Autoencoder, images: Tensor, settings: TrainingSettings, seed: int
) -> tuple[float, float]:
    """Mean loss per pixel of reconstructing (M, P) images from clean and from noisy input.

    The noise is the same in every call.
    """
    network.eval()
    losses = torch.zeros(2)
    device = next(network.parameters()).device
    noise, code = generator(seed, "validation"), generator(seed, "validation code", device=device)
    for chunk in images.split(VALIDATION_BATCH):
        clean = chunk.float()
        noisy = drop_pixels(clean, settings.noise, noise)
        for i, source in enumerate((clean, noisy)):
            loss, _ = reconstruction_loss(
                network, source.to(device), clean.to(device), code, settings.bfloat16
            )
            losses[i] += loss.cpu()
    network.train()
    return tuple((losses / images.numel()).tolist())


def train(
    settings: Settings,
    images: Tensor,
    validation: Tensor,
    seed: int,
    files: Files,
    group: Distributed,
) -> dict[str, Any]:
    """Train to the end and return the state, whose ``best`` holds the chosen network.

    Args:
        settings: of the dataset.
        images, validation: (M, P) uint8.
        seed: of initialisation, order and noise.
        files: where the state and the log lie; a state found there is resumed.
        group: the processes that train together.
    """
    network = build_network(
        settings.network, images.shape[1], generator(seed, "start"), settings.training.code_dropout
    )
    network.to(group.device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    stopping = EarlyStopping(settings.training.patience)
    state = {"epoch": 0, "seconds": 0.0, "best": {}}
    if files.state.exists():
        state = load_training_state(files.state)
        check_resumable(state, settings, seed, files.state)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        stopping.load_state_dict(state["stopping"])
    log = MetricLog(files.log, state["epoch"]) if group.is_main else None
    bar = progress(
        total=settings.training.epochs,
        initial=state["epoch"],
        desc=f"training {settings.dataset}",
        unit="epoch",
    )
    while state["epoch"] < settings.training.epochs and not stopping.should_stop:
        began = time.perf_counter()
        rate = piecewise_learning_rate(
            settings.training.learning_rate, settings.training.milestones, state["epoch"]
        )
        optimizer.param_groups[0]["lr"] = rate
        random = generator(seed, "epoch", state["epoch"])
        code_random = generator(seed, "code", state["epoch"], group.rank, device=group.device)
        loss = train_epoch(
            network, optimizer, images, settings.training, random, code_random, group
        )
        clean, noisy = validate(network, validation, settings.training, seed)
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
                    "settings": to_dict(settings),
                    "seed": seed,
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


def check_resumable(state: dict[str, Any], settings: Settings, seed: int, path: Path) -> None:
    """Raise :class:`UserError` when an interrupted training had other settings than this one."""
    there = {**state["settings"], "seed": state["seed"]}
    different = differences(there, {**to_dict(settings), "seed": seed})
    if different:
        raise UserError(
            f"{path} is of a training with other settings ({'; '.join(different)}); "
            "use the same flags to go on, or delete it to start again"
        )


def read_images(settings: Settings, data: str) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """(M, P) uint8 training and validation images, and what they are."""
    name, count = settings.dataset, settings.training.images
    ensure(name, {"train_single": count}, groups=["train_single"], data=data)
    images = torch.empty(count, settings.height * settings.width, dtype=torch.uint8)
    for rows in torch.arange(count).split(READ_BLOCK):
        images[rows] = read_group(name, "train_single", indices=rows).images.flatten(1).byte()
    train, validation = (images[list(split_range(count, s))] for s in ("train", "validation"))
    digest = hashlib.sha256(images.numpy()).hexdigest()
    about = {"dataset": name, "digits": source_of(name), "images": count, "sha256": digest}
    return train, validation, about


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dasbe.train",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
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
        "--overwrite", action="store_true", help="replace a checkpoint that is there"
    )
    add_arguments(parser, Settings)
    add_distributed_arguments(parser)
    args = parser.parse_args(argv)
    if "dataset" not in args:
        raise UserError(f"--dataset is missing; choose one of {', '.join(known_datasets())}")
    settings = dataset_settings(args.dataset, overrides_from_args(Settings, args))
    files = Files(args.out or CHECKPOINTS / MODEL / f"{args.dataset}.safetensors", args.partial)
    if files.checkpoint.exists() and not args.overwrite:
        check_finished(settings, args.seed, files.checkpoint)
        print(f"{files.checkpoint} is there already; --overwrite trains it again")
        return
    with distributed(args, args.device) as group:
        images, validation, data = read_images(settings, args.data)
        state = train(settings, images, validation, args.seed, files, group)
        if group.is_main:
            finish(settings, state, data, args.seed, files)


def check_finished(settings: Settings, seed: int, path: Path) -> None:
    """Raise :class:`UserError` when the checkpoint at ``path`` comes from other settings."""
    metadata = load_checkpoint(path, model=MODEL).metadata
    there = {**metadata["settings"], "seed": metadata["seed"]}
    different = differences(there, {**to_dict(settings), "seed": seed})
    if different:
        raise UserError(
            f"{path} was trained with other settings ({'; '.join(different)}); "
            "give another --out, or --overwrite"
        )


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
    }
    save_checkpoint(files.checkpoint, best["tensors"], metadata)
    files.state.unlink(missing_ok=True)
    print(
        f"{files.checkpoint}: validation loss {best['validation_loss_noisy']:.5f} (noisy input), "
        f"{best['validation_loss_clean']:.5f} (clean), epoch {best['epoch']} of {state['epoch']}, "
        f"{state['seconds']:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
