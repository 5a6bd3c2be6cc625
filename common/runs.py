"""What all training commands share: flags, files, resuming, and the checkpoint at the end."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.checkpoints import load_checkpoint, load_training_state, save_checkpoint
from common.errors import UserError
from common.paths import CHECKPOINTS
from common.records import this_command
from common.settings import differences, from_dict, to_dict
from common.training import log_lines


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

    @property
    def last_state(self) -> Path:
        """Where the state of a finished training may be kept, to be trained on from."""
        return self.state.with_stem(f"{self.state.stem}_last")


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
    parser.add_argument(
        "--snapshot",
        action="store_true",
        help="do not train: write the best network so far of an unfinished training as its "
        "checkpoint, which says so; the training can go on afterwards",
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
    """The files of the training that the flags ask for; None, and a line that says so, where there
    is nothing to train: its checkpoint is there already, or --snapshot is given.

    An unfinished training goes on even where a checkpoint (a snapshot of it) is there.

    Args:
        model: the package. name: of the shipped checkpoint, in place of which --out may stand.
        settings: a dataclass with everything about network and training.
        args: with the flags of :func:`add_run_arguments`.

    Raises :class:`UserError` when the checkpoint that is there is of another training, or when
    there is no unfinished training to take a snapshot of.
    """
    shipped = CHECKPOINTS / model / f"{name}.safetensors"
    files = RunFiles.of(model, args.out or shipped, args.partial)
    if args.snapshot:
        _write_snapshot(model, settings, args.seed, files)
        return None
    if args.overwrite:
        files.state.unlink(missing_ok=True)
    elif files.checkpoint.exists() and not files.state.exists():
        metadata = load_checkpoint(files.checkpoint, model=model).metadata
        trained = from_dict(type(settings), metadata.get("settings"), str(files.checkpoint))
        there = {**to_dict(trained), "seed": metadata["seed"]}
        check_same_run(there, {**to_dict(settings), "seed": args.seed}, files.checkpoint)
        print(f"{files.checkpoint} is there already; --overwrite trains it again")
        return None
    return files


def _write_snapshot(model: str, settings: Any, seed: int, files: RunFiles) -> None:
    if not files.state.exists():
        raise UserError(f"there is no unfinished training {files.state} to take a snapshot of")
    state = load_training_state(files.state)
    data = state["run"].get("data")
    check_same_run(state["run"], {**to_dict(settings), "seed": seed, "data": data}, files.state)
    if not state["best"]:
        raise UserError(f"the training {files.state} has no network to show yet; let it go on")
    more = {
        "note": "best network so far of an unfinished training",
        "command": this_command().replace(" --snapshot", ""),
    }
    _save_network(model, settings, state, data, seed, files, **more)
    print(f"{files.checkpoint}: epoch {state['best'].get('epoch')} of {state['epoch']} so far")


def _save_network(
    model: str,
    settings: Any,
    state: dict[str, Any],
    data: dict[str, Any],
    seed: int,
    files: RunFiles,
    **more: Any,
) -> None:
    best = state["best"]
    metadata = {
        "model": model,
        "settings": to_dict(settings),
        "seed": seed,
        "data": data,
        "epochs": state["epoch"],
        "seconds": round(state["seconds"], 3),
        "command": this_command(),
        **{key: value for key, value in best.items() if key != "tensors"},
        "curve": log_lines(files.log, state["epoch"]),
        **more,
    }
    save_checkpoint(files.checkpoint, best["tensors"], metadata)


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
    _save_network(model, settings, state, data, seed, files)
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
