"""AMI and SynScore against iteration: runs of the published image and of one of ours, and the mean
of test images.

    python -m gust.figures.scores --profile quick

Every iteration is clustered and scored by itself. The published values are of one image, which the
published scripts name: image 10 of ``train_multi`` of ``shapes_multiobj_3_3``. The other image is
that of the other figures. Finished parts are kept and not repeated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.drawing import CYCLE, DOUBLE_COLUMN, line_with_band, panel_label, use_style
from common.errors import UserError, command_line
from common.paper_values import Curve, published_curve, published_fields
from common.records import Measurement, Record, mean_measurement, new_record
from common.results import report_results, result_parser
from common.settings import load_settings, to_dict
from common.training import progress
from datasets.catalogue import GENERATOR_VERSION
from gust.config import FILE
from gust.figures.iterations import SCORE_NAMES, bound_iterations
from gust.figures.one_image import (
    ImagePlan,
    add_image_flags,
    image_plan,
    image_settings,
)
from gust.figures.parts import kept
from gust.figures.sources import (
    TEST_GROUP,
    count_test_images,
    dataset_with,
    ensure_test_images,
    images_note,
    read_test_images,
)
from gust.scoring import CHUNK, Scores

NAME = "AMI and SynScore against iteration"
RESULT = "gust_scores"
SETS = {"published": "published image", "runs": "one image", "images": "test images"}
"""What is measured, and what a record calls it."""

COLORS = dict(zip(SETS, CYCLE, strict=False))
PUBLISHED_GROUP = "train_multi"


@dataclass(frozen=True)
class ScoresSettings:
    """What stands in ``gust/settings/figure_scores.yaml``.

    Attributes:
        runs: of the published image and of ours, with the seeds from its own on.
        images_full, images_quick: test images in the two profiles, the first ones.
        paper_objects, paper_image: objects of the published image, and its number in the training
            images; it is measured where images with as many objects are.
    """

    runs: int
    images_full: int
    images_quick: int
    paper_objects: int
    paper_image: int


@dataclass(frozen=True)
class Plan:
    """One run: the image and its runs' seeds, and the number of test images."""

    one: ImagePlan
    seeds: tuple[int, ...]
    images: int


# ---- measuring ------------------------------------------------------------------------------


def compute(plan: Plan, settings: ScoresSettings) -> tuple[Record, dict[str, np.ndarray]]:
    """Score every iteration of the runs and of the test images.

    Returns:
        the record, and ``"published-ami"``, ``"published-synchrony"`` (runs, N) of the published
        image, ``"runs-..."`` of ours, and ``"images-..."`` (n, N) of the first n test images.
    """
    one = plan.one
    ensure_test_images(one.objects, max(one.image + 1, plan.images))
    sets: dict[str, list[tuple[int, int, int]]] = {}
    if one.objects == settings.paper_objects:
        ensure_test_images(one.objects, settings.paper_image + 1, PUBLISHED_GROUP)
        sets["published"] = [(settings.paper_image, 1, seed) for seed in plan.seeds]
    sets["runs"] = [(one.image, 1, seed) for seed in plan.seeds]
    sets["images"] = [
        (begin, min(CHUNK, plan.images - begin), one.seed) for begin in range(0, plan.images, CHUNK)
    ]
    record = new_record(
        NAME,
        "GUST",
        one.profile,
        device=one.device,
        seeds=list(plan.seeds),
        settings={
            "figure": to_dict(settings),
            "objects": one.objects,
            "image": one.image,
            "images": plan.images,
        },
        data="generated",
        checkpoints={one.trained.checkpoint.name: one.trained.checkpoint.sha256},
    )
    arrays = {}
    total = sum(len(parts) for parts in sets.values()) * one.iterations
    with progress(total=total, unit="iteration") as bar:
        for name, parts in sets.items():
            found = measure_set(name, parts, one, lambda: bar.update(1))
            seconds = float(found.pop("seconds"))
            arrays |= {f"{name}-{key}": values for key, values in found.items()}
            record.measurements += measurements(name, found, seconds, plan, settings)
    record.wall_seconds = sum(m.seconds or 0.0 for m in record.measurements)
    return record, arrays


