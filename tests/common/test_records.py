"""Records: the environment inside, nothing lost on disk, clear words for damaged ones."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from common import records
from common.errors import UserError
from common.records import Measurement, load_record, mean_interval, new_record


def example() -> records.Record:
    return new_record(
        "table1",
        "DASBE",
        "quick",
        seeds=[111, 222],
        data="generated",
        checkpoints={"bars": "ab" * 32},
        settings={"steps": 50, "sizes": (9, 3)},
        wall_seconds=12.5,
        measurements=[
            Measurement("AMI, bars", 96.4, "AMI x 100", 97.1, "Table 1", 0.5, 0.3, 10),
            Measurement("silent pixels", None),
        ],
    )


def test_round_trip(tmp_path: Path) -> None:
    record = example()
    path = record.save(tmp_path / "table1")
    assert path == tmp_path / "table1" / "record.json"
    record.settings["sizes"] = [9, 3]
    assert load_record(path) == load_record(tmp_path / "table1") == record


def test_numpy_torch_and_nan_become_plain_json(tmp_path: Path) -> None:
    record = example()
    record.measurements[0].value = np.float32(0.5)
    record.measurements[0].spread = math.nan
    record.measurements[0].n = torch.tensor(3)
    record.seeds = np.arange(2)
    text = record.save(tmp_path).read_text()
    assert "NaN" not in text
    loaded = load_record(tmp_path)
    assert loaded.seeds == [0, 1]
    first = loaded.measurements[0]
    assert (first.value, first.spread, first.n) == (0.5, None, 3)


def test_the_environment_is_inside(monkeypatch) -> None:
    monkeypatch.setattr("sys.orig_argv", ["/somewhere/python3", "-m", "x.y", "--out", "a b"])
    record = example()
    assert record.versions["torch"].startswith(torch.__version__.split("+")[0])
    assert record.versions["numpy"] == np.__version__
    assert record.device and record.threads == torch.get_num_threads()
    assert record.command == "python -m x.y --out 'a b'"
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(record.created)
    assert abs(age.total_seconds()) < 60


def test_commit_and_changes_of_the_repository(tmp_path: Path, monkeypatch) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (example().commit, example().dirty) == ("unknown", False)
    git("init")
    (tmp_path / "file").write_text("a")
    git("add", "file")
    git("commit", "-m", "first")
    assert (example().commit, example().dirty) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "file").write_text("b")
    assert example().dirty
    (tmp_path / "within").mkdir()  # unpacked inside somebody else's repository
    monkeypatch.setattr(records, "ROOT", tmp_path / "within")
    assert (example().commit, example().dirty) == ("unknown", False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: "", "damaged"),
        (lambda text: "[1]", "not a record of this version"),
        (lambda text: text.replace('"format": 1', '"format": 0'), "not a record of this version"),
        (lambda text: text.replace('"measurements"', '"values"'), "lacks 'measurements'"),
        (lambda text: text.replace('"what"', '"why"'), "lacks 'what'"),
        (lambda text: text.replace('"n": 10', '"n": "ten"'), "n is text, not an integer"),
        (lambda text: text.replace('"n": 10', '"m": 10'), "parts that no record has"),
        (lambda text: text.replace('"threads": ', '"threads": 0.'), "threads is a number, not"),
        (lambda text: '{"format": 1, "settings": ' + "[" * 9999, "damaged"),
        (lambda text: text.replace('"steps"', '"x": ' + "[" * 99 + "]" * 99 + ', "s"'), "nested"),
    ],
)
def test_damaged_records(tmp_path: Path, change, message: str) -> None:
    path = example().save(tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=message) as error:
        load_record(path)
    assert str(path) in str(error.value)


def test_binary_and_missing_records(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no record"):
        load_record(tmp_path)
    (tmp_path / "record.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="damaged"):
        load_record(tmp_path)


def test_a_failed_save_keeps_the_old_record(tmp_path: Path) -> None:
    record = example()
    before = record.save(tmp_path).read_bytes()
    record.settings["bad"] = object()
    with pytest.raises(TypeError):
        record.save(tmp_path)
    assert json.loads((tmp_path / "record.json").read_bytes()) == json.loads(before)
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_mean_interval_against_a_printed_t_table() -> None:
    # t(0.975, 4) = 2.776
    mean, std, half = mean_interval([2, 4, 4, 6, 9])
    assert mean == 5.0
    assert std == pytest.approx(math.sqrt(28 / 4))
    assert half == pytest.approx(2.776 * math.sqrt(7) / math.sqrt(5), rel=2e-4)


def test_mean_interval_of_one_and_none() -> None:
    assert mean_interval([3]) == (3.0, None, None)
    assert mean_interval(np.full(4, 2.5)) == (2.5, 0.0, 0.0)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
