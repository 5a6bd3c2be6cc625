"""A network learns to fire once, at a given time: full precision, binarised, and annealed.

    python -m snn_tha.spike_timing --seeds 0 1 2

A network of 100 inputs, 1 000 hidden neurons and one output neuron sees the same pattern of spikes
in every iteration. The target of the output's membrane is a ramp that ends just above the
threshold, so an exact fit fires once, close to the ramp's end. In condition a the weights are real;
in b and c they are +1 and -1 and the threshold is low or high; in d it is annealed from low to
high. Every setting is a flag; values of the conditions are pairs, ``--beta a=0.6 b=0.15 c=0.15
d=0.15``. ``python -m snn_tha.figures.temporal`` draws what is found.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from common.arguments import Parser
from common.errors import command_line
from common.paths import RESULTS
from common.records import Measurement, Record, mean_measurement, new_record
from common.report import results_table
from common.results import save_arrays
from common.settings import add_arguments, load_settings, option, overrides_from_args, to_dict
from common.training import check_finite, check_seeds, generator, progress
from snn_tha.annealing import Annealing
from snn_tha.kernels import lif_scan
from snn_tha.layers import Linear
from snn_tha.membranes import membrane_scan
from snn_tha.neurons import LIFParameters

FILE = Path(__file__).parent / "settings" / "spike_timing.yaml"
NAME = "Spike timing"

CONDITIONS = {
    "a": "full precision",
    "b": "binarised, low threshold",
    "c": "binarised, high threshold",
    "d": "binarised, annealed threshold",
}


@dataclass(frozen=True)
class SpikeTimingSettings:
    """What stands in ``snn_tha/settings/spike_timing.yaml``; mappings have one value for every
    condition."""

    inputs: int = option("channels of the input pattern", minimum=1)
    hidden: int = option("hidden neurons", minimum=1)
    steps: int = option("time steps", minimum=2)
    peak_step: int = option("last step of the target's ramp", minimum=1)
    iterations: int = option("optimiser steps", minimum=1)
    learning_rate: float = option("step size of SGD", minimum=0)
    momentum: float = option("momentum of SGD", minimum=0, maximum=1)
    slope: float = option("steepness of the surrogate derivative", minimum=0)
    binary: dict[str, bool] = option("weights of +1 and -1")
    beta: dict[str, float] = option("what is left of a membrane after a step", minimum=0, maximum=1)
    thr_start: dict[str, float] = option("threshold at the start")
    thr_final: dict[str, float] = option("threshold that annealing tends to")
    alpha: dict[str, float] = option("share of the way that annealing goes", minimum=0, maximum=1)
    peak: dict[str, float] = option("end of the target's ramp")
    window: tuple[int, int] = option("steps in which a single spike is well timed", minimum=0)
    settled: int = option("iteration from which spikes count", minimum=0)
    snapshot_1: dict[str, int] = option("first iteration to show", minimum=0)
    snapshot_2: dict[str, int] = option("second iteration to show", minimum=0)
    snapshot_3: dict[str, int] = option("third iteration to show", minimum=0)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, dict) and set(value) != set(CONDITIONS):
                raise ValueError(f"{item.name} needs a value for each of {', '.join(CONDITIONS)}")
        if self.peak_step >= self.steps:
            raise ValueError("peak_step must be below steps")

    def snapshots(self, condition: str) -> list[int]:
        """The iterations to show, as far as the training comes: at most its last one."""
        wanted = (self.snapshot_1, self.snapshot_2, self.snapshot_3)
        return [min(values[condition], self.iterations - 1) for values in wanted]

    def annealing(self, condition: str) -> Annealing:
        """The way of the threshold of both layers."""
        return Annealing(*(x[condition] for x in (self.thr_start, self.thr_final, self.alpha)))


class Training(NamedTuple):
    """One condition over I iterations of T steps, each before its optimiser step.

    Attributes:
        membranes: (I, T) float32, of the output neuron. spikes: (I, T) uint8, of the same.
        mse: (I,), of the membrane to the target. thresholds: (I,), of both layers.
        rates: (I,), spikes of a hidden neuron and step. dead: (I,), share of silent hidden neurons.
    """

    membranes: np.ndarray
    spikes: np.ndarray
    mse: np.ndarray
    thresholds: np.ndarray
    rates: np.ndarray
    dead: np.ndarray


class Network(NamedTuple):
    """Two layers, both followed by neurons."""

    hidden: Linear
    output: Linear


# ---- the task -------------------------------------------------------------------------------


def input_pattern(settings: SpikeTimingSettings, seed: int) -> Tensor:
    """The pattern (steps, inputs) of 0 and 1: every entry has its own probability from U(0, 1)."""
    source = generator(seed, "pattern")
    shape = (settings.steps, settings.inputs)
    probabilities = torch.rand(shape, generator=source)
    return (torch.rand(shape, generator=source) < probabilities).float()


def target_trace(settings: SpikeTimingSettings, condition: str) -> Tensor:
    """(steps,): peak t / peak_step up to peak_step, then 0."""
    t = torch.arange(settings.steps)
    ramp = settings.peak[condition] * t / settings.peak_step
    return torch.where(t <= settings.peak_step, ramp, 0.0)


def build_network(settings: SpikeTimingSettings, condition: str, seed: int) -> Network:
    """The network at the start; all binary conditions start from the same weights."""
    source, binary = generator(seed, "weights"), settings.binary[condition]
    return Network(
        Linear(settings.inputs, settings.hidden, binary, source),
        Linear(settings.hidden, 1, binary, source),
    )


def run_network(
    network: Network, pattern: Tensor, neuron: LIFParameters, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """All steps, one layer after the other.

    Args:
        network: two layers. pattern: (T, inputs). neuron: of both layers. backend: of the scan.

    Returns:
        hidden spikes (T, hidden) and the output's membrane after each step (T,).
    """
    currents = network.hidden(pattern)
    spikes = lif_scan(currents[:, None], neuron, steps=len(pattern), backend=backend)[:, 0]
    return spikes, membrane_scan(network.output(spikes), neuron)[:, 0]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread inside the block: an iteration takes 2 ms, and on a busy machine more
    threads spend many times that in waiting for each other."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


@one_thread()
def train_condition(settings: SpikeTimingSettings, condition: str, seed: int) -> Training:
    """Train one condition from its start.

    Raises :class:`UserError` when the training diverges.
    """
    pattern, target = input_pattern(settings, seed), target_trace(settings, condition)
    network, annealing = build_network(settings, condition, seed), settings.annealing(condition)
    parameters = [*network.hidden.parameters(), *network.output.parameters()]
    optimizer = torch.optim.SGD(parameters, settings.learning_rate, settings.momentum)
    beta, traces, numbers = settings.beta[condition], [], []
    for iteration in progress(range(settings.iterations), desc=f"condition {condition}"):
        neuron = LIFParameters(beta, annealing.after(iteration), settings.slope)
        hidden, membrane = run_network(network, pattern, neuron)
        loss = (membrane - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        traces.append(membrane.detach())
        dead = (hidden.detach().amax(0) == 0).float().mean()
        numbers.append(torch.stack([loss.detach(), hidden.detach().mean(), dead]))
    return _training(traces, numbers, [annealing.after(n) for n in range(settings.iterations)])


def _training(traces: list[Tensor], numbers: list[Tensor], thresholds: list[float]) -> Training:
    membranes, (mse, rates, dead) = torch.stack(traces).numpy(), torch.stack(numbers).T.numpy()
    check_finite(float(mse.sum()), "the mean squared error")
    thresholds = np.array(thresholds, np.float32)
    spikes = (membranes > thresholds[:, None]).astype(np.uint8)
    return Training(membranes, spikes, mse, thresholds, rates, dead)


# ---- measuring ------------------------------------------------------------------------------


def single_spikes(spikes: np.ndarray) -> np.ndarray:
    """The step of the only spike of each train (I, T); -1 for trains with none or several."""
    return np.where(spikes.sum(1) == 1, spikes.argmax(1), -1)


def well_timed(settings: SpikeTimingSettings, spikes: np.ndarray) -> np.ndarray:
    """Whether the iteration counts and fires once, within the window: (I,) bool of (I, T)."""
    step = single_spikes(spikes)
    first, last = settings.window
    return (step >= first) & (step <= last) & (np.arange(len(step)) >= settings.settled)


def compute(
    settings: SpikeTimingSettings, seeds: Sequence[int], profile: str = "full"
) -> tuple[Record, dict[str, np.ndarray]]:
    """Train every condition with every seed, in one thread.

    Returns:
        the record, and for every condition ``"a-membranes"`` and so on, the fields of
        :class:`Training` for the first seed, ``"a-target"`` (T,), ``"a-snapshots"`` (3,), and
        ``"a-steps"`` (seeds, I), the step of the only spike or -1.
    """
    began = time.perf_counter()
    shown = {"settings": to_dict(settings), "seeds": list(seeds), "data": "generated"}
    record = new_record(NAME, "SNN-THA", profile, device="cpu", **shown)
    arrays = {}
    for condition in CONDITIONS:
        started = time.perf_counter()
        trainings = [train_condition(settings, condition, seed) for seed in seeds]
        seconds = (time.perf_counter() - started) / len(seeds)
        for key, values in trainings[0]._asdict().items():
            arrays[f"{condition}-{key}"] = values
        arrays[f"{condition}-target"] = target_trace(settings, condition).numpy()
        arrays[f"{condition}-snapshots"] = np.array(settings.snapshots(condition))
        arrays[f"{condition}-steps"] = np.stack([single_spikes(x.spikes) for x in trainings])
        record.measurements += _measurements(settings, condition, trainings, list(seeds), seconds)
    record.wall_seconds = time.perf_counter() - began
    return record, arrays


def _measurements(
    settings: SpikeTimingSettings,
    condition: str,
    trainings: Sequence[Training],
    seeds: list[int],
    seconds: float,
) -> list[Measurement]:
    """Errors and spikes of one condition; means over seeds."""
    where, last = f"({condition}) {CONDITIONS[condition]}", settings.snapshots(condition)[-1]
    power = float(target_trace(settings, condition).square().mean())
    late = slice(min(settings.settled, settings.iterations - 1), None)
    trains = [x.spikes for x in trainings]
    once = [int((single_spikes(x)[settings.settled :] >= 0).sum()) for x in trains]
    timed = [int(well_timed(settings, x).sum()) for x in trains]
    counted = f"iterations {settings.settled} to {settings.iterations - 1}"
    first, last_step = settings.window
    rows = [
        (f"MSE, iteration {last}", [float(x.mse[last]) for x in trainings], ""),
        (f"mean MSE, {counted}", [float(x.mse[late].mean()) for x in trainings], ""),
        (
            f"mean MSE / power of the target, {counted}",
            [float(x.mse[late].mean()) / power for x in trainings],
            "",
        ),
        (
            f"spikes, iteration {last}",
            [int(x[last].sum()) for x in trains],
            _spikes_note(last, trains[0], seeds[0]),
        ),
        (f"{counted} with one spike", once, ""),
        (
            f"{counted} with one spike, in steps {first} to {last_step}",
            timed,
            _timed_note(settings, trains, seeds),
        ),
    ]
    found = [mean_measurement(f"{where}: {what}", x, seeds=seeds, note=n) for what, x, n in rows]
    found[0].seconds = seconds
    return found


def _spikes_note(iteration: int, spikes: np.ndarray, seed: int) -> str:
    steps = ", ".join(map(str, np.flatnonzero(spikes[iteration]))) or "none"
    return f"of seed {seed} at steps {steps}"


def _timed_note(
    settings: SpikeTimingSettings, trains: Sequence[np.ndarray], seeds: Sequence[int]
) -> str:
    """How many seeds have such iterations, and when their spikes are."""
    steps = [single_spikes(x)[well_timed(settings, x)] for x in trains]
    some = [str(seed) for seed, found in zip(seeds, steps, strict=True) if len(found)]
    if not some:
        return "of no seed"
    values, counts = np.unique(np.concatenate(steps), return_counts=True)
    times = ", ".join(f"{value} ({n} times)" for value, n in zip(values, counts, strict=True))
    return f"of {len(some)} of {len(seeds)} seeds, at steps {times}"


def timing_lines(record: Record) -> list[str]:
    """Of every condition, how many seeds fire once within the window, and when."""
    return [f"{m.what}: {m.note}" for m in record.measurements if "in steps" in m.what]


# ---- command line ---------------------------------------------------------------------------


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="python -m snn_tha.spike_timing", description=__doc__)
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        help="random seeds of pattern and weights (default: 0)",
    )
    out = RESULTS / "snn_tha_spike_timing"
    parser.add_argument("--out", type=Path, default=out, help=f"folder (default: {out.name})")
    add_arguments(parser, SpikeTimingSettings, load_settings(SpikeTimingSettings, FILE))
    args = parser.parse_args(argv)
    overrides = overrides_from_args(SpikeTimingSettings, args)
    settings = load_settings(SpikeTimingSettings, FILE, overrides)
    record, arrays = compute(settings, check_seeds(args.seeds))
    save_arrays(args.out / "arrays.npz", arrays)
    record.save(args.out)
    print("\n".join([results_table([record]), *timing_lines(record)]))
    print(f"record and arrays: {args.out}")


if __name__ == "__main__":
    sys.exit(main())
