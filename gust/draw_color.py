"""Colour the pixels of one image by the phase of their spikes, in several iterations.

    python -m gust.draw_color --image 44 --network shapes_3

Iterations are counted from 0.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import matplotlib as mpl

from common.drawing import DOUBLE_COLUMN, draw_groups, draw_image, use_style
from common.errors import UserError
from common.figure import Arrays, Figure, FigureRecord
from common.records import Record
from common.settings import option
from gust.figures import one_image
from gust.figures.binding import draw_colorings
from gust.figures.one_image import IMAGE_FILE, ImageOptions
from gust.figures.pictures import draw_phase_key


@dataclass(frozen=True, kw_only=True)
class Options(ImageOptions):
    """Those of the image, and which iterations are coloured."""

    coloured: tuple[int, ...] | None = option(
        "iterations to colour, counted from 0; none: those of the figure of the binding, as far as "
        "there are so many",
        default=None,
        some=True,
    )


def compute(options: Options, record: FigureRecord) -> Arrays:
    """Bind the image; see :func:`gust.figures.one_image.compute`."""
    n = options.load()[1]
    for chosen in options.coloured or []:
        if not 0 <= chosen < n:
            raise UserError(f"--coloured {chosen}: there are iterations 0 to {n - 1}")
    coloured = options.coloured or [k for k in options.coloured_iterations if k < n]
    record.settings["figure"]["coloured_iterations"] = list(coloured)
    return one_image.compute(options, record)


def draw(record: Record, arrays: Arrays) -> mpl.figure.Figure:
    """Input, true objects and the colourings, with a key of the phases below."""
    coloured = record.settings["figure"]["coloured_iterations"]
    n_maps = 2 + len(coloured)
    with use_style():
        size = (DOUBLE_COLUMN, DOUBLE_COLUMN / n_maps + 0.6)
        figure = mpl.figure.Figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(2, n_maps, height_ratios=[1, 0.1])
        axes = [figure.add_subplot(grid[0, column]) for column in range(n_maps)]
        draw_image(axes[0], arrays["image"], "input")
        draw_groups(axes[1], arrays["true"], "objects")
        draw_colorings(axes[2:], arrays, coloured)
        draw_phase_key(figure.add_subplot(grid[1, 2:]), arrays["spikes"].shape[1])
    return figure


FIGURE = Figure(
    "gust_color",
    "Colouring of one image",
    "GUST",
    Options,
    compute,
    draw,
    [IMAGE_FILE],
    "python -m gust.draw_color",
)
main = FIGURE.main


if __name__ == "__main__":
    sys.exit(main())
