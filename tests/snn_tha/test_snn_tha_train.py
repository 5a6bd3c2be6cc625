"""Training: an epoch as its equations, and runs that are killed, repeated, shared or refused."""

import copy
import csv
import json
import math
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from interruption import interrupt_after

from common import learner
from common.checkpoints import load_checkpoint
from common.distributed import Distributed
from common.paths import ROOT
from common.training import generator
from datasets.events import Recording, pack_events
from snn_tha import data as data_module
from snn_tha import reference, run, train
from snn_tha.config import tha_settings
from snn_tha.data import EventSamples, load_data
from snn_tha.losses import count_loss
from snn_tha.network import Draws

TINY = [
    "--dataset", "mnist", "--data", "embedded", "--train_samples", "50", "--test_samples", "20",
    "--steps", "6", "--test_steps", "7", "--convolutions", "2", "3", "--thr_start", "0.6", "0.7",
    "0.5", "--thr_added", "0.5", "0.4", "0.3", "--alpha", "0.1", "0.2", "0.3", "--dropout", "0",
    "0.1", "0.2", "--batch_size", "16", "--epochs", "4", "--device", "cpu",
]  # fmt: skip
ALONE = Distributed(0, 1, torch.device("cpu"))


def tiny_settings(optimizer="adam", **network):
    return tha_settings(
        "mnist",
        {
            "input": {"steps": 6, "test_steps": 7, "train_samples": 50, "test_samples": 20},
            "network": {"convolutions": [2, 3], "dropout": [0, 0, 0.2], **network},
            "neuron": {
                "thr_start": [0.6, 0.7, 0.5],
                "thr_added": [0.5, 0.4, 0.3],
                "alpha": [0.1, 0.2, 0.3],
            },
            "training": {
                "batch_size": 16,
                "optimizer": optimizer,
                "momentum": 0.9,
                "gradient_clip": 0.05,
                "weight_clip": 0.1,
                "t_0": 4,
                "bfloat16": False,
            },
        },
    )


def flags(folder, *more):
    places = [
        "--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial"),
        "--logs", str(folder / "logs"),
    ]  # fmt: skip
    return [*TINY, *places, *more]


def finished(folder, name="net"):
    return load_checkpoint(folder / f"{name}.safetensors", model="snn_tha")


def same_training(one, other):
    """Bit for bit the same network, scores and curve, but for times."""
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
    for key in one.metadata.keys() - {"seconds", "command", "curve"}:
        assert one.metadata[key] == other.metadata[key], key
    assert untimed(one.metadata["curve"]) == untimed(other.metadata["curve"])


def untimed(curve):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in curve]


def error_of(capsys, status):
    """The one sentence that a refused command prints."""
    assert status == 1
    text = capsys.readouterr().err.strip().splitlines()[-1]
    assert text.startswith("error: ")
    return text


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Equal bit for bit needs equal threads, here and in the processes that are started."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    assert run.main(flags(folder)) == 0
    return finished(folder)


