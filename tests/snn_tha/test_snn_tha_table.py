"""The table of conditions: what is trained, read, drawn and refused."""

import copy

import numpy as np
import pytest
import torch

from common.checkpoints import load_checkpoint, save_checkpoint
from common.results import load_results
from common.settings import load_settings, to_dict
from datasets.choices import EMBEDDED_DIGITS
from snn_tha.config import FOLDER, tha_settings
from snn_tha.data import load_data
from snn_tha.figures import table1
from snn_tha.train import build_network
from snn_tha.trained import score_again

TABLE = load_settings(table1.TableSettings, FOLDER / "table1.yaml")


def curve(factor=1.0):
    """Two epochs of a network with three layers."""
    return [
        {
            "epoch": epoch,
            "validation_accuracy": 0.5 + 0.1 * epoch,
            "test_accuracy": factor * (0.6 + 0.1 * epoch),
            "thresholds": [1.0 * epoch, 2.0 * epoch, 3.0],
            "rates": [0.02 * epoch, 0.04, 0.3],
            "dead": [0.25, 0.1 * epoch, 0.0],
            "seconds": 10.0 * epoch,
            "optimizer_steps": 100 * epoch,
        }
        for epoch in (1, 2)
    ]


def tiny_settings(dataset, overrides=None):
    """A tiny network for few steps in place of the published one."""
    tiny = {
        "input": {"steps": 4, "test_steps": 4},
        "network": {"convolutions": [2], "dropout": [0, 0]},
        "neuron": {key: [0.5, 0.5] for key in ("thr_start", "thr_added", "thr_full_precision")}
        | {"alpha": [0.1, 0.1]},
    }
    for key, value in (overrides or {}).items():
        tiny[key] = {**tiny.get(key, {}), **value}
    return tha_settings(dataset, tiny)


def write_network(
    folder, condition, seed=0, factor=1.0, changed=None, make=tha_settings, ending="", **more
):
    """A checkpoint of a training on MNIST, with a log and an untrained network."""
    settings = make("mnist", table1.OVERRIDES[condition])
    lines = curve(factor)
    about = {
        "model": "snn_tha",
        "settings": to_dict(settings),
        "seed": seed,
        "data": {"source": "MNIST"},
        "epochs": 2,
        "seconds": 33.0,
        "command": "python -m snn_tha.run",
        "curve": lines,
        **{key: value for key, value in lines[1].items() if key != "seconds"},
    }
    name = table1.network_name(settings, seed, ending)
    start = torch.Generator().manual_seed(0)
    tensors = build_network(settings, (1, 28, 28), 10, start).state_dict()
    path = folder / "snn_tha" / f"{name}.safetensors"
    save_checkpoint(path, tensors | (changed or {}), {**about, **more})
    return path


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """Two trials with annealing, one with fixed thresholds."""
    monkeypatch.setattr(table1, "CHECKPOINTS", tmp_path)
    write_network(tmp_path, "annealing")
    write_network(tmp_path, "annealing", seed=1, factor=0.9)
    write_network(tmp_path, "start")
    return tmp_path


def measured(record):
    return {m.what: m for m in record.measurements}


