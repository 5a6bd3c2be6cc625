"""What all training commands share: flags, files, resuming, and the checkpoint at the end.

A training writes to ``runs/<package>/<name>/``: ``network.safetensors``, ``state.pt`` while it is
unfinished, ``log.jsonl``, ``settings.json`` and TensorBoard's events. The shipped networks in
``checkpoints/`` are only read.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.checkpoints import (
    NETWORK,
    load_checkpoint,
    load_training_state,
    network_name,
    save_checkpoint,
)
from common.distributed import ALONE, Distributed
from common.errors import UserError
from common.files import check_writable, lock_now, remove_temporaries, write_json
from common.paths import CHECKPOINTS, ROOT, RUNS
from common.protocol import add_protocol
from common.records import this_command
from common.settings import differences, from_dict, to_dict
from common.training import log_lines


@dataclass(frozen=True)
class RunFiles:
    """Where one training writes: the checkpoint, the state to resume from, the log, what it is a
    training of (None: not written), TensorBoard's events, and the lock of all of them. ``done``:
    there is nothing to train."""

    checkpoint: Path
    state: Path
    log: Path
    settings: Path | None
    events: Path
    lock: Path
    done: bool = False

    @classmethod
    def in_folder(cls, folder: Path) -> RunFiles:
        """All in a folder of their own."""
        names = ("state.pt", "log.jsonl", "settings.json", "events", "lock")
        return cls(folder / NETWORK, *(folder / name for name in names))

    @classmethod
    def of(cls, model: str, checkpoint: Path, partial: Path | None = None) -> RunFiles:
        """State and log lie in ``partial``, named after the model and the checkpoint; without one,
        in a folder beside the checkpoint that is named after it."""
        partial = partial or checkpoint.with_suffix("")
        stem = f"{model}_{network_name(checkpoint)}"
        state, log, events, lock = (
            partial / f"{stem}{end}" for end in (".pt", ".jsonl", "_events", ".lock")
        )
        return cls(checkpoint, state, log, None, events, lock)

    @property
    def last_state(self) -> Path:
        """Where the state of a finished training may be kept, to be trained on from."""
        return self.state.with_stem(f"{self.state.stem}_last")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --seed, --device, --name, --out, --partial, --overwrite and --snapshot."""
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="random seed for initialisation, order and noise (default: 0)",
    )
    add_protocol(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--name",
        help="name of the run, which writes to runs/<package>/NAME (default: after what is "
        "trained; other settings than those of the run of that name get -2, -3, ... added)",
    )
    parser.add_argument("--out", type=Path, help="checkpoint to write in place of the run's")
    parser.add_argument(
        "--partial",
        type=Path,
        help="folder for state and log of the unfinished training (default: the run's; with --out "
        "a folder beside it, named after it)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="train from the start, whatever network or unfinished training the run has",
    )
    parser.add_argument(
        "--snapshot",
        action="store_true",
        help="do not train: write the best network so far of an unfinished training as its "
        "checkpoint, which says so; the training can go on afterwards",
    )


def check_same_run(there: Mapping[str, Any], here: Mapping[str, Any], path: Path) -> None:
    """Raise :class:`UserError` when the file at ``path`` is of a training that differs."""
    different = differences(there, here)
    if different:
        raise UserError(
            f"{path} is of a training with other settings or data ({'; '.join(different)}); give "
            "the same flags, another --name or --out, or --overwrite to train from the start"
        )


def upgraded_run(kind: type, run: dict[str, Any], source: str | Path) -> dict[str, Any]:
    """What a training state says of its run, with the settings (of class ``kind``) that are newer
    than it; ``source`` names it in error messages."""
    others = {key: run[key] for key in ("seed", "data") if key in run}
    settings = {key: value for key, value in run.items() if key not in others}
    return {**to_dict(from_dict(kind, settings, str(source))), **others}


@contextlib.contextmanager
def open_run(
    model: str,
    name: str,
    settings: Any,
    args: argparse.Namespace,
    group: Distributed = ALONE,
) -> Iterator[RunFiles]:
    """The files of the training that the flags ask for, locked until the block ends. They are
    ``done``, which is said, where there is nothing to train: it is finished, or --snapshot given.

    An unfinished training goes on even where a checkpoint (a snapshot of it) is there. Of several
    processes rank 0 looks, and tells the others.

    Args:
        model: the package. name: of the run, to which a seed other than 0 is added; in its place
            --name may stand, or --out and --partial.
        settings: a dataclass with everything about network and training.
        args: with the flags of :func:`add_run_arguments`.

    Raises :class:`UserError` when what is there is of another training, when another process is at
    it, when it cannot be written, and when there is no unfinished training to take a snapshot of.
    """
    with contextlib.ExitStack() as stack:

        def choose() -> tuple[RunFiles, str]:
            files = _claim(model, name, settings, args, stack)
            said = _nothing_to_train(model, settings, args, files)
            return replace(files, done=bool(said)), said

        files, said = group.from_main(choose)
        if said:
            print(said)
        yield files


