"""All records, arranged as the papers' tables and figures, with what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import read_yaml
from common.paper_values import Paper, Published, Result, papers
from common.paths import ROOT
from common.records import Measurement, Record, load_record
from common.report.cells import is_stand_in
from common.report.verdicts import Verdict, verdict_of

RECORDS = ROOT / "docs" / "results"
"""The committed records, ``NAME.json`` each, NAME being the folder below ``results/``."""
REMARKS = ROOT / "docs" / "remarks.yaml"
PICTURES = (".png", ".gif")


@dataclass(frozen=True)
class Source:
    """A record that was found.

    Attributes:
        name: the folder of the result. path: of the record's file.
        committed: whether it is one of ``docs/results``; else it stands in the results folder.
    """

    name: str
    record: Record
    path: Path
    committed: bool

    def pictures(self) -> list[Path]:
        """Pictures and films: in the record's folder, or ``NAME.png`` beside a committed one."""
        if self.committed:
            return [path for path in [self.path.with_suffix(".png")] if path.exists()]
        return pictures_in(self.path.parent)


@dataclass(frozen=True)
class Row:
    """A number of a table or figure: published, measured, from which record, and the verdict.

    ``missing`` says for a number that was not measured what is known of it.
    """

    published: Published
    measurement: Measurement | None
    source: Source | None
    verdict: Verdict
    missing: str = ""

    @property
    def data(self) -> str:
        """What was measured on."""
        if self.measurement is None or self.source is None:
            return ""
        return self.measurement.data or self.source.record.data

    @property
    def command(self) -> str:
        """What measures it again."""
        if self.measurement is None or self.source is None:
            return ""
        return self.measurement.command or self.source.record.command


@dataclass(frozen=True)
class Section:
    """A table or figure: its rows, the records they are from, and a remark in words."""

    result: Result
    rows: tuple[Row, ...]
    sources: tuple[Source, ...]
    remark: str = ""

    @property
    def measured(self) -> list[Row]:
        """The rows with a measured number."""
        return [row for row in self.rows if row.measurement is not None]

    @property
    def absent(self) -> list[Row]:
        """The rows without."""
        return [row for row in self.rows if row.measurement is None]

    @property
    def shown(self) -> list[Source]:
        """The sources whose pictures are shown: of several records of one folder, the best one."""
        best: dict[str, Source] = {}
        for source in self.sources:
            other = best.get(source.name)
            if source.pictures() and (other is None or _worth(other) < _worth(source)):
                best[source.name] = source
        return list(best.values())

    @property
    def is_missing(self) -> bool:
        """Whether nothing of it is there."""
        return not self.sources


@dataclass(frozen=True)
class Chapter:
    """A paper and all its tables and figures."""

    paper: Paper
    sections: tuple[Section, ...]


# --------------------------------------------------------------------------- finding records


def pictures_in(folder: Path) -> list[Path]:
    """Pictures and films in a folder."""
    return sorted(path for path in folder.iterdir() if path.suffix in PICTURES)


def read_records(results: str | Path) -> tuple[list[tuple[Path, Record]], list[str]]:
    """Every ``record.json`` below ``results``, as (folder, record) sorted by paper and name,
    and one line for each that cannot be read."""
    sources, problems = _read(Path(results).rglob("record.json"), committed=False)
    found = [(source.path.parent, source.record) for source in sources]
    found.sort(key=lambda pair: (pair[1].paper, pair[1].name, pair[0]))
    return found, problems


def find_sources(results: Path | None, committed: Path) -> tuple[list[Source], list[str]]:
    """The records below ``results`` and those in ``committed``, and a line for each that cannot be
    read. ``results=None`` takes the committed ones alone."""
    found, problems = _read(committed.glob("*.json"), committed=True)
    if results is not None:
        here, unread = _read(results.rglob("record.json"), committed=False)
        found, problems = found + here, problems + unread
    return found, problems


