"""The command line of the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from common.arguments import Parser
from common.errors import UserError, command_line
from common.files import atomic_path, write_json
from common.paths import RESULTS, ROOT
from common.records import load_record
from common.report.cells import results_table
from common.report.collect import RECORDS, arrange, find_sources, pictures_in, read_records
from common.report.markdown import readme_block, results_page, with_block
from common.report.page import write_index

DOCS, README = ROOT / "docs", ROOT / "README.md"
_EPILOG = """
The page shows what was measured here (results/*/record.json) together with the committed records
(docs/results/*.json); of two records of the same number the full profile wins over the quick one.
docs/results.md and the table of the README are made of the committed records alone, so they are the
same on every machine. To commit a record: --keep NAME, the folder below results.

examples:
  python -m common.report                       table, page and docs/results.md
  python -m common.report --readme              and the table of the README
  python -m common.report --keep gust_scores    take results/gust_scores among the committed ones
"""


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table of all results, and write their page and docs/results.md."""
    parser = Parser(prog="python -m common.report", description=main.__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("--results", type=Path, help="folder of records and page (default: results)")
    add("--records", type=Path, default=RECORDS, help="committed ones (default: docs/results)")
    add("--docs", type=Path, help="folder of results.md (default: docs, unless --results is given)")
    add("--readme", nargs="?", type=Path, const=README, help="also write the table in README.md")
    add("--keep", nargs="+", metavar="NAME", default=[], help="commit these records first")
    add("--markdown", action="store_true", help="print the table as Markdown")
    args = parser.parse_args(argv)
    docs = args.docs or (DOCS if args.results is None else None)
    results = args.results or RESULTS
    for name in args.keep:
        keep_record(results / name, args.records)
    _print_records(results, args.records, args.markdown)
    written = [write_index(results, args.records)]
    if docs:
        written.append(write_results_page(docs, args.records))
    if args.readme:
        written.append(write_readme(args.readme, args.records))
    print("all in one page:", *written)


def _print_records(results: Path, committed: Path, markdown: bool) -> None:
    """The table of what was measured here, or else of the committed records, and the pictures."""
    found, problems = read_records(results)
    kept, unread = find_sources(None, committed)
    if not any((found, problems, kept, unread)):
        raise UserError(f"there are no results in {results}; run scripts/reproduce.sh first")
    for problem in [*problems, *unread]:
        print(f"warning: {problem}", file=sys.stderr)
    records = [record for _, record in found] or [source.record for source in kept]
    print(results_table(records, "markdown" if markdown else "text"))
    pictures = [picture for folder, _ in found for picture in pictures_in(folder)]
    if pictures:
        print("pictures:", *(f"  {picture}" for picture in pictures), sep="\n")


def keep_record(folder: Path, records: Path) -> Path:
    """Copy the record in a result's folder to ``records/NAME.json``, and its picture, reduced.

    Raises :class:`UserError` where there is none that can be read.
    """
    load_record(folder)
    path = records / f"{folder.name}.json"
    write_json(path, json.loads((folder / "record.json").read_text(encoding="utf-8")))
    if (folder / "figure.png").exists():
        _keep_picture(folder / "figure.png", path.with_suffix(".png"))
    return path


def _keep_picture(source: Path, target: Path, width: int = 1400) -> None:
    """A picture at most so many pixels wide, in 128 colours."""
    with Image.open(source) as picture:
        picture = picture.convert("RGB")
        picture.thumbnail((width, 10 * width))
        with atomic_path(target) as temporary:
            picture.quantize(128).save(temporary, format="png", optimize=True)


def write_results_page(docs: Path, records: Path = RECORDS) -> Path:
    """Write ``results.md`` of the committed records to a folder."""
    return _write(docs / "results.md", results_page(_committed(records)))


def write_readme(path: Path = README, records: Path = RECORDS) -> Path:
    """Replace the table of a README; raises :class:`UserError` where its marks are missing."""
    block = readme_block(_committed(records))
    try:
        return _write(path, with_block(path.read_text(encoding="utf-8"), block))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _committed(records: Path) -> list:
    sources, problems = find_sources(None, records)
    if problems:
        raise UserError(problems[0])
    return arrange(sources)


def _write(path: Path, text: str) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
