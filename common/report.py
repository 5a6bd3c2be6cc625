"""All results beside the papers' values: as a table, and as one page with the pictures.

``python -m common.report`` prints the table, writes ``results/index.html`` and says where the
pictures are.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from common.errors import UserError, command_line
from common.files import atomic_path
from common.paths import RESULTS
from common.records import Measurement, Record, load_record

COLUMNS = ("what", "paper", "measured here", "n", "data", "time")
CAPTION = "Measured here: mean ± half width of its 95 % confidence interval, over n repetitions."


def read_records(
    results: str | Path,
) -> tuple[list[tuple[Path, Record]], list[str]]:
    """Every ``record.json`` below ``results``, as (folder, record) sorted by paper and name,
    and one line for each that cannot be read."""
    found, problems = [], []
    for path in sorted(Path(results).rglob("record.json")):
        try:
            found.append((path.parent, load_record(path)))
        except UserError as error:
            problems.append(str(error))
    found.sort(key=lambda pair: (pair[1].paper, pair[1].name, pair[0]))
    return found, problems


def results_table(records: Sequence[Record], fmt: str = "text") -> str:
    """The measurements of ``records``, one table each, as aligned ``text`` or ``markdown``."""
    if fmt not in ("text", "markdown"):
        raise ValueError(f"fmt must be text or markdown, not {fmt!r}")
    draw = _text_table if fmt == "text" else _markdown_table
    heading = "" if fmt == "text" else "### "
    parts = [f"{heading}{_title(record)}\n\n{draw(_rows(record))}" for record in records]
    return "\n\n".join([*parts, CAPTION]) + "\n"


def write_index(results: str | Path) -> Path:
    """Write ``results/index.html``, which shows every record's table and pictures."""
    results = Path(results)
    found, problems = read_records(results)
    body = [_section(results, folder, record) for folder, record in found]
    body += [f'<p class="problem">{html.escape(problem)}</p>' for problem in problems]
    path = results / "index.html"
    with atomic_path(path) as temporary:
        temporary.write_text(
            _PAGE.format(caption=html.escape(CAPTION), body="\n".join(body)), encoding="utf-8"
        )
    return path


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table of all results and write their index page."""
    parser = argparse.ArgumentParser(prog="python -m common.report", description=main.__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder (default: results)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    args = parser.parse_args(argv)
    found, problems = read_records(args.results)
    if not found and not problems:
        raise UserError(f"there are no results in {args.results}; run scripts/reproduce.sh first")
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    records = [record for _, record in found]
    print(results_table(records, "markdown" if args.markdown else "text"))
    pictures = [picture for folder, _ in found for picture in _pictures(folder)]
    if pictures:
        print("pictures:", *(f"  {picture}" for picture in pictures), sep="\n")
    print(f"all in one page: {write_index(args.results)}")


# -------------------------------------------------------------------------------- the cells


def _title(record: Record) -> str:
    return f"{record.paper}: {record.name} ({record.profile} profile)"


def _rows(record: Record) -> list[tuple[str, ...]]:
    return [
        (
            f"{m.what} [{m.unit}]" if m.unit else m.what,
            _paper(m),
            _measured(m),
            str(m.n),
            m.data or record.data,
            _duration(m.seconds),
        )
        for m in record.measurements
    ]


def _paper(measurement: Measurement) -> str:
    if measurement.paper is None:
        return "not published"
    source = f" ({measurement.paper_source})" if measurement.paper_source else ""
    return _number(measurement.paper) + source


def _measured(measurement: Measurement) -> str:
    value, half = measurement.value, measurement.interval95
    if value is None:
        return "no value"
    if half is None:
        return _number(value)
    # As many decimals as the interval's first digit has, but at least one.
    decimals = max(1, -math.floor(math.log10(half))) if half > 0 else 1
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


# ------------------------------------------------------------------------------- the tables


def _text_table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    lines = [COLUMNS, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _markdown_table(rows: list[tuple[str, ...]]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _html_table(rows: list[tuple[str, ...]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    return "\n".join(["<table>", line(COLUMNS, "th"), *(line(r, "td") for r in rows), "</table>"])


# --------------------------------------------------------------------------------- the page


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".png", ".gif"))


def _section(results: Path, folder: Path, record: Record) -> str:
    """One record as HTML: title, facts, table, pictures, and how to repeat it."""

    def link(path: Path) -> str:
        return quote(path.relative_to(results).as_posix())

    commit = record.commit[:12] + (" with changes" if record.dirty else "")
    facts = [record.data, record.device, _duration(record.wall_seconds), record.created, commit]
    pictures = [
        f'<a href="{link(p)}"><img src="{link(p)}" alt="{html.escape(record.name)}"></a>'
        for p in _pictures(folder)
    ]
    files = [
        f'<a href="{link(p)}">{html.escape(p.name)}</a>'
        for p in sorted(folder.iterdir())
        if p.suffix in (".pdf", ".npz", ".json")
    ]
    notes = [
        f"<li>{html.escape(m.what)}: {html.escape(m.note)}</li>"
        for m in record.measurements
        if m.note
    ]
    details = {
        "seeds": record.seeds,
        "checkpoints": record.checkpoints,
        "threads": record.threads,
        "versions": record.versions,
        "settings": record.settings,
    }
    return "\n".join(
        [
            f"<section><h2>{html.escape(_title(record))}</h2>",
            f'<p class="facts">{html.escape(" · ".join(filter(None, facts)))}</p>',
            _html_table(_rows(record)),
            *(["<ul>", *notes, "</ul>"] if notes else []),
            *pictures,
            f"<pre>{html.escape(record.command)}</pre>",
            f"<p>{' '.join(files)}</p>",
            "<details><summary>settings, seeds, versions</summary>",
            f"<pre>{html.escape(json.dumps(details, indent=2))}</pre></details></section>",
        ]
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Results</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; color: #222; background: #fff }}
h1, h2 {{ line-height: 1.2; font-weight: 600 }}
section {{ border-top: 1px solid #ddd; margin-top: 2.5rem }}
table {{ border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto }}
th, td {{ text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid #eee }}
td {{ font-variant-numeric: tabular-nums }}
img {{ max-width: 100%; margin: 1rem 0; display: block }}
pre {{ background: #f6f6f6; padding: .6rem .8rem; overflow-x: auto; font-size: .85rem }}
.facts {{ color: #666; font-size: .9rem }}
.problem {{ color: #a00 }}
</style></head><body>
<h1>Results</h1>
<p class="facts">{caption}</p>
{body}
</body></html>
"""

if __name__ == "__main__":
    sys.exit(main())
