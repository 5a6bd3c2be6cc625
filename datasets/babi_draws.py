"""Random choices of the generated bAbI stories, the same on every machine and Python version.

Everything is made of ``Random.random()``, whose numbers Python promises never to change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

Draw = Callable[[], float]
"""Gives the next number in [0, 1)."""

Line = tuple[str, str, tuple[int, ...]]
"""A sentence or question, its answer ("" for a sentence), and the lines that support it."""

Story = Callable[[Draw], list[Line]]
"""Tells one story."""


def pick(draw: Draw, items: Sequence[T]) -> T:
    """One of the items."""
    return items[int(draw() * len(items))]


def sample(draw: Draw, items: Sequence[T], count: int) -> list[T]:
    """So many different ones of the items, in random order."""
    rest = list(items)
    return [rest.pop(int(draw() * len(rest))) for _ in range(count)]


def pick_other(draw: Draw, items: Sequence[T], *unwanted: T) -> T:
    """One of the items, but none of the unwanted ones."""
    while True:
        item = pick(draw, items)
        if item not in unwanted:
            return item


def sentence(text: str) -> Line:
    """A line that is told."""
    return text, "", ()
