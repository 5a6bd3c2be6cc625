"""What a GPU shows in some minutes, without a network connection.

    scripts/gpu_check.sh [--pretend] [--only tests kernels steps field nccl]

1. ``tests``: ``pytest -m gpu``, all kernels against the reference.
2. ``steps``: a training step of every task on the CPU and on the GPU: loss and time of both.
3. ``kernels``: each Hebbian kernel against a plain PyTorch loop (``benchmarks.hebbian_cuda``), with
   the least that its bytes would take.
4. ``field``: one linear layer and LIF neurons, batch 16, 500 steps, 16 000 neurons, forward and
   backward, as the open neuromorphic community times it.
5. ``nccl``: a training in one process for each GPU under torchrun.

Writes ``docs/results/gpu.json`` and ``docs/gpu.md``, which name the card. With ``--pretend`` sizes
are cut, everything runs on the CPU, nothing is written: it shows that this command works.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from common.arguments import Parser
from common.distributed import Distributed
from common.errors import UserError, command_line
from common.files import write_json
from common.paths import ROOT
from common.training import choose_device, generator

PARTS = ("tests", "steps", "kernels", "field", "nccl")
PUBLISHED = {"Spyx": 0.047, "Norse": 0.109, "SpikingJelly CuPy": 0.118, "snnTorch": 3.08}
"""Seconds of part 4 on an RTX 4090, from the community's chart."""


def seconds_of(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median time of a call, after one that is not timed."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


# ---- a training step of every task --------------------------------------------------------------

Step = Callable[[], float]


def associations(device: torch.device, pretend: bool) -> Step:
    """A step of the settings' batch, with 5 pairs a sample."""
    from hebbian_snn.tasks.associations import AssociationsTask

    return _hebbian(AssociationsTask, device, {"dataset.sequence_length": 5}, pretend)


def _hebbian(
    task_type: type, device: torch.device, overrides: dict[str, Any], pretend: bool
) -> Step:
    from hebbian_snn.config import task_settings
    from hebbian_snn.training.loop import Totals, Trainer

    small = {"training.batch_size": 4, "network.memory_size": 14, "network.embedding_size": 12}
    nested: dict[str, Any] = {}
    for name, value in {**overrides, **(small if pretend else {})}.items():
        section, key = name.split(".")
        nested.setdefault(section, {})[key] = value
    task = task_type(task_settings(task_type.settings_type, task_type.name, False, nested), 0)
    network = task.build(generator(0, "start")).to(device)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-3)
    trainer = Trainer(task, network, Distributed(0, 1, device))
    samples = task.batches("train")[0]

    def step() -> float:
        totals = Totals(task)
        trainer.step(optimizer, 0, samples, totals)
        return totals.means(trainer.group)[task.loss_name]

    return step


