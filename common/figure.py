"""One runner for figures and tables: flags over YAML files, a record, arrays, a picture.

A figure is a class of options and two functions::

    @dataclass(frozen=True, kw_only=True)
    class Options(FigureOptions):
        images: int = option("test images", minimum=2)  # a value of the YAML file, and a flag
        paper_image: int  # a value of the file alone

    def compute(options: Options, record: FigureRecord) -> dict[str, np.ndarray]: ...
    def draw(record: Record, arrays: dict[str, np.ndarray]) -> mpl.figure.Figure: ...

    FIGURE = Figure("gust_scores", "Scores", "GUST", Options, compute, draw, FILES, "scripts/...")
    main = FIGURE.main

The file holds the values, and under ``quick:`` and ``full:`` those that differ between profiles.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

from common.checkpoints import Checkpoint
from common.errors import UserError, command_line
from common.files import read_yaml
from common.paper_values import numbers_beside
from common.records import Measurement, Record, mean_measurement, new_record
from common.results import load_arrays, report_results, result_parser, save_arrays
from common.settings import add_arguments, from_dict, in_words, overrides_from_args, to_dict
from common.training import choose_device

Arrays = dict[str, np.ndarray]
PROFILES = ("quick", "full")


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """What every figure is told; a subclass adds the values of its files.

    Attributes:
        profile: quick or full. data: auto, real or embedded. networks: those named as flags.
        device: where to compute. out: folder of the results.
    """

    profile: str
    data: str
    networks: tuple[str, ...]
    device: torch.device
    out: Path


_COMMON = tuple(field.name for field in dataclasses.fields(FigureOptions))


class FigureRecord(Record):
    """A record that measurements are added to while a figure is computed.

    Attributes:
        folder: of the results below ``results/``. out: where they are written.
        makes: the command that a measurement names.
    """

    folder: str
    out: Path
    makes: str

    def measure(
        self, what: str, values: Any, *, of: Checkpoint | None = None, **fields: Any
    ) -> Measurement:
        """Add a measurement, with the command, the seeds and the paper's number.

        Args:
            what: its name. values: one number; several (n,), whose mean is recorded with spread
                and interval; or None: not measured, which the command says at its end.
            of: the network. fields: others of :class:`common.records.Measurement`.
        """
        fields = {**numbers_beside(self.folder, what), **fields}
        if values is None:
            measurement = Measurement(what, None, n=0, **fields)
        else:
            checkpoint = {"checkpoint": of.sha256[:12]} if of else {}
            fields = {"command": self.makes, "seeds": list(self.seeds), **checkpoint, **fields}
            one = np.ndim(values) == 0
            measurement = (
                Measurement(what, float(values), **fields)
                if one
                else mean_measurement(what, values, **fields)
            )
        self.measurements.append(measurement)
        return measurement

    def kept(self, name: str, key: Mapping[str, Any], measure: Callable[[], Mapping]) -> Arrays:
        """Arrays of an earlier run, or measured now and kept.

        Args:
            name: of the file in ``parts/``. key: what the arrays depend on; a file with another
                key, or a damaged one, is replaced.
            measure: makes the arrays.

        Returns:
            the arrays, and ``seconds`` (), what measuring them took.
        """
        path, text = self.out / "parts" / f"{name}.npz", json.dumps(key, sort_keys=True)
        with contextlib.suppress(UserError, KeyError):
            stored = load_arrays(path)
            if str(stored.pop("key")) == text:
                return stored
        began = time.perf_counter()
        arrays = dict(measure())
        arrays["seconds"] = np.array(time.perf_counter() - began)
        save_arrays(path, {**arrays, "key": np.array(text)})
        return arrays

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Note the time that the block takes."""
        began = time.perf_counter()
        yield
        self.wall_seconds = time.perf_counter() - began


@dataclass(frozen=True)
class Figure:
    """A figure or table and its command.

    Attributes:
        folder: of its results below ``results/``. title, paper: in its record.
        options, compute, draw: see the module. files: YAML files, later ones over earlier ones.
        makes: what a measurement names as its command; ``{profile}`` is filled in.
        networks: what may be named behind --networks; empty: only ``runs``.
        auto_device: what ``--device auto`` means; None: CUDA where there is one.
        after: makes further files, such as films, and prints what they are.
    """

    folder: str
    title: str
    paper: str
    options: type[FigureOptions]
    compute: Callable[[Any, FigureRecord], Arrays]
    draw: Callable[[Record, Arrays], mpl.figure.Figure]
    files: Sequence[Path]
    makes: str
    networks: str = ""
    auto_device: str | None = None
    after: Callable[[Any, Record, Arrays], None] | None = None

    def values(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The values of the files, and of each profile those that differ."""
        values: dict[str, Any] = {}
        for path in self.files:
            values |= read_yaml(path, f"there is no settings file {path}; check the name")
        return values, {profile: values.pop(profile, {}) for profile in PROFILES}

    def parser(self) -> argparse.ArgumentParser:
        """All flags, with their defaults."""
        values, profiles = self.values()
        module = sys.modules[self.draw.__module__]
        differing = [
            f"{profile}: " + ", ".join(f"{name} {in_words(v)}" for name, v in own.items())
            for profile, own in profiles.items()
            if own
        ]
        name = module.__spec__.name if module.__spec__ else module.__name__
        about = "; ".join(differing) or "both are the same"
        parser = result_parser(name, module.__doc__, self.folder, about, self.networks)
        fields = dataclasses.fields(self.options)
        start = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
        quick, full = (
            {name: in_words(value) for name, value in {**start, **values, **own}.items()}
            for own in profiles.values()
        )
        shown = {
            name: text if text == full[name] else f"{text}; full: {full[name]}"
            for name, text in quick.items()
        }
        add_arguments(parser, self.options, shown, "figure", only_options=True)
        return parser

    def read(self, argv: Sequence[str] | None = None) -> Any:
        """The options: the files' values, those of the profile, and the flags."""
        args = self.parser().parse_args(argv)
        values, profiles = self.values()
        flags = overrides_from_args(self.options, args, only_options=True)
        ready = {name: getattr(args, name) for name in _COMMON}
        ready["networks"] = tuple(args.networks)
        ready["device"] = choose_device(args.device, self.auto_device)
        given = {**values, **profiles[args.profile], **flags}
        source = str(self.files[0]) if self.files else "the figure"
        return from_dict(self.options, given, source, flags=flags, ready=ready)

    def record(self, options: FigureOptions) -> FigureRecord:
        """A record without measurements; the options are its settings."""
        own = {k: v for k, v in to_dict(options).items() if k not in _COMMON}
        about = {"device": options.device, "settings": {"figure": own}}
        record = FigureRecord(**vars(new_record(self.title, self.paper, options.profile, **about)))
        record.folder, record.out = self.folder, options.out
        record.makes = self.makes.format(profile=options.profile)
        return record

    def main(self, argv: Sequence[str] | None = None) -> int:
        """The command: measure, save everything, print the table and what is missing."""
        return command_line(self._run)(argv)

    def _run(self, argv: Sequence[str] | None) -> None:
        options = self.read(argv)
        record = self.record(options)
        arrays = self.compute(options, record)
        record.threads = torch.get_num_threads()
        report_results(options.out, record, arrays, self.draw(record, arrays))
        if self.after:
            self.after(options, record, arrays)
        for measurement in record.measurements:
            if measurement.value is None and measurement.n == 0:
                print(f"left out: {measurement.what}: {measurement.note}")
