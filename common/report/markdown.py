"""The report as Markdown: all of it for ``docs/results.md``, and a short one for the README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common.paper_values import Pivot
from common.report.cells import (
    NONE,
    duration,
    is_stand_in,
    machine,
    markdown_table,
    measured,
    named,
    number,
    others,
)
from common.report.collect import Chapter, Row, Section, Source

COLUMNS = ("what", "paper", "here", "verdict", "n", "data", "time")
MARKS = ("<!-- results -->", "<!-- /results -->")
_HEAD = """# Results

Made by `python -m common.report` from the records in `docs/results/`, which hold settings, seeds,
hashes, versions and commands in full. What is not here yet is said to be missing, with the command
that makes it.

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
        parts.append(f"## {chapter.paper.name}\n")
        if chapter.paper.reference:
            parts.append(f"{chapter.paper.reference}.\n")
        parts += [_section(section) for section in chapter.sections if not _skipped(section)]
    return "\n".join(parts)


def _skipped(section: Section) -> bool:
    return section.is_missing and section.result.optional


def _section(section: Section) -> str:
    lines = [f"### {section.result.title}\n"]
    if section.is_missing:
        lines.append(f"Missing; `{section.result.command}` makes it.\n")
    if section.measured:
        lines.append(markdown_table(COLUMNS, [_cells(row) for row in section.measured]) + "\n")
    if section.remark:
        lines.append(f"{section.remark}\n")
    facts = [*_facts(section), *(f"missing: {what}: {how}" for what, how in missing_lines(section))]
    lines += [f"- {line}" for line in facts]
    details = _details(section)
    if details:
        lines += ["\n<details><summary>commands and notes</summary>\n"]
        lines += [*(f"- {line}" for line in details), "\n</details>"]
    return "\n".join(lines).rstrip("\n") + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    m, published = row.measurement, row.published
    value = "not published" if published.value is None else number(published.value)
    if published.value is not None and published.spread is not None:
        value += f" (spread {published.spread:g})"
    value += f"; {others(published)}" if published.other is not None else ""
    verdict = "" if published.value is None else row.verdict.text
    return (named(m), value, measured(m), verdict, str(m.n), row.data, duration(m.seconds))


def _facts(section: Section) -> list[str]:
    """Source of the paper's numbers, why others are not published, and the records."""
    facts = []
    sources = dict.fromkeys(r.published.source for r in section.rows if r.published.source)
    if sources:
        facts.append(f"paper's numbers: {'; '.join(sources)}")
    why = dict.fromkeys(r.published.unpublished for r in section.measured)
    facts += [f"no published number: {reason}" for reason in why if reason]
    return facts + [_record_line(source) for source in _used(section)]


def _details(section: Section) -> list[str]:
    """Commands, spreads and notes, each once with what it is of."""
    commands: dict[str, list[str]] = {}
    for row in section.measured:
        commands.setdefault(row.command, []).append(row.measurement.what)
    one = len(commands) == 1
    facts = [f"`{c}`" + ("" if one else f": {_listed(whats)}") for c, whats in commands.items()]
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
        steps = [f"`{how}`" if is_command(how) else how] if how else []
        lines.append(
            (_listed(names, most), ", then ".join([*steps, f"`{section.result.command}`"]))
        )
    return lines


def is_command(text: str) -> bool:
    """Whether what is known of a missing number is a command, not a sentence."""
    return text.startswith(("python ", "scripts/"))


# ------------------------------------------------------------------------------------- README


def readme_block(chapters: Iterable[Chapter]) -> str:
    """What stands between the marks in the README: a small table of each result that has one."""
    parts = []
    for chapter in chapters:
        tables, missing = [], []
        for section in chapter.sections:
            if section.result.readme is None:
                continue
            table = pivot_table(section, section.result.readme)
            if table:
                tables.append(f"**{section.result.title}** ({_profiles(section)})\n\n{table}\n")
                tables += [f"{section.remark}\n"] if section.remark else []
            elif not section.result.optional:
                missing.append(section.result.title)
        if missing:
            tables.append(f"Not there yet: {'; '.join(missing)}.\n")
        if tables:
            parts.append("\n".join([f"### {chapter.paper.name}\n", *tables]))
    legend = (
        "In brackets the paper's number, where there is one. Bold: at least as good, or its number "
        f"met within the 95 % interval. {NONE}: not measured yet. \\*: quick profile. †: on the "
        "small embedded data. Intervals, times, commands and everything else: "
        "[docs/results.md](docs/results.md).\n"
    )
    return "\n".join([*parts, legend])


def pivot_table(section: Section, pivot: Pivot) -> str:
    """The table of a result, empty where nothing of it was measured; rows without any number are
    left out."""
    rows = {row.published.what: row for row in section.measured}
    lines = []
    for name in pivot.rows:
        found = [rows.get(pivot.cell.format(row=name, column=column)) for column in pivot.columns]
        if any(found):
            lines.append((pivot.side.format(row=name), *map(_pivot_cell, found)))
    heads = [pivot.head.format(column=column) for column in pivot.columns]
    return markdown_table((pivot.corner, *heads), lines) if lines else ""


def _pivot_cell(row: Row | None) -> str:
    if row is None:
        return NONE
    value = measured(row.measurement)
    if row.verdict.kind in ("reached", "within"):
        value = f"**{value}**"
    value += "" if row.source.record.profile == "full" else "\\*"
    value += "†" if is_stand_in(row.data) else ""
    published = row.published.value
    return value if published is None else f"{value} ({number(published)})"


def _profiles(section: Section) -> str:
    profiles = sorted({source.record.profile for source in _used(section)})
    return f"{' and '.join(profiles)} profile{'s' if len(profiles) > 1 else ''}"


def with_block(text: str, block: str) -> str:
    """A text with what stands between the marks replaced.

    Raises ``ValueError`` unless it has both marks, in order.
    """
    begin, end = (text.find(mark) for mark in MARKS)
    if not 0 <= begin < end:
        raise ValueError(f"{MARKS[0]} and {MARKS[1]} must stand there, in this order")
    return f"{text[: begin + len(MARKS[0])]}\n{block}{text[end:]}"
