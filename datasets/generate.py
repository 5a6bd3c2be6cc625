"""Make the binding datasets: ``python -m datasets.generate bars shapes`` (or ``all``).

python -m datasets.generate all
python -m datasets.generate multi_mnist --count train_single=300000
python -m datasets.generate bars --count 200 --out /tmp/small
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from common.arguments import Parser
from common.errors import UserError, command_line
from common.files import locked
from datasets import hdf5
from datasets.catalogue import GENERATOR_VERSION, Dataset, catalogue, check_groups, find
from datasets.choices import DATA_CHOICES, EMBEDDED_DIGITS, Data, check_choice
from datasets.generators import Batch, Digits
from datasets.mt19937 import new_state
from datasets.real import Failures, data_folder

CHECKSUMS = Path(__file__).with_name("checksums.json")

_log = logging.getLogger(__name__)


def load_digits(data: Data) -> Digits:
    """The training and test digits that the MNIST datasets are made of (see ``load_mnist``)."""
    from datasets.mnist import load_mnist  # needs torch, which most datasets do without

    train = load_mnist("train", data)
    test = load_mnist("test", "embedded" if train.source == EMBEDDED_DIGITS else "real")
    return Digits(train.images.numpy(), test.images.numpy(), train.source)


def digits_of(name: str, data: Data) -> str:
    """The digits that a data set would be made of: their ``source``, "none" where it needs none."""
    return load_digits(data).source if find(name).needs_digits else hdf5.NO_DIGITS


def published_checksums(dataset: Dataset, counts: dict[str, int], data: str) -> dict[str, str]:
    """SHA-256 of the arrays "group/array" that are full and made from the papers' data."""
    if data == EMBEDDED_DIGITS:
        return {}
    published = json.loads(CHECKSUMS.read_text(encoding="utf-8"))[dataset.name]
    return {
        name: entry["sha256"]
        for name, entry in published.items()
        if counts.get(name.split("/")[0]) == entry["shape"][0]
    }


def make(dataset: Dataset, counts: dict[str, int], path: Path, data: Data) -> None:
    """Generate ``counts`` images of each group into ``path``; shows a progress bar."""
    digits = load_digits(data) if dataset.needs_digits else None
    source = digits.source if digits else hdf5.NO_DIGITS
    batches = hdf5.take(dataset.draw(new_state(dataset.seed), digits), counts)
    expected = published_checksums(dataset, counts, source)
    hdf5.write(path, dataset, counts, _with_progress(batches, dataset, counts), source, expected)


def _with_progress(
    batches: Iterable[tuple[int, Batch]], dataset: Dataset, counts: dict[str, int]
) -> Iterator[tuple[int, Batch]]:
    unit = "sequence" if len(dataset.item_shape) == 3 else "image"
    total = sum(counts.values())
    with tqdm(total=total, desc=dataset.name, unit=f" {unit}s", disable=None) as bar:
        for first, batch in batches:
            yield first, batch
            bar.update(len(batch.arrays["default"]))


def _reason_to_make(path: Path, counts: dict[str, int], data: Data) -> str | None:
    """Why the file at ``path`` does not do, or None when it does."""
    if not path.exists():
        return "it does not exist yet"
    try:
        info = hdf5.read_info(path)
    except hdf5.DamagedError:
        return "the file is damaged, cut off or not complete"
    if info.name != path.stem or info.version != GENERATOR_VERSION:
        return "the file was made by another version of the generator"
    if any(info.counts.get(group, 0) < count for group, count in counts.items()):
        return "the file holds fewer images than asked for"
    return _reason_of_digits(info.data, data)


def _reason_of_digits(made_from: str, data: Data) -> str | None:
    if made_from == hdf5.NO_DIGITS or (made_from == "MNIST" and data != "embedded"):
        return None
    source = load_digits(data).source
    if made_from == source:
        return None
    return f"its digits are {made_from}, and {source} is to be used now"


def _with_present(path: Path, counts: dict[str, int]) -> dict[str, int]:
    """``counts``, but nothing less than a sound file at ``path`` already holds."""
    present: dict[str, int] = {}
    if path.exists():
        with contextlib.suppress(hdf5.DamagedError):
            present = hdf5.read_info(path).counts
    return {
        group: max(counts.get(group, 0), present.get(group, 0))
        for group in find(path.stem).sizes
        if group in counts or group in present
    }


def ensure(
    name: str,
    counts: int | dict[str, int] | None = None,
    groups: Sequence[str] | None = None,
    folder: Path | None = None,
    data: Data = "auto",
    force: bool = False,
) -> Path:
    """The path of a file of dataset ``name`` that holds what is asked for, made if need be.

    ``counts``: images a group at most (one number for all, or by group, the
    others then being made in their usual number; None: the usual numbers);
    ``groups``: the groups needed (None: all). A sound file that holds more is left alone, one
    that holds less is made again with what it had; each group is the beginning of the full one.
    ``force``: make exactly what is asked for, whatever is there. Of several processes one makes it
    and the others wait.
    ``data``: "real" MNIST, "embedded" digits, or "auto" (see :func:`datasets.mnist.load_mnist`).
    Raises :class:`UserError` for unknown names and for data that cannot be had.
    """
    dataset = find(name)
    check_choice("data", data, DATA_CHOICES)
    wanted = wanted_counts(dataset, counts, groups)
    path = hdf5.path_of(name, folder)
    if not force and _reason_to_make(path, wanted, data) is None:
        return path
    target = Path(folder or data_folder()) / f"{name}.h5"
    with locked(target):
        reason = "it is asked for" if force else _reason_to_make(target, wanted, data)
        if reason:  # or another process made it meanwhile
            level = logging.WARNING if target.exists() and not force else logging.INFO
            _log.log(level, "making %s: %s", target, reason)
            kept = wanted if force else _with_present(path, wanted)
            make(dataset, kept, target, data)
    return target