def _read(paths: Iterable[Path], committed: bool) -> tuple[list[Source], list[str]]:
    found, problems = [], []
    for path in sorted(paths):
        try:
            name = path.stem if committed else path.parent.name
            found.append(Source(name, load_record(path), path, committed))
        except UserError as error:
            problems.append(str(error))
    return found, problems


# -------------------------------------------------------------------------------- arranging


def arrange(sources: Sequence[Source], remarks: dict[str, str] | None = None) -> list[Chapter]:
    """The papers with all their tables and figures.

    Of a number that was measured several times the best record is taken: one with a value, then of
    the full profile, then on real data, then the newest one. Records in folders that
    ``docs/paper_values.yaml`` does not list come last, under their own names.
    """
    remarks = read_remarks() if remarks is None else remarks
    chapters, left = [], list(sources)
    for paper in papers().values():
        sections = []
        for result in paper.results.values():
            own = [s for s in left if s.name in (result.folder, *result.parts)]
            own = [s for s in own if s.record.paper == paper.name]
            left = [s for s in left if s not in own]
            sections.append(_section(result, own, remarks.get(result.folder, "")))
        further = [s for s in left if s.record.paper == paper.name]
        left = [s for s in left if s not in further]
        sections += [_unlisted(source) for source in further]
        chapters.append(Chapter(paper, tuple(sections)))
    for name in dict.fromkeys(source.record.paper for source in left):
        own = [_unlisted(source) for source in left if source.record.paper == name]
        chapters.append(Chapter(Paper(name, name, "", {}), tuple(own)))
    return chapters


def read_remarks(path: Path = REMARKS) -> dict[str, str]:
    """Remarks in words by the folder of the result they are about.

    Raises :class:`UserError` for a file that is not such a mapping.
    """
    values = read_yaml(path, "") if path.exists() else {}
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise UserError(f"{path} must map folders of results to remarks; correct it")
    return {name: " ".join(text.split()) for name, text in values.items()}


def _unlisted(source: Source) -> Section:
    """A record that no table or figure of the papers waits for."""
    record = source.record
    result = Result(
        folder=source.name,
        title=record.name,
        command=record.command,
        picture=record.name,
        unpublished="not listed in docs/paper_values.yaml",
        optional=True,
    )
    return _section(result, [source], "")


def _section(result: Result, sources: list[Source], remark: str) -> Section:
    found: dict[str, list[tuple[Source, Measurement]]] = {what: [] for what in result.rows}
    for source in sources:
        for measurement in source.record.measurements:
            found.setdefault(measurement.what, []).append((source, measurement))
    rows = []
    for what, measured in found.items():
        best = max(measured, key=_rank, default=None)
        published = result.row(what)
        if what not in result.rows and best is not None and published.value is None:
            # A number of a record's own, with the paper's value that it brings along.
            published = _as_recorded(published, best[1])
        row = _row(published, best)
        if row.measurement is None and published.optional:
            continue
        rows.append(row)
    return Section(result, tuple(rows), tuple(sources), remark)


def _worth(source: Source) -> tuple[bool, bool, str]:
    record = source.record
    return record.profile == "full", not is_stand_in(record.data), record.created


def _rank(pair: tuple[Source, Measurement]) -> tuple[bool, bool, bool, str]:
    source, measurement = pair
    data = measurement.data or source.record.data
    full = source.record.profile == "full"
    return measurement.value is not None, full, not is_stand_in(data), source.record.created


def _as_recorded(published: Published, measurement: Measurement) -> Published:
    if measurement.paper is None:
        return published
    return Published(measurement.what, measurement.paper, measurement.paper_source or "record")


def _row(published: Published, best: tuple[Source, Measurement] | None) -> Row:
    source, measurement = best or (None, None)
    verdict = verdict_of(published, measurement)
    if measurement is None or measurement.value is None:
        note = "" if measurement is None else measurement.note
        return Row(published, None, None, verdict, note or published.make)
    return Row(published, measurement, source, verdict)
