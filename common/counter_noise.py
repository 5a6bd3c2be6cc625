"""Random numbers that belong to an image, not to a batch.

Every number is a hash of (seed, stream, image index, counter), the splitmix64 generator used as a
counter-based one: no state is carried, so an image gets the same numbers in any batch, on any
device, in any order, in any number of processes, and a resumed run equals an uninterrupted one.
One hash of 64 bits gives all that an element of a simulation step needs: its top 24 bits a uniform
number in [0, 1), its lowest 24 bits a second one (or single bits as fair coins).

Compiled scans call :func:`mix` themselves; :func:`bits` gives the same numbers as tensors.
"""

from __future__ import annotations

import operator

import numba
import numpy as np
import torch
from torch import Tensor

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
UNIFORM_SHIFT = np.uint64(40)
UNIFORM_SCALE = np.float32(2.0**-24)
_LOW_BITS = np.uint64(2**24 - 1)


@numba.njit(inline="always")
def mix(z: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014), 64 bits to 64 bits."""
    z = (z ^ (z >> _SHIFTS[0])) * _MULTIPLIERS[0]
    z = (z ^ (z >> _SHIFTS[1])) * _MULTIPLIERS[1]
    return z ^ (z >> _SHIFTS[2])


@numba.njit(inline="always")
def uniform(word: np.uint64) -> np.float32:
    """A hash's uniform number in [0, 1), a multiple of 2^-24."""
    return np.float32(np.int32(word >> UNIFORM_SHIFT)) * UNIFORM_SCALE


@numba.njit(inline="always")
def second_uniform(word: np.uint64) -> np.float32:
    """A hash's second uniform number in [0, 1), a multiple of 2^-24."""
    return np.float32(np.int32(word & _LOW_BITS)) * UNIFORM_SCALE


@numba.njit(cache=True)
def _base(seed: np.uint64, stream: np.uint64) -> np.uint64:
    return mix(mix(seed * GOLDEN + GOLDEN) + stream)


@numba.njit(cache=True)
def _keys(seed: np.uint64, stream: np.uint64, images: np.ndarray) -> np.ndarray:
    base = _base(seed, stream)
    keys = np.empty(images.size, np.uint64)
    for i in range(images.size):
        keys[i] = mix(base + np.uint64(images[i]) * GOLDEN)
    return keys


def image_keys(seed: int, stream: int, image_indices: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """One key per image for one stream.

    Args:
        seed: any integer; negative ones count modulo 2^64.
        stream: 0 or more; what the numbers are for.
        image_indices: (B,) indices of the images in their data set; where they lie on a GPU the
            keys are made there.

    Returns:
        (B,) uint64 keys, or the same 64 bits as an int64 tensor on the GPU; number ``c`` of image
        ``b`` is ``mix(keys[b] + c * GOLDEN)``.
    """
    if isinstance(image_indices, Tensor) and image_indices.device.type != "cpu":
        base = _base(np.uint64(seed % 2**64), np.uint64(stream))
        return _mix(image_indices * _signed(GOLDEN) + _signed(base))
    indices = np.ascontiguousarray(np.asarray(image_indices), dtype=np.int64)
    return _keys(np.uint64(operator.index(seed) % 2**64), np.uint64(stream), indices)


def keys_on(keys: np.ndarray | Tensor, device: torch.device) -> np.ndarray | Tensor:
    """Keys as they are wanted for many draws on a device: on a CPU unchanged, else int64 there."""
    if isinstance(keys, Tensor) or device.type == "cpu":
        return keys
    return torch.from_numpy(keys.view(np.int64).copy()).to(device)


def _signed(word: np.uint64) -> int:
    """The int64 with the same bits: torch has no arithmetic for unsigned 64-bit integers."""
    return int(np.array(word, dtype=np.uint64).view(np.int64))


def _shift_right(z: Tensor, count: np.uint64) -> Tensor:
    """Logical (not arithmetic) right shift of an int64 tensor."""
    return (z >> int(count)) & ((1 << (64 - int(count))) - 1)


def bits(keys: np.ndarray | Tensor, counters: Tensor) -> Tensor:
    """The hashes of all counters of all images, as a tensor on the counters' device.

    Args:
        keys: (B,) from :func:`image_keys`.
        counters: (B or 1, ...) int64.

    Returns:
        (B, ...) int64 holding the same 64 bits as the compiled code sees.
    """
    if isinstance(keys, np.ndarray):
        keys = torch.from_numpy(keys.view(np.int64).copy()).to(counters.device)
    return _mix(keys.view(-1, *([1] * (counters.dim() - 1))) + counters * _signed(GOLDEN))


def _mix(z: Tensor) -> Tensor:
    """:func:`mix` of int64 tensors."""
    z = (z ^ _shift_right(z, _SHIFTS[0])) * _signed(_MULTIPLIERS[0])
    z = (z ^ _shift_right(z, _SHIFTS[1])) * _signed(_MULTIPLIERS[1])
    return z ^ _shift_right(z, _SHIFTS[2])


def uniform_of(words: Tensor) -> Tensor:
    """The hashes' uniform numbers in [0, 1), float32, same shape."""
    return _shift_right(words, UNIFORM_SHIFT).to(torch.float32) * float(UNIFORM_SCALE)


def second_uniform_of(words: Tensor) -> Tensor:
    """The hashes' second uniform numbers in [0, 1), float32, same shape."""
    return (words & int(_LOW_BITS)).to(torch.float32) * float(UNIFORM_SCALE)


def coins_of(words: Tensor) -> tuple[Tensor, Tensor]:
    """The hashes' two fair coins (bit 0, bit 1), bool, same shape."""
    return (words & 1).bool(), (words & 2).bool()


def uniforms(
    keys: np.ndarray | Tensor,
    start: int,
    rows: int,
    columns: Tensor,
    stride: int | None = None,
) -> Tensor:
    """Uniform numbers for ``rows`` steps of some units of every image.

    Args:
        keys: (B,) from :func:`image_keys`.
        start: counter of row 0, column 0.
        rows: number of rows R.
        columns: (B or 1, N) int64, the units that are wanted; the device of the result.
        stride: counters from one row to the next; the number of all units (default N).

    Returns:
        (B, R, N) float32; entry (b, r, n) has the counter ``start + r * stride + columns[b, n]``.
    """
    stride = columns.shape[1] if stride is None else stride
    if columns.device.type == "cpu":
        out = np.empty((len(keys), rows, columns.shape[1]), np.float32)
        _fill_uniforms(keys, np.uint64(start), np.uint64(stride), columns.numpy(), out)
        return torch.from_numpy(out)
    steps = torch.arange(rows, device=columns.device).view(1, -1, 1)
    return uniform_of(bits(keys, start + steps * stride + columns[:, None, :]))


@numba.njit(cache=True, parallel=True)
def _fill_uniforms(
    keys: np.ndarray, start: np.uint64, stride: np.uint64, columns: np.ndarray, out: np.ndarray
) -> None:
    for b in numba.prange(out.shape[0]):
        column = columns[b % columns.shape[0]]
        for r in range(out.shape[1]):
            first = keys[b] + (start + np.uint64(r) * stride) * GOLDEN
            for i in range(out.shape[2]):
                out[b, r, i] = uniform(mix(first + np.uint64(column[i]) * GOLDEN))
