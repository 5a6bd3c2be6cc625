"""Figure 4: code neurons that stand for kinds and places of objects.

    python -m dasbe.figures.figure4 --profile quick

The network was trained to give alike codes to shapes of one kind and unlike ones to others.
Measured are the tuning of its code neurons, and what their spikes do in the loop: which clusters
they form, and what the decoder draws when the neurons of one cluster fire alone.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from common.clustering import adjusted_mutual_info_batch
from common.drawing import (
    DOUBLE_COLUMN,
    draw_groups,
    draw_image,
    group_colors,
    panel_label,
    raster,
    use_style,
)
from common.errors import UserError, command_line
from common.records import Measurement, Record, mean_measurement, new_record
from common.results import report_results, result_parser
from common.settings import load_settings, to_dict
from common.training import check_seeds, choose_device, progress
from dasbe.binding import DEVICE, load_network
from dasbe.config import FOLDER, DynamicsSettings
from dasbe.dynamics import Pixels, iterate, restricted, scatter_pixels, start
from dasbe.grouping import group_pixels
from dasbe.networks import Network
from datasets.binding import read_group, read_positions
from datasets.generate import ensure

NAME = "Figure 4"
KINDS = ("square", "triangle", "down triangle")
PLACES = {"x": ("left", "centre", "right"), "y": ("top", "middle", "bottom")}
N_PLACES = 3
READ_BLOCK = 1000


@dataclass(frozen=True)
class Figure4Settings:
    """What stands in ``dasbe/settings/figure4.yaml``.

    Attributes:
        network: name of the shipped network. dataset, image: the image of the loop, train_multi.
        iterations: N. seeds: of the dynamics.
        read_iterations: iterations at the end whose spikes are clustered.
        raster_iterations: iterations at the end that are drawn.
        position_dataset: of the tuning, with tuning_images_full or _quick of each kind.
        tuning_ratio: how many times more active a tuned neuron is for its kind or place.
        least_activity: below it (expected spikes in a step) a code neuron counts as silent.
        code_height, code_width: of the drawing of the code.
    """

    network: str
    dataset: str
    image: int
    iterations: int
    seeds: tuple[int, ...]
    read_iterations: int
    raster_iterations: int
    position_dataset: str
    tuning_images_full: int
    tuning_images_quick: int
    tuning_ratio: float
    least_activity: float
    code_height: int
    code_width: int


@dataclass(frozen=True)
class Plan:
    """One run: how many images, which one in the loop, which seeds, where."""

    profile: str
    tuning_images: int
    image: int
    seeds: tuple[int, ...]
    data: str
    device: torch.device
    out: Path


# ---- tuning ---------------------------------------------------------------------------------


@torch.inference_mode()
def mean_codes(plan: Plan, settings: Figure4Settings, network: Network) -> dict[str, np.ndarray]:
    """Expected activity of every code neuron for single shapes, by kind and by place.

    Returns:
        ``kind`` (3, C), ``x`` and ``y`` (3, C): the mean over images of each kind, and over those
        whose shape is in each third of its range along x or y (each kind counting alike);
        expected spikes of a step.
    """
    found = {"kind": [], "x": [], "y": []}
    for kind in range(len(KINDS)):
        group = f"train_single_{kind}"
        blocks = torch.arange(plan.tuning_images).split(READ_BLOCK)
        codes = torch.cat(
            [
                network.encode(
                    read_group(settings.position_dataset, group, indices=rows)
                    .images.flatten(1)
                    .to(plan.device)
                ).cpu()
                for rows in blocks
            ]
        )
        places = read_positions(group, start=0, count=plan.tuning_images)
        thirds = N_PLACES * places // (places.amax(dim=0) + 1)  # (n, 2) of y and x, 0..2
        found["kind"].append(codes.mean(dim=0))
        for axis, third in zip("yx", thirds.unbind(1), strict=True):
            means = [codes[third == place].mean(dim=0) for place in range(N_PLACES)]
            found[axis].append(torch.stack(means))
    return {
        "kind": torch.stack(found["kind"]).numpy(),
        "x": torch.stack(found["x"]).mean(dim=0).numpy(),
        "y": torch.stack(found["y"]).mean(dim=0).numpy(),
    }


def tuned(means: np.ndarray, ratio: float, least: float) -> np.ndarray:
    """Which code neurons are tuned to which condition.

    Args:
        means: (K, C) mean activity of C neurons under K conditions.
        ratio: a tuned neuron is so many times more active than under every other condition.
        least: and at least so active.

    Returns:
        (K, C) bool.
    """
    result = np.empty(means.shape, bool)
    for k, own in enumerate(means):
        others = np.delete(means, k, axis=0).max(axis=0)
        result[k] = (own >= ratio * others) & (own >= least)
    return result


# ---- the loop -------------------------------------------------------------------------------


@torch.inference_mode()
def simulate_with_code(
    image: Tensor,
    network: Network,
    dynamics: DynamicsSettings,
    iterations: int,
    seed: int,
    index: int,
    keep_iterations: int,
) -> tuple[Tensor, Pixels, Tensor]:
    """Spikes of pixels and code of one image (1, H, W) in the last iterations.

    Returns:
        spikes (1, S, P) uint8 of the on-pixels, those pixels, and the spikes (1, S, C) uint8 of the
        code, S being the steps of ``keep_iterations``.
    """
    indices = np.array([index])
    pixels, restricted_network = restricted(image, network)
    state = start(pixels, dynamics.window, seed, indices)
    steps = iterate(state, pixels, restricted_network, dynamics.refractory, seed, indices)
    last = itertools.islice(steps, iterations - keep_iterations, iterations)
    shown = [(one.spikes, one.code.to(torch.uint8)) for one, _ in last]
    spikes, code = (torch.cat(parts, dim=1) for parts in zip(*shown, strict=True))
    return spikes, pixels, code


def cluster_code(code: Tensor, n_clusters: int, seed: int, index: int) -> np.ndarray:
    """k-means of code neurons on their spikes (1, S, C), as pixels are grouped.

    Returns:
        (C,) int64; 0 is the cluster in which a silent neuron is.
    """
    n_neurons = code.shape[2]
    everywhere = torch.arange(n_neurons)[None]
    neurons = Pixels(everywhere, torch.ones(1, n_neurons), n_neurons)
    return group_pixels(code, neurons, n_clusters, seed, np.array([index]))[0]


@torch.inference_mode()
def drawings(network: Network, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
    """What the decoder draws (n_clusters - 1, H*W) in (0, 1) when all neurons of cluster 1, 2, ...
    fire and no others."""
    device = next(network.parameters()).device
    on = torch.from_numpy(clusters[None] == np.arange(1, n_clusters)[:, None]).float()
    return network.decode(on.to(device)).cpu().numpy()


def overlap(drawing: np.ndarray, true: np.ndarray, number: int, image: np.ndarray) -> float:
    """Intersection over union of the pixels drawn (> 0.5) and those of object ``number``.

    Pixels of the image at which objects overlap (on, but of group 0) do not count.
    """
    counted = ~((image > 0) & (true == 0))
    drawn, object_pixels = (drawing > 0.5) & counted, true == number
    union = (drawn | object_pixels).sum()
    return float((drawn & object_pixels).sum() / union) if union else 0.0


def measure_seed(
    image: Tensor,
    true: Tensor,
    network: Network,
    dynamics: DynamicsSettings,
    seed: int,
    plan: Plan,
    settings: Figure4Settings,
) -> dict[str, np.ndarray]:
    """Run the loop on one image (1, H, W) with true groups (1, H, W) and read pixels and code.

    Returns:
        ``ami`` of the pixels' groups; ``spikes`` (S, H*W) and ``code`` (S, C) of the last
        iterations; ``clusters`` (C,) of code neurons, numbered by the object that each one's
        ``drawings`` (objects, H*W) overlap most; ``overlaps`` (objects,).
    """
    spikes, pixels, code = simulate_with_code(
        image, network, dynamics, settings.iterations, seed, plan.image, settings.read_iterations
    )
    truth, n_groups = true[0].flatten().numpy(), int(true.max()) + 1
    found = group_pixels(spikes, pixels, n_groups, seed, np.array([plan.image]))
    clusters = cluster_code(code, n_groups, seed, plan.image)
    drawn = drawings(network, clusters, n_groups)
    flat = image[0].flatten().cpu().numpy()
    table = np.array(
        [[overlap(one, truth, number, flat) for number in range(1, n_groups)] for one in drawn]
    )
    of_cluster, objects = linear_sum_assignment(table, maximize=True)
    order = of_cluster[np.argsort(objects)]  # the cluster of object 1, 2, ...
    renumber = np.zeros(n_groups, np.int64)
    renumber[order + 1] = np.arange(1, n_groups)
    return {
        "ami": adjusted_mutual_info_batch(truth[None], found)[0],
        "spikes": scatter_pixels(spikes, pixels)[0].cpu().numpy(),
        "code": code[0].cpu().numpy(),
        "clusters": renumber[clusters],
        "drawings": drawn[order],
        "overlaps": table[order, np.arange(n_groups - 1)],
    }


def compute(plan: Plan, settings: Figure4Settings) -> tuple[Record, dict[str, np.ndarray]]:
    """Measure the tuning, and the loop with every seed.

    Returns:
        the record; ``kind``, ``x``, ``y`` of :func:`mean_codes`; ``image``, ``true`` (H, W); of all
        seeds ``ami`` (n,) and ``overlaps`` (n, objects); the rest of what :func:`measure_seed`
        gives for seed number ``shown``, the one with the median mean overlap.
    """
    trained = load_network(settings.network, plan.device)
    groups = [f"train_single_{kind}" for kind in range(len(KINDS))]
    counts = dict.fromkeys(groups, plan.tuning_images)
    ensure(settings.position_dataset, counts, groups, data=plan.data)
    ensure(settings.dataset, {"train_multi": plan.image + 1}, ["train_multi"], data=plan.data)
    image, true = read_group(settings.dataset, "train_multi", start=plan.image, count=1)
    began = time.perf_counter()
    arrays = mean_codes(plan, settings, trained.network)
    dynamics, on_device = trained.settings.dynamics, image.to(plan.device)
    found = [
        measure_seed(on_device, true, trained.network, dynamics, seed, plan, settings)
        for seed in progress(plan.seeds, unit="seed")
    ]
    arrays |= {"image": image[0].numpy().astype(np.uint8), "true": true[0].numpy()}
    arrays |= {key: np.array([one[key] for one in found]) for key in ("ami", "overlaps")}
    order = np.argsort(arrays["overlaps"].mean(axis=1), kind="stable")
    shown = int(order[(len(found) - 1) // 2])
    arrays |= {"shown": np.array(shown), "window": np.array(dynamics.window)}
    arrays |= {key: found[shown][key] for key in ("spikes", "code", "clusters", "drawings")}
    record = new_record(
        NAME,
        "DASBE",
        plan.profile,
        device=plan.device,
        seeds=list(plan.seeds),
        settings={
            "figure": to_dict(settings),
            "image": plan.image,
            "tuning_images": plan.tuning_images,
        },
        data="generated",
        checkpoints={settings.network: trained.checkpoint.sha256},
        wall_seconds=time.perf_counter() - began,
    )
    record.measurements = measurements(arrays, plan, settings, trained.checkpoint.sha256[:12])
    record.measurements[0].seconds = record.wall_seconds
    return record, arrays


def measurements(
    arrays: dict[str, np.ndarray], plan: Plan, settings: Figure4Settings, checkpoint: str
) -> list[Measurement]:
    """Numbers of tuned code neurons; AMI and overlaps with interval and spread over seeds."""
    common = {
        "command": f"scripts/dasbe/figure4.sh --profile {plan.profile}",
        "checkpoint": checkpoint,
        "data": "generated",
    }
    ratio, least = settings.tuning_ratio, settings.least_activity
    found = []
    for what, key, names in (
        ("kind", "kind", KINDS),
        ("place along x", "x", PLACES["x"]),
        ("place along y", "y", PLACES["y"]),
    ):
        for name, mask in zip(names, tuned(arrays[key], ratio, least), strict=True):
            found.append(
                Measurement(
                    what=f"code neurons tuned to {what}: {name}",
                    value=float(mask.sum()),
                    unit=f"of {mask.size}",
                    n=len(KINDS) * plan.tuning_images,
                    note=f"mean activity at least {ratio:g} times that of either other and "
                    f"{least:g} spikes in a step; n single shapes",
                    **common,
                )
            )

    def over_seeds(what: str, values: np.ndarray, unit: str, note: str) -> None:
        note = f"image {plan.image}, mean over seeds; {note}"
        found.append(
            mean_measurement(what, values, unit=unit, seeds=list(plan.seeds), note=note, **common)
        )

    last = f"iterations {settings.iterations - settings.read_iterations + 1} to the last"
    over_seeds("AMI of the pixels", 100 * arrays["ami"], "x 100", last)
    for number, values in enumerate(arrays["overlaps"].T, start=1):
        over_seeds(
            f"object {number}: overlap of the drawing by one code cluster",
            100 * values,
            "%",
            "intersection over union of pixels drawn above 0.5 and the object's",
        )
    return found


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Tuning to kind (a, b) and place (c), rasters (d, e), clusters and what they draw (f, g)."""
    figure_settings = record.settings["figure"]
    shape = figure_settings["code_height"], figure_settings["code_width"]
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 6.6), layout="constrained")
        rows = figure.subfigures(4, 1, height_ratios=[1.3, 1.3, 2.9, 1.55], hspace=0.03)
        _draw_kinds(rows[0], arrays["kind"], shape)
        _draw_places(rows[1], arrays, shape)
        seed = record.seeds[int(arrays["shown"])]
        _draw_rasters(rows[2], arrays, figure_settings["raster_iterations"], seed)
        _draw_clusters(rows[3], arrays, shape)
    return figure


