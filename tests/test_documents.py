"""What README and docs tell a reader to run is there, and takes the flags it is given."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import runpy
import unittest.mock
from functools import cache

import pytest

from common.paths import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULE = re.compile(r"(?:python(?:3)?|torchrun\b.*?|\"\$PYTHON\") -m ([\w.]*\w)")
SCRIPT = re.compile(r"(?:\./)?(scripts/[\w/]+\.sh)")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")}


def commands(text: str) -> list[str]:
    """Lines of shell blocks, joined where a line goes on, and code in the text, that run something
    of this repository."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", rest)
    lines = [line.partition(" #")[0].replace("\n", " ") for line in lines]
    return [line for line in lines if MODULE.search(line) or SCRIPT.match(line)]


@cache
def help_of_module(name: str) -> str:
    """What ``python -m name --help`` prints; nothing for others' modules (pytest, for instance)."""
    if name.partition(".")[0] not in PACKAGES:
        return ""
    module = importlib.import_module(name)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        if hasattr(module, "__path__"):
            with unittest.mock.patch("sys.argv", [name, "--help"]):
                runpy.run_module(name, run_name="__main__")
        else:
            module.main(["--help"])
    return out.getvalue()


def help_of_script(name: str) -> str:
    """The help of all that a script runs, and its own comment."""
    path = ROOT / name
    assert path.exists(), f"{name} is not there"
    text = path.read_text(encoding="utf-8")
    return text + "".join(help_of_module(module) for module in MODULE.findall(text))


def missing_flags(command: str) -> list[str]:
    """Flags of a command that the help of what it runs does not know."""
    found = MODULE.search(command)
    if found:
        if found[1].partition(".")[0] not in PACKAGES:
            return []
        text, flags = help_of_module(found[1]), FLAG.findall(command[found.end() :])
    else:
        script = SCRIPT.match(command)
        text, flags = help_of_script(script[1]), FLAG.findall(command[script.end() :])
    return [flag for flag in flags if not re.search(rf"{flag}\b", text)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_commands_are_there_and_take_their_flags(path):
    for command in commands(path.read_text(encoding="utf-8")):
        assert not missing_flags(command), command


def test_wrong_commands_are_noticed():
    text = """Run `scripts/gust/run.sh --nonsense`, or
    ```sh
    python -m gust.train --train_objects 3 \\
        --more_nonsense 4  # with --a_comment
    torchrun --nproc_per_node 2 -m gust.train --seed 1
    ls --all
    ```
    and `python -m gust.no_such_module`.""".replace("\n    ", "\n")
    found = commands(text)
    assert len(found) == 4
    told = [missing_flags(command) for command in found[:3]]
    assert told == [["--more_nonsense"], [], ["--nonsense"]]
    with pytest.raises(ModuleNotFoundError):
        missing_flags(found[3])
    with pytest.raises(AssertionError, match="is not there"):
        missing_flags("scripts/gust/none.sh")


def test_links_to_files_resolve():
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)\s#]+)", path.read_text(encoding="utf-8")):
            if not link.startswith(("http", "mailto")):
                assert (path.parent / link).exists(), f"{path.name}: {link}"
