"""The binding of one test image: what several figures and commands measure before they draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.drawing import match_groups
from common.errors import UserError
from common.figure import Arrays, FigureOptions, FigureRecord
from common.settings import option
from gust.config import FILE
from gust.figures.iterations import SCORE_NAMES, bound_iterations
from gust.figures.sources import count_test_images, ensure_test_images, read_test_images
from gust.trained import TrainedNetwork, load_network

IMAGE_FILE = FILE.with_name("figure_binding.yaml")


@dataclass(frozen=True, kw_only=True)
class ImageOptions(FigureOptions):
    """What stands in ``gust/settings/figure_binding.yaml``, and the flags.

    Attributes:
        coloured_iterations: those that are coloured, counted from 0.
        shown_iterations: so many are shown in detail, at the beginning and at the end.
    """

    network: str = option("name of a shipped network, or a checkpoint file")
    objects: int = option("objects in the test image")
    image: int = option("index in the test group")
    seed: int = option("random seed of the dynamics and the clustering", minimum=0)
    iterations: int | None = option(
        "iterations; none: as in the network's settings", default=None, minimum=1
    )
    coloured_iterations: tuple[int, ...]
    shown_iterations: int

    def __post_init__(self) -> None:
        n_images = count_test_images(self.objects)
        if not 0 <= self.image < n_images:
            raise UserError(f"--image is {self.image}; there are test images 0 to {n_images - 1}")

    def load(self) -> tuple[TrainedNetwork, int]:
        """The network, and how many iterations it runs."""
        trained = load_network(self.network, self.device)
        return trained, self.iterations or trained.settings.evaluation.settle


def bind_image(options: ImageOptions) -> Arrays:
    """Bind the image once.

    Returns:
        ``image`` (H, W) uint8, ``true`` (H, W) groups, and of the N iterations ``spikes``
        (N, T, H, W) uint8, ``groups`` (N, H, W) found in each, numbered like the true ones where
        they agree, ``ami`` (N,) and ``synchrony`` (N,).

    Raises :class:`UserError` for an image without a pixel to score.
    """
    trained, n = options.load()
    ensure_test_images(options.objects, options.image + 1)
    images, groups, indices = read_test_images(options.objects, options.image, 1)
    images = images.to(options.device)
    n_clusters = options.objects + 1
    found = list(bound_iterations(images, groups, trained, options.seed, indices, n_clusters, n))
    true = groups[0].numpy()
    return {
        "image": images[0].cpu().numpy().astype(np.uint8),
        "true": true,
        "spikes": np.stack([f.spikes[0].cpu().numpy() for f in found]),
        "groups": np.stack([match_groups(true, f.labels[0]) for f in found]),
        "ami": np.array([f.scores.ami[0] for f in found]),
        "synchrony": np.array([f.scores.synchrony[0] for f in found]),
    }


def compute(options: ImageOptions, record: FigureRecord) -> Arrays:
    """Bind the image and record the scores of the last iteration; arrays of :func:`bind_image`."""
    checkpoint = options.load()[0].checkpoint
    with record.timed():
        arrays = bind_image(options)
    record.seeds, record.data = [options.seed], "generated"
    record.checkpoints = {checkpoint.name: checkpoint.sha256}
    record.settings |= {"objects": options.objects, "image": options.image}
    for key, what in SCORE_NAMES.items():
        record.measure(
            f"{what} of this one run after {len(arrays[key])} iterations",
            arrays[key][-1],
            of=checkpoint,
            seconds=record.wall_seconds if key == "ami" else None,
            note=f"test image {options.image} with {options.objects} objects; an illustration, the "
            "figure of the scores has more runs and images",
        )
    return arrays
