"""Flags and files that cannot be used: one message and a status above 0, never a traceback, and
never a result. ``bad_input.json`` holds the flags, what they are given with, and what is said."""

from __future__ import annotations

import importlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from common.checkpoints import load_checkpoint, save_checkpoint, save_training_state
from common.errors import UserError
from common.paths import CHECKPOINTS
from common.runs import RunFiles
from hebbian_snn.convnets.front_end import pretrained

CASES = json.loads(Path(__file__).with_name("bad_input.json").read_text(encoding="utf-8"))


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """What a command says, which has to end without a traceback, a result or a long wait."""
    monkeypatch.setenv("SNN_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()

    def said(module: str, *flags: str) -> str:
        main = importlib.import_module(module).main
        try:
            status = main(list(flags))
        except SystemExit as end:  # of argparse
            status = end.code
        written = capsys.readouterr()
        assert status in (1, 2, 3), f"{module} {shlex.join(flags)}: {written}"
        last = written.err.strip().splitlines()[-1]
        assert last.startswith("error: "), written.err
        assert not list(tmp_path.rglob("record.json"))
        return last

    return said


def place(folder: Path, module: str) -> list[str]:
    """Flags that keep what a command writes in a folder."""
    if module in CASES["with"]:
        files = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
        return [*shlex.split(CASES["with"][module]), *files, "--device", "cpu"]
    return ["--out", str(folder / "out")]


@pytest.mark.parametrize(
    ("module", "flags", "says"), CASES["flags"], ids=[f"{m} {f}" for m, f, _ in CASES["flags"]]
)
def test_flags(module: str, flags: str, says: str, refused, tmp_path: Path) -> None:
    assert says in refused(module, *place(tmp_path, module), *shlex.split(flags))
    assert not (tmp_path / "net.safetensors").exists()


# ---- unfinished trainings -------------------------------------------------------------------

TRAININGS = {
    "dasbe.train": ("dasbe", ["--images", "20"]),
    "gust.train": ("gust", ["--images", "20"]),
    "snn_tha.run": ("snn_tha", []),
    "hebbian_snn.memorizing_associations_task": ("hebbian_snn", []),
    "hebbian_snn.reinforcement_learning_task": ("hebbian_snn", []),
}
WHOLE = {"run": {"seed": 0, "data": {}}, "epoch": 1, "seconds": 1.0, "best": {}}
STATES = {
    "empty": ({}, "lacks 'run'"),
    "run a list": ({**WHOLE, "run": [1]}, "run is a list"),
    "run None": ({**WHOLE, "run": None}, "run is none"),
    "run without a seed": ({**WHOLE, "run": {}}, "run lacks 'seed'"),
    "best without a network": ({**WHOLE, "best": {"epoch": 1}}, "best lacks 'tensors'"),
    "best a list": ({**WHOLE, "best": []}, "best is a list"),
    "epoch text": ({**WHOLE, "epoch": "1"}, "epoch is text"),
    "of another run": (WHOLE, ""),
}


@pytest.mark.parametrize("snapshot", [[], ["--snapshot"]], ids=["train", "snapshot"])
@pytest.mark.parametrize("module", TRAININGS)
def test_states(module: str, snapshot: list[str], refused, tmp_path: Path) -> None:
    model, small = TRAININGS[module]
    files = RunFiles.of(model, tmp_path / "net.safetensors", tmp_path / "partial")
    for name, (state, says) in STATES.items():
        save_training_state(files.state, state)
        before = files.state.read_bytes()
        said = refused(module, *place(tmp_path, module), *small, *snapshot)
        assert says in said and str(files.state) in said, name
        assert files.state.read_bytes() == before
    for junk in (b"", b"x" * 999, before[:-9]):
        files.state.write_bytes(junk)
        assert "damaged" in refused(module, *place(tmp_path, module), *small, *snapshot)


@pytest.mark.parametrize("module", TRAININGS)
def test_a_log_that_is_a_folder(module: str, refused, tmp_path: Path) -> None:
    model, small = TRAININGS[module]
    files = RunFiles.of(model, tmp_path / "net.safetensors", tmp_path / "partial")
    files.log.mkdir(parents=True)
    assert "a folder stands" in refused(module, *place(tmp_path, module), *small)


# ---- checkpoints ----------------------------------------------------------------------------

READERS = {
    "gust.figures.training": ("gust", "shapes_3", "--networks"),
    "gust.figures.binding": ("gust", "shapes_3", "--network"),
    "dasbe.figures.figure2": ("dasbe", "shapes", "--network"),
    "hebbian_snn.plot_memorizing_associations_task": (
        "hebbian_snn",
        "associations_2",
        "--checkpoint_path",
    ),
    "hebbian_snn.figures.concentration_game": ("hebbian_snn", "concentration_4", "--network"),
}
CHANGES: dict[str, tuple[Any, str]] = {
    "seed": (..., "lacks 'seed'"),
    "data": ("text", "data is text"),
    "settings": (None, "settings is none"),
    "curve": ([{}], "lacks 'epoch'"),
    "command": (7, "command is an integer"),
    "model": ("another", "holds the network 'another'"),
}


@pytest.mark.parametrize("module", READERS)
def test_checkpoints(module: str, refused, tmp_path: Path) -> None:
    model, name, flag = READERS[module]
    whole = load_checkpoint(CHECKPOINTS / model / f"{name}.safetensors", model=model)
    path = tmp_path / "net.safetensors"
    for key, (value, says) in CHANGES.items():
        metadata = {k: v for k, v in {**whole.metadata, key: value}.items() if v is not ...}
        save_checkpoint(path, whole.tensors, metadata)
        said = refused(module, flag, str(path), "--out", str(tmp_path / "out"))
        assert says in said and str(path) in said, key


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"epoch": 1}, "lacks 'loss'"),
        ({"epoch": 1, "loss": None, "validation_loss": 1.0}, "loss is none"),
        ({"epoch": 99_999, "loss": 1.0, "validation_loss": 1.0}, "holds no log"),
    ],
)
def test_curves_that_cannot_be_drawn(line: dict, says: str, refused, tmp_path: Path) -> None:
    whole = load_checkpoint(CHECKPOINTS / "gust" / "shapes_3.safetensors", model="gust")
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, whole.tensors, {**whole.metadata, "curve": [line]})
    flags = ["--networks", str(path), "--out", str(tmp_path / "out")]
    said = refused("gust.figures.training", *flags)
    assert says in said and str(path) in said


