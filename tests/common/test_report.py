"""The report: every cell of the tables, the page's links, and broken records in between."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from common.records import Measurement, Record
from common.report import CAPTION, main, read_records, results_table, write_index


def record(name: str = "table1", **fields) -> Record:
    values = {"command": "python -m dasbe.figures.table1", "created": "2024-01-01T00:00:00+00:00"}
    return Record(name, "DASBE", "quick", **(values | {"data": "generated"} | fields))


MEASUREMENTS = [
    Measurement("bars", 96.42, "AMI x 100", 97.1, "Table 1", interval95=0.31, n=200, seconds=12.2),
    Measurement("rate | score", 0.12345, data="real MNIST", interval95=0.0042, n=5, seconds=600),
    Measurement("corners", 80.0, n=1, seconds=9000),
    Measurement("silent", None),
]


def test_text_table_is_aligned() -> None:
    lines = results_table([record(measurements=MEASUREMENTS)]).splitlines()
    assert lines == [
        "DASBE: table1 (quick profile)",
        "",
        "what              paper           measured here  n    data        time",
        "----------------  --------------  -------------  ---  ----------  ------",
        "bars [AMI x 100]  97.1 (Table 1)  96.4 ± 0.3     200  generated   12 s",
        "rate | score      not published   0.123 ± 0.004  5    real MNIST  10 min",
        "corners           not published   80             1    generated   2.5 h",
        "silent            not published   no value       1    generated",
        "",
        CAPTION,
    ]


def test_markdown_table_escapes_its_separator() -> None:
    lines = results_table([record(measurements=MEASUREMENTS[:2])], "markdown").splitlines()
    assert lines[0] == "### DASBE: table1 (quick profile)"
    assert lines[2:6] == [
        "| what | paper | measured here | n | data | time |",
        "| --- | --- | --- | --- | --- | --- |",
        "| bars [AMI x 100] | 97.1 (Table 1) | 96.4 ± 0.3 | 200 | generated | 12 s |",
        "| rate \\| score | not published | 0.123 ± 0.004 | 5 | real MNIST | 10 min |",
    ]


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [(55.5, 0.0, "55.5 ± 0.0"), (1234.5, 21.0, "1234.5 ± 21.0"), (12345.6, None, "12346")],
)
def test_measured_numbers(value, half, text: str) -> None:
    table = results_table([record(measurements=[Measurement("x", value, interval95=half)])])
    assert f"  {text}  " in table


def test_without_measurements_and_unknown_formats() -> None:
    assert "what" in results_table([record()])
    with pytest.raises(ValueError, match="fmt"):
        results_table([], "latex")


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.tags, self.cells = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data) -> None:
        if self.tags and self.tags[-1] == "td":
            self.cells.append(data)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two good records, one in a folder with an awkward name, and a broken one between them."""
    nasty = "<script>alert('x')</script> & co"
    record(measurements=MEASUREMENTS).save(tmp_path / "dasbe" / "table1")
    record(nasty, measurements=[Measurement(nasty, 1.0, note=nasty)], settings={"a": nasty}).save(
        tmp_path / "dasbe" / "figure #2"
    )
    (tmp_path / "dasbe" / "figure #2" / "figure.png").write_bytes(b"png")
    (tmp_path / "dasbe" / "figure #2" / "arrays.npz").write_bytes(b"npz")
    (tmp_path / "dasbe" / "figure3").mkdir()
    (tmp_path / "dasbe" / "figure3" / "record.json").write_text('{"format": 1, "nam')
    return tmp_path


def test_index_shows_all_and_escapes_text(results: Path) -> None:
    path = write_index(results)
    assert path == results / "index.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert page.tags.count("table") == 2 and page.tags.count("img") == 1
    assert "96.4 ± 0.3" in page.cells and "97.1 (Table 1)" in page.cells
    assert len(page.links) >= 4
    for link in page.links:
        assert (results / unquote(link)).is_file(), link
    assert "figure3/record.json is damaged" in path.read_text()


def test_a_broken_record_hides_no_other(results: Path) -> None:
    found, problems = read_records(results)
    assert len(found) == 2 and len(problems) == 1
    assert "figure3" in problems[0] and "\n" not in problems[0]


def test_command_prints_table_and_places(results: Path, capsys) -> None:
    assert main(["--results", str(results), "--markdown"]) == 0
    out, err = capsys.readouterr()
    assert "| bars [AMI x 100] | 97.1 (Table 1) |" in out
    assert str(results / "dasbe" / "figure #2" / "figure.png") in out
    assert str(results / "index.html") in out
    assert err.startswith("warning: ") and err.count("\n") == 1
    assert (results / "index.html").is_file()


def test_command_without_results(tmp_path: Path, capsys) -> None:
    assert main(["--results", str(tmp_path / "none")]) == 1
    assert "error: there are no results" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