def _draw_code(
    axes: Sequence[Axes],
    maps: np.ndarray,
    names: Sequence[str],
    figure: SubFigure,
    label: str,
    **options,
) -> None:
    for ax, values, name in zip(axes, maps, names, strict=True):
        draw_image(ax, values, name, **options)
    bar = figure.colorbar(axes[-1].images[0], ax=list(axes), shrink=0.8, pad=0.02, aspect=14)
    bar.set_label(label)
    bar.outline.set_visible(False)


def _draw_kinds(figure: SubFigure, means: np.ndarray, shape: tuple[int, int]) -> None:
    axes = figure.subplots(1, 2 * len(means))
    maps = means.reshape(-1, *shape)
    left, right = axes[: len(maps)], axes[len(maps) :]
    _draw_code(left, maps, KINDS, figure, "spikes per step", cmap="magma", vmin=0)
    _draw_differences(right, maps, KINDS, figure)
    panel_label(left[0], "a")
    panel_label(right[0], "b")


def _draw_differences(
    axes: Sequence[Axes], maps: np.ndarray, names: Sequence[str], figure: SubFigure
) -> None:
    difference = maps - maps.mean(axis=0)
    limit = max(abs(difference).max(), 1e-6)
    options = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    _draw_code(axes, difference, names, figure, "minus mean", **options)


