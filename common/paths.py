"""Where things lie, found from this file, so that every command works from any folder."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "checkpoints"
RUNS = ROOT / "runs"
DATA_FILES = ROOT / "datasets" / "files"
RESULTS = ROOT / "results"
