"""The catalogue of networks: complete, current, and trained from."""

import pytest
import yaml

from common import networks
from common.checkpoints import load_checkpoint
from common.paths import CHECKPOINTS
from common.settings import load_settings
from hebbian_snn.config import FOLDER
from hebbian_snn.figures.concentration import ConcentrationFigureSettings

TINY = {
    "dasbe/tiny": {
        "command": "dasbe.train --dataset bars --images 60 --steps_per_epoch 2 --batch_size 10 "
        "--epochs 2 --device cpu",
        "data": "generated",
        "minutes": 1,
        "score": "validation_loss_noisy",
        "expected": 0.3,
        "range": [0, 0.0001],
        "feeds": ["nothing"],
        "seeds": [0, 1],
    }
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A catalogue of one network."""
    path = tmp_path / "networks.yaml"
    path.write_text(yaml.safe_dump(TINY))
    monkeypatch.setattr(networks.catalogue, "__defaults__", (path,))
    monkeypatch.setattr(networks, "RUNS", tmp_path / "runs")
    return tmp_path


def test_every_shipped_network_is_in_the_catalogue_with_a_score_in_its_range():
    known = networks.catalogue()
    for path in sorted(CHECKPOINTS.glob("*/*.safetensors")):
        key = f"{path.parent.name}/{path.stem}"
        assert key in known, f"{key} is not in docs/networks.yaml"
        value = known[key].stored(load_checkpoint(path))
        low, high = known[key].range
        assert value is None or low <= value <= high, key


def test_every_network_of_a_figure_is_in_the_catalogue():
    known = {network.name for network in networks.catalogue().values()}
    figure = load_settings(ConcentrationFigureSettings, FOLDER / "figure_concentration.yaml")
    assert set(figure.networks) <= known
    assert {f"babi_{t}_delay_{d}" for t in range(1, 21) if t != 3 for d in (1, 30)} <= known
    for name in ("associations", "omniglot", "cross_modal"):
        listed = yaml.safe_load((FOLDER / f"figure_{name}.yaml").read_text())
        assert set(listed.get("networks", [])) <= known


def test_the_page_is_current():
    here = networks.PAGE.read_text(encoding="utf-8")
    assert here == networks.page(), "python -m common.networks page writes it anew"


def test_seeds_have_names_and_runs_of_their_own(tiny):
    found = networks.chosen(["tiny"], missing=True)
    assert [network.name for network in found] == ["tiny", "tiny_seed1"]
    assert found[1].words()[-4:] == ("--name", "tiny_seed1", "--seed", "1")
    assert [n.name for n in networks.chosen(["dasbe/tiny"], seeds=(0, 2))] == ["tiny", "tiny_seed2"]


def test_training_here_and_the_list_of_what_is_missing(tiny, capsys):
    out = tiny / "runs" / "dasbe" / "tiny" / "network.safetensors"
    flags = ["--flags", f"--out {out} --partial {tiny}", "--logs", str(tiny / "logs")]
    assert networks.main(["train", "tiny", *flags]) == 0
    assert "dasbe/tiny: trained" in capsys.readouterr().out
    assert load_checkpoint(out).metadata["epochs"] == 2
    assert networks.main(["train", "tiny", *flags]) == 0
    assert "nothing is to be trained" in capsys.readouterr().out
    assert networks.main(["list", "--missing"]) == 0
    said = capsys.readouterr().out
    assert "dasbe/tiny_seed1: missing" in said and "dasbe/tiny:" not in said
    assert networks.main(["check"]) == 1
    told = capsys.readouterr()
    stored = load_checkpoint(out).metadata["validation_loss_noisy"]
    assert f"validation_loss_noisy {stored:.4g}, OUTSIDE" in told.out
    assert "outside of their range: tiny" in told.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train"], "--missing"),
        (["train", "nothing"], "no network 'nothing'"),
        (["list", "--only", "nothing"], "there are dasbe"),
        (["train", "tiny", "--jobs", "0"], "--jobs is 0"),
        (["train", "tiny", "--nodes", "2"], "--nodes needs --slurm"),
    ],
)
def test_what_cannot_work_is_one_sentence(words, says, tiny, capsys):
    assert networks.main(words) == 1
    assert says in capsys.readouterr().err
