"""Run every table and figure in one go: what ``scripts/reproduce.sh`` calls.

Each job is a command of its own, shown before it runs, so that it can be repeated alone. Finished
parts are not repeated. A job that fails is named at the end, and the others still run. One whose
networks are not trained yet, or whose data are not there, is skipped with a line.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import report
from common.arguments import Parser
from common.errors import NotThereError, UserError, command_line
from common.paths import RESULTS


@dataclass(frozen=True)
class Job:
    """One table or figure.

    Attributes:
        paper: the package it belongs to.
        name: what it makes.
        module: ``python -m module --profile P --data D --out FOLDER`` makes it.
        folder: of its results, below the results folder.
        minutes: what each profile takes on 2 cores, for the time left.
        may_lack: networks or data that are not there are no failure: the job is skipped.
    """

    paper: str
    name: str
    module: str
    folder: str
    minutes: dict[str, float]
    may_lack: bool = False


def _hebbian(name: str, module: str, folder: str, quick: float, full: float) -> Job:
    """A job of the Hebbian memory whose networks may not be trained yet."""
    minutes = {"quick": quick, "full": full}
    return Job("hebbian_snn", name, f"hebbian_snn.{module}", f"hebbian_{folder}", minutes, True)


JOBS = (
    Job("dasbe", "Table 1", "dasbe.figures.table1", "dasbe_table1", {"quick": 1, "full": 90}),
    Job("dasbe", "Figure 2", "dasbe.figures.figure2", "dasbe_figure2", {"quick": 0.3, "full": 0.3}),
    Job("dasbe", "Figure 3", "dasbe.figures.figure3", "dasbe_figure3", {"quick": 0.3, "full": 1}),
    Job("dasbe", "Figure 4", "dasbe.figures.figure4", "dasbe_figure4", {"quick": 0.4, "full": 0.5}),
    Job("dasbe", "Figure 5", "dasbe.figures.figure5", "dasbe_figure5", {"quick": 0.5, "full": 1}),
    Job(
        "dasbe",
        "animation",
        "dasbe.figures.animation",
        "dasbe_animation",
        {"quick": 0.5, "full": 0.5},
    ),
    Job("dasbe", "example", "dasbe.example", "dasbe_example", {"quick": 0.2, "full": 0.2}),
    Job("gust", "binding", "gust.figures.binding", "gust_binding", {"quick": 0.2, "full": 0.2}),
    Job("gust", "scores", "gust.figures.scores", "gust_scores", {"quick": 0.2, "full": 0.2}),
    Job("gust", "training", "gust.figures.training", "gust_training", {"quick": 0.2, "full": 0.2}),
    Job(
        "gust",
        "generalisation",
        "gust.evaluation",
        "gust_generalisation",
        {"quick": 0.3, "full": 1.3},
    ),
    Job(
        "gust",
        "animation",
        "gust.figures.animation",
        "gust_animation",
        {"quick": 0.6, "full": 0.6},
    ),
    Job(
        "snn_tha", "Table 1", "snn_tha.figures.table1", "snn_tha_table1", {"quick": 3, "full": 0.2}
    ),
    Job(
        "snn_tha",
        "spike timing",
        "snn_tha.figures.temporal",
        "snn_tha_temporal",
        {"quick": 0.5, "full": 2.5},
    ),
    _hebbian("associations", "figures.associations", "associations", 1, 3),
    _hebbian(
        "network activity",
        "plot_memorizing_associations_task",
        "associations_activity",
        0.3,
        0.3,
    ),
    _hebbian("bAbI", "figures.babi", "babi", 0.2, 6),
    _hebbian("bAbI, one story", "plot_question_answering_task", "babi_activity", 0.3, 0.3),
    _hebbian("Concentration", "figures.concentration", "concentration", 3, 30),
    _hebbian(
        "Concentration, one game", "figures.concentration_game", "concentration_game", 0.3, 0.3
    ),
    _hebbian("Omniglot", "figures.omniglot", "omniglot", 1, 3),
    _hebbian("Omniglot, one episode", "plot_omniglot_one_shot_task", "omniglot_activity", 0.5, 0.5),
    _hebbian("cross-modal", "figures.cross_modal", "cross_modal", 1.5, 5),
    _hebbian(
        "cross-modal, one trial",
        "plot_cross_modal_associations_task",
        "cross_modal_activity",
        0.5,
        0.5,
    ),
)


def command_of(job: Job, profile: str, data: str, results: Path) -> list[str]:
    """The command line of a job."""
    profiles = [] if job.name == "example" else ["--profile", profile]
    out = ["--data", data, "--out", str(results / job.folder)]
    return [sys.executable, "-m", job.module, *profiles, *out]


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
        status = subprocess.run(command, check=False).returncode
        if status == NotThereError.status and job.may_lack:
            skipped.append(f"{job.paper}: {job.name}")
            print("  skipped: its networks or their data are not there, see the line above")
        elif status:
            failed.append(f"{job.paper}: {job.name}")
        print(f"  {time.perf_counter() - began:.0f} s", flush=True)
    return failed, skipped


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    papers = sorted({job.paper for job in JOBS})
    parser = Parser(prog="scripts/reproduce.sh", description=__doc__)
    parser.add_argument("--profile", choices=("quick", "full"), default="quick")
    parser.add_argument("--only", help=f"papers, separated by commas, of {', '.join(papers)}")
    parser.add_argument(
        "--data",
        choices=("auto", "real", "embedded"),
        default="auto",
        help="real data sets, the small embedded defaults, or real ones where they can be had",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder (default: results)")
    args = parser.parse_args(argv)
    chosen = papers if args.only is None else args.only.split(",")
    unknown = [paper for paper in chosen if paper not in papers]
    if unknown:
        raise UserError(f"--only {unknown[0]}: unknown paper; there are {', '.join(papers)}")
    jobs = [job for job in JOBS if job.paper in chosen]
    failed, skipped = run_jobs(jobs, args.profile, args.data, args.results)
    if skipped:
        print(f"\nskipped, networks or data are not there: {', '.join(skipped)}")
    print()
    status = report.main([] if args.results == RESULTS else ["--results", str(args.results)])
    if failed or status:
        raise UserError(f"not everything succeeded: {', '.join(failed) or 'the report'}")


if __name__ == "__main__":
    sys.exit(main())