# ---- an epoch -------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_epoch_is_its_equations(optimizer):
    """Order of the samples, loss, clips, learning rate and annealing, the last batch smaller."""
    settings, epoch, done = tiny_settings(optimizer), 1, 3
    data = load_data(settings, "embedded")
    trainer = train.Trainer(settings, data, 5, ALONE)
    ours = train.build_network(settings, (1, 28, 28), 10, generator(5, "start")).double()
    theirs = reference.PlainNetwork(copy.deepcopy(ours))
    step = train.build_optimizer(ours, settings.training)
    loss, after = trainer.train_epoch(ours, step, epoch, done)
    training = settings.training
    if optimizer == "adam":
        step = torch.optim.Adam(theirs.parameters())
    else:
        step = torch.optim.SGD(theirs.parameters(), momentum=0.9)
    drawn = torch.randperm(45, generator=generator(5, "epoch", epoch)).numpy()
    order = data.train_indices[drawn]
    total, clipped = 0.0, 0
    thresholds = [neuron.thr for neuron in settings.neurons(done)]
    for batch in (order[:16], order[16:32], order[32:]):
        step.param_groups[0]["lr"] = (
            training.learning_rate * (1 + math.cos(math.pi * done / training.t_0)) / 2
        )
        step.zero_grad()
        neurons = [
            neuron._replace(thr=thr)
            for neuron, thr in zip(settings.neurons(0), thresholds, strict=True)
        ]
        spikes = theirs(data.train.batch(batch).double(), neurons, 6, Draws(5, epoch, batch))
        found = count_loss(spikes[-1], data.train.labels[batch])
        (found / len(batch)).backward()
        total += found.item()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.05)
        clipped += norm.item() > 0.05
        with torch.no_grad():
            for name, parameter in theirs.named_parameters():
                if name.endswith("weight") and "norms" not in name:
                    parameter.clamp_(-0.1, 0.1)
        step.step()
        done += 1
        thresholds = [
            thr + alpha * (start + added - thr)
            for thr, alpha, start, added in zip(
                thresholds, (0.1, 0.2, 0.3), (0.6, 0.7, 0.5), (0.5, 0.4, 0.3), strict=True
            )
        ]
    assert after == done
    assert clipped
    assert loss == pytest.approx(total / 45, rel=1e-5)
    named = dict(theirs.network.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, named[name], rtol=1e-6, atol=1e-8)
    assert thresholds == pytest.approx([neuron.thr for neuron in settings.neurons(after)])


def test_scores_are_those_of_the_direct_model():
    """Accuracy, firing rates and dead neurons, over batches of different sizes."""
    settings = tiny_settings()
    data = load_data(settings, "embedded")
    network = train.build_network(settings, (1, 28, 28), 10, generator(0, "start"))
    found = train.Trainer(settings, data, 0, ALONE).test(network, 7)
    direct = reference.PlainNetwork(network).eval()
    spikes = direct(data.test.batch(data.test_indices), settings.neurons(7), 7)
    right = spikes[-1].sum(0).argmax(1) == data.test.labels[data.test_indices]
    assert found.accuracy == pytest.approx(right.double().mean().item())
    assert found.rates == pytest.approx([layer.mean().item() for layer in spikes], rel=1e-5)
    dead = [(layer.sum((0, 1)) == 0).double().mean().item() for layer in spikes]
    assert found.dead == pytest.approx(dead)
    assert max(dead) > 0


def test_splits_are_apart_and_the_same_for_all_seeds():
    data = load_data(tiny_settings(), "embedded")
    assert (len(data.train_indices), len(data.validation_indices)) == (45, 5)
    assert not set(data.train_indices) & set(data.validation_indices)
    again = load_data(tiny_settings(), "embedded")
    assert np.array_equal(data.validation_indices, again.validation_indices)
    assert len(data.test_indices) == 20
    images = data.train.batch(np.array([3, 1]))
    assert images.shape == (1, 2, 1, 28, 28)
    assert 0.9 < images.max() <= 1


