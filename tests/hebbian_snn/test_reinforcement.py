"""Training and testing a policy for Concentration."""

import sys
import types

import pytest
import torch
from hebbian_runs import finished, words
from interruption import interrupt_after
from test_ppo import small_task

from common.checkpoints import load_training_state
from hebbian_snn import reinforcement_learning_task
from hebbian_snn.environments.players import PerfectMemory, flips_of_games
from hebbian_snn.reinforcement import task as reinforcement

TRAIN = words(
    """--num_cells 2 --card_shape 3 --num_time_steps 8 --embedding_size 7 --memory_size 6
    --thr 0.03 --hidden_size 5 --num_envs 6 --num_steps 5 --ppo_batches 3 --ppo_epochs 2
    --num_env_steps 180 --print_freq 2 --evaluation_games 30 --max_flips 9 --device cpu"""
)


def run(folder, *more, task=reinforcement_learning_task):
    """Train in ``folder``; the exit status."""
    files = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    return task.main([*TRAIN, *files, *more])


@pytest.fixture(autouse=True)
def few_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def curve(folder):
    timed = ("seconds", "steps_per_second")
    lines = finished(folder).metadata["curve"]
    return [{key: value for key, value in line.items() if key not in timed} for line in lines]


@pytest.mark.parametrize("relu", [[], ["--relu"]])
def test_interrupted_training_is_the_uninterrupted_one(tmp_path, monkeypatch, relu):
    assert run(tmp_path / "a", *relu) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, reinforcement, 2)
        assert run(tmp_path / "b", *relu) == 130
    assert load_training_state(tmp_path / "b/partial/hebbian_snn_net.pt")["epoch"] == 4
    assert run(tmp_path / "b", *relu) == 0
    one, two = finished(tmp_path / "a"), finished(tmp_path / "b")
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert [line["epoch"] for line in one.metadata["curve"]] == [2, 4, 6]
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    assert one.metadata["test"] == two.metadata["test"]
    assert one.metadata["test"]["games"] == 30 and one.metadata["settings"]["relu"] == bool(relu)
    assert one.metadata["curve"][-1]["learning_rate"] == pytest.approx(3e-4 / 6)


def test_a_finished_training_can_be_prolonged(tmp_path):
    """With a constant rate it is the same as one that was long from the beginning."""
    constant = ["--decay_lr_linearly", "0"]
    assert run(tmp_path / "long", *constant) == 0
    assert run(tmp_path / "short", *constant, "--num_env_steps", "120") == 0
    state = tmp_path / "short/partial/hebbian_snn_net_last.pt"
    assert run(tmp_path / "on", *constant, "--resume", str(state)) == 0
    one, two = finished(tmp_path / "long"), finished(tmp_path / "on")
    assert curve(tmp_path / "long") == curve(tmp_path / "on")
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


def test_test_games_and_flags_that_differ(tmp_path, capsys):
    assert run(tmp_path) == 0
    mean = finished(tmp_path).metadata["test"]["flips"]
    capsys.readouterr()
    assert run(tmp_path, "--evaluate") == 0
    assert f"{mean:.2f} flips on average" in (said := capsys.readouterr().out)
    assert "in 30 games, of which" in said
    assert run(tmp_path, "--evaluate", "--evaluation_games", "7") == 0
    assert "in 7 games" in capsys.readouterr().out
    assert run(tmp_path, "--evaluate", "--tau_mem", "10", "--learning_rate", "1") == 1
    assert "--tau_mem: 20.0 there, 10.0 here" in capsys.readouterr().err
    assert run(tmp_path) == 0
    assert "is there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--num_cells 3", "num_cells is 3; give an even number"),
        ("--ppo_batches 7", "ppo_batches is 7 and num_envs 6"),
        ("--start_update 6", "--start_update is 6; the training has the updates 0 to 5"),
        ("--print_freq 0", "--print_freq is 0"),
        ("--gamma_pos -1", "gamma_pos"),
        ("--evaluate", "there is no checkpoint"),
    ],
)
def test_wrong_flags_are_one_sentence(tmp_path, capsys, flags, message):
    assert run(tmp_path, *words(flags)) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("sections", "relu", "name"),
    [
        ({"game": {"num_time_steps": 100}}, False, "concentration_2"),
        ({"game": {"num_time_steps": 20, "num_cells": 6}}, False, "concentration_6_20_steps"),
        ({"game": {"resample_cards": True}}, True, "concentration_relu_2_resampled"),
    ],
)
def test_names_of_checkpoints(sections, relu, name):
    assert small_task(relu, **sections).checkpoint_name == name


def test_test_games_are_fixed_and_played_like_any_other():
    task = small_task(game={"num_cells": 4}, evaluation={"evaluation_games": 500, "max_flips": 20})
    games, rules = task.test_games(torch.device("cpu"))
    again, _ = task.test_games(torch.device("cpu"))
    other, _ = task.test_games(torch.device("cpu"), seed=1)
    assert torch.equal(games.layout, again.layout) and not torch.equal(games.layout, other.layout)
    assert torch.equal(games.cards[0], task.deck) and torch.equal(games.cards[9], task.deck)
    flips, won = flips_of_games(PerfectMemory(), games, rules)
    assert won.all() and abs(flips.double().mean() - 16 / 3) < 0.2
    resampled = small_task(game={"resample_cards": True}).test_games(torch.device("cpu"))[0]
    assert len(resampled.cards.unique(dim=0)) == len(resampled.cards)


@pytest.mark.slow
def test_the_twin_learns_a_game_of_two_cells(tmp_path):
    """Two flips are enough; flipping at random takes 4 on average."""
    more = words(
        """--relu --embedding_size 20 --memory_size 20 --hidden_size 20 --num_envs 32
        --num_env_steps 9600 --learning_rate 0.003 --max_flips 50 --print_freq 5"""
    )
    assert run(tmp_path, *more) == 0
    metadata = finished(tmp_path).metadata
    assert metadata["curve"][0]["flips"] > 2.5 > 2.2 > metadata["curve"][-1]["flips"]
    assert metadata["test"]["flips"] == 2 and metadata["test"]["given_up"] == 0


def test_tensorboard_that_is_not_there_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert run(tmp_path, "--logging") == 1
    assert "--logging needs the package tensorboard; install it" in capsys.readouterr().err


def test_every_line_is_logged(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            assert "net" in folder

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def flush(self):
            pass

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    assert run(tmp_path, "--logging") == 0
    assert {step for _, step in written} == {2, 4, 6}
    assert {"flips", "entropy", "steps_per_second"} < {name for name, _ in written}
