"""Table: four data sets, each learnt in four ways.

    python -m snn_tha.figures.table1 --profile quick

Full precision; binarised with the thresholds fixed where annealing starts; fixed at their final
values; annealed from one to the other. Test accuracy, firing rate and share of dead neurons of the
epoch with the best validation accuracy, and the time of an epoch. The quick profile tests the
networks in checkpoints/snn_tha again, on all test samples: those that were trained on the data that
are there, else those trained on the stand-ins. With --train it trains small samples for a few
epochs instead and keeps what is done, so a killed run goes on. The full profile takes the scores in
these networks, of all seeds that are there; those that are missing are said to be missing, with the
command that trains them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.checkpoints import Checkpoint, check_metadata
from common.distributed import Distributed
from common.drawing import CYCLE, DOUBLE_COLUMN, panel_label, use_style
from common.errors import NotThereError, UserError, command_line
from common.memory import keep_freed_memory
from common.paths import CHECKPOINTS
from common.records import Measurement, Record, mean_measurement, new_record
from common.results import report_results, result_parser
from common.runs import network_file
from common.settings import load_settings, to_dict
from common.training import choose_device, progress
from datasets.choices import Data, check_choice
from datasets.real import AbsentError
from datasets.sources import STAND_IN, tested_on
from snn_tha.config import FOLDER, Settings, tha_settings
from snn_tha.data import DataSet, load_data
from snn_tha.run import MODEL, network_name, run_trial
from snn_tha.trained import read_network, score_again

NAME = "Table 1"
OVERRIDES: dict[str, dict[str, Any]] = {
    "full_precision": {"network": {"binarize": False}},
    "start": {"neuron": {"annealing": False, "fixed": "start"}},
    "final": {"neuron": {"annealing": False, "fixed": "final"}},
    "annealing": {},
}
FLAGS = {
    "full_precision": " --binarize false",
    "start": " --annealing false",
    "final": " --annealing false --fixed final",
    "annealing": "",
}
TITLES = {
    "full_precision": "full precision",
    "start": "binarised, thresholds fixed at the start values",
    "final": "binarised, thresholds fixed at the final values",
    "annealing": "binarised, thresholds annealed",
}
COLORS = dict(zip(TITLES, CYCLE, strict=False))
PRINTED = {"mnist": "MNIST", "fmnist": "Fashion-MNIST", "shd": "SHD", "dvs": "DVS Gesture"}
BARS = {"accuracy": 100, "rate": 1, "dead": 100}
"""What is drawn of every cell, and its factor."""
LINE = {
    "epoch": int,
    "seconds": float,
    "test_accuracy": float,
    "thresholds": list[float],
    "rates": list[float],
    "dead": list[float],
}
METADATA = {**LINE, "data": {"source": str}, "optimizer_steps": int, "curve": [LINE]}
"""What the table reads of a network, besides what every one has."""
CURVES = ("epoch", "test_accuracy", "thresholds", "rates", "dead")


@dataclass(frozen=True)
class TableSettings:
    """What stands in ``snn_tha/settings/table1.yaml``."""

    datasets: tuple[str, ...]
    conditions: tuple[str, ...]
    quick_trials: int
    full_trials: int
    quick_epochs: int
    quick_train_samples: tuple[int, ...]
    quick_test_samples: tuple[int, ...]
    quick_batch_size: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """One run: which data sets and conditions, how many trials, on what, where; and whether the
    quick profile trains."""

    profile: str
    train: bool
    datasets: tuple[str, ...]
    conditions: tuple[str, ...]
    trials: int
    data: Data
    device: torch.device
    out: Path


# ---- networks -------------------------------------------------------------------------------


def cell_settings(dataset: str, condition: str, table: TableSettings, train: bool) -> Settings:
    """The settings of one cell of the table; where it is trained now, few samples and epochs."""
    overrides = {key: dict(value) for key, value in OVERRIDES[condition].items()}
    if train:
        place = table.datasets.index(dataset)
        overrides["training"] = {
            "epochs": table.quick_epochs,
            "batch_size": table.quick_batch_size[place],
        }
        overrides["input"] = {
            "train_samples": table.quick_train_samples[place],
            "test_samples": table.quick_test_samples[place],
        }
    return tha_settings(dataset, overrides)


def data_of(dataset: str, plan: Plan, table: TableSettings) -> DataSet | None:
    """The data set of the quick profile. Where real ones are there, but no network that was trained
    on them, the stand-in, unless real ones are asked for. None where it cannot be had; one line
    says so.

    Raises :class:`UserError` where real data are asked for, and for damaged files.
    """
    cells = [cell_settings(dataset, c, table, plan.train) for c in plan.conditions]
    try:
        data = load_data(cells[0], plan.data)
        if plan.train or plan.data != "auto" or any(may_test(cell, 0, data) for cell in cells):
            return data
        return load_data(cells[0], "embedded")
    except AbsentError as error:
        if plan.data == "real":
            raise
        print(f"{PRINTED[dataset]} is left out: {error}")
        return None


def quick_network(settings: Settings, seed: int, plan: Plan, data: DataSet) -> Checkpoint:
    """A small network trained now or in an earlier run."""
    folder = plan.out / "networks"
    args = argparse.Namespace(
        seed=seed,
        out=folder / f"{network_name(settings, seed)}.safetensors",
        name=None,
        partial=folder / "partial",
        overwrite=False,
        snapshot=False,
        data="real",  # of a file of its own: the name does not say it
    )
    group = Distributed(0, 1, plan.device)
    with contextlib.redirect_stdout(io.StringIO()):
        path = run_trial(settings, args, group, "auto", lambda: data)
    return _checked(read_network(path))


def shipped_network(name: str) -> Checkpoint | None:
    """A trained network, None where there is none."""
    path = network_file(MODEL, name, CHECKPOINTS)
    return _checked(read_network(path)) if path.exists() else None


def _checked(network: Checkpoint) -> Checkpoint:
    check_metadata(network, METADATA)
    return network


def may_test(settings: Settings, seed: int, data: DataSet) -> Checkpoint | None:
    """The trained network that may be tested on these data, see
    :func:`datasets.sources.tested_on`; None where there is none."""
    for ending in ("", STAND_IN):
        network = shipped_network(network_name(settings, seed, ending))
        if network is None:
            continue
        with contextlib.suppress(NotThereError):
            tested_on(network.name, network.metadata["data"]["source"], data.about["source"])
            return network
    return None


def tested_network(settings: Settings, seed: int, plan: Plan, data: DataSet) -> Checkpoint | None:
    """The same with the scores of a test now in place of those of its training."""
    network = may_test(settings, seed, data)
    if network is None:
        return None
    found = score_again(network, data, plan.device)
    about = {"test_accuracy": found.accuracy, "rates": found.rates, "dead": found.dead}
    tested = {"data": data.about, "tested": len(data.test_indices)}
    return replace(network, metadata={**network.metadata, **about, **tested})


def cell_networks(
    plan: Plan, table: TableSettings
) -> Iterator[tuple[str, str, list[Checkpoint], str]]:
    """(data set, condition, trials, why there are none) of every cell of the table.

    In the quick profile a data set that is not there is left out, unless real data are asked for.
    """
    total = len(plan.datasets) * len(plan.conditions) * plan.trials
    full = plan.profile == "full"
    with progress(total=total, unit="network") as bar:
        for dataset in plan.datasets:
            data = None if full else data_of(dataset, plan, table)
            if data is None and not full:
                bar.update(len(plan.conditions) * plan.trials)
                continue
            for condition in plan.conditions:
                bar.set_description(f"{PRINTED[dataset]}, {condition}")
                settings = cell_settings(dataset, condition, table, plan.train)
                found = []
                for seed in range(plan.trials):
                    if data is None:
                        found.append(shipped_network(network_name(settings, seed)))
                    else:
                        get = quick_network if plan.train else tested_network
                        found.append(get(settings, seed, plan, data))
                    bar.update()
                command = f"python -m snn_tha.run --dataset {dataset}{FLAGS[condition]}"
                on = f" on {data.about['source']}" if data is not None else ""
                reason = f"not trained{on}; {command} does it"
                yield dataset, condition, [net for net in found if net is not None], reason


# ---- measuring ------------------------------------------------------------------------------


def compute(plan: Plan, table: TableSettings) -> tuple[Record, dict[str, np.ndarray]]:
    """Find, test or train the networks and read what they reached.

    Returns:
        the record, and for every cell that has networks ``"dataset-condition-accuracy"``,
        ``"-rate"`` and ``"-dead"`` (trials,), the last two being means over the hidden layers; and
        of the first trial ``"-curve-..."`` of :data:`CURVES`, (epochs,) or (epochs, layers).
    """
    record = new_record(
        NAME,
        "SNN-THA",
        plan.profile,
        device=plan.device,
        seeds=list(range(plan.trials)),
        settings={"table": to_dict(table)},
    )
    arrays: dict[str, np.ndarray] = {}
    sources = {}
    for dataset, condition, networks, reason in cell_networks(plan, table):
        if not networks:
            what = f"{PRINTED[dataset]}, {TITLES[condition]}: test accuracy"
            record.measurements.append(Measurement(what, None, unit="%", n=0, note=reason))
            continue
        cell = f"{dataset}-{condition}"
        about = [network.metadata for network in networks]
        sources[dataset] = about[0]["data"]["source"]
        record.checkpoints |= {network.name: network.sha256 for network in networks}
        arrays[f"{cell}-accuracy"] = np.array([m["test_accuracy"] for m in about])
        for key, of_layers in (("rate", "rates"), ("dead", "dead")):
            arrays[f"{cell}-{key}"] = np.array([np.mean(m[of_layers][:-1]) for m in about])
        for key in CURVES:
            arrays[f"{cell}-curve-{key}"] = np.array([line[key] for line in about[0]["curve"]])
        record.measurements += measurements(dataset, condition, networks)
    record.data = "; ".join(f"{PRINTED[name]}: {source}" for name, source in sources.items())
    record.wall_seconds = sum(m.seconds or 0.0 for m in record.measurements)
    return record, arrays


def measurements(dataset: str, condition: str, networks: list[Checkpoint]) -> list[Measurement]:
    """Accuracy, firing rates, dead neurons and time of one cell."""
    about = [network.metadata for network in networks]
    title = f"{PRINTED[dataset]}, {TITLES[condition]}"
    common = {
        "seeds": [m["seed"] for m in about],
        "data": about[0]["data"]["source"],
        "command": about[0]["command"],
        "checkpoint": networks[0].sha256[:12],
    }
    epochs = ", ".join(f"epoch {m['epoch']} of {m['epochs']}" for m in about)
    tested = f"; tested on {about[0]['tested']} samples" if "tested" in about[0] else ""
    found = [
        mean_measurement(
            f"{title}: test accuracy",
            [100 * m["test_accuracy"] for m in about],
            unit="%",
            seconds=sum(m["seconds"] for m in about),
            note=f"{epochs}{tested}; the time is that of the trainings",
            **common,
        )
    ]
    for layer in range(len(about[0]["rates"]) - 1):
        name = f"{title}: hidden layer {layer + 1}"
        rates = [m["rates"][layer] for m in about]
        dead = [100 * m["dead"][layer] for m in about]
        found.append(mean_measurement(f"{name}, spikes per neuron and step", rates, **common))
        found.append(mean_measurement(f"{name}, dead neurons", dead, unit="%", **common))
    seconds = [line["seconds"] for m in about for line in m["curve"]]
    found.append(
        Measurement(
            f"{title}: time of an epoch",
            float(np.median(seconds)),
            unit="s",
            n=len(seconds),
            note="training alone, median over all epochs",
            **common,
        )
    )
    return found


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Accuracy (a), firing rate (b) and dead neurons (c) of every cell; of the first data set over
    the epochs: thresholds (d), firing rates (e) and dead neurons (f)."""
    cells = [tuple(key.split("-")[:2]) for key in arrays if key.endswith("-accuracy")]
    datasets = list(dict.fromkeys(dataset for dataset, _ in cells))
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 4.6), layout="constrained")
        axes = figure.subplots(2, 3)
        for ax, key, scale in zip(
            axes[0], ("accuracy", "rate", "dead"), (100, 1, 100), strict=True
        ):
            _draw_bars(ax, arrays, datasets, key, scale)
        axes[0, 0].set(ylabel="test accuracy / %", ylim=(0, 100))
        axes[0, 1].set(ylabel="spikes per hidden\nneuron and step")
        axes[0, 2].set(ylabel="dead hidden neurons / %")
        if datasets:
            draw_curves(axes[1], arrays, datasets[0])
        for ax, letter in zip(axes.flat, "abcdef", strict=True):
            panel_label(ax, letter)
        handles = [Axes.bar(axes[0, 0], 0, 0, color=COLORS[c], label=TITLES[c]) for c in COLORS]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _draw_bars(
    ax: Axes, arrays: dict[str, np.ndarray], datasets: list[str], key: str, scale: float
) -> None:
    """One group of bars a data set, one bar a condition, with the trials' standard deviation."""
    width = 0.8 / len(COLORS)
    for place, (condition, color) in enumerate(COLORS.items()):
        for group, dataset in enumerate(datasets):
            values = arrays.get(f"{dataset}-{condition}-{key}")
            if values is None:
                continue
            spread = scale * values.std(ddof=1) if len(values) > 1 else None
            x = group + (place - (len(COLORS) - 1) / 2) * width
            ax.bar(x, scale * values.mean(), width, yerr=spread, color=color)
    names = [PRINTED[dataset] for dataset in datasets]
    ax.set_xticks(range(len(datasets)), names, rotation=25, ha="right", rotation_mode="anchor")


