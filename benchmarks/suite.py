"""Every fast implementation against its direct one, each in a process of its own.

    python -m benchmarks [--only NAME ...] [--quick] [--list]

Writes docs/benchmarks.json, the measured numbers, and docs/benchmarks.md, their table. Numbers of
benchmarks that are not run, or that fail, keep their former values. --quick takes the smallest
sizes, to see that all of them run; its numbers are printed and not kept.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.arguments import Parser
from common.errors import UserError, command_line
from common.files import atomic_path, write_json
from common.paths import ROOT
from common.report.cells import NONE, markdown_table

DOCS = ROOT / "docs"
COLUMNS = (
    "what",
    "direct",
    "here",
    "times faster",
    "memory, direct",
    "here",
    "measured",
    "command",
)
Row = dict[str, Any]
"""A comparison as JSON, with the name of its benchmark and what is known of the machine."""


@dataclass(frozen=True)
class Benchmark:
    """One process: ``python -m benchmarks.MODULE FLAGS``; ``quick`` are the flags of --quick.

    ``needs`` says what the machine must have, and ``there`` whether it has it.
    """

    name: str
    module: str
    flags: str = ""
    quick: str = ""
    needs: str = ""
    there: Callable[[], bool] = lambda: True

    def words(self, quick: bool) -> list[str]:
        """The command after ``python``."""
        return [
            "-m",
            f"benchmarks.{self.module}",
            *shlex.split(self.quick if quick else self.flags),
        ]


BENCHMARKS = (
    Benchmark("dasbe", "binding", "--datasets all", "--images 2 --repeats 1"),
    Benchmark("dasbe_one_thread", "binding", "--threads 1", "--threads 1 --images 2 --repeats 1"),
    Benchmark("silhouette", "silhouette", "", "--repeats 1"),
    Benchmark("gust", "gust", "", "--images 32 --repeats 1"),
    Benchmark("gust_float32", "gust", "--float32", "--float32 --images 32 --repeats 1"),
    Benchmark("gust_evaluation", "gust_evaluation", "", "--images 3 --repeats 1"),
    Benchmark(
        "hebbian_writing",
        "hebbian_writing",
        "",
        "--batch 2 --steps 20 --memory_size 10 --repeats 1",
    ),
    Benchmark(
        "hebbian_iteration", "hebbian_writing", "--iteration 512", "--iteration 2 --repeats 1"
    ),
    Benchmark(
        "hebbian_stories",
        "hebbian_stories",
        "--threads 1",
        "--tasks 15 --questions 4 --repeats 1 --threads 1",
    ),
    Benchmark("hebbian_front_ends", "hebbian_front_ends", "", "--images 1 --repeats 1"),
    Benchmark(
        "hebbian_concentration",
        "hebbian_concentration",
        "",
        "--num_envs 2 --num_time_steps 2 --repeats 1",
    ),
    Benchmark(
        "hebbian_cuda",
        "hebbian_cuda",
        "",
        "--batch 2 --steps 100 --memory_size 10 --repeats 1",
        needs="a CUDA device",
        there=torch.cuda.is_available,
    ),
    Benchmark("snn_tha_mnist", "snn_tha", "--network mnist", "--batch_size 1 --repeats 1"),
    Benchmark(
        "snn_tha_shd", "snn_tha", "--network shd", "--network shd --batch_size 1 --repeats 1"
    ),
    Benchmark(
        "snn_tha_dvs", "snn_tha", "--network dvs", "--network dvs --batch_size 1 --repeats 1"
    ),
)


# ---- measuring ------------------------------------------------------------------------------


def run_benchmark(benchmark: Benchmark, quick: bool) -> list[Row]:
    """Run one in a process of its own and return its rows; none where it fails."""
    words = benchmark.words(quick)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        status = subprocess.run([sys.executable, *words, "--json", str(path)], check=False)
        if status.returncode or not path.exists():
            return []
        found = json.loads(path.read_text(encoding="utf-8"))
    rows = found.pop("rows")
    command = shlex.join(["python", *words])
    return [
        {"benchmark": benchmark.name, "command": command, **found, **_without(row, "text")}
        for row in rows
    ]


def _without(row: Row, *names: str) -> Row:
    return {key: value for key, value in row.items() if key not in names}


def merged(former: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """The former rows, those of benchmarks that were run again replaced; in the order of
    :data:`BENCHMARKS`."""
    measured = {row["benchmark"] for row in rows}
    kept = [row for row in former if row["benchmark"] not in measured]
    places = {benchmark.name: place for place, benchmark in enumerate(BENCHMARKS)}
    return sorted([*kept, *rows], key=lambda row: places.get(row["benchmark"], len(places)))


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, none where it does not exist.

    Raises :class:`UserError` for a damaged one.
    """
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [row for row in rows if row["benchmark"] and row["what"] and row["fast"]]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; bring it back, or delete it and measure all") from None


