"""The report as one page: a single file with its pictures inside, for any browser."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from PIL import Image

from common.files import atomic_path
from common.report.collect import RECORDS, Chapter, Section, Source, arrange, find_sources
from common.report.markdown import COLUMNS, cells, details_of, facts_of

PLACE = Path(__file__).parent


def write_index(results: str | Path, committed: Path = RECORDS) -> Path:
    """Write ``results/index.html`` with everything below ``results`` and in ``committed``."""
    sources, problems = find_sources(Path(results), committed)
    path = Path(results) / "index.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page(arrange(sources), problems), encoding="utf-8")
    return path


def page(chapters: Sequence[Chapter], problems: Sequence[str] = ()) -> str:
    """The whole page."""
    names = [(f"paper-{number}", chapter) for number, chapter in enumerate(chapters)]
    template = Template((PLACE / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        css=(PLACE / "page.css").read_text(encoding="utf-8"),
        papers="\n".join(
            f'<li><a href="#{name}">{escape(chapter.paper.name)}</a></li>'
            for name, chapter in names
        ),
        problems="\n".join(f'<p class="problem">{escape(problem)}</p>' for problem in problems),
        chapters="\n".join(_chapter(name, chapter) for name, chapter in names),
    )


def _chapter(name: str, chapter: Chapter) -> str:
    sections = [
        _section(section)
        for section in chapter.sections
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


def _section(section: Section) -> str:
    """One table or figure: pictures, table, remark, facts, commands and notes."""
    body = [figure for source in section.shown for figure in _figures(section, source)]
    if section.is_missing:
        body.append(f"<p>Missing; this makes it:</p><pre>{escape(section.result.command)}</pre>")
    if section.measured:
        body.append(_table(section))
    if section.remark:
        body.append(f'<p class="remark">{escape(section.remark)}</p>')
    body.append(_list(facts_of(section)))
    details = details_of(section)
    if details:
        body.append(
            f"<details><summary>commands and notes</summary>{_list(details)}</details>",
        )
    return "\n".join(
        [
            '<article class="result">',
            f"<h3>{escape(section.result.title)}</h3>",
            *filter(None, body),
            "</article>",
        ]
    )


def _figures(section: Section, source: Source) -> list[str]:
    """Pictures as they are; films, which move, one click away. The caption names profile and data,
    and says so where the table's numbers are of another record."""
    record = source.record
    caption = f"{record.profile} profile, {record.data or 'data not named'}, {record.created[:10]}"
    if section.measured and all(row.source is not source for row in section.measured):
        caption += "; the numbers below are of another record"
    shown = []
    for path in source.pictures():
        try:
            with Image.open(path) as picture:
                size = f'width="{picture.width}" height="{picture.height}"'
        except OSError:
            shown.append(f'<p class="problem">{escape(path.name)} cannot be read.</p>')
            continue
        kind = path.suffix.removeprefix(".")
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        alt = escape(f"{section.result.title}. {section.result.picture}")
        figure = (
            f'<figure><img {size} alt="{alt}" src="data:image/{kind};base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
        if kind == "gif":
            figure = f"<details><summary>film: {escape(path.stem)}</summary>{figure}</details>"
        shown.append(figure)
    return shown


def _table(section: Section) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in COLUMNS)
    rows = "".join(
        f'<tr class="{row.verdict.kind}"><th scope="row">{escape(what)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for row in section.measured
        for what, *rest in [cells(row)]
    )
    return (
        f'<div class="scroll"><table><caption>here: mean ± half width of its 95 % confidence '
        f"interval, over n repetitions</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_with_code(line)}</li>' for line in lines)}</ul>" if lines else ""


def _with_code(text: str) -> str:
    """Markdown's backquotes as code."""
    return "".join(
        f"<code>{escape(part)}</code>" if k % 2 else escape(part)
        for k, part in enumerate(text.split("`"))
    )
