"""Figure 3: synchrony and rate score over the iterations, and against the clustering score.

    python -m dasbe.figures.figure3 --profile quick

Every iteration of every image is grouped and scored by itself, for one network after the other.
Finished networks are kept and not repeated; a killed run goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from common.drawing import DOUBLE_COLUMN, panel_label, use_style
from common.errors import UserError, command_line
from common.memory import check_memory
from common.paper_values import published_fields
from common.paths import CHECKPOINTS
from common.records import Measurement, Record, mean_measurement, new_record
from common.results import load_arrays, report_results, result_parser, save_arrays
from common.runs import network_file
from common.settings import load_settings, to_dict
from common.training import choose_device, progress
from dasbe.binding import CHUNK, DEVICE, TrainedNetwork, load_network
from dasbe.config import FOLDER
from dasbe.dynamics import simulate
from dasbe.figures.iterations import (
    RATE_COLOR,
    SCORES,
    SYNCHRONY_COLOR,
    correlation,
    draw_regression,
    draw_scores,
    iteration_scores,
    legend_above,
)
from datasets.binding import read_group, source_of
from datasets.catalogue import GENERATOR_VERSION
from datasets.generate import ensure

NAME = "Figure 3"
RESULT = "dasbe_figure3"


@dataclass(frozen=True)
class Figure3Settings:
    """What stands in ``dasbe/settings/figure3.yaml``.

    Attributes:
        networks: names of the shipped networks, and the data set of each.
        optional: networks that are left out while they are not there.
        images_full, images_quick: images of each data set in the two profiles.
        index_seed, index_limit: the images are ``randint(0, index_limit)`` of this seed.
        seed: of the dynamics. iterations: N.
        synchrony_timescale: 1/q of the synchrony score, steps.
    """

    networks: dict[str, str]
    optional: tuple[str, ...]
    images_full: int
    images_quick: int
    index_seed: int
    index_limit: int
    seed: int
    iterations: int
    synchrony_timescale: float


@dataclass(frozen=True)
class Plan:
    """One run: which networks, how many images, which seed, where."""

    profile: str
    networks: tuple[str, ...]
    missing: tuple[str, ...]
    images: int
    seed: int
    data: str
    device: torch.device
    out: Path


@dataclass(frozen=True)
class Curve:
    """The scores of one network: (n images, N iterations) each, and the seconds they took."""

    synchrony: np.ndarray
    rate: np.ndarray
    clustering: np.ndarray
    seconds: float


def image_indices(settings: Figure3Settings, images: int) -> np.ndarray:
    """The first ``images`` of the figure's images, (images,) int64; the same for all networks."""
    rng = np.random.RandomState(settings.index_seed)
    return rng.randint(0, settings.index_limit, size=images)


def compute(plan: Plan, settings: Figure3Settings) -> tuple[Record, dict[str, np.ndarray]]:
    """Score every iteration of every image with the networks of the plan.

    Returns:
        the record, and ``"network-score"`` (n images, N iterations) for each network and each of
        synchrony, rate and clustering; ``"images"`` (n,), the images' indices.
    """
    record = new_record(
        NAME,
        "DASBE",
        plan.profile,
        device=plan.device,
        seeds=[plan.seed],
        settings={"figure": to_dict(settings), "images": plan.images},
        data="generated",
    )
    indices = image_indices(settings, plan.images)
    arrays = {"images": indices}
    with progress(total=len(plan.networks) * settings.iterations, unit="iteration") as bar:
        for name in plan.networks:
            bar.set_description(name)
            dataset = settings.networks[name]
            trained = load_network(name, plan.device)
            ensure(
                dataset, {"train_multi": int(indices.max()) + 1}, ["train_multi"], data=plan.data
            )
            curve = kept_curve(name, trained, indices, plan, settings, bar)
            arrays |= {f"{name}-{score}": getattr(curve, score) for score in SCORES}
            record.checkpoints[name] = trained.checkpoint.sha256
            record.measurements += measurements(name, trained, curve, plan, settings)
    for name in plan.missing:
        note = f"not measured: there is no {CHECKPOINTS.name}/dasbe/{name}.safetensors"
        what = f"{name}, synchrony score"
        record.measurements.append(
            Measurement(what, None, n=0, note=note, **published_fields(RESULT, what))
        )
    record.wall_seconds = sum(m.seconds or 0.0 for m in record.measurements)
    return record, arrays


def kept_curve(
    name: str,
    trained: TrainedNetwork,
    indices: np.ndarray,
    plan: Plan,
    settings: Figure3Settings,
    bar: tqdm,
) -> Curve:
    """The scores of a network: those kept from an earlier run of the same, or measured and kept."""
    dataset, dynamics = settings.networks[name], trained.settings.dynamics
    key = {
        "checkpoint": trained.checkpoint.sha256,
        "window": dynamics.window,
        "refractory": dynamics.refractory,
        "iterations": settings.iterations,
        "synchrony_timescale": settings.synchrony_timescale,
        "seed": plan.seed,
        "images": indices.tolist(),
        "digits": source_of(dataset),
        "generator": GENERATOR_VERSION,
    }
    path = plan.out / "parts" / f"{name}.npz"
    curve = load_curve(path, key)
    if curve is not None:
        bar.update(settings.iterations)
        return curve
    began = time.perf_counter()
    synchrony, rate, clustering = measure(
        trained, dataset, indices, plan.seed, plan.device, settings, bar
    )
    curve = Curve(synchrony, rate, clustering, time.perf_counter() - began)
    save_arrays(path, {**vars(curve), "key": json.dumps(key)})
    return curve


