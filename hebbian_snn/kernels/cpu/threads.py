"""Compiled code on all cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba

LEAST_SHARE = 4
"""Samples that are worth a thread: fewer of short sequences, as the minibatches of games are, took
longer on two threads than on one (``python -m benchmarks.hebbian_concentration``)."""


def in_shares(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call ``kernel(begin, end, *arguments)`` for shares of ``count`` samples, each on a thread.

    The kernel is compiled with ``nogil``; at most as many threads as ``numba.get_num_threads()``,
    each with :data:`LEAST_SHARE` samples or more.
    """
    threads = min(numba.get_num_threads(), count // LEAST_SHARE)
    if threads <= 1:
        kernel(0, count, *arguments)
        return
    bounds = pairwise(count * share // threads for share in range(threads + 1))
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, *bound, *arguments) for bound in bounds]:
            done.result()
