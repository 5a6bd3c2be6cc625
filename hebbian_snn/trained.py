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
from hebbian_snn.tasks import SupervisedTask

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


def check_sources(task: SupervisedTask, weights: Checkpoint) -> None:
    """Raise :class:`UserError` unless the data and the trained networks that this one builds on are
    those of its training; :class:`NotThereError` where it is the data that are not.

    What follows from both, such as balanced thresholds, is then taken from the checkpoint.
    """
    told = weights.metadata["data"]

    def summary() -> dict[str, Any]:
        task.told = told
        return {"task": task.name, **task.data_summary()}

    for kind, what, here in (
        (NotThereError, "on other data", task.sources),
        (UserError, "on another convolutional network", task.front_ends),
        (UserError, "in another way", summary),
    ):
        now = here()
        different = differences(_part(told, now), now)
        if different:
            raise kind(
                f"{weights.path} was trained {what} ({'; '.join(different)}); bring back what it "
                "was trained on, or train it again"
            )


def _part(there: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Of a nested mapping what has the same keys as another one."""
    return {
        key: _part(there[key], value) if isinstance(value, dict) else there[key]
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
