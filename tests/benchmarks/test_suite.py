"""``python -m benchmarks``: rows of processes of their own, what is kept, and its page."""

from __future__ import annotations

import importlib.util
import json
import shlex

import pytest
import torch

from benchmarks import silhouette, suite
from benchmarks.suite import BENCHMARKS, DOCS, Benchmark, benchmarks_page, merged, read_rows
from common.errors import UserError
from common.paths import ROOT

FAST = Benchmark("silhouette", "silhouette", "--repeats 2 --threads 1", "--repeats 1 --threads 1")


def row(benchmark: str, what: str, **fields) -> dict:
    values = {"command": "python -m x", "machine": "m", "threads": 1, "fast": 0.002, "direct": 0.5}
    return {"benchmark": benchmark, "what": what, **values, **fields}


def test_every_benchmark_is_a_module_and_in_the_suite() -> None:
    assert len({benchmark.name for benchmark in BENCHMARKS}) == len(BENCHMARKS)
    listed = {benchmark.module for benchmark in BENCHMARKS}
    for module in listed:
        assert importlib.util.find_spec(f"benchmarks.{module}") is not None
    shared = {"__init__", "__main__", "command", "gpu_check", "suite", "timing"}
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == listed | shared


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_flags_of_every_benchmark_are_known(benchmark, monkeypatch, capsys) -> None:
    """Both command lines get as far as the measurement, also that of a GPU where there is none."""
    if benchmark.needs:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "card")
    module = importlib.import_module(f"benchmarks.{benchmark.module}")
    seen = []
    monkeypatch.setattr(module, "report", lambda items, options: seen.append(options))
    for name in ("compare", "time_iteration", "inputs_of"):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, lambda *_: {})
    threads = [] if benchmark.needs else ["--threads", "1"]
    for flags in (benchmark.flags, benchmark.quick):
        assert module.main([*shlex.split(flags), "--json", "x.json", *threads]) == 0
    assert len(seen) == 2 and seen[1].repeats == 1 and seen[0].repeats > 1


def test_rows_of_a_process_hold_machine_threads_and_medians(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(suite, "BENCHMARKS", (FAST,))
    assert suite.main(["--docs", str(tmp_path)]) == 0
    (found,) = json.loads((tmp_path / "benchmarks.json").read_text())
    assert (found["benchmark"], found["threads"], found["repeats"]) == ("silhouette", 1, 2)
    assert found["machine"] and found["torch"] and found["date"]
    assert 0 < found["fast"] < found["direct"]
    assert found["command"] == "python -m benchmarks.silhouette --repeats 2 --threads 1"
    assert "silhouette of one image:" in capfd.readouterr().out
    assert found["what"] in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")


def test_quick_numbers_are_not_kept(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(suite, "BENCHMARKS", (FAST,))
    assert suite.main(["--quick", "--docs", str(tmp_path)]) == 0
    assert "silhouette with the Victor-Purpura metric" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_failing_benchmark_is_named_and_keeps_its_former_row(
    tmp_path, monkeypatch, capfd
) -> None:
    broken = Benchmark("broken", "silhouette", "--repeats 0")
    absent = Benchmark("absent", "silhouette", needs="a miracle", there=lambda: False)
    monkeypatch.setattr(suite, "BENCHMARKS", (broken, absent, FAST))
    former = [row("broken", "b"), row("silhouette", "old one")]
    (tmp_path / "benchmarks.json").write_text(json.dumps(former))
    assert suite.main(["--docs", str(tmp_path)]) == 1
    said = capfd.readouterr()
    assert "these benchmarks failed: broken" in said.err
    assert "left out: it needs a miracle" in said.out
    found = [r["what"] for r in read_rows(tmp_path / "benchmarks.json")]
    assert found[0] == "b" and len(found) == 2 and "old one" not in found
    assert "`python -m benchmarks --only absent` (needs a miracle)" in (
        tmp_path / "benchmarks.md"
    ).read_text(encoding="utf-8")


def test_new_rows_replace_those_of_their_benchmark_in_order() -> None:
    first, second = (benchmark.name for benchmark in BENCHMARKS[:2])
    former = [row(second, "a"), row("gone", "b"), row(first, "c"), row(first, "d")]
    found = merged(former, [row(first, "e")])
    assert [r["what"] for r in found] == ["e", "a", "b"]


def test_numbers_of_the_page() -> None:
    rows = [
        row("gust", "one", fast_bytes=2_500_000, direct_bytes=8_913_000_000, note="odd"),
        row("gust", "two", direct=None, fast=2.5, note="odd"),
        row("gust", "three", direct=0.003, note="", load=1.5, repeats=5, date="2026-01-02"),
    ]
    lines = benchmarks_page(rows).splitlines()
    assert "| one [1] | 500 ms | 2 ms | 250 | 8 913 MB | 2 MB | m, 1 thread | `python -m x` |" in (
        lines
    )
    none = "\N{EN DASH}"
    two, three = [line for line in lines if line.startswith("| t")]
    assert two.startswith(f"| two [1] | {none} | 2.5 s | {none} | {none} | {none} | m, 1 thread |")
    assert "| 1.5 |" in three and "2026-01-02, m, 1 thread, 5 runs, load 1.5" in three
    assert "- [1] odd" in lines


def test_the_page_is_that_of_the_kept_numbers() -> None:
    """``python -m benchmarks`` writes both."""
    rows = read_rows(DOCS / "benchmarks.json")
    assert rows and (DOCS / "benchmarks.md").read_text(encoding="utf-8") == benchmarks_page(rows)


def test_mistakes_are_one_sentence(tmp_path, capsys) -> None:
    assert suite.main(["--only", "nonsense"]) == 1
    assert "--only nonsense: unknown benchmark" in capsys.readouterr().err
    (tmp_path / "benchmarks.json").write_text("[{]")
    with pytest.raises(UserError, match="is damaged"):
        read_rows(tmp_path / "benchmarks.json")
    assert silhouette.main(["--repeats", "0"]) == 1
    assert "--repeats is 0; give 1 or more" in capsys.readouterr().err
    assert silhouette.main(["--threads", "99999"]) == 1
    assert suite.main(["--list", "--only", "gust"]) == 0
    assert capsys.readouterr().out == "gust: python -m benchmarks.gust\n"