def load_curve(path: Path, key: dict[str, Any]) -> Curve | None:
    """The scores kept at ``path``; None without any, or where they are damaged or of another
    key."""
    try:
        stored = load_arrays(path)
        if json.loads(str(stored.pop("key"))) != key:
            return None
        return Curve(**{**stored, "seconds": float(stored["seconds"])})
    except (UserError, KeyError, TypeError, ValueError, RecursionError):
        return None


def measure(
    trained: TrainedNetwork,
    dataset: str,
    indices: np.ndarray,
    seed: int,
    device: torch.device,
    settings: Figure3Settings,
    bar: tqdm,
) -> np.ndarray:
    """Synchrony, rate and clustering score (3, n, N) of the images with these indices."""
    d, n_iterations = trained.settings.dynamics, settings.iterations
    images, groups = read_group(dataset, "train_multi", indices=indices)
    result = np.empty((3, len(indices), n_iterations))
    for begin in range(0, len(indices), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        chosen = indices[chunk]
        spikes, pixels = simulate(
            images[chunk].to(device),
            trained.network,
            d.window,
            d.refractory,
            n_iterations,
            seed,
            chosen,
            keep_iterations=n_iterations,
        )
        q = 1 / settings.synchrony_timescale
        scored = iteration_scores(spikes, pixels, groups[chunk], seed, chosen, q)
        for n, scores in enumerate(scored):
            result[:, chunk, n] = scores
            bar.update(len(chosen) / len(indices))
    return result


def measurements(
    name: str, trained: TrainedNetwork, curve: Curve, plan: Plan, settings: Figure3Settings
) -> list[Measurement]:
    """The three scores of the last iteration: mean, interval and spread over images."""
    dataset, digits = settings.networks[name], source_of(settings.networks[name])
    found = []
    for score in SCORES:
        values = getattr(curve, score)
        note = f"iteration {settings.iterations}, mean over images of {dataset}"
        if score != "clustering":
            r = correlation(curve.clustering, values)
            text = "undefined" if r is None else f"{r:.2f}"
            note += f"; correlation with the clustering score over all iterations: {text}"
        what, synchrony = f"{name}, {score} score", score == "synchrony"
        if synchrony and dataset == "mnist_shape":
            note += "; the paper's network of this data set is convolutional"
        found.append(
            mean_measurement(
                what,
                values[:, -1],
                **published_fields(RESULT, what),
                seeds=[plan.seed],
                data="generated" if digits == "none" else digits,
                seconds=curve.seconds if synchrony else None,
                command=f"scripts/dasbe/figure3.sh --profile {plan.profile}",
                checkpoint=trained.checkpoint.sha256[:12],
                note=note,
            )
        )
    return found


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Scores over iterations (a) and against the clustering score (b), a column per network."""
    names = [key.removesuffix("-rate") for key in arrays if key.endswith("-rate")]
    paper = {m.what: m.paper for m in record.measurements}
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 3.4), layout="constrained")
        axes = figure.subplots(2, len(names), sharex="row", sharey="row", squeeze=False)
        for (above, below), name in zip(axes.T, names, strict=True):
            synchrony, rate, clustering = (arrays[f"{name}-{score}"] for score in SCORES)
            draw_scores(above, synchrony, rate)
            published = paper[f"{name}, synchrony score"]
            if published is not None:
                above.plot(synchrony.shape[1], published, "k<", clip_on=False, label="paper")
            above.set_title(name.replace("_", " ").replace(" conv", " (conv.)"))
            draw_regression(below, clustering, synchrony, SYNCHRONY_COLOR)
            draw_regression(below, clustering, rate, RATE_COLOR)
            below.set_xlabel("clustering score")
            legend_above(below, columns=1)
        for ax, letter in zip(axes[:, 0], "ab", strict=True):
            ax.set_ylabel("score")
            panel_label(ax, letter)
        handles = axes[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper right", ncols=3)
    return figure


def _parser(settings: Figure3Settings) -> argparse.ArgumentParser:
    parser = result_parser(
        "dasbe.figures.figure3",
        __doc__,
        RESULT,
        f"quick: {settings.images_quick} images of each data set; "
        f"full: {settings.images_full}, as in the paper",
    )
    parser.add_argument(
        "--datasets", nargs="+", metavar="NAME", help=f"of {', '.join(settings.networks)}"
    )
    parser.add_argument("--images", type=int, help="in place of the profile's number")
    parser.add_argument("--seed", type=int, help=f"of the dynamics (default: {settings.seed})")
    return parser


def plan_from(args: argparse.Namespace, settings: Figure3Settings) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    images = settings.images_full if args.profile == "full" else settings.images_quick
    images = images if args.images is None else args.images
    if images < 2:
        raise UserError(f"--images is {images}; an interval needs at least 2")
    check_memory({"--images": 5.0 * 28 * 28 * images})
    unknown = [name for name in args.datasets or [] if name not in settings.networks]
    if unknown:
        known = ", ".join(settings.networks)
        raise UserError(f"--datasets {unknown[0]}: there is no such curve; there are {known}")
    wanted = args.datasets or list(settings.networks)
    missing = [
        name
        for name in settings.optional
        if not args.datasets and not network_file("dasbe", name, CHECKPOINTS).exists()
    ]
    return Plan(
        args.profile,
        tuple(name for name in wanted if name not in missing),
        tuple(missing),
        images,
        settings.seed if args.seed is None else args.seed,
        args.data,
        choose_device(args.device, DEVICE),
        args.out,
    )


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = load_settings(Figure3Settings, FOLDER / "figure3.yaml")
    plan = plan_from(_parser(settings).parse_args(argv), settings)
    record, arrays = compute(plan, settings)
    report_results(plan.out, record, arrays, draw(record, arrays))


if __name__ == "__main__":
    sys.exit(main())
