"""Bind one image: groups, scores and a picture.

    python -m dasbe.example                         image 1109 of the shapes dataset
    python -m dasbe.example 3 --dataset bars        image 3 of the bars dataset
    python -m dasbe.example drawing.png             a picture of your own

A picture is read as ink on paper: what differs from the corner's brightness by more than half of
the range is on. It must have the size of a trained network (20 x 20, 28 x 28 or 48 x 48), or be
scaled to it with --resize.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from common.arguments import Parser
from common.clustering import adjusted_mutual_info
from common.drawing import (
    DOUBLE_COLUMN,
    draw_groups,
    draw_image,
    match_groups,
    phase_coloring,
    raster,
    save_figure,
    use_style,
)
from common.errors import UserError, command_line
from common.files import folder_to_write
from common.paths import RESULTS
from common.runs import add_networks_argument
from common.spike_metrics import Scores, scores
from dasbe.binding import Binding, bind, check_size, load_network
from dasbe.config import Settings, dataset_settings, known_datasets
from datasets.binding import read_group
from datasets.generate import ensure

SYNCHRONY_COST = 1 / 6


def read_picture(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """A picture file as a (1, H, W) binary image, scaled to ``size`` (H, W) if given.

    Raises :class:`UserError` for a file that is missing, not a picture, or of one brightness.
    """
    try:
        with Image.open(path) as file:
            grey = _in_grey(file)
    except FileNotFoundError:
        raise UserError(
            f"there is no picture {path}; give a file or the index of an image"
        ) from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        raise UserError(f"{path} is not a picture that can be read, or it is damaged") from None
    if size is not None:
        grey = grey.resize((size[1], size[0]), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.float32)
    low, high = values.min(), values.max()
    if low == high:
        raise UserError(f"{path} is empty: all of it has one brightness")
    ink = values > (low + high) / 2
    return torch.from_numpy(ink ^ ink[0, 0]).float()[None]


def _in_grey(picture: Image.Image) -> Image.Image:
    """Brightness; what is transparent lies on white, and 16-bit grey keeps its range."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(np.asarray(picture, dtype=np.float32))
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return picture.convert("L")


def network_for_size(height: int, width: int) -> str:
    """The network for pictures of this size (shapes for 28 x 28).

    Raises :class:`UserError` where there is none.
    """
    sizes = {name: dataset_settings(name) for name in ["shapes", *known_datasets()]}
    for name, settings in sizes.items():
        if (settings.height, settings.width) == (height, width):
            return name
    known = sorted({f"{s.height} x {s.width}" for s in sizes.values()})
    raise UserError(
        f"no network is trained for pictures of {height} x {width} pixels (there are "
        f"{', '.join(known)}); scale the picture or use --resize"
    )


def iteration_scores(binding: Binding, image: Tensor) -> Scores:
    """Synchrony, rate and clustering score (1,) of the last iteration, with the found groups."""
    on = image.flatten() > 0
    spikes = binding.spikes[0, -1].flatten(1)[:, on][None]
    return scores(spikes, binding.groups[0].flatten()[on][None], SYNCHRONY_COST)


