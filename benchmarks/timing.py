"""Time and memory of two implementations against each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.errors import UserError


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


def peak_bytes(function: Callable[[], Any]) -> int:
    """What the process holds at most during a call, above what it holds before (Linux).

    Call the function once before, so that compiled code and libraries are not counted. Raises
    :class:`UserError` elsewhere.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        function()
        return _status("VmHWM") - before
    except OSError as error:
        raise UserError("peak memory can be measured on Linux only; run this there") from error


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{name} is not in /proc/self/status")