# ---- writing --------------------------------------------------------------------------------


def benchmarks_page(rows: Sequence[Row]) -> str:
    """The text of ``docs/benchmarks.md``."""
    notes = list(dict.fromkeys(row["note"] for row in rows if row.get("note")))
    absent = [b for b in BENCHMARKS if b.name not in {row["benchmark"] for row in rows}]
    missing = [
        f"Not measured yet: `python -m benchmarks --only {b.name}`"
        + (f" (needs {b.needs})." if b.needs else ".")
        for b in absent
    ]
    cells = []
    for row in rows:
        mark = f" [{notes.index(row['note']) + 1}]" if row.get("note") else ""
        what, *others = _cells(row)
        cells.append((what + mark, *others))
    parts = [_HEAD, markdown_table(COLUMNS, cells), ""]
    parts += [f"- [{number}] {note}" for number, note in enumerate(notes, 1)]
    parts += [f"- {line}" for line in missing]
    return "\n".join(parts).rstrip("\n") + "\n"


_HEAD = """# Benchmarks

Made by `python -m benchmarks`, which measures all of this again (`--only NAME` one benchmark) and
writes the numbers to `docs/benchmarks.json`. Both sides of a line are timed in one process, in
turn, after a warm-up, with the same number of threads; medians. The direct side is the plain
implementation of the same equations that the tests compare with. Memory is the peak above what the
process held before.
"""


def _cells(row: Row) -> tuple[str, ...]:
    fast, direct = row["fast"], row["direct"]
    ratio = NONE if direct is None else f"{direct / fast:.{0 if direct / fast >= 10 else 1}f}"
    return (
        row["what"],
        _seconds(direct),
        _seconds(fast),
        ratio,
        _megabytes(row.get("direct_bytes")),
        _megabytes(row.get("fast_bytes")),
        _circumstances(row),
        f"`{row['command']}`",
    )


def _circumstances(row: Row) -> str:
    parts = [row.get("date"), row.get("machine")]
    if row.get("threads"):
        parts.append(f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}")
    if row.get("repeats"):
        parts.append(f"{row['repeats']} run{'s' if row['repeats'] > 1 else ''}")
    if row.get("load") is not None:
        parts.append(f"load {row['load']}")
    return ", ".join(filter(None, parts))


def _seconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def _megabytes(value: float | None) -> str:
    return NONE if value is None else f"{value / 1e6:,.0f} MB".replace(",", " ")


def write_page(docs: Path, rows: Sequence[Row]) -> Path:
    """Write ``benchmarks.md`` to a folder."""
    path = docs / "benchmarks.md"
    with atomic_path(path) as temporary:
        temporary.write_text(benchmarks_page(rows), encoding="utf-8")
    return path


# ---- command line ---------------------------------------------------------------------------


def chosen(names: Sequence[str] | None) -> list[Benchmark]:
    """The benchmarks of these names, or all; raises :class:`UserError` for an unknown one."""
    known = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    for name in names or ():
        if name not in known:
            raise UserError(f"--only {name}: unknown benchmark; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", metavar="NAME", help="these benchmarks (--list names all)")
    add("--quick", action="store_true", help="smallest sizes; nothing is kept")
    add("--list", action="store_true", help="say what there is and run nothing")
    add("--docs", type=Path, default=DOCS, help="folder of benchmarks.md (default: docs)")
    args = parser.parse_args(argv)
    benchmarks = chosen(args.only)
    if args.list:
        lines = [f"{b.name}: {shlex.join(['python', *b.words(args.quick)])}" for b in benchmarks]
        print("\n".join(lines))
        return
    measured, failed = [], []
    kept = read_rows(args.docs / "benchmarks.json")
    for number, benchmark in enumerate(benchmarks):
        command = shlex.join(["python", *benchmark.words(args.quick)])
        print(f"\n[{number + 1}/{len(benchmarks)}] {benchmark.name}: {command}", flush=True)
        if not benchmark.there():
            print(f"left out: it needs {benchmark.needs}", flush=True)
            continue
        rows = run_benchmark(benchmark, args.quick)
        measured += rows
        failed += [] if rows else [benchmark.name]
        if rows and not args.quick:  # an interrupted run keeps what it has measured
            kept = merged(kept, rows)
            write_json(args.docs / "benchmarks.json", kept)
            write_page(args.docs, kept)
    print("\n" + markdown_table(COLUMNS, [_cells(row) for row in measured]))
    if failed:
        raise UserError(f"these benchmarks failed: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
