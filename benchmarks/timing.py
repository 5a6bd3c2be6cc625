"""Timing two implementations against each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def time_pair(
    fast: Callable[[], Any], direct: Callable[[], Any], repeats: int = 5
) -> tuple[float, float, float]:
    """Median seconds of two functions and how many times the first is faster.

    Each is called once before (compilation, caches, fresh memory), then they take turns, so that
    a change in the machine's load meets both. Work on a GPU must end in a synchronisation.
    """
    fast()
    direct()
    times = [(_seconds(fast), _seconds(direct)) for _ in range(repeats)]
    fast_median, direct_median = (statistics.median(column) for column in zip(*times, strict=True))
    return fast_median, direct_median, direct_median / fast_median
