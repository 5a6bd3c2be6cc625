"""Compiled code on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba

LEAST_SHARE = 4
"""Samples that are worth a thread: fewer of short sequences, as the minibatches of games are, took
longer on two threads than on one (``python -m benchmarks.hebbian_concentration``)."""


def in_shares(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call ``kernel(begin, end, *arguments)`` for shares of ``count`` samples, each on a thread.

    The kernel is compiled with ``nogil``; at most as many threads as ``numba.get_num_threads()``,
    each with :data:`LEAST_SHARE` samples or more. The threads stay for the next call.
    """
    threads = min(numba.get_num_threads(), count // LEAST_SHARE)
    if threads <= 1:
        kernel(0, count, *arguments)
        return
    first, *others = pairwise(count * share // threads for share in range(threads + 1))
    running = [_pool().submit(kernel, *bound, *arguments) for bound in others]
    try:
        kernel(*first, *arguments)
    finally:
        for done in running:
            done.result()


@cache
def _pool() -> ThreadPoolExecutor:
    """The threads of this process; idle until they are needed."""
    return ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS)


# A child has none of its parent's threads.
os.register_at_fork(after_in_child=_pool.cache_clear)
