"""Trained networks of the supervised tasks, from finished and from unfinished trainings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.checkpoints import Checkpoint, load_checkpoint, load_into, load_training_state
from common.errors import NotThereError, UserError
from common.paths import CHECKPOINTS
from common.runs import find_network, network_file
from common.settings import differences, from_dict, to_dict
from datasets.real import AbsentError
from datasets.sources import tested_on
from hebbian_snn.training.task import SupervisedTask

MODEL = "hebbian_snn"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network ready to be used, with its task and its file."""

    network: nn.Module
    task: SupervisedTask
    checkpoint: Checkpoint


def read_weights(task_type: type[SupervisedTask], path: Path) -> Checkpoint:
    """The weights in a checkpoint (``.safetensors``, the best ones), or in a training state
    (``.pt``, the last ones); the metadata has ``settings`` and ``seed``.

    Raises :class:`UserError` for a file that is missing, damaged, or of another task.
    """
    if path.suffix == ".pt":
        state = load_training_state(path)
        run = dict(state.get("run", {}))
        data, seed = run.pop("data", {}), run.pop("seed", None)
        metadata = {"settings": run, "seed": seed, "data": data}
        weights = Checkpoint(path, state.get("network"), metadata, "")
    else:
        weights = load_checkpoint(path, model=MODEL)
    found = (weights.metadata.get("data") or {}).get("task")
    if found != task_type.name or not weights.tensors:
        raise UserError(
            f"{path} is of the task {found!r}, not of {task_type.name!r}; give a file of this task"
        )
    return weights


def check_parameters(task: SupervisedTask, weights: Checkpoint, evaluating: bool) -> None:
    """Raise :class:`UserError`, naming every flag, if network or data differ from those of the
    weights. How to train may differ, and under evaluation what ``task.may_differ`` names."""

    def relevant(settings: dict[str, Any]) -> dict[str, Any]:
        sections = {key: value for key, value in settings.items() if key != "training"}
        for name in task.may_differ if evaluating else ():
            section, _, key = name.rpartition(".")
            values = sections.get(section, {}) if section else sections
            if key in values:
                sections[section] = {k: v for k, v in values.items() if k != key}
        return sections

    there = from_dict(task.settings_type, weights.metadata.get("settings"), str(weights.path))
    found, given = relevant(to_dict(there)), relevant(to_dict(task.settings))
    if not evaluating:
        found["seed"], given["seed"] = weights.metadata.get("seed"), task.seed
    different = differences(found, given)
    if different:
        flags = "; ".join(
            f"--{line.partition(':')[0].split('.')[-1]}:{line.partition(':')[2]}"
            for line in different
        )
        raise UserError(
            f"{weights.path} was trained with other flags ({flags}); give the same ones, or "
            "--check_params 0"
        )


def check_data(task: SupervisedTask, weights: Checkpoint, exactly: bool = False) -> dict[str, Any]:
    """What the data are, by :meth:`SupervisedTask.sources`.

    Args:
        exactly: they must be those of the training, for it is to go on.

    Raises :class:`NotThereError` unless the network may be tested on them, see
    :func:`datasets.sources.tested_on`.
    """
    told = weights.metadata["data"]
    try:
        sources = task.sources()
    except AbsentError as error:
        raise NotThereError(f"{weights.path} cannot be tested without its data: {error}") from error
    kinds = [key for key, part in sources.items() if isinstance(part, dict)]
    parts = [(told.get(kind, {}), sources[kind]) for kind in kinds] or [(told, sources)]
    for trained, now in parts:
        if "source" not in now:  # generated
            continue
        if trained.get("source") != now["source"] and not exactly:
            tested_on(str(weights.path), str(trained.get("source")), now["source"])
            now = {key: value for key, value in now.items() if key == "words"}
        elif not exactly:
            # Loaders check files; coefficients of speech differ in their last bits from processor
            # to processor, and so does their hash.
            now = {key: value for key, value in now.items() if key != "sha256"}
        _check_same("on other data", trained, now, weights, NotThereError)
    return sources


def check_sources(task: SupervisedTask, weights: Checkpoint, exactly: bool = False) -> None:
    """:func:`check_data`; then raise :class:`UserError` unless the trained networks that this one
    builds on are those of its training.

    What follows from both, such as balanced thresholds, is then taken from the checkpoint.
    """
    told = weights.metadata["data"]
    sources = check_data(task, weights, exactly)
    related = "source" in sources or any(isinstance(part, dict) for part in sources.values())
    _check_same("on another convolutional network", told, task.front_ends(), weights, UserError)
    task.told = told
    summary = {"task": task.name, **task.data_summary()}
    rest = _without(summary, sources) if related else summary
    _check_same("in another way", told, rest, weights, UserError)


def _check_same(
    what: str,
    told: dict[str, Any],
    now: dict[str, Any],
    weights: Checkpoint,
    kind: type[UserError],
) -> None:
    different = differences(_part(told, now), now)
    if different:
        raise kind(
            f"{weights.path} was trained {what} ({'; '.join(different)}); bring back what it "
            "was trained on, or train it again"
        )


def _without(mapping: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """A nested mapping without the keys of another one."""
    inner = {key: value for key, value in keys.items() if isinstance(value, dict)}
    return {
        key: _without(value, inner[key]) if key in inner else value
        for key, value in mapping.items()
        if key in inner or key not in keys
    }


def _part(there: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Of a nested mapping what has the same keys as another one."""
    return {
        key: _part(there[key], value)
        if isinstance(value, dict) and isinstance(there[key], dict)
        else there[key]
        for key, value in keys.items()
        if key in there
    }


def load_network(
    task_type: type[SupervisedTask],
    name: str | Path,
    device: str | torch.device = "cpu",
    backend: str = "auto",
) -> TrainedNetwork:
    """A trained network by its name, or by the path of a checkpoint, of a run or of a training
    state, with the settings it was trained with.

    Raises :class:`UserError` as :func:`read_weights`.
    """
    path = Path(name)
    weights = read_weights(task_type, path if path.suffix == ".pt" else find_network(MODEL, name))
    settings = from_dict(task_type.settings_type, weights.metadata.get("settings"), str(path))
    task = task_type(settings, weights.metadata["seed"])
    return TrainedNetwork(build_from(task, weights, device, backend), task, weights)


def need_shipped(name: str) -> str:
    """The name of a shipped network.

    Raises :class:`NotThereError` where it is not trained yet.
    """
    if not network_file(MODEL, name, CHECKPOINTS).exists():
        raise NotThereError(
            f"there is no trained network {name!r} yet; docs/hebbian_snn.md says what trains it"
        )
    return name


def build_from(
    task: SupervisedTask, weights: Checkpoint, device: str | torch.device, backend: str = "auto"
) -> nn.Module:
    """The network of a task with these weights, not to be trained.

    Raises :class:`UserError` if they do not fit.
    """
    network = task.build(torch.Generator().manual_seed(0), backend)
    load_into(network, weights)
    return network.to(device).eval().requires_grad_(False)
