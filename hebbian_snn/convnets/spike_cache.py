"""Spike trains of images, computed once and kept as bits: 64 neurons for 100 steps are 800 bytes.

A network that is not trained answers an image the same way every time, so a memory on top of it can
be trained on stored trains. They are stored in parts: after an interruption only the part that was
being computed is lost.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from common.checkpoints import load_checkpoint, save_checkpoint
from common.errors import UserError
from common.training import progress
from hebbian_snn.convnets.conversion import FOLDER, fingerprint
from hebbian_snn.convnets.spiking_cnn import SpikingEncoder

PART = 4096
"""Images of a file."""


def pack(spikes: Tensor) -> Tensor:
    """(..., N) 0 and 1 to bits, (..., ceil(N / 8)) uint8, the first in the highest place."""
    return torch.from_numpy(np.packbits(spikes.to(torch.uint8).cpu().numpy(), axis=-1))


def unpack(bits: Tensor, n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The (..., n) spikes of :func:`pack`, on the device of ``bits``."""
    places = torch.arange(7, -1, -1, device=bits.device)
    bytes_ = (torch.arange(256, device=bits.device)[:, None] >> places & 1).to(dtype)
    return bytes_[bits.long()].flatten(-2)[..., :n]


def thinned(bits: Tensor, share: float, generator: Generator) -> Tensor:
    """Packed spikes without a random ``share`` of them, each lost for itself."""
    if share == 0:
        return bits
    kept = torch.rand(*bits.shape, 8, generator=generator) >= share
    return bits & pack(kept.flatten(-2))


def cached_trains(
    encoder: SpikingEncoder, images: Tensor, name: str, folder: Path | None = None
) -> Tensor:
    """Packed spike trains (N, T, ceil(outputs / 8)) of images (N, H, W).

    Args:
        encoder: the converted network. images: intensities.
        name: of the images, for the progress bar and the files.
        folder: where they are kept; default ``datasets/files/hebbian_snn``.
    """
    place = (folder or FOLDER) / f"{name}_{fingerprint(encoder, images)}"
    bar = progress(total=len(images), desc=f"spike trains of {name}", unit="image")
    parts = []
    for k, chunk in enumerate(images.split(PART)):
        path = place / f"{k:03}.safetensors"
        bits = _read(path, len(chunk))
        if bits is None:
            trains = []
            for some in chunk.split(PART // 16):
                trains.append(pack(encoder.trains(some)))
                bar.update(len(some))
            bits = torch.cat(trains)
            save_checkpoint(path, {"bits": bits}, {"model": "spike trains"})
        else:
            bar.update(len(chunk))
        parts.append(bits)
    bar.close()
    return torch.cat(parts)


def _read(path: Path, count: int) -> Tensor | None:
    """The trains of a part, None where they are not there or damaged."""
    try:
        bits = load_checkpoint(path, model="spike trains").tensors["bits"]
    except (UserError, KeyError):
        return None
    return bits if len(bits) == count else None
