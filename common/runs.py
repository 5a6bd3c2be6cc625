"""What all training commands share: flags, files, resuming, and the checkpoint at the end."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.checkpoints import load_checkpoint, save_checkpoint
from common.errors import UserError
from common.paths import CHECKPOINTS
from common.records import this_command
from common.settings import differences, from_dict, to_dict


@dataclass(frozen=True)
class RunFiles:
    """Where one training writes: the checkpoint, the state to resume from, the log."""

    checkpoint: Path
    state: Path
    log: Path

    @classmethod
    def of(cls, model: str, checkpoint: Path, partial: Path) -> RunFiles:
        """State and log lie in ``partial``, named after the model and the checkpoint."""
        stem = f"{model}_{checkpoint.stem}"
        return cls(checkpoint, partial / f"{stem}.pt", partial / f"{stem}.jsonl")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --seed, --device, --out, --partial and --overwrite."""
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, order and noise")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--out", type=Path, help="checkpoint to write (default: the shipped one)")
    parser.add_argument(
        "--partial",
        type=Path,
        default=CHECKPOINTS / "partial",
        help="folder for the state of an unfinished training (default: checkpoints/partial)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="train from the start, whatever checkpoint or unfinished training is there",
    )


def check_same_run(there: dict[str, Any], here: dict[str, Any], path: Path) -> None:
    """Raise :class:`UserError` when the file at ``path`` is of a training that differs."""
    different = differences(there, here)
    if different:
        raise UserError(
            f"{path} is of a training with other settings or data ({'; '.join(different)}); "
            "give the same flags, another --out, or --overwrite to train from the start"
        )


def start_run(model: str, name: str, settings: Any, args: argparse.Namespace) -> RunFiles | None:
    """The files of the training that the flags ask for; None, and a line that says so, where its
    checkpoint is there already.

    Args:
        model: the package. name: of the shipped checkpoint, in place of which --out may stand.
        settings: a dataclass with everything about network and training.
        args: with the flags of :func:`add_run_arguments`.

    Raises :class:`UserError` when the checkpoint that is there is of another training.
    """
    shipped = CHECKPOINTS / model / f"{name}.safetensors"
    files = RunFiles.of(model, args.out or shipped, args.partial)
    if args.overwrite:
        files.state.unlink(missing_ok=True)
    elif files.checkpoint.exists():
        metadata = load_checkpoint(files.checkpoint, model=model).metadata
        trained = from_dict(type(settings), metadata.get("settings"), str(files.checkpoint))
        there = {**to_dict(trained), "seed": metadata["seed"]}
        check_same_run(there, {**to_dict(settings), "seed": args.seed}, files.checkpoint)
        print(f"{files.checkpoint} is there already; --overwrite trains it again")
        return None
    return files


def finish_run(
    model: str,
    settings: Any,
    state: dict[str, Any],
    data: dict[str, Any],
    seed: int,
    files: RunFiles,
) -> None:
    """Write the chosen network as a checkpoint, then remove state and log.

    Args:
        model, settings, seed: as for :func:`start_run`.
        state: ``epoch`` and ``seconds`` of the whole training; ``best``, of which ``tensors`` are
            the network and the rest goes into the metadata.
        data: what it was trained on.
        files: of the run; the lines of the log become the metadata's ``curve``.
    """
    best = state["best"]
    metadata = {
        "model": model,
        "settings": to_dict(settings),
        "seed": seed,
        "data": data,
        "epochs": state["epoch"],
        "seconds": round(state["seconds"], 1),
        "command": this_command(),
        **{key: value for key, value in best.items() if key != "tensors"},
        "curve": [json.loads(line) for line in files.log.read_text().splitlines()],
    }
    save_checkpoint(files.checkpoint, best["tensors"], metadata)
    files.state.unlink(missing_ok=True)
    files.log.unlink()


def find_network(model: str, name: str | os.PathLike[str], folder: Path = CHECKPOINTS) -> Path:
    """The checkpoint of a shipped network by name, or the path itself.

    Raises :class:`UserError` for a name that is not there.
    """
    path = Path(name)
    if path.suffix == ".safetensors":
        return path
    path = folder / model / f"{name}.safetensors"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.safetensors"))) or "none"
        raise UserError(f"there is no trained network {str(name)!r}; shipped are: {known}")
    return path