def wanted_counts(
    dataset: Dataset,
    counts: int | dict[str, int] | None = None,
    groups: Sequence[str] | None = None,
) -> dict[str, int]:
    """Images of each group: the usual numbers, or ``counts``, never more than the full group.
    Raises :class:`UserError` where more is asked of one of ``groups`` by name."""
    by_group = counts if isinstance(counts, dict) else {}
    check_groups(dataset, [*by_group, *(groups or [])])
    for group in groups or []:
        count = by_group.get(group, 0)
        if count > dataset.sizes[group]:
            raise UserError(
                f"{dataset.name} has {dataset.sizes[group]} images in {group}, not {count}; "
                "ask for fewer"
            )
    wanted = dataset.usual_counts
    if isinstance(counts, int):
        wanted = {group: min(counts, size) for group, size in dataset.sizes.items()}
    wanted |= {group: min(count, dataset.sizes[group]) for group, count in by_group.items()}
    if any(count < 1 for count in wanted.values()):
        raise UserError(f"{dataset.name}: a number of images must be at least 1")
    return {group: n for group, n in wanted.items() if groups is None or group in groups}


def verify(path: Path) -> None:
    """Read every array of a file and compare its SHA-256 with the recorded and published ones.

    Raises :class:`UserError` when the file is damaged or differs.
    """
    info = hdf5.read_info(path)
    published = published_checksums(find(path.stem), info.counts, info.data)
    for name, (recorded, found) in hdf5.checksums(path).items():
        if found != recorded or found != published.get(name, found):
            raise UserError(
                f"{path}: {name} differs from what was generated; "
                f"make it again: {hdf5.remake_command(path)}"
            )


def _parse_counts(texts: Sequence[str]) -> tuple[int | None, dict[str, int]]:
    """``["500", "test=100"]`` -> (500, {"test": 100})."""
    number, by_group = None, {}
    for text in texts:
        group, _, value = text.rpartition("=")
        if not value.isdecimal() or int(value) < 1:
            raise UserError(f"--count {text}: give N or GROUP=N with N at least 1")
        if group:
            by_group[group] = int(value)
        else:
            number = int(value)
    return number, by_group


def _counts_of(dataset: Dataset, number: int | None, by_group: dict[str, int]) -> dict[str, int]:
    everywhere = dict.fromkeys(dataset.sizes, number) if number else {}
    return everywhere | {group: n for group, n in by_group.items() if group in dataset.sizes}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m datasets.generate",
        description="Make the binding datasets, bit-identical with those of the papers.",
        epilog="Sound files that are there already and hold enough are left alone; damaged ones "
        "are made again.",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="all, " + ", ".join(catalogue()))
    parser.add_argument("--out", type=Path, help="folder (default: datasets/files)")
    parser.add_argument(
        "--count",
        nargs="+",
        default=[],
        metavar="[GROUP=]N",
        help="images (sequences) of every group, or of one group, at most; what comes before in "
        "the order of drawing is drawn all the same, so each group is the beginning of the full "
        "one (default: everything, but 60000 of the 300000 in train_single of multi_mnist)",
    )
    parser.add_argument(
        "--data",
        choices=DATA_CHOICES,
        default="real",
        help="digits: all of MNIST, the 5 000 embedded ones, or auto (all if they can be had)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="ask homes of MNIST again that failed within the last hour",
    )
    parser.add_argument("--force", action="store_true", help="make files that are there again, too")
    parser.add_argument(
        "--verify", action="store_true", help="make nothing, check the files that are there"
    )
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """The command line, see the module's text."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(argv)
    names = list(catalogue()) if "all" in options.names else options.names
    number, by_group = _parse_counts(options.count)
    chosen = [find(name) for name in names]
    for group in by_group:
        if not any(group in dataset.sizes for dataset in chosen):
            raise UserError(f"--count {group}=...: no group of that name in {', '.join(names)}")
    if options.download:
        Failures(data_folder()).forget()
    for dataset in chosen:
        if options.verify:
            path = hdf5.path_of(dataset.name, options.out)
            verify(path)
        else:
            counts = _counts_of(dataset, number, by_group)
            path = ensure(dataset.name, counts, None, options.out, options.data, options.force)
        info = hdf5.read_info(path)
        held = ", ".join(f"{group} {count}" for group, count in info.counts.items())
        checked = "verified" if options.verify else "ready"
        print(f"{path}: {checked}; digits: {info.data}; {held}")


if __name__ == "__main__":
    sys.exit(main())
