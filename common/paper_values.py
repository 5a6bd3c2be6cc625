"""Published numbers with their sources, and what the report of each paper must hold.

All of them stand in ``docs/paper_values.yaml``, whose head explains its entries. Commands that make
a figure or a table ask for the number beside their measurement here.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
class Pivot:
    """A small table of a result: cell (r, c) is the row named ``cell.format(row=r, column=c)``.

    ``corner`` is the head of the first column; ``head`` and ``side`` are how columns and rows are
    written there.
    """

    cell: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    corner: str = ""
    head: str = "{column}"
    side: str = "{row}"


@dataclass(frozen=True)
class Result:
    """A table or figure of the report; see the head of the file."""

    folder: str
    title: str
    command: str
    picture: str
    unpublished: str
    better: str
    optional: bool
    parts: tuple[str, ...]
    rows: dict[str, Published] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    readme: Pivot | None = None

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

    Raises :class:`UserError` when it is missing or not YAML, or when an entry is ill-formed,
    unknown or lacks a part: one sentence that names the entry.
    """
    values = read_yaml(path, f"there is no file of published numbers {path}; restore it")
    entry = _Entry(str(path), values)
    return {key: _paper(key, part) for key, part in entry.parts()}


class _Entry:
    """A mapping of the file with the words that name it in errors."""

    def __init__(self, where: str, values: Any, allowed: str | None = None) -> None:
        self.where, self.values = where, values
        if not isinstance(values, Mapping):
            raise UserError(f"{where} must be a mapping of names to values; correct it")
        unknown = set(values) - set((allowed or "").split()) if allowed else ()
        if unknown:
            raise UserError(f"{where}: unknown entry {sorted(map(str, unknown))[0]!r}; remove it")

    def parts(self) -> Iterator[tuple[str, _Entry]]:
        """Its members, which are mappings themselves."""
        for key, value in self.values.items():
            yield str(key), _Entry(f"{self.where}, {key}", value)

    def inner(self, name: str, allowed: str | None = None) -> _Entry:
        """A mapping in it, empty where it is not there."""
        return _Entry(f"{self.where}, {name}", self.values.get(name, {}), allowed)

    def text(self, name: str, default: str | None = None) -> str:
        """A text, which must be there unless there is a default."""
        return self._get(name, str, "a text", default)

    def flag(self, name: str) -> bool:
        """true or false; false where it is not there."""
        return self._get(name, bool, "true or false", False)

    def texts(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of words or numbers, as texts."""
        return tuple(map(str, self._get(name, (list, tuple), "a list", default)))

    def number(self, name: str) -> float | None:
        """A finite number, None where there is none."""
        value = self.values.get(name)
        return None if value is None else _number(value, f"{self.where}, {name}")

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers, which must be there."""
        values = self._get(name, list, "a list of numbers", None)
        return tuple(_number(value, f"{self.where}, {name}") for value in values)

    def _get(self, name: str, kind: Any, words: str, default: Any) -> Any:
        value = self.values.get(name, default)
        if value is None:
            raise UserError(f"{self.where}: {name} is missing; it must be {words}")
        if not isinstance(value, kind):
            raise UserError(f"{self.where}: {name} must be {words}, not {value!r}")
        return value


def _number(value: Any, where: str) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good:
        raise UserError(f"{where} must be a number, not {value!r}")
    return float(value)


def _paper(key: str, entry: _Entry) -> Paper:
    entry = _Entry(entry.where, entry.values, "name reference results")
    results = {name: _result(name, part) for name, part in entry.inner("results").parts()}
    return Paper(key, entry.text("name"), entry.text("reference"), results)


def _result(folder: str, entry: _Entry) -> Result:
    names = "title command picture source unpublished better parts optional curves rows readme"
    entry = _Entry(entry.where, entry.values, names)
    curves = {name: _curve(part) for name, part in entry.inner("curves").parts()}
    rows: dict[str, Published] = {}
    for what, value in entry.inner("rows").values.items():
        of_pattern = isinstance(value, Mapping) and "each" in value
        for row in _rows(str(what), value, entry, curves):
            # A row that is named wins over patterns, wherever it stands.
            rows[row.what] = rows.get(row.what, row) if of_pattern else row
    return Result(
        folder=folder,
        title=entry.text("title"),
        command=entry.text("command"),
        picture=entry.text("picture"),
        unpublished=entry.text("unpublished", ""),
        better=_better(entry, "higher"),
        optional=entry.flag("optional"),
        parts=entry.texts("parts", ()),
        rows=rows,
        curves=curves,
        readme=_pivot(entry) if "readme" in entry.values else None,
    )


def _curve(entry: _Entry) -> Curve:
    entry = _Entry(entry.where, entry.values, "x y spread source")
    curve = Curve(
        entry.numbers("x"), entry.numbers("y"), entry.number("spread"), entry.text("source")
    )
    if not curve.x or len(curve.x) != len(curve.y):
        raise UserError(
            f"{entry.where}: x has {len(curve.x)} numbers and y {len(curve.y)}; give as many"
        )
    return curve


def _rows(what: str, value: Any, result: _Entry, curves: dict[str, Curve]) -> Iterator[Published]:
    """The row, or all rows of a pattern."""
    where = f"{result.where}, row {what!r}"
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        value = {"value": _number(value, where)}
    names = "value curve source better unpublished optional make other each"
    entry = _Entry(where, value, names)
    each = entry.inner("each")
    lists = {name: each.texts(name) for name in each.values}
    for words in itertools.product(*lists.values()):
        chosen = dict(zip(lists, words, strict=True))
        yield _row(_filled(what, chosen, where), entry, chosen, result, curves)


def _row(
    what: str, entry: _Entry, chosen: dict[str, str], result: _Entry, curves: dict[str, Curve]
) -> Published:
    value, spread = entry.number("value"), None
    source = entry.text("source", result.text("source", ""))
    if "curve" in entry.values:
        name = entry.text("curve")
        if name not in curves:
            raise UserError(f"{entry.where}: there is no curve {name!r}; add it to curves")
        value, spread = curves[name].y[-1], curves[name].spread
        source = curves[name].source
    unpublished = entry.text("unpublished", result.text("unpublished", ""))
    if value is not None and not source:
        raise UserError(f"{entry.where}: a number needs a source; say where it stands")
    if value is None and not unpublished:
        raise UserError(f"{entry.where}: say in 'unpublished' why there is no number")
    other = entry.inner("other", "value source")
    return Published(
        what=what,
        value=value,
        source=source if value is not None else "",
        spread=spread,
        unpublished=unpublished if value is None else "",
        better=_better(entry, _better(result, "higher")),
        other=other.number("value"),
        other_source=other.text("source") if other.values else "",
        make=_filled(entry.text("make", ""), chosen, entry.where),
        optional=entry.flag("optional"),
    )


def _filled(pattern: str, chosen: dict[str, str], where: str) -> str:
    try:
        return pattern.format(**chosen)
    except (KeyError, IndexError, ValueError):
        raise UserError(f"{where}: {pattern!r} names what is not in 'each'; correct it") from None


def _better(entry: _Entry, default: str) -> str:
    better = entry.text("better", default)
    if better not in BETTER:
        raise UserError(f"{entry.where}: better must be one of {', '.join(BETTER)}, not {better!r}")
    return better


def _pivot(result: _Entry) -> Pivot:
    entry = result.inner("readme", "cell rows columns corner head side")
    return Pivot(
        cell=entry.text("cell"),
        rows=entry.texts("rows"),
        columns=entry.texts("columns"),
        corner=entry.text("corner", ""),
        head=entry.text("head", "{column}"),
        side=entry.text("side", "{row}"),
    )
