"""What a command returns and prints for mistakes, interruptions and bugs."""

from __future__ import annotations

import errno

import pytest

from common.errors import UserError, command_line


def run(outcome: BaseException | None) -> int:
    @command_line
    def main(argv=None) -> None:
        assert argv == ["--flag"]
        if outcome is not None:
            raise outcome

    return main(["--flag"])


def test_success_is_silent(capsys) -> None:
    assert run(None) == 0
    assert capsys.readouterr() == ("", "")


def test_a_users_mistake_is_one_line(capsys) -> None:
    assert run(UserError("the flag is wrong; use another")) == 1
    assert capsys.readouterr() == ("", "error: the flag is wrong; use another\n")


def test_ctrl_c(capsys) -> None:
    assert run(KeyboardInterrupt()) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission is denied"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "a folder is needed"),
    ],
)
def test_file_system_errors_name_the_file_and_the_reason(number, words, capsys) -> None:
    assert run(OSError(number, "…", "out/record.json")) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: out/record.json: ") and words in error
    assert error.count("\n") == 1


def test_the_place_of_a_file_that_could_not_be_moved(capsys) -> None:
    assert run(OSError(errno.EISDIR, "…", "out/.x.tmp", None, "out/x")) == 1
    assert capsys.readouterr().err.startswith("error: out/x: a folder stands where")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9.31 TiB for an array"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("Storage size calculation overflowed with sizes=[4611686018427387904, 10]"),
    ],
)
def test_too_little_memory(error, capsys) -> None:
    assert run(error) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: more memory is needed than there is") and said.count("\n") == 1


def test_file_system_errors_without_a_file(capsys) -> None:
    assert run(OSError(errno.ENOSPC, "…")) == 1
    assert "writing a file: no space" in capsys.readouterr().err


@pytest.mark.parametrize("bug", [ValueError("bug"), OSError("no number"), OSError(errno.EIO, "…")])
def test_bugs_keep_their_traceback(bug) -> None:
    with pytest.raises(type(bug)):
        run(bug)