def binding(device: torch.device, pretend: bool) -> Step:
    """GUST: a step of 1 024 images of 28 x 28, 8 iterations."""
    from gust.config import gust_settings
    from gust.dynamics import Noise
    from gust.train import loss_of
    from gust.trained import build_network

    settings = gust_settings({})
    network = build_network(settings, generator(0, "start")).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    count, pixels = (4 if pretend else 1024), network.decoder[-1].out_features
    images = (torch.rand(count, pixels, generator=generator(0, "images")) < 0.15).float()
    images, indices = images.to(device), torch.arange(count).to(device)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(network, images, settings, Noise(0, 5, indices), "auto")
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def annealing(device: torch.device, pretend: bool) -> Step:
    """SNN-THA: a step of MNIST's network, on random images."""
    from snn_tha.config import tha_settings
    from snn_tha.losses import count_loss
    from snn_tha.network import Draws
    from snn_tha.train import build_network, build_optimizer

    settings = tha_settings("mnist", {})
    network = build_network(settings, (1, 28, 28), 10, generator(0, "start")).to(device)
    optimizer = build_optimizer(network, settings.training)
    count = 2 if pretend else settings.training.batch_size
    steps = 5 if pretend else settings.input.steps
    x = torch.rand(1, count, 1, 28, 28, generator=generator(0, "images")).to(device)
    labels, indices = (torch.arange(count) % 10).to(device), torch.arange(count).to(device)

    def step() -> float:
        optimizer.zero_grad()
        spikes = network(x, settings.neurons(0), steps, Draws(0, 0, indices))
        loss = count_loss(spikes[-1], labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


TASKS = {"associations": associations, "GUST": binding, "SNN-THA": annealing}


def steps_of_all(device: torch.device, pretend: bool) -> list[dict[str, Any]]:
    """Loss and time of a step on CPU and GPU; the losses are those of the first step, from one
    start."""
    rows = []
    for name, make in TASKS.items():
        row: dict[str, Any] = {"task": name}
        for side, where in (("cpu", torch.device("cpu")), ("gpu", device)):
            step = make(where, pretend)
            row[f"{side}_loss"] = step()
            row[f"{side}_seconds"] = seconds_of(step, where, 1 if pretend or side == "cpu" else 10)
        row["ratio"] = row["cpu_seconds"] / row["gpu_seconds"]
        row["apart"] = abs(row["gpu_loss"] - row["cpu_loss"]) / max(abs(row["cpu_loss"]), 1e-30)
        rows.append(row)
    return rows


# ---- the rest -----------------------------------------------------------------------------------


def field(device: torch.device, pretend: bool) -> dict[str, Any]:
    """Seconds of forward and backward of the community's layer."""
    from snn_tha.kernels import lif_scan
    from snn_tha.neurons import LIFParameters

    batch, steps, n = (2, 5, 30) if pretend else (16, 500, 16_000)
    linear = nn.Linear(n, n).to(device)
    x = torch.rand(steps, batch, n, generator=generator(0, "input")).to(device)

    def run() -> None:
        spikes = lif_scan(linear(x), LIFParameters(0.9, 1.0, 5.0), steps=steps)
        spikes.sum().backward()

    found = {"batch": batch, "steps": steps, "neurons": n, "published_rtx_4090": PUBLISHED}
    return {**found, "seconds": seconds_of(run, device, 1 if pretend else 5)}


def _run(command: list[str], seconds: int) -> dict[str, Any]:
    """A command's status and last lines."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"status": "no end", "said": f"stopped after {seconds} s"}
    return {"status": done.returncode, "said": (done.stdout + done.stderr).strip()[-2000:]}


def tests(device: torch.device, pretend: bool) -> dict[str, Any]:
    """All tests that need a GPU; without one they are only collected."""
    more = ["--collect-only"] if pretend else []
    return _run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", *more, "tests"], 240)


def kernels(device: torch.device, pretend: bool) -> dict[str, Any]:
    """Times of the Hebbian kernels against plain loops."""
    if pretend:
        return {"status": 0, "said": "left out"}
    return _run([sys.executable, "-m", "benchmarks.hebbian_cuda"], 180)


def nccl(device: torch.device, pretend: bool) -> dict[str, Any]:
    """A short training with a process for every GPU."""
    count = 1 if pretend else torch.cuda.device_count()
    with tempfile.TemporaryDirectory() as folder:
        flags = "--images 40 --epochs 1 --batch_size 16 --encoder_widths 32 20 --decoder_widths "
        flags += f"20 32 --score_images 4 --settle 3 --device {device.type} --partial {folder} "
        flags += f"--out {folder}/net.safetensors --train_objects 3"
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        found = _run([sys.executable, *start, "-m", "gust.train", *flags.split()], 120)
    return {"processes": count, **found}


def page(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = [f"# {record['card']}", "", f"`scripts/gpu_check.sh`, PyTorch {record['torch']}.", ""]
    if "steps" in record:
        lines += ["| training step | CPU | GPU | ratio | losses apart |", "|---|---|---|---|---|"]
        lines += [
            f"| {r['task']} | {1e3 * r['cpu_seconds']:.1f} ms | {1e3 * r['gpu_seconds']:.1f} ms | "
            f"{r['ratio']:.1f} | {r['apart']:.1e} |"
            for r in record["steps"]
        ]
    if "field" in record:
        shown = ", ".join(f"{name} {seconds} s" for name, seconds in PUBLISHED.items())
        seconds = record["field"]["seconds"]
        lines += ["", f"Layer of the field: {seconds:.3f} s here (RTX 4090: {shown})."]
    for part in ("tests", "kernels", "nccl"):
        if part in record:
            said = record[part]["said"]
            lines += ["", f"## {part}: status {record[part]['status']}", "", "```", said, "```"]
    return "\n".join(lines) + "\n"


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="scripts/gpu_check.sh", description=__doc__)
    parser.add_argument("--pretend", action="store_true", help="small, on the CPU, writes nothing")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    args: argparse.Namespace = parser.parse_args(argv)
    if not args.pretend and not torch.cuda.is_available():
        raise UserError("there is no GPU here; --pretend tries the command without one")
    device = choose_device("cpu" if args.pretend else "cuda")
    card = "no GPU, pretended" if args.pretend else torch.cuda.get_device_name()
    record: dict[str, Any] = {"card": card, "torch": torch.__version__}
    parts = {"tests": tests, "steps": steps_of_all, "kernels": kernels, "field": field}
    for part, run in {**parts, "nccl": nccl}.items():
        if part in args.only:
            began = time.perf_counter()
            record[part] = run(device, args.pretend)
            print(f"{part}: {time.perf_counter() - began:.0f} s", flush=True)
    text = page(record)
    print(text)
    failed = [p for p in ("tests", "kernels", "nccl") if record.get(p, {}).get("status", 0) != 0]
    if not args.pretend:
        write_json(Path(ROOT / "docs/results/gpu.json"), json.loads(json.dumps(record)))
        (ROOT / "docs/gpu.md").write_text(text, encoding="utf-8")
    if failed:
        raise UserError(f"{', '.join(failed)} failed; see above")


if __name__ == "__main__":
    sys.exit(main())
