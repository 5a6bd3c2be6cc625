"""The report as one page: a single file with its pictures inside, for any browser."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from PIL import Image

from common.files import atomic_path
from common.report.cells import (
    NONE,
    duration,
    is_stand_in,
    machine,
    measured,
    named,
    number,
    others,
)
from common.report.collect import RECORDS, Chapter, Row, Section, Source, arrange, find_sources
from common.report.markdown import is_command, missing_lines
from common.report.verdicts import KINDS, Verdict

PLACE = Path(__file__).parent
HEADS = (
    ("what", ""),
    ("paper", ""),
    ("here", ""),
    ("verdict", ""),
    ("n", "wide"),
    ("profile", "wide"),
    ("data", "wide"),
    ("time", "wide"),
)
"""Heads of the columns, and the class of those that a narrow screen leaves out."""


def write_index(results: str | Path, committed: Path = RECORDS) -> Path:
    """Write ``results/index.html`` with everything below ``results`` and in ``committed``."""
    sources, problems = find_sources(Path(results), committed)
    path = Path(results) / "index.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page(arrange(sources), problems), encoding="utf-8")
    return path


def page(chapters: Sequence[Chapter], problems: Sequence[str] = ()) -> str:
    """The whole page. Raises :class:`common.errors.UserError` for pictures that cannot be read."""
    papers = [(_identifier(chapter), chapter) for chapter in chapters]
    choices = [("", "all papers"), *((name, c.paper.name) for name, c in papers)]
    verdicts = [("", "all verdicts"), *KINDS.items()]
    template = Template((PLACE / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        css=(PLACE / "page.css").read_text(encoding="utf-8"),
        js=(PLACE / "page.js").read_text(encoding="utf-8"),
        papers="\n".join(_card(name, chapter) for name, chapter in papers),
        paper_choices=_options(choices),
        verdict_choices=_options(verdicts),
        problems="\n".join(f'<p class="problem">{escape(problem)}</p>' for problem in problems),
        chapters="\n".join(_chapter(name, chapter) for name, chapter in papers),
    )


# ------------------------------------------------------------------------------------- parts


def _identifier(chapter: Chapter) -> str:
    """Of a chapter in the page: letters, digits, hyphens."""
    return "paper-" + "".join(c if c.isalnum() else "-" for c in chapter.paper.key)


def _options(choices: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in choices
    )


def _card(name: str, chapter: Chapter) -> str:
    """A paper's name and how many of its numbers have which verdict."""
    found = [row.verdict.kind for section in chapter.sections for row in section.rows]
    found += ["missing" for s in chapter.sections if s.is_missing and not s.rows]
    chips = [
        f"<li>{_chip(Verdict(kind, f'{found.count(kind)} {title}'))}</li>"
        for kind, title in KINDS.items()
        if kind in found
    ]
    return (
        f'<li><a href="#{name}">{escape(chapter.paper.name)}</a>'
        f'<ul class="counts">{" ".join(chips)}</ul></li>'
    )


def _chip(verdict: Verdict) -> str:
    return f'<span class="verdict {verdict.kind}">{escape(verdict.text)}</span>'


def _chapter(name: str, chapter: Chapter) -> str:
    sections = [
        _section(f"{name}-{k}", section)
        for k, section in enumerate(chapter.sections)
        if not (section.is_missing and section.result.optional)
    ]
    reference = chapter.paper.reference
    return "\n".join(
        [
            f'<section class="chapter" id="{name}" aria-labelledby="{name}-title">',
            f'<h2 id="{name}-title">{escape(chapter.paper.name)}</h2>',
            f'<p class="reference">{escape(reference)}.</p>' if reference else "",
            *sections,
            "</section>",
        ]
    )


def _section(name: str, section: Section) -> str:
    """One table or figure: pictures, table, remark, what is missing, records."""
    body = [figure for source in section.sources for figure in _figures(section, source)]
    if section.measured:
        body.append(_table(name, section))
    if section.remark:
        body.append(f'<p class="remark">{escape(section.remark)}</p>')
    if section.is_missing:
        body.append(
            f'<div data-verdict="missing" data-count="{max(1, len(section.rows))}">'
            f"<p>{_chip(Verdict('missing', 'missing'))} This command makes it:</p>"
            f"<pre>{escape(section.result.command)}</pre></div>"
        )
    if section.absent:
        body.append(_missing(section))
    if section.sources:
        body.append(_records(section))
    return "\n".join(
        [
            f'<article class="result" aria-labelledby="{name}-title">',
            f'<h3 id="{name}-title">{escape(section.result.title)}</h3>',
            *body,
            "</article>",
        ]
    )


# ---------------------------------------------------------------------------------- pictures


