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
import zlib
from collections.abc import Callable, Collection, Mapping
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
from common.schema import misfit

PathLike = str | os.PathLike[str]

NETWORK = "network.safetensors"
"""The checkpoint in the folder of a run."""

_DIGEST = "sha256"  # metadata key: safetensors itself does not notice a flipped bit
_OLD_DIGEST = "tensors_sha256"  # of files whose checksum leaves the metadata out
# Metadata keys: shapes of the tensors that are stored as one bit a number, and of those that are
# stored as deflated bytes of float16.
_SIGNS, _HALVES = "packed_signs", "deflated_halves"

MOST_NUMBERS = 1 << 28
"""Of a tensor that is stored deflated: a small file must not unpack to more than memory holds."""

NETWORKS = ("dasbe", "gust", "hebbian_snn", "snn_tha")
"""Models whose files are trained networks, with the metadata of :data:`METADATA`."""

LARGEST = 1e6
"""No trained number is larger; above it a file is damaged."""

METADATA = {
    "settings": dict[str, Any],
    "seed": int,
    "data": dict[str, Any],
    "curve": [{"epoch": int}],
    "epochs": int,
    "seconds": float,
    "command": str,
    "epoch?": int,
    "note?": str,
    "test?": dict[str, Any],
}
"""What stands beside a trained network's tensors (see :mod:`common.schema`)."""

STATE = {
    "run": {"seed": int, "data": dict[str, Any]},
    "epoch": int,
    "seconds": float,
    "best": dict[str, Any],
    "curve?": [{"epoch": int}],
}
"""What every training state has, besides what its own training adds."""

BEST = {"epoch": int, "tensors": dict[str, Any]}
"""What stands in ``best``, once there is a best network."""


@dataclass(frozen=True)
class Checkpoint:
    """A network read from ``path``: named tensors, what was saved with them, the file's hash."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    sha256: str

    @property
    def name(self) -> str:
        """Of the network: of its file, or of its run's folder."""
        return network_name(self.path)


def network_name(path: PathLike) -> str:
    """What the network in this file is called: as the file, or as the folder of its run."""
    path = Path(path)
    return path.parent.name if path.name == NETWORK else path.stem


def save_checkpoint(
    path: PathLike,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    signs: Collection[str] = (),
    halves: Collection[str] = (),
) -> str:
    """Write ``tensors`` and JSON-able ``metadata`` to a safetensors file, atomically.

    ``metadata["model"]`` should name the network (see :func:`load_checkpoint`). Equal content
    gives an equal file. Of the tensors named in ``signs`` only the signs are kept, packed: they are
    read again as +1 (also for 0) and -1, in float32; those named in ``halves`` are kept in float16,
    deflated. Returns the file's SHA-256.
    """
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    for key, names, pack in ((_SIGNS, signs, _packed), (_HALVES, halves, _deflated)):
        if names:
            shapes = {name: list(copies[name].shape) for name in sorted(names)}
            metadata = {**metadata, key: shapes}
            copies |= {name: pack(copies[name]) for name in names}
    # One entry, because safetensors writes several of them in no fixed order.
    plain = json.loads(json.dumps(metadata))  # as it will be read
    text = json.dumps({**metadata, _DIGEST: _digest(copies, plain)}, sort_keys=True)
    with atomic_path(path) as temporary:  # by Python, whose errors say that the disk is full
        temporary.write_bytes(save(copies, metadata={"json": text}))
    return sha256_of(path)


