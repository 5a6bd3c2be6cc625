"""The figures of the associations task, from small networks."""

import numpy as np
import pytest
import torch
from hebbian_runs import run

from common.results import load_results
from hebbian_snn import plot_memorizing_associations_task as plot
from hebbian_snn.figures import activity, associations, comparison
from hebbian_snn.training.trained import find_network


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A spiking network, its twin, and one trained on fewer pairs than labels."""
    folder = tmp_path_factory.mktemp("networks")
    kinds = {
        "same": ["--num_classes", "2"],
        "twin": ["--num_classes", "2", "--relu"],
        "fewer": ["--num_classes", "4"],
    }
    paths = {}
    for name, more in kinds.items():
        assert run(folder / name, *more, "--epochs", "2") == 0
        paths[name] = folder / f"{name}.safetensors"
        (folder / name / "net.safetensors").rename(paths[name])
    return paths


def test_the_accuracies_are_those_of_the_networks(networks, tmp_path, capsys):
    words = ["--out", str(tmp_path), "--networks", *map(str, networks.values())]
    assert associations.main(words) == 0
    record, arrays = load_results(tmp_path)
    assert (tmp_path / "figure.pdf").exists()
    assert arrays["spiking-pairs"].tolist() == arrays["twin-pairs"].tolist() == [2]
    assert arrays["no memory-accuracy"].tolist() == [50.0]
    assert arrays["trained on 2 of 4-pairs"].tolist() == [2, 3, 4]
    assert len(record.measurements) == 6
    assert all(0 <= m.value <= 100 and m.n == 500 for m in record.measurements)
    assert set(record.checkpoints) == set(networks)
    assert "chance 50.0 %" in record.measurements[0].note


def test_an_accuracy_is_that_of_evaluation(networks, tmp_path, capsys):
    """500 samples of the same seed are those of --test_size 500."""
    words = ["--out", str(tmp_path), "--networks", str(networks["same"])]
    assert associations.main(words) == 0
    record, _ = load_results(tmp_path)
    capsys.readouterr()
    more = ["--num_classes", "2", "--evaluate", "--test_size", "500"]
    assert run(tmp_path, *more, "--resume", str(networks["same"])) == 0
    found = float(capsys.readouterr().out.rpartition("accuracy ")[2])
    assert record.measurements[0].value == pytest.approx(100 * found)


def test_missing_networks_are_named(networks, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "hebbian_snn"
    folder.mkdir()
    monkeypatch.setattr(comparison, "CHECKPOINTS", tmp_path)
    assert associations.main(["--out", str(tmp_path / "none")]) == 3
    assert "--sequence_length 2 --num_classes 2" in capsys.readouterr().err
    path = folder / "associations_2.safetensors"
    path.write_bytes(networks["same"].read_bytes())
    monkeypatch.setattr(
        "hebbian_snn.training.trained.find_network", lambda model, name: find_network(model, path)
    )
    assert associations.main(["--out", str(tmp_path / "one")]) == 0
    record, _ = load_results(tmp_path / "one")
    missing = [m for m in record.measurements if m.n == 0]
    assert "associations_3" in [m.what for m in missing]
    assert "--relu --sequence_length 2" in next(m for m in missing if "relu_2" in m.what).note
    assert "associations_3" in capsys.readouterr().out


def test_ties_are_shared():
    outputs = torch.tensor([[0.0, 0, 0, 0], [1, 2, 0, 2], [3, 1, 0, 0]])
    found = associations.expected_correct(outputs, torch.tensor([0, 1, 1]))
    assert found.tolist() == [0.25, 0.5, 0.0]


def test_the_activity_of_one_trial(networks, tmp_path):
    words = ["--out", str(tmp_path), "--sample", "3", "--num_classes", "2"]
    assert plot.main([*words, f"--checkpoint_path={networks['same']}"]) == 0
    record, arrays = load_results(tmp_path)
    assert arrays["spikes-vectors"].shape == arrays["spikes-labels"].shape == (30, 20)
    assert arrays["spikes-query"].shape == (15, 20)
    assert arrays["spikes-write_keys"].shape == (30, 12)
    assert arrays["mem"].shape == (12, 12)
    place = (arrays["vectors"] == arrays["query"]).all(1)
    assert arrays["labels"][place].tolist() == [arrays["target"]]
    rates = {m.what.removeprefix("mean rate of "): m.value for m in record.measurements}
    assert rates["vectors"] == pytest.approx(arrays["spikes-vectors"].mean() * 1e3)
    figure = activity.draw(record, arrays)
    drawn = [image.get_array() for ax in figure.get_axes() for image in ax.images]
    assert any(np.array_equal(image, arrays["mem"]) for image in drawn)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--sample", "30"], "no test sample 30"),
        (["--thr", "0.3"], "--thr: 0.02 there, 0.3 here"),
        (["--checkpoint_path", "nonsense"], "nonsense"),
    ],
)
def test_what_cannot_be_drawn(more, says, networks, tmp_path, capsys):
    words = ["--checkpoint_path", str(networks["same"]), "--out", str(tmp_path), *more]
    assert plot.main(words) == 1
    assert says in capsys.readouterr().err


def test_the_twin_shows_its_activities(networks, tmp_path):
    path = str(networks["twin"])
    assert plot.main(["--checkpoint_path", path, "--out", str(tmp_path)]) == 0
    record, arrays = load_results(tmp_path)
    assert arrays["spikes-vectors"].dtype == np.float32
    assert arrays["spikes-vectors"].shape[0] == len(arrays["labels"])
    assert record.measurements[0].what == "mean activity of vectors"
