"""Several networks of a task on the same test samples: what the figures of accuracy share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from common.errors import UserError
from common.paths import CHECKPOINTS
from common.records import Measurement, Record, new_record
from common.results import report_results, result_parser
from common.settings import differences, load_settings, to_dict
from common.training import choose_device
from hebbian_snn.config import FOLDER
from hebbian_snn.supervised import about_data
from hebbian_snn.tasks import SupervisedTask
from hebbian_snn.trained import MODEL, TrainedNetwork, build_from, load_network

BATCH = 100
"""Test samples that go through a network together."""


@dataclass(frozen=True)
class ComparisonSettings:
    """What stands in the figure's file in ``hebbian_snn/settings``.

    Attributes:
        networks: names of the checkpoints, without ``_embedded``.
        samples_quick, samples_full: test samples.
    """

    networks: tuple[str, ...]
    samples_quick: int
    samples_full: int


@dataclass(frozen=True)
class Comparison:
    """A figure: its title, file names, and the script that trains its networks.

    Attributes:
        name: of the record. task_type: of the networks. module: of the figure.
        script: module that trains. settings: file in ``hebbian_snn/settings``, without suffix.
        folder: of its results.
    """

    name: str
    task_type: type[SupervisedTask]
    module: str
    script: str
    settings: str
    folder: str


@dataclass(frozen=True)
class Plan:
    """One run: the networks there are, by name, those missing with what makes them, and device."""

    profile: str
    networks: dict[str, TrainedNetwork]
    missing: dict[str, str]
    device: torch.device


def networks_there(
    task_type: type[SupervisedTask], names: Sequence[str], device: torch.device
) -> tuple[dict[str, TrainedNetwork], tuple[str, ...]]:
    """The networks among these by name, and the names of those that are not there.

    Args:
        names: of shipped networks, or paths of checkpoints, which must be there.
    """
    folder = CHECKPOINTS / MODEL
    paths = [name for name in names if Path(name).suffix]
    there = [name for name in names if (folder / f"{name}.safetensors").exists()] + paths
    networks = {Path(name).stem: load_network(task_type, name, device) for name in there}
    for trained in networks.values():
        check_front_end(trained)
    return networks, tuple(name for name in names if name not in there)


def check_front_end(trained: TrainedNetwork) -> None:
    """Raise :class:`UserError` unless data and pre-trained networks are those of the training."""
    different = differences(trained.checkpoint.metadata["data"], about_data(trained.task))
    if different:
        raise UserError(
            f"{trained.checkpoint.path} was trained with other data or on another convolutional "
            f"network ({'; '.join(different)}); bring those back, or train it again"
        )


def resized(trained: TrainedNetwork, test_size: int) -> TrainedNetwork:
    """The network with a test of so many samples."""
    dataset = replace(trained.task.settings.dataset, test_size=test_size)
    task = type(trained.task)(replace(trained.task.settings, dataset=dataset), trained.task.seed)
    return replace(trained, task=task)


def without_memory(trained: TrainedNetwork, device: torch.device) -> TrainedNetwork:
    """The same weights with synapses that do not grow."""
    settings = trained.task.settings
    network = replace(settings.network, gamma_pos=0.0)
    task = type(trained.task)(replace(settings, network=network), trained.task.seed)
    return replace(trained, network=build_from(task, trained.checkpoint, device), task=task)


@torch.no_grad()
def answers(trained: TrainedNetwork, device: torch.device) -> tuple[Tensor, Tensor]:
    """Outputs (N, ...) and targets (N, ...) of all test samples."""
    count = trained.task.sizes()["test"]
    found = []
    for first in range(0, count, BATCH):
        samples = range(first, min(first + BATCH, count))
        inputs, targets = trained.task.batch("test", 0, samples, slice(None)).to(device)
        found.append((trained.network(*inputs).outputs.cpu(), targets.cpu()))
    outputs, targets = zip(*found, strict=True)
    return torch.cat(outputs), torch.cat(targets)


def title_of(trained: TrainedNetwork) -> str:
    """Kind of network and of front end."""
    settings = trained.task.settings
    kind = "ReLU twin" if settings.relu else "spiking network"
    return f"{kind}, {'frozen' if settings.cnn.freeze_protonet else 'trained'} encoder"


def note_of(trained: TrainedNetwork) -> str:
    """How long a network was trained."""
    metadata = trained.checkpoint.metadata
    note = f"epoch {metadata.get('epoch')} of {metadata.get('epochs')}"
    return f"{note}; {metadata['note']}" if "note" in metadata else note


def record_of(what: Comparison, plan: Plan, settings: ComparisonSettings) -> Record:
    """A record without measurements."""
    return new_record(
        what.name,
        "Hebbian memory",
        plan.profile,
        device=plan.device,
        settings={"figure": to_dict(settings)},
        seeds=sorted({net.task.seed for net in plan.networks.values()}),
        checkpoints={name: net.checkpoint.sha256 for name, net in plan.networks.items()},
    )


def missing_measurements(plan: Plan) -> list[Measurement]:
    """What a record says of networks that are not there."""
    return [
        Measurement(name, None, n=0, note=f"not trained yet: {command} makes it")
        for name, command in plan.missing.items()
    ]


def training_command(script: str, name: str) -> str:
    """What trains the network of this name."""
    flags = {"relu": "--relu", "frozen": "--freeze_protonet", "embedded": "--data embedded"}
    given = (flag for part, flag in flags.items() if part in name.split("_"))
    return " ".join([f"python -m {script}", *given])


def comparison_command(
    what: Comparison,
    description: str | None,
    compute: Callable[[Plan, ComparisonSettings], tuple[Record, dict[str, np.ndarray]]],
    draw: Callable[[Record, dict[str, np.ndarray]], Figure],
    argv: Sequence[str] | None,
) -> None:
    """Test the networks that there are and draw the figure.

    Raises :class:`UserError` where there are none.
    """
    settings = load_settings(ComparisonSettings, FOLDER / f"{what.settings}.yaml")
    samples: dict[str, Any] = {"quick": settings.samples_quick, "full": settings.samples_full}
    profiles = f"{samples['quick']} or {samples['full']} test samples"
    parser = result_parser(what.module, description, what.folder, profiles)
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="only these networks")
    args = parser.parse_args(argv)
    device = choose_device(args.device)
    suffix = "_embedded" if args.data == "embedded" else ""
    wanted = args.networks or [f"{name}{suffix}" for name in settings.networks]
    networks, missing = networks_there(what.task_type, wanted, device)
    commands = {name: training_command(what.script, name) for name in missing}
    if not networks:
        raise UserError(f"no network is trained yet; start with {commands[wanted[0]]}")
    networks = {name: resized(x, samples[args.profile]) for name, x in networks.items()}
    record, arrays = compute(Plan(args.profile, networks, commands, device), settings)
    report_results(args.out, record, arrays, draw(record, arrays))
    if missing:
        print(f"not trained yet and left out: {', '.join(missing)}")
