"""Table 1: how well DASBE, the loop without spikes and spikes without the loop group objects.

    python -m dasbe.figures.table1 --profile quick

Finished parts are kept and not repeated; a killed run goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from common.drawing import DOUBLE_COLUMN, draw_comparison, panel_label, use_style
from common.errors import UserError, command_line
from common.paper_values import published_fields
from common.records import Measurement, Record, mean_interval, new_record
from common.results import report_results, result_parser
from common.settings import load_settings, to_dict
from common.training import check_seeds, choose_device, progress
from dasbe.binding import DEVICE, TrainedNetwork, load_network
from dasbe.config import FOLDER, dataset_settings
from dasbe.evaluation import (
    Activity,
    Part,
    dasbe_activity,
    measure_part,
    pcnn_activity,
    pure_ann_activity,
)
from datasets.binding import read_group, source_of
from datasets.catalogue import GENERATOR_VERSION, find
from datasets.generate import ensure

NAME = "Table 1"
RESULT = "dasbe_table1"
METHODS = ("DASBE", "pure_ANN", "pure_SNN", "pure_ANN_raw_start")
"""The last one is the pure ANN as the published script starts it, without normalisation."""


@dataclass(frozen=True)
class Table1Settings:
    """What stands in ``dasbe/settings/table1.yaml``."""

    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    seeds_full: tuple[int, ...]
    seeds_quick: tuple[int, ...]
    images_full: int
    images_quick: int
    keep_iterations: int
    pcnn_steps: int
    pcnn_keep_steps: int


@dataclass(frozen=True)
class Plan:
    """One run: which parts of the table, with how many images, where."""

    profile: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    images: int
    data: str
    checkpoints: dict[str, str]
    device: torch.device
    out: Path


@dataclass(frozen=True)
class Cell:
    """One number of the table: a dataset and a method, with all that its measurement needs."""

    dataset: str
    method: str
    activity: Activity
    key: dict[str, Any]
    checkpoint: str


def cells_of(dataset: str, plan: Plan, settings: Table1Settings) -> list[Cell]:
    """The cells of one row of the table that the plan asks for."""
    pcnn = dataset_settings(dataset).pcnn
    common = {"dataset": dataset, "digits": source_of(dataset), "generator": GENERATOR_VERSION}
    trained: TrainedNetwork | None = None
    cells = []
    for method in plan.methods:
        checkpoint = ""
        if method == "pure_SNN":
            steps = {"steps": settings.pcnn_steps, "keep_steps": settings.pcnn_keep_steps}
            activity = pcnn_activity(**to_dict(pcnn), **steps)
            key = to_dict(pcnn) | steps
        else:
            trained = trained or network_for(dataset, plan)
            checkpoint = trained.checkpoint.sha256
            keep = settings.keep_iterations
            key = {"checkpoint": checkpoint, "keep_iterations": keep}
            key |= to_dict(trained.settings.dynamics)
            if method == "DASBE":
                activity = dasbe_activity(trained, keep)
            else:
                activity = pure_ann_activity(trained, keep, method == "pure_ANN")
        cells.append(
            Cell(dataset, method, activity, {**common, "method": method, **key}, checkpoint)
        )
    return cells


def network_for(dataset: str, plan: Plan) -> TrainedNetwork:
    """The network of a dataset; its dynamics are those of the dataset's settings file.

    Raises :class:`UserError` for a checkpoint that was trained on another dataset.
    """
    name = plan.checkpoints.get(dataset, dataset)
    trained = load_network(name, plan.device)
    if trained.settings.dataset != dataset:
        raise UserError(
            f"{trained.checkpoint.path} was trained on {trained.settings.dataset}, "
            f"not on {dataset}; give the checkpoint of a {dataset} network"
        )
    settings = replace(trained.settings, dynamics=dataset_settings(dataset).dynamics)
    return replace(trained, settings=settings)


def compute(plan: Plan, settings: Table1Settings) -> tuple[Record, dict[str, np.ndarray]]:
    """Measure what the plan asks for.

    Returns:
        the record, and the AMI of every image by ``"dataset-method"``, each (seeds, images).
    """
    record = new_record(
        NAME,
        "DASBE",
        plan.profile,
        device=plan.device,
        seeds=list(plan.seeds),
        settings={"table": to_dict(settings), "images": plan.images},
        data="generated",
    )
    arrays = {}
    total = len(plan.datasets) * len(plan.methods) * len(plan.seeds) * plan.images
    with progress(total=total, unit="image") as bar:
        for dataset in plan.datasets:
            ensure(dataset, {"train_multi": plan.images}, groups=["train_multi"], data=plan.data)
            for cell in cells_of(dataset, plan, settings):
                parts = [measure_seed(cell, seed, plan, bar) for seed in plan.seeds]
                ami = np.stack([part.ami[: plan.images] for part in parts])
                arrays[f"{dataset}-{cell.method}"] = ami
                seconds = sum(part.seconds * plan.images / len(part.ami) for part in parts)
                record.measurements.append(measurement(cell, ami, seconds, plan))
                if cell.checkpoint:
                    record.checkpoints[dataset] = cell.checkpoint
    record.wall_seconds = sum(m.seconds for m in record.measurements)
    return record, arrays


def measure_seed(cell: Cell, seed: int, plan: Plan, bar: tqdm) -> Part:
    """One seed of one cell, with the progress shown."""

    def read(start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return read_group(cell.dataset, "train_multi", start=start, count=count)

    bar.set_description(f"{cell.dataset}, {cell.method}, seed {seed}")
    path = plan.out / "parts" / f"{cell.dataset}-{cell.method}-{seed}.npz"
    done = 0
    for part in measure_part(
        path, {**cell.key, "seed": seed}, read, plan.images, cell.activity, seed, plan.device
    ):
        bar.update(min(len(part.ami), plan.images) - done)
        done = min(len(part.ami), plan.images)
    return part


def measurement(cell: Cell, ami: np.ndarray, seconds: float, plan: Plan) -> Measurement:
    """Mean over images and seeds; the interval is over images, the spread over seeds."""
    mean, _, interval = mean_interval(100 * ami.mean(axis=0))
    _, spread, _ = mean_interval(100 * ami.mean(axis=1))
    digits = source_of(cell.dataset)
    what = f"{cell.dataset}, {cell.method.replace('_', ' ')}"
    return Measurement(
        what=what,
        value=mean,
        unit="AMI x 100",
        **published_fields(RESULT, what),
        spread=spread,
        interval95=interval,
        n=ami.shape[1],
        seeds=list(plan.seeds),
        data="generated" if digits == "none" else digits,
        seconds=seconds,
        command=f"scripts/dasbe/table1.sh --profile {plan.profile} --datasets {cell.dataset} "
        f"--methods {cell.method} --seeds {' '.join(map(str, plan.seeds))} --images {plan.images}",
        checkpoint=cell.checkpoint[:12],
        note=f"mean over {ami.shape[1]} images and {ami.shape[0]} seeds",
    )


def draw(record: Record) -> Figure:
    """Bars of the paper's and the measured AMI, one panel per method."""
    by_method: dict[str, list[Measurement]] = {}
    for m in record.measurements:
        by_method.setdefault(m.what.split(", ")[1], []).append(m)
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.3), layout="constrained")
        axes = figure.subplots(1, len(by_method), sharey=True, squeeze=False)[0]
        for ax, letter, (method, cells) in zip(axes, "abcd", by_method.items(), strict=False):
            draw_comparison(
                ax,
                [m.what.split(", ")[0] for m in cells],
                [m.paper for m in cells],
                [m.value for m in cells],
                [m.interval95 for m in cells],
                ylabel="100 AMI" if ax is axes[0] else None,
                value_format=".0f",
            )
            ax.set_title(method, loc="left")
            panel_label(ax, letter)
    return figure


