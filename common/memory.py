"""Memory: whether there is enough of it, and that it stays with the process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from common.errors import UserError

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let freed blocks be reused by this process instead of going back to the system.

    Linux takes large freed blocks back and clears them anew for the next use, which costs more than
    many of the passes over them. For the whole process, from now on; where the C library is not
    glibc, nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def machine_memory() -> int:
    """Bytes that this process can have at most: of the machine, or of its container."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no such limit, or "max"
            found.append(int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")))
    return min(found)


def check_memory(needs: Mapping[str, float]) -> None:
    """Raise :class:`UserError` where what the flags ask for is more than the machine has.

    Args:
        needs: bytes of the largest tensors, roughly and rather too few, by the flags that they
            come from.
    """
    largest, total = max(needs, key=lambda flags: needs[flags]), sum(needs.values())
    if total > machine_memory():
        raise UserError(
            f"{largest}: about {total / 1e9:,.0f} GB of memory would be needed, and the machine "
            f"has {machine_memory() / 1e9:,.0f} GB; choose smaller sizes"
        )


def limit_memory() -> None:
    """Let allocations fail with an error at what the machine has, in place of the system killing
    this process without a word. Without effect where there is a GPU, whose driver reserves more."""
    if sys.platform.startswith("linux") and not Path("/dev/nvidiactl").exists():
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if soft == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_DATA, (machine_memory(), hard))
