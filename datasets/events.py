"""Recordings of events (spikes of a cochlea, changes of pixels), and time bins made of them.

All recordings of a split lie one after the other in flat arrays, so that a training loop bins a
whole batch at once, straight from the events, and nothing but the events is kept in memory::

    events = load_shd("train")
    counts = bin_events(events, [3, 0, 17], step=3000, n_steps=333)      # (3, 333, 700)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import ArrayLike

from common.errors import UserError


class Recording(NamedTuple):
    """One recording as a reader finds it.

    Attributes:
        times: (e,) since its beginning, whole microseconds.
        addresses: (e,) flat index into the recordings' ``shape``.
        duration: microseconds.
        label: 0 or more.
        name: for messages.
    """

    times: np.ndarray
    addresses: np.ndarray
    duration: int
    label: int
    name: str


class Events(NamedTuple):
    """N labelled recordings of E events in all.

    Attributes:
        times: (E,) int32, microseconds since the recording's beginning.
        addresses: (E,) uint16, flat index into ``shape``.
        offsets: (N + 1,) int64; recording i has the events ``offsets[i]`` to ``offsets[i + 1]``.
        durations: (N,) int64, microseconds.
        labels: (N,) int64 tensor.
        shape: what an event names a place of: (channels,), or (polarities, height, width) with
            polarity 0 for darker and 1 for brighter.
        n_classes: labels are below.
        source: what the recordings really are.
    """

    times: np.ndarray
    addresses: np.ndarray
    offsets: np.ndarray
    durations: np.ndarray
    labels: torch.Tensor
    shape: tuple[int, ...]
    n_classes: int
    source: str

    @property
    def n_recordings(self) -> int:
        """How many recordings are packed here."""
        return len(self.durations)


def pack_events(
    recordings: Iterable[Recording], shape: tuple[int, ...], n_classes: int, source: str
) -> Events:
    """Join recordings.

    Raises :class:`UserError` that names the recording for a label, an address, or a time that is
    out of range, and without recordings.
    """
    checked = [_checked(recording, math.prod(shape), n_classes) for recording in recordings]
    if not checked:
        raise UserError(f"{source}: there are no recordings in it; get the files again")
    offsets = np.zeros(len(checked) + 1, np.int64)
    np.cumsum([len(recording.times) for recording in checked], out=offsets[1:])
    return Events(
        np.concatenate([recording.times for recording in checked]),
        np.concatenate([recording.addresses for recording in checked]),
        offsets,
        np.array([recording.duration for recording in checked], np.int64),
        torch.tensor([recording.label for recording in checked], dtype=torch.int64),
        shape,
        n_classes,
        source,
    )


def _checked(recording: Recording, n_addresses: int, n_classes: int) -> Recording:
    """The recording in the types of :class:`Events`; raises as :func:`pack_events`."""
    times, addresses, duration, label, name = recording
    if not 0 <= label < n_classes:
        raise UserError(f"{name}: the label is {label}; it must be from 0 to {n_classes - 1}")
    if len(times) != len(addresses):
        raise UserError(f"{name}: {len(times)} times but {len(addresses)} addresses; get it again")
    for values, limit, what in ((addresses, n_addresses, "address"), (times, 2**31, "time")):
        if len(values) and not (values.min() >= 0 and values.max() < limit):
            wrong = values.min() if values.min() < 0 else values.max()
            raise UserError(f"{name}: an event has the {what} {wrong}, not 0 to {limit - 1}")
    types = times.astype(np.int32), addresses.astype(np.uint16)
    return Recording(*types, int(duration), int(label), name)


def bin_events(
    events: Events,
    indices: ArrayLike,
    step: int,
    n_steps: int,
    start: ArrayLike = 0,
    scale: int = 1,
    binary: bool = False,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """How many events of each place fall into each time bin, for a batch of recordings.

    An event at time t falls into bin floor((t - start) / step); those before ``start`` and beyond
    the last bin are dropped.

    Args:
        events: recordings.
        indices: (B,) of recordings, in any order, also repeated.
        step: length of a bin, whole microseconds.
        n_steps: T, number of bins.
        start: microseconds where the first bin begins, one number or (B,).
        scale: ``scale`` x ``scale`` neighbouring pixels become one (of the last two axes of
            ``shape``, which it must divide).
        binary: 1 in place of all counts above 1.
        out: (B, T, *scaled shape) on the CPU to be overwritten, of any type; a new float32 tensor
            by default.

    Returns:
        (B, T, *scaled shape) counts.

    Raises:
        ValueError: ``step``, ``n_steps`` or ``scale`` out of range; ``out`` of another shape.
        IndexError: an index out of range.
    """
    indices = np.asarray(indices, dtype=np.int64).reshape(-1)
    if step < 1 or n_steps < 1:
        raise ValueError(f"bins need a length and a number of 1 or more, not {step}, {n_steps}")
    if indices.size and not (indices.min() >= 0 and indices.max() < events.n_recordings):
        raise IndexError(f"recordings are 0 to {events.n_recordings - 1}, not {indices}")
    shape = (len(indices), n_steps, *scaled_shape(events.shape, scale))
    out = torch.empty(shape) if out is None else out
    if tuple(out.shape) != shape or not out.is_contiguous():
        raise ValueError(f"out has the shape {tuple(out.shape)}; it must be {shape}, contiguous")
    flat = out.view(len(indices), n_steps, -1).numpy()
    starts = np.broadcast_to(np.asarray(start, dtype=np.int64), indices.shape)
    places = _scaled_places(events.shape, scale)
    _count(
        events.times, events.addresses, events.offsets, indices, starts, step, places, binary, flat
    )
    return out


@numba.njit(cache=True, parallel=True)
def _count(times, addresses, offsets, indices, starts, step, places, binary, out):
    n_steps = out.shape[1]
    one = out.dtype.type(1)
    for b in numba.prange(indices.size):
        out[b] = 0
        for event in range(offsets[indices[b]], offsets[indices[b] + 1]):
            since = times[event] - starts[b]
            if 0 <= since < n_steps * step:
                place = places[addresses[event]]
                if binary:
                    out[b, since // step, place] = one
                else:
                    out[b, since // step, place] += one


def scaled_shape(shape: tuple[int, ...], scale: int) -> tuple[int, ...]:
    """``shape`` with its last two axes divided by ``scale``; errors as :func:`bin_events`."""
    if scale == 1:
        return shape
    if scale < 1 or len(shape) < 2 or shape[-1] % scale or shape[-2] % scale:
        raise ValueError(f"pixels of {shape} cannot be joined {scale} x {scale}")
    return (*shape[:-2], shape[-2] // scale, shape[-1] // scale)


def _scaled_places(shape: tuple[int, ...], scale: int) -> np.ndarray:
    """The flat index into the scaled shape of every flat index into ``shape``."""
    places = np.arange(math.prod(shape))
    if scale == 1:
        return places
    *front, row, column = np.unravel_index(places, shape)
    scaled = (*front, row // scale, column // scale)
    return np.ravel_multi_index(scaled, scaled_shape(shape, scale))


def random_starts(
    events: Events, indices: ArrayLike, window: int, generator: torch.Generator
) -> np.ndarray:
    """Where a random window of each recording begins.

    Args:
        events: recordings. indices: (B,) of recordings.
        window: its length in microseconds.
        generator: of the random numbers, one for each index.

    Returns:
        (B,) int64 microseconds, uniform from 0 to the last start whose window lies within the
        recording; 0 for shorter recordings.
    """
    room = np.maximum(events.durations[np.asarray(indices, dtype=np.int64)] - window, 0)
    draws = torch.rand(len(room), generator=generator, dtype=torch.float64).numpy()
    return (draws * (room + 1)).astype(np.int64)
