"""Generalisation: networks trained on 2, 3 and 4 objects, tested on images of 2, 3 and 4.

    python -m gust.evaluation --profile quick

AMI and SynScore of the last iteration, averaged over test images. Images that are measured are kept
and not repeated; a killed run goes on, and the full profile starts with what the quick one
measured. A network that has not been trained yet is left out, and said to be missing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from tqdm import tqdm

from common.drawing import COLUMN, panel_label, use_style
from common.errors import UserError
from common.figure import Arrays, Figure, FigureOptions, FigureRecord
from common.records import Record, mean_interval
from common.settings import option
from common.training import progress
from datasets.catalogue import GENERATOR_VERSION
from gust.config import FILE
from gust.figures.iterations import SCORE_NAMES
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

SIZE = (0.96, 0.96)
"""Of a cell of the heat maps, whose centres are 1 apart."""


@dataclass(frozen=True, kw_only=True)
class Options(FigureOptions):
    """What stands in ``gust/settings/figure_generalisation.yaml``.

    Attributes:
        train_objects: A, objects of the images that a network was trained on.
        test_objects: B, objects of the test images.
    """

    train_objects: tuple[int, ...]
    test_objects: tuple[int, ...]
    images: int = option("images of each test group, the first ones", minimum=2)
    seed: int = option("random seed of the dynamics and the clustering", minimum=0)

    def __post_init__(self) -> None:
        most = min(count_test_images(b) for b in self.test_objects)
        if self.images > most:
            raise UserError(f"--images is {self.images}; there are {most} images")


def find_networks(options: Options) -> tuple[dict[int, TrainedNetwork], tuple[int, ...]]:
    """The networks that are named, or all that are there, by their A; and the A of missing ones.

    Raises :class:`UserError` where there is none, or two of one A.
    """
    missing = () if options.networks else missing_networks(options.train_objects)
    shipped = [shipped_name(a) for a in options.train_objects if a not in missing]
    networks: dict[int, TrainedNetwork] = {}
    for name in options.networks or shipped:
        trained = load_network(name, options.device)
        a = trained.settings.train_objects
        if a in networks:
            raise UserError(
                f"--networks: {networks[a].checkpoint.path} and {trained.checkpoint.path} were "
                f"both trained on {a} objects; give one of them"
            )
        networks[a] = trained
    if not networks:
        raise UserError(
            "there is no trained network yet; train one (python -m gust.train --train_objects "
            f"{options.train_objects[0]}) or give checkpoint files with --networks"
        )
    return networks, missing


# ---- measuring ------------------------------------------------------------------------------


def compute(options: Options, record: FigureRecord) -> Arrays:
    """Score the networks on the test images.

    Returns:
        ``"train_A-test_B-ami"`` and ``"train_A-test_B-synchrony"`` (n,) for every A that has a
        network and every B.
    """
    networks, missing = find_networks(options)
    record.seeds, record.data = [options.seed], "generated"
    record.settings["images"] = options.images
    record.checkpoints = {shipped_name(a): net.checkpoint.sha256 for a, net in networks.items()}
    arrays = {}
    total = len(networks) * len(options.test_objects) * options.images
    with progress(total=total, unit="image") as bar:
        for a, trained in networks.items():
            for b in options.test_objects:
                bar.set_description(f"trained on {a}, tested on {b} objects")
                found, seconds = measure_cell(a, b, trained, options, record, bar)
                arrays |= {f"{cell_name(a, b)}-{key}": v for key, v in found._asdict().items()}
                measure(record, a, b, found, seconds, trained, options)
    for a in missing:
        record.measure(f"trained on {a} objects", None, note=f"not measured: {missing_note(a)}")
    record.wall_seconds = sum(m.seconds or 0.0 for m in record.measurements)
    return arrays


def cell_name(train_objects: int, test_objects: int) -> str:
    """Of a cell of the table, in arrays and file names."""
    return f"train_{train_objects}-test_{test_objects}"


def measure_cell(
    a: int,
    b: int,
    trained: TrainedNetwork,
    options: Options,
    record: FigureRecord,
    bar: tqdm,
) -> tuple[Scores, float]:
    """The scores (n,) of one cell and the seconds they took, in chunks that are kept."""
    ensure_test_images(b, options.images)
    parts = []
    for begin in range(0, options.images, CHUNK):
        count = min(CHUNK, options.images - begin)
        key = {
            "checkpoint": trained.checkpoint.sha256,
            "dataset": dataset_with(b),
            "generator": GENERATOR_VERSION,
            "first": begin,
            "count": count,
            "seed": options.seed,
        }
        name = f"{cell_name(a, b)}-from_{begin}"
        parts.append(
            record.kept(name, key, lambda s=begin, n=count: score_images(b, s, n, trained, options))
        )
        bar.update(count)
    scores = Scores(*(np.concatenate([part[key] for part in parts]) for key in Scores._fields))
    return scores, float(sum(part["seconds"] for part in parts))


def score_images(
    b: int, begin: int, count: int, trained: TrainedNetwork, options: Options
) -> Arrays:
    """Scores (n,) by name, of ``count`` test images with B objects from number ``begin`` on."""
    images, groups, indices = read_test_images(b, begin, count)
    found = bind_and_score(
        images.to(options.device),
        groups,
        trained.network,
        trained.settings,
        options.seed,
        indices,
        n_clusters=b + 1,
    )
    return found._asdict()


def measure(
    record: FigureRecord,
    a: int,
    b: int,
    found: Scores,
    seconds: float,
    trained: TrainedNetwork,
    options: Options,
) -> None:
    """Record AMI and SynScore of a cell: mean, interval and spread over images."""
    for key, values in found._asdict().items():
        record.measure(
            f"trained on {a}, tested on {b} objects: {SCORE_NAMES[key]}",
            values,
            of=trained.checkpoint,
            seconds=seconds if key == "ami" else None,
            note=f"{images_note(b, len(values), options.images)}; iteration "
            f"{trained.settings.evaluation.settle}",
        )


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: Arrays) -> mpl.figure.Figure:
    """Heat maps of AMI and SynScore: a row for every network, a column for every test group."""
    settings = record.settings["figure"]
    rows, columns = settings["train_objects"], settings["test_objects"]
    with use_style():
        figure = mpl.figure.Figure(figsize=(COLUMN, 1.72), layout="constrained")
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


FIGURE = Figure(
    "gust_generalisation",
    "Generalisation",
    "GUST",
    Options,
    compute,
    draw,
    [FILE.with_name("figure_generalisation.yaml")],
    "scripts/gust/figure_generalisation.sh --profile {profile}",
    networks="names of networks, or checkpoint files (default: those of 2, 3 and 4 objects, as far "
    "as they are there)",
)
main = FIGURE.main


if __name__ == "__main__":
    sys.exit(main())