def draw_curves(axes: Sequence[Axes], arrays: dict[str, np.ndarray], dataset: str) -> None:
    """Thresholds, firing rates and dead neurons of the hidden layers over the epochs, of every
    condition's first trial; one line style a layer."""
    styles = ("-", "--", ":")
    for condition, color in COLORS.items():
        curve = f"{dataset}-{condition}-curve"
        if f"{curve}-epoch" not in arrays:
            continue
        epochs = arrays[f"{curve}-epoch"]
        for ax, key, scale in zip(axes, ("thresholds", "rates", "dead"), (1, 1, 100), strict=True):
            hidden = scale * arrays[f"{curve}-{key}"][:, :-1]
            for layer, style in zip(hidden.T, styles, strict=False):
                ax.plot(epochs, layer, style, color=color, lw=1, marker=".", ms=3)
    n_hidden = max(
        arrays[key].shape[1] - 1 for key in arrays if key.startswith(dataset) and "thresh" in key
    )
    for layer in range(n_hidden):
        axes[0].plot([], [], styles[layer], color="0.4", lw=1, label=f"hidden layer {layer + 1}")
    axes[0].legend()
    axes[0].set(ylabel=f"threshold ({PRINTED[dataset]})")
    axes[1].set(ylabel="spikes per neuron and step")
    axes[1].set_ylim(bottom=0)
    axes[2].set(ylabel="dead neurons / %")
    for ax in axes:
        ax.set_xlabel("epoch")


