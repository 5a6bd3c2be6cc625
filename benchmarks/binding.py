"""DASBE from an image to its score: batched, against one image and one time step at a time.

python -m benchmarks.binding [--datasets bars ...] [--images 100] [--repeats 5] [--threads 2]

Both sides run the loop of 50 iterations, group the pixels by k-means with 10 restarts and compute
the AMI. Ours is what Table 1 runs, the time of a batch divided by its images; the direct one
(``tests/dasbe/direct.py``) is PyTorch on single rows and scikit-learn.
"""

from __future__ import annotations

import argparse
import itertools
import os
import runpy
from collections.abc import Callable, Sequence

import numba
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.timing import time_pair
from common.errors import UserError, command_line
from common.paths import ROOT
from common.settings import load_settings, to_dict
from dasbe.binding import TrainedNetwork, load_network
from dasbe.config import FOLDER
from dasbe.evaluation import dasbe_activity, score_chunk
from dasbe.figures.table1 import Table1Settings
from datasets.binding import Images, read_group
from datasets.generate import ensure

SEED = 111


def direct_score(trained: TrainedNetwork, images: Images) -> Callable[[int], float]:
    """A function from an image's index to its AMI, computed step by step."""
    direct = runpy.run_path(str(ROOT / "tests" / "dasbe" / "direct.py"))
    d = trained.settings.dynamics

    def score(index: int) -> float:
        image, truth = images.images[index], images.groups[index]
        draws = direct["FreshDraws"](torch.Generator().manual_seed(index), image.numel())
        network = direct["direct_network"](
            trained.settings.network.kind, trained.network, draws, d.window, d.refractory
        )
        spikes, _ = direct["direct_dynamics"](
            image, network, d.window, d.refractory, d.iterations, draws
        )
        read = spikes[-10:].flatten(0, 1).numpy()
        labels, _ = direct["direct_groups"](read, int(truth.max()) + 1, index)
        return direct["direct_ami"](truth, labels)

    return score


def compare(dataset: str, n_images: int, repeats: int) -> str:
    """One line: seconds an image of both sides, their ratio, and the AMI that both found."""
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
    return (
        f"{dataset:12} T {size['window']:2}, R {size['refractory']:2}: "
        f"{1e3 * fast:7.2f} ms an image, direct {1e3 * direct:7.1f} ms, "
        f"{direct / fast:5.0f} times faster; AMI {100 * ours[0].mean():.1f} ({n_images} images), "
        f"direct {100 * np.mean(theirs):.1f} ({len(theirs)} images)"
    )


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--datasets", nargs="+", default=["bars"], help="default: bars; or all of Table 1"
    )
    parser.add_argument("--images", type=int, default=100, help="of a batch (default 100)")
    parser.add_argument("--repeats", type=int, default=5, help="times each is run (default 5)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="for both sides (default: all cores)"
    )
    options = parser.parse_args(argv)
    for name in ("images", "repeats", "threads"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} is {getattr(options, name)}; give 1 or more")
    if options.threads > numba.config.NUMBA_NUM_THREADS:
        raise UserError(
            f"--threads is {options.threads}; there are {numba.config.NUMBA_NUM_THREADS}"
        )
    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)
    names = options.datasets
    if names == ["all"]:
        names = load_settings(Table1Settings, FOLDER / "table1.yaml").datasets
    print(f"{options.threads} threads, load of the machine {os.getloadavg()[0]:.1f}")
    with threadpool_limits(options.threads):
        for dataset in names:
            print(compare(dataset, options.images, options.repeats), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
