"""Generalisation: networks trained on 2, 3 and 4 objects, tested on images of 2, 3 and 4.

    python -m gust.evaluation --profile quick

AMI and SynScore of the last iteration, averaged over test images. Images that are measured are kept
and not repeated; a killed run goes on, and the full profile starts with what the quick one
measured. A network that has not been trained yet is left out, and said to be missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from tqdm import tqdm

from common.drawing import COLUMN, panel_label, use_style
from common.errors import UserError, command_line
from common.records import Measurement, Record, mean_interval, mean_measurement, new_record
from common.results import report_results, result_parser
from common.settings import load_settings, to_dict
from common.training import choose_device, progress
from datasets.catalogue import GENERATOR_VERSION
from gust.config import FILE
from gust.figures.iterations import SCORE_NAMES, check_seed
from gust.figures.parts import kept
from gust.figures.sources import (
    count_test_images,
    dataset_with,
    ensure_test_images,
    images_note,
    missing_networks,
    missing_note,
    read_test_images,
    shipped_name,
)
from gust.scoring import CHUNK, Scores, bind_and_score
from gust.trained import TrainedNetwork, load_network

NAME = "Generalisation"
SIZE = (0.96, 0.96)
"""Of a cell of the heat maps, whose centres are 1 apart."""


@dataclass(frozen=True)
class GeneralisationSettings:
    """What stands in ``gust/settings/figure_generalisation.yaml``.

    Attributes:
        train_objects: A, objects of the images that a network was trained on.
        test_objects: B, objects of the test images.
        images_full, images_quick: test images in the two profiles, the first ones.
        seed: of the dynamics and the clustering.
    """

    train_objects: tuple[int, ...]
    test_objects: tuple[int, ...]
    images_full: int
    images_quick: int
    seed: int


@dataclass(frozen=True)
class Plan:
    """One run: which networks by their A, and which are missing; how many images, where."""

    profile: str
    networks: dict[int, TrainedNetwork]
    missing: tuple[int, ...]
    images: int
    seed: int
    device: torch.device
    out: Path


# ---- measuring ------------------------------------------------------------------------------


def compute(plan: Plan, settings: GeneralisationSettings) -> tuple[Record, dict[str, np.ndarray]]:
    """Score the plan's networks on the test images.

    Returns:
        the record, and ``"train_A-test_B-ami"`` and ``"train_A-test_B-synchrony"`` (n,) for every
        A of the plan and every B of the settings.
    """
    record = new_record(
        NAME,
        "GUST",
        plan.profile,
        device=plan.device,
        seeds=[plan.seed],
        settings={"figure": to_dict(settings), "images": plan.images},
        data="generated",
        checkpoints={shipped_name(a): net.checkpoint.sha256 for a, net in plan.networks.items()},
    )
    arrays = {}
    total = len(plan.networks) * len(settings.test_objects) * plan.images
    with progress(total=total, unit="image") as bar:
        for a, trained in plan.networks.items():
            for b in settings.test_objects:
                bar.set_description(f"trained on {a}, tested on {b} objects")
                found, seconds = measure_cell(a, b, trained, plan, bar)
                arrays |= {f"{cell_name(a, b)}-{key}": v for key, v in found._asdict().items()}
                record.measurements += measurements(a, b, found, seconds, trained, plan)
    for a in plan.missing:
        what = f"trained on {a} objects"
        record.measurements.append(
            Measurement(what, None, n=0, note=f"not measured: {missing_note(a)}")
        )
    record.wall_seconds = sum(m.seconds or 0.0 for m in record.measurements)
    return record, arrays


def cell_name(train_objects: int, test_objects: int) -> str:
    """Of a cell of the table, in arrays and file names."""
    return f"train_{train_objects}-test_{test_objects}"


def measure_cell(
    a: int, b: int, trained: TrainedNetwork, plan: Plan, bar: tqdm
) -> tuple[Scores, float]:
    """The scores (n,) of one cell and the seconds they took, in chunks that are kept."""
    ensure_test_images(b, plan.images)
    parts = []
    for begin in range(0, plan.images, CHUNK):
        count = min(CHUNK, plan.images - begin)
        key = {
            "checkpoint": trained.checkpoint.sha256,
            "dataset": dataset_with(b),
            "generator": GENERATOR_VERSION,
            "first": begin,
            "count": count,
            "seed": plan.seed,
        }
        path = plan.out / "parts" / f"{cell_name(a, b)}-from_{begin}.npz"
        parts.append(kept(path, key, lambda s=begin, n=count: score_images(b, s, n, trained, plan)))
        bar.update(count)
    scores = Scores(*(np.concatenate([part[key] for part in parts]) for key in Scores._fields))
    return scores, float(sum(part["seconds"] for part in parts))


def score_images(
    b: int, begin: int, count: int, trained: TrainedNetwork, plan: Plan
) -> dict[str, np.ndarray]:
    """Scores (n,) by name, of ``count`` test images with B objects from number ``begin`` on."""
    images, groups, indices = read_test_images(b, begin, count)
    found = bind_and_score(
        images.to(plan.device),
        groups,
        trained.network,
        trained.settings,
        plan.seed,
        indices,
        n_clusters=b + 1,
    )
    return found._asdict()


def measurements(
    a: int, b: int, found: Scores, seconds: float, trained: TrainedNetwork, plan: Plan
) -> list[Measurement]:
    """AMI and SynScore of a cell: mean, interval and spread over images."""
    rows = []
    for key, values in found._asdict().items():
        rows.append(
            mean_measurement(
                f"trained on {a}, tested on {b} objects: {SCORE_NAMES[key]}",
                values,
                seeds=[plan.seed],
                seconds=seconds if key == "ami" else None,
                command=f"scripts/gust/figure_generalisation.sh --profile {plan.profile}",
                checkpoint=trained.checkpoint.sha256[:12],
                note=f"{images_note(b, len(values), plan.images)}; iteration "
                f"{trained.settings.evaluation.settle}",
            )
        )
    return rows


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Heat maps of AMI and SynScore: a row for every network, a column for every test group."""
    settings = record.settings["figure"]
    rows, columns = settings["train_objects"], settings["test_objects"]
    with use_style():
        figure = Figure(figsize=(COLUMN, 1.72), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        colors = ScalarMappable(Normalize(0, 1), "viridis")
        for ax, letter, (key, name) in zip(axes, "ab", SCORE_NAMES.items(), strict=True):
            for y, a in enumerate(rows):
                for x, b in enumerate(columns):
                    _draw_cell(ax, x, y, arrays.get(f"{cell_name(a, b)}-{key}"), colors)
            ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect="equal")
            ax.set_xticks(range(len(columns)), columns)
            ax.set_yticks(range(len(rows)), rows)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
            ax.set(xlabel="objects in test images", title=name)
            panel_label(ax, letter)
        axes[0].set_ylabel("objects in training images")
        bar = figure.colorbar(colors, ax=axes, shrink=0.8, aspect=14, ticks=[0, 0.5, 1])
        bar.outline.set_visible(False)
    return figure


