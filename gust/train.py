"""Train a network to reconstruct images of several superposed objects, without labels.

    python -m gust.train --train_objects 3

The settings stand in ``gust/settings/gust.yaml``; every one is a flag. The network with the lowest
validation loss is kept, as ``runs/gust/shapes_<objects>/network.safetensors``. An epoch's random
numbers depend on (seed, epoch, image) only, and the state after every epoch is on disk, so a killed
training goes on exactly where it was; so does one with several processes
(``torchrun --nproc_per_node 2 -m gust.train ...``).

The log, one line an epoch, is ``log.jsonl`` beside it, and in the checkpoint afterwards: loss of
the training images and of the validation images (summed over them; averaged for those losses that
are means), both with noisy input, and the mean AMI and SynScore of some clean validation images.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.arguments import Parser
from common.distributed import Distributed, distributed
from common.distributed import add_arguments as add_distributed_arguments
from common.errors import command_line
from common.learner import Learner
from common.protocol import said_protocol
from common.runs import RunFiles, add_run_arguments, finish_run, open_run
from common.settings import add_arguments, overrides_from_args, to_dict
from common.training import (
    EarlyStopping,
    MetricLog,
    bfloat16_products,
    check_finite,
    generator,
    piecewise_learning_rate,
    progress,
)
from datasets.binding import Images, read_group, split_range
from datasets.generate import ensure
from gust import losses
from gust.config import Settings, bytes_of_image, check_dataset, gust_settings
from gust.dynamics import Noise, drop_pixels, unroll
from gust.kernels import BACKENDS, choose_backend
from gust.network import Autoencoder
from gust.scoring import EVALUATION_ROUND, bind_and_score
from gust.trained import MODEL, build_network

VALIDATION_ROUND = EVALUATION_ROUND + 1
FIRST_EPOCH_ROUND = VALIDATION_ROUND + 1
"""Rounds of the random numbers; the same in every epoch for the validation."""

CHUNK = {"cpu": 256, "cuda": 4096}
"""Images that go through the network together: gradients of a batch are added up in parts that fit
the caches."""
CHUNK_BYTES = {"cpu": 4e9, "cuda": 16e9}
"""Fewer go together where they would need more memory than this, with large windows."""


class Data:
    """The images of a training: (N, P) uint8 for the losses, the first ones of the validation with
    their groups for the scores."""

    def __init__(self, settings: Settings) -> None:
        count = settings.training.images
        ensure(settings.dataset, {"train_multi": count}, groups=["train_multi"])
        whole = read_group(settings.dataset, "train_multi", count=count)
        self.images = whole.images.flatten(1).byte()
        self.train, self.validation = (
            np.asarray(split_range(count, split)) for split in ("train", "validation")
        )
        with_objects = (whole.groups[self.validation] > 0).flatten(1).any(dim=1).numpy()
        self.scored = self.validation[with_objects][: settings.training.score_images]
        self.to_score = Images(*(part[self.scored] for part in whole))
        self.about = {
            "dataset": settings.dataset,
            "group": "train_multi",
            "images": count,
            "sha256": hashlib.sha256(self.images.numpy()).hexdigest(),
        }


def loss_of(
    network: Autoencoder,
    clean: Tensor,
    settings: Settings,
    noise: Noise,
    backend: str,
    epoch: int = 0,
) -> Tensor:
    """The loss summed over (B, P) clean images whose noisy versions are the input; as many
    iterations are unrolled as in that epoch."""
    training = settings.training
    loss = losses.LOSSES[training.loss]
    noisy = drop_pixels(clean, training.noise, noise)
    with bfloat16_products(training.bfloat16, clean.device):
        feedback, spikes = unroll(
            noisy,
            network,
            settings.dynamics,
            training.iterations_in(epoch),
            noise,
            loss.uses_spikes,
            backend,
        )
    return loss.of_images(feedback, spikes, clean).sum()


class Trainer:
    """What an epoch does, in one process or several.

    Args:
        settings: of the network and its training.
        data: its images.
        seed: of order and noise.
        group: the processes that train together; each takes its part of every batch.
        backend: of the scan.
    """

    def __init__(
        self, settings: Settings, data: Data, seed: int, group: Distributed, backend: str
    ) -> None:
        self.settings, self.data, self.seed = settings, data, seed
        self.group, self.backend = group, backend
        # All images lie on the device, so that a step copies nothing there.
        self.images = data.images.to(group.device)
        self.indices = {
            name: torch.from_numpy(indices).to(group.device)
            for name, indices in (("train", data.train), ("validation", data.validation))
        }
        self.averaged = losses.LOSSES[settings.training.loss].averaged

    def train_epoch(
        self, network: Autoencoder, optimizer: torch.optim.Optimizer, epoch: int
    ) -> float:
        """Epoch number ``epoch`` (from 0); returns the training loss."""
        train = self.indices["train"]
        order = torch.randperm(len(train), generator=generator(self.seed, "epoch", epoch))
        total = torch.zeros((), dtype=torch.float64, device=self.group.device)
        for batch in train[order.to(train.device)].split(self.settings.training.batch_size):
            scale = 1 / len(batch) if self.averaged else 1.0
            optimizer.zero_grad()
            noise_round = FIRST_EPOCH_ROUND + epoch
            total += self._sum(network, batch, noise_round, epoch, scale)
            self.group.sum_gradients(network)
            optimizer.step()
        loss = self.group.all_reduce_sum(total).item()
        check_finite(loss, "the training loss")
        return loss / len(order) if self.averaged else loss

    @torch.no_grad()
    def validate(self, network: Autoencoder, epoch: int = 0) -> float:
        """The loss of the validation images after an epoch, with the same noise every time."""
        part = self._sum(network, self.indices["validation"], VALIDATION_ROUND, epoch)
        total = self.group.all_reduce_sum(part).item()
        return total / len(self.data.validation) if self.averaged else total

    def _sum(
        self,
        network: Autoencoder,
        images: Tensor,
        round_: int,
        epoch: int,
        scale: float = 1.0,
    ) -> Tensor:
        """The summed loss of this process's part of the images with these indices, 0-d float64.

        Where gradients are on, those of ``scale`` times this process's part are added up.
        """
        total = torch.zeros((), dtype=torch.float64, device=self.group.device)
        part = images[self.group.local_slice(len(images))]
        kind = self.group.device.type
        size = min(CHUNK[kind], max(1, int(CHUNK_BYTES[kind] / bytes_of_image(self.settings))))
        for begin in range(0, len(part), size):
            indices = part[begin : begin + size]
            clean = self.images[indices].float()
            noise = Noise(self.seed, round_, indices)
            loss = loss_of(network, clean, self.settings, noise, self.backend, epoch)
            if torch.is_grad_enabled():
                (scale * loss).backward()
            total += loss.detach()
        return total

    def score(self, network: Autoencoder) -> dict[str, float]:
        """Mean AMI and SynScore of clean validation images."""
        images, groups = self.data.to_score
        part = self.group.local_slice(len(images))
        total = torch.zeros(2, dtype=torch.float64, device=self.group.device)
        if part.stop > part.start:
            found = bind_and_score(
                images[part].to(self.group.device),
                groups[part],
                network,
                self.settings,
                self.seed,
                self.data.scored[part],
                self.settings.train_objects + 1,
                self.backend,
            )
            total += torch.tensor([values.sum() for values in found], device=total.device)
        ami, synchrony = (self.group.all_reduce_sum(total) / len(images)).tolist()
        return {"ami": ami, "synscore": synchrony}


def train(trainer: Trainer, files: RunFiles) -> dict[str, Any]:
    """Train to the end and return the state, whose ``best`` holds the chosen network.

    Args:
        trainer: what an epoch does.
        files: where the state and the log lie; a state found there is resumed.
    """
    settings, group, seed = trainer.settings, trainer.group, trainer.seed
    training = settings.training
    network = build_network(settings, generator(seed, "start")).to(group.device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    stopping = EarlyStopping(training.patience)
    run = {**to_dict(settings), "seed": seed, "data": trainer.data.about}
    learner = Learner(network, optimizer, stopping, run)
    state = learner.start(files.state, group)
    log = MetricLog(files.log, state["epoch"]) if group.is_main else None
    bar = progress(
        total=training.epochs,
        initial=state["epoch"],
        desc=f"training on {settings.train_objects} objects",
        unit="epoch",
        shown=group.is_main,
    )
    while state["epoch"] < training.epochs and not stopping.should_stop:
        began = time.perf_counter()
        rate = piecewise_learning_rate(training.learning_rate, training.milestones, state["epoch"])
        optimizer.param_groups[0]["lr"] = rate
        loss = trainer.train_epoch(network, optimizer, state["epoch"])
        validation = trainer.validate(network, state["epoch"])
        state["epoch"] += 1
        if stopping.update(validation):
            state["best"] = {
                "epoch": state["epoch"],
                "validation_loss": validation,
                "tensors": learner.tensors(),
            }
        scores = trainer.score(network) if state["epoch"] % training.score_every == 0 else {}
        state["seconds"] += time.perf_counter() - began
        if group.is_main:
            line = {"loss": loss, "validation_loss": validation, **scores}
            log.write(state["epoch"], **line, learning_rate=rate)
            learner.save(files.state, state)
        bar.update()
        bar.set_postfix(
            loss=f"{loss:.4g}",
            best=f"{stopping.best:.4g}",
            **{name: f"{value:.2f}" for name, value in scores.items()},
        )
    bar.close()
    return state


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="python -m gust.train", description=__doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "--backend",
        default="auto",
        help=f"implementation of the spiking pixels: {', '.join(BACKENDS)} or auto (default: auto)",
    )
    add_arguments(parser, Settings, gust_settings())
    add_distributed_arguments(parser)
    args = parser.parse_args(argv)
    settings = gust_settings(overrides_from_args(Settings, args), args.protocol == "paper")
    check_dataset(settings)
    name = f"shapes_{settings.train_objects}"
    with (
        distributed(args, args.device) as group,
        said_protocol(settings, gust_settings(paper=True), group),
        open_run(MODEL, name, settings, args, group) as files,
    ):
        if files.done:
            return
        backend = choose_backend(args.backend, group.device)
        trainer = Trainer(settings, Data(settings), args.seed, group, backend)
        state = train(trainer, files)
        if group.is_main:
            finish_run(MODEL, settings, state, trainer.data.about, args.seed, files)
            best = state["best"]
            print(
                f"{files.checkpoint}: validation loss {best['validation_loss']:.4f}, "
                f"epoch {best['epoch']} of {state['epoch']}, {state['seconds']:.0f} s"
            )


if __name__ == "__main__":
    sys.exit(main())
