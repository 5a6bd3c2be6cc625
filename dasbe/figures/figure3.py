"""Figure 3: synchrony and rate score over the iterations, and against the clustering score.

    python -m dasbe.figures.figure3 --profile quick

Every iteration of every image is grouped and scored by itself, for one network after the other.
Finished networks are kept and not repeated; a killed run goes on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from tqdm import tqdm

from common.drawing import DOUBLE_COLUMN, panel_label, use_style
from common.errors import UserError
from common.figure import Arrays, Figure, FigureOptions, FigureRecord
from common.memory import check_memory
from common.paths import CHECKPOINTS
from common.records import Record
from common.runs import network_file
from common.settings import option
from common.training import progress
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


@dataclass(frozen=True, kw_only=True)
class Options(FigureOptions):
    """What stands in ``dasbe/settings/figure3.yaml``, and the flags.

    Attributes:
        curves: names of the shipped networks, and the data set of each.
        optional: networks that are left out while they are not there.
        index_seed, index_limit: the images are ``randint(0, index_limit)`` of this seed.
        iterations: N. synchrony_timescale: 1/q of the synchrony score, steps.
    """

    curves: dict[str, str]
    datasets: tuple[str, ...] | None = option(
        "curves to measure, by the names of their networks; none: all", default=None, some=True
    )
    optional: tuple[str, ...]
    images: int = option("images of each data set", minimum=2)
    index_seed: int
    index_limit: int
    seed: int = option("random seed of the dynamics")
    iterations: int
    synchrony_timescale: float

    def __post_init__(self) -> None:
        check_memory({"--images": 5.0 * 28 * 28 * self.images})
        unknown = [name for name in self.datasets or () if name not in self.curves]
        if unknown:
            known = ", ".join(self.curves)
            raise UserError(f"--datasets {unknown[0]}: there is no such curve; there are {known}")

    def missing(self) -> list[str]:
        """The optional networks that are not there, unless curves are named."""
        optional = () if self.datasets else self.optional
        return [n for n in optional if not network_file("dasbe", n, CHECKPOINTS).exists()]


def image_indices(options: Options) -> np.ndarray:
    """The figure's images, (images,) int64; the same for all networks."""
    rng = np.random.RandomState(options.index_seed)
    return rng.randint(0, options.index_limit, size=options.images)


def compute(options: Options, record: FigureRecord) -> Arrays:
    """Score every iteration of every image with the networks.

    Returns:
        ``"network-score"`` (n images, N iterations) for each network and each of synchrony, rate
        and clustering; ``"images"`` (n,), the images' indices.
    """
    record.seeds, record.data = [options.seed], "generated"
    record.settings["images"] = options.images
    indices, missing = image_indices(options), options.missing()
    names = [name for name in options.datasets or options.curves if name not in missing]
    arrays = {"images": indices}
    with progress(total=len(names) * options.iterations, unit="iteration") as bar:
        for name in names:
            bar.set_description(name)
            dataset, count = options.curves[name], int(indices.max()) + 1
            trained = load_network(name, options.device)
            ensure(dataset, {"train_multi": count}, ["train_multi"], data=options.data)
            key = {
                "checkpoint": trained.checkpoint.sha256,
                "window": trained.settings.dynamics.window,
                "refractory": trained.settings.dynamics.refractory,
                "iterations": options.iterations,
                "synchrony_timescale": options.synchrony_timescale,
                "seed": options.seed,
                "images": indices.tolist(),
                "digits": source_of(dataset),
                "generator": GENERATOR_VERSION,
            }
            curve = record.kept(
                name, key, lambda n=trained, d=dataset: measure(n, d, indices, options, bar)
            )
            arrays |= {f"{name}-{score}": curve[score] for score in SCORES}
            record.checkpoints[name] = trained.checkpoint.sha256
            record_scores(record, name, trained, curve, options)
    for name in missing:
        note = f"not measured: there is no {CHECKPOINTS.name}/dasbe/{name}.safetensors"
        record.measure(f"{name}, synchrony score", None, note=note)
    record.wall_seconds = sum(m.seconds or 0.0 for m in record.measurements)
    return arrays


def measure(
    trained: TrainedNetwork, dataset: str, indices: np.ndarray, options: Options, bar: tqdm
) -> Arrays:
    """Synchrony, rate and clustering score (n, N) by name, of the images with these indices."""
    d, n_iterations, seed = trained.settings.dynamics, options.iterations, options.seed
    images, groups = read_group(dataset, "train_multi", indices=indices)
    result = np.empty((3, len(indices), n_iterations))
    for begin in range(0, len(indices), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        chosen = indices[chunk]
        spikes, pixels = simulate(
            images[chunk].to(options.device),
            trained.network,
            d.window,
            d.refractory,
            n_iterations,
            seed,
            chosen,
            keep_iterations=n_iterations,
        )
        q = 1 / options.synchrony_timescale
        scored = iteration_scores(spikes, pixels, groups[chunk], seed, chosen, q)
        for n, scores in enumerate(scored):
            result[:, chunk, n] = scores
            bar.update(len(chosen) / len(indices))
    return dict(zip(SCORES, result, strict=True))


def record_scores(
    record: FigureRecord, name: str, trained: TrainedNetwork, curve: Arrays, options: Options
) -> None:
    """Record the three scores of the last iteration: mean, interval and spread over images."""
    dataset = options.curves[name]
    digits = source_of(dataset)
    for score in SCORES:
        values = curve[score]
        note = f"iteration {options.iterations}, mean over images of {dataset}"
        if score != "clustering":
            r = correlation(curve["clustering"], values)
            text = "undefined" if r is None else f"{r:.2f}"
            note += f"; correlation with the clustering score over all iterations: {text}"
        if score == "synchrony" and dataset == "mnist_shape":
            note += "; the paper's network of this data set is convolutional"
        record.measure(
            f"{name}, {score} score",
            values[:, -1],
            of=trained.checkpoint,
            data="generated" if digits == "none" else digits,
            seconds=float(curve["seconds"]) if score == "synchrony" else None,
            note=note,
        )


def draw(record: Record, arrays: Arrays) -> mpl.figure.Figure:
    """Scores over iterations (a) and against the clustering score (b), a column per network."""
    names = [key.removesuffix("-rate") for key in arrays if key.endswith("-rate")]
    paper = {m.what: m.paper for m in record.measurements}
    with use_style():
        figure = mpl.figure.Figure(figsize=(DOUBLE_COLUMN, 3.4), layout="constrained")
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


FIGURE = Figure(
    "dasbe_figure3",
    "Figure 3",
    "DASBE",
    Options,
    compute,
    draw,
    [FOLDER / "figure3.yaml"],
    "scripts/dasbe/figure3.sh --profile {profile}",
    auto_device=DEVICE,
)
main = FIGURE.main


if __name__ == "__main__":
    sys.exit(main())
