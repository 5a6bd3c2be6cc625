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
from common.files import atomic_path, folder_to_write, read_yaml
from common.paths import RESULTS
from common.results import save_arrays
from common.runs import add_networks_argument
from common.settings import add_arguments, from_dict, in_words, overrides_from_args, to_dict
from common.training import choose_device
from gust.figures.one_image import IMAGE_FILE, ImageOptions, bind_image
from gust.figures.sources import TEST_GROUP, dataset_with
from gust.trained import TrainedNetwork

FOLDER = RESULTS / "gust_spikes"


def description_of(options: ImageOptions, trained: TrainedNetwork) -> str:
    """What the arrays are of, as JSON."""
    about = {
        "network": trained.checkpoint.name,
        "checkpoint": trained.checkpoint.sha256,
        "dataset": dataset_with(options.objects),
        "group": TEST_GROUP,
        "image": options.image,
        "seed": options.seed,
        "settings": to_dict(trained.settings),
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
    values = read_yaml(IMAGE_FILE, f"there is no settings file {IMAGE_FILE}")
    shown = {name: in_words(value) for name, value in values.items()}
    add_arguments(parser, ImageOptions, shown, "image", only_options=True)
    add_networks_argument(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--out",
        type=folder_to_write,
        default=str(FOLDER),
        help="folder (default: results/gust_spikes)",
    )
    args = parser.parse_args(argv)
    flags = overrides_from_args(ImageOptions, args, only_options=True)
    ready = {"profile": "quick", "data": "auto", "networks": (), "out": args.out}
    ready["device"] = choose_device(args.device)
    given = {**values, **flags}
    options = from_dict(ImageOptions, given, str(IMAGE_FILE), flags=flags, ready=ready)
    arrays, (trained, _) = bind_image(options), options.load()
    name = trained.checkpoint.name
    path = options.out / f"{name}-objects_{options.objects}-image_{options.image}.npz"
    save_arrays(path, {**arrays, "about": np.array(description_of(options, trained))})
    original = (RESULTS if options.out == FOLDER else options.out) / "result.npy"
    save_original(original, arrays)
    n, window = arrays["spikes"].shape[:2]
    print(f"{path}, {original}: {n} iterations of {window} steps, AMI {arrays['ami'][-1]:.3f}")


if __name__ == "__main__":
    sys.exit(main())
