"""Compiled code on all cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba


def in_shares(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call ``kernel(begin, end, *arguments)`` for shares of ``count`` samples, each on a thread.

    The kernel is compiled with ``nogil``; as many threads as ``numba.get_num_threads()``.
    """
    threads = min(numba.get_num_threads(), count)
    if threads <= 1:
        kernel(0, count, *arguments)
        return
    bounds = pairwise(count * share // threads for share in range(threads + 1))
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, *bound, *arguments) for bound in bounds]:
            done.result()
