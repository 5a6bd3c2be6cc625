"""AMI and SynScore against iteration: runs of the published image and of one of ours, and the mean
of test images.

    python -m gust.figures.scores --profile quick

Every iteration is clustered and scored by itself. The published values are of one image, which the
published scripts name: image 10 of ``train_multi`` of ``shapes_multiobj_3_3``. The other image is
that of the other figures. Finished parts are kept and not repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from common.drawing import CYCLE, DOUBLE_COLUMN, line_with_band, panel_label, use_style
from common.errors import UserError
from common.figure import Arrays, Figure, FigureRecord
from common.paper_values import Curve, published_curve
from common.records import Record
from common.settings import option
from common.training import progress
from datasets.catalogue import GENERATOR_VERSION
from gust.config import FILE
from gust.figures.iterations import SCORE_NAMES, bound_iterations
from gust.figures.one_image import IMAGE_FILE, ImageOptions
from gust.figures.sources import (
    TEST_GROUP,
    count_test_images,
    dataset_with,
    ensure_test_images,
    images_note,
    read_test_images,
)
from gust.scoring import CHUNK, Scores
from gust.trained import TrainedNetwork

RESULT = "gust_scores"
SETS = {"published": "published image", "runs": "one image", "images": "test images"}
"""What is measured, and what a record calls it."""

COLORS = dict(zip(SETS, CYCLE, strict=False))
PUBLISHED_GROUP = "train_multi"


@dataclass(frozen=True, kw_only=True)
class Options(ImageOptions):
    """Those of the image, and what stands in ``gust/settings/figure_scores.yaml``.

    Attributes:
        paper_objects, paper_image: objects of the published image, and its number in the training
            images; it is measured where images with as many objects are.
    """

    runs: int = option("runs of each single image, with the seeds from --seed on", minimum=2)
    images: int = option("test images, the first ones", minimum=2)
    paper_objects: int
    paper_image: int

    def __post_init__(self) -> None:
        super().__post_init__()
        most = count_test_images(self.objects)
        if self.images > most:
            raise UserError(f"--images is {self.images}; there are {most} images")


# ---- measuring ------------------------------------------------------------------------------


def compute(options: Options, record: FigureRecord) -> Arrays:
    """Score every iteration of the runs and of the test images.

    Returns:
        ``"published-ami"``, ``"published-synchrony"`` (runs, N) of the published image,
        ``"runs-..."`` of ours, and ``"images-..."`` (n, N) of the first n test images.
    """
    trained, n_iterations = options.load()
    seeds = list(range(options.seed, options.seed + options.runs))
    ensure_test_images(options.objects, max(options.image + 1, options.images))
    sets: dict[str, list[tuple[int, int, int]]] = {}
    if options.objects == options.paper_objects:
        ensure_test_images(options.objects, options.paper_image + 1, PUBLISHED_GROUP)
        sets["published"] = [(options.paper_image, 1, seed) for seed in seeds]
    sets["runs"] = [(options.image, 1, seed) for seed in seeds]
    sets["images"] = [
        (begin, min(CHUNK, options.images - begin), options.seed)
        for begin in range(0, options.images, CHUNK)
    ]
    record.seeds, record.data = seeds, "generated"
    record.checkpoints = {trained.checkpoint.name: trained.checkpoint.sha256}
    names = ("objects", "image", "images")
    record.settings |= {name: getattr(options, name) for name in names}
    arrays = {}
    total = sum(len(parts) for parts in sets.values()) * n_iterations
    with progress(total=total, unit="iteration") as bar:
        for name, parts in sets.items():
            key = {
                "checkpoint": trained.checkpoint.sha256,
                "dataset": dataset_with(options.objects),
                "generator": GENERATOR_VERSION,
                "iterations": n_iterations,
                "parts": parts,
            }

            def score_set(name: str = name, parts: Sequence = parts) -> Arrays:
                more = {"group": PUBLISHED_GROUP} if name == "published" else {}
                found = [
                    score_iterations(*part, options, trained, lambda: bar.update(1), **more)
                    for part in parts
                ]
                return {key: np.concatenate([f[key] for f in found]) for key in Scores._fields}

            found = record.kept(name, key, score_set)
            seconds = float(found.pop("seconds"))
            arrays |= {f"{name}-{key}": values for key, values in found.items()}
            measure(record, name, found, seconds, options, trained)
    record.wall_seconds = sum(m.seconds or 0.0 for m in record.measurements)
    return arrays


def score_iterations(
    begin: int,
    count: int,
    seed: int,
    options: Options,
    trained: TrainedNetwork,
    step: Callable[[], object],
    group: str = TEST_GROUP,
) -> Arrays:
    """``ami`` and ``synchrony`` (n, N) of ``count`` images in every iteration.

    ``step`` is called after each iteration.
    """
    images, groups, indices = read_test_images(options.objects, begin, count, group)
    images, n_clusters = images.to(options.device), options.objects + 1
    found = []
    for iteration in bound_iterations(
        images, groups, trained, seed, indices, n_clusters, options.iterations
    ):
        found.append(iteration.scores)
        step()
    return {key: np.stack([getattr(s, key) for s in found], axis=1) for key in Scores._fields}


def measure(
    record: FigureRecord,
    name: str,
    found: Arrays,
    seconds: float,
    options: Options,
    trained: TrainedNetwork,
) -> None:
    """Record AMI and SynScore of the last iteration: mean, interval, spread over runs or images."""
    for key, title in SCORE_NAMES.items():
        values, n_iterations = found[key][:, -1], found[key].shape[1]
        note = images_note(options.objects, len(values), options.images)
        if name == "runs":
            note = f"mean over {len(values)} runs of test image {options.image}"
        if name == "published":
            image = f"image {options.paper_image} of {PUBLISHED_GROUP}"
            note = f"mean over {len(values)} runs of {image} of {dataset_with(options.objects)}"
            curve = published_curve(RESULT, title)
            if n_iterations == curve.x[-1]:
                note += (
                    f"; the paper's value is the last one of its curve ({curve.source}), "
                    f"standard deviation {curve.spread:g}"
                )
        record.measure(
            f"{SETS[name]}, {title} at iteration {n_iterations}",
            values,
            of=trained.checkpoint,
            seeds=[options.seed] if name == "images" else list(record.seeds),
            seconds=seconds if key == "ami" else None,
            note=note,
        )


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: Arrays) -> mpl.figure.Figure:
    """AMI (a) and SynScore (b): mean and one standard deviation around it, published points."""
    settings = record.settings
    with use_style():
        figure = mpl.figure.Figure(figsize=(DOUBLE_COLUMN, 2.5), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True, sharey=True)
        for ax, letter, (key, title) in zip(axes, "ab", SCORE_NAMES.items(), strict=True):
            for name, kind in SETS.items():
                if f"{name}-{key}" in arrays:
                    values = arrays[f"{name}-{key}"]
                    what = f"{len(values)} test images" if name == "images" else kind
                    what += "" if name == "images" else f", {len(values)} runs"
                    _draw_curve(ax, values, f"{what}: mean ± std", COLORS[name])
            if settings["objects"] == settings["figure"]["paper_objects"]:
                _draw_published(ax, published_curve(RESULT, title))
            ax.axhline(0, color="0.7", lw=0.5, zorder=0)
            ax.set(xlabel="iteration (10 steps each)", ylabel=title)
            ax.set(xlim=(0.5, values.shape[1] + 0.5), ylim=(-0.12, 1.02))
            ax.tick_params(labelleft=True)
            panel_label(ax, letter)
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=2)
    return figure


def _draw_curve(ax: Axes, values: np.ndarray, label: str, color: str) -> None:
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    iterations = np.arange(1, len(mean) + 1)
    line_with_band(ax, iterations, mean, mean - spread, mean + spread, label, color)


def _draw_published(ax: Axes, curve: Curve) -> None:
    """The published points as markers, the last one with its standard deviation."""
    spread = np.full(len(curve.x), np.nan)
    spread[-1] = curve.spread
    ax.errorbar(
        curve.x,
        curve.y,
        spread,
        fmt="o",
        color="black",
        markersize=3.5,
        markerfacecolor="white",
        markeredgewidth=0.9,
        elinewidth=0.9,
        capsize=2,
        zorder=4,
        label=f"paper: {curve.source}",
    )


FIGURE = Figure(
    RESULT,
    "AMI and SynScore against iteration",
    "GUST",
    Options,
    compute,
    draw,
    [IMAGE_FILE, FILE.with_name("figure_scores.yaml")],
    "scripts/gust/figure_scores.sh --profile {profile}",
)
main = FIGURE.main


if __name__ == "__main__":
    sys.exit(main())
