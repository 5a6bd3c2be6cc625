"""The report: tables, verdicts, which record wins, Markdown, the page, and broken records."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from html import escape
from itertools import pairwise
from pathlib import Path

import pytest
from report_examples import MEASUREMENTS, NASTY, Page, record, write_picture, write_results

from common.errors import UserError
from common.paper_values import FILE, Published, papers
from common.paths import ROOT
from common.records import Measurement, load_record
from common.report import CAPTION, main, read_records, results_table, write_index
from common.report.collect import RECORDS, Source, arrange, find_sources, read_remarks
from common.report.command import keep_record
from common.report.markdown import MARKS, missing_lines, readme_block, results_page, with_block
from common.report.verdicts import KINDS, verdict_of
from datasets.choices import EMBEDDED_DIGITS

# ---- plain tables ---------------------------------------------------------------------------


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


# ---- verdicts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("better", "value", "half", "kind", "text"),
    [
        ("higher", 10.0, None, "reached", "reached"),
        ("higher", 12.0, 0.1, "reached", "reached"),
        ("higher", 9.5, 0.5, "within", "within its interval"),
        ("higher", 9.5, 0.4, "off", "below by 0.5"),
        ("higher", 9.5, None, "off", "below by 0.5"),
        ("lower", 8.0, None, "reached", "reached"),
        ("lower", 10.3, 0.4, "within", "within its interval"),
        ("lower", 22.345, 0.1, "off", "above by 12"),
        ("same", 12.0, 0.5, "off", "above by 2"),
        ("same", 9.0, 0.5, "off", "below by 1"),
        ("same", 10.1, 0.5, "within", "within its interval"),
        ("same", 10.0, None, "reached", "reached"),
        ("higher", None, None, "missing", "missing"),
    ],
)
def test_verdicts(better, value, half, kind, text) -> None:
    found = verdict_of(
        Published("x", 10.0, better=better), Measurement("x", value, interval95=half)
    )
    assert (found.kind, found.text) == (kind, text) and kind in KINDS


def test_no_verdict_without_two_numbers() -> None:
    assert verdict_of(Published("x"), Measurement("x", 1.0)).kind == "unpublished"
    assert verdict_of(Published("x", 1.0), None).kind == "missing"


# ---- which record ---------------------------------------------------------------------------


def sections(*records, remarks=None):
    """Sections by folder of records (folder, record)."""
    sources = [
        Source(name, found, Path("results") / name / "record.json", committed=False)
        for name, found in records
    ]
    return {
        section.result.folder: section
        for chapter in arrange(sources, remarks or {})
        for section in chapter.sections
    }


def table(value, profile="quick", created="2024-01-01", data="generated"):
    measured = [Measurement("bars, DASBE", value)]
    return record("Table 1", profile, measurements=measured, created=created, data=data)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (table(1.0, "full", "2023"), table(2.0, "quick", "2024")),
        (table(1.0, "quick", "2023"), table(2.0, data=EMBEDDED_DIGITS)),
        (table(1.0, "quick", "2024-02"), table(2.0, "quick", "2024-01")),
        (table(1.0, "quick", "2023"), table(None, "full", "2024")),
    ],
)
def test_the_better_record_wins_wherever_it_stands(better, worse) -> None:
    for pair in ((better, worse), (worse, better)):
        found = sections(*(("dasbe_table1", x) for x in pair))["dasbe_table1"]
        first = found.rows[0]
        assert (first.published.what, first.measurement.value) == ("bars, DASBE", 1.0)
        assert first.source.record is better


def test_parts_join_their_table_and_rows_keep_the_papers_order() -> None:
    ann = record("Table 1", measurements=[Measurement("bars, pure ANN", 9.0)])
    found = sections(("dasbe_table1", table(97.0)), ("dasbe_table1_pure_ann", ann))["dasbe_table1"]
    assert [row.measurement.what for row in found.measured] == ["bars, DASBE", "bars, pure ANN"]
    assert len(found.absent) == 13
    assert all(row.verdict.kind == "missing" for row in found.absent)
    assert "dasbe_table1_pure_ann" not in sections()


def test_a_record_that_nobody_lists_comes_last_with_its_own_numbers() -> None:
    found = sections(("mine", record("Mine", measurements=MEASUREMENTS)))
    mine = found["mine"]
    assert [row.measurement.what for row in mine.rows] == ["bars", "rate | score", "corners"]
    assert [row.verdict.kind for row in mine.rows] == ["off", "unpublished", "unpublished"]
    assert list(found).index("mine") == len(papers()["dasbe"].results)


def test_a_missing_number_says_how_it_is_made() -> None:
    note = "not trained yet: python -m something makes it"
    placeholder = Measurement(
        "task 1 (single supporting fact), delay 30: error", None, n=0, note=note
    )
    stories = replace(record("bAbI", measurements=[placeholder]), paper="Hebbian memory")
    found = sections(("hebbian_babi", stories))
    lines = missing_lines(found["hebbian_babi"])
    assert (
        placeholder.what,
        f"{note}, then `scripts/hebbian_snn/table_babi.sh --profile full`",
    ) in lines
    assert any("`scripts/hebbian_snn/table_babi.sh --train --delays 1`" in how for _, how in lines)
    whole = missing_lines(found["gust_generalisation"])
    assert whole[0][1].startswith("`python -m gust.train --train_objects 2`, then `scripts/gust/")
    assert "and 3 more" in whole[0][0]


def test_remarks_belong_to_results_that_there_are(tmp_path) -> None:
    folders = {name for paper in papers().values() for name in paper.results}
    assert set(read_remarks()) <= folders
    path = tmp_path / "remarks.yaml"
    path.write_text("- a list")
    with pytest.raises(UserError, match="must map folders"):
        read_remarks(path)
    found = sections(("dasbe_table1", table(97.0)), remarks={"dasbe_table1": "Remarkable."})
    assert found["dasbe_table1"].remark == "Remarkable."


# ---- committed records and what is made of them ---------------------------------------------


def committed():
    sources, problems = find_sources(None, RECORDS)
    assert not problems
    return arrange(sources)


def test_committed_records_are_listed_and_say_the_papers_numbers() -> None:
    folders = {
        name: result
        for paper in papers().values()
        for result in paper.results.values()
        for name in (result.folder, *result.parts)
    }
    names = {paper.name for paper in papers().values()}
    paths = sorted(RECORDS.glob("*.json"))
    assert paths
    for path in paths:
        found = load_record(path)
        assert path.stem in folders, f"{path.name} is not listed in {FILE.name}"
        assert found.paper in names
        for measurement in found.measurements:
            if measurement.paper is not None:
                assert folders[path.stem].row(measurement.what).value == measurement.paper


def test_results_page_and_readme_are_those_of_the_committed_records() -> None:
    """``python -m common.report --readme`` brings both up to date."""
    chapters = committed()
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results_page(chapters)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == with_block(text, readme_block(chapters))
    assert [paper.name in readme_block(chapters) for paper in papers().values()] == [True] * 4


def test_results_page_says_all_that_is_missing() -> None:
    text = results_page(arrange([], {}))
    for paper in papers().values():
        assert f"\n## {paper.name}\n" in text
        for result in paper.results.values():
            assert (f"Missing; `{result.command}` makes it." in text) or result.optional
    assert "**" not in readme_block(arrange([], {})).partition("Bold")[0]


def test_readme_cells() -> None:
    digits = [
        Measurement("shapes, DASBE", 97.0, interval95=0.2),
        Measurement("mnist_shape, DASBE", 20.0, interval95=0.2, data=EMBEDDED_DIGITS),
    ]
    sources = [Source("dasbe_table1", record("Table 1", measurements=digits), Path("x"), True)]
    block = readme_block(arrange(sources, {}))
    assert "| DASBE | binding of shapes, AMI x 100 | 90.2 | **97.0 ± 0.2**\\* |" in block
    assert "| DASBE | binding of digits and shapes, AMI x 100 | 53.3 | 20.0 ± 0.2\\*† |" in block
    assert "| GUST | binding of the published image, AMI | 0.795 | \N{EN DASH} |" in block


def test_marks_of_the_readme() -> None:
    text = f"a\n{MARKS[0]}\nold\n{MARKS[1]}\nb"
    assert with_block(text, "new\n") == f"a\n{MARKS[0]}\nnew\n{MARKS[1]}\nb"
    for wrong in ("no marks", MARKS[0], MARKS[1] + MARKS[0]):
        with pytest.raises(ValueError, match="must stand there"):
            with_block(wrong, "new")


# ---- the page -------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results")


@pytest.fixture
def page(results: Path, tmp_path: Path) -> Page:
    path = write_index(results, tmp_path / "none")
    assert path == results / "index.html"
    return Page(path.read_text(encoding="utf-8"))


def test_page_shows_all_and_escapes_text(page: Page, results: Path) -> None:
    assert not page.wrong and not page.open
    assert "script" not in page.tags
    assert "96.4 ± 0.3" in page.cells and "97.1" in page.cells
    assert {"reached", "within its interval", "below by 21"} <= set(page.cells)
    text = (results / "index.html").read_text(encoding="utf-8")
    assert "a machine, 1 thread" in text and escape(NASTY) in text
    assert "figure3/record.json is damaged" in text
    for paper in papers().values():
        assert f">{paper.name}</h2>" in text


def test_page_is_one_file_whose_parts_are_all_there(page: Page) -> None:
    ids = page.all("id")
    assert len(ids) == len(set(ids)) > 4
    named = page.all("aria-labelledby")
    assert {name for words in named for name in words.split()} <= set(ids)
    for link in page.all("href"):
        assert link == "data:," or (link.startswith("#") and link[1:] in ids)
    images = [attributes for tag, attributes in page.attributes if tag == "img"]
    assert len(images) == 2
    for image, kind in zip(images, ("png", "gif"), strict=True):
        start, _, data = image["src"].partition(",")
        assert start == f"data:image/{kind};base64"
        assert base64.b64decode(data, validate=True)[1:4] in (b"PNG", b"IF8")
        assert image["alt"] and (image["width"], image["height"]) == ("6", "4")
    assert not [tag for tag, attributes in page.attributes if "src" in attributes and tag != "img"]


def test_page_can_be_read_without_seeing_it(page: Page) -> None:
    assert page.tags.count("main") == page.tags.count("h1") == 1
    assert page.tags.count("caption") == page.tags.count("table") == 3
    heads = [attributes for tag, attributes in page.attributes if tag == "th"]
    assert all(head["scope"] in ("col", "row") for head in heads)
    levels = [int(tag[1]) for tag in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and all(b <= a + 1 for a, b in pairwise(levels))
    assert dict(page.attributes[0:1])["html"]["lang"] == "en"


def test_the_picture_of_the_better_record_is_shown_with_its_data(results: Path, tmp_path) -> None:
    """Pictures of a quick run give way to the committed one of the full profile; a caption names
    profile and data, and says where the numbers are of another record."""
    write_picture(results / "dasbe_table1" / "figure.png")
    text = write_index(results, tmp_path / "none").read_text(encoding="utf-8")
    assert "<figcaption>quick profile, generated, 2024-01-01</figcaption>" in text
    full = record("Table 1", "full", measurements=[Measurement("bars, DASBE", 97.0)], data="whole")
    full.save(tmp_path / "full")
    kept = tmp_path / "kept"
    write_picture(tmp_path / "full" / "figure.png")
    (tmp_path / "full").rename(tmp_path / "dasbe_table1")
    keep_record(tmp_path / "dasbe_table1", kept)
    text = write_index(results, kept).read_text(encoding="utf-8")
    assert "<figcaption>full profile, whole, 2024-01-01</figcaption>" in text
    assert (
        "quick profile, generated, 2024-01-01"
        not in text.partition("GUST</h2>")[0]
        .partition("Table 1: adjusted")[2]
        .partition("</article>")[0]
    )
    both = record("Table 1", "full", measurements=[Measurement("bars, DASBE", 96.0)], data="more")
    both.save(results / "dasbe_table1_pure_ann")
    write_picture(results / "dasbe_table1_pure_ann" / "figure.png")
    text = write_index(results, kept).read_text(encoding="utf-8")
    assert "full profile, more, 2024-01-01; the numbers below are of another record" in text or (
        "full profile, whole, 2024-01-01; the numbers below are of another record" in text
    )


def test_a_picture_that_cannot_be_read_is_named(results: Path, tmp_path: Path) -> None:
    (results / "dasbe_table1" / "figure.png").write_bytes(b"no picture")
    text = write_index(results, tmp_path / "none").read_text(encoding="utf-8")
    assert "figure.png cannot be read." in text


# ---- the command ----------------------------------------------------------------------------


def test_a_broken_record_hides_no_other(results: Path) -> None:
    found, problems = read_records(results)
    assert len(found) == 3 and len(problems) == 1
    assert "figure3" in problems[0] and "\n" not in problems[0]


def test_a_record_with_a_value_of_another_kind_is_left_out(results: Path, capsys) -> None:
    path = results / "dasbe_table1" / "record.json"
    whole = json.loads(path.read_text())
    for change in ({"seeds": "x"}, {"threads": None}, {"checkpoints": [1]}, {"created": 7}):
        path.write_text(json.dumps(whole | change))
        sources, problems = find_sources(results, results)
        assert "dasbe_table1" not in {source.name for source in sources} and len(sources) == 2
        assert [line for line in problems if str(path) in line and next(iter(change)) in line]
    assert run(results) == 0
    assert capsys.readouterr().err.count("dasbe_table1") == 1


def test_html_of_a_record_is_shown_in_markdown(results: Path) -> None:
    sources, _ = find_sources(results, results)
    text = results_page(arrange(sources, {}))
    assert "&lt;script>alert" in text and NASTY.replace("<", "&lt;") in text
    outside = "".join(text.split("`")[::2]).replace("<details>", "").replace("</details>", "")
    assert "<" not in outside.replace("<summary>", "").replace("</summary>", "")


def run(results: Path, *flags: str) -> int:
    return main(["--results", str(results), "--records", str(results.parent / "kept"), *flags])


def test_command_prints_table_and_places(results: Path, capsys) -> None:
    assert run(results, "--markdown") == 0
    out, err = capsys.readouterr()
    assert "| bars [AMI x 100] | 97.1 (Table 1) |" in out
    assert str(results / "dasbe" / "figure #2" / "figure.png") in out
    assert str(results / "index.html") in out
    assert err.startswith("warning: ") and err.count("\n") == 1
    assert (results / "index.html").is_file()
    assert not (results.parent / "results.md").exists()


def test_command_keeps_records_and_writes_docs_and_readme(results: Path, tmp_path, capsys) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("\n".join(MARKS))
    flags = ("--keep", "dasbe_table1", "--docs", str(tmp_path), "--readme", str(readme))
    assert run(results, *flags) == 0
    kept = tmp_path / "kept" / "dasbe_table1.json"
    assert json.loads(kept.read_text()) == json.loads(
        (results / "dasbe_table1" / "record.json").read_text()
    )
    assert "| bars, DASBE [AMI x 100] | 96.5 | 97.0 ± 0.2 | reached |" in (
        tmp_path / "results.md"
    ).read_text(encoding="utf-8")
    assert "| GUST | binding of the published image, AMI | 0.795 |" in readme.read_text(
        encoding="utf-8"
    )
    readme.write_text("no marks")
    assert run(results, "--readme", str(readme)) == 1
    assert "must stand there" in capsys.readouterr().err
    assert run(results, "--keep", "nothing") == 1


def test_command_without_results(tmp_path: Path, capsys) -> None:
    assert run(tmp_path / "none") == 1
    assert "error: there are no results" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_command_with_committed_records_alone(tmp_path: Path, capsys) -> None:
    assert main(["--results", str(tmp_path / "results")]) == 0
    assert "DASBE: Table 1 (full profile)" in capsys.readouterr().out
    assert (tmp_path / "results" / "index.html").is_file()
