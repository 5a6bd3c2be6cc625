"""Numbers, times and verdicts in words, and plain tables of one record's measurements."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from common.paper_values import Published
from common.records import Measurement, Record

COLUMNS = ("what", "paper", "measured here", "n", "data", "time")
CAPTION = "Measured here: mean ± half width of its 95 % confidence interval, over n repetitions."
NONE = "\N{EN DASH}"
"""Where there is no number."""
_STAND_IN = re.compile(r"embedded|stand-in|cochlea model|moving shapes|5 000 images", re.IGNORECASE)


def results_table(records: Sequence[Record], fmt: str = "text") -> str:
    """The measurements of ``records``, one table each, as aligned ``text`` or ``markdown``."""
    if fmt not in ("text", "markdown"):
        raise ValueError(f"fmt must be text or markdown, not {fmt!r}")
    draw = text_table if fmt == "text" else markdown_table
    heading = "" if fmt == "text" else "### "
    parts = [
        f"{heading}{record.paper}: {record.name} ({record.profile} profile)\n\n"
        f"{draw(COLUMNS, _rows(record))}"
        for record in records
    ]
    return "\n\n".join([*parts, CAPTION]) + "\n"


def _rows(record: Record) -> list[tuple[str, ...]]:
    return [
        (
            named(m),
            paper_cell(m.paper, m.paper_source),
            measured(m),
            str(m.n),
            m.data or record.data,
            duration(m.seconds),
        )
        for m in record.measurements
    ]


# ------------------------------------------------------------------------------ single cells


def named(measurement: Measurement) -> str:
    """What was measured, with its unit."""
    return f"{measurement.what} [{measurement.unit}]" if measurement.unit else measurement.what


def paper_cell(value: float | None, source: str = "") -> str:
    """The paper's value and where it stands."""
    if value is None:
        return "not published"
    return number(value) + (f" ({source})" if source else "")


def measured(measurement: Measurement) -> str:
    """The value measured here with the half width of its interval."""
    value, half = measurement.value, measurement.interval95
    if value is None:
        return "no value"
    if half is None:
        return number(value)
    # As many decimals as the interval's first digit has, but at least one.
    decimals = max(1, -math.floor(math.log10(half))) if half > 0 else 1
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"


def number(value: float) -> str:
    """A number with four digits."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as seconds, minutes or hours; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def machine(record: Record) -> str:
    """Processor or GPU, and threads."""
    threads = f"{record.threads} thread{'s' if record.threads > 1 else ''}"
    return f"{record.device or 'machine not recorded'}, {threads}"


def is_stand_in(data: str) -> bool:
    """Whether a record's data are the small embedded ones in place of the real data set."""
    return _STAND_IN.search(data) is not None


def others(published: Published) -> str:
    """A number that is not the paper's, and whose it is; nothing where there is none."""
    if published.other is None:
        return ""
    return f"{published.other_source}: {number(published.other)}"


# ---------------------------------------------------------------------------------- tables


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns with a line under their heads."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same in Markdown."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(safe(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def safe(text: str) -> str:
    """Text of a record for one line of Markdown: its HTML is shown, not obeyed."""
    parts = " ".join(text.splitlines()).split("`")  # every second one is code
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def code(text: str) -> str:
    """A command as code in Markdown."""
    return f"`{text.replace('`', chr(39))}`"
