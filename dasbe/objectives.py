"""What a network is trained to do: its data, an epoch of optimiser steps, a validation.

:mod:`dasbe.train` runs any of them. Batches are global: with several processes each takes its
slice, and gradients are summed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from common.distributed import Distributed
from common.errors import UserError
from common.gpu import to_device
from common.training import bfloat16_products, check_finite, generator
from dasbe.config import Settings, TrainingSettings
from dasbe.networks import Network
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
        network: Network,
        optimizer: torch.optim.Optimizer,
        epoch: int,
        random: Randomness,
        group: Distributed,
    ) -> float:
        """Epoch number ``epoch`` (from 0); returns the mean training loss."""

    def validate(self, network: Network, seed: int) -> tuple[float, float]:
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


def together(abouts: list[dict[str, Any]]) -> dict[str, Any]:
    """What :func:`read_images` says of several groups of one dataset, ``images`` from each."""
    joined = {key: ", ".join(about[key] for about in abouts) for key in ("group", "sha256")}
    return abouts[0] | joined


def drop_pixels(images: Tensor, noise: tuple[float, float], random: torch.Generator) -> Tensor:
    """Zero pixels of (M, P) images with one probability p ~ U(noise) for the whole batch."""
    low, high = noise
    p = low + (high - low) * torch.rand((), generator=random)
    return images * (torch.rand(images.shape, generator=random) >= p)


def add_interference(noisy: Tensor, clean: Tensor, most: float, random: torch.Generator) -> Tensor:
    """Set a few pixels of another object: each of (M, P) noisy images gets those of the clean image
    before it, each with a probability p ~ U(0, most) of its own.

    That is what the network sees in the loop while objects do not yet fire apart.
    """
    if not most:
        return noisy
    p = most * torch.rand((len(clean), 1), generator=random)
    return noisy.maximum(clean.roll(1, 0) * (torch.rand(clean.shape, generator=random) < p))


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
    network: Network, noisy: Tensor, clean: Tensor, random: torch.Generator, bfloat16: bool
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy between (M, P) reconstructions and clean images, summed, and the
    (M, C) drive of the code."""
    with bfloat16_products(bfloat16, noisy.device):
        logits, _, drive = network(noisy, random)
    loss = binary_cross_entropy_with_logits(logits.float(), clean, reduction="sum")
    return loss, drive.float()


def at_epoch(settings: TrainingSettings, epoch: int) -> TrainingSettings:
    """The settings without what makes the code sparse and robust, before it has formed."""
    if epoch >= settings.code_terms_from:
        return settings
    return replace(settings, blank=0.0, code_cost=0.0, blank_code_cost=0.0, code_dropout=0.0)


def penalty(
    network: Network, noisy: Tensor, clean: Tensor, drive: Tensor, settings: TrainingSettings
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
        network: Network,
        optimizer: torch.optim.Optimizer,
        epoch: int,
        random: Randomness,
        group: Distributed,
    ) -> float:
        """One epoch; returns the mean reconstruction loss per pixel."""
        settings, n_pixels = at_epoch(self.settings, epoch), self.images.shape[1]
        network.code_dropout = settings.code_dropout
        total, count = torch.zeros((), dtype=torch.float64, device=group.device), 0
        for batch in epoch_batches(len(self.images), settings, random.data):
            clean = blank_images(self.images[batch].float(), settings.blank)
            noisy = drop_pixels(clean, settings.noise, random.data)
            noisy = add_interference(noisy, clean, settings.interference, random.data)
            part = group.local_slice(len(batch))
            clean, noisy = (to_device(x[part], group.device) for x in (clean, noisy))
            optimizer.zero_grad()
            loss, drive = reconstruction_loss(network, noisy, clean, random.code, settings.bfloat16)
            scale = len(batch) * n_pixels
            cost = loss + penalty(network, noisy, clean, drive, settings)
            (cost / scale if settings.loss == "bce_mean" else cost).backward()
            group.sum_gradients(network)
            optimizer.step()
            total += loss.detach()
            count += scale
        mean = group.all_reduce_sum(total).item() / count
        check_finite(mean, "the training loss")
        return mean

    @torch.inference_mode()
    def validate(self, network: Network, seed: int) -> tuple[float, float]:
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


