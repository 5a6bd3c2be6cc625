"""Logs of trainings as tables: CSV for every epoch, JSON for what was reached."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.checkpoints import Checkpoint
from common.files import atomic_path, write_json
from common.records import mean_interval

_RESULTS = (
    "epoch",
    "validation_accuracy",
    "test_accuracy",
    "thresholds",
    "rates",
    "dead",
    "epochs",
    "seconds",
)


def write_logs(folder: Path, name: str, trials: Sequence[Checkpoint], tables: bool = True) -> None:
    """Write ``name.csv``, a row for every trial and epoch, and ``name.json``: settings, the kept
    epoch of every trial, mean and standard deviation of the accuracies; and as the original does
    ``name_t0.csv``, ... of every trial and ``name_log.csv``, a row for the kept epoch of each.

    ``tables``: also the CSV files.
    """
    rows = [
        [{"seed": trial.metadata["seed"], **_flat(line)} for line in trial.metadata["curve"]]
        for trial in trials
    ]
    if tables:
        _write_table(folder / f"{name}.csv", [row for curve in rows for row in curve])
        for number, curve in enumerate(rows):
            _write_table(folder / f"{name}_t{number}.csv", curve)
        best = [
            {"trial": number, **next(row for row in curve if row["epoch"] == t.metadata["epoch"])}
            for number, (curve, t) in enumerate(zip(rows, trials, strict=True))
        ]
        _write_table(folder / f"{name}_log.csv", best)
    kept = [
        {
            "seed": trial.metadata["seed"],
            "checkpoint": trial.path.name,
            **{key: trial.metadata[key] for key in _RESULTS if key in trial.metadata},
        }
        for trial in trials
    ]
    summary = {}
    for key in ("validation_accuracy", "test_accuracy"):
        if all(key in result for result in kept):
            mean, spread, _ = mean_interval([result[key] for result in kept])
            summary[key] = {"mean": mean, "std": spread, "trials": len(kept)}
    first = trials[0].metadata
    write_json(
        folder / f"{name}.json",
        {
            "settings": first["settings"],
            "data": first["data"],
            "summary": summary,
            "trials": kept,
        },
    )


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """Lists become one column a layer, counted from 1."""
    flat: dict[str, Any] = {}
    for key, value in line.items():
        if isinstance(value, list):
            flat |= {f"{key}_{layer}": item for layer, item in enumerate(value, 1)}
        else:
            flat[key] = value
    return flat
