"""A training that begins with short samples.

A network that starts at random and has to tell ten pairs apart finds silence first: its outputs say
nothing true, the cross-entropy is smaller without them, and silent neurons pass no gradient on.
With one pair there is something to learn at once, with two not much more than with one.
"""

from __future__ import annotations

from typing import Any

STEPS = 25
"""Steps over which scores are averaged."""


class Curriculum:
    """How many pairs the training samples have.

    One at first; a quarter more, and at least one more, whenever the last :data:`STEPS` steps with
    the present number have scored well enough; in the end all.

    Args:
        enough: mean score from which on there are more; None: all pairs from the beginning.
        full: pairs of a sample in the end.
        higher_is_better: what a score is.
        state: as :meth:`state` gave it, to go on from.
    """

    def __init__(
        self,
        enough: float | None,
        full: int,
        higher_is_better: bool = True,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.enough, self.full = enough, full
        self.sign = 1 if higher_is_better else -1
        self.pairs = full if enough is None else 1
        self.scores: list[float] = []
        if state is not None:
            self.pairs, self.scores = state["pairs"], list(state["scores"])

    @property
    def complete(self) -> bool:
        """Whether the samples have all their pairs."""
        return self.pairs >= self.full

    def add(self, score: float) -> None:
        """Take up the mean score of a step's samples."""
        if self.complete:
            return
        self.scores = [*self.scores, score][-STEPS:]
        mean = sum(self.scores) / len(self.scores)
        if len(self.scores) == STEPS and self.sign * mean >= self.sign * self.enough:
            self.pairs = min(self.full, self.pairs + max(1, self.pairs // 4))
            self.scores = []

    def state(self) -> dict[str, Any]:
        """Numbers that a training is resumed with."""
        return {"pairs": self.pairs, "scores": list(self.scores)}
