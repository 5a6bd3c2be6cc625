"""Run every table and figure in one go: what ``scripts/reproduce.sh`` calls.

Each job is a command of its own, shown before it runs, so that it can be repeated alone. Finished
parts are not repeated. A job that fails is named at the end, and the others still run. One whose
networks are not trained yet, or whose data are not there, is skipped with a line.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import report
from common.arguments import Parser
from common.errors import NotThereError, UserError, command_line
from common.paper_values import papers
from common.paths import RESULTS
from common.processes import run_child, terminated_as_interrupted
from common.report.collect import arrange, find_sources
from common.report.markdown import headline_table

PROFILES = ("quick", "full")


@dataclass(frozen=True)
class Job:
    """One table or figure: its paper's package, what it makes, and
    ``python -m module --profile P --data D --out FOLDER``.

    Attributes:
        minutes: on 2 cores, for each profile.
    """

    paper: str
    name: str
    module: str
    folder: str
    minutes: dict[str, float]


def jobs_of(packages: Sequence[str]) -> list[Job]:
    """The results of ``docs/paper_values.yaml`` that name a module, paper by paper."""
    return [
        Job(
            key,
            result.title,
            result.module,
            result.folder,
            dict(zip(PROFILES, result.minutes, strict=True)),
        )
        for key, paper in papers().items()
        for result in paper.results.values()
        if key in packages and result.module
    ]


def command_of(job: Job, profile: str, data: str, results: Path) -> list[str]:
    """The command line of a job."""
    words = ["--profile", profile, "--data", data, "--out", str(results / job.folder)]
    return [sys.executable, "-m", job.module, *words]


def run_jobs(
    jobs: Sequence[Job], profile: str, data: str, results: Path
) -> tuple[list[str], list[str]]:
    """Run the jobs one after the other.

    Returns:
        the names of those that failed, and of those that were skipped.
    """
    failed, skipped = [], []
    for number, job in enumerate(jobs):
        left = sum(later.minutes[profile] for later in jobs[number:])
        command = command_of(job, profile, data, results)
        print(
            f"\n[{number + 1}/{len(jobs)}] {job.paper}: {job.name} "
            f"(about {left:.0f} min left)\n  {shlex.join(['python', *command[1:]])}",
            flush=True,
        )
        began = time.perf_counter()
        status = run_child(command)
        if status == NotThereError.status:
            skipped.append(f"{job.paper}: {job.name}")
            print("  skipped: its networks or their data are not there, see the line above")
        elif status:
            failed.append(f"{job.paper}: {job.name}")
        print(f"  {time.perf_counter() - began:.0f} s", flush=True)
    return failed, skipped


def summary(results: Path, packages: Sequence[str]) -> str:
    """The headline rows of what lies below ``results``, a short table for each paper."""
    sources, _ = find_sources(results, results / "none")
    tables = [headline_table(c) for c in arrange(sources) if c.paper.key in packages]
    return "\n\n".join(tables)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    known = list(papers())
    parser = Parser(prog="scripts/reproduce.sh", description=__doc__)
    parser.add_argument(
        "--profile", choices=PROFILES, default="quick", help="minutes, or hours (default: quick)"
    )
    parser.add_argument("--only", help=f"papers, separated by commas, of {', '.join(known)}")
    parser.add_argument(
        "--data",
        choices=("auto", "real", "embedded"),
        default="auto",
        help="real data sets, the small embedded defaults, or real ones where they can be had "
        "(default: auto)",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder (default: results)")
    args = parser.parse_args(argv)
    chosen = known if args.only is None else args.only.split(",")
    unknown = [paper for paper in chosen if paper not in known]
    if unknown:
        raise UserError(f"--only {unknown[0]}: unknown paper; there are {', '.join(known)}")
    with terminated_as_interrupted():
        failed, skipped = run_jobs(jobs_of(chosen), args.profile, args.data, args.results)
    print()
    page = report.write_index(args.results)
    print(summary(args.results, chosen))
    print(f"\nall tables and pictures: {page}")
    print("real data sets: docs/data.md says where to get them and where to put them")
    if skipped:
        print(f"skipped, networks or data are not there: {'; '.join(skipped)}")
    if failed:
        raise UserError(f"not everything succeeded: {'; '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
