"""A training iteration of SNN-THA: layer by layer and compiled, against one time step at a time.

python -m benchmarks.snn_tha [--network mnist] [--repeats 3] [--threads 2] [--float32]
    [--batch_size 128] [--json FILE]

Both sides take the same batch, a network of the published size and its settings, with dropout, and
take a step of Adam or SGD on the loss. The direct side (``snn_tha/reference.py``) is
plain PyTorch: a loop over time steps, each operation on its own, autograd. Before the clock starts,
both compute the loss with the same dropout masks, which must agree. Images are random; events have
the rate of spoken digits. Memory is the peak of the process above what it held before (Linux). It
is measured before the clock starts, because from then on freed memory stays with the process, for
both sides.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from benchmarks.timing import peak_bytes, time_pair
from common.errors import UserError, command_line
from common.memory import keep_freed_memory
from common.training import generator, has_bfloat16
from snn_tha.config import Settings, tha_settings
from snn_tha.losses import count_loss
from snn_tha.network import Draws, Execution
from snn_tha.reference import PlainNetwork
from snn_tha.train import build_network, build_optimizer

SEED = 0
SHAPES = {"mnist": ((1, 28, 28), 10), "shd": ((700,), 20), "dvs": ((2, 32, 32), 11)}
"""Of a sample at one step, and the number of classes."""
EVENTS = 0.02
"""Events of a channel or pixel and step."""
INK = 0.2
"""Share of an image's pixels that are not 0."""


class Batch(NamedTuple):
    """Inputs (T or 1, B, ...) and labels (B,)."""

    x: Tensor
    labels: Tensor


def random_batch(name: str, settings: Settings) -> Batch:
    """A batch of the published size."""
    shape, classes = SHAPES[name]
    size, draws = settings.training.batch_size, generator(SEED, "batch")
    if name == "mnist":
        x = torch.rand(1, size, *shape, generator=draws)
        x *= torch.rand(x.shape, generator=draws) < INK
    else:
        rates = torch.full((settings.input.steps, size, *shape), EVENTS)
        x = torch.poisson(rates, generator=draws).to(torch.int16)
    return Batch(x, torch.randint(classes, (size,), generator=draws))


class Side(NamedTuple):
    """A network, and the spikes (T, B, classes) of its last layer for a batch."""

    network: nn.Module
    spikes: Callable[[], Tensor]


def both_sides(name: str, settings: Settings, batch: Batch, bfloat16: bool) -> tuple[Side, Side]:
    """Ours and the direct one, with equal weights and dropout masks."""
    shape, classes = SHAPES[name]
    ours, theirs = (
        build_network(settings, shape, classes, generator(SEED, "start")) for _ in range(2)
    )
    direct = PlainNetwork(theirs)
    arguments = (settings.neurons(0), settings.input.steps)
    arguments = (*arguments, Draws(SEED, 0, np.arange(len(batch.labels))))
    execution = Execution(bfloat16=bfloat16)
    numbers = batch.x.float()
    return (
        Side(ours, lambda: ours(batch.x, *arguments, execution)[-1]),
        Side(theirs, lambda: direct(numbers, *arguments)[-1]),
    )


def training_step(side: Side, settings: Settings, labels: Tensor) -> Callable[[], None]:
    """A function that takes one step on the loss of the batch."""
    optimizer = build_optimizer(side.network, settings.training)

    def step() -> None:
        optimizer.zero_grad()
        (count_loss(side.spikes(), labels) / len(labels)).backward()
        optimizer.step()

    return step


@torch.no_grad()
def check_same_loss(sides: Sequence[Side], labels: Tensor) -> str:
    """The loss of both sides in words; raises :class:`UserError` where they differ by more than a
    few spikes that rounding has moved."""
    ours, theirs = ((count_loss(side.spikes(), labels) / len(labels)).item() for side in sides)
    if abs(ours - theirs) > 1e-2 * theirs:
        raise UserError(f"our loss {ours} differs from the direct one {theirs}")
    return f"loss with the same weights and dropout masks: {ours:.5f}, direct {theirs:.5f}"


def peak_of(step: Callable[[], None]) -> int:
    """Bytes at most during a call; what earlier calls have freed is given back before."""
    step()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return peak_bytes(step)


def compare(
    name: str, settings: Settings, bfloat16: bool, repeats: int
) -> Iterator[str | Comparison]:
    """Time and memory of both sides."""
    batch = random_batch(name, settings)
    sides = both_sides(name, settings, batch, bfloat16)
    yield check_same_loss(sides, batch.labels)
    steps = [training_step(side, settings, batch.labels) for side in sides]
    peaks = [peak_of(step) for step in steps]
    yield (
        f"peak memory: {peaks[0] / 1e6:.0f} MB, direct {peaks[1] / 1e6:.0f} MB, "
        f"1/{peaks[1] / peaks[0]:.1f} of it"
    )
    keep_freed_memory()
    fast, slow, ratio = time_pair(*steps, repeats)
    text = (
        f"a training iteration of the {name} network, {len(batch.labels)} samples, "
        f"{settings.input.steps} steps: {fast:.3f} s, direct {slow:.2f} s, {ratio:.1f} times faster"
    )
    what = (
        f"SNN-THA, a training iteration of the {name} network: {len(batch.labels)} samples, "
        f"{settings.input.steps} steps"
    )
    yield Comparison(what, text, fast, slow, repeats, *peaks)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--network", choices=tuple(SHAPES), default="mnist")
    parser.add_argument("--batch_size", type=int, help="samples (default: the published number)")
    parser.add_argument(
        "--float32",
        action="store_true",
        help="our products in float32 (default: bfloat16 where the processor has it)",
    )
    options = read_options(parser, argv)
    bfloat16 = not options.float32 and has_bfloat16(torch.device("cpu"))
    print(f"our products in {'bfloat16' if bfloat16 else 'float32'}")
    sizes = {"training": {"batch_size": options.batch_size}} if options.batch_size else {}
    settings = tha_settings(options.network, sizes)
    with threadpool_limits(options.threads):
        report(compare(options.network, settings, bfloat16, options.repeats), options)


if __name__ == "__main__":
    raise SystemExit(main())