def _claim(
    model: str, name: str, settings: Any, args: argparse.Namespace, stack: contextlib.ExitStack
) -> RunFiles:
    """The run's files, with their lock."""
    if args.out or args.partial:
        folder = RUNS / model / _with_seed(args.name or name, args)
        files = RunFiles.of(model, args.out or folder / NETWORK, args.partial)
        if not _lock(files, stack):
            raise UserError(_busy(files))
        _check_writable(files.checkpoint)
        return files
    run = {**to_dict(settings), "seed": args.seed}
    run["embedded"] = getattr(args, "data", None) == "embedded"
    first = RUNS / model / (args.name or _with_seed(name, args))
    if first.parent != RUNS / model:
        raise UserError(f"--name {args.name}: give a name without folders")
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        files = RunFiles.in_folder(folder)
        mine = _lock(files, stack)
        there = _described(files, settings, wait=not mine)
        different = [] if there is None else differences(there, run)
        if different and args.name and not (mine and args.overwrite):
            check_same_run(there, run, files.settings)
        if different and not args.name:
            if number == 1:
                print(f"{folder} is a run with other settings ({'; '.join(different)})")
            if mine:
                stack.pop_all().close()
            continue
        if not mine:
            raise UserError(_busy(files))
        _check_writable(files.checkpoint)
        write_json(files.settings, run)
        return files


def _with_seed(name: str, args: argparse.Namespace) -> str:
    return f"{name}_seed{args.seed}" if args.seed else name


def _busy(files: RunFiles) -> str:
    return (
        f"another process is training {files.state.parent} already; wait for it, or give another "
        "--name or --out"
    )


def _lock(files: RunFiles, stack: contextlib.ExitStack) -> bool:
    """Take the lock; with it, remove what a killed process left half written."""
    mine = stack.enter_context(lock_now(files.lock))
    if mine:
        paths = (files.checkpoint, files.state, files.last_state, files.log, files.settings)
        remove_temporaries(*filter(None, paths))
    return mine


def _described(files: RunFiles, settings: Any, wait: bool) -> dict[str, Any] | None:
    """What the run is a training of; None where nothing has been trained there yet.

    ``wait``: another process is about to write it.
    """
    for _ in range(20 if wait else 1):
        with contextlib.suppress(OSError, ValueError, AttributeError, UserError):
            there = json.loads(files.settings.read_text(encoding="utf-8"))
            more = {key: there.pop(key, None) for key in ("seed", "embedded")}
            found = {**to_dict(from_dict(type(settings), there, str(files.settings))), **more}
            used = (files.state, files.checkpoint, files.last_state)
            return found if wait or any(path.exists() for path in used) else None
        if wait:
            time.sleep(0.1)
    return {"settings": "of another version"} if files.checkpoint.exists() else None


def _check_writable(path: Path) -> None:
    """Raise :class:`UserError` or ``OSError`` now rather than after the last epoch."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file")
    check_writable(path.parent)


def _nothing_to_train(model: str, settings: Any, args: argparse.Namespace, files: RunFiles) -> str:
    """What to say where there is nothing to train."""
    if args.snapshot:
        return _write_snapshot(model, settings, args.seed, files)
    if args.overwrite:
        files.state.unlink(missing_ok=True)
    elif files.checkpoint.exists() and not files.state.exists():
        metadata = load_checkpoint(files.checkpoint, model=model).metadata
        trained = from_dict(type(settings), metadata.get("settings"), str(files.checkpoint))
        there = {**to_dict(trained), "seed": metadata["seed"]}
        check_same_run(there, {**to_dict(settings), "seed": args.seed}, files.checkpoint)
        scores = scores_in_words(metadata)
        return f"{files.checkpoint} is there already ({scores}); --overwrite trains it again"
    return ""


def _write_snapshot(model: str, settings: Any, seed: int, files: RunFiles) -> str:
    if not files.state.exists():
        raise UserError(f"there is no unfinished training {files.state} to take a snapshot of")
    state = load_training_state(files.state)
    data = state["run"].get("data")
    there = upgraded_run(type(settings), state["run"], files.state)
    check_same_run(there, {**to_dict(settings), "seed": seed, "data": data}, files.state)
    if not state["best"]:
        raise UserError(f"the training {files.state} has no network to show yet; let it go on")
    more = {
        "note": "best network so far of an unfinished training",
        "command": this_command().replace(" --snapshot", ""),
    }
    _save_network(model, settings, state, data, seed, files, **more)
    return f"{files.checkpoint}: epoch {state['best'].get('epoch')} of {state['epoch']} so far"


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
    """Write the chosen network as a checkpoint, then remove the state, and outside a run's own
    folder the log.

    Args:
        model, settings, seed: as for :func:`open_run`.
        state: ``epoch`` and ``seconds`` of the whole training; ``best``, of which ``tensors`` are
            the network and the rest goes into the metadata.
        data: what it was trained on.
        files: of the run; the lines of the log become the metadata's ``curve``.
    """
    _save_network(model, settings, state, data, seed, files)
    files.state.unlink(missing_ok=True)
    if files.settings is None:
        files.log.unlink()


def scores_in_words(metadata: Mapping[str, Any]) -> str:
    """What a checkpoint says of how good its network is, in one line."""
    names = (
        *("test_accuracy", "validation_accuracy"),
        *("validation_loss", "validation_loss_noisy", "validation_loss_clean"),
    )
    scores = {name: metadata[name] for name in names if name in metadata}
    for part in ("test", "validation"):
        found = metadata.get(part)
        if not scores and isinstance(found, Mapping):
            scores = {f"{part} {key}": x for key, x in found.items() if isinstance(x, int | float)}
    words = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in scores.items()]
    return ", ".join([f"epoch {metadata.get('epoch')} of {metadata.get('epochs')}", *words])


# ---- finding what is trained ----------------------------------------------------------------

_runs_first = False


def look_in_runs(first: bool) -> None:
    """Whether names of networks mean those in runs/, where they are there, before the shipped."""
    global _runs_first
    _runs_first = first


class NetworksAction(argparse.Action):
    """``--networks runs [NAME ...]``: see :func:`add_networks_argument`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        look_in_runs("runs" in values)
        setattr(namespace, self.dest, [name for name in values if name != "runs"])