def test_events_are_counted_in_windows_of_their_recordings():
    """The first steps for testing, random windows for training; the settings' pixels and bins."""
    settings = tha_settings("dvs", {"input": {"steps": 4, "test_steps": 8}}).input
    times = np.array([0, 4999, 5000, 12000, 39000])
    addresses = np.array([0, 1, 128, 2**14, 2**14 + 4])
    recording = Recording(times, addresses, 40000, 1, "test")
    events = pack_events([recording, recording], (2, 128, 128), 11, "test")
    samples = EventSamples(events, settings, 8)
    counts = samples.batch(np.array([1]))
    assert counts.shape == (8, 1, 2, 32, 32)
    assert counts[:, 0, 0, 0, 0].tolist() == [2, 1, 0, 0, 0, 0, 0, 0]
    assert counts[:, 0, 1, 0, 0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert (counts[7, 0, 1, 0, 1], counts.sum()) == (1, 5)
    samples = EventSamples(events, settings, 4)
    windows = [samples.batch(np.zeros(40, int), generator(seed, "w")) for seed in (0, 0, 1)]
    assert torch.equal(windows[0], windows[1])
    assert not torch.equal(windows[0], windows[2])
    assert windows[0].sum((0, 2, 3, 4)).unique().numel() > 1


# ---- runs -----------------------------------------------------------------------------------


def test_a_run_learns_and_tells_its_curve(whole):
    curve = whole.metadata["curve"]
    assert [line["epoch"] for line in curve] == [1, 2, 3, 4]
    assert [line["optimizer_steps"] for line in curve] == [3, 6, 9, 12]
    assert curve[-1]["loss"] < 0.98 * curve[0]["loss"]
    for line in curve:
        left = 1.1 - 0.5 * 0.9 ** line["optimizer_steps"]
        assert line["thresholds"][0] == pytest.approx(left)
        assert len(line["rates"]) == len(line["dead"]) == 3
        assert line["seconds"] > 0
    best = max(curve, key=lambda line: line["validation_accuracy"])
    assert whole.metadata["epoch"] == best["epoch"]
    assert whole.metadata["test_accuracy"] == best["test_accuracy"]
    assert whole.metadata["data"] == {
        "source": "MNIST, 5 000 images", "train": 45, "validation": 5, "test": 20,
    }  # fmt: skip


def test_a_run_repeats_itself_and_trials_differ(whole, tmp_path):
    """Two trials have files of their own and one table."""
    assert run.main(flags(tmp_path, "--trials", "2")) == 0
    same_training(finished(tmp_path), whole)
    other = finished(tmp_path, "net_seed1")
    assert other.metadata["seed"] == 1
    assert not torch.equal(other.tensors["linears.0.weight"], whole.tensors["linears.0.weight"])
    assert not list((tmp_path / "partial").iterdir()), "the state of a finished run is removed"
    with open(tmp_path / "logs" / "net.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["epoch"]) for row in rows] == [
        (seed, epoch) for seed in "01" for epoch in "1234"
    ]
    thresholds = whole.metadata["curve"][2]["thresholds"]
    assert float(rows[2]["thresholds_2"]) == pytest.approx(thresholds[1])
    logged = json.loads((tmp_path / "logs" / "net.json").read_text())
    accuracies = [trial.metadata["test_accuracy"] for trial in (whole, other)]
    summary = logged["summary"]["test_accuracy"]
    assert summary["mean"] == pytest.approx(np.mean(accuracies))
    assert summary["std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert [trial["seed"] for trial in logged["trials"]] == [0, 1]


@pytest.mark.parametrize(
    ("more", "thresholds", "condition"),
    [
        (["--annealing", "false"], [0.6, 0.7, 0.5], "start"),
        (["--no-annealing", "--fixed", "final"], [1.1, 1.1, 0.8], "final"),
        (["--binarize=false"], [10, 10, 1], "full_precision"),
    ],
)
def test_conditions(more, thresholds, condition, tmp_path):
    assert run.main(flags(tmp_path, *more, "--epochs", "1")) == 0
    metadata = finished(tmp_path).metadata
    assert metadata["thresholds"] == pytest.approx(thresholds)
    settings = run.tha_settings("mnist", metadata["settings"])
    assert settings.condition == condition
    assert run.network_name(settings, 0) == f"mnist_{condition}"
    assert run.network_name(settings, 2) == f"mnist_{condition}_seed2"


def test_the_original_selects_on_test_data(tmp_path):
    """And trains on all training samples."""
    assert run.main(flags(tmp_path, "--select_on", "test", "--patience", "1")) == 0
    metadata = finished(tmp_path).metadata
    assert metadata["data"]["train"] == 50
    assert metadata["data"]["validation"] == 0
    curve = metadata["curve"]
    assert "validation_accuracy" not in curve[0]
    assert metadata["test_accuracy"] == max(line["test_accuracy"] for line in curve)


@pytest.mark.parametrize("epochs", [1, 4])
def test_ctrl_c_and_on(epochs, whole, tmp_path, monkeypatch, capsys):
    """After the first epoch, and between the last one and the checkpoint."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, learner, epochs)
        assert run.main(flags(tmp_path)) == 130
    assert not (tmp_path / "net.safetensors").exists()
    log = (tmp_path / "partial" / "snn_tha_net.jsonl").read_text().splitlines()
    assert untimed(map(json.loads, log)) == untimed(whole.metadata["curve"][:epochs])
    capsys.readouterr()
    text = error_of(capsys, run.main(flags(tmp_path, "--alpha", "0.1", "0.2", "0.4")))
    assert "neuron.alpha" in text
    assert run.main(flags(tmp_path)) == 0
    same_training(finished(tmp_path), whole)


def test_a_finished_checkpoint_is_left_alone(whole, tmp_path, capsys):
    assert run.main(flags(tmp_path, "--epochs", "1")) == 0
    before = (tmp_path / "net.safetensors").read_bytes()
    assert run.main(flags(tmp_path, "--epochs", "1")) == 0
    assert "--overwrite" in capsys.readouterr().out
    assert (tmp_path / "net.safetensors").read_bytes() == before
    text = error_of(capsys, run.main(flags(tmp_path, "--epochs", "2")))
    assert "training.epochs: 1 there, 2 here" in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--dataset", "cifar"], "known are mnist, fmnist, shd, dvs"),
        (["--dataset", "fmnist"], "Fashion-MNIST has no embedded stand-in"),
        (["--trials", "0"], "--trials is 0"),
        (["--backend", "nonsense"], "unknown backend"),
        (["--beta", "1.5"], "beta"),
        (["--dropout", "0", "0.1"], "2 values of dropout for 3 layers"),
        (["--thr_start", "1"], "1 values of thr_start for 3 layers"),
        (["--convolutions", "2", "2", "2", "--dropout", "0", "0", "0", "0"], "values of thr_start"),
        (["--learning_rate", "1e38"], "the norm of the weights became"),
        (["--optimizer", "rmsprop"], "adam, sgd"),
        (["--seed", "-1"], "seed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_cannot_work(more, says, tmp_path, capsys):
    assert says in error_of(capsys, run.main(flags(tmp_path, *more)))
    assert not (tmp_path / "net.safetensors").exists()


def test_scale_that_does_not_divide_the_camera(tmp_path, capsys, monkeypatch):
    recording = Recording(np.array([5]), np.array([0]), 10, 1, "test")
    events = pack_events([recording] * 10, (2, 128, 128), 11, "test")
    monkeypatch.setitem(data_module.LOADERS, "dvs", lambda split, data: events)
    places = flags(tmp_path)[len(TINY) :]
    text = error_of(capsys, run.main(["--dataset", "dvs", "--scale", "3", *places]))
    assert "cannot be joined 3 x 3" in text


def test_switches_are_spelled_either_way():
    given = ["--binarize", "false", "--annealing=true", "--seed", "1", "--batch_norm", "True"]
    assert run.spell_switches(given) == [
        "--no-binarize", "--annealing", "--seed", "1", "--batch_norm",
    ]  # fmt: skip
    assert run.spell_switches(["--out", "a=false", "false"]) == ["--out", "a=false", "false"]


# ---- processes ------------------------------------------------------------------------------


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.mark.parametrize("dataset", ["mnist", "shd"])
def test_the_original_commands(dataset, tmp_path):
    """``python run.py`` in the data set's folder."""
    found = subprocess.run(
        [sys.executable, "run.py", "--help"],
        cwd=ROOT / "snn_tha" / dataset,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0
    assert "--binarize" in found.stdout


@pytest.mark.slow
def test_two_processes_train_as_one(whole, tmp_path):
    """Also the statistics of batch normalisation. Sums are rounded in another order, which a
    flipped spike would amplify: so the first epochs only, and no bfloat16."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    short = ["--epochs", "2", "--no-bfloat16"]
    assert run.main(flags(alone, *short)) == 0
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    group = ["--dist_url", url, "--world_size", "2", "--dist_timeout", "240", *short]
    command = [sys.executable, "-m", "snn_tha.run", *flags(together, *group)]
    processes = [
        subprocess.Popen([*command, "--rank", rank], env=environment(), cwd=ROOT) for rank in "01"
    ]
    try:
        assert [process.wait(300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    one, two = finished(alone), finished(together)
    for line, other in zip(one.metadata["curve"], two.metadata["curve"], strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-4)
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(tensor, two.tensors[name], rtol=1e-3, atol=1e-4)
