"""Which protocol a training follows: this repository's settings, or the paper's.

A settings file says beside each value that is not the paper's what the paper's is::

    batch_size: 256  # paper: 1024

``--protocol paper`` sets all of them back, and the first line of a training says what differs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from common.distributed import Distributed

PROTOCOLS = ("repository", "paper")

_SECTION = re.compile(r"^(\w+):\s*(#.*)?$")
_VALUE = re.compile(r"^(\s*)(\w+):.*\s# paper: (.+)$")


def paper_values(path: str | Path) -> dict[str, Any]:
    """The values, nested as in the settings file, that stand behind ``# paper:``."""
    found: dict[str, Any] = {}
    section = ""
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if match := _SECTION.match(line):
            section = match[1]
        if match := _VALUE.match(line):
            place = found.setdefault(section, {}) if match[1] else found
            place[match[2]] = yaml.safe_load(match[3])
    return found


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add --protocol."""
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="repository",
        help="settings that the other flags change: this repository's, or the paper's, also where "
        "the settings file differs from it (default: repository)",
    )


def protocol_line(
    used: Mapping[str, Any], paper: Mapping[str, Any], varied: Collection[str] = ()
) -> str:
    """What a training says first: whether it follows the paper's protocol, and what differs.

    Args:
        used, paper: settings as nested mappings. varied: names of values that the paper varies, or
            that do not change the protocol.
    """
    other = [
        f"{name} {_word(used[key][name])} (paper: {_word(paper[key].get(name))})"
        for key, section in used.items()
        if isinstance(section, Mapping)
        for name in section
        if name not in varied and section[name] != paper[key].get(name)
    ]
    return (
        f"protocol: the paper's, except for {', '.join(other)}"
        if other
        else "protocol: the paper's"
    )


def said_protocol(
    settings: Any, paper: Any, group: Distributed, varied: Collection[str] = ()
) -> contextlib.AbstractContextManager[None]:
    """Print :func:`protocol_line` of two settings, in one process of the group; ready to stand in a
    ``with`` statement between others."""
    if group.is_main:
        used, wanted = dataclasses.asdict(settings), dataclasses.asdict(paper)
        print(protocol_line(used, wanted, varied), flush=True)
    return contextlib.nullcontext()


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