def measure_set(
    name: str, parts: Sequence[tuple[int, int, int]], one: ImagePlan, step: Callable[[], object]
) -> dict[str, np.ndarray]:
    """``ami`` and ``synchrony`` (n, N) of parts: (first image, number of images, seed) each, and
    the ``seconds`` () they took; kept from an earlier run where they can be."""
    key = {
        "checkpoint": one.trained.checkpoint.sha256,
        "dataset": dataset_with(one.objects),
        "generator": GENERATOR_VERSION,
        "iterations": one.iterations,
        "parts": parts,
    }

    def measure() -> dict[str, np.ndarray]:
        more = {"group": PUBLISHED_GROUP} if name == "published" else {}
        found = [score_iterations(*part, one, step, **more) for part in parts]
        return {key: np.concatenate([f[key] for f in found]) for key in Scores._fields}

    return kept(one.out / "parts" / f"{name}.npz", key, measure)


def score_iterations(
    begin: int,
    count: int,
    seed: int,
    one: ImagePlan,
    step: Callable[[], object],
    group: str = TEST_GROUP,
) -> dict[str, np.ndarray]:
    """``ami`` and ``synchrony`` (n, N) of ``count`` images in every iteration.

    ``step`` is called after each iteration.
    """
    images, groups, indices = read_test_images(one.objects, begin, count, group)
    found = []
    for iteration in bound_iterations(
        images.to(one.device), groups, one.trained, seed, indices, one.objects + 1, one.iterations
    ):
        found.append(iteration.scores)
        step()
    return {key: np.stack([getattr(s, key) for s in found], axis=1) for key in Scores._fields}


def measurements(
    name: str,
    found: dict[str, np.ndarray],
    seconds: float,
    plan: Plan,
    settings: ScoresSettings,
) -> list[Measurement]:
    """AMI and SynScore of the last iteration: mean, interval and spread over runs or images."""
    one, rows = plan.one, []
    kind = SETS[name]
    for key, title in SCORE_NAMES.items():
        values = found[key][:, -1]
        note = images_note(one.objects, len(values), plan.images)
        if name == "runs":
            note = f"mean over {len(values)} runs of test image {one.image}"
        if name == "published":
            image = f"image {settings.paper_image} of {PUBLISHED_GROUP}"
            note = f"mean over {len(values)} runs of {image} of {dataset_with(one.objects)}"
        paper, curve = {}, published_curve(RESULT, title)
        what = f"{kind}, {title} at iteration {one.iterations}"
        if name == "published" and one.iterations == curve.x[-1]:
            paper = published_fields(RESULT, what)
            note += (
                f"; the paper's value is the last one of its curve ({curve.source}), "
                f"standard deviation {curve.spread:g}"
            )
        rows.append(
            mean_measurement(
                what,
                values,
                **paper,
                seeds=[one.seed] if name == "images" else list(plan.seeds),
                seconds=seconds if key == "ami" else None,
                command=f"scripts/gust/figure_scores.sh --profile {one.profile}",
                checkpoint=one.trained.checkpoint.sha256[:12],
                note=note,
            )
        )
    return rows


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """AMI (a) and SynScore (b): mean and one standard deviation around it, published points."""
    settings = record.settings
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.5), layout="constrained")
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


# ---- command line ---------------------------------------------------------------------------


def _parser(settings: ScoresSettings) -> argparse.ArgumentParser:
    parser = result_parser(
        "gust.figures.scores",
        __doc__,
        RESULT,
        f"quick: {settings.images_quick} test images; full: {settings.images_full}",
    )
    add_image_flags(parser, image_settings())
    parser.add_argument(
        "--runs",
        type=int,
        default=settings.runs,
        help="of each single image (default: %(default)s)",
    )
    parser.add_argument("--images", type=int, help="in place of the profile's number")
    return parser


def plan_from(args: argparse.Namespace, settings: ScoresSettings) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    images = settings.images_full if args.profile == "full" else settings.images_quick
    images = images if args.images is None else args.images
    for flag, number in (("--images", images), ("--runs", args.runs)):
        if number < 2:
            raise UserError(f"{flag} is {number}; a spread needs at least 2")
    most = count_test_images(args.objects)
    if images > most:
        raise UserError(f"--images is {images}; there are {most} images")
    seeds = tuple(range(args.seed, args.seed + args.runs))
    return Plan(image_plan(args), seeds, images)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = load_settings(ScoresSettings, FILE.with_name("figure_scores.yaml"))
    plan = plan_from(_parser(settings).parse_args(argv), settings)
    record, arrays = compute(plan, settings)
    report_results(plan.one.out, record, arrays, draw(record, arrays))


if __name__ == "__main__":
    sys.exit(main())
