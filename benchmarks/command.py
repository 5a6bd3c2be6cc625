"""What every benchmark shares: flags, threads, and its numbers as text and as JSON."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numba
import torch

from common.arguments import Parser
from common.errors import UserError
from common.files import write_json
from common.records import device_name


@dataclass(frozen=True)
class Comparison:
    """One comparison of a fast implementation with a direct one.

    Attributes:
        what: was done, with its size. text: the line that the command prints.
        fast, direct: seconds, medians of ``repeats`` runs; None where there is no direct side.
        fast_bytes, direct_bytes: peak memory, where it was measured.
        note: what the numbers do not say.
    """

    what: str
    text: str
    fast: float
    direct: float | None
    repeats: int
    fast_bytes: int | None = None
    direct_bytes: int | None = None
    note: str = ""


def benchmark_parser(
    description: str | None, repeats: int = 3, threads: bool = True
) -> argparse.ArgumentParser:
    """A parser with --repeats, --json and, unless it is for a GPU, --threads."""
    parser = Parser(description=description)
    parser.add_argument(
        "--repeats", type=int, default=repeats, help="times each is run (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="file for the numbers, besides the text")
    if threads:
        parser.add_argument(
            "--threads",
            type=int,
            default=os.cpu_count(),
            help="for both sides (default: all cores)",
        )
    return parser


def read_options(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags, with the threads set and said.

    Raises :class:`UserError` for a count below 1 (a seed may be 0) and for more threads than there
    are.
    """
    options = parser.parse_args(argv)
    for name, value in vars(options).items():
        if name != "seed" and type(value) is int and value < 1:
            raise UserError(f"--{name} is {value}; give 1 or more")
    if "threads" in options:
        if options.threads > numba.config.NUMBA_NUM_THREADS:
            raise UserError(
                f"--threads is {options.threads}; there are {numba.config.NUMBA_NUM_THREADS}"
            )
        torch.set_num_threads(options.threads)
        numba.set_num_threads(options.threads)
        print(f"{options.threads} threads, load of the machine {os.getloadavg()[0]:.1f}")
    return options


def report(items: Iterable[str | Comparison], options: argparse.Namespace) -> None:
    """Print lines and comparisons as they come; with --json, write the comparisons at the end."""
    load, found = os.getloadavg()[0], []
    for item in items:
        print(item if isinstance(item, str) else item.text, flush=True)
        if isinstance(item, Comparison):
            found.append(asdict(item))
    if options.json:
        gpu = "threads" not in options
        about = {
            "machine": device_name(torch.device("cuda" if gpu else "cpu")),
            "cores": os.cpu_count(),
            "threads": None if gpu else options.threads,
            "load": round(load, 1),
            "torch": torch.__version__,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }
        write_json(options.json, {**about, "rows": found})
