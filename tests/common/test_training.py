"""The parts of training scripts: streams of random numbers, stopping, logs, learning rates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.training import (
    EarlyStopping,
    MetricLog,
    bfloat16_products,
    check_finite,
    choose_device,
    generator,
    piecewise_learning_rate,
    progress,
)


def test_choose_device(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match="0 GPUs found"):
            choose_device(name)
    for name in ("gpu", "meta", ""):
        with pytest.raises(UserError, match="unknown device"):
            choose_device(name)


def test_choose_device_counts_gpus(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="2 GPUs found"):
        choose_device("cuda:2")


def test_generator_streams_repeat_and_differ() -> None:
    keys = [
        (1,),
        (2,),
        (1, 0),
        (1, 0, 0),
        (1, 1),
        (2, 1),
        (1, "noise"),
        (1, "data"),
        (1, "data", 3),
    ]
    draws = [tuple(torch.rand(4, generator=generator(*key)).tolist()) for key in keys]
    again = [tuple(torch.rand(4, generator=generator(*key)).tolist()) for key in keys]
    assert draws == again
    assert len(set(draws)) == len(keys)
    with pytest.raises(UserError, match="seed"):
        generator(-1)


def test_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(5, "noise"))
    assert torch.equal(before, torch.get_rng_state())


def test_early_stopping_waits_for_patience_and_resumes() -> None:
    stopping = EarlyStopping(patience=2)
    assert [stopping.update(score) for score in (3.0, 2.0, 2.0)] == [True, True, False]
    assert not stopping.should_stop
    resumed = EarlyStopping(patience=2)
    resumed.load_state_dict(stopping.state_dict())
    assert not resumed.update(2.5)
    assert resumed.should_stop and resumed.best == 2.0
    assert resumed.update(1.0)
    assert not resumed.should_stop
    assert not EarlyStopping(None).should_stop


@pytest.mark.parametrize("score", [float("nan"), float("inf"), torch.tensor(float("nan"))])
def test_diverged_training_stops_with_a_sentence(score) -> None:
    with pytest.raises(UserError, match="the loss became"):
        EarlyStopping(3).update(score)
    with pytest.raises(UserError, match="validation loss became"):
        check_finite(float(score), "the validation loss")


def test_piecewise_learning_rate() -> None:
    milestones = {60: 0.5, 100: 0.5, 170: 0.1}
    rates = [piecewise_learning_rate(0.4, milestones, epoch) for epoch in (0, 59, 60, 100, 170)]
    assert rates == pytest.approx([0.4, 0.4, 0.2, 0.1, 0.01])


def test_progress_is_silent_without_a_terminal(capsys) -> None:
    assert list(progress(range(3), desc="epochs")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def epochs(path: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()]


def test_metric_log_goes_on_where_the_training_state_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    log = MetricLog(path)
    for epoch in range(4):
        log.write(epoch, loss=1 / (epoch + 1))
    with path.open("a") as file:
        file.write('{"epoch": 4, "lo')  # killed while writing
    MetricLog(path, resume_after=2).write(3, loss=9.0)
    assert epochs(path) == [0, 1, 2, 3]
    assert json.loads(path.read_text().splitlines()[-1]) == {"epoch": 3, "loss": 9.0}
    MetricLog(path)
    assert epochs(path) == []


def test_metric_log_ends_a_line_that_lacks_only_its_end(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"epoch": 0}\n{"epoch": 1}')
    MetricLog(path, resume_after=1).write(2, loss=0.0)
    assert epochs(path) == [0, 1, 2]


def test_metric_log_resumes_without_its_file(tmp_path: Path) -> None:
    MetricLog(tmp_path / "m.jsonl", resume_after=5).write(6, loss=0.0)
    assert epochs(tmp_path / "m.jsonl") == [6]


def test_bfloat16_products_where_the_hardware_has_them(monkeypatch):
    a, cpu = torch.ones(2, 2), torch.device("cpu")
    for there in (True, False):
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda there=there: there)
        with bfloat16_products(True, cpu):
            assert (a @ a).dtype == (torch.bfloat16 if there else torch.float32)
        with bfloat16_products(False, cpu):
            assert (a @ a).dtype == torch.float32
