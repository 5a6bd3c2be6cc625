"""Get the data sets that others recorded: ``python -m datasets.download [NAME ...]``.

Says in one line each where a data set lies, or why it cannot be had. Homes that failed a short
while ago are asked again.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError, command_line
from datasets.babi_files import ARCHIVE
from datasets.choices import check_choice
from datasets.dvs_gesture import dvs_gesture_files
from datasets.mnist import fashion_mnist_files, mnist_files
from datasets.omniglot import omniglot_files
from datasets.real import Failures, data_folder, locate
from datasets.shd import shd_files
from datasets.spoken_digits import spoken_digits_file

KNOWN: dict[str, Callable[[], Any]] = {
    "mnist": mnist_files,
    "fashion_mnist": fashion_mnist_files,
    "omniglot": omniglot_files,
    "fsdd": spoken_digits_file,
    "babi": functools.partial(locate, ARCHIVE),
    "shd": shd_files,
    "dvs_gesture": lambda: dvs_gesture_files().path,
}


def _folder(found: Any) -> Path:
    """Of the first file of those that were found."""
    paths = found.values() if isinstance(found, dict) else found
    return (found if isinstance(found, Path) else next(iter(paths))).parent


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """The command line, see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m datasets.download", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(KNOWN)} (all)")
    names = parser.parse_args(argv).names or list(KNOWN)
    for name in names:
        check_choice("data set", name, KNOWN)
    Failures(data_folder()).forget()
    missing = []
    for name in names:
        try:
            print(f"{name}: {_folder(KNOWN[name]())}")
        except UserError as error:
            print(f"{name}: {error}")
            missing.append(name)
    if missing:
        raise UserError(f"not all data sets could be had: {', '.join(missing)}")


if __name__ == "__main__":
    sys.exit(main())