def test_the_full_table_reads_the_trained_networks(networks, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--profile", "full", "--datasets", "mnist", "--out", str(out)]
    assert table1.main(flags) == 0
    record, arrays = load_results(out)
    found = measured(record)
    annealed = "MNIST, binarised, thresholds annealed"
    accuracy = found[f"{annealed}: test accuracy"]
    assert accuracy.value == pytest.approx((80 + 72) / 2)
    assert accuracy.spread == pytest.approx(np.std([80, 72], ddof=1))
    assert (accuracy.n, accuracy.seeds, accuracy.seconds) == (2, [0, 1], 66)
    assert found[f"{annealed}: hidden layer 1, spikes per neuron and step"].value == 0.04
    assert found[f"{annealed}: hidden layer 2, dead neurons"].value == pytest.approx(20)
    assert found[f"{annealed}: time of an epoch"].value == pytest.approx(15)
    assert f"{annealed}: hidden layer 3, dead neurons" not in found
    missing = found["MNIST, full precision: test accuracy"]
    assert missing.value is None
    assert "python -m snn_tha.run --dataset mnist --binarize false" in missing.note
    assert arrays["mnist-annealing-accuracy"] == pytest.approx([0.8, 0.72])
    assert arrays["mnist-start-rate"] == pytest.approx([0.04])
    assert arrays["mnist-annealing-curve-thresholds"].shape == (2, 3)
    assert (out / "figure.png").stat().st_size > 10_000
    assert "thresholds annealed" in capsys.readouterr().out


def test_the_drawing_shows_the_numbers(networks, tmp_path):
    flags = ["--profile", "full", "--datasets", "mnist", "--out", str(tmp_path / "out")]
    assert table1.main(flags) == 0
    record, arrays = load_results(tmp_path / "out")
    figure = table1.draw(record, arrays)
    axes = figure.axes
    heights = sorted(bar.get_height() for bar in axes[0].patches if bar.get_height())
    assert heights == pytest.approx([76, 80])
    assert len(axes[0].containers) >= 2
    lines = [line.get_ydata() for line in axes[3].get_lines() if len(line.get_ydata())]
    assert any(np.allclose(line, [1, 2]) for line in lines)
    assert any(np.allclose(line, [2, 4]) for line in lines)
    assert not any(np.allclose(line, [3, 3]) for line in lines), "the output layer is left out"
    for ax in axes:
        assert ax.get_ylabel()


def test_the_quick_table_tests_what_was_trained_on_these_data(tmp_path, monkeypatch, capsys):
    """On the 5 000 images: not the network that has seen all of MNIST; no dashes for clothes."""
    monkeypatch.setattr(table1, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(table1, "tha_settings", tiny_settings)
    write_network(tmp_path, "annealing", make=tiny_settings)
    stand_in = {"make": tiny_settings, "ending": "_embedded", "data": {"source": EMBEDDED_DIGITS}}
    path = write_network(tmp_path, "annealing", **stand_in)
    write_network(tmp_path, "start", make=tiny_settings)
    out = tmp_path / "out"
    flags = ["--conditions", "start", "annealing", "--data", "embedded", "--out", str(out)]
    assert table1.main([*flags, "--datasets", "mnist", "fmnist"]) == 0
    record, arrays = load_results(out)
    found = measured(record)
    accuracy = found["MNIST, binarised, thresholds annealed: test accuracy"]
    data = load_data(tiny_settings("mnist"), "embedded")
    again = score_again(load_checkpoint(path), data, "cpu")
    assert accuracy.value == pytest.approx(100 * again.accuracy) != pytest.approx(80)
    assert arrays["mnist-annealing-rate"] == pytest.approx([again.rates[0]])
    assert accuracy.data == EMBEDDED_DIGITS and "tested on 1000 samples" in accuracy.note
    assert list(record.checkpoints) == ["mnist_embedded"]
    refused = found["MNIST, binarised, thresholds fixed at the start values: test accuracy"]
    assert refused.value is None and "not trained on MNIST, 5 000 images" in refused.note
    assert not any("Fashion" in what for what in found), "no row of dashes"
    said = capsys.readouterr().out
    assert said.count("Fashion-MNIST is left out: Fashion-MNIST has no embedded stand-in") == 1


def test_without_networks_of_the_real_data_the_stand_in_is_tested(tmp_path, monkeypatch):
    """As for recordings of which no network is shipped; unless real data are asked for."""
    monkeypatch.setattr(table1, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(table1, "tha_settings", tiny_settings)
    write_network(tmp_path, "annealing", make=tiny_settings, data={"source": EMBEDDED_DIGITS})
    stand_in = load_data(tiny_settings("mnist"), "embedded")
    train, test = (copy.copy(part) for part in (stand_in.train, stand_in.test))
    train.source = test.source = "others"
    real = stand_in._replace(train=train, test=test)
    asked = []

    def load(settings, data):
        asked.append(data)
        return stand_in if data == "embedded" else real

    monkeypatch.setattr(table1, "load_data", load)
    flags = ["--datasets", "mnist", "--conditions", "annealing", "--out", str(tmp_path / "out")]
    for data, expected in (("auto", ["auto", "embedded"]), ("real", ["real"])):
        asked.clear()
        assert table1.main([*flags, "--data", data]) == 0
        assert asked == expected
        (accuracy, *_) = load_results(tmp_path / "out")[0].measurements
        assert (accuracy.value is None) == (data == "real")


@pytest.mark.slow
def test_the_quick_table_trains_and_is_not_repeated(tmp_path, monkeypatch):
    """A tiny network in place of the published one."""
    monkeypatch.setattr(table1, "tha_settings", tiny_settings)
    out = tmp_path / "out"
    flags = [
        "--train", "--datasets", "mnist", "--conditions", "start", "annealing", "--data",
        "embedded", "--out", str(out),
    ]  # fmt: skip
    assert table1.main(flags) == 0
    record, _ = load_results(out)
    found = measured(record)
    annealed = found["MNIST, binarised, thresholds annealed: test accuracy"]
    assert annealed.value > 0 and annealed.data == "MNIST, 5 000 images"
    path = out / "networks" / "mnist.safetensors"
    trained = load_checkpoint(path)
    assert len(trained.metadata["curve"]) == TABLE.quick_epochs
    assert table1.main(flags) == 0
    assert load_checkpoint(path).sha256 == trained.sha256


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"linears.0.bias": torch.zeros(10, dtype=torch.int64)}, "of the kind int64"),
        ({"linears.0.bias": torch.zeros(10, dtype=torch.float64)}, "of the kind float64"),
        ({"linears.0.bias": torch.full((10,), 1e7)}, "numbers above 1000000"),
        ({"linears.0.weight": torch.zeros(10, 9)}, "of shape (10, 9)"),
        ({"more": torch.zeros(1)}, "Network has no 'more'"),
    ],
)
def test_tensors_that_are_not_those_of_the_network(changed, says, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table1, "CHECKPOINTS", tmp_path)
    path = write_network(tmp_path, "annealing", changed=changed)
    flags = ["--profile", "full", "--datasets", "mnist", "--out", str(tmp_path / "out")]
    assert table1.main(flags) == 1
    said = capsys.readouterr().err
    assert str(path) in said and says in said


@pytest.mark.parametrize("part", ["seed", "data", "curve", "epoch", "rates", "test_accuracy"])
def test_metadata_that_lack_a_part(part, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table1, "CHECKPOINTS", tmp_path)
    path = write_network(tmp_path, "annealing", **{part: None})
    flags = ["--profile", "full", "--datasets", "mnist", "--out", str(tmp_path / "out")]
    assert table1.main(flags) == 1
    assert f"{path} is not a trained network of this version: {part} is none" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--datasets", "cifar"], "unknown data set 'cifar'"),
        (["--conditions", "best"], "unknown condition 'best'"),
        (["--trials", "0"], "--trials is 0"),
        (["--profile", "full", "--train"], "--train is of the quick profile"),
    ],
)
def test_flags_that_cannot_work(flags, says, tmp_path, capsys):
    assert table1.main([*flags, "--out", str(tmp_path)]) == 1
    assert says in capsys.readouterr().err