def test_networks_of_the_babi_table(refused, tmp_path: Path) -> None:
    whole = load_checkpoint(CHECKPOINTS / "hebbian_snn" / "babi_1_delay_30.safetensors")
    path = tmp_path / "networks" / "babi_1_delay_30.safetensors"
    flags = ["--tasks", "1", "--delays", "30", "--checkpoints", str(path.parent)]
    name = next(iter(whole.tensors))
    tensor = whole.tensors[name]
    tensors = {
        "no such": ({"other": tensor}, "does not fit"),
        "missing": ({name: ...}, "does not fit"),
        "integers": ({name: tensor.long()}, "of the kind int64"),
        "float64": ({name: tensor.double()}, "of the kind float64"),
        "huge": ({name: tensor.float() * 1e9}, "numbers above"),
        "shape": ({name: tensor[:1]}, "of shape"),
    }
    metadata = {
        "settings list": ({"settings": []}, "settings is a list"),
        "test": ({"test": {}}, "test lacks 'accuracy'"),
        "accuracy": ({"test": {"accuracy": "1"}}, "accuracy is text"),
        "data": ({"data": {}}, "data lacks 'source'"),
    }
    changes = {k: (c, {}, s) for k, (c, s) in tensors.items()}
    changes |= {k: ({}, c, s) for k, (c, s) in metadata.items()}
    for key, (change, about, says) in changes.items():
        kept = {k: v for k, v in {**whole.tensors, **change}.items() if v is not ...}
        save_checkpoint(path, kept, {**whole.metadata, **about})
        said = refused("hebbian_snn.figures.babi", *flags, "--out", str(tmp_path / "out"))
        assert says in said and str(path) in said, key


@pytest.mark.parametrize("audio", [None, False, True])
def test_the_wrong_kind_of_pretrained_network(audio: bool | None) -> None:
    kinds = {"protonet": None, "digits_image": False, "digits_audio": True}
    for name, kind in {**kinds, "associations_2": "another"}.items():
        path = str(CHECKPOINTS / "hebbian_snn" / f"{name}.safetensors")
        if kind is audio:
            assert pretrained(path, name, "MODULE", audio).metadata
            continue
        with pytest.raises(UserError, match=r"is a network of the task .*MODULE is needed"):
            pretrained(path, name, "MODULE", audio)
