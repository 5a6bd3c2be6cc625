"""Hebbian memory on a GPU: the Triton kernels against the plain PyTorch loops, forward and
backward, in one run.

python -m benchmarks.hebbian_cuda [--batch 32] [--steps 1000] [--memory_size 100] [--repeats 3]
    [--json FILE]

Both sides take the same currents (float32) and give the gradients of a loss. Writing and encoding
go through all steps, reading through a tenth of them. Memory is PyTorch's peak on the GPU above
what it held before; the plain loop of writing needs 10 GB with the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from benchmarks.hebbian_writing import NEURON, SEED, write_and_back
from benchmarks.timing import time_pair
from common.errors import UserError, command_line
from common.training import generator
from hebbian_snn.kernels import lif_scan, read_memory

ITEM = 100
"""Steps of an item of the encoding layer."""

Inputs = Sequence[Tensor]
Run = Callable[[Inputs, str], tuple[Tensor, ...]]


def scan_and_back(inputs: Inputs, backend: str) -> tuple[Tensor, ...]:
    """Spikes of the encoding layer and the gradient of its (B, items, N) currents."""
    spikes, _ = lif_scan(*inputs, NEURON, num_time_steps=ITEM, backend=backend)
    loss = spikes[:, -30:].sum() + spikes.mean(0).square().sum()
    return spikes.detach(), *torch.autograd.grad(loss, inputs)


def read_and_back(inputs: Inputs, backend: str) -> tuple[Tensor, ...]:
    """Value spikes and the gradients of currents (B, T, M), weight (M, M), memory (B, M, M)."""
    read = read_memory(*inputs, neuron=NEURON, backend=backend)
    loss = read.value_spikes[:, -30:].sum() + read.key_spikes.mean(0).square().sum()
    return read.value_spikes.detach(), *torch.autograd.grad(loss, inputs)


def inputs_of(size: int, steps: int, n: int) -> dict[str, tuple[Run, list[Tensor]]]:
    """What is timed, and its inputs on the GPU."""
    draw = generator(SEED, "currents")

    def normal(*shape: int, mean: float, scale: float) -> Tensor:
        drawn = mean + scale * torch.randn(shape, generator=draw)
        return drawn.to("cuda").requires_grad_()

    items, asked = max(steps // ITEM, 1), max(steps // 10, 1)
    writing = [normal(size, steps, n, mean=0.03, scale=0.5) for _ in range(2)]
    query = normal(size, asked, n, mean=0.03, scale=0.5)
    weight = normal(n, n, mean=0.0, scale=(2 / n) ** 0.5)
    mem = normal(size, n, n, mean=0.2, scale=0.1)
    return {
        f"encoding, {items} items of {ITEM} steps": (
            scan_and_back,
            [normal(size, items, n, mean=0.2, scale=0.6)],
        ),
        f"writing, {steps} steps": (write_and_back, writing),
        f"reading, {asked} steps": (read_and_back, [query, weight, mem]),
    }


def peak_bytes(run: Callable[[], object]) -> int:
    """What PyTorch holds at most on the GPU during a call, above what it holds before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def compare(name: str, run: Run, inputs: list[Tensor], size: int, repeats: int) -> Comparison:
    """Time and memory of both sides, and how far they agree."""
    fast, direct = (partial(run, inputs, backend) for backend in ("cuda", "reference"))
    found, expected = fast(), direct()
    differ = int((found[0] != expected[0]).sum())
    error = max(
        float((one - other).norm() / other.norm())
        for one, other in zip(found[1:], expected[1:], strict=True)
    )
    spikes, rate = expected[0].numel(), float(expected[0].mean()) * 1e3
    del found, expected
    peaks = [peak_bytes(side) for side in (fast, direct)]

    def to_the_end(side: Callable[[], object]) -> None:
        side()
        torch.cuda.synchronize()

    seconds = time_pair(partial(to_the_end, fast), partial(to_the_end, direct), repeats)
    text = (
        f"{name}: {1e3 * seconds[0]:.2f} ms, plain loop {1e3 * seconds[1]:.1f} ms, "
        f"{seconds[2]:.0f} times faster; peak {peaks[0] / 1e6:.0f} MB, "
        f"plain loop {peaks[1] / 1e6:.0f} MB; {differ} of {spikes} spikes differ, the rest by "
        f"{error:.1e} at most (relative); neurons fire at {rate:.0f} Hz"
    )
    what = f"Hebbian memory on a GPU, {name}, forward and backward: {size} samples"
    return Comparison(what, text, *seconds[:2], repeats, *peaks)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=False)
    parser.add_argument("--batch", type=int, default=32, help="samples (default 32)")
    parser.add_argument("--steps", type=int, default=1000, help="time steps (default 1000)")
    parser.add_argument("--memory_size", type=int, default=100, help="M (default 100)")
    options = read_options(parser, argv)
    if not torch.cuda.is_available():
        raise UserError(
            "this benchmark needs a CUDA device, and PyTorch sees none here; "
            "python -m benchmarks.hebbian_writing times the CPU's kernels"
        )
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    print(f"{options.batch} samples, M {options.memory_size}, forward and backward:")
    sizes = (options.batch, options.steps, options.memory_size)
    inputs = inputs_of(*sizes).items()
    report((compare(name, *x, sizes[0], options.repeats) for name, x in inputs), options)


if __name__ == "__main__":
    raise SystemExit(main())
