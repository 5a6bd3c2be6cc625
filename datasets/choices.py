"""Which data a command may use, and the check of a value against the known ones."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from common.errors import UserError

Data = Literal["auto", "real", "embedded"]
DATA_CHOICES = ("auto", "real", "embedded")
EMBEDDED_DIGITS = "MNIST, 5 000 images"


def check_choice(what: str, value: str | int, known: Collection[str] | Collection[int]) -> None:
    """Raise :class:`UserError` that lists the ``known`` values unless ``value`` is one."""
    if value not in known:
        raise UserError(f"unknown {what} {value!r}; known are {', '.join(map(str, known))}")
