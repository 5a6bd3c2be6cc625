"""All results beside the papers' values: as a table, as Markdown, and as one page with pictures.

``python -m common.report`` prints the table, writes ``results/index.html`` and ``docs/results.md``.
"""

from common.report.cells import CAPTION, results_table
from common.report.collect import arrange, find_sources, read_records
from common.report.command import main
from common.report.page import write_index

__all__ = [
    "CAPTION",
    "arrange",
    "find_sources",
    "main",
    "read_records",
    "results_table",
    "write_index",
]
