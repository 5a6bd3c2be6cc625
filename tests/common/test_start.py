"""What happens before torch and numba are loaded, and what commands do where output is odd."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common import start
from common.errors import command_line
from common.paths import ROOT


@pytest.fixture
def as_command(monkeypatch) -> None:
    """The process as it stands while ``python -m gust.train`` loads its package."""
    monkeypatch.setattr(sys, "argv", ["-m"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("-m", True),
        (str(ROOT / "snn_tha" / "mnist" / "run.py"), True),
        (str(ROOT / ".venv" / "bin" / "pytest"), False),
        (str(ROOT / "tests" / "run.py"), False),
        ("-c", False),
        ("", False),
    ],
)
def test_what_a_command_is(argument: str, expected: bool, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", [argument])
    assert start.is_command() is expected


def test_ctrl_c_while_libraries_are_loaded_and_afterwards(as_command) -> None:
    start.prepare()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    seen = []
    assert command_line(lambda argv: seen.append(signal.getsignal(signal.SIGINT)))([]) == 0
    assert seen == [signal.default_int_handler]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("NUMBA_NUM_THREADS", "0", "give 1 thread or more"),
        ("NUMBA_NUM_THREADS", "-1", "give 1 thread or more"),
        ("NUMBA_NUM_THREADS", "two", "give 1 thread or more"),
        ("NUMBA_DISABLE_JIT", "1", "only work compiled"),
    ],
)
def test_variables_of_numba(name, value, words, monkeypatch, as_command) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"error: {name} is .*{words}"):
        start.prepare()


def test_a_command_ends_with_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_NUM_THREADS": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gust.train", "--help"]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: NUMBA_NUM_THREADS") and ended.stderr.count("\n") == 1


def test_without_a_place_for_compiled_kernels(monkeypatch, capsys) -> None:
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/none")
    start.prepare()
    assert os.environ["NUMBA_CACHE_DIR"] == "/proc/none"  # others are there
    monkeypatch.setattr(os, "access", lambda *_: False)
    start.prepare()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.is_dir() and folder.name.startswith("kernels-")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "set NUMBA_CACHE_DIR" in said
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (_ for _ in ()).throw(OSError()))
    with pytest.raises(SystemExit, match="no place for compiled kernels"):
        start.prepare()


def test_characters_that_the_output_lacks(monkeypatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    text = "95 \N{PLUS-MINUS SIGN} 1, 2 \N{EN DASH} 3, \N{GREEK SMALL LETTER ALPHA}\udcff"
    assert command_line(lambda argv: print(text))([]) == 0
    assert written.getvalue() == rb"95 +- 1, 2 - 3, \u03b1\udcff" + b"\n"


def test_output_that_nobody_reads_any_more(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom common.errors import command_line\n"
        "@command_line\ndef main(argv):\n    print('line\\n' * 99999)\nsys.exit(main([]))\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, program],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")
