"""``scripts/reproduce.sh`` without its jobs: choice of papers, commands, failures."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from common import reproduce
from common.paper_values import papers
from common.paths import ROOT
from common.records import Measurement, Record
from common.reproduce import Job, command_of, jobs_of, main, run_jobs


def test_every_job_is_a_module_with_its_own_folder() -> None:
    jobs = jobs_of(list(papers()))
    assert {job.paper for job in jobs} == set(papers())
    for job in jobs:
        assert importlib.util.find_spec(job.module) is not None
        assert 0 < job.minutes["quick"] <= 3 and job.minutes["full"] > 0
    assert len({job.folder for job in jobs}) == len(jobs) > 20


def test_commands_name_profile_data_and_folder() -> None:
    command = command_of(jobs_of(["dasbe"])[0], "full", "embedded", Path("r"))
    assert command[:3] == [sys.executable, "-m", "dasbe.figures.table1"]
    assert command[3:] == ["--profile", "full", "--data", "embedded", "--out", "r/dasbe_table1"]


def test_unknown_paper_is_one_sentence(capsys) -> None:
    assert main(["--only", "dasbe,nonsense"]) == 1
    assert "--only nonsense: unknown paper" in capsys.readouterr().err


def test_a_failing_job_is_named_and_the_others_run(tmp_path, capsys, monkeypatch) -> None:
    minutes = {"quick": 1.0, "full": 1.0}
    jobs = [
        Job("dasbe", "broken", "no.such.module", "a", minutes),
        Job("dasbe", "example", "this", "b", minutes),
    ]
    assert run_jobs(jobs, "quick", "auto", tmp_path) == (["dasbe: broken"], [])
    output = capsys.readouterr().out
    assert "[1/2] dasbe: broken (about 2 min left)" in output
    assert "[2/2] dasbe: example (about 1 min left)" in output
    monkeypatch.setattr(reproduce, "jobs_of", lambda packages: jobs)
    assert main(["--results", str(tmp_path)]) == 1


def test_a_job_without_its_networks_is_skipped(tmp_path, capfd, monkeypatch) -> None:
    """Its command ends with the status of ``NotThereError``, told and not counted as a failure."""
    (tmp_path / "lacks_network.py").write_text(
        "import sys\n"
        "from common.errors import NotThereError, command_line\n"
        "@command_line\n"
        "def main(argv=None):\n"
        "    raise NotThereError('no network is trained yet')\n"
        "sys.exit(main())\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    minutes = {"quick": 1.0, "full": 1.0}
    job = Job("dasbe", "a", "lacks_network", "a", minutes)
    broken = Job("dasbe", "b", "no.such.module", "b", minutes)
    assert run_jobs([job, broken], "quick", "auto", tmp_path) == (["dasbe: b"], ["dasbe: a"])
    said = capfd.readouterr()
    assert said.out.count("skipped: its networks or their data are not there") == 1
    assert said.err.count("error: no network is trained yet\n") == 1
    monkeypatch.setattr(reproduce, "jobs_of", lambda packages: [job])
    assert main(["--results", str(tmp_path / "results")]) == 0
    said = capfd.readouterr().out
    assert "skipped, networks or data are not there: dasbe: a" in said


def test_the_end_is_a_short_table_of_this_run(tmp_path, capsys) -> None:
    """Headline rows of the papers that ran, from the results folder alone."""
    measured = [Measurement("shapes, DASBE", 91.3, interval95=0.4)]
    record = Record("Table 1", "DASBE", "quick", "a command", "2024-01-01", measured, data="made")
    record.save(tmp_path / "dasbe_table1")
    lines = reproduce.summary(tmp_path, ["dasbe"]).splitlines()
    assert lines[0].split() == ["DASBE", "paper", "here", "data"]
    assert lines[2].split()[-5:] == ["90.2", "91.3", "±", "0.4", "made"]
    assert lines[3].split()[-2:] == ["53.3", "\N{EN DASH}"]
    assert len(lines) == 4


@pytest.mark.parametrize("package", ["common", "datasets", "dasbe"])
def test_packages_are_those_of_this_repository(package) -> None:
    root = Path(reproduce.__file__).resolve().parent.parent
    assert Path(importlib.import_module(package).__file__).is_relative_to(root)