class Contrast:
    """Reconstruct three kinds of shapes, with alike codes for one kind and unlike for others.

    The loss is the mean cross-entropy of each kind's reconstructions, added, plus the sum over all
    pairs of a batch (a sample with itself included) of (cos(z_i, z_j) / 0.5 - y)^2, y being 1 for
    the same kind and 0 otherwise, z the sampled codes (paper, figure 4). The sum is weighted.
    """

    KINDS = 3
    COSINE_OF_SAME_KIND = 0.5

    def __init__(self, settings: Settings, data: str) -> None:
        self.settings = settings.training
        count = settings.training.images
        kinds = [
            read_images(settings.dataset, f"train_single_{kind}", count, data)
            for kind in range(self.KINDS)
        ]
        self.about = together([about for _, about in kinds])
        images = torch.stack([images for images, _ in kinds])
        self.images, self.validation = (
            images[:, split_range(count, split)] for split in ("train", "validation")
        )

    def loss(
        self, network: Network, noisy: Tensor, clean: Tensor, code_random: torch.Generator
    ) -> Tensor:
        """The loss of (3, M, P) images, M of each kind."""
        with bfloat16_products(self.settings.bfloat16, noisy.device):
            logits, code, _ = network(noisy.flatten(0, 1), code_random)
        cross_entropy = binary_cross_entropy_with_logits(logits.float(), clean.flatten(0, 1))
        unit = normalize(code.float(), dim=1)
        cosine = (unit @ unit.T).unflatten(1, (self.KINDS, -1)).unflatten(0, (self.KINDS, -1))
        same = torch.eye(self.KINDS, device=clean.device)[:, None, :, None]
        contrast = (cosine / self.COSINE_OF_SAME_KIND - same).square().sum()
        return self.KINDS * cross_entropy + self.settings.contrast_weight * contrast

    def train_epoch(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        epoch: int,
        random: Randomness,
        group: Distributed,
    ) -> float:
        """One epoch; returns the mean loss of a batch."""
        if group.world_size > 1:
            raise UserError("the contrastive loss needs all pairs of a batch; use one process")
        total = torch.zeros((), dtype=torch.float64, device=group.device)
        batches = epoch_batches(self.images.shape[1], self.settings, random.data)
        for batch in batches:
            clean = self.images[:, batch].float()
            noisy = to_device(drop_pixels(clean, self.settings.noise, random.data), group.device)
            optimizer.zero_grad()
            loss = self.loss(network, noisy, to_device(clean, group.device), random.code)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        mean = total.item() / len(batches)
        check_finite(mean, "the training loss")
        return mean

    @torch.inference_mode()
    def validate(self, network: Network, seed: int) -> tuple[float, float]:
        """Mean loss of a batch on clean and on noisy validation images."""
        losses = torch.zeros(2)
        device = next(network.parameters()).device
        noise = generator(seed, "validation")
        code = generator(seed, "validation code", device=device)
        chunks = self.validation.split(self.settings.batch_size, dim=1)
        for chunk in chunks:
            clean = chunk.float()
            noisy = drop_pixels(clean, self.settings.noise, noise)
            for i, source in enumerate((clean, noisy)):
                losses[i] += self.loss(network, source.to(device), clean.to(device), code).cpu()
        clean_loss, noisy_loss = (losses / len(chunks)).tolist()
        return clean_loss, noisy_loss


