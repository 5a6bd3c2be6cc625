"""Hebbian memory: the convolutional networks in front of it, as they run here and plainly.

python -m benchmarks.hebbian_front_ends [--images 16] [--repeats 3] [--threads 2]

The converted network: the spike trains of black-and-white characters, grey digits and recordings
(the stand-ins), as they are computed to be stored, against every step of every layer with a loop
over steps for the neurons. Pre-training: one step on an episode of 60 classes with 6 images,
forward and backward, against the same in float32 with ReLU before pooling, layouts as PyTorch has
them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

import numba
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.timing import time_pair
from common.errors import UserError, command_line
from common.training import generator
from datasets.omniglot import load_omniglot
from hebbian_snn.conversion import balance_thresholds
from hebbian_snn.digits import spoken_digits, written_digits
from hebbian_snn.encoders import ConvolutionalEncoder
from hebbian_snn.neurons import IFParameters, LIFParameters
from hebbian_snn.protonet import prototype_scores
from hebbian_snn.spiking_cnn import SpikingEncoder

CHANNELS, STEPS, SEED = 64, 100, 0
WAY, QUERIES = 60, 5


def spiking(backend: str) -> SpikingEncoder:
    """A network with random weights."""
    start = generator(SEED, "encoder")
    neuron = IFParameters(1.0)
    return SpikingEncoder(CHANNELS, STEPS, LIFParameters(), neuron, start, backend=backend)


@torch.no_grad()
def compare_trains(name: str, images: Tensor, repeats: int) -> str:
    """Spike trains of images (N, H, W), computed in both ways."""
    fast, plain = spiking("auto"), spiking("reference")
    balance_thresholds(fast, images)
    plain.load_state_dict(fast.state_dict())
    found, expected = fast.trains(images), plain(images)
    differ = int((found != expected).sum())
    seconds, direct, ratio = time_pair(lambda: fast.trains(images), lambda: plain(images), repeats)
    return (
        f"{name}: {1e3 * seconds / len(images):.1f} ms an image, all steps "
        f"{1e3 * direct / len(images):.0f} ms, {ratio:.1f} times faster; "
        f"{differ} of {expected.numel()} places differ, {int(expected.sum())} spikes"
    )


def plain_encoder(encoder: ConvolutionalEncoder) -> Callable[[Tensor], Tensor]:
    """The same network as one would write it down."""

    def encode(images: Tensor) -> Tensor:
        maps = images[:, None].float()
        for block in encoder.blocks:
            maps = functional.conv2d(maps, block.weight, padding=1).relu()
            maps = functional.max_pool2d(maps, 2)
        return maps.flatten(1)

    return encode


def compare_episodes(images: Tensor, repeats: int) -> str:
    """A step of pre-training on images (WAY * (1 + QUERIES), H, W)."""
    encoder = ConvolutionalEncoder(CHANNELS, generator(SEED, "start"), bfloat16=True)
    targets = torch.arange(WAY).repeat_interleave(QUERIES)

    def step(encode: Callable[[Tensor], Tensor]) -> Tensor:
        found = encode(images).view(1, WAY, 1 + QUERIES, -1)
        scores = prototype_scores(found[:, :, :1], found[:, :, 1:])[0]
        loss = functional.cross_entropy(scores, targets)
        encoder.zero_grad()
        loss.backward()
        return loss.detach()

    plain = plain_encoder(encoder)
    losses = step(encoder), step(plain)
    seconds, direct, ratio = time_pair(lambda: step(encoder), lambda: step(plain), repeats)
    return (
        f"episode of {len(images)} images: {1e3 * seconds:.0f} ms, plain {1e3 * direct:.0f} ms, "
        f"{ratio:.1f} times faster; losses {losses[0]:.4f} and {losses[1]:.4f}"
    )


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=16, help="of each kind (default 16)")
    parser.add_argument("--repeats", type=int, default=3, help="times each is run (default 3)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="for both sides (default: all cores)"
    )
    options = parser.parse_args(argv)
    for name, value in vars(options).items():
        if value < 1:
            raise UserError(f"--{name} is {value}; give 1 or more")
    if options.threads > numba.config.NUMBA_NUM_THREADS:
        raise UserError(
            f"--threads is {options.threads}; there are {numba.config.NUMBA_NUM_THREADS}"
        )
    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)
    print(f"{options.threads} threads, load of the machine {os.getloadavg()[0]:.1f}")
    drawings = load_omniglot("train", "embedded").images.flatten(0, 1)
    order = torch.randperm(len(drawings), generator=generator(SEED, "order"))
    drawings = drawings[order]
    n = options.images
    for name, images in (
        ("characters", drawings[:n]),
        ("grey digits", written_digits("test", "embedded").images[:n] / 255),
        ("recordings", spoken_digits("test", "embedded", 20, 30).images[:n]),
    ):
        print(compare_trains(name, images, options.repeats))
    print(compare_episodes(drawings[: WAY * (1 + QUERIES)], options.repeats))


if __name__ == "__main__":
    raise SystemExit(main())
