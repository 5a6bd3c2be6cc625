"""From a trained convolutional network with ReLU to the same one with spikes.

The weights are copied. A layer's neurons share a threshold, the largest current that any of them
gets from training images (threshold balancing, Diehl et al. 2015): with a higher one they would
hardly fire, with a lower one large currents would be cut off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.checkpoints import Checkpoint
from common.errors import UserError
from common.files import write_json
from common.training import progress
from datasets.real import data_folder
from hebbian_snn.convnets.encoders import BLOCKS, ConvolutionalEncoder
from hebbian_snn.convnets.spiking_cnn import FAST_CHUNK, Passage, SpikingEncoder

MARGIN = 1e-5
"""By how much a threshold is above the largest current, relatively."""

FOLDER = data_folder() / "hebbian_snn"
"""Where thresholds and spike trains are kept that took long to compute."""


def copy_weights(source: Checkpoint, encoder: SpikingEncoder | ConvolutionalEncoder) -> None:
    """Give an encoder the convolution kernels, and the batch normalisation if it has one, of a
    trained network.

    Raises :class:`UserError` where the checkpoint lacks them, or holds others.
    """
    normalised = any(".norm." in name for name in source.tensors)
    if normalised != any(".norm." in name for name in encoder.state_dict()):
        has = "has" if normalised else "does not have"
        raise UserError(
            f"{source.path} {has} batch normalisation, unlike the encoder that is wanted; train it "
            f"again with --use_batch_norm {int(not normalised)}, or give another checkpoint"
        )
    with torch.no_grad():
        for k, block in enumerate(encoder.blocks):
            found = [x for n, x in source.tensors.items() if n.endswith(f"blocks.{k}.weight")]
            if len(found) != 1 or found[0].shape != block.weight.shape:
                raise UserError(
                    f"{source.path} does not hold the encoder that is wanted, with convolutions of "
                    f"{tuple(block.weight.shape)} in block {k + 1}; give another checkpoint"
                )
            block.weight.copy_(found[0])
            for name, own in block.state_dict().items():
                if name.startswith("norm."):
                    own.copy_(
                        next(
                            x for n, x in source.tensors.items() if n.endswith(f"blocks.{k}.{name}")
                        )
                    )


def set_thresholds(encoder: SpikingEncoder, thresholds: Sequence[float]) -> None:
    """Give each block its threshold.

    Raises :class:`UserError` unless there are four, above 0.
    """
    if len(thresholds) != BLOCKS or not all(thr > 0 for thr in thresholds):
        raise UserError(f"{BLOCKS} thresholds above 0 are needed, not {list(thresholds)}")
    with torch.no_grad():
        for block, thr in zip(encoder.blocks, thresholds, strict=True):
            block.thr.fill_(thr)


@torch.no_grad()
def balance_thresholds(encoder: SpikingEncoder, images: Tensor) -> list[float]:
    """Set the thresholds to the largest currents, layer by layer from the first: the later ones
    hear the spikes of those that are set.

    They are higher by a hundred-thousandth (:data:`MARGIN`), so that rounding does not decide
    whether a neuron that gets the largest current fires at once: a single spike moves most others.

    Args:
        encoder: with its weights. images: (N, H, W) intensities.

    Returns:
        the thresholds. Raises :class:`UserError` for a layer that no image brings a current.
    """
    bar = progress(total=BLOCKS * len(images), desc="balancing thresholds", unit="image")
    found: list[float] = []
    for k, block in enumerate(encoder.blocks):
        largest = 0.0
        for chunk in images.split(FAST_CHUNK):
            passage = Passage(encoder, chunk)
            for before in encoder.blocks[:k]:
                passage.fire(before, passage.currents(before))
            largest = max(largest, float(passage.currents(block).max()))
            bar.update(len(chunk))
        if largest <= 0:
            raise UserError(
                f"no neuron of block {k + 1} gets a current from {len(images)} images, so it has "
                "no threshold; check the images and the trained network"
            )
        found.append(largest * (1 + MARGIN))
        block.thr.fill_(found[-1])
    bar.close()
    return found


def balanced(encoder: SpikingEncoder, images: Tensor, folder: Path | None = None) -> list[float]:
    """:func:`balance_thresholds`, computed once for the same encoder and images.

    Args:
        folder: where results are kept; default :data:`FOLDER`.
    """
    path = (folder or FOLDER) / f"thresholds_{fingerprint(encoder, images, False)}.json"
    try:
        thresholds = json.loads(path.read_text(encoding="utf-8"))
        set_thresholds(encoder, thresholds)
    except (OSError, ValueError, TypeError, UserError):
        thresholds = balance_thresholds(encoder, images)
        write_json(path, thresholds)
    return thresholds


def fingerprint(encoder: SpikingEncoder, images: Tensor, with_thresholds: bool = True) -> str:
    """16 hexadecimal digits that differ for other weights, neurons, steps or images."""
    digest = hashlib.sha256()
    neurons = encoder.pixels.neuron, *(b.neuron._replace(thr=0.0) for b in encoder.blocks)
    digest.update(repr((encoder.num_time_steps, neurons, tuple(images.shape))).encode())
    for name, tensor in encoder.state_dict().items():
        if with_thresholds or not name.endswith("thr"):
            digest.update(tensor.detach().cpu().numpy().tobytes())
    digest.update(images.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def convert(
    encoder: SpikingEncoder,
    source: Checkpoint | None,
    images: Tensor,
    thresholds: Sequence[float] | None,
    last: float = 1.0,
    told: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Give an encoder its weights and thresholds.

    Args:
        source: trained network whose weights are copied; None: the encoder keeps its own.
        images: that the thresholds are balanced on, (N, H, W).
        thresholds: in place of balanced ones.
        last: the last block's threshold as a share of the balanced one: its neurons, which nothing
            comes after, then count more finely, and only the largest currents are cut off.
        told: what an earlier conversion with the same images returned; its balanced thresholds are
            taken if they are of the same trained network and of as many images.

    Returns:
        what a checkpoint says of it: ``checkpoint``, the SHA-256 of the trained network, or None;
        ``thresholds``; ``threshold_images``, how many they were balanced on.
    """
    if source is not None:
        copy_weights(source, encoder)
    checkpoint = source.sha256 if source else None
    known = told or {}
    if thresholds is None and (known.get("checkpoint"), known.get("threshold_images")) == (
        checkpoint,
        len(images),
    ):
        found, count = known["thresholds"], len(images)
        set_thresholds(encoder, found)
    elif thresholds is None:
        found, count = balanced(encoder, images), len(images)
        found = [*found[:-1], last * found[-1]]
        set_thresholds(encoder, found)
    else:
        set_thresholds(encoder, thresholds)
        found, count = list(thresholds), 0
    return {
        "checkpoint": checkpoint,
        "thresholds": found,
        "threshold_images": count,
    }
