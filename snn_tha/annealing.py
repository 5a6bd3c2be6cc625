"""Threshold annealing, "bounded homeostasis" in its simplest form.

After every optimiser step the threshold of a layer comes closer to its final value::

    thr <- thr + alpha (thr_final - thr)
"""

from __future__ import annotations

from typing import NamedTuple


def anneal_step(thr: float, final: float, alpha: float) -> float:
    """The threshold after one more optimiser step; see the equation above."""
    return thr + alpha * (final - thr)


class Annealing(NamedTuple):
    """The way of one layer's threshold.

    Attributes:
        start: before the first optimiser step. final: what it tends to. alpha: share of the
            remaining way that a step takes, from 0 (a fixed threshold) to 1.
    """

    start: float
    final: float
    alpha: float

    def after(self, steps: int) -> float:
        """The threshold after ``steps`` optimiser steps: :func:`anneal_step` in closed form, where
        an epoch begins (also of a resumed training) and where a network is tested."""
        return self.final + (self.start - self.final) * (1 - self.alpha) ** steps