def _parser(settings: Table1Settings) -> argparse.ArgumentParser:
    parser = result_parser(
        "dasbe.figures.table1",
        __doc__,
        RESULT,
        f"quick: {settings.images_quick} images, seeds {list(settings.seeds_quick)}; "
        f"full: {settings.images_full} images, seeds {list(settings.seeds_full)}",
    )
    parser.add_argument("--datasets", nargs="+", help=f"of {', '.join(settings.datasets)}")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="default: the paper's three")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the profile's")
    parser.add_argument("--images", type=int, help="in place of the profile's number")
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        default=[],
        metavar="DATASET=FILE",
        help="networks to use in place of the shipped ones",
    )
    return parser


def plan_from(args: argparse.Namespace, settings: Table1Settings) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    full = args.profile == "full"
    datasets = tuple(args.datasets or settings.datasets)
    for dataset in datasets:
        dataset_settings(dataset)
    images = settings.images_full if full else settings.images_quick
    if args.images is not None:
        images = args.images
    most = min(find(dataset).sizes["train_multi"] for dataset in datasets)
    if not 2 <= images <= most:
        raise UserError(
            f"--images is {images}; an interval needs at least 2, and there are {most} images"
        )
    pairs = [text.partition("=") for text in args.checkpoints]
    for dataset, _, path in pairs:
        if dataset not in datasets or not path:
            raise UserError(f"--checkpoints {dataset}: give DATASET=FILE with one of {datasets}")
    return Plan(
        args.profile,
        datasets,
        tuple(args.methods or settings.methods),
        check_seeds(args.seeds or (settings.seeds_full if full else settings.seeds_quick)),
        images,
        args.data,
        {dataset: path for dataset, _, path in pairs},
        choose_device(args.device, DEVICE),
        args.out,
    )


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = load_settings(Table1Settings, FOLDER / "table1.yaml")
    plan = plan_from(_parser(settings).parse_args(argv), settings)
    plan.out.mkdir(parents=True, exist_ok=True)
    record, arrays = compute(plan, settings)
    report_results(plan.out, record, arrays, draw(record))


if __name__ == "__main__":
    sys.exit(main())
