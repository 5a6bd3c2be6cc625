"""What a network for one-shot learning does in one episode."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from common.records import Record
from hebbian_snn.figures.panels import draw_memory, draw_scores
from hebbian_snn.figures.trials import (
    TrialFigure,
    compute_trial,
    draw_row,
    draw_trial,
    draw_weights,
)
from hebbian_snn.training.trained import TrainedNetwork

NAME = "Omniglot: network activity"


def compute(
    trained: TrainedNetwork, number: int, profile: str = "full"
) -> tuple[Record, dict[str, np.ndarray]]:
    """As ``trials.compute_trial``, and the ``images`` (n, H, W) and the ``query`` (H, W)."""
    record, arrays = compute_trial(trained, number, NAME, profile)
    images = trained.task.images("test")
    episode = trained.task.episodes("test", 0, range(number, number + 1))
    arrays["images"] = images[episode.images[0]].numpy()
    arrays["query"] = images[episode.query[0]].numpy()
    record.data = trained.checkpoint.metadata["data"]["source"]
    return record, arrays


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """See ``trials.draw_trial``; below: memory, distribution of its weights, outputs."""
    images, target = arrays["images"], int(arrays["target"])
    labels = [str(k) for k in range(len(images))]
    return draw_trial(
        arrays,
        TrialFigure(
            len(images),
            (
                ("images", "CNN, images"),
                ("labels", "encoded labels"),
                ("write_keys", "write keys"),
                ("write_values", "write values"),
            ),
            (
                ("query", "CNN, query"),
                ("read_keys", "read keys"),
                ("read_values", "read values"),
            ),
            lambda ax: draw_row(ax, images, labels, "images, and their labels below"),
            lambda ax: draw_row(ax, arrays["query"][None], ["?"], "query"),
            (
                lambda ax: draw_memory(ax, arrays["mem"], "memory after writing"),
                lambda ax: draw_weights(ax, arrays["mem"]),
                lambda ax: draw_scores(ax, arrays["outputs"], target),
            ),
        ),
    )
