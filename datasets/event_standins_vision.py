"""A stand-in for DVS128 Gesture: bars and discs that move in one of 11 directions before an
event camera.

Brighter objects on a dark ground move with constant velocity. A pixel answers with up to five
events of polarity 1 when an object's front passes it and of polarity 0 when its back does, around
the microsecond that geometry gives, so there are no frames. ``source`` says that it is a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from datasets.events import Events, Recording, pack_events

SIDE = 128  # pixels
SHAPE = (2, SIDE, SIDE)
CLASSES = 11  # class k moves towards the angle 2 pi k / 11
MOVING_SHAPES = "embedded moving shapes"
DURATION = 2_000_000  # microseconds

_PER_CLASS = {"train": 40, "test": 10}
_SPEEDS = (120.0, 240.0)  # pixels a second
_BAR_WIDTHS, _BAR_LENGTHS = (6.0, 14.0), (30.0, 70.0)  # pixels, along and across the movement
_RADII = (8.0, 16.0)  # of discs
_GAPS = (90.0, 180.0)  # pixels between two objects of a train, along the movement
_SEEN = (0.8, 0.6, 0.6, 0.5, 0.5)  # probabilities of the events of a pixel at an edge
_JITTER = 2000.0  # microseconds, standard deviation
_NOISE_RATE = 0.05  # events a second and pixel


def moving_shapes(split: str) -> Events:
    """440 recordings for "train", 110 for "test", of 2 s; always the same.

    Recordings of one class differ in the object (bar or disc), its size, place and speed, and in
    noise.
    """
    rng = np.random.RandomState(2022 if split == "train" else 2023)

    def film() -> Iterator[Recording]:
        for number in range(CLASSES * _PER_CLASS[split]):
            label = number % CLASSES
            times, addresses = _film(label, rng)
            yield Recording(times, addresses, DURATION, label, f"moving shape {number}")

    return pack_events(film(), SHAPE, CLASSES, MOVING_SHAPES)


def _film(label: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Times and addresses of one recording, in the order of time."""
    speed = rng.uniform(*_SPEEDS) * 1e-6  # pixels a microsecond
    along, across = _coordinates(2 * np.pi * label / CLASSES)
    half = _half_extents(across, rng)
    covered = np.flatnonzero(half > 0)
    centers = _centers(speed, rng)
    times, addresses = [], []
    for polarity, edge in ((1, -half), (0, half)):
        passed = ((along + edge)[covered, None] - centers) / speed
        pixel, center = np.nonzero((passed >= 0) & (passed < DURATION))
        repeats = (rng.uniform(size=(len(pixel), len(_SEEN))) < _SEEN).sum(1)
        times.append(np.repeat(passed[pixel, center], repeats))
        addresses.append(np.repeat(polarity * SIDE**2 + covered[pixel], repeats))
    n_noise = rng.poisson(_NOISE_RATE * SIDE**2 * DURATION * 1e-6)
    times = np.concatenate([*times, rng.uniform(0, DURATION, n_noise)])
    addresses = np.concatenate([*addresses, rng.randint(0, 2 * SIDE**2, n_noise)])
    times = np.clip(times + rng.normal(0, _JITTER, len(times)), 0, DURATION - 1).astype(np.int64)
    order = np.argsort(times, kind="stable")
    return times[order], addresses[order]


def _coordinates(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (SIDE * SIDE,) along and across a direction, from the middle of the picture.

    The angle 0 points to higher columns, a quarter turn to higher rows.
    """
    row, column = np.indices((SIDE, SIDE)).reshape(2, -1) - (SIDE - 1) / 2
    cosine, sine = np.cos(angle), np.sin(angle)
    return column * cosine + row * sine, row * cosine - column * sine


def _half_extents(across: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Half the object's length along its way, for pixels (P,) across it; 0 where it never comes."""
    lane = across - rng.uniform(-SIDE / 4, SIDE / 4)
    if rng.uniform() < 0.5:
        width, length = rng.uniform(*_BAR_WIDTHS), rng.uniform(*_BAR_LENGTHS)
        return np.where(np.abs(lane) < length / 2, width / 2, 0)
    return np.sqrt(np.maximum(rng.uniform(*_RADII) ** 2 - lane**2, 0))


def _centers(speed: float, rng: np.random.RandomState) -> np.ndarray:
    """Where the middles of a train of equal objects are at time 0, along their way: enough of them
    that the picture is never empty for longer than a gap."""
    gap = rng.uniform(*_GAPS)
    n_objects = int(np.ceil((2 * SIDE + speed * DURATION) / gap)) + 1
    return SIDE - rng.uniform(0, gap) - gap * np.arange(n_objects)
