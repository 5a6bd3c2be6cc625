"""The original's ``conf.py`` in the folders of the data sets."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from common.checkpoints import Checkpoint
from common.errors import UserError
from common.paths import ROOT
from common.settings import overrides_from_args
from snn_tha import original
from snn_tha.config import DATASETS, Settings, tha_settings
from snn_tha.logs import write_logs
from snn_tha.run import _parser, spell_switches


def settings_of(dataset: str, config: dict) -> Settings:
    """What a training with this ``conf.py`` has."""
    args = _parser().parse_args(spell_switches(original.flags_of(dataset, config)))
    return tha_settings(dataset, overrides_from_args(Settings, args))


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_files_are_made_from_the_settings(dataset: str) -> None:
    path = ROOT / "snn_tha" / dataset / "conf.py"
    assert path.read_text() == original.text_of(dataset), "run python -m snn_tha.original"
    config = runpy.run_path(str(path))["config"]
    assert settings_of(dataset, config) == tha_settings(dataset)


def test_an_edited_file_is_what_is_trained() -> None:
    edited = {"binarize": False, "num_epochs": 2, "threshold2": 9.5, "dropout1": 0.3}
    edited |= {"grad_clip": True, "eta_min": 1e-5, "correct_rate": 0.9, "early_stopping": False}
    settings = settings_of("mnist", edited)
    assert settings.condition == "full_precision" and settings.training.epochs == 2
    assert settings.neuron.thr_start == (11.666, 9.5, 0.6656)
    assert settings.network.dropout == (0, 0, 0.3)
    training = settings.training
    assert (training.gradient_clip, training.eta_min, training.correct_rate) == (1.0, 1e-5, 0.9)
    assert not training.early_stopping
    assert settings_of("shd", {"dropout1": 0.5}).network.dropout == (0.5, 0.0176)


def test_what_has_no_counterpart_is_refused() -> None:
    with pytest.raises(UserError, match="num_workers, threshold4 has no counterpart here; known"):
        original.flags_of("mnist", {"num_workers": 2, "threshold4": 1.0, "seed": 0})
    with pytest.raises(UserError, match="save_model cannot be False"):
        original.flags_of("mnist", {"save_model": False})
    with pytest.raises(UserError, match="data_dir is nowhere, which is not a folder"):
        original.use_data_of({"data_dir": "nowhere"})


def test_run_py_reads_the_file_beside_it(tmp_path: Path) -> None:
    run = (ROOT / "snn_tha" / "mnist" / "run.py").read_text()
    (tmp_path / "run.py").write_text(run)
    (tmp_path / "conf.py").write_text('config = {"num_workers": 2}')
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=tmp_path, text=True, capture_output=True, timeout=300
    )
    assert done.returncode == 1 and "error: conf.py: num_workers has no" in done.stderr


def test_tables_have_the_originals_names_too(tmp_path: Path) -> None:
    curve = [{"epoch": k, "test_accuracy": 0.5 + k / 10, "dead": [0.1, 0.2]} for k in (1, 2)]
    metadata = {"curve": curve, "epoch": 1, "test_accuracy": 0.6, "settings": {}, "data": {}}
    trials = [
        Checkpoint(Path(f"mnist{k}.safetensors"), {}, {**metadata, "seed": k}, "") for k in (0, 1)
    ]
    write_logs(tmp_path, "mnist", trials)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mnist.csv", "mnist.json", "mnist_t0.csv", "mnist_t1.csv", "mnist_log.csv"}
    assert len((tmp_path / "mnist.csv").read_text().splitlines()) == 5
    best = (tmp_path / "mnist_log.csv").read_text().splitlines()
    assert best[0].startswith("trial,seed,epoch,test_accuracy") and best[2].startswith("1,1,1,0.6")
    write_logs(tmp_path / "few", "mnist", trials, tables=False)
    assert [path.name for path in (tmp_path / "few").iterdir()] == ["mnist.json"]
