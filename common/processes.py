"""Children that end with their parent, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_PR_SET_PDEATHSIG = 1
GRACE = 20.0
"""Seconds that a child has to end after it was told to."""


def _tied_to_this_process() -> Callable[[], None]:
    """What a child calls before it starts: the system ends it once this process is gone (Linux)."""
    library, parent = ctypes.CDLL(None), os.getpid()

    def tie() -> None:
        if hasattr(library, "prctl"):
            library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

    return tie


@contextlib.contextmanager
def child(words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process that ends when the block does, or this process, even by ``kill -9``."""
    process = subprocess.Popen(words, preexec_fn=_tied_to_this_process(), **options)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen) -> None:
    """End a child that still runs: asked first, then without asking."""
    for tell in (process.terminate, process.kill):
        if process.poll() is None:
            tell()
            until = time.monotonic() + GRACE
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.02)


def run_child(words: Sequence[str], **options: Any) -> int:
    """The exit status of a command, which ends with this process."""
    with child(words, **options) as process:
        return process.wait()


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that what it started is ended as well."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