def _draw_places(figure: SubFigure, arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> None:
    axes = figure.subplots(1, 2 * N_PLACES)
    for part, axis in ((axes[:N_PLACES], "x"), (axes[N_PLACES:], "y")):
        _draw_differences(part, arrays[axis].reshape(-1, *shape), PLACES[axis], figure)
    panel_label(axes[0], "c")
    panel_label(axes[N_PLACES], "d")


def _draw_rasters(
    figure: SubFigure, arrays: dict[str, np.ndarray], iterations: int, seed: int
) -> None:
    """Code neurons that fire, by cluster, above the objects' pixels, in the last iterations."""
    window, true = int(arrays["window"]), arrays["true"].ravel()
    shown = slice(-iterations * window, None)
    code, spikes = arrays["code"][shown], arrays["spikes"][shown]
    begin = len(arrays["code"]) - iterations * window
    colors = group_colors(int(true.max()) + 1, on_white=True)
    above, below = figure.subplots(2, 1, sharex=True)
    firing = code.any(axis=0) & (arrays["clusters"] > 0)
    names = ["", *(f"cluster {k}" for k in range(1, len(colors)))]
    raster(above, code[:, firing], arrays["clusters"][firing], colors, names, begin)
    above.set(xlabel="", ylabel="code neuron")
    names = ["", *(f"object {k}" for k in range(1, len(colors)))]
    raster(below, spikes[:, true > 0], true[true > 0], colors, names, begin)
    below.set_ylabel("pixel")
    for ax in (above, below):
        for border in range(1, iterations):
            ax.axvline(begin + border * window - 0.5, color="0.75", lw=0.5, zorder=0)
    above.set_title(f"last iterations, seed {seed} (median overlap)", loc="left")
    panel_label(above, "e")
    panel_label(below, "f")


def _draw_clusters(
    figure: SubFigure, arrays: dict[str, np.ndarray], shape: tuple[int, int]
) -> None:
    n_objects, size = len(arrays["drawings"]), arrays["true"].shape
    axes = figure.subplots(1, n_objects + 3)
    draw_image(axes[0], arrays["image"], "input")
    draw_groups(axes[1], arrays["true"], "objects")
    draw_groups(axes[2], arrays["clusters"].reshape(shape), "code clusters", n_objects + 1)
    overlaps = arrays["overlaps"][int(arrays["shown"])]
    for number, ax in enumerate(axes[3:], start=1):
        drawing = arrays["drawings"][number - 1].reshape(size)
        draw_image(ax, drawing, f"cluster {number} on", vmin=0, vmax=1)
        ax.contour(arrays["true"] == number, [0.5], colors=[group_colors(n_objects + 1)[number]])
        ax.set_xlabel(f"overlap {100 * overlaps[number - 1]:.0f} %")
    panel_label(axes[0], "g")
    panel_label(axes[3], "h")


# ---- command line ---------------------------------------------------------------------------


def _parser(settings: Figure4Settings) -> argparse.ArgumentParser:
    parser = result_parser(
        "dasbe.figures.figure4",
        __doc__,
        "dasbe_figure4",
        f"quick: tuning with {settings.tuning_images_quick} shapes of each kind; "
        f"full: {settings.tuning_images_full}",
    )
    parser.add_argument(
        "--image",
        type=int,
        default=settings.image,
        help=f"index in train_multi of {settings.dataset} (default: the paper's, %(default)s)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, help=f"default: {list(settings.seeds)}")
    return parser


def plan_from(args: argparse.Namespace, settings: Figure4Settings) -> Plan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    if args.image < 0:
        raise UserError(f"--image is {args.image}; the index of an image must be 0 or more")
    full = args.profile == "full"
    images = settings.tuning_images_full if full else settings.tuning_images_quick
    seeds = check_seeds(args.seeds or settings.seeds)
    device = choose_device(args.device, DEVICE)
    return Plan(args.profile, images, args.image, seeds, args.data, device, args.out)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = load_settings(Figure4Settings, FOLDER / "figure4.yaml")
    plan = plan_from(_parser(settings).parse_args(argv), settings)
    record, arrays = compute(plan, settings)
    report_results(plan.out, record, arrays, draw(record, arrays))


if __name__ == "__main__":
    sys.exit(main())
