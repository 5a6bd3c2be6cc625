"""What must happen before torch and numba are loaded; importing any package here does it.

- Ctrl-C ends a command quietly while it loads its libraries, which takes seconds; from
  :func:`common.errors.command_line` on it interrupts as usual.
- Allocations fail where the machine's memory ends, so that a command can say so.
- Variables that numba would stop at with a traceback end a command with one line.
- Compiled kernels are kept where numba keeps them: in ``NUMBA_CACHE_DIR``, beside the code or in
  the user's cache. Where none of these can be written they are compiled anew in every run.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

from common.memory import limit_memory
from common.paths import ROOT

_PACKAGES = ("benchmarks", "common", "dasbe", "datasets", "gust", "hebbian_snn", "snn_tha")


def is_command() -> bool:
    """Whether this process runs one of the repository's commands, not a program that imports it."""
    started = sys.argv[0] if sys.argv else ""
    if started == "-m":  # so it stands while Python looks for the module's package
        return True
    place = Path(started).absolute()
    return ROOT in place.parents and place.relative_to(ROOT).parts[0] in _PACKAGES


def prepare() -> None:
    """Do what the module's text says; ends the process where a variable cannot be used."""
    if is_command():
        main_thread = threading.current_thread() is threading.main_thread()
        if main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        limit_memory()
        wrong = wrong_variable()
        if wrong:
            sys.exit(f"error: {wrong}")
    if "numba" not in sys.modules and not any(map(_can_write, _cache_folders())):
        _cache_for_now()


def wrong_variable() -> str | None:
    """What is wrong with numba's variables, in words; None where nothing is."""
    threads = os.environ.get("NUMBA_NUM_THREADS", "1")
    if not threads.isdecimal() or int(threads) < 1:
        return f"NUMBA_NUM_THREADS is {threads!r}; give 1 thread or more, or unset it"
    if os.environ.get("NUMBA_DISABLE_JIT", "0").strip() not in ("", "0"):
        return "NUMBA_DISABLE_JIT is set, but the kernels only work compiled; unset it"
    return None


def _cache_folders() -> list[Path]:
    """Where numba looks for a place, in its order."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return [*([Path(given)] if given else []), ROOT / "common" / "__pycache__", user / "numba"]


def _can_write(folder: Path) -> bool:
    """Whether files can be written to a folder, which may still have to be made."""
    try:
        while not folder.exists():
            folder = folder.parent
    except OSError:
        return False
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _cache_for_now() -> None:
    advice = "set NUMBA_CACHE_DIR to a folder that you may write to"
    try:
        folder = tempfile.mkdtemp(prefix="kernels-")
    except OSError:
        sys.exit(f"error: there is no place for compiled kernels; {advice}")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder
    print(f"compiled kernels cannot be kept, so every run compiles them; {advice}", file=sys.stderr)
