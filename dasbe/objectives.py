"""What a network is trained to do: its data, an epoch of optimiser steps, a validation.

:mod:`dasbe.train` runs any of them. Batches are global: with several processes each takes its
slice, and gradients are summed.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from common.distributed import Distributed
from common.training import check_finite, generator
from dasbe.config import Settings, TrainingSettings
from dasbe.networks import Autoencoder
from datasets.binding import read_group, source_of, split_range
from datasets.generate import ensure

VALIDATION_BATCH = 1000
READ_BLOCK = 10_000


class Randomness(NamedTuple):
    """Of one epoch: ``data`` is the same in every process, ``code`` is each one's own."""

    data: torch.Generator
    code: torch.Generator


class Objective(Protocol):
    """What :mod:`dasbe.train` needs."""

    about: dict[str, Any]
    """The data, for the checkpoint: dataset, digits, number of images, SHA-256."""

    def train_epoch(
        self,
        network: Autoencoder,
        optimizer: torch.optim.Optimizer,
        epoch: int,
        random: Randomness,
        group: Distributed,
    ) -> float:
        """Epoch number ``epoch`` (from 0); returns the mean training loss."""

    def validate(self, network: Autoencoder, seed: int) -> tuple[float, float]:
        """Mean loss on clean and on noisy validation input; the noise is the same every time."""


def read_images(dataset: str, group: str, count: int, data: str) -> tuple[Tensor, dict[str, Any]]:
    """The first ``count`` images of a group, (M, ..., P) uint8, and what they are."""
    ensure(dataset, {group: count}, groups=[group], data=data)
    parts = [
        read_group(dataset, group, indices=rows).images.flatten(-2).byte()
        for rows in torch.arange(count).split(READ_BLOCK)
    ]
    images = torch.cat(parts)
    digest = hashlib.sha256(images.numpy()).hexdigest()
    return images, {
        "dataset": dataset,
        "group": group,
        "digits": source_of(dataset),
        "images": count,
        "sha256": digest,
    }


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


def epoch_batches(
    n_images: int, settings: TrainingSettings, random: torch.Generator
) -> list[Tensor]:
    """The image indices of every optimiser step of one epoch."""
    if settings.steps_per_epoch is None:
        return list(torch.randperm(n_images, generator=random).split(settings.batch_size))
    shape = (settings.steps_per_epoch, settings.batch_size)
    return list(torch.randint(n_images, shape, generator=random))


def reconstruction_loss(
    network: Autoencoder, noisy: Tensor, clean: Tensor, random: torch.Generator, bfloat16: bool
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy between (M, P) reconstructions and clean images, summed, and the
    (M, C) drive of the code."""
    with torch.autocast(noisy.device.type, torch.bfloat16, enabled=bfloat16):
        logits, drive = network(noisy, random)
    loss = binary_cross_entropy_with_logits(logits.float(), clean, reduction="sum")
    return loss, drive.float()


def at_epoch(settings: TrainingSettings, epoch: int) -> TrainingSettings:
    """The settings without what makes the code sparse and robust, before it has formed."""
    if epoch >= settings.code_terms_from:
        return settings
    return replace(settings, blank=0.0, code_cost=0.0, blank_code_cost=0.0, code_dropout=0.0)


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


class Reconstruction:
    """Reconstruct clean images of single objects from noisy ones."""

    def __init__(self, settings: Settings, data: str) -> None:
        self.settings = settings.training
        count = settings.training.images
        images, self.about = read_images(settings.dataset, "train_single", count, data)
        self.images, self.validation = (
            images[split_range(count, split)] for split in ("train", "validation")
        )

    def train_epoch(
        self,
        network: Autoencoder,
        optimizer: torch.optim.Optimizer,
        epoch: int,
        random: Randomness,
        group: Distributed,
    ) -> float:
        """One epoch; returns the mean reconstruction loss per pixel."""
        settings, n_pixels = at_epoch(self.settings, epoch), self.images.shape[1]
        network.code_dropout = settings.code_dropout
        total, count = 0.0, 0
        for batch in epoch_batches(len(self.images), settings, random.data):
            clean = blank_images(self.images[batch].float(), settings.blank)
            noisy = drop_pixels(clean, settings.noise, random.data)
            part = group.local_slice(len(batch))
            clean, noisy = clean[part].to(group.device), noisy[part].to(group.device)
            optimizer.zero_grad()
            loss, drive = reconstruction_loss(network, noisy, clean, random.code, settings.bfloat16)
            scale = len(batch) * n_pixels
            cost = loss + penalty(network, noisy, clean, drive, settings)
            (cost / scale if settings.loss == "bce_mean" else cost).backward()
            group.sum_gradients(network)
            optimizer.step()
            total += group.all_reduce_sum(loss).item()
            count += scale
        check_finite(total / count, "the training loss")
        return total / count

    @torch.inference_mode()
    def validate(self, network: Autoencoder, seed: int) -> tuple[float, float]:
        """Mean loss per pixel on clean and on noisy validation images."""
        losses = torch.zeros(2)
        device = next(network.parameters()).device
        noise = generator(seed, "validation")
        code = generator(seed, "validation code", device=device)
        for chunk in self.validation.split(VALIDATION_BATCH):
            clean = chunk.float()
            noisy = drop_pixels(clean, self.settings.noise, noise)
            for i, source in enumerate((clean, noisy)):
                loss, _ = reconstruction_loss(
                    network, source.to(device), clean.to(device), code, self.settings.bfloat16
                )
                losses[i] += loss.cpu()
        clean_loss, noisy_loss = (losses / self.validation.numel()).tolist()
        return clean_loss, noisy_loss


OBJECTIVES = {"reconstruction": Reconstruction}


def build_objective(settings: Settings, data: str) -> Objective:
    """The objective that the settings name, with its data read (``data``: real, embedded, auto)."""
    return OBJECTIVES[settings.training.objective](settings, data)
