"""Published numbers with their sources, and what the report of each paper must hold.

All of them stand in ``docs/paper_values.yaml``, whose head explains its entries. Commands that make
a figure or a table ask for the number beside their measurement here.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from common.errors import UserError
from common.files import read_yaml
from common.paths import ROOT

FILE = ROOT / "docs" / "paper_values.yaml"
BETTER = ("higher", "lower", "same")


@dataclass(frozen=True)
class Curve:
    """A published curve: points ``x`` and ``y`` (n,), standard deviation of the last one."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    spread: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Published:
    """One expected row of a table or figure, and the number that was published for it.

    Attributes:
        what: name of the measurement. value: the number, None where none was published.
        source: where it stands. spread: its standard deviation. unpublished: why there is none.
        better: what counts as better: higher or lower numbers, or the same one.
        other, other_source: a number that is not the paper's, and whose it is.
        make: command that trains the network of this row.
        optional: whether the row may be missing.
    """

    what: str
    value: float | None = None
    source: str = ""
    spread: float | None = None
    unpublished: str = ""
    better: str = "higher"
    other: float | None = None
    other_source: str = ""
    make: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Result:
    """A table or figure of the report; see the head of the file."""

    folder: str
    title: str
    command: str
    picture: str
    unpublished: str = ""
    source: str = ""
    better: str = "higher"
    optional: bool = False
    module: str = ""
    minutes: tuple[float, float] = (0.0, 0.0)
    headline: dict[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    rows: dict[str, Published] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)

    def row(self, what: str) -> Published:
        """The row of a measurement; one that is not listed has no published number."""
        default = Published(what, unpublished=self.unpublished, better=self.better, optional=True)
        return self.rows.get(what, default)


@dataclass(frozen=True)
class Paper:
    """A paper: the package's name, the name in its records, authors and title, its results."""

    key: str
    name: str
    reference: str
    results: dict[str, Result]


# ------------------------------------------------------------------------------ what is asked


def papers() -> dict[str, Paper]:
    """All papers of the file, by package."""
    return load_papers(FILE)


def result_of(folder: str) -> Result:
    """The result with this folder; raises :class:`UserError` where it is not listed."""
    for paper in papers().values():
        if folder in paper.results:
            return paper.results[folder]
    raise UserError(f"{FILE}: there is no result {folder!r}; add it there")


def published(folder: str, what: str) -> Published:
    """The published number of a row; raises :class:`UserError` where the row is not listed."""
    result = result_of(folder)
    if what not in result.rows:
        raise UserError(
            f"{FILE}: {folder} has no row {what!r}; add it, without a number if none was published"
        )
    return result.rows[what]


def published_fields(folder: str, what: str) -> dict[str, Any]:
    """``paper`` and ``paper_source`` of a :class:`common.records.Measurement`.

    Errors as :func:`published`.
    """
    row = published(folder, what)
    return {"paper": row.value, "paper_source": row.source}


def numbers_beside(folder: str, what: str) -> dict[str, Any]:
    """:func:`published_fields` of a row that is listed, nothing for any other."""
    found = (paper.results[folder].rows for paper in papers().values() if folder in paper.results)
    return published_fields(folder, what) if what in next(found, {}) else {}


def published_curve(folder: str, name: str) -> Curve:
    """A published curve; raises :class:`UserError` where it is not listed."""
    curves = result_of(folder).curves
    if name not in curves:
        raise UserError(f"{FILE}: {folder} has no curve {name!r}; add it")
    return curves[name]


# ---------------------------------------------------------------------------- reading the file


@functools.cache
def load_papers(path: Path) -> dict[str, Paper]:
    """Read a file of published numbers.

    Raises :class:`UserError` when it is missing or not YAML, ``TypeError`` or ``ValueError`` for an
    entry that its head does not list: no user writes this file, and a test reads all of it.
    """
    values = read_yaml(path, f"there is no file of published numbers {path}; restore it")
    papers = {}
    for key, paper in values.items():
        results = {name: _result(name, dict(part)) for name, part in paper["results"].items()}
        papers[key] = Paper(key, paper["name"], paper["reference"], results)
    return papers


def _result(folder: str, values: dict[str, Any]) -> Result:
    """A result; a row that is named wins over patterns, wherever it stands."""
    curves = {name: _curve(**curve) for name, curve in values.pop("curves", {}).items()}
    listed, rows = values.pop("rows", {}), {}
    values["parts"] = tuple(values.get("parts", ()))
    values["minutes"] = tuple(values.get("minutes", (0.0, 0.0)))
    result = Result(folder, **values, curves=curves)
    for what, value in listed.items():
        entry = dict(value) if isinstance(value, Mapping) else {"value": value}
        each = {name: list(map(str, words)) for name, words in entry.pop("each", {}).items()}
        for words in itertools.product(*each.values()):
            chosen = dict(zip(each, words, strict=True))
            row = _row(str(what).format(**chosen), chosen, result, **entry)
            rows[row.what] = rows.get(row.what, row) if each else row
    unknown = set(result.headline) - set(rows)
    if unknown:
        raise ValueError(f"{folder}: the headline names {sorted(unknown)}, which are no rows")
    return replace(result, rows=rows)


def _curve(x: list[float], y: list[float], source: str, spread: float | None = None) -> Curve:
    if len(x) != len(y):
        raise ValueError(f"a curve has {len(x)} x and {len(y)} y")
    return Curve(tuple(map(float, x)), tuple(map(float, y)), spread, source)


def _row(
    what: str,
    chosen: dict[str, str],
    result: Result,
    value: float | None = None,
    curve: str = "",
    source: str = "",
    better: str = "",
    unpublished: str = "",
    make: str = "",
    other: Mapping[str, Any] = MappingProxyType({}),
    optional: bool = False,
) -> Published:
    spread, source = None, source or result.source
    if curve:
        last = result.curves[curve]
        value, spread, source = last.y[-1], last.spread, last.source
    unpublished = unpublished or result.unpublished
    better = better or result.better
    if better not in BETTER:
        raise ValueError(f"{what}: better is {better!r}, not one of {BETTER}")
    if not (unpublished if value is None else source):
        raise ValueError(f"{what}: a number needs a source, a row without one says why")
    return Published(
        what=what,
        value=None if value is None else float(value),
        source=source if value is not None else "",
        spread=spread,
        unpublished=unpublished if value is None else "",
        better=better,
        other=other.get("value"),
        other_source=other.get("source", ""),
        make=make.format(**chosen),
        optional=optional,
    )
