"""On a machine without data sets and without a network: every paper, at the smallest size."""

import importlib
import socket

import pytest

from common import reproduce, settings
from common.files import read_yaml
from common.paper_values import papers
from common.report.collect import arrange, find_sources
from common.reproduce import jobs_of
from datasets import babi_files, real
from datasets.sources import is_stand_in

JOBS = (
    "dasbe_table1",
    "gust_scores",
    "hebbian_babi",
    "hebbian_omniglot",
    "hebbian_cross_modal",
    "snn_tha_table1",
)
"""Those whose data are made or replaced."""
SMALLEST = {"images_quick": 2, "samples_quick": 4, "runs": 2, "test_samples": 20}


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No network, no data; and every job a call in this process, of few samples."""

    def refuse(*_):
        raise OSError("the network is blocked")

    def small(path, missing):
        values = read_yaml(path, missing)
        for part in (values, values.get("input", {})):
            part |= {key: value for key, value in SMALLEST.items() if key in part}
        return values

    def chosen(packages):
        return [job for job in jobs_of(packages) if job.folder in JOBS]

    def run_here(words):
        return importlib.import_module(words[2]).main(words[3:])

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("SNN_DATA", raising=False)
    for module in (real, babi_files):
        monkeypatch.setattr(module, "DATA_FILES", tmp_path / "files")
    monkeypatch.setattr(settings, "read_yaml", small)
    monkeypatch.setattr(reproduce, "jobs_of", chosen)
    monkeypatch.setattr(reproduce, "run_child", run_here)
    return tmp_path / "results"


@pytest.mark.slow
def test_every_headline_without_data_and_network(offline, capsys):
    """All have a number, of data that are there (that of bAbI stands in the networks); but for
    Fashion-MNIST, of which a line tells."""
    assert reproduce.main(["--results", str(offline)]) == 0
    said = capsys.readouterr().out
    assert "skipped" not in said
    assert said.count("Fashion-MNIST is left out") == 1
    chapters = arrange(find_sources(offline, offline / "none")[0])
    rows = {row.published.what: row for c in chapters for s in c.sections for row in s.rows}
    wanted = [w for p in papers().values() for j in JOBS for w in headlines(p, j)]
    assert len(wanted) >= len(JOBS)
    for what in wanted:
        if what.startswith("Fashion-MNIST"):
            assert rows[what].measurement is None
            continue
        # The mean over the tasks of bAbI is named after their number where networks are missing.
        start, _, end = what.partition(",")
        named = [row for name, row in rows.items() if name.startswith(start) and name.endswith(end)]
        found = [row for row in named if row.measurement and row.measurement.value is not None]
        assert found, what
        for row in found:
            made = row.data == "generated" or is_stand_in(row.data)
            assert made or row.data.startswith("bAbI v1.2"), f"{what}: {row.data}"


def headlines(paper, job):
    """The names of a result's headline rows."""
    return paper.results[job].headline if job in paper.results else ()
