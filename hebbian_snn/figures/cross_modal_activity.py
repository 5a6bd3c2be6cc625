"""What a network for cross-modal associations does in one trial."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from common.drawing import draw_image
from common.records import Record
from hebbian_snn.figures.panels import draw_memory
from hebbian_snn.figures.trials import TrialFigure, compute_trial, draw_row, draw_trial
from hebbian_snn.training.trained import TrainedNetwork

NAME = "Cross-modal associations: network activity"


def compute(
    trained: TrainedNetwork, number: int, profile: str = "full"
) -> tuple[Record, dict[str, np.ndarray]]:
    """As ``trials.compute_trial``, and ``spoken`` (n, frames, coefficients), ``heard``, the digits
    (n,), ``images`` (n, 28, 28), the ``query`` (frames, coefficients) and its digit ``asked``."""
    record, arrays = compute_trial(trained, number, NAME, profile)
    task = trained.task
    spoken, images, query, asked = (x[number] for x in task.samples("test"))
    audio, written = task.digits("audio", "test"), task.digits("image", "test")
    arrays |= {
        "spoken": audio.images[spoken].numpy(),
        "heard": audio.labels[spoken].numpy(),
        "images": written.images[images].numpy(),
        "query": audio.images[query].numpy(),
        "asked": audio.labels[spoken[asked]].numpy(),
    }
    record.data = f"{audio.source}, {written.source}"
    return record, arrays


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """See ``trials.draw_trial``; below: images, memory, image wanted, image drawn."""
    images = arrays["images"]
    side = images.shape[-1]
    wanted, drawn = (arrays[key].reshape(side, side) for key in ("target", "outputs"))
    asked, grey = int(arrays["asked"]), {"cmap": "gray_r", "vmin": 0, "vmax": 1}
    labels = [f'"{digit}"' for digit in arrays["heard"]]
    return draw_trial(
        arrays,
        TrialFigure(
            len(images),
            (
                ("audio", "CNN, spoken digits"),
                ("images", "CNN, images"),
                ("write_keys", "write keys"),
                ("write_values", "write values"),
            ),
            (
                ("query", "CNN, query"),
                ("read_keys", "read keys"),
                ("read_values", "read values"),
                ("hidden", "hidden layer"),
                ("pixels", "pixels"),
            ),
            lambda ax: draw_row(
                ax, arrays["spoken"].transpose(0, 2, 1), labels, "spoken digits (MFCC)"
            ),
            lambda ax: draw_row(ax, arrays["query"].T[None], [f'"{asked}"'], "query"),
            (
                lambda ax: draw_row(ax, images, labels, "their images"),
                lambda ax: draw_memory(ax, arrays["mem"], "memory after writing"),
                lambda ax: draw_image(ax, wanted, "image wanted", **grey),
                lambda ax: draw_image(ax, drawn, "image drawn", **grey),
            ),
        ),
    )
