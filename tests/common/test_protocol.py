"""The paper's protocol in the settings files, and what a training says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.protocol import paper_values, protocol_line
from common.settings import to_dict
from dasbe.config import dataset_settings, known_datasets
from gust.config import gust_settings
from hebbian_snn import memorizing_associations_task
from hebbian_snn.config import task_settings
from hebbian_snn.tasks.associations import AssociationsSettings
from hebbian_snn.tasks.cross_modal import CrossModalSettings
from hebbian_snn.tasks.omniglot import OmniglotSettings
from snn_tha.config import DATASETS, tha_settings


def test_values_beside_the_papers_are_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "# paper: 3\nname: a  # paper: b\ntraining:  # all of it\n  rate: 0.1  # paper: 1.0e-3\n"
        "  noise: [1, 2]  # paper: null\n  size: 3  # not of the paper: ours\n"
    )
    assert paper_values(file) == {"name": "b", "training": {"rate": 0.001, "noise": None}}


def test_what_differs_is_said() -> None:
    paper = {"seed": 1, "training": {"rate": 0.1, "size": 2, "score": None}}
    used = {"seed": 1, "training": {"rate": 0.2, "size": 3, "score": None}}
    assert protocol_line(paper, paper) == "protocol: the paper's"
    line = "protocol: the paper's, except for rate 0.2 (paper: 0.1)"
    assert protocol_line(used, paper, ["size"]) == line


def test_all_settings_can_follow_the_paper() -> None:
    """Every value behind ``# paper:`` is a setting, of the right kind, and another value."""
    for dataset in known_datasets():
        ours, paper = dataset_settings(dataset), dataset_settings(dataset, paper=True)
        assert (ours == paper) == (dataset == "mnist_shape_conv"), dataset
    assert dataset_settings("shapes", paper=True).training.batch_size == 1024
    assert gust_settings(paper=True) != gust_settings()
    for dataset in DATASETS:
        assert tha_settings(dataset, paper=True).training.select_on == "test"
    flags = {"training": {"batch_size": 8}}
    for name, kind in (("omniglot", OmniglotSettings), ("cross_modal", CrossModalSettings)):
        paper = task_settings(kind, name, False, flags, paper=True)
        assert (paper.training.key_gain, paper.cnn.last_threshold) == (None, 1.0)
        assert paper.training.batch_size == 8, "flags come last"
    ours = to_dict(task_settings(AssociationsSettings, "associations", False, {}))
    paper = task_settings(AssociationsSettings, "associations", False, {}, paper=True)
    assert ours["training"]["curriculum"] == 0.85 and paper.training.curriculum is None


@pytest.mark.parametrize(
    ("flags", "curriculum"), [([], True), (["--protocol", "paper"], False), (["--relu"], False)]
)
def test_a_training_says_it_first(
    flags: list[str], curriculum: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = "--epochs 1 --training_size 4 --validation_size 4 --test_size 4 --sequence_length 1"
    more = ["--num_time_steps", "2", *flags]
    out = ["--out", str(tmp_path / "net.safetensors"), "--partial", str(tmp_path)]
    assert memorizing_associations_task.main([*size.split(), *more, *out]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("protocol: the paper's, except for training_size 4 (paper: 9000), ")
    assert "epochs 1 (paper: 250)" in first and "sequence_length" not in first
    assert ("curriculum 0.85 (paper: none)" in first) == curriculum


def test_an_evaluation_has_no_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--evaluate", "--resume", "missing.safetensors"]
    assert memorizing_associations_task.main(flags) == 1
    assert "protocol" not in capsys.readouterr().out
