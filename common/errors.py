"""One clear sentence for every mistake that is not a bug.

Library code raises :class:`UserError`; every ``main`` is wrapped in :func:`command_line`, which
prints the sentence and turns it into an exit status.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
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
    errno.ENOSPC: "no space is left on the device; free some or choose another folder with --out",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder with --out",
    errno.EACCES: "permission is denied; choose a folder that you may write to",
    errno.EPERM: "the operation is not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose a folder that you may write to",
    errno.ENOENT: "there is no such file or folder",
    errno.EEXIST: "a file stands where a folder is needed; choose another folder",
    errno.ENOTDIR: "a part of the path is a file where a folder is needed",
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


def command_line(main: Callable[[Sequence[str] | None], None]) -> Callable[..., int]:
    """Wrap ``main(argv)`` so that it returns an exit status and never shows a traceback for a
    user's mistake.

    Returns 0 on success, 1 on :class:`UserError` or a file-system error, 3 on
    :class:`NotThereError`, 130 on Ctrl-C.
    Bugs (any other exception) keep their traceback.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        try:
            main(argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return _left(error.status)
        except KeyboardInterrupt:
            print(
                "\ninterrupted: finished parts are kept, the same command goes on from there",
                file=sys.stderr,
            )
            return _left(130)
        except OSError as error:
            reason = _OS_REASONS.get(error.errno)
            if reason is None:
                raise
            print(f"error: {error.filename or 'writing a file'}: {reason}", file=sys.stderr)
            return _left(1)
        return _left(0)

    return wrapped
