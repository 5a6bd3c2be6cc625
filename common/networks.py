"""The catalogue of all trained networks (docs/networks.yaml): list them, train them, check them.

    python -m common.networks list [--missing] [--only hebbian_snn]
    python -m common.networks train associations_5 [--seeds 0 1 2] [--jobs 2]     # this machine
    python -m common.networks train --missing --slurm --partition P --gpus 1 --hours 8
    python -m common.networks check [NAME ...]         # scores again, within the range?
    python -m common.networks page                     # writes docs/networks.md

A training writes to ``runs/<package>/<name>``, with a seed other than 0 to ``<name>_seed<n>``; what
is finished there is not trained again, what is interrupted goes on. Jobs of SLURM are
queued again before their time is up. What they say is in ``runs/jobs``.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.arguments import Parser
from common.checkpoints import NETWORK, Checkpoint, load_checkpoint
from common.errors import UserError, command_line
from common.files import atomic_path, read_yaml
from common.paths import CHECKPOINTS, ROOT, RUNS

CATALOGUE = ROOT / "docs" / "networks.yaml"
PAGE = ROOT / "docs" / "networks.md"


@dataclass(frozen=True)
class Network:
    """One network of the catalogue.

    Attributes:
        model: its package. name: of its checkpoint, with the seed where that is not 0.
        command: behind ``python -m``. data: it is trained on. minutes: of one core.
        score: key in the checkpoint's metadata, a dot between the levels. expected: its value.
        range: within which another training or measurement may lie.
        feeds: figures and tables. seeds: that are wanted. seed: of this one.
        unfinished: what is shipped is a snapshot. gpu: it takes too long without.
    """

    model: str
    name: str
    command: str
    data: str
    minutes: float
    score: str
    expected: float
    range: tuple[float, float]
    feeds: tuple[str, ...]
    seeds: tuple[int, ...]
    seed: int = 0
    unfinished: bool = False
    gpu: bool = False

    def with_seed(self, seed: int) -> Network:
        """The same with another seed."""
        if seed == self.seed:
            return self
        return Network(**{**self.__dict__, "name": f"{self.name}_seed{seed}", "seed": seed})

    @property
    def file(self) -> Path | None:
        """The shipped checkpoint, else that of its finished run; None where there is neither."""
        run = RUNS / self.model / self.name
        shipped = CHECKPOINTS / self.model / f"{self.name}.safetensors"
        if shipped.exists():
            return shipped
        finished = (run / NETWORK).exists() and not (run / "state.pt").exists()
        return run / NETWORK if finished else None

    def words(self) -> tuple[str, ...]:
        """Of the command that trains it, behind ``python``."""
        return ("-m", *shlex.split(self.command), "--name", self.name, "--seed", str(self.seed))

    def stored(self, checkpoint: Checkpoint) -> float | None:
        """The score that its training found; None in a snapshot, which was not tested."""
        value: Any = checkpoint.metadata
        for key in self.score.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value


def catalogue(path: Path = CATALOGUE) -> dict[str, Network]:
    """All networks by ``model/name``, with their first seed."""
    entries = read_yaml(path, f"there is no catalogue {path}")
    networks = {}
    for key, entry in entries.items():
        model, _, name = key.partition("/")
        lists = {k: tuple(entry[k]) for k in ("range", "feeds", "seeds")}
        networks[key] = Network(model, name, **{**entry, **lists})
    return networks


def chosen(
    names: Sequence[str], only: str | None = None, missing: bool = False, seeds: Sequence[int] = ()
) -> list[Network]:
    """The networks of these names (all without any), of one package, that are missing.

    Raises :class:`UserError` for a name or package that is not in the catalogue.
    """
    known = catalogue()
    packages = {network.model for network in known.values()}
    if only is not None and only not in packages:
        raise UserError(f"--only {only}: there are {', '.join(sorted(packages))}")
    found = []
    for name in names:
        these = [n for key, n in known.items() if name in (key, n.name)]
        if not these:
            raise UserError(f"there is no network {name!r} in {CATALOGUE.name}")
        found += these
    found = [n for n in found or known.values() if only in (None, n.model)]
    wanted = [n.with_seed(s) for n in found for s in seeds or (n.seeds if missing else (0,))]
    return [n for n in wanted if not missing or n.file is None]


# ---- commands -------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> None:
    networks = chosen(args.names, args.only, args.missing)
    for network in networks:
        path = network.file
        place = "missing" if path is None else "shipped" if CHECKPOINTS in path.parents else "run"
        value = None if path is None else network.stored(load_checkpoint(path, model=network.model))
        score = "-" if value is None else f"{value:.4g}"
        more = " (needs a GPU)" if network.gpu else " (unfinished)" if network.unfinished else ""
        print(
            f"{network.model}/{network.name}: {place}{more}, {network.score} {score} "
            f"({network.range[0]:g} to {network.range[1]:g} expected), {network.minutes:g} min: "
            f"python {shlex.join(network.words())}"
        )
    minutes = sum(n.minutes for n in networks if not n.gpu)
    print(f"{len(networks)} networks, about {minutes / 60:.1f} core hours")


def _train(args: argparse.Namespace) -> None:
    from common.jobs import LOGS, Training, run_here, submit

    if not args.names and not args.missing:
        raise UserError("name the networks, or give --missing")
    networks = [
        n
        for n in chosen(args.names, args.only, args.missing, args.seeds)
        if (n.file is None or (args.names and CHECKPOINTS in n.file.parents))
        and (args.names or args.gpus or not n.gpu)
    ]
    for what in ("processes", "nodes", "jobs", "cpus"):
        if getattr(args, what) is not None and getattr(args, what) < 1:
            raise UserError(f"--{what} is {getattr(args, what)}; give 1 or more")
    logs = args.logs or LOGS
    several = args.processes * args.nodes > 1
    cpus = args.cpus or (1 if args.slurm else max(1, (os.cpu_count() or 1) // (args.jobs or 1)))
    trainings = [
        Training(
            f"{n.model}/{n.name}",
            (*n.words(), *shlex.split(args.flags)),
            processes=args.processes,
            nodes=args.nodes,
            threads=max(1, cpus // args.processes),
        )
        for n in networks
        if not (several and "reinforcement_learning" in n.command)  # one process alone
    ]
    if not trainings:
        print("nothing is to be trained")
        return
    if args.slurm:
        if args.hours <= 0:
            raise UserError(f"--hours is {args.hours}; give more than 0")
        jobs = submit(
            trainings,
            logs,
            time=max(1, round(60 * args.hours)),
            partition=args.partition,
            gpus_per_node=args.gpus or None,
            cpus_per_task=cpus,
            nodes=args.nodes,
            ntasks_per_node=1,
            array_parallelism=args.jobs or 256,
            signal_delay_s=args.signal_seconds,
        )
        for training, job in zip(trainings, jobs, strict=True):
            print(f"job {job.job_id}: {training.name}, log {job.paths.stdout}")
        print("they go on without this command; scancel ends them")
        return
    if args.nodes > 1:
        raise UserError("--nodes needs --slurm")
    failed = []
    print(f"{len(trainings)} networks are to be trained, {args.jobs or 1} at once", flush=True)
    for training, seconds, status, said in run_here(trainings, args.jobs or 1, logs):
        end = f"failed, see {said}" if status else "trained"
        print(f"{training.name}: {end}, {seconds / 60:.1f} min", flush=True)
        failed += [training.name] if status else []
    if failed:
        raise UserError(f"these trainings failed: {', '.join(failed)}")


def _check(args: argparse.Namespace) -> None:
    outside = []
    for network in chosen(args.names, args.only):
        if network.file is None:
            continue
        value = scored_again(network, network.file)
        low, high = network.range
        good = low <= value <= high
        print(
            f"{network.model}/{network.name}: {network.score} {value:.4g}, "
            f"{'within' if good else 'OUTSIDE'} {low:g} to {high:g}",
            flush=True,
        )
        outside += [] if good else [network.name]
    if outside:
        raise UserError(f"outside of their range: {', '.join(outside)}")


def scored_again(network: Network, path: Path) -> float:
    """The score of a network, measured now on the data it was trained with.

    Raises :class:`UserError` where that does not work.
    """
    if network.model == "hebbian_snn":
        return _evaluated(network, path)
    checkpoint = load_checkpoint(path, model=network.model)
    if network.model == "dasbe":
        from dasbe.binding import load_network
        from dasbe.objectives import build_objective

        trained = load_network(path)
        objective = build_objective(trained.settings, "auto")
        return objective.validate(trained.network, checkpoint.metadata["seed"])[1]
    from common.distributed import ALONE

    if network.model == "gust":
        from gust import train as gust
        from gust.kernels import choose_backend
        from gust.trained import load_network

        trained = load_network(path)
        data, backend = gust.Data(trained.settings), choose_backend("auto", ALONE.device)
        trainer = gust.Trainer(trained.settings, data, checkpoint.metadata["seed"], ALONE, backend)
        return trainer.validate(trained.network, checkpoint.metadata["epoch"] - 1)
    from datasets.sources import is_stand_in, tested_on
    from snn_tha.data import load_data
    from snn_tha.trained import score_again, settings_of

    source = checkpoint.metadata["data"]["source"]
    data = load_data(settings_of(checkpoint), "embedded" if is_stand_in(source) else "auto")
    tested_on(network.name, source, data.about["source"])
    return score_again(checkpoint, data, "cpu").accuracy


def _evaluated(network: Network, path: Path) -> float:
    """What ``--evaluate`` prints."""
    words = [sys.executable, "-m", *shlex.split(network.command), "--evaluate", "--resume", path]
    done = subprocess.run(
        [*map(str, words), "--check_params", "0"], cwd=ROOT, capture_output=True, text=True
    )
    name = network.score.rpartition(".")[2]
    found = re.search(rf"([\d.e-]+) {name}|{name} ([\d.e-]+)", done.stdout)
    if done.returncode or found is None:
        raise UserError(f"{network.name}: {(done.stderr or done.stdout).strip()[-300:]}")
    return float(found[1] or found[2])


def page() -> str:
    """docs/networks.md: what is shipped and what is missing, as Markdown."""
    lines = [
        "# Networks",
        "",
        "Made by `python -m common.networks page` from `docs/networks.yaml` and the checkpoints.",
        "`python -m common.networks train NAME` trains one again, into `runs/`; `check` measures",
        "its score again. Minutes are those of one core; a dash stands where nothing is shipped.",
    ]
    model = ""
    for network in catalogue().values():
        if network.model != model:
            model = network.model
            lines += [
                *("", f"## {model}", ""),
                "| network | score | expected | epochs | minutes | size | SHA-256 | command |",
                "|---|---|---|---|---|---|---|---|",
            ]
        low, high = network.range
        cells = ["-", f"{low:g} to {high:g}", "-", f"{network.minutes:g}", "-", "-"]
        path = CHECKPOINTS / model / f"{network.name}.safetensors"
        if path.exists():
            checkpoint = load_checkpoint(path, model=model)
            value = network.stored(checkpoint)
            cells[0] = "unfinished" if value is None else f"{value:.4g}"
            cells[2] = str(checkpoint.metadata["epochs"])
            cells[4:] = [f"{path.stat().st_size / 1e3:.0f} kB", f"`{checkpoint.sha256[:12]}`"]
        if network.gpu:
            cells[0] += " (needs a GPU)"
        cells[0] += f" {network.score.replace('_', ' ').replace('.', ' ')}"
        lines.append(f"| {network.name} | {' | '.join(cells)} | `python -m {network.command}` |")
    return "\n".join(lines) + "\n"


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="python -m common.networks", description=__doc__)
    parser.add_argument("what", choices=("list", "train", "check", "page"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (default: all)")
    add = parser.add_argument
    add("--only", metavar="PACKAGE", help="only networks of this package")
    add("--missing", action="store_true", help="only those neither shipped nor trained here")
    add("--seeds", nargs="+", type=int, default=(), help="with --missing default: the catalogue's")
    add("--jobs", type=int, help="trainings at once (default: 1; with --slurm no limit)")
    add("--flags", default="", help="of all trainings, in quotes: --flags '--data real'")
    add("--processes", type=int, default=1, help="of each training on a node, by torchrun")
    add("--logs", type=Path, help="folder of the jobs' logs (default: runs/jobs)")
    add("--slurm", action="store_true", help="hand the trainings to SLURM")
    add("--partition", help="of SLURM")
    add("--gpus", type=int, default=0, help="of each node of a job (default: 0)")
    add("--cpus", type=int, help="of each job (default: 1; here: all, shared among the jobs)")
    add("--nodes", type=int, default=1, help="of each training, by torchrun (default: 1)")
    add("--hours", type=float, default=8.0, help="until a job is queued again (default: 8)")
    add("--signal_seconds", type=int, default=90, help="before that it is told (default: 90)")
    args = parser.parse_args(argv)
    if args.what == "page":
        with atomic_path(PAGE) as temporary:
            temporary.write_text(page(), encoding="utf-8")
        print(PAGE)
        return
    {"list": _list, "train": _train, "check": _check}[args.what](args)


if __name__ == "__main__":
    sys.exit(main())
