"""The small parts every training script needs; the loops themselves are written out in place."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from common.errors import UserError
from common.files import atomic_path
from common.gpu import exact_products


def choose_device(name: str = "auto", auto: str | None = None) -> torch.device:
    """``auto`` (the device ``auto``, by default CUDA where there is one), ``cpu``, ``cuda`` or
    ``cuda:1`` as a device.

    Raises :class:`UserError` for another name or a GPU that is not there.
    """
    exact_products()
    name = auto if name == "auto" and auto is not None else name
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:<number>")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"device {name} is not there ({count} GPUs found); use --device cpu")
    return device


_float32_only = False


def keep_float32(wanted: bool) -> None:
    """Let no product be taken in bfloat16: the gradients of parts of a batch are rounded, so their
    sum depends on how many processes share it."""
    global _float32_only
    _float32_only = wanted


def has_bfloat16(device: torch.device) -> bool:
    """Whether products are to be taken in bfloat16 where that is wanted: the device has
    instructions for them, without which they are several times slower than float32 ones, and
    :func:`keep_float32` does not forbid it."""
    if _float32_only:
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def bfloat16_products(wanted: bool, device: torch.device) -> torch.autocast:
    """A context in which matrix products are taken in bfloat16 where the device is fast at it, and
    in float32 otherwise."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and has_bfloat16(device))


def generator(seed: int, *stream: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    """A random generator of its own for every ``(seed, *stream)``, e.g. ``(111, "noise", 3)``.

    Streams are statistically independent (NumPy's ``SeedSequence``), so seed 1 of one stream is
    not seed 2 of another, and drawing from one never moves another. Raises :class:`UserError` for
    a negative seed.
    """
    if seed < 0:
        raise UserError(f"the seed must be 0 or more, not {seed}")
    key = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in stream]
    mixed = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed))


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds; raises :class:`UserError` for repeated ones, which would count as independent."""
    if len(set(seeds)) != len(seeds):
        raise UserError("--seeds: a seed is given twice; give different ones")
    return tuple(seeds)


class EarlyStopping:
    """Stop when a score (lower is better, a loss) has not improved for ``patience`` updates.

    ``patience=None`` never stops and only keeps the best score. ``best`` starts at infinity.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.best = math.inf
        self.waited = 0

    @property
    def should_stop(self) -> bool:
        """The last ``patience`` scores were no better than the best before them."""
        return self.patience is not None and self.waited >= self.patience

    def update(self, score: float) -> bool:
        """Note a new score; True when it is the best so far.

        Raises :class:`UserError` when the score is NaN or infinite.
        """
        score = float(score)
        check_finite(score)
        improved = score < self.best
        self.best, self.waited = (score, 0) if improved else (self.best, self.waited + 1)
        return improved

    def state_dict(self) -> dict[str, float | int]:
        """What an exact resume needs."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a :meth:`state_dict`."""
        self.best, self.waited = state["best"], state["waited"]


def check_finite(loss: float, where: str = "the loss") -> None:
    """Raise :class:`UserError` when training has diverged."""
    if not math.isfinite(loss):
        raise UserError(f"{where} became {loss}; use a smaller --learning_rate or check the data")


def progress(
    iterable: Iterable | None = None,
    *,
    total: int | None = None,
    desc: str = "",
    unit: str = "it",
    initial: int = 0,
    shown: bool = True,
) -> tqdm:
    """A progress bar with the time left, on stderr; silent when that is not a terminal, and unless
    ``shown`` (of several processes one shows it)."""
    return tqdm(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        initial=initial,
        disable=None if shown else True,  # None: only on a terminal
        dynamic_ncols=True,
    )


def piecewise_learning_rate(base: float, milestones: Mapping[int, float], epoch: int) -> float:
    """The learning rate in ``epoch``: ``base`` times the factors of all milestones passed.

    With epochs counted from 0, ``{60: 0.5}`` halves the rate after 60 epochs.
    """
    return base * math.prod(f for milestone, f in milestones.items() if epoch >= milestone)


class MetricLog:
    """A file of one JSON object a line and epoch, readable while training runs.

    A new log replaces an old file. With ``resume_after``, the lines of epochs up to and including
    that one are kept and the rest (written after the training state was saved, or cut off) go.
    """

    def __init__(self, path: str | os.PathLike[str], resume_after: int | None = None) -> None:
        self.path = Path(path)
        kept = [] if resume_after is None else log_lines(self.path, resume_after)
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(map(_log_line, kept)), encoding="utf-8")

    def write(self, epoch: int, **metrics: float | int | str) -> None:
        """Append one epoch's numbers; they are in the file when this returns."""
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(_log_line({"epoch": epoch, **metrics}))
        except OSError as error:  # a full disk is noticed without the name
            error.filename = str(self.path)
            raise


def _log_line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def log_lines(path: str | os.PathLike[str], last_epoch: int) -> list[dict[str, Any]]:
    """The lines of a :class:`MetricLog` up to and including an epoch; a cut-off one ends it."""
    path = Path(path)
    if not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            epoch = entry["epoch"]
        except (ValueError, TypeError, KeyError):
            break  # a line cut off by a crash is the last one
        if epoch <= last_epoch:
            kept.append(entry)
    return kept