def load_checkpoint(path: PathLike, *, model: str | None = None) -> Checkpoint:
    """Read and verify a file of :func:`save_checkpoint`; tensors lie on the CPU.

    Raises :class:`UserError` when the file is missing, is damaged or in another format, holds
    numbers that are not finite or huge, is a network other than ``model``, or a trained network
    that lacks a part of :data:`METADATA`.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; train it first or check the name")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = json.loads((file.metadata() or {})["json"])
        whole = _DIGEST in metadata
        digest = metadata.pop(_DIGEST if whole else _OLD_DIGEST)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{path} is not a checkpoint of this repository, or it is damaged; "
            "restore the file or train the network again"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); restore it") from None
    if digest != _digest(tensors, metadata if whole else None):
        raise UserError(f"{path} is damaged (its content does not match its checksum); restore it")
    for key, unpack in ((_SIGNS, _unpacked), (_HALVES, _inflated)):
        _unpack(path, tensors, metadata.pop(key, {}), key, unpack)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"{path} holds numbers that are not finite ({name}); train the network again"
            )
        if tensor.is_floating_point() and tensor.numel() and tensor.abs().max() > LARGEST:
            raise UserError(
                f"{path} holds numbers above {LARGEST:.0f} ({name}); train the network again"
            )
    if model is not None and metadata.get("model") != model:
        found = metadata.get("model")
        raise UserError(f"{path} holds the network {found!r} where {model!r} is needed")
    checkpoint = Checkpoint(path, tensors, metadata, sha256_of(path))
    check_metadata(checkpoint, METADATA if model in NETWORKS else dict)
    return checkpoint


def check_metadata(checkpoint: Checkpoint, schema: Any) -> None:
    """Raise :class:`UserError` unless the metadata fit a schema of :mod:`common.schema`."""
    wrong = misfit(checkpoint.metadata, schema, "its metadata")
    if wrong:
        raise UserError(
            f"{checkpoint.path} is not a trained network of this version: {wrong}; train it again"
        )


def _unpack(
    path: Path,
    tensors: dict[str, Tensor],
    shapes: Any,
    key: str,
    unpack: Callable[[Tensor, list[int]], Tensor],
) -> None:
    """Replace the tensors of these shapes, which are stored packed, by what they hold."""
    wrong = misfit(shapes, dict[str, list[int]], key)
    for name, shape in {} if wrong else shapes.items():
        packed = tensors.get(name, torch.zeros(0))
        try:
            if packed.dtype != torch.uint8 or packed.dim() != 1:
                raise ValueError
            tensors[name] = unpack(packed, shape)
        except (ValueError, OverflowError, zlib.error):
            wrong = f"{name!r} has not the {key.replace('_', ' ')} of shape {tuple(shape)}"
    if wrong:
        raise UserError(f"{path} is damaged ({wrong}); restore it")


def _packed(tensor: Tensor) -> Tensor:
    """Whether each number is 0 or more, eight to a byte."""
    return torch.from_numpy(np.packbits((tensor >= 0).flatten().numpy()))


def _unpacked(bits: Tensor, shape: list[int]) -> Tensor:
    """The signs of :func:`_packed` as +1 and -1."""
    if len(bits) != -(-math.prod(shape) // 8):
        raise ValueError
    ones = np.unpackbits(bits.numpy(), count=math.prod(shape)).reshape(shape)
    return torch.from_numpy(2 * ones.astype(np.float32) - 1)


def _deflated(tensor: Tensor) -> Tensor:
    """Numbers in float16, deflated: first their low bytes, then their high ones, which repeat."""
    planes = tensor.half().flatten().numpy().view(np.uint8).reshape(-1, 2).T
    return torch.frombuffer(bytearray(zlib.compress(planes.tobytes(), 9)), dtype=torch.uint8)


def _inflated(packed: Tensor, shape: list[int]) -> Tensor:
    """The float16 numbers of :func:`_deflated`."""
    count = math.prod(shape)
    if count > MOST_NUMBERS:
        raise ValueError
    found = zlib.decompressobj().decompress(packed.numpy().tobytes(), 2 * count + 1)
    planes = np.frombuffer(found, np.uint8).reshape(2, count)
    return torch.from_numpy(planes.T.copy().view(np.float16).reshape(shape))


def load_into(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's numbers into ``module``, in the module's own precision and device.

    Raises :class:`UserError` naming the first tensor that is missing, unknown, of another shape or
    of another kind of number.
    """
    wanted = module.state_dict()
    check_tensors(checkpoint, wanted, type(module).__name__)
    found = checkpoint.tensors
    module.load_state_dict({name: found[name].to(wanted[name].dtype) for name in wanted})


def check_tensors(checkpoint: Checkpoint, wanted: Mapping[str, Tensor], kind: str) -> None:
    """Raise :class:`UserError` unless the checkpoint has just the tensors of a network of this
    ``kind``: names, shapes, and weights of 32 bits or less where there are weights.
    """
    found = checkpoint.tensors
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
    for name, tensor in wanted.items():
        there = found[name].dtype
        if there.is_floating_point != tensor.is_floating_point() or there == torch.float64:
            raise UserError(
                f"{checkpoint.path} does not fit this network: {name!r} holds numbers of the kind "
                f"{str(there).removeprefix('torch.')}; train the network again"
            )


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
    that is missing, damaged or something else, and for one that lacks a part of :data:`STATE`.
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
    wrong = misfit(state, STATE, "the state")
    if not wrong and state["best"]:
        wrong = misfit(state["best"], BEST, "best")
    if wrong:
        raise UserError(
            f"{path} is not a training state of this version: {wrong}; delete it and start again"
        )
    return state


def restore(path: PathLike, state: Mapping[str, Any], **parts: Any) -> None:
    """Let each of ``parts`` (modules, optimisers) take up what a training state has under its name.

    Raises :class:`UserError` where that is of another network or damaged.
    """
    for name, part in parts.items():
        try:
            part.load_state_dict(state[name])
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError):
            raise UserError(
                f"{path} is not a training state of this network: its part {name!r} does not fit; "
                "delete it and start again"
            ) from None


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


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None) -> str:
    """SHA-256 over names, types, shapes and bytes, and the metadata as sorted JSON."""
    digest = hashlib.sha256()
    if metadata is not None:
        digest.update(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
