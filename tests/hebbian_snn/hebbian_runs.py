"""Small trainings on associations, and what came out of them."""

import json
import os
import socket
import subprocess
import sys

import torch

from common.checkpoints import load_checkpoint, load_training_state
from common.paths import ROOT
from hebbian_snn import memorizing_associations_task as task
from hebbian_snn.convnets.encoders import BatchNorm


def words(text):
    """The words of a command line."""
    return text.split()


SMALL = words("""--sequence_length 2 --num_classes 3 --num_time_steps 15 --embedding_size 20
    --memory_size 12 --thr 0.02 --training_size 44 --validation_size 20 --test_size 30
    --batch_size 12 --epochs 4 --decay_learning_rate_every 2 --device cpu""")


def flags(folder, *more):
    """Of a small training whose files lie in ``folder``."""
    files = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    return [*SMALL, *files, *more]


def finished(folder):
    """The checkpoint of a training."""
    return load_checkpoint(folder / "net.safetensors", model="hebbian_snn")


def last_state(folder):
    """The state after a training's last epoch."""
    return load_training_state(folder / "partial" / "hebbian_snn_net_last.pt")


def same_training(folder, other):
    """Both trainings came to the same parameters and told the same curve, bit for bit."""
    one, two = last_state(folder), last_state(other)
    for state in (one, two):
        state["curve"] = [{**line, "seconds": 0} for line in state["curve"]]
    assert one["curve"] == two["curve"]
    for tensors in (
        (one["network"], two["network"]),
        (finished(folder).tensors, finished(other).tensors),
    ):
        assert tensors[0].keys() == tensors[1].keys()
        assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def environment():
    """Of a process of its own, with one thread."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }


def command(*words, module="memorizing_associations_task"):
    """A task in a process of its own."""
    return [sys.executable, "-m", f"hebbian_snn.{module}", *map(str, words)]


def start(words, **options):
    """A process that is not waited for."""
    return subprocess.Popen(
        words,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def free_url():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def run(folder, *more):
    """Train here; the exit status."""
    return task.main(flags(folder, *more))


def log(folder):
    """The lines of an unfinished training's log."""
    path = folder / "partial" / "hebbian_snn_net.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def check_questions(one, more, dtype=torch.float32, error=1e-5, samples=range(6)):
    """Of two tasks that differ in ``--queries``: the same samples and first questions, and with
    several questions the answers, rates and gradients of the questions one by one."""
    single, several = (task.batch("train", 1, samples, slice(None)) for task in (one, more))
    n, k = len(samples), more.settings.training.queries
    queries = several.inputs[2].unflatten(0, (n, k))
    targets = several.targets.unflatten(0, (n, k))
    for x, y in zip(single.inputs[:2], several.inputs[:2], strict=True):
        assert torch.equal(x, y)
    assert torch.equal(queries[:, 0], single.inputs[2])
    assert torch.equal(targets[:, 0], single.targets)
    for row in targets:
        assert len(row.unique(dim=0)) == k, "questions about different pairs"
    part = more.batch("train", 1, samples, slice(2, 5))
    assert torch.equal(part.inputs[2], queries[2:5].flatten(0, 1))
    assert torch.equal(part.targets, targets[2:5].flatten(0, 1))
    for split in ("validation", "test"):
        assert all(
            torch.equal(x, y)
            for x, y in zip(
                one.batch(split, 0, samples, slice(None)).inputs,
                more.batch(split, 0, samples, slice(None)).inputs,
                strict=True,
            )
        )
    network = more.build(torch.Generator().manual_seed(0)).to(dtype)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.eval()  # the statistics of a batch are those of all the images asked at once
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.split(".")[0] in ("memory", "hidden", "pixels"):
                weight.abs_().mul_(3)  # something is answered within a few steps
    wide, asked, wanted = (
        [x.to(dtype) if x.is_floating_point() else x for x in tensors]
        for tensors in (several.inputs[:2], queries.unbind(1), targets.unbind(1))
    )
    answers = [network(*wide, query) for query in asked]
    outputs, rates = network(*wide, torch.stack(asked, 1).flatten(0, 1))
    assert outputs.abs().max() > 0
    torch.testing.assert_close(
        outputs.unflatten(0, (n, k)), torch.stack([answer.outputs for answer in answers], 1)
    )
    for name, rate in rates.items():
        alone = torch.stack([answer.rates[name] for answer in answers], 1)
        torch.testing.assert_close(rate.unflatten(0, (n, k)), alone)
    parameters = [p for p in network.parameters() if p.requires_grad]
    loss = more.losses(outputs, torch.stack(wanted, 1).flatten(0, 1)).mean()
    apart = [more.losses(a.outputs, y).mean() for a, y in zip(answers, wanted, strict=True)]
    for x, y in zip(
        torch.autograd.grad(loss, parameters, allow_unused=True),
        torch.autograd.grad(sum(apart) / k, parameters, allow_unused=True),
        strict=True,
    ):
        assert (x is None) == (y is None)
        if x is not None:
            assert (x - y).norm() <= error * y.norm()
