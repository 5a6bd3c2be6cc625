"""Several networks of a task on the same test samples: what the figures that compare share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from common.checkpoints import load_checkpoint, network_name
from common.errors import NotThereError
from common.paths import CHECKPOINTS
from common.records import Measurement, Record, mean_measurement, new_record
from common.results import report_results, result_parser
from common.runs import find_network, network_file, seeds_of
from common.settings import load_settings, to_dict
from common.training import choose_device
from datasets.sources import STAND_IN
from hebbian_snn.config import FOLDER
from hebbian_snn.training.task import SupervisedTask
from hebbian_snn.training.trained import (
    MODEL,
    TrainedNetwork,
    build_from,
    check_sources,
    load_network,
)

T = TypeVar("T")

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
    """A figure, and what trains its networks.

    Attributes:
        name: of the record. task_type: of the networks. module: of the figure.
        makes: the command that trains the network of a name.
        settings: file in ``hebbian_snn/settings``, without suffix. folder: of the results.
        unit: what networks are tested on. has_data: real and embedded ones.
    """

    name: str
    task_type: type[SupervisedTask]
    module: str
    makes: Callable[[str], str]
    settings: str
    folder: str
    unit: str = "test samples"
    has_data: bool = False

    def load(self, settings_type: type[T]) -> T:
        """What stands in the figure's file."""
        return load_settings(settings_type, FOLDER / f"{self.settings}.yaml")


@dataclass(frozen=True)
class Plan:
    """One run: the networks there are, by name, those missing with what makes them, test samples
    of each, and device."""

    profile: str
    networks: dict[str, TrainedNetwork]
    missing: dict[str, str]
    samples: int
    device: torch.device


def networks_there(
    task_type: type[SupervisedTask], names: Sequence[str], device: torch.device
) -> tuple[dict[str, TrainedNetwork], tuple[str, ...]]:
    """The networks among these by name, and the names of those that are not there.

    Args:
        names: of shipped networks, or paths of checkpoints, which must be there.
    """
    paths = [name for name in names if len(Path(name).parts) > 1 or Path(name).suffix]
    there = [name for name in names if network_file(MODEL, name, CHECKPOINTS).exists()] + paths
    networks = {network_name(name): load_network(task_type, name, device) for name in there}
    for trained in networks.values():
        check_sources(trained.task, trained.checkpoint)
    return networks, tuple(name for name in names if name not in there)


def resized(trained: TrainedNetwork, test_size: int) -> TrainedNetwork:
    """The network with a test of so many samples."""
    dataset = replace(trained.task.settings.dataset, test_size=test_size)
    task = trained.task.altered(replace(trained.task.settings, dataset=dataset))
    return replace(trained, task=task)


def without_memory(trained: TrainedNetwork, device: torch.device) -> TrainedNetwork:
    """The same weights with synapses that do not grow."""
    settings = trained.task.settings
    network = replace(settings.network, gamma_pos=0.0)
    task = trained.task.altered(replace(settings, network=network))
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
    """How long a network was trained, and on how many images thresholds were balanced."""
    metadata = trained.checkpoint.metadata
    note = f"epoch {metadata.get('epoch')} of {metadata.get('epochs')}"
    data = metadata.get("data", {})
    front_ends = [data, *(part for part in data.values() if isinstance(part, dict))]
    for count in sorted({x["cnn"].get("threshold_images", 0) for x in front_ends if "cnn" in x}):
        note += f"; thresholds balanced on {count} images" if count else ""
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


SCORES = {"accuracy": (100, "%"), "flips": (1, ""), "mse": (1, "")}
"""Of the tests at the end of the trainings: factor and unit."""


