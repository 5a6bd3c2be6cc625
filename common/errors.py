"""One clear sentence for every mistake that is not a bug.

Library code raises :class:`UserError`; every ``main`` is wrapped in :func:`command_line`, which
prints the sentence and turns it into an exit status.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence


class UserError(Exception):
    """A wrong flag, file or environment: what is wrong, where, and what to do, in one sentence.

    Attributes:
        status: exit status of a command that ends with it.
    """

    status = 1


class NotThereError(UserError):
    """Nothing is wrong, but a network is not trained yet, or the data it needs are not there."""

    status = 3


_OS_REASONS = {
    errno.ENOSPC: "no space is left on its device; free some, or choose another folder for it",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another folder for it",
    errno.EACCES: "permission is denied; choose a folder that you may write to",
    errno.EPERM: "the operation is not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose a folder that you may write to",
    errno.ENOENT: "there is no such file or folder",
    errno.EEXIST: "a file stands where a folder is needed; choose another folder",
    errno.ENOTDIR: "a part of the path is a file where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed; remove it or choose another place",
    errno.ENOTEMPTY: "a folder stands in the way; remove it or choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "its links lead in a circle",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.EFBIG: "the file would be larger than the system allows (ulimit -f)",
}


_leaving: list[bool] = []


def leave_at_once() -> None:
    """Let :func:`command_line` end this process once its output is written, without the clean-up of
    loaded libraries: gloo's threads, where one still runs, would abort the process."""
    _leaving.append(True)


def _left(status: int) -> int:
    if _leaving:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


_ASCII = {"\N{PLUS-MINUS SIGN}": "+-", "\N{EN DASH}": "-", "\N{MULTIPLICATION SIGN}": "x"}


def _print_anything() -> None:
    """Let output whose encoding lacks a character (``LC_ALL=C``) show a stand-in in its place."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors="common.stand_in")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(c, ascii(c)[1:-1]) for c in text), error.end


codecs.register_error("common.stand_in", _stand_in)


def _wake_up() -> None:
    """Ctrl-C interrupts as usual again; before, it ends a command that still loads its libraries
    (see :mod:`common`)."""
    here = threading.current_thread() is threading.main_thread()
    if here and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _memory_reason(error: Exception) -> str | None:
    """What an allocation that failed says of itself; None for any other error."""
    words = ("allocate memory", "out of memory", "not enough memory", "Storage size calculation")
    if isinstance(error, MemoryError) or any(word in str(error) for word in words):
        return (str(error).strip().splitlines() or ["out of memory"])[0][:200]
    return None


def command_line(main: Callable[[Sequence[str] | None], None]) -> Callable[..., int]:
    """Wrap ``main(argv)`` so that it returns an exit status and never shows a traceback for a
    user's mistake.

    Returns 0 on success, 1 on :class:`UserError`, a file-system error or too little memory, 3 on
    :class:`NotThereError`, 130 on Ctrl-C, 141 (as a shell has it) where nobody reads the output
    any more.
    Bugs (any other exception) keep their traceback.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _wake_up()
        _print_anything()
        try:
            main(argv)
            sys.stdout.flush()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return _left(error.status)
        except KeyboardInterrupt:
            print(
                "\ninterrupted: finished parts are kept, the same command goes on from there",
                file=sys.stderr,
            )
            return _left(130)
        except BrokenPipeError:  # ``command | head``
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _left(141)
        except (MemoryError, RuntimeError) as error:
            reason = _memory_reason(error)
            if reason is None:
                raise
            print(
                f"error: more memory is needed than there is ({reason}); choose smaller sizes",
                file=sys.stderr,
            )
            return _left(1)
        except OSError as error:
            reason = _OS_REASONS.get(error.errno)
            if reason is None:
                raise
            place = error.filename2 or error.filename or "writing a file"
            print(f"error: {place}: {reason}", file=sys.stderr)
            return _left(1)
        return _left(0)

    return wrapped