def draw(
    image: Tensor, true: Tensor | None, binding: Binding, settings: Settings, title: str
) -> Figure:
    """Input, truth (if known), groups, colourings of first and last iteration, and rasters.

    Args:
        image: (H, W). true: (H, W) groups or None.
        binding: with the spikes of all iterations.
        settings: of the network.
        title: of the figure.
    """
    found = binding.groups[0].numpy()
    n_groups = max(int(found.max()), 0 if true is None else int(true.max())) + 1
    spikes = binding.spikes[0].numpy()
    maps = [("input", None), ("groups found", found)]
    if true is not None:
        found = match_groups(true.numpy(), found)
        maps = [("input", None), ("true groups", true.numpy()), ("groups found", found)]
    refractory = settings.dynamics.refractory
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 3.6), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.4])
        axes = top.subplots(1, len(maps) + 2)
        for ax, (name, labels) in zip(axes, maps, strict=False):
            if labels is None:
                draw_image(ax, image.numpy(), name)
            else:
                draw_groups(ax, labels, name, n_groups)
        draw_image(axes[-2], phase_coloring(spikes[0], refractory), "phases, iteration 1")
        draw_image(
            axes[-1], phase_coloring(spikes[-1], refractory), f"phases, iteration {len(spikes)}"
        )
        rows = image.numpy().ravel() > 0
        shown = min(2, len(spikes))
        window = spikes.shape[1]
        for ax, begin, name in zip(
            bottom.subplots(1, 2, sharey=True),
            (0, len(spikes) - shown),
            ("first iterations", "last iterations"),
            strict=True,
        ):
            trains = spikes[begin : begin + shown].reshape(shown * window, -1)[:, rows]
            raster(ax, trains, found.ravel()[rows], start=begin * window)
            ax.set_title(name, loc="left")
        bottom.axes[1].set_ylabel("")
        figure.suptitle(title, fontsize=8)
    return figure


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m dasbe.example", description=__doc__)
    parser.add_argument(
        "image",
        nargs="*",
        help="picture file, or index in train_multi (default: 1109); or as in the original two "
        "words, a network and a data set",
    )
    parser.add_argument("--index", type=int, help="of the image in train_multi")
    parser.add_argument("--dataset", help="dataset and network (default: shapes, or by size)")
    add_networks_argument(parser)
    parser.add_argument("--n_groups", type=int, help="groups, background included")
    parser.add_argument("--window", type=int, help="phases T in place of the dataset's")
    parser.add_argument("--refractory", type=int, help="refractory period R, likewise")
    parser.add_argument("--iterations", type=int, help="iterations N, likewise")
    parser.add_argument("--resize", action="store_true", help="scale the picture to the network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=("auto", "real", "embedded"), default="auto")
    parser.add_argument("--out", type=folder_to_write, default=str(RESULTS / "dasbe_example"))
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _parser().parse_args(argv)
    if len(args.image) > 2:
        raise UserError(f"{' '.join(args.image)}: give an image, or a network and a data set")
    network = None
    if len(args.image) == 2:
        network, args.dataset = args.image
        args.image = []
    args.image = args.image[0] if args.image else str(1109 if args.index is None else args.index)
    true = None
    if re.fullmatch("-?[0-9]+", args.image):
        name, index = args.dataset or "shapes", int(args.image)
        settings = dataset_settings(name)
        if index < 0:
            raise UserError(f"the index of an image must be 0 or more, not {index}")
        ensure(name, {"train_multi": index + 1}, groups=["train_multi"], data=args.data)
        image, groups = read_group(name, "train_multi", start=index, count=1)
        true, title = groups[0], f"{name}, image {index}"
    else:
        settings = dataset_settings(args.dataset or "shapes")
        size = (settings.height, settings.width) if args.resize else None
        image, title = read_picture(Path(args.image), size), Path(args.image).name
        name = args.dataset or network_for_size(*image.shape[1:])
    name = network or name
    settings = load_network(name).settings
    check_size(image, settings, name)
    d = settings.dynamics
    objects = settings.n_groups if true is None else int(true.max()) + 1
    n_groups = objects if args.n_groups is None else args.n_groups
    window, refractory, iterations = (
        default if given is None else given
        for given, default in (
            (args.window, d.window),
            (args.refractory, d.refractory),
            (args.iterations, d.iterations),
        )
    )
    binding = bind(image, name, window, refractory, iterations, n_groups, args.seed, iterations)
    if true is not None:
        print(f"AMI: {adjusted_mutual_info(true, binding.groups[0]):.3f}")
    last = iteration_scores(binding, image[0])
    print(f"synchrony score of the last iteration (q = 1/6): {last.synchrony[0]:.3f}")
    print(f"rate score (q = 0): {last.rate[0]:.3f}")
    print(f"clustering score: {last.clustering[0]:.3f}")
    figure = draw(image[0], true, binding, settings, f"{title}: {iterations} iterations")
    for path in save_figure(figure, args.out):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
