"""Networks on disk: small, safe files for shipping and complete states for exact resuming.

A *checkpoint* (``.safetensors``) is a trained network with its settings and scores inside; it
holds numbers only, so reading one never runs code. A *training state* (``.pt``) is everything an
interrupted training needs to go on as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from common.errors import UserError
from common.files import atomic_path, sha256_of

PathLike = str | os.PathLike[str]

_DIGEST = "tensors_sha256"  # metadata key: safetensors itself does not notice a flipped bit
_SIGNS = "packed_signs"  # metadata key: shapes of the tensors that are stored as one bit a number


@dataclass(frozen=True)
class Checkpoint:
    """A network read from ``path``: named tensors, what was saved with them, the file's hash."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    sha256: str


def save_checkpoint(
    path: PathLike,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    signs: Collection[str] = (),
) -> str:
    """Write ``tensors`` and JSON-able ``metadata`` to a safetensors file, atomically.

    ``metadata["model"]`` should name the network (see :func:`load_checkpoint`). Equal content
    gives an equal file. Of the tensors named in ``signs`` only the signs are kept, packed: they are
    read again as +1 (also for 0) and -1, in float32. Returns the file's SHA-256.
    """
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    if signs:
        metadata = {**metadata, _SIGNS: {name: list(copies[name].shape) for name in sorted(signs)}}
        copies |= {name: _packed(copies[name]) for name in signs}
    # One entry, because safetensors writes several of them in no fixed order.
    text = json.dumps({**metadata, _DIGEST: _digest(copies)}, sort_keys=True)
    with atomic_path(path) as temporary:  # by Python, whose errors say that the disk is full
        temporary.write_bytes(save(copies, metadata={"json": text}))
    return sha256_of(path)


def load_checkpoint(path: PathLike, *, model: str | None = None) -> Checkpoint:
    """Read and verify a file of :func:`save_checkpoint`; tensors lie on the CPU.

    Raises :class:`UserError` when the file is missing, is damaged or in another format, holds
    numbers that are not finite, or is a network other than ``model``.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; train it first or check the name")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = json.loads((file.metadata() or {})["json"])
        digest = metadata.pop(_DIGEST)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError):
        raise UserError(
            f"{path} is not a checkpoint of this repository, or it is damaged; "
            "restore the file or train the network again"
        ) from None
    if digest != _digest(tensors):
        raise UserError(f"{path} is damaged (its numbers do not match their checksum); restore it")
    if any(not torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise UserError(f"{path} holds numbers that are not finite; train the network again")
    for name, shape in metadata.pop(_SIGNS, {}).items():
        tensors[name] = _unpacked(tensors[name], shape)
    if model is not None and metadata.get("model") != model:
        found = metadata.get("model")
        raise UserError(f"{path} holds the network {found!r} where {model!r} is needed")
    return Checkpoint(path, tensors, metadata, sha256_of(path))


def _packed(tensor: Tensor) -> Tensor:
    """Whether each number is 0 or more, eight to a byte."""
    return torch.from_numpy(np.packbits((tensor >= 0).flatten().numpy()))


def _unpacked(bits: Tensor, shape: list[int]) -> Tensor:
    """The signs of :func:`_packed` as +1 and -1."""
    ones = np.unpackbits(bits.numpy(), count=math.prod(shape)).reshape(shape)
    return torch.from_numpy(2 * ones.astype(np.float32) - 1)


def load_into(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's numbers into ``module``, in the module's own precision and device.

    Raises :class:`UserError` naming the first tensor that is missing, unknown or of another shape.
    """
    wanted, found = module.state_dict(), checkpoint.tensors
    kind = type(module).__name__
    for name in [*wanted, *found]:
        if name in wanted and name in found and wanted[name].shape == found[name].shape:
            continue
        shapes = [
            f"{name!r} of shape {tuple(t[name].shape)}" if name in t else f"no {name!r}"
            for t in (found, wanted)
        ]
        raise UserError(
            f"{checkpoint.path} does not fit this network: "
            f"it holds {shapes[0]}, {kind} has {shapes[1]}; check dataset and network settings"
        )
    module.load_state_dict({name: found[name].to(wanted[name].dtype) for name in wanted})


def save_training_state(path: PathLike, state: Mapping[str, Any]) -> None:
    """Write everything an exact resume needs, atomically.

    ``state`` may nest dicts, lists and tuples of tensors, numbers, text and None: the
    ``state_dict()`` of modules, optimisers and schedulers, ``torch.Generator.get_state()``,
    settings as plain dicts. Raises ``TypeError`` for what :func:`load_training_state` could not
    read again, such as NumPy scalars.
    """
    _check_plain(state, "state")
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_training_state(path: PathLike) -> dict[str, Any]:
    """Read a file of :func:`save_training_state`; tensors lie on the CPU.

    Reads data only: a file that would run code is refused. Raises :class:`UserError` for a file
    that is missing, damaged or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no training state {path}; start without --resume")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not look at the checksums
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except (PermissionError, MemoryError):
        raise
    except Exception:  # both raise many kinds for damaged files
        state = None
    if not isinstance(state, dict):
        raise UserError(
            f"{path} is not a training state, or it is damaged; delete it and start again"
        )
    return state


_PLAIN = (Tensor, nn.Parameter, bool, int, float, str, bytes, type(None))


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif type(value) not in _PLAIN:
        raise TypeError(f"{where} is a {type(value).__name__}; use plain numbers and tensors")


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
