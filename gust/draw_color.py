"""Colour the pixels of one image by the phase of their spikes, in several iterations.

    python -m gust.draw_color --image 44 --network shapes_3

Iterations are counted from 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from common.drawing import DOUBLE_COLUMN, draw_groups, draw_image, use_style
from common.errors import UserError, command_line
from common.records import Record
from common.results import report_results
from gust.figures.binding import draw_colorings
from gust.figures.one_image import compute, image_parser, image_plan, image_settings
from gust.figures.pictures import draw_phase_key

NAME = "Colouring of one image"


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Input, true objects and the colourings, with a key of the phases below."""
    coloured = record.settings["figure"]["coloured_iterations"]
    n_maps = 2 + len(coloured)
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, DOUBLE_COLUMN / n_maps + 0.6), layout="constrained")
        grid = figure.add_gridspec(2, n_maps, height_ratios=[1, 0.1])
        axes = [figure.add_subplot(grid[0, column]) for column in range(n_maps)]
        draw_image(axes[0], arrays["image"], "input")
        draw_groups(axes[1], arrays["true"], "objects")
        draw_colorings(axes[2:], arrays, coloured)
        draw_phase_key(figure.add_subplot(grid[1, 2:]), arrays["spikes"].shape[1])
    return figure


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = image_settings()
    parser = image_parser("gust.draw_color", __doc__, "gust_color", settings)
    parser.add_argument(
        "--coloured",
        nargs="+",
        type=int,
        metavar="N",
        help="iterations to colour, counted from 0 (default: "
        f"{' '.join(map(str, settings.coloured_iterations))}, as far as there are so many)",
    )
    args = parser.parse_args(argv)
    plan = image_plan(args)
    for n in args.coloured or []:
        if not 0 <= n < plan.iterations:
            raise UserError(f"--coloured {n}: there are iterations 0 to {plan.iterations - 1}")
    coloured = args.coloured or [n for n in settings.coloured_iterations if n < plan.iterations]
    settings = replace(settings, coloured_iterations=tuple(coloured))
    record, arrays = compute(NAME, "python -m gust.draw_color", plan, settings)
    report_results(plan.out, record, arrays, draw(record, arrays))


if __name__ == "__main__":
    sys.exit(main())