# ---- command line ---------------------------------------------------------------------------


def _parser(table: TableSettings) -> argparse.ArgumentParser:
    parser = result_parser(
        "snn_tha.figures.table1",
        __doc__,
        "snn_tha_table1",
        "quick: the networks in checkpoints/snn_tha, tested; full: their scores, all seeds",
    )
    parser.add_argument(
        "--train",
        action="store_true",
        help="quick: train networks on few samples for a few epochs and show them instead",
    )
    parser.add_argument("--datasets", nargs="+", default=table.datasets, metavar="NAME")
    parser.add_argument("--conditions", nargs="+", default=table.conditions, metavar="NAME")
    parser.add_argument(
        "--trials",
        type=int,
        help=f"seeds from 0 on (default: {table.quick_trials}; full: up to {table.full_trials})",
    )
    return parser


def plan_from(args: argparse.Namespace, table: TableSettings) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    for what, given, known in (
        ("data set", args.datasets, table.datasets),
        ("condition", args.conditions, tuple(OVERRIDES)),
    ):
        for name in given:
            check_choice(what, name, known)
    if args.train and args.profile == "full":
        raise UserError(
            "--train is of the quick profile; python -m snn_tha.run trains for the full"
        )
    default = table.quick_trials if args.profile == "quick" else table.full_trials
    trials = default if args.trials is None else args.trials
    if trials < 1:
        raise UserError(f"--trials is {trials}; give 1 or more")
    return Plan(
        args.profile,
        args.train,
        tuple(args.datasets),
        tuple(args.conditions),
        trials,
        args.data,
        choose_device(args.device),
        args.out,
    )


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    table = load_settings(TableSettings, FOLDER / "table1.yaml")
    plan = plan_from(_parser(table).parse_args(argv), table)
    keep_freed_memory()
    record, arrays = compute(plan, table)
    report_results(plan.out, record, arrays, draw(record, arrays))


if __name__ == "__main__":
    sys.exit(main())