class NextFrame:
    """Predict the next frame of a moving shape from noisy frames (paper, figure 5).

    The prediction for a frame needs the codes of that frame and of the one before, which do not
    depend on each other; back-propagation through time is cut every ``unroll`` frames, so that
    much is one network call.
    """

    def __init__(self, settings: Settings, data: str) -> None:
        self.settings = settings.training
        count = settings.training.images
        groups = [
            read_images(settings.dataset, group, count, data) for group in settings.training.groups
        ]
        self.about = together([about for _, about in groups])
        self.images, self.validation = (
            torch.cat([images[split_range(count, split)] for images, _ in groups])
            for split in ("train", "validation")
        )

    def spoil(self, frames: Tensor, random: torch.Generator) -> Tensor:
        """(M, T, P) frames with some empty (the same for all M), pixels dropped, pixels set."""
        n_frames = frames.shape[1]
        lost = torch.randperm(n_frames, generator=random)[: int(self.settings.blank * n_frames) + 1]
        noisy = frames.clone()
        noisy[:, lost] = 0
        noisy = drop_pixels(noisy, self.settings.noise, random)
        return noisy.maximum(
            (torch.rand(noisy.shape, generator=random) < self.settings.salt).float()
        )

    def predict(self, network: Network, frames: Tensor, previous: Tensor | None) -> tuple:
        """(M, T, P) predictions of the next frames, and the last code h (M, 1, C).

        ``previous`` is the code of the frame before the first, None at the start of a sequence.
        """
        h = network.encode(frames)
        before = torch.zeros_like(h[:, :1]) if previous is None else previous
        shifted = torch.cat([before, h[:, :-1]], dim=1)
        mixed, _ = network.step(h, shifted, None, 0)
        return network.decode(mixed), h[:, -1:].detach()

    def losses(self, network: Network, noisy: Tensor, clean: Tensor) -> Iterator[Tensor]:
        """The squared error, summed, of every piece of ``unroll`` frames of (M, T, P)."""
        previous = None
        for start in range(0, clean.shape[1] - 1, self.settings.unroll):
            stop = min(start + self.settings.unroll, clean.shape[1] - 1)
            prediction, previous = self.predict(network, noisy[:, start:stop], previous)
            yield (prediction - clean[:, start + 1 : stop + 1]).square().sum()

    def train_epoch(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        epoch: int,
        random: Randomness,
        group: Distributed,
    ) -> float:
        """One epoch; returns the mean squared error."""
        total = torch.zeros((), dtype=torch.float64, device=group.device)
        for batch in epoch_batches(len(self.images), self.settings, random.data):
            clean = self.images[batch].float()
            noisy = torch.cat([self.spoil(clean[:, :-1], random.data), clean[:, -1:]], dim=1)
            part = group.local_slice(len(batch))
            noisy, clean = (to_device(x[part], group.device) for x in (noisy, clean))
            optimizer.zero_grad()
            for loss in self.losses(network, noisy, clean):
                (loss / (len(batch) * self.settings.unroll * clean.shape[2])).backward()
                group.sum_gradients(network)
                optimizer.step()
                optimizer.zero_grad()
                total += loss.detach()
        mean = group.all_reduce_sum(total).item() / (
            len(self.images) * (self.images.shape[1] - 1) * self.images.shape[2]
        )
        check_finite(mean, "the training loss")
        return mean

    @torch.inference_mode()
    def validate(self, network: Network, seed: int) -> tuple[float, float]:
        """Mean squared error from clean and from noisy validation frames."""
        device = next(network.parameters()).device
        clean = self.validation.float()
        spoiled = self.spoil(clean[:, :-1], generator(seed, "validation"))
        noisy = torch.cat([spoiled, clean[:, -1:]], dim=1)
        scale = clean[:, 1:].numel()
        clean_loss, noisy_loss = (
            sum(loss.item() for loss in self.losses(network, source.to(device), clean.to(device)))
            / scale
            for source in (clean, noisy)
        )
        return clean_loss, noisy_loss


OBJECTIVES = {"reconstruction": Reconstruction, "contrast": Contrast, "next_frame": NextFrame}


def build_objective(settings: Settings, data: str) -> Objective:
    """The objective that the settings name, with its data read (``data``: real, embedded, auto)."""
    return OBJECTIVES[settings.training.objective](settings, data)