def _figures(section: Section, source: Source) -> list[str]:
    """Pictures as they are; films, which move, one click away."""
    record = source.record
    shown = []
    for path in source.pictures():
        try:
            with Image.open(path) as picture:
                size = f'width="{picture.width}" height="{picture.height}"'
        except OSError:
            shown.append(f'<p class="problem">{escape(path.name)} cannot be read.</p>')
            continue
        kind = "gif" if path.suffix == ".gif" else "png"
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        alt = escape(f"{section.result.title}. {section.result.picture}")
        caption = escape(f"{path.stem}: {record.profile} profile, {record.created[:10]}")
        figure = (
            f'<figure><img {size} alt="{alt}" src="data:image/{kind};base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
        if kind == "gif":
            figure = f"<details><summary>film: {escape(path.stem)}</summary>{figure}</details>"
        shown.append(figure)
    return shown


# ------------------------------------------------------------------------------------- table


def _table(name: str, section: Section) -> str:
    heads = "".join(
        f'<th scope="col" role="columnheader" aria-sort="none" class="{css}">'
        f'<button type="button">{title}</button></th>'
        for title, css in HEADS
    )
    rows = [_body(f"{name}-{k}", row) for k, row in enumerate(section.measured)]
    title = escape(section.result.title)
    return "\n".join(
        [
            f'<div class="scroll" role="region" tabindex="0" aria-label="Table: {title}">',
            '<table role="table"><caption>Measured here: mean ± half width of its 95 % confidence '
            "interval, over n repetitions. Press a row for details, a head to sort.</caption>",
            f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>',
            *rows,
            "</table></div>",
        ]
    )


def _body(name: str, row: Row) -> str:
    """A number's row and, below it, all that is known of it."""
    m, published = row.measurement, row.published
    paper = NONE if published.value is None else escape(number(published.value))
    seconds = "" if m.seconds is None else f"{m.seconds:.6g}"
    cells = [
        _cell(paper, published.value),
        _cell(f"<strong>{escape(measured(m))}</strong>", m.value),
        _cell(_chip(row.verdict)),
        _cell(str(m.n), m.n, "wide"),
        _cell(escape(row.source.record.profile), css="wide"),
        _cell(escape(row.data), css="wide"),
        f'<td role="cell" class="wide" data-value="{seconds}">{escape(duration(m.seconds))}</td>',
    ]
    facts = "".join(f"<dt>{escape(term)}</dt><dd>{text}</dd>" for term, text in _details(row))
    return (
        f'<tbody role="rowgroup" data-verdict="{row.verdict.kind}"><tr role="row" class="main">'
        '<th scope="row" role="rowheader">'
        f'<button type="button" class="open" aria-expanded="false" aria-controls="{name}-more">'
        f"{escape(named(m))}</button></th>{''.join(cells)}</tr>"
        f'<tr role="row" class="more" id="{name}-more"><td role="cell" colspan="{len(HEADS)}">'
        f"<dl>{facts}</dl></td></tr></tbody>"
    )


def _cell(text: str, value: float | None = None, css: str = "") -> str:
    sorting = "" if value is None else f' data-value="{value:.10g}"'
    return f'<td role="cell"{sorting}' + (f' class="{css}">' if css else ">") + f"{text}</td>"


def _details(row: Row) -> list[tuple[str, str]]:
    """Terms and what is to be said of them, as HTML; only what is known."""
    m, published, record = row.measurement, row.published, row.source.record
    paper = published.unpublished
    if published.value is not None:
        paper = f"{number(published.value)} ({published.source})"
        if published.spread is not None:
            paper += f", standard deviation {published.spread:g}"
    data = row.data + (", a small stand-in for the real data set" if is_stand_in(row.data) else "")
    said = {
        "paper": paper,
        "other": others(published),
        "verdict": row.verdict.text,
        "spread": "" if m.spread is None else f"{m.spread:.3g} (standard deviation)",
        "n": f"{m.n}" + (f", seeds {', '.join(map(str, m.seeds))}" if m.seeds else ""),
        "data": data,
        "profile": record.profile,
        "time": duration(m.seconds),
        "network": m.checkpoint,
        "machine": machine(record),
        "measured": f"{record.created[:16].replace('T', ' ')}, commit {record.commit[:12]}"
        + (" with changes" if record.dirty else ""),
        "note": m.note,
    }
    facts = [(term, escape(text)) for term, text in said.items() if text]
    return [*facts, ("command", f"<code>{escape(row.command)}</code>")]


# ----------------------------------------------------------------------- what is not there, records


def _missing(section: Section) -> str:
    lines = []
    for names, how in missing_lines(section, most=100):
        lines.append(f"<li>{escape(names)}<br>{_with_code(how)}</li>")
    count = len(section.absent)
    return (
        f'<details data-verdict="missing" data-count="{0 if section.is_missing else count}">'
        f"<summary>{_chip(Verdict('missing', f'{count} missing'))}</summary>"
        f"<ul>{''.join(lines)}</ul></details>"
    )


def _with_code(text: str) -> str:
    """Markdown's backquotes as code."""
    parts = text.split("`")
    return "".join(
        f"<code>{escape(part)}</code>" if k % 2 and is_command(part) else escape(part)
        for k, part in enumerate(parts)
    )


def _records(section: Section) -> str:
    """Where the numbers come from: records, commands, networks, versions."""
    items = []
    for source in section.sources:
        record = source.record
        networks = ", ".join(f"{name} {sha[:12]}" for name, sha in record.checkpoints.items())
        versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
        place = "docs/results" if source.committed else "results"
        said = [
            f"{record.name}, {record.profile} profile, {record.created[:10]}",
            machine(record),
            f"networks: {networks}" if networks else "",
            versions,
            f"record {source.name} in {place}",
        ]
        items.append(
            f"<li>{escape('; '.join(filter(None, said)))}<pre>{escape(record.command)}</pre></li>"
        )
    return f"<details><summary>records and commands</summary><ul>{''.join(items)}</ul></details>"
