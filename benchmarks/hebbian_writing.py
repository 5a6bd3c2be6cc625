"""Hebbian memory: the writing layer, compiled against a plain PyTorch loop, forward and backward.

python -m benchmarks.hebbian_writing [--batch 32] [--steps 1000] [--memory_size 100] [--repeats 3]
    [--threads 2] [--iteration 512] [--json FILE]

Both sides write the same currents (float32), give a loss on value spikes and memory, and its
gradients. Memory is the peak of the process above what it held before (Linux). The plain loop
needs 0.3 MB for each sample and step: 10 GB with the defaults. ``--iteration B`` times instead one
training iteration of the network for associations: encoding, writing, reading, output, rate
penalty, Adam; B samples of 10 pairs and a query of 100 steps each.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from benchmarks.timing import peak_bytes, time_pair
from common.errors import command_line
from common.memory import keep_freed_memory
from common.training import generator
from hebbian_snn.config import task_settings
from hebbian_snn.kernels import write_memory
from hebbian_snn.neurons import LIFParameters
from hebbian_snn.plasticity import InvertedOja
from hebbian_snn.rates import rate_penalty
from hebbian_snn.tasks.associations import AssociationsSettings, AssociationsTask

NEURON, RULE, TAU_TRACE = LIFParameters(), InvertedOja(), 20.0
SEED = 0


def write_and_back(currents: Sequence[Tensor], backend: str) -> tuple[Tensor, ...]:
    """Value spikes (B, T, M), memory (B, M, M) and the gradients of both currents."""
    written = write_memory(
        *currents, neuron=NEURON, plasticity=RULE, tau_trace=TAU_TRACE, backend=backend
    )
    loss = written.mem.square().sum() + written.value_spikes[:, -30:].sum()
    return written.value_spikes.detach(), written.mem.detach(), *torch.autograd.grad(loss, currents)


def compare(size: int, steps: int, memory_size: int, repeats: int) -> Comparison:
    """Time and memory of both sides, and how far they agree."""
    draw = generator(SEED, "currents")
    currents = [
        (0.03 + 0.5 * torch.randn(size, steps, memory_size, generator=draw)).requires_grad_()
        for _ in range(2)
    ]
    sides = {
        name: lambda name=name: write_and_back(currents, name) for name in ("cpu", "reference")
    }
    small = [x.detach()[:2, :10].requires_grad_() for x in currents]
    for name in sides:
        write_and_back(small, name)  # compilation and libraries are not counted
    peaks = {name: peak_bytes(side) for name, side in sides.items()}
    found, expected = (side() for side in sides.values())
    differ = int((found[0] != expected[0]).sum())
    error = max(
        float((one - other).norm() / other.norm())
        for one, other in zip(found[1:], expected[1:], strict=True)
    )
    rate = float(expected[0].mean()) * 1e3
    del found, expected
    fast, direct, ratio = time_pair(*sides.values(), repeats)
    text = (
        f"{size} samples, {steps} steps, M {memory_size}, values fire at {rate:.0f} Hz: "
        f"{fast:.3f} s, plain loop {direct:.2f} s, {ratio:.0f} times faster; "
        f"peak {peaks['cpu'] / 1e6:.0f} MB, plain loop {peaks['reference'] / 1e6:.0f} MB, "
        f"1/{peaks['reference'] / peaks['cpu']:.0f} of it; "
        f"{differ} of {size * steps * memory_size} value spikes differ, "
        f"memory and gradients by {error:.1e} at most (relative)"
    )
    what = (
        f"Hebbian memory, writing layer, forward and backward: {size} samples, {steps} steps, "
        f"M {memory_size}"
    )
    return Comparison(what, text, fast, direct, repeats, *peaks.values())


def time_iteration(size: int, repeats: int) -> Comparison:
    """Seconds and peak memory of one training iteration."""
    keep_freed_memory()  # as training does
    task = AssociationsTask(task_settings(AssociationsSettings, "associations", False, {}), SEED)
    (vectors, labels, query), targets = task.batch("train", 0, range(size), slice(None))
    network = task.build(generator(SEED, "start"))
    optimizer = torch.optim.Adam(network.parameters(), task.settings.training.learning_rate)

    def iteration() -> None:
        outputs, rates = network(vectors, labels, query)
        penalty = task.settings.training.l2 * rate_penalty(list(rates.values()))
        loss = functional.cross_entropy(outputs, targets) + penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    network(vectors[:2], labels[:2], query[:2]).outputs.sum().backward()  # compiles
    peak = peak_bytes(iteration)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        iteration()
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    text = (
        f"one training iteration, {size} samples of 1000 + 100 steps: "
        f"{median:.2f} s (least {min(times):.2f}), peak {peak / 1e6:.0f} MB"
    )
    what = f"Hebbian memory, a training iteration of associations: 10 pairs, {size} samples"
    return Comparison(what, text, median, None, repeats, peak)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--batch", type=int, default=32, help="samples (default 32)")
    parser.add_argument("--steps", type=int, default=1000, help="time steps (default 1000)")
    parser.add_argument("--memory_size", type=int, default=100, help="M (default 100)")
    parser.add_argument(
        "--iteration", type=int, help="time a training iteration of so many samples"
    )
    options = read_options(parser, argv)
    if options.iteration:
        found = time_iteration(options.iteration, options.repeats)
    else:
        found = compare(options.batch, options.steps, options.memory_size, options.repeats)
    report([found], options)


if __name__ == "__main__":
    raise SystemExit(main())
