"""The binding of one test image: what several figures and commands measure before they draw."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from common.drawing import match_groups
from common.errors import UserError
from common.records import Measurement, Record, new_record
from common.results import result_parser
from common.settings import load_settings, to_dict
from common.training import choose_device
from gust.config import FILE
from gust.figures.iterations import SCORE_NAMES, bound_iterations, check_seed
from gust.figures.sources import count_test_images, ensure_test_images, read_test_images
from gust.trained import TrainedNetwork, load_network


@dataclass(frozen=True)
class ImageSettings:
    """What stands in ``gust/settings/figure_binding.yaml``.

    Attributes:
        network: name of a shipped network.
        objects: of the test image. image: its index in the test group.
        seed: of the dynamics and the clustering.
        coloured_iterations: those that are coloured, counted from 0.
        shown_iterations: so many are shown in detail, at the beginning and at the end.
    """

    network: str
    objects: int
    image: int
    seed: int
    coloured_iterations: tuple[int, ...]
    shown_iterations: int


@dataclass(frozen=True)
class ImagePlan:
    """One run: which network, image and seed, how many iterations, where."""

    profile: str
    trained: TrainedNetwork
    objects: int
    image: int
    seed: int
    iterations: int
    device: torch.device
    out: Path


def image_settings() -> ImageSettings:
    """The settings of the shown image."""
    return load_settings(ImageSettings, FILE.with_name("figure_binding.yaml"))


def bind_image(plan: ImagePlan) -> dict[str, np.ndarray]:
    """Bind the plan's image once.

    Returns:
        ``image`` (H, W) uint8, ``true`` (H, W) groups, and of the N iterations ``spikes``
        (N, T, H, W) uint8, ``groups`` (N, H, W) found in each, numbered like the true ones where
        they agree, ``ami`` (N,) and ``synchrony`` (N,).

    Raises :class:`UserError` for an image without a pixel to score.
    """
    ensure_test_images(plan.objects, plan.image + 1)
    images, groups, indices = read_test_images(plan.objects, plan.image, 1)
    found = list(
        bound_iterations(
            images.to(plan.device),
            groups,
            plan.trained,
            plan.seed,
            indices,
            plan.objects + 1,
            plan.iterations,
        )
    )
    true = groups[0].numpy()
    return {
        "image": images[0].numpy().astype(np.uint8),
        "true": true,
        "spikes": np.stack([f.spikes[0].cpu().numpy() for f in found]),
        "groups": np.stack([match_groups(true, f.labels[0]) for f in found]),
        "ami": np.array([f.scores.ami[0] for f in found]),
        "synchrony": np.array([f.scores.synchrony[0] for f in found]),
    }


def compute(
    name: str, command: str, plan: ImagePlan, settings: ImageSettings
) -> tuple[Record, dict[str, np.ndarray]]:
    """Bind the plan's image and record the scores of the last iteration.

    Args:
        name: of the figure. command: that makes it.
        plan, settings: of the run.

    Returns:
        the record and the arrays of :func:`bind_image`.
    """
    began = time.perf_counter()
    arrays = bind_image(plan)
    sha256 = plan.trained.checkpoint.sha256
    record = new_record(
        name,
        "GUST",
        plan.profile,
        device=plan.device,
        seeds=[plan.seed],
        settings={"figure": to_dict(settings), "objects": plan.objects, "image": plan.image},
        data="generated",
        checkpoints={plan.trained.checkpoint.name: sha256},
        wall_seconds=time.perf_counter() - began,
    )
    for key, what in SCORE_NAMES.items():
        record.measurements.append(
            Measurement(
                what=f"{what} of this one run after {plan.iterations} iterations",
                value=float(arrays[key][-1]),
                seeds=[plan.seed],
                seconds=record.wall_seconds if key == "ami" else None,
                command=command,
                checkpoint=sha256[:12],
                note=f"test image {plan.image} with {plan.objects} objects; an illustration, the "
                "figure of the scores has more runs and images",
            )
        )
    return record, arrays


# ---- command line ---------------------------------------------------------------------------


def add_image_flags(parser: argparse.ArgumentParser, settings: ImageSettings) -> None:
    """Add --network, --objects, --image, --seed and --iterations."""
    parser.add_argument(
        "--network",
        default=settings.network,
        help="name of a shipped network, or a checkpoint file (default: %(default)s)",
    )
    parser.add_argument(
        "--objects",
        type=int,
        default=settings.objects,
        help="in the test image (default: %(default)s)",
    )
    parser.add_argument(
        "--image",
        type=int,
        default=settings.image,
        help="index in the test group (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=settings.seed, help="default: %(default)s")
    parser.add_argument("--iterations", type=int, help="default: as in the network's settings")


def image_parser(
    module: str, description: str | None, folder: str, settings: ImageSettings
) -> argparse.ArgumentParser:
    """The flags of a figure of one image."""
    parser = result_parser(module, description, folder, "both are the same")
    add_image_flags(parser, settings)
    return parser


def image_plan(args: argparse.Namespace) -> ImagePlan:
    """The plan of the given flags; raises :class:`UserError` for what cannot be done."""
    n_images = count_test_images(args.objects)
    if not 0 <= args.image < n_images:
        raise UserError(f"--image is {args.image}; there are test images 0 to {n_images - 1}")
    if args.iterations is not None and args.iterations < 1:
        raise UserError(f"--iterations is {args.iterations}; it must be at least 1")
    check_seed(args.seed)
    device = choose_device(args.device)
    trained = load_network(args.network, device)
    iterations = args.iterations or trained.settings.evaluation.settle
    return ImagePlan(
        getattr(args, "profile", "quick"),
        trained,
        args.objects,
        args.image,
        args.seed,
        iterations,
        device,
        args.out,
    )
