"""The animation: what is computed, what each frame shows, and the command."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.drawing import group_colors, match_groups
from common.results import load_results
from common.settings import load_settings
from dasbe.binding import load_network
from dasbe.config import FOLDER
from dasbe.dynamics import scatter_pixels, simulate
from dasbe.figures import animation, figure2
from dasbe.grouping import group_pixels
from datasets.binding import read_group
from datasets.generate import ensure

SETTINGS = load_settings(figure2.Figure2Settings, FOLDER / "figure2.yaml")
CPU = torch.device("cpu")


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.real.DATA_FILES", tmp_path / "data")


@pytest.fixture
def arrays():
    """Two shown iterations of three phases on a 4 x 5 image with two objects."""
    rng = np.random.default_rng(0)
    true = np.zeros((4, 5), np.int64)
    true[0, :3], true[2, 1:] = 1, 2
    image = (true > 0).astype(np.uint8)
    return {
        "image": image,
        "true": true,
        "shown": np.array([1, 7]),
        "spikes": ((rng.random((2, 3, 4, 5)) < 0.5) & (image > 0)).astype(np.uint8),
        "feedback": (rng.random((2, 3, 4, 5)) * image).astype(np.float32),
        "groups": np.stack([rng.permuted(true), true]),
        "ami": np.array(1.0),
    }


def plan(tmp_path: Path, **fields) -> animation.Plan:
    values = {"image": 5, "seed": 3, "iterations": 12, "shown": (1, 4, 12)} | fields
    return animation.Plan("quick", **values, data="auto", device=CPU, out=tmp_path / "out")


# ---- computing ------------------------------------------------------------------------------


def test_the_run_is_that_of_the_model(tmp_path, own_data):
    record, arrays = animation.compute(plan(tmp_path), SETTINGS)
    trained = load_network(SETTINGS.network)
    d, index = trained.settings.dynamics, np.array([5])
    ensure("shapes", {"train_multi": 6}, ["train_multi"])
    image, true = read_group("shapes", "train_multi", start=5, count=1)
    kept, pixels = simulate(image, trained.network, d.window, d.refractory, 12, 3, index, 12)
    whole = scatter_pixels(kept, pixels)[0].numpy().reshape(12, d.window, 28, 28)
    np.testing.assert_array_equal(arrays["spikes"], whole[[0, 3, 11]])
    np.testing.assert_array_equal(arrays["image"], image[0])
    n_groups = int(true.max()) + 1
    for n, groups in zip((0, 3, 11), arrays["groups"], strict=True):
        found = group_pixels(kept[:, n], pixels, n_groups, 3, index).reshape(28, 28)
        np.testing.assert_array_equal(groups, match_groups(true[0], found))

    feedback = arrays["feedback"]
    assert not feedback[:, :, arrays["image"] == 0].any()
    np.testing.assert_allclose(feedback[0][:, arrays["image"] > 0].sum(axis=0), 1, rtol=1e-5)
    assert (feedback[arrays["spikes"] > 0] > 0).all()
    assert feedback[2][arrays["spikes"][2] > 0].mean() > 2 * feedback[2].mean()

    settings = replace(SETTINGS, iterations=12)
    expected = figure2.measure_seed(image, true, trained, 3, 5, settings)
    assert arrays["ami"] == pytest.approx(expected["ami"])
    assert record.measurements[0].value == pytest.approx(100 * expected["ami"])


# ---- drawing --------------------------------------------------------------------------------


def test_feedback_is_the_brightness_of_on_pixels():
    image = np.array([[0, 1, 1, 1]])
    picture = animation.feedback_picture(np.array([[0.9, 0.0, 0.5, 1.0]]), image)
    assert picture.shape == (1, 4, 3)
    brightness = picture.mean(axis=2)[0]
    assert (np.diff(brightness) > 0).all() and brightness[3] == 1
    np.testing.assert_array_equal(
        picture[0, 0], animation.feedback_picture(np.zeros((1, 4)), image)[0, 0]
    )


def test_raster_has_a_row_for_every_pixel_of_an_object():
    true = np.array([2, 0, 1, 2])
    trains = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
    picture = animation.raster_picture(trains, true)
    gap = animation.SEPARATION
    assert picture.shape == (3 + gap, 2, 3)
    colors = group_colors(3, on_white=True)
    spikes = {(0, 1): 1, (1 + gap, 0): 2, (2 + gap, 1): 2}
    for row in range(3 + gap):
        for step in range(2):
            number = spikes.get((row, step))
            expected = np.ones(3) if number is None else colors[number]
            np.testing.assert_allclose(picture[row, step], expected)


def test_frames_show_the_past_and_not_the_future(arrays):
    scene = animation.build_scene(arrays)
    assert scene.n_frames == 6
    images, rasters = scene.figure.axes[:4], scene.figure.axes[4:6]
    rates, title = scene.figure.axes[6:8], scene.figure.texts[0]
    true = arrays["true"].ravel()
    for k in (0, 4, 5, 2, 3):  # in any order
        scene.update(k)
        n, phase = divmod(k, 3)
        assert title.get_text() == f"iteration {(1, 7)[n]}, phase {phase + 1} of 3"
        np.testing.assert_allclose(
            images[1].images[0].get_array(),
            animation.feedback_picture(arrays["feedback"][n, phase], arrays["image"]),
        )
        firing = images[2].images[0].get_array()
        for number, color in enumerate(group_colors(3)[1:], start=1):
            fired = (arrays["spikes"][n, phase] > 0) & (arrays["true"] == number)
            np.testing.assert_array_equal(np.isclose(firing, color).all(axis=2), fired)
        known = n if phase == 2 else n - 1
        expected = np.zeros((4, 5)) if known < 0 else arrays["groups"][known]
        np.testing.assert_array_equal(images[3].images[0].get_array(), expected)
        for m in range(2):
            steps = (3, phase + 1, 0)[1 + np.sign(m - n)]
            drawn = rasters[m].images[0].get_array()
            whole = animation.raster_picture(arrays["spikes"][m].reshape(3, -1), true)
            np.testing.assert_array_equal(drawn[:, :steps], whole[:, :steps])
            assert (drawn[:, steps:] == 1).all()
            for number, line in enumerate(rates[m].lines, start=1):
                share = arrays["spikes"][m].reshape(3, -1)[:steps, true == number].mean(axis=1)
                np.testing.assert_array_equal(line.get_xdata(), np.arange(steps))
                np.testing.assert_allclose(line.get_ydata(), share)


def test_the_film_holds_still_at_the_end_of_an_iteration(arrays):
    frames = list(animation.frames(arrays))
    assert len(frames) == 4 + animation.HOLD + animation.HOLD_LAST
    assert {frame.shape for frame in frames} == {(animation.HEIGHT, animation.WIDTH, 3)}
    held = frames[2 : 2 + animation.HOLD]
    assert all((frame == held[0]).all() for frame in held)
    different = [frames[0], frames[1], held[0], frames[-animation.HOLD_LAST - 1], frames[-1]]
    for one, other in pairwise(different):
        assert (one != other).any()


# ---- the command ----------------------------------------------------------------------------


def test_the_command_writes_record_pictures_and_film(tmp_path, own_data, capsys):
    out = tmp_path / "out"
    assert animation.main(["--image", "2", "--iterations", "1", "--out", str(out)]) == 0
    assert "binding.gif" in capsys.readouterr().out
    record, arrays = load_results(out)
    assert record.settings["image"] == 2 and record.seeds == [animation.SEED]
    assert arrays["spikes"].shape == (1, 32, 28, 28)
    assert (out / "figure.png").stat().st_size > 1000
    with Image.open(out / "binding.gif") as film:
        assert film.size == (animation.WIDTH, animation.HEIGHT)
        assert film.n_frames == 32


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image", "-1"], "--image is -1"),
        (["--iterations", "0"], "--iterations is 0"),
        (["--shown", "31"], "there are iterations 1 to 30"),
        (["--shown", "0"], "--shown 0"),
        (["--shown", *"123456"], "there is room for 6"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, flags, message):
    assert animation.main([*flags, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_only_iterations_that_there_are_are_shown_by_default():
    def shown(*flags):
        return animation.plan_from(animation._parser(SETTINGS).parse_args(flags)).shown

    assert shown() == (1, 3, 15, 30)
    assert shown("--iterations", "8") == (1, 3, 8)
    assert shown("--iterations", "3") == (1, 3)
    assert shown("--iterations", "9", "--shown") == (9,)
    assert shown("--iterations", "9", "--shown", "9", "2", "2") == (2, 9)
