"""Bind one image and save its spikes, for analyses of one's own.

    python -m gust.save_results --image 44

writes ``results/gust_spikes/shapes_3-objects_3-image_44.npz``, to be read with ``numpy.load``:

    image      (H, W)        0 and 1
    true       (H, W)        true objects 1.., 0 is the background or an overlap
    spikes     (N, T, H, W)  0 and 1, of N iterations with T phases
    groups     (N, H, W)     found in each iteration, numbered like the true ones where they agree
    ami        (N,)          adjusted mutual information of groups and true objects
    synchrony  (N,)          SynScore
    about      ()            JSON: network and its SHA-256, data set, image, seed, settings

and, as the original does, ``results/result.npy`` (the last image saved; with --out in that folder),
to be read with ``numpy.load(..., allow_pickle=True).item()``: ``spk`` (N, T, H, W), ``label``
(N, H, W), the groups found, and ``img`` (H, W).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.arguments import Parser
from common.errors import command_line
from common.files import atomic_path, folder_to_write
from common.paths import RESULTS
from common.results import save_arrays
from common.runs import add_networks_argument
from common.settings import to_dict
from gust.figures.one_image import (
    ImagePlan,
    add_image_flags,
    bind_image,
    image_plan,
    image_settings,
)
from gust.figures.sources import TEST_GROUP, dataset_with

FOLDER = RESULTS / "gust_spikes"


def description_of(plan: ImagePlan) -> str:
    """What the arrays are of, as JSON."""
    about = {
        "network": plan.trained.checkpoint.name,
        "checkpoint": plan.trained.checkpoint.sha256,
        "dataset": dataset_with(plan.objects),
        "group": TEST_GROUP,
        "image": plan.image,
        "seed": plan.seed,
        "settings": to_dict(plan.trained.settings),
    }
    return json.dumps(about)


def save_original(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Spikes, groups and image in one file under the original's names."""
    content = {"spk": arrays["spikes"], "label": arrays["groups"], "img": arrays["image"]}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, content, allow_pickle=True)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="python -m gust.save_results", description=__doc__)
    add_image_flags(parser, image_settings())
    add_networks_argument(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--out",
        type=folder_to_write,
        default=str(FOLDER),
        help="folder (default: results/gust_spikes)",
    )
    plan = image_plan(parser.parse_args(argv))
    arrays = bind_image(plan)
    name = plan.trained.checkpoint.name
    path = plan.out / f"{name}-objects_{plan.objects}-image_{plan.image}.npz"
    save_arrays(path, {**arrays, "about": np.array(description_of(plan))})
    original = (RESULTS if plan.out == FOLDER else plan.out) / "result.npy"
    save_original(original, arrays)
    n, window = arrays["spikes"].shape[:2]
    print(f"{path}, {original}: {n} iterations of {window} steps, AMI {arrays['ami'][-1]:.3f}")


if __name__ == "__main__":
    sys.exit(main())
