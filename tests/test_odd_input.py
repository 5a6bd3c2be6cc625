"""Legal input of unusual kinds works: batches of one sample, kinds of numbers, pictures, games."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import dasbe
import gust.train
import hebbian_snn.memorizing_associations_task
import hebbian_snn.reinforcement_learning_task
import snn_tha.run
from common.errors import UserError
from dasbe import binding, example
from hebbian_snn.environments.concentration import ConcentrationEnv

IMAGE = np.zeros((1, 28, 28), np.float32)
IMAGE[0, 3:9, 3:9] = IMAGE[0, 15:22, 12:20] = 1
FAST = {"window": 32, "refractory": 9, "iterations": 5, "keep_iterations": 2}


def bind(**changes):
    """The spikes of a short run of ``dasbe.bind``."""
    given = {"images": IMAGE, "network": "shapes", **FAST, "seed": 0}
    return dasbe.bind(**(given | changes)).spikes


@pytest.mark.parametrize("seed", [np.int64(0), np.uint8(0), torch.tensor(0), False, 2**64 - 1, -5])
def test_kinds_of_seeds(seed) -> None:
    assert torch.equal(bind(seed=seed), bind(seed=int(seed)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1.9}, "seed is 1.9; it must be a whole number"),
        ({"seed": "x"}, "seed is x; it must be a whole number"),
        ({"seed": 2**64}, "seed is 18446744073709551616; it must be at most"),
        ({"window": 2.5}, "window is 2.5; it must be a whole number"),
        ({"refractory": 99999999999999999999}, "refractory is 9+; it must be at most"),
        ({"n_groups": 1.5}, "n_groups is 1.5; it must be a whole number"),
        ({"iterations": 0}, "iterations is 0; it must be at least 1"),
        ({"images": [[[1, 0], [1]]]}, "an array or tensor of numbers 0 and 1"),
        ({"images": IMAGE.astype(str)[:, :, :1] + "x"}, "an array or tensor of numbers"),
    ],
)
def test_numbers_and_images_that_are_refused(change, says) -> None:
    with pytest.raises(UserError, match=says):
        bind(**change)


@pytest.mark.parametrize(
    "images",
    [
        np.flip(np.flip(IMAGE, 2).copy(), 2),
        IMAGE.astype(">f4"),
        IMAGE.astype(">i2"),
        IMAGE.astype(np.uint16),
        IMAGE.astype(bool),
        IMAGE.astype(np.longdouble),
        IMAGE.tolist(),
        torch.from_numpy(IMAGE).bfloat16(),
        torch.from_numpy(IMAGE).requires_grad_(),
    ],
)
def test_kinds_of_images(images) -> None:
    assert torch.equal(bind(images=images), bind())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_networks_that_give_other_kinds_of_numbers(dtype) -> None:
    value = 0 if dtype == torch.int32 else 0.5
    expected = bind(network=lambda c: (torch.full_like(c, value), None), n_groups=3)
    given = bind(network=lambda c: (torch.full_like(c, value).to(dtype), None), n_groups=3)
    assert torch.equal(given, expected)


def test_networks_that_give_nan_or_complex_numbers() -> None:
    with pytest.raises(UserError, match="the network gave NaN"):
        bind(network=lambda c: (torch.full_like(c, torch.nan), None), n_groups=3)
    with pytest.raises(UserError, match="real numbers"):
        bind(network=lambda c: (c + 1j, None), n_groups=3)


def _bind_in_child(answers) -> None:
    try:
        bind()
    except UserError as error:
        answers.put(str(error))


def test_a_forked_child_that_binds_after_its_parent() -> None:
    bind()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_bind_in_child, args=(answers,))
    child.start()
    assert "'spawn'" in answers.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0


def test_a_forked_child_that_binds_first(monkeypatch) -> None:
    monkeypatch.setattr(binding, "_bound_in", [])
    assert bind().any()


# ---- pictures -------------------------------------------------------------------------------


def drawn(picture: Image.Image, ink) -> Image.Image:
    draw = ImageDraw.Draw(picture)
    draw.rectangle((5, 5, 22, 22), fill=ink)
    draw.ellipse((36, 34, 58, 56), fill=ink)
    return picture


def test_pictures_with_transparency_and_16_bits(tmp_path: Path) -> None:
    mask = np.asarray(drawn(Image.new("L", (64, 64), 0), 1)) > 0
    pictures = {
        "white": drawn(Image.new("L", (64, 64), 255), 0),
        "transparent": drawn(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), (0, 0, 0, 255)),
        "grey_alpha": drawn(Image.new("LA", (64, 64), (0, 0)), (0, 255)),
        "palette": drawn(Image.new("P", (64, 64), 0), 7),
        "deep": Image.fromarray(np.where(mask, 30000, 60000).astype(np.uint16)),
        "deep_light_ink": Image.fromarray(np.where(mask, 60000, 30000).astype(np.uint16)),
    }
    pictures["palette"].putpalette([255, 255, 255] + [0] * 765)
    expected = None
    for name, picture in pictures.items():
        more = {"transparency": 0} if name == "palette" else {}
        picture.save(tmp_path / f"{name}.png", **more)
        found = example.read_picture(tmp_path / f"{name}.png", (28, 28))
        expected = found if expected is None else expected
        assert int(found.sum()) > 100
        assert (found != expected).sum() <= 4, name  # edges that lie half in a pixel


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--window", "0"], "window is 0"),
        (["--iterations", "0"], "iterations is 0"),
        (["--n_groups", "0"], "n_groups is 0"),
        (["--refractory", "-1"], "refractory is -1"),
        (["--refractory", "99999999999999999999"], "refractory is 99999999999999999999"),
    ],
)
def test_example_refuses_zeros(flags, says, tmp_path, capsys) -> None:
    drawn(Image.new("L", (28, 28), 255), 0).save(tmp_path / "a.png")
    assert example.main([str(tmp_path / "a.png"), *flags, "--out", str(tmp_path / "out")]) == 1
    assert says in capsys.readouterr().err


def test_example_without_a_refractory_period(tmp_path) -> None:
    drawn(Image.new("L", (28, 28), 255), 0).save(tmp_path / "a.png")
    flags = ["--refractory", "0", "--window", "20", "--iterations", "2"]
    assert example.main([str(tmp_path / "a.png"), *flags, "--out", str(tmp_path / "out")]) == 0


# ---- trainings ------------------------------------------------------------------------------


def train(main, folder: Path, *flags: str) -> int:
    place = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    return main([*place, "--epochs", "1", "--device", "cpu", *flags])


@pytest.mark.parametrize("size", ["1", "17"])
def test_gust_with_batches_of_one_image(size, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SNN_DATA", str(tmp_path))
    small = ["--score_images", "3", "--iterations", "2", "--images", "20", "--batch_size", size]
    assert train(gust.train.main, tmp_path, *small) == 0


def test_snn_tha_with_one_training_sample_and_without_validation(tmp_path, capsys) -> None:
    small = ["--dataset", "mnist", "--data", "embedded", "--steps", "5", "--test_steps", "5"]
    small += ["--test_samples", "20", "--logs", str(tmp_path), "--train_samples", "10"]
    assert train(snn_tha.run.main, tmp_path, *small, "--validation_share", "0.9") == 0
    other = ["--overwrite", "--validation_share", "0.04"]
    assert train(snn_tha.run.main, tmp_path, *small, *other) == 1
    assert "of 10 training samples 0 would validate" in capsys.readouterr().err


def test_associations_with_batches_of_one(tmp_path) -> None:
    sizes = ["--training_size", "3", "--validation_size", "1", "--test_size", "1"]
    sizes += ["--batch_size", "1", "--num_time_steps", "5", "--embedding_size", "8"]
    pairs = ["--sequence_length", "1", "--num_classes", "2", "--memory_size", "8"]
    assert train(hebbian_snn.memorizing_associations_task.main, tmp_path, *sizes, *pairs) == 0


def concentration(folder: Path, *flags: str) -> int:
    small = ["--num_envs", "1", "--num_steps", "1", "--ppo_batches", "1", "--print_freq", "1"]
    sizes = ["--num_time_steps", "5", "--embedding_size", "8", "--memory_size", "8"]
    games = ["--evaluation_games", "2", "--max_flips", "4", "--num_env_steps", "3"]
    place = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    main = hebbian_snn.reinforcement_learning_task.main
    return main([*small, *sizes, *games, *place, "--device", "cpu", *flags])


def test_a_rollout_of_one_action(tmp_path) -> None:
    assert concentration(tmp_path) == 0


def test_a_policy_that_has_diverged(tmp_path, capsys) -> None:
    flags = ["--relu", "--learning_rate", "1e30", "--num_steps", "8", "--num_env_steps", "64"]
    assert concentration(tmp_path, *flags) == 1
    assert "smaller --learning_rate" in capsys.readouterr().err


def test_the_same_seed_deals_the_same_game() -> None:
    env, fresh = ConcentrationEnv(6), ConcentrationEnv(6)
    games = []
    for player in (env, env, fresh):
        observation, _ = player.reset(seed=7)
        games.append((player.layout.tolist(), player.deck.tolist(), observation.tolist()))
    assert games[0] == games[1] == games[2]
    env.reset()
    assert env.deck.tolist() == games[0][1]  # kept from game to game
    given = ConcentrationEnv(4, 2, deck=np.eye(2))
    given.reset(seed=3)
    assert given.deck.tolist() == [[1, 0], [0, 1]]
