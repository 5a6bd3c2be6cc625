"""Commands that make a figure or table: their common flags, and the files they write."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile, ZipFile

import numpy as np
from matplotlib.figure import Figure

from common.arguments import Parser
from common.drawing import save_figure
from common.errors import UserError
from common.files import atomic_path, folder_to_write
from common.paths import RESULTS
from common.records import Record, load_record
from common.report import results_table
from common.runs import add_networks_argument

PathLike = str | os.PathLike[str]


def result_parser(
    module: str, description: str | None, folder: str, profiles: str, networks: str = ""
) -> argparse.ArgumentParser:
    """The flags that every figure and table has: --profile, --data, --networks, --device, --out.

    Args:
        module: as in ``python -m module``. description: the module's docstring.
        folder: of its results below ``results/``. profiles: what quick and full are.
        networks: what may be named behind --networks; nothing: only ``runs``.
    """
    parser = Parser(prog=f"python -m {module}", description=description)
    parser.add_argument("--profile", choices=("quick", "full"), default="quick", help=profiles)
    parser.add_argument(
        "--data",
        choices=("auto", "real", "embedded"),
        default="auto",
        help="where real data are needed: real, the small embedded default, or auto (real ones "
        "where they can be had)",
    )
    add_networks_argument(parser, networks)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--out",
        type=folder_to_write,
        default=str(RESULTS / folder),
        help=f"folder (default: results/{folder})",
    )
    return parser


MOST_BYTES = 1 << 30
"""What the arrays of a figure may unpack to; the largest ones here have a few megabytes."""


def save_arrays(path: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays to an ``.npz`` file, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_arrays(path: PathLike) -> dict[str, np.ndarray]:
    """Read the arrays of :func:`save_arrays`.

    Raises :class:`UserError` when the file is missing or damaged, or unpacks to more than
    :data:`MOST_BYTES`.
    """
    try:
        with ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_BYTES:
                raise BadZipFile
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        raise UserError(f"there are no arrays {path}; run the figure's command first") from None
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        RuntimeError,
        BadZipFile,
        TokenError,
        MemoryError,
        NotImplementedError,
        zlib.error,
    ):
        raise UserError(f"{path} is damaged; run the figure's command again") from None


def save_results(
    out: PathLike, record: Record, arrays: Mapping[str, np.ndarray], figure: Figure
) -> None:
    """Write ``record.json``, ``arrays.npz``, ``figure.png`` and ``figure.pdf`` to a folder."""
    save_arrays(Path(out) / "arrays.npz", arrays)
    save_figure(figure, out)
    record.save(out)


def report_results(
    out: PathLike, record: Record, arrays: Mapping[str, np.ndarray], figure: Figure
) -> None:
    """What a command ends with: save everything, print the table and the folder."""
    save_results(out, record, arrays, figure)
    print(results_table([record]))
    print(f"record, arrays and pictures: {out}")


def load_results(out: PathLike) -> tuple[Record, dict[str, np.ndarray]]:
    """The record and the arrays in a folder; errors as :func:`load_arrays`."""
    return load_record(out), load_arrays(Path(out) / "arrays.npz")


def run_quietly(main: Callable[..., int], argv: Sequence[str]) -> None:
    """Run a command without what it prints.

    Raises :class:`UserError` with its last words when it fails.
    """
    said, complaints = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaints):
        status = main(list(argv))
    if status:
        raise UserError(complaints.getvalue().strip().rpartition("error: ")[2])


def load_or_run(main: Callable[..., int], out: PathLike) -> tuple[Record, dict[str, np.ndarray]]:
    """The results in a folder; without any, ``main`` makes them first, in its quick profile.

    Raises :class:`UserError` when they cannot be made or read.
    """
    if not (Path(out) / "record.json").exists():
        run_quietly(main, ["--profile", "quick", "--out", str(out)])
    return load_results(out)
