"""What a result must say: the numbers beside the paper's, and all that is needed to repeat them."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from common.errors import UserError
from common.files import write_json
from common.paths import ROOT
from common.schema import misfit

FORMAT = 1  # of record.json; raised when a field changes its meaning
_LIBRARIES = ("torch", "numpy", "scipy", "numba", "scikit-learn", "safetensors", "matplotlib")


@dataclass
class Measurement:
    """One number of a paper and the same number measured here.

    ``paper=None`` means that nobody published it; ``spread`` is the standard deviation over the
    ``n`` repetitions (seeds or images, see ``note``), ``interval95`` the half width of the 95 %
    confidence interval of ``value``, the mean; ``checkpoint`` the start of the network's SHA-256.
    """

    what: str
    value: float | None
    unit: str = ""
    paper: float | None = None
    paper_source: str = ""
    spread: float | None = None
    interval95: float | None = None
    n: int = 1
    seeds: list[int] = field(default_factory=list)
    data: str = ""
    seconds: float | None = None
    command: str = ""
    checkpoint: str = ""
    note: str = ""


@dataclass
class Record:
    """The measurements of one figure or table, with everything that led to them."""

    name: str
    paper: str
    profile: str
    command: str
    created: str
    measurements: list[Measurement] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    data: str = ""
    checkpoints: dict[str, str] = field(default_factory=dict)
    wall_seconds: float | None = None
    commit: str = "unknown"
    dirty: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    threads: int = 1

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``folder/record.json``, whole or not at all, and return its path."""
        path = Path(folder) / "record.json"
        write_json(path, {"format": FORMAT, **_plain(dataclasses.asdict(self))})
        return path


def new_record(
    name: str,
    paper: str,
    profile: str,
    command: str | None = None,
    *,
    device: str | torch.device = "cpu",
    **fields: Any,
) -> Record:
    """A record with the environment filled in: commit, versions, device, threads, time, command.

    ``command=None`` takes the one that runs now; ``fields`` are further fields of
    :class:`Record`, such as ``seeds``, ``settings`` or ``checkpoints``.
    """
    commit, dirty = _commit()
    return Record(
        name,
        paper,
        profile,
        command or this_command(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        commit=commit,
        dirty=dirty,
        versions=_versions(),
        device=device_name(torch.device(device)),
        threads=torch.get_num_threads(),
        **fields,
    )


def this_command() -> str:
    """The command line of this process, as one would type it."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def load_record(path: str | os.PathLike[str]) -> Record:
    """Read a ``record.json``, or the one in a folder.

    Raises :class:`UserError` when it is missing, damaged or of another version.
    """
    path = Path(path)
    path = path / "record.json" if path.is_dir() else path
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no record {path}; run its command first") from None
    except (ValueError, OSError, RecursionError):
        raise UserError(f"{path} is damaged; run its command again") from None
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise UserError(f"{path} is not a record of this version; run its command again")
    schema = {key: kind for key, kind in _schema(Record).items() if key != "measurements?"}
    wrong = misfit(values, {**schema, "measurements": [_schema(Measurement)]}, "the record")
    if wrong:
        raise UserError(f"{path} is not a whole record: {wrong}; run its command again")
    try:
        measurements = [Measurement(**m) for m in values.pop("measurements")]
        return Record(**values, measurements=measurements)
    except TypeError:
        raise UserError(f"{path} has parts that no record has; run its command again") from None


def _schema(cls: type) -> dict[str, Any]:
    """What a file has for each field of a dataclass; those with a default may be absent."""
    hints = typing.get_type_hints(cls)
    missing = dataclasses.MISSING
    return {
        f"{f.name}?" if (f.default, f.default_factory) != (missing, missing) else f.name: hints[
            f.name
        ]
        for f in dataclasses.fields(cls)
    }


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean, standard deviation (n - 1) and half width of the mean's 95 % interval.

    The interval is Student's: t(0.975, n - 1) * std / sqrt(n). With one value both are None.
    Raises ``ValueError`` without values.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if values.size == 0:
        raise ValueError("there are no values to average")
    if values.size == 1:
        return float(values[0]), None, None
    std = float(values.std(ddof=1))
    half = float(stats.t.ppf(0.975, values.size - 1)) * std / math.sqrt(values.size)
    return float(values.mean()), std, half


def mean_measurement(what: str, values: Sequence[float], **fields: Any) -> Measurement:
    """The mean of values (n,) as a measurement, with spread, 95 % interval and n.

    ``fields`` are further ones of :class:`Measurement`.
    """
    mean, spread, interval = mean_interval(values)
    return Measurement(
        what, mean, spread=spread, interval95=interval, n=int(np.size(values)), **fields
    )


def _plain(value: Any) -> Any:
    """JSON's types only: NumPy numbers and arrays become Python's, what is not finite None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _commit() -> tuple[str, bool]:
    """The repository's commit and whether tracked files differ from it; ``unknown`` where it is no
    repository, or only a folder within another one."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT.resolve():
            return "unknown", False
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", False


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
