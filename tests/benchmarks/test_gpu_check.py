"""``scripts/gpu_check.sh`` tried without a GPU; what it says of a card is for a card."""

import pytest
import torch

from benchmarks import gpu_check


def test_training_steps_and_the_fields_layer_are_tried(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu_check, "ROOT", tmp_path)
    assert gpu_check.main(["--pretend", "--only", "steps", "field"]) == 0
    said = capsys.readouterr().out
    for task in gpu_check.TASKS:
        (row,) = [line for line in said.splitlines() if line.startswith(f"| {task} |")]
        assert row.endswith("| 0.0e+00 |")  # both sides are the CPU: equal losses
    assert "Layer of the field" in said and "no GPU, pretended" in said
    assert not list(tmp_path.iterdir())


def test_without_a_gpu_it_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([]) == 1
    assert "--pretend" in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, 1])
def test_the_page_and_a_failure(status) -> None:
    page = gpu_check.page(
        {"card": "a card", "torch": "2", "tests": {"status": status, "said": "x"}}
    )
    assert page.startswith("# a card\n") and f"## tests: status {status}" in page
