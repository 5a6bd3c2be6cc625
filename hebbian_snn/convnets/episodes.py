"""Which images and recordings come together in an episode: seeded draws, all episodes at once.

Only places are drawn. Drawing d of class c of ``Characters.images`` is number c * 20 + d.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from common.errors import UserError

PAIRINGS = ("any", "permuted", "same")
"""Digits of the images of a cross-modal episode: drawn for themselves, those of the recordings in
another order, or each that of its recording."""


class Prototypical(NamedTuple):
    """Episodes of prototypical networks: drawings of the same classes to learn from and to ask.

    Attributes:
        support: (N, way, shot) int64. queries: (N, way, queries) int64, other drawings.
    """

    support: Tensor
    queries: Tensor


class OneShot(NamedTuple):
    """Episodes of the memory task: labels 0, 1, ... are shown with an image each, then one asks.

    Attributes:
        images: (N, way) int64, of ``way`` classes.
        query: (N,) int64, another drawing of one of them. labels: (N,) int64, of which.
    """

    images: Tensor
    query: Tensor
    labels: Tensor


class CrossModal(NamedTuple):
    """Episodes of pairs of a recording and an image, then another recording of a spoken digit.

    Attributes:
        spoken: (N, pairs) int64, recordings of different digits.
        images: (N, pairs) int64, of different digits.
        query: (N,) int64, another recording of one of the spoken digits.
        asked: (N,) int64, the place of its pair.
    """

    spoken: Tensor
    images: Tensor
    query: Tensor
    asked: Tensor


def distinct(n: int, count: int, among: int, generator: Generator) -> Tensor:
    """(n, count) int64: in every row ``count`` different numbers below ``among``, in random order.

    Raises :class:`UserError` where there are not so many.
    """
    if not 0 < count <= among:
        raise UserError(f"{count} different ones cannot be drawn among {among}; ask for fewer")
    return torch.rand(n, among, generator=generator).topk(count, dim=1).indices


def kept_places(asked: Tensor, of: int, count: int, generator: Generator) -> Tensor:
    """(N, count) int64: random places below ``of``, in order, with that of ``asked``, (N,)."""
    return asked_places(asked, of, count, generator).sort(1).values


def asked_places(first: Tensor, of: int, count: int, generator: Generator) -> Tensor:
    """(N, count) int64: different random places below ``of``, in front that of ``first``, (N,)."""
    order = torch.rand(len(first), of, generator=generator)
    order.scatter_(1, first[:, None], 2.0)
    return order.topk(count, dim=1).indices


def another_of_class(numbers: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """For each number (...) of a sample that of another one of its class, if there is another.

    ``labels``, (n,) int64, are the classes of all samples.
    """
    order, counts = labels.argsort(stable=True), labels.bincount()
    first, count = (counts.cumsum(0) - counts)[labels[numbers]], counts[labels[numbers]]
    draws = torch.rand(numbers.shape, generator=generator, dtype=torch.float64)
    own = order.argsort()[numbers] - first
    return order[first + (own + 1 + (draws * (count - 1)).long()) % count]


def prototypical(
    n: int,
    *,
    classes: int,
    drawings: int,
    way: int,
    shot: int,
    queries: int,
    generator: Generator,
) -> Prototypical:
    """``n`` episodes of ``way`` classes, each with ``shot + queries`` of its ``drawings``."""
    chosen = distinct(n, way, classes, generator)
    own = distinct(n * way, shot + queries, drawings, generator).view(n, way, -1)
    numbers = chosen[:, :, None] * drawings + own
    return Prototypical(numbers[..., :shot], numbers[..., shot:])


def one_shot(n: int, *, classes: int, drawings: int, way: int, generator: Generator) -> OneShot:
    """``n`` episodes of ``way`` classes; the query is another drawing of one of them."""
    chosen = distinct(n, way, classes, generator)
    own = distinct(n * way, 2, drawings, generator).view(n, way, 2)
    labels = torch.randint(way, (n,), generator=generator)
    numbers = chosen[:, :, None] * drawings + own
    return OneShot(numbers[:, :, 0], numbers[torch.arange(n), labels, 1], labels)


def cross_modal(
    n: int,
    *,
    spoken_labels: Tensor,
    image_labels: Tensor,
    classes: tuple[int, ...],
    pairs: int,
    generator: Generator,
    pairing: str = "any",
) -> CrossModal:
    """``n`` episodes of ``pairs`` pairs.

    Args:
        spoken_labels, image_labels: (recordings,) and (images,) int64, digits.
        classes: digits that occur.
        pairing: which digits the images show, one of :data:`PAIRINGS`.

    Raises :class:`UserError` where a digit lacks recordings (2) or images (1).
    """
    digits = torch.tensor(classes)
    spoken = _Shelf(spoken_labels, digits, 2, "recordings")
    pictures = _Shelf(image_labels, digits, 1, "images")
    heard = distinct(n, pairs, len(digits), generator)
    seen = heard
    if pairing == "any":
        seen = distinct(n, pairs, len(digits), generator)
    elif pairing == "permuted":
        seen = heard.gather(1, distinct(n, pairs, pairs, generator))
    own = spoken.draw(heard, generator)
    images = pictures.number(seen, pictures.draw(seen, generator))
    asked = torch.randint(pairs, (n,), generator=generator)
    rows = torch.arange(n)
    digit, before = heard[rows, asked], own[rows, asked]
    other = spoken.draw(digit, generator, fewer=1)
    other = other + (other >= before)
    return CrossModal(spoken.number(heard, own), images, spoken.number(digit, other), asked)


class _Shelf:
    """Samples sorted by class, to be drawn from: class k is ``digits[k]``."""

    def __init__(self, labels: Tensor, digits: Tensor, least: int, what: str) -> None:
        places = [(labels == digit).nonzero()[:, 0] for digit in digits]
        self.counts = torch.tensor([len(own) for own in places])
        if (self.counts < least).any():
            lacking = int(digits[self.counts < least][0])
            raise UserError(f"there are fewer than {least} {what} of the digit {lacking}")
        self.order = torch.cat(places)
        self.starts = self.counts.cumsum(0) - self.counts

    def draw(self, classes: Tensor, generator: Generator, fewer: int = 0) -> Tensor:
        """A random place on the shelf of each class, of the first ones but ``fewer``."""
        counts = self.counts[classes] - fewer
        draws = torch.rand(classes.shape, generator=generator, dtype=torch.float64)
        return (draws * counts).long()

    def number(self, classes: Tensor, own: Tensor) -> Tensor:
        """The samples at these places."""
        return self.order[self.starts[classes] + own]