def over_seeds(names: Iterable[str]) -> list[Measurement]:
    """Mean and spread over the seeds of every network that was trained with several, of the tests
    at the end of the trainings."""
    found = []
    for name in names:
        networks = [
            load_checkpoint(path, model=MODEL) for path in seeds_of(MODEL, name, CHECKPOINTS)
        ]
        tested = [network for network in networks if network.metadata.get("test")]
        if len(tested) < 2:
            continue
        about = [network.metadata for network in tested]
        score = next(key for key in SCORES if key in about[0]["test"])
        factor, unit = SCORES[score]
        found.append(
            mean_measurement(
                f"{name}, over seeds: {score}",
                [factor * m["test"][score] for m in about],
                unit=unit,
                seeds=[m["seed"] for m in about],
                seconds=sum(m["seconds"] for m in about),
                note=f"{len(about)} trainings, tested at their ends; the spread is over seeds",
            )
        )
    return found


def training_command(script: str, name: str) -> str:
    """What trains the network of this name on a convolutional network."""
    flags = {"relu": "--relu", "frozen": "--freeze_protonet", "embedded": "--data embedded"}
    words = name.split("_")
    given = [flag for part, flag in flags.items() if part in words]
    if {"relu", "frozen"} <= set(words):  # what is frozen has to be trained before
        given.append("--use_pretrained_protonet 1 --use_batch_norm 0")
    return " ".join([f"python -m {script}", *given])


def run_figure(
    what: Comparison,
    description: str | None,
    wanted: Sequence[str],
    samples: tuple[int, int],
    compute: Callable[[Plan], tuple[Record, dict[str, np.ndarray]]],
    draw: Callable[[Record, dict[str, np.ndarray]], Figure],
    argv: Sequence[str] | None,
) -> None:
    """Test the networks that there are, draw the figure, and say which are missing.

    Args:
        what, description: of the figure. wanted: names of its networks; those of ``--networks``
            in their place must be there.
        samples: of the quick and of the full profile.
        compute, draw: of the figure. argv: flags.

    Where the data cannot be had that the networks were trained on, those trained on stand-ins
    (``NAME_embedded``) are tested, unless data or networks are asked for by name.

    Raises :class:`NotThereError` where no network is there.
    """
    profiles = f"{samples[0]} or {samples[1]} {what.unit}"
    only = "only these networks"
    parser = result_parser(what.module, description, what.folder, profiles, only)
    args = parser.parse_args(argv)
    device = choose_device(args.device)
    if args.networks:
        wanted = args.networks
    elif what.has_data and args.data == "embedded":
        wanted = [f"{name}_embedded" for name in wanted]
    try:
        networks, absent = networks_there(what.task_type, wanted, device)
    except NotThereError as error:
        stand_ins = [f"{name}_embedded" for name in wanted]
        if args.networks or not what.has_data or args.data != "auto":
            raise
        networks, absent = networks_there(what.task_type, stand_ins, device)
        if not networks:
            raise
        print(f"Networks trained on stand-ins are tested: {error}")
    if args.networks and absent:
        find_network(MODEL, absent[0], CHECKPOINTS)
    if not networks:
        raise NotThereError(
            f"no network is trained yet; {what.makes(wanted[0])} makes the first one"
        )
    # Not all networks have a stand-in: of those, none is said to be missing.
    missing = {name: what.makes(name) for name in absent if not name.endswith(STAND_IN)}
    plan = Plan(args.profile, networks, missing, samples[args.profile == "full"], device)
    record, arrays = compute(plan)
    record.measurements += over_seeds(networks)
    report_results(args.out, record, arrays, draw(record, arrays))
    if missing:
        print(f"not trained yet and left out: {', '.join(missing)}")


def comparison_command(
    what: Comparison,
    description: str | None,
    compute: Callable[[Plan, ComparisonSettings], tuple[Record, dict[str, np.ndarray]]],
    draw: Callable[[Record, dict[str, np.ndarray]], Figure],
    argv: Sequence[str] | None,
) -> None:
    """:func:`run_figure` of a figure whose file has :class:`ComparisonSettings`."""
    settings = what.load(ComparisonSettings)
    samples = settings.samples_quick, settings.samples_full

    def compute_all(plan: Plan) -> tuple[Record, dict[str, np.ndarray]]:
        networks = {name: resized(x, plan.samples) for name, x in plan.networks.items()}
        return compute(replace(plan, networks=networks), settings)

    run_figure(what, description, settings.networks, samples, compute_all, draw, argv)