def add_networks_argument(parser: argparse.ArgumentParser, names: str = "") -> None:
    """Add --networks: the word ``runs`` lets names mean one's own runs before the shipped networks.

    Args:
        names: what the networks are that may be named as well; nothing: none may.
    """
    look_in_runs(False)
    choice = {} if names else {"choices": ("runs",)}
    own = "'runs' takes networks from runs/ where they are there, else the shipped ones"
    parser.add_argument(
        "--networks",
        nargs="+" if names else 1,
        action=NetworksAction,
        default=[],
        metavar="runs|NAME" if names else "runs",
        help=f"{names}; {own}" if names else own,
        **choice,
    )


def network_file(model: str, name: str, folder: Path = CHECKPOINTS, or_own: bool = False) -> Path:
    """Where the network of a name lies or would lie: shipped, or in runs/ if it is looked for there
    first (:func:`look_in_runs`) and is there. ``or_own``: also where it is not shipped."""
    shipped, own = folder / model / f"{name}.safetensors", RUNS / model / name / NETWORK
    wanted = _runs_first or (or_own and not shipped.exists())
    return own if wanted and own.exists() else shipped


def find_network(model: str, name: str | os.PathLike[str], folder: Path = CHECKPOINTS) -> Path:
    """The checkpoint of a network by name, of a run by its folder, or the path itself.

    Raises :class:`UserError` for a name that is not there.
    """
    path = Path(name)
    if path.suffix == ".safetensors":
        return path
    for run in (path, ROOT / path):
        if len(path.parts) > 1 and (run / NETWORK).exists():
            return run / NETWORK
    path = network_file(model, str(name), folder)
    if not path.exists():
        known = ", ".join(_names(folder / model)) or "none"
        own = RUNS / model / str(name)
        advice = f"; {own} is there: give its path, or --networks runs"
        raise UserError(
            f"there is no trained network {str(name)!r}; shipped are: {known}"
            + (advice if (own / NETWORK).exists() else "")
        )
    return path


def seeds_of(model: str, name: str, folder: Path = CHECKPOINTS) -> list[Path]:
    """The files of a network and of its trainings with other seeds (``name_seed1``), as far as they
    are there; runs as :func:`network_file`."""
    own = [path.parent.name for path in (RUNS / model).glob(f"{name}_seed*/{NETWORK}")]
    shipped = [path.stem for path in (folder / model).glob(f"{name}_seed*.safetensors")]
    seeds = {int(end) for n in own + shipped if (end := n.rpartition("_seed")[2]).isdigit()}
    names = [name, *(f"{name}_seed{seed}" for seed in sorted(seeds))]
    return [path for n in names if (path := network_file(model, n, folder)).exists()]


def find_state(model: str, name: str | os.PathLike[str]) -> Path:
    """The training state (.pt) that a name or folder of a run means, or the path itself."""
    path = Path(name)
    if path.suffix:
        return path
    for folder in (path, ROOT / path, RUNS / model / path):
        files = RunFiles.in_folder(folder)
        for state in (files.state, files.last_state):
            if state.exists():
                return state
    raise UserError(f"there is no run {str(name)!r} with a training state to go on from")


def _names(folder: Path) -> Sequence[str]:
    return sorted(path.stem for path in folder.glob("*.safetensors"))