def _draw_cell(ax: Axes, x: int, y: int, values: np.ndarray | None, colors: ScalarMappable) -> None:
    """A coloured square with the mean and half the 95 % interval; grey without values."""
    place = (x - SIZE[0] / 2, y - SIZE[1] / 2)
    if values is None:
        ax.add_patch(Rectangle(place, *SIZE, facecolor="0.93", lw=0))
        ax.text(x, y, "not\nmeasured", ha="center", va="center", fontsize=5.5, color="0.3")
        return
    mean, _, interval = mean_interval(values)
    face = colors.to_rgba(max(mean, 0.0))
    ink = "black" if np.dot(face[:3], [0.2126, 0.7152, 0.0722]) > 0.45 else "white"
    ax.add_patch(Rectangle(place, *SIZE, facecolor=face, lw=0))
    ax.text(x, y - 0.1, f"{mean:.2f}", ha="center", va="center", color=ink, fontsize=8)
    if interval is not None:
        ax.text(x, y + 0.24, f"±{interval:.2f}", ha="center", va="center", color=ink, fontsize=5.5)


# ---- command line ---------------------------------------------------------------------------


def _parser(settings: GeneralisationSettings) -> argparse.ArgumentParser:
    parser = result_parser(
        "gust.evaluation",
        __doc__,
        "gust_generalisation",
        f"quick: {settings.images_quick} images of each test group; full: {settings.images_full}",
        "names of networks, or checkpoint files (default: "
        f"{', '.join(map(shipped_name, settings.train_objects))}, as far as they are there)",
    )
    parser.add_argument("--images", type=int, help="in place of the profile's number")
    parser.add_argument(
        "--seed", type=int, default=settings.seed, help="of the dynamics (default: %(default)s)"
    )
    return parser


def plan_from(args: argparse.Namespace, settings: GeneralisationSettings) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    images = settings.images_full if args.profile == "full" else settings.images_quick
    images = images if args.images is None else args.images
    most = min(count_test_images(b) for b in settings.test_objects)
    if not 2 <= images <= most:
        raise UserError(
            f"--images is {images}; an interval needs at least 2, and there are {most} images"
        )
    check_seed(args.seed)
    device = choose_device(args.device)
    missing = () if args.networks else missing_networks(settings.train_objects)
    names = args.networks or [shipped_name(a) for a in settings.train_objects if a not in missing]
    if not names:
        raise UserError(
            "there is no trained network yet; train one (python -m gust.train --train_objects "
            f"{settings.train_objects[0]}) or give checkpoint files with --networks"
        )
    networks: dict[int, TrainedNetwork] = {}
    for name in names:
        trained = load_network(name, device)
        a = trained.settings.train_objects
        if a in networks:
            raise UserError(
                f"--networks: {networks[a].checkpoint.path} and {trained.checkpoint.path} were "
                f"both trained on {a} objects; give one of them"
            )
        networks[a] = trained
    return Plan(args.profile, networks, missing, images, args.seed, device, args.out)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    file = FILE.with_name("figure_generalisation.yaml")
    settings = load_settings(GeneralisationSettings, file)
    plan = plan_from(_parser(settings).parse_args(argv), settings)
    record, arrays = compute(plan, settings)
    report_results(plan.out, record, arrays, draw(record, arrays))
    for a in plan.missing:
        print(f"the network trained on {a} objects is missing: {missing_note(a)}")


if __name__ == "__main__":
    sys.exit(main())
