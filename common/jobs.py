"""Trainings as jobs: several at once on this machine, or on a cluster with SLURM (submitit).

A job is a command of its own. It is interrupted shortly before its time is up, queued again, and
goes on from its last saved epoch, as all trainings do. What it says goes to a file of its own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit

from common.errors import UserError
from common.paths import ROOT, RUNS
from common.processes import child, end, terminated_as_interrupted

LOGS = RUNS / "jobs"
TRIES = 1000
"""How often a job may be queued again."""
ALWAYS = 60 * 24 * 365
"""Minutes: no time limit."""


@dataclass
class Training:
    """One training, which submitit runs by calling it.

    Attributes:
        name: for what is said about it. words: of its command, behind ``python``.
        launch: in place of ``python``, such as ``torchrun --nproc_per_node 2``.
        processes, nodes: with more than one, torchrun shares every batch among them.
        threads: of each process.
        parent: process with which it ends; 0: it goes on without it.
        gpus: that it may see, with a parent (submitit hides them all).
    """

    name: str
    words: tuple[str, ...]
    launch: str = ""
    processes: int = 1
    nodes: int = 1
    threads: int = 1
    parent: int = 0
    gpus: str | None = None
    _process: Any = field(default=None, repr=False)

    def command(self, host: str = "localhost", job: str = "0") -> list[str]:
        """The command line; several nodes meet at ``host``."""
        if self.launch:
            return [*shlex.split(self.launch), *self.words]
        if self.processes * self.nodes == 1:
            return [sys.executable, *self.words]
        meet = ["--standalone"]
        if self.nodes > 1:
            port = 20000 + int("".join(filter(str.isdigit, job)) or 0) % 20000
            meet = ["--nnodes", str(self.nodes), "--rdzv_backend", "c10d"]
            meet += ["--rdzv_endpoint", f"{host}:{port}", "--rdzv_id", job]
        start = [sys.executable, "-m", "torch.distributed.run", *meet]
        return [*start, "--nproc_per_node", str(self.processes), *self.words]

    def __call__(self) -> int:
        """Train; returns the exit status of the command."""
        environment = submitit.JobEnvironment()
        command = self.command(environment.hostnames[0], environment.job_id)
        print(f"{self.name}: {shlex.join(command)}", flush=True)
        threads = str(self.threads)
        more = {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
        variables = {**os.environ, **more}
        if self.parent:
            threading.Thread(target=self._watch_parent, daemon=True).start()
            del variables["CUDA_VISIBLE_DEVICES"]
            variables |= {} if self.gpus is None else {"CUDA_VISIBLE_DEVICES": self.gpus}
        with child(command, cwd=ROOT, env=variables) as self._process:
            while self._process.poll() is None:  # a wait would keep the signal's handler from one
                time.sleep(0.1)
            return self._process.returncode

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """The same again, once there is time for it: the state after every epoch is on disk."""
        if self._process is not None:
            end(self._process)
        self._process = None
        return submitit.helpers.DelayedSubmission(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None}

    def _watch_parent(self) -> None:
        while True:
            try:
                os.kill(self.parent, 0)
            except ProcessLookupError:
                if self._process is not None:
                    end(self._process)
                os._exit(1)
            time.sleep(0.5)


def _importable() -> None:
    """Let jobs find this repository, whatever folder they start in."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))


def run_here(
    trainings: Sequence[Training], at_once: int = 1, logs: Path = LOGS
) -> Iterator[tuple[Training, float, int, Path]]:
    """Train on this machine; yields each training as it ends, its seconds, exit status and log.

    All end with this process, however it ends. Raises :class:`UserError` for fewer than one at
    once.
    """
    if at_once < 1:
        raise UserError(f"--jobs is {at_once}; give 1 or more")
    _importable()
    executor = submitit.LocalExecutor(folder=logs, max_num_timeout=TRIES)
    executor.update_parameters(timeout_min=ALWAYS, stderr_to_stdout=True)
    waiting, running = list(trainings), {}
    try:
        with terminated_as_interrupted():
            while waiting or running:
                while waiting and len(running) < at_once:
                    training = waiting.pop(0)
                    training.parent = os.getpid()
                    training.gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
                    job = executor.submit(training)
                    running[job] = training, time.perf_counter()
                for job in [job for job in running if job.done()]:
                    training, began = running.pop(job)
                    status = _status(job)
                    yield training, time.perf_counter() - began, status, job.paths.stdout
                time.sleep(0.1)
    finally:
        for job in running:
            job.cancel()
        for job in running:
            if job._process is not None:
                try:
                    job._process.wait(30)
                except subprocess.TimeoutExpired:
                    job._process.kill()


def _status(job: submitit.Job) -> int:
    try:
        return job.result()
    except Exception:  # submitit's own errors: killed, or the log says why
        return 1


def submit(trainings: Sequence[Training], logs: Path = LOGS, **slurm: Any) -> list[submitit.Job]:
    """Hand the trainings to SLURM as one array of jobs, which go on without this process.

    Args:
        slurm: parameters of ``sbatch`` as submitit names them: ``time`` in minutes, ``partition``,
            ``gpus_per_node``, ``cpus_per_task``, ``array_parallelism``, ...

    Raises :class:`UserError` where there is no SLURM.
    """
    if submitit.SlurmExecutor.affinity() < 0:
        raise UserError("there is no SLURM here (sbatch is not found); leave --slurm out")
    _importable()
    executor = submitit.SlurmExecutor(folder=logs, max_num_timeout=TRIES)
    given = {key: value for key, value in slurm.items() if value is not None}
    executor.update_parameters(job_name="networks", stderr_to_stdout=True, **given)
    try:
        with executor.batch():
            jobs = [executor.submit(training) for training in trainings]
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"sbatch refused: {str(error).strip().splitlines()[-1]}") from None
    return jobs
