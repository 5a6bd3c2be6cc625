"""The report as Markdown: ``docs/results.md``, and the table of the README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common.report.cells import (
    NONE,
    code,
    duration,
    is_stand_in,
    machine,
    markdown_table,
    measured,
    named,
    number,
    others,
    safe,
    text_table,
)
from common.report.collect import Chapter, Row, Section, Source

COLUMNS = ("what", "paper", "here", "verdict", "n", "data", "time")
MARKS = ("<!-- results -->", "<!-- /results -->")
MOST_UNPUBLISHED = 4
"""Rows of a table in ``docs/results.md`` for none of whose rows the paper has a number."""
_HEAD = """# Results

Made by `python -m common.report` from the records in `docs/results/`, which hold settings, seeds,
hashes, versions and commands in full. The tables hold what the papers give numbers for; the page
that the same command writes (`results/index.html`) has every measurement, with commands, notes and
pictures, and what is missing with the command that produces it.

Here: mean ± half width of its 95 % confidence interval, over n repetitions (images, runs or test
questions). Verdicts: *reached* is at least as good as the paper's number; *within its interval*
falls short, but the interval holds the paper's number; else the difference. Numbers of baselines
are to be met, not passed. Times are those of the machine named below each table.
"""


# ------------------------------------------------------------------------------ docs/results.md


def results_page(chapters: Sequence[Chapter]) -> str:
    """The text of ``docs/results.md``."""
    parts = [_HEAD]
    for chapter in chapters:
        parts.append(f"## {safe(chapter.paper.name)}\n")
        if chapter.paper.reference:
            parts.append(f"{chapter.paper.reference}.\n")
        parts += [_section(section) for section in chapter.sections if not _skipped(section)]
    return "\n".join(parts)


def _skipped(section: Section) -> bool:
    return section.is_missing and section.result.optional


def _section(section: Section) -> str:
    lines = [f"### {safe(section.result.title)}\n"]
    if section.is_missing:
        lines.append(f"Missing; {code(section.result.command)} makes it.\n")
    headline = section.result.headline
    rows = [
        row
        for row in section.measured
        if row.published.value is not None or row.published.what in headline
    ] or section.measured[:MOST_UNPUBLISHED]
    if rows:
        lines.append(markdown_table(COLUMNS, [cells(row) for row in rows]) + "\n")
    if section.remark:
        lines.append(f"{section.remark}\n")
    counted = {
        f"{len(rows)} of {len(section.measured)} measurements": len(rows) < len(section.measured),
        f"{len(section.absent)} numbers missing": bool(section.absent),
    }
    facts = [code(section.result.command), *(text for text, given in counted.items() if given)]
    lines += [f"- {'; '.join(facts)}", *(f"- {safe(_record_line(s))}" for s in _used(section))]
    return "\n".join(lines) + "\n"


def cells(row: Row) -> tuple[str, ...]:
    """A measured row under :data:`COLUMNS`."""
    m, published = row.measurement, row.published
    value = "not published" if published.value is None else number(published.value)
    if published.value is not None and published.spread is not None:
        value += f" (spread {published.spread:g})"
    value += f"; {others(published)}" if published.other is not None else ""
    verdict = "" if published.value is None else row.verdict.text
    return (named(m), value, measured(m), verdict, str(m.n), row.data, duration(m.seconds))


def facts_of(section: Section) -> list[str]:
    """In Markdown: source of the paper's numbers, why others are not published, the records, and
    what is missing."""
    facts = []
    sources = dict.fromkeys(r.published.source for r in section.rows if r.published.source)
    if sources:
        facts.append(f"paper's numbers: {'; '.join(sources)}")
    why = dict.fromkeys(r.published.unpublished for r in section.measured)
    facts += [f"no published number: {reason}" for reason in why if reason]
    facts += [_record_line(source) for source in _used(section)]
    return facts + [f"missing: {what}: {how}" for what, how in missing_lines(section)]


def details_of(section: Section) -> list[str]:
    """In Markdown: commands, spreads and notes, each once with what it is of."""
    commands: dict[str, list[str]] = {}
    for row in section.measured:
        commands.setdefault(row.command, []).append(row.measurement.what)
    one = len(commands) == 1
    facts = [code(c) + ("" if one else f": {_listed(whats)}") for c, whats in commands.items()]
    spreads = [
        f"{row.measurement.what} {row.measurement.spread:.2g}"
        for row in section.measured
        if row.measurement.spread is not None and len(row.measurement.seeds) > 1
    ]
    if spreads:
        facts.append(f"standard deviation over seeds or runs: {'; '.join(spreads)}")
    notes: dict[str, list[str]] = {}
    for row in section.measured:
        if row.measurement.note:
            notes.setdefault(row.measurement.note, []).append(row.measurement.what)
    facts += [f"{_listed(whats)}: {note}" for note, whats in notes.items()]
    return facts


def _used(section: Section) -> list[Source]:
    used = [row.source for row in section.measured]
    return [s for s in section.sources if s in used]


def _record_line(source: Source) -> str:
    record = source.record
    networks = ", ".join(f"{name} {sha[:12]}" for name, sha in record.checkpoints.items())
    return (
        f"record `{source.name}`: {record.profile} profile, {record.created[:10]}, "
        f"{machine(record)}" + (f"; networks {networks}" if networks else "")
    )


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def missing_lines(section: Section, most: int = 3) -> list[tuple[str, str]]:
    """(rows, what is known of them or the command that makes them), rows of the same one together.

    The text is Markdown; of the rows ``most`` are named and the others counted.
    """
    grouped: dict[str, list[str]] = {}
    for row in section.absent:
        grouped.setdefault(row.missing, []).append(row.published.what)
    lines = []
    for how, names in grouped.items():
        steps = [code(how) if is_command(how) else how] if how else []
        lines.append((_listed(names, most), ", then ".join([*steps, code(section.result.command)])))
    return lines


def is_command(text: str) -> bool:
    """Whether what is known of a missing number is a command, not a sentence."""
    return text.startswith(("python ", "scripts/"))


# ------------------------------------------------------------------------------------- README


def readme_block(chapters: Iterable[Chapter]) -> str:
    """What stands between the marks in the README: the headline rows of all papers."""
    rows = [
        (chapter.paper.name, name, *_headline_cells(row))
        for chapter in chapters
        for name, row in headline(chapter)
    ]
    legend = (
        "Bold: at least as good as the paper, or equal within the 95 % interval. "
        f"{NONE}: not published, or not measured yet. \\*: quick profile. †: on a stand-in for the "
        "real data set. With intervals and times: "
        "[docs/results.md](docs/results.md).\n"
    )
    return markdown_table(("paper", "result", "paper's", "here"), rows) + "\n\n" + legend


def headline(chapter: Chapter) -> list[tuple[str, Row]]:
    """The headline rows of a paper with their names."""
    rows = {row.published.what: row for section in chapter.sections for row in section.rows}
    return [
        (name, rows[what])
        for section in chapter.sections
        for what, name in section.result.headline.items()
        if what in rows
    ]


def _headline_cells(row: Row) -> tuple[str, str]:
    paper = NONE if row.published.value is None else number(row.published.value)
    if row.measurement is None:
        return paper, NONE
    value = measured(row.measurement)
    if row.verdict.kind in ("reached", "within"):
        value = f"**{value}**"
    value += "" if row.source.record.profile == "full" else "\\*"
    return paper, value + ("†" if is_stand_in(row.data) else "")


def headline_table(chapter: Chapter) -> str:
    """The headline rows of a paper as plain text: what, paper, here, data."""
    rows = [
        (
            name,
            NONE if row.published.value is None else number(row.published.value),
            NONE if row.measurement is None else measured(row.measurement),
            row.data,
        )
        for name, row in headline(chapter)
    ]
    return text_table((chapter.paper.name, "paper", "here", "data"), rows)


def with_block(text: str, block: str) -> str:
    """A text with what stands between the marks replaced.

    Raises ``ValueError`` unless it has both marks, in order.
    """
    begin, end = (text.find(mark) for mark in MARKS)
    if not 0 <= begin < end:
        raise ValueError(f"{MARKS[0]} and {MARKS[1]} must stand there, in this order")
    return f"{text[: begin + len(MARKS[0])]}\n{block}{text[end:]}"
