"""Hebbian memory: the convolutional networks in front of it, as they run here and plainly.

python -m benchmarks.hebbian_front_ends [--images 16] [--repeats 3] [--threads 2] [--json FILE]

The converted network: the spike trains of black-and-white characters, grey digits and recordings
(the stand-ins), as they are computed to be stored, against every step of every layer with a loop
over steps for the neurons. Pre-training: one step on an episode of 60 classes with 6 images,
forward and backward, against the same in float32 with ReLU before pooling, layouts as PyTorch has
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from benchmarks.timing import time_pair
from common.errors import command_line
from common.training import generator
from datasets.omniglot import load_omniglot
from hebbian_snn.convnets.conversion import balance_thresholds
from hebbian_snn.convnets.digits import spoken_digits, written_digits
from hebbian_snn.convnets.encoders import ConvolutionalEncoder
from hebbian_snn.convnets.protonet import prototype_scores
from hebbian_snn.convnets.spiking_cnn import SpikingEncoder
from hebbian_snn.neurons import IFParameters, LIFParameters

CHANNELS, STEPS, SEED = 64, 100, 0
WAY, QUERIES = 60, 5


def spiking(backend: str) -> SpikingEncoder:
    """A network with random weights."""
    start = generator(SEED, "encoder")
    neuron = IFParameters(1.0)
    return SpikingEncoder(CHANNELS, STEPS, LIFParameters(), neuron, start, backend=backend)


@torch.no_grad()
def compare_trains(name: str, images: Tensor, repeats: int) -> Comparison:
    """Spike trains of images (N, H, W), computed in both ways."""
    fast, plain = spiking("auto"), spiking("reference")
    balance_thresholds(fast, images)
    plain.load_state_dict(fast.state_dict())
    found, expected = fast.trains(images), plain(images)
    differ = int((found != expected).sum())
    seconds, direct, ratio = time_pair(lambda: fast.trains(images), lambda: plain(images), repeats)
    text = (
        f"{name}: {1e3 * seconds / len(images):.1f} ms an image, all steps "
        f"{1e3 * direct / len(images):.0f} ms, {ratio:.1f} times faster; "
        f"{differ} of {expected.numel()} places differ, {int(expected.sum())} spikes"
    )
    what = f"Hebbian memory, spike trains of one of {len(images)} {name}: {STEPS} steps"
    return Comparison(what, text, seconds / len(images), direct / len(images), repeats)


def plain_encoder(encoder: ConvolutionalEncoder) -> Callable[[Tensor], Tensor]:
    """The same network as one would write it down."""

    def encode(images: Tensor) -> Tensor:
        maps = images[:, None].float()
        for block in encoder.blocks:
            maps = functional.conv2d(maps, block.weight, padding=1).relu()
            maps = functional.max_pool2d(maps, 2)
        return maps.flatten(1)

    return encode


def compare_episodes(images: Tensor, repeats: int) -> Comparison:
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
    text = (
        f"episode of {len(images)} images: {1e3 * seconds:.0f} ms, plain {1e3 * direct:.0f} ms, "
        f"{ratio:.1f} times faster; losses {losses[0]:.4f} and {losses[1]:.4f}"
    )
    what = f"Hebbian memory, a step of pre-training on an episode of {len(images)} images"
    return Comparison(what, text, seconds, direct, repeats)


def compare(n: int, repeats: int) -> Iterator[Comparison]:
    """Spike trains of n images of each kind, and a step of pre-training."""
    drawings = load_omniglot("train", "embedded").images.flatten(0, 1)
    order = torch.randperm(len(drawings), generator=generator(SEED, "order"))
    drawings = drawings[order]
    for name, images in (
        ("characters", drawings[:n]),
        ("grey digits", written_digits("test", "embedded").images[:n] / 255),
        ("recordings", spoken_digits("test", "embedded", 20, 30).images[:n]),
    ):
        yield compare_trains(name, images, repeats)
    yield compare_episodes(drawings[: WAY * (1 + QUERIES)], repeats)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--images", type=int, default=16, help="of each kind (default 16)")
    options = read_options(parser, argv)
    report(compare(options.images, options.repeats), options)


if __name__ == "__main__":
    raise SystemExit(main())
