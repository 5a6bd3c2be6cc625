"""What a wrong command line says."""

from __future__ import annotations

import pytest

from common.arguments import Parser
from hebbian_snn import memorizing_associations_task


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sequence_lenght", "5"], "there is no flag --sequence_lenght; the nearest one is "),
        (["--num_classs=5"], "there is no flag --num_classs; the nearest one is --num_classes"),
        (["--epochs", "many"], "argument --epochs: must be an integer, not 'many'"),
        (["5"], "there is nothing that '5' could mean here"),
    ],
)
def test_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        memorizing_associations_task.main(words)
    text = capsys.readouterr().err
    assert ended.value.code == 2
    assert text.startswith(f"error: {said}")
    assert text.count("\n") == 1


def test_known_flags_pass() -> None:
    parser = Parser()
    parser.add_argument("--seed", type=int)
    assert parser.parse_args(["--seed", "3"]).seed == 3
