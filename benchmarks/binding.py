"""DASBE from an image to its score: batched, against one image and one time step at a time.

python -m benchmarks.binding [--datasets bars ...] [--images 100] [--repeats 5] [--threads 2]
    [--json FILE]

Both sides run the loop of 50 iterations, group the pixels by k-means with 10 restarts and compute
the AMI. Ours is what Table 1 runs, the time of a batch divided by its images; the direct one
(``dasbe/reference.py``) is PyTorch on single rows and scikit-learn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from benchmarks.timing import time_pair
from common.errors import command_line
from common.settings import load_settings, to_dict
from dasbe import reference
from dasbe.binding import TrainedNetwork, load_network
from dasbe.config import FOLDER
from dasbe.evaluation import dasbe_activity, score_chunk
from dasbe.figures.table1 import Table1Settings
from datasets.binding import Images, read_group
from datasets.generate import ensure

SEED = 111


def direct_score(trained: TrainedNetwork, images: Images) -> Callable[[int], float]:
    """A function from an image's index to its AMI, computed step by step."""
    d = trained.settings.dynamics

    def score(index: int) -> float:
        image, truth = images.images[index], images.groups[index]
        draws = reference.FreshDraws(torch.Generator().manual_seed(index), image.numel())
        network = reference.plain_network(
            trained.settings.network.kind, trained.network, draws, d.window, d.refractory
        )
        spikes, _ = reference.simulate(image, network, d.window, d.refractory, d.iterations, draws)
        read = spikes[-10:].flatten(0, 1).numpy()
        labels, _ = reference.group_pixels(read, int(truth.max()) + 1, index)
        return reference.ami(truth, labels)

    return score


def compare(dataset: str, n_images: int, repeats: int) -> Comparison:
    """Seconds an image of both sides, their ratio, and the AMI that both found."""
    trained = load_network(dataset)
    ensure(dataset, {"train_multi": n_images}, groups=["train_multi"])
    data = read_group(dataset, "train_multi", count=n_images)
    activity, indices = dasbe_activity(trained, 10), np.arange(n_images)
    score = direct_score(trained, data)
    ours: list[np.ndarray] = []
    theirs: list[float] = []
    turns = itertools.cycle(range(n_images))
    fast, direct, _ = time_pair(
        lambda: ours.append(score_chunk(data.images, data.groups, indices, activity, SEED)),
        lambda: theirs.append(score(next(turns))),
        repeats,
    )
    fast /= n_images
    size = to_dict(trained.settings.dynamics)
    text = (
        f"{dataset:12} T {size['window']:2}, R {size['refractory']:2}: "
        f"{1e3 * fast:7.2f} ms an image, direct {1e3 * direct:7.1f} ms, "
        f"{direct / fast:5.0f} times faster; AMI {100 * ours[0].mean():.1f} ({n_images} images), "
        f"direct {100 * np.mean(theirs):.1f} ({len(theirs)} images)"
    )
    what = f"DASBE, one {dataset} image: 50 iterations, k-means with 10 restarts, AMI"
    note = f"ours is the time of a batch of {n_images} images divided by {n_images}"
    return Comparison(what, text, fast, direct, repeats, note=note)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, repeats=5)
    parser.add_argument(
        "--datasets", nargs="+", default=["bars"], help="default: bars; or all of Table 1"
    )
    parser.add_argument("--images", type=int, default=100, help="of a batch (default 100)")
    options = read_options(parser, argv)
    names = options.datasets
    if names == ["all"]:
        names = load_settings(Table1Settings, FOLDER / "table1.yaml").datasets
    with threadpool_limits(options.threads):
        report((compare(name, options.images, options.repeats) for name in names), options)


if __name__ == "__main__":
    raise SystemExit(main())
