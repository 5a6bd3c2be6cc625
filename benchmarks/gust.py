"""One training step of GUST: compiled and restructured, against one time step at a time.

python -m benchmarks.gust [--images 1024] [--repeats 3] [--threads 2] [--float32]
    [--json FILE]

Both sides take the same images and the paper's fresh network, drop pixels of the input, unroll the
iterations, compute the loss, propagate it back through all steps and take a step of Adam. The
direct side (``gust/reference.py``) is plain PyTorch: a loop over time steps, each operation
on its own, autograd. Before the clock starts, both compute the loss of a few images with the same
random numbers, which must agree. A third side takes nothing but the matrix products of all layers
and steps, forward and backward, in float32, the steps of a window at once. Memory is the peak of
the process above what it held before (Linux).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from benchmarks.timing import peak_bytes, time_pair
from common.errors import UserError, command_line
from common.training import generator
from datasets.binding import read_group
from datasets.generate import ensure
from gust import reference
from gust.config import Settings, gust_settings
from gust.dynamics import Noise, drop_pixels
from gust.network import Autoencoder
from gust.train import CHUNK, loss_of
from gust.trained import build_network

SEED = 0
COMPARED = 32
"""Images whose loss both sides compute with the same random numbers."""


def our_loss(clean: Tensor, network: Autoencoder, settings: Settings) -> Tensor:
    """The summed loss of (B, P) images, as in training."""
    return loss_of(network, clean, settings, batch_noise(clean), backend="cpu")


def batch_noise(clean: Tensor) -> Noise:
    """The names of a batch's random numbers."""
    return Noise(SEED, 1, np.arange(len(clean)))


class Direct:
    """The direct implementation for one network and its settings."""

    def __init__(self, network: Autoencoder, settings: Settings) -> None:
        self.network, self.settings = network, settings
        self.generator = generator(SEED, "direct")

    def loss(self, clean: Tensor) -> Tensor:
        """The summed loss of (B, P) images with PyTorch's random numbers."""
        kept = torch.rand(clean.shape, generator=self.generator) >= self.settings.training.noise
        return self._of(clean * kept, clean, reference.FreshDraws(self.generator, *clean.shape))

    def loss_with_our_numbers(self, clean: Tensor) -> Tensor:
        """The same with the random numbers of :func:`our_loss`."""
        noise = batch_noise(clean)
        noisy = drop_pixels(clean, self.settings.training.noise, noise)
        return self._of(noisy, clean, reference.PackageDraws(noise, clean.shape[1]))

    def _of(self, noisy: Tensor, clean: Tensor, draws: Any) -> Tensor:
        d = self.settings.dynamics
        sizes = (d.window, d.refractory, d.thinning, self.settings.training.iterations)
        return reference.batch_loss(noisy, clean, self.network, *sizes, draws)


def training_step(
    network: Autoencoder, rate: float, loss: Callable[[], Tensor]
) -> Callable[[], None]:
    """A function that takes one step of Adam on a loss."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def dense_products(network: Autoencoder, settings: Settings, images: int) -> Callable[[], None]:
    """A function that takes the products of a training step's layers, and those of its gradients.

    As many rows are taken at once as training takes.
    """
    rows = min(CHUNK["cpu"], images) * settings.dynamics.window
    times = settings.training.iterations * -(-images * settings.dynamics.window // rows)
    layers = [
        (layer.weight.detach(), *(torch.rand(rows, n) for n in layer.weight.shape[::-1]))
        for layer in (*network.decoder, *network.encoder)
    ]
    results = [tuple(torch.empty_like(x) for x in layer) for layer in layers]

    def products() -> None:
        for _ in range(times):
            for (weight, inputs, outputs), (d_weight, d_inputs, forward) in zip(
                layers, results, strict=True
            ):
                torch.mm(inputs, weight.t(), out=forward)
                torch.mm(outputs, weight, out=d_inputs)
                torch.mm(outputs.t(), inputs, out=d_weight)

    return products


@torch.no_grad()
def check_same_loss(clean: Tensor, network: Autoencoder, direct: Direct) -> str:
    """The loss of both sides in words; raises :class:`UserError` where they differ."""
    ours = our_loss(clean, network, direct.settings).item()
    theirs = direct.loss_with_our_numbers(clean).item()
    tolerance = 1e-2 if direct.settings.training.bfloat16 else 1e-4
    if abs(ours - theirs) > tolerance * theirs:
        raise UserError(f"the compiled loss {ours} differs from the direct one {theirs}")
    return f"loss of {len(clean)} images with the same random numbers: {ours:.6f} {theirs:.6f}"


def compare(settings: Settings, images: int, repeats: int) -> Iterator[str | Comparison]:
    """Time and memory of both sides, and the time of the products."""
    ensure(settings.dataset, {"train_multi": images}, groups=["train_multi"])
    clean = read_group(settings.dataset, "train_multi", count=images).images.flatten(1)
    ours, theirs = (build_network(settings, generator(SEED, "start")) for _ in range(2))
    direct = Direct(theirs, settings)
    yield check_same_loss(clean[:COMPARED], ours, direct)
    rate = settings.training.learning_rate
    step = training_step(ours, rate, lambda: our_loss(clean, ours, settings))
    plain = training_step(theirs, rate, lambda: direct.loss(clean))
    products = dense_products(theirs, settings, images)
    peaks = [peak_bytes(side) for side in (step, plain)]
    yield (
        f"peak memory: {peaks[0] / 1e6:.0f} MB, direct {peaks[1] / 1e6:.0f} MB, "
        f"1/{peaks[1] / peaks[0]:.0f} of it"
    )
    precision = "bfloat16" if settings.training.bfloat16 else "float32"
    what = f"GUST, a training step with products in {precision}: {images} images"
    fast, slow, ratio = time_pair(step, plain, repeats)
    text = (
        f"a training step of {images} images, {settings.training.iterations} iterations of "
        f"{settings.dynamics.window} steps: {fast:.3f} s, direct {slow:.2f} s, "
        f"{ratio:.1f} times faster"
    )
    yield Comparison(what, text, fast, slow, repeats, *peaks)
    fast, bare, ratio = time_pair(step, products, repeats)
    text = (
        f"the same: {fast:.3f} s, its dense products alone {bare:.2f} s: "
        f"{1 / ratio:.2f} of their time"
    )
    note = "the other side is nothing but the dense matrix products of a step, in float32"
    yield Comparison(f"{what}; against its dense products", text, fast, bare, repeats, note=note)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--images", type=int, default=1024, help="of the batch (default 1024)")
    parser.add_argument(
        "--float32",
        action="store_true",
        help="dense products of our side in float32 (default: in bfloat16, as in training)",
    )
    options = read_options(parser, argv)
    settings = gust_settings({"training": {"bfloat16": not options.float32}})
    with threadpool_limits(options.threads):
        report(compare(settings, options.images, options.repeats), options)


if __name__ == "__main__":
    raise SystemExit(main())
