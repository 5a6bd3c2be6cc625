"""The figures of GUST: what is computed, what is drawn, and the commands."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gust_figure_examples import CURVE, ITERATIONS, error_of, install_networks, write_network
from matplotlib.colors import to_rgb
from PIL import Image

from common.drawing import group_colors, match_groups
from common.paper_values import published_curve
from common.paths import ROOT
from common.records import new_record
from common.results import load_results
from gust import draw_ami_syn_score, draw_color, save_results
from gust.figures import animation, binding, one_image, pictures, scores, training
from gust.figures.iterations import SCORE_NAMES, bound_iterations
from gust.figures.sources import ensure_test_images, read_test_images
from gust.scoring import bind_and_score, cluster, spikes_of
from gust.trained import load_network


@pytest.fixture
def networks(tmp_path, monkeypatch):
    return install_networks(monkeypatch, tmp_path, 3)


def image_options(tmp_path, *flags):
    return binding.FIGURE.read(["--out", str(tmp_path / "out"), *flags])


@pytest.fixture
def arrays():
    """Five iterations of four phases on a 4 x 5 image with two objects that overlap."""
    rng = np.random.default_rng(0)
    true = np.zeros((4, 5), np.uint8)
    true[0, :3], true[2, 1:] = 1, 2
    image = (true > 0).astype(np.uint8)
    image[1, 2] = 1
    return {
        "image": image,
        "true": true,
        "spikes": ((rng.random((5, 4, 4, 5)) < 0.4) & (image > 0)).astype(np.uint8),
        "groups": np.stack([rng.permuted(true) for _ in range(4)] + [true]),
        "ami": np.linspace(0.1, 0.9, 5),
        "synchrony": np.linspace(0.9, 0.2, 5),
    }


# ---- parts that are kept --------------------------------------------------------------------


@pytest.mark.parametrize("damage", [lambda b: b[:60], lambda b: b"", lambda b: b"garbage"])
def test_parts_are_kept_until_the_key_changes_or_they_are_damaged(tmp_path, damage):
    calls = []

    def measure():
        calls.append(None)
        return {"a": np.arange(3) + len(calls)}

    record = binding.FIGURE.record(image_options(tmp_path))
    path, key = tmp_path / "out" / "parts" / "a.npz", {"x": [1, 2], "y": "z"}
    first, second = (record.kept("a", key, measure) for _ in range(2))
    assert len(calls) == 1
    np.testing.assert_array_equal(first["a"], second["a"])
    assert second["seconds"] == first["seconds"] > 0
    assert record.kept("a", key | {"x": [1]}, measure)["a"][0] == 2
    path.write_bytes(damage(path.read_bytes()))
    assert record.kept("a", key | {"x": [1]}, measure)["a"][0] == 3


# ---- colours --------------------------------------------------------------------------------


def luminance(colors):
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_phases_have_different_colours_and_the_last_is_like_the_first():
    colors = pictures.phase_colors(10)
    assert colors.shape == (10, 3) and colors.min() >= 0 and colors.max() <= 1
    distances = np.linalg.norm(colors[:, None] - colors, axis=2)
    assert (distances + 9 * np.eye(10)).min() > 0.1
    neighbours = [distances[t, (t + 1) % 10] for t in range(10)]
    opposite = [distances[t, (t + 5) % 10] for t in range(10)]
    assert max(neighbours) < min(opposite)
    assert luminance(colors).max() > 4 * luminance(colors).min()
    assert luminance(colors).min() > 2 * luminance(np.array(to_rgb(pictures.SILENT)))
    assert pictures.phase_colors(1).shape == (1, 3)


def test_a_pixel_has_the_mean_colour_of_its_spikes():
    spikes = np.zeros((10, 1, 4), np.uint8)
    spikes[3, 0, 0] = 1
    spikes[[0, 9], 0, 1] = 1
    image = np.array([[1, 1, 1, 0]])
    colors = pictures.phase_colors(10)
    found = pictures.color_phases(spikes, image)
    np.testing.assert_allclose(found[0, 0], colors[3])
    np.testing.assert_allclose(found[0, 1], (colors[0] + colors[9]) / 2)
    np.testing.assert_allclose(found[0, 2], to_rgb(pictures.SILENT))
    assert found[0, 3].max() < found[0, 2].min()


def test_frames_show_spikes_in_their_objects_colour():
    spikes = np.array([[[0, 1, 1, 1]], [[0, 0, 0, 0]]])
    frames = pictures.color_objects(spikes, np.array([[0, 1, 2, 0]]), np.array([[0, 1, 1, 1]]))
    assert frames.shape == (2, 1, 4, 3)
    np.testing.assert_allclose(frames[0, 0, 1:3], group_colors(3)[1:])
    np.testing.assert_allclose(frames[0, 0, 3], [pictures.OTHER_SPIKE] * 3)
    np.testing.assert_allclose(frames[1, 0, 1:], [to_rgb(pictures.SILENT)] * 3)
    np.testing.assert_array_equal(frames[0, 0, 0], frames[1, 0, 0])


# ---- one image ------------------------------------------------------------------------------


def test_the_shown_image_has_three_whole_shapes(networks, tmp_path):
    """As the settings file says: one of each kind, and no two touch."""
    arrays = one_image.bind_image(image_options(tmp_path, "--iterations", "1"))
    sizes = np.bincount(arrays["true"].ravel())[1:]
    assert sorted(sizes) == [40, 48, 48]
    np.testing.assert_array_equal(arrays["true"] > 0, arrays["image"] > 0)
    up_or_down = [
        (arrays["true"] == k).sum(axis=1) for k in (1, 2, 3) if (arrays["true"] == k).sum() == 48
    ]
    assert len({int(rows[rows > 0][0]) for rows in up_or_down}) == 2
    rows, columns = np.nonzero(arrays["true"])
    near = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) <= 1
    numbers = arrays["true"][rows, columns]
    assert (numbers[:, None] == numbers)[near].all()


def test_one_image_is_bound_as_in_the_evaluation(networks, tmp_path):
    options = image_options(tmp_path, "--image", "7", "--objects", "4", "--seed", "2")
    assert options.load()[1] == ITERATIONS
    record = binding.FIGURE.record(options)
    arrays = one_image.compute(options, record)
    trained, index = load_network("shapes_3"), np.array([7])
    image, groups, _ = read_test_images(4, 7, 1)
    spikes = list(spikes_of(image, trained.network, trained.settings, 2, index))
    np.testing.assert_array_equal(arrays["spikes"], np.concatenate(spikes))
    assert arrays["spikes"].any() and not arrays["spikes"][:, :, arrays["image"] == 0].any()
    for n, found in enumerate(arrays["groups"]):
        labels = cluster(spikes[n], 5, 2, index, trained.settings.evaluation)[0]
        np.testing.assert_array_equal(found, match_groups(groups[0], labels))
    last = bind_and_score(image, groups, trained.network, trained.settings, 2, index, 5)
    assert arrays["ami"][-1] == pytest.approx(last.ami[0])
    assert arrays["synchrony"][-1] == pytest.approx(last.synchrony[0])
    assert [m.value for m in record.measurements] == [
        pytest.approx(last.ami[0]),
        pytest.approx(last.synchrony[0]),
    ]
    assert record.seeds == [2] and record.settings["image"] == 7
    longer = one_image.bind_image(replace(options, iterations=6))
    np.testing.assert_array_equal(longer["spikes"][:ITERATIONS], arrays["spikes"])
    assert len(longer["ami"]) == 6


def test_iterations_of_a_batch_are_those_of_its_images(networks):
    trained = load_network("shapes_3")
    ensure_test_images(3, 4)
    images, groups, indices = read_test_images(3, 1, 3)
    together = list(bound_iterations(images, groups, trained, 1, indices, 4, 2))
    assert len(together) == 2
    for i in range(3):
        part = slice(i, i + 1)
        alone = bound_iterations(images[part], groups[part], trained, 1, indices[part], 4, 2)
        for one, all_of_them in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one.spikes[0], all_of_them.spikes[i])
            np.testing.assert_array_equal(one.labels[0], all_of_them.labels[i])
            assert one.scores.ami[0] == pytest.approx(all_of_them.scores.ami[i])


# ---- binding --------------------------------------------------------------------------------


def test_first_and_last_iterations():
    assert binding._ends(30, 3) == (range(3), range(27, 30))
    assert binding._ends(4, 3) == (range(3), range(1, 4))
    assert binding._ends(2, 3) == (range(2), range(2))


def test_the_figure_shows_maps_frames_rasters_and_rates(arrays):
    record = new_record("n", "GUST", "quick")
    record.settings = {"figure": {"coloured_iterations": [0, 3, 7], "shown_iterations": 2}}
    figure = binding.draw(record, arrays)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:5] == ["input", "objects", "groups", "iteration 0", "3"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), arrays["image"])
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), arrays["true"])
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), arrays["groups"][-1])
    assert "0.90" in figure.axes[2].get_xlabel()
    for ax, n in ((figure.axes[3], 0), (figure.axes[4], 3)):
        expected = pictures.color_phases(arrays["spikes"][n], arrays["image"])
        np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    assert len(figure.axes[5].get_xticks()) == 4  # the key of the phases
    for ax, n in zip(figure.axes[6:10], (0, 3, 1, 4), strict=True):
        strip = ax.images[0].get_array()
        frames = pictures.color_objects(arrays["spikes"][n], arrays["true"], arrays["image"])
        assert strip.shape == (4, 4 * 6 - 1, 3)
        for t in range(4):
            np.testing.assert_array_equal(strip[:, 6 * t : 6 * t + 5], frames[t])
        assert [tick.get_text() for tick in ax.get_yticklabels()] == [str(n)]
    rasters, rates = figure.axes[10:12], figure.axes[12:14]
    for raster, rate, start in zip(rasters, rates, (0, 3), strict=True):
        trains = arrays["spikes"][start : start + 2].reshape(8, 4, 5)
        for number, line in enumerate(rate.lines[:2], start=1):
            share = trains[:, arrays["true"] == number].mean(axis=1)
            np.testing.assert_allclose(line.get_ydata(), share)
            np.testing.assert_array_equal(line.get_xdata(), 4 * start + np.arange(8))
        ticks = sum(len(spikes.get_segments()) for spikes in raster.collections)
        assert ticks == trains[:, arrays["true"] > 0].sum()


def test_binding_command(networks, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--image", "3", "--profile", "full", "--data", "auto", "--out", str(out)]
    assert binding.main(flags) == 0
    record, arrays = load_results(out)
    assert arrays["spikes"].shape == (ITERATIONS, 10, 28, 28)
    assert record.profile == "full" and list(record.checkpoints) == ["shapes_3"]
    with Image.open(out / "figure.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    assert (out / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image", "-1"], "--image is -1"),
        (["--image", "10000"], "test images 0 to 9999"),
        (["--image", "346", "--objects", "2"], "cover each other"),
        (["--objects", "5"], "only with 2, 3, 4"),
        (["--iterations", "0"], "--iterations must be at least 1, not 0"),
        (["--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--network", "shapes_4"], "no trained network 'shapes_4'"),
        (["--network", "nothing.safetensors"], "nothing.safetensors"),
    ],
)
def test_mistakes_are_one_sentence(networks, tmp_path, capsys, flags, message):
    out = tmp_path / "out"
    assert message in error_of(capsys, binding.main([*flags, "--out", str(out)]))
    assert not out.exists()


# ---- scores ---------------------------------------------------------------------------------


def scores_options(tmp_path, *flags):
    return scores.FIGURE.read(["--out", str(tmp_path / "out"), "--runs", "3", *flags])


def compute_scores(options):
    record = scores.FIGURE.record(options)
    return record, scores.compute(options, record)


def test_runs_are_seeds_of_one_image_and_images_the_first_ones(networks, tmp_path, monkeypatch):
    monkeypatch.setattr(scores, "CHUNK", 2)
    options = scores_options(tmp_path, "--image", "1", "--seed", "4", "--images", "3")
    record, arrays = compute_scores(options)
    trained = load_network("shapes_3")
    images, groups, _ = read_test_images(3, 0, 3)
    published = read_test_images(3, 10, 1, "train_multi")
    assert arrays["published-ami"].shape == (3, ITERATIONS)
    expected = bind_and_score(
        published.images, published.groups, trained.network, trained.settings, 5, np.array([10]), 4
    )
    assert arrays["published-ami"][1, -1] == pytest.approx(expected.ami[0])
    for key in ("ami", "synchrony"):
        assert arrays[f"runs-{key}"].shape == arrays[f"images-{key}"].shape == (3, ITERATIONS)
        np.testing.assert_allclose(arrays[f"images-{key}"][1], arrays[f"runs-{key}"][0])
        for i in range(3):
            for name, image, seed in (("runs", 1, 4 + i), ("images", i, 4)):
                part = slice(image, image + 1)
                expected = bind_and_score(
                    images[part],
                    groups[part],
                    trained.network,
                    trained.settings,
                    seed,
                    np.array([image]),
                    4,
                )
                value = getattr(expected, key)[0]
                assert arrays[f"{name}-{key}"][i, -1] == pytest.approx(value)
    assert record.measurements[0].what == f"published image, AMI at iteration {ITERATIONS}"
    first = record.measurements[2]
    assert first.what == f"one image, AMI at iteration {ITERATIONS}"
    assert first.value == pytest.approx(arrays["runs-ami"][:, -1].mean())
    assert first.spread == pytest.approx(arrays["runs-ami"][:, -1].std(ddof=1))
    assert (first.n, first.seeds) == (3, [4, 5, 6])
    assert all(m.paper is None for m in record.measurements), "not after so few iterations"

    monkeypatch.setattr(scores, "score_iterations", None)  # a second run measures nothing
    again = compute_scores(options)[1]
    for key, values in arrays.items():
        np.testing.assert_array_equal(again[key], values)
    for other in ({"iterations": 3}, {"objects": 2}, {"runs": 2}):
        with pytest.raises(TypeError):
            compute_scores(replace(options, **other))


def test_the_published_values_stand_beside_runs_of_their_image_alone(networks, tmp_path):
    found = {"ami": np.full((2, 30), 0.5), "synchrony": np.full((2, 30), 0.6)}

    def rows(name):
        options = scores_options(tmp_path, "--iterations", "30")
        record = scores.FIGURE.record(options)
        scores.measure(record, name, found, 1.0, options, load_network("shapes_3"))
        return record.measurements

    assert [m.paper for m in rows("published")] == [0.795, 0.806]
    assert [m.paper for m in rows("runs") + rows("images")] == [None] * 4
    row = rows("published")[1]
    assert "0.027" in row.note and "image 10 of train_multi of shapes_multiobj_3_3" in row.note
    assert "one image, 5 runs" in row.note


@pytest.mark.parametrize("objects", [3, 2])
def test_curves_bands_and_published_points(objects):
    rng = np.random.default_rng(0)
    names = ("published", "runs", "images") if objects == 3 else ("runs", "images")
    keys = [f"{name}-{key}" for name in names for key in ("ami", "synchrony")]
    arrays = {key: rng.random((4, 30)) for key in keys}
    record = new_record("n", "GUST", "quick")
    record.settings = {"figure": scores.FIGURE.values()[0], "objects": objects}
    figure = scores.draw(record, arrays)
    for ax, key in zip(figure.axes, ("ami", "synchrony"), strict=True):
        bands = ax.collections
        for line, band, name in zip(ax.lines, bands, names, strict=False):
            values = arrays[f"{name}-{key}"]
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 31))
            np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
            heights = band.get_paths()[0].vertices[:, 1]
            top = values.mean(axis=0) + values.std(axis=0, ddof=1)
            assert heights.max() == pytest.approx(top.max())
        points = [line for line in ax.lines if line.get_marker() == "o"]
        assert len(points) == (objects == 3)
        for line in points:
            curve = published_curve("gust_scores", SCORE_NAMES[key])
            np.testing.assert_array_equal(line.get_xdata(), curve.x)
            np.testing.assert_array_equal(line.get_ydata(), curve.y)


@pytest.mark.parametrize("main", [scores.main, draw_ami_syn_score.main])
def test_scores_command(networks, tmp_path, capsys, main):
    out = tmp_path / "out"
    assert main(["--images", "2", "--runs", "2", "--out", str(out)]) == 0
    record, arrays = load_results(out)
    assert arrays["images-ami"].shape == (2, ITERATIONS)
    assert record.settings["image"] == 44
    assert (out / "figure.png").stat().st_size > 1000
    for flags, message in (
        (["--images", "1"], "--images must be at least 2, not 1"),
        (["--runs", "1"], "--runs must be at least 2, not 1"),
        (["--images", "20000"], "10000 images"),
    ):
        assert message in error_of(capsys, main([*flags, "--out", str(out)]))


# ---- training -------------------------------------------------------------------------------


def test_losses_are_per_image_unless_they_are_means(tmp_path):
    summed = load_network(write_network(tmp_path / "a.safetensors", 3))
    curve = training.read_curve(summed)
    np.testing.assert_allclose(curve["loss"], [36 / 18, 18 / 18, 9 / 18])
    np.testing.assert_allclose(curve["validation_loss"], [5 / 2, 3 / 2, 4 / 2])
    np.testing.assert_array_equal(curve["ami"], [0.1, np.nan, 0.4])
    averaged = load_network(write_network(tmp_path / "b.safetensors", 3, loss="nem_loss"))
    np.testing.assert_allclose(training.read_curve(averaged)["loss"], [36, 18, 9])


def test_the_training_figure_shows_every_network_and_names_those_missing(
    tmp_path, monkeypatch, capsys
):
    install_networks(monkeypatch, tmp_path, 2, 4)
    out = tmp_path / "out"
    assert training.main(["--out", str(out)]) == 0
    assert "left out: trained on 3 objects: not drawn" in capsys.readouterr().out
    record, arrays = load_results(out)
    values = {m.what: m for m in record.measurements}
    assert values["trained on 4 objects: validation loss of the epoch kept"].value == 1.5
    assert values["trained on 4 objects: AMI of the epoch kept"].value is None
    assert "not finished" in values["trained on 3 objects"].note
    figure = training.draw(record, arrays)
    loss, ami, synscore = figure.axes
    for ax, key in ((ami, "ami"), (synscore, "synscore")):
        drawn = [line for line in ax.lines if len(line.get_xdata()) == 2]
        assert len(drawn) == 2
        for line in drawn:
            np.testing.assert_array_equal(line.get_xdata(), [1, 3])
            expected = [entry[key] for entry in CURVE if key in entry]
            np.testing.assert_array_equal(line.get_ydata(), expected)
    dots = [line for line in loss.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [(*dot.get_xdata(), *dot.get_ydata()) for dot in dots] == [(2, 1.5)] * 2
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["2 objects", "4 objects", "validation", "training", "epoch kept"]


def test_training_figure_of_given_files(tmp_path, capsys):
    file = write_network(tmp_path / "mine.safetensors", 3)
    assert training.main(["--networks", str(file), "--out", str(tmp_path / "out")]) == 0
    assert "mine-ami" in load_results(tmp_path / "out")[1]
    broken = write_network(tmp_path / "broken.safetensors", 3, curve=None)
    status = training.main(["--networks", str(broken), "--out", str(tmp_path / "out")])
    assert "curve is none, not a list" in error_of(capsys, status)


def test_nothing_is_drawn_before_a_training_is_finished(tmp_path, monkeypatch, capsys):
    install_networks(monkeypatch, tmp_path)
    status = training.main(["--out", str(tmp_path / "out")])
    assert "nothing to draw" in error_of(capsys, status)
    assert not (tmp_path / "out").exists()


# ---- animation ------------------------------------------------------------------------------


def test_frames_show_the_past_and_not_the_future(arrays):
    scene = animation.build_scene(arrays)
    assert scene.n_frames == 20
    picture, spikes, groups, objects, raster, curves = scene.figure.axes
    np.testing.assert_array_equal(picture.images[0].get_array(), arrays["image"])
    np.testing.assert_array_equal(objects.images[0].get_array(), arrays["true"])
    true = arrays["true"].ravel()
    whole = animation.raster_picture(arrays["spikes"].reshape(20, -1), true)
    for k in (0, 5, 3, 19, 10):  # in any order
        scene.update(k)
        n, phase = divmod(k, 4)
        assert scene.figure.texts[0].get_text() == f"iteration {n}, phase {phase}"
        past = arrays["spikes"][n] * (np.arange(4) <= phase)[:, None, None]
        np.testing.assert_array_equal(
            spikes.images[0].get_array(), pictures.color_phases(past, arrays["image"])
        )
        known = n if phase == 3 else n - 1
        expected = np.zeros((4, 5)) if known < 0 else arrays["groups"][known]
        np.testing.assert_array_equal(groups.images[0].get_array(), expected)
        drawn = raster.images[0].get_array()
        np.testing.assert_array_equal(drawn[:, : k + 1], whole[:, : k + 1])
        assert (drawn[:, k + 1 :] == 1).all()
        for patch, key in zip(curves.patches, ("ami", "synchrony"), strict=True):
            values = patch.get_data().values
            np.testing.assert_array_equal(values[: known + 1], arrays[key][: known + 1])
            assert np.isnan(values[known + 1 :]).all()


def test_raster_has_a_row_for_every_pixel_of_an_object():
    true, trains = np.array([2, 0, 1, 2]), np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
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


def test_the_film_moves_and_stands_still_at_the_end(arrays):
    short = {
        k: v[:1] if k in ("spikes", "groups", "ami", "synchrony") else v for k, v in arrays.items()
    }
    frames = list(animation.frames(short))
    assert len(frames) == 3 + animation.HOLD_LAST
    assert {frame.shape for frame in frames} == {(animation.HEIGHT, animation.WIDTH, 3)}
    for one, other in pairwise(frames[:4]):
        assert (one != other).any()
    assert all((frame == frames[3]).all() for frame in frames[4:])


def test_animation_command(networks, tmp_path, capsys):
    out = tmp_path / "out"
    assert animation.main(["--iterations", "1", "--out", str(out)]) == 0
    assert "binding.gif" in capsys.readouterr().out
    with Image.open(out / "binding.gif") as film:
        assert film.size == (animation.WIDTH, animation.HEIGHT)
        assert film.n_frames == 10
    assert load_results(out)[1]["spikes"].shape == (1, 10, 28, 28)
    assert (out / "figure.png").stat().st_size > 1000


# ---- the commands of the original's names ---------------------------------------------------


def test_draw_color_colours_the_iterations_asked_for(networks, tmp_path, capsys):
    out, flags = tmp_path / "out", ["--image", "2", "--iterations", "6"]
    assert draw_color.main([*flags, "--out", str(out)]) == 0
    assert load_results(out)[0].settings["figure"]["coloured_iterations"] == [0, 5]
    assert draw_color.main([*flags, "--coloured", "4", "1", "--out", str(out)]) == 0
    record, arrays = load_results(out)
    figure = draw_color.draw(record, arrays)
    assert [ax.get_title() for ax in figure.axes[:4]] == ["input", "objects", "iteration 4", "1"]
    for ax, n in zip(figure.axes[2:4], (4, 1), strict=True):
        expected = pictures.color_phases(arrays["spikes"][n], arrays["image"])
        np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    status = draw_color.main([*flags, "--coloured", "6", "--out", str(out)])
    assert "--coloured 6: there are iterations 0 to 5" in error_of(capsys, status)


def test_save_results_writes_the_spikes_and_what_they_are_of(networks, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--image", "5", "--objects", "4", "--seed", "9", "--out", str(out)]
    assert save_results.main(flags) == 0
    path = out / "shapes_3-objects_4-image_5.npz"
    assert str(path) in capsys.readouterr().out
    with np.load(path, allow_pickle=False) as file:
        found = dict(file)
    original = np.load(out / "result.npy", allow_pickle=True).item()
    assert original.keys() == {"spk", "label", "img"}
    np.testing.assert_array_equal(original["spk"], found["spikes"])
    np.testing.assert_array_equal(original["label"], found["groups"])
    np.testing.assert_array_equal(original["img"], found["image"])
    about = json.loads(str(found.pop("about")))
    expected = one_image.bind_image(image_options(tmp_path, *flags[:-2]))
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values)
    assert (about["dataset"], about["image"], about["seed"]) == ("shapes_multiobj_3_4", 5, 9)
    assert about["checkpoint"] == load_network("shapes_3").checkpoint.sha256
    assert about["settings"]["dynamics"]["refractory"] == 9
    assert "no trained" in error_of(capsys, save_results.main(["--network", "x"]))


# ---- scripts --------------------------------------------------------------------------------

SCRIPTS = ROOT / "scripts" / "gust"


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("figure_*.sh")), ids=lambda p: p.stem)
def test_every_figure_has_a_script_that_starts_its_module(script):
    (module,) = re.findall(r'^exec "\$PYTHON" -m (\S+) "\$@"$', script.read_text(), re.MULTILINE)
    assert importlib.util.find_spec(module) is not None
    assert os.access(script, os.X_OK)
    name = script.stem.removeprefix("figure_")
    assert module == ("gust.evaluation" if name == "generalisation" else f"gust.figures.{name}")


def test_run_makes_the_data_and_trains_on_3_2_and_4_objects(tmp_path):
    """A stand-in for Python notes what it is asked to do."""
    log, stand_in = tmp_path / "log", tmp_path / "python"
    stand_in.write_text(f'#!/usr/bin/env bash\necho "$@" >> "{log}"\n')
    stand_in.chmod(0o755)
    environment = os.environ | {"PYTHON": str(stand_in)}
    subprocess.run([SCRIPTS / "run.sh", "--epochs", "7"], env=environment, check=True)
    lines = [line for line in log.read_text().splitlines() if line.startswith("-m")]
    data, *trainings = lines
    assert sorted(data.split()[2:]) == [
        f"shapes_multiobj_{a}_{b}" for a, b in ((2, 3), (3, 2), (3, 3), (3, 4), (4, 3))
    ]
    assert trainings == [f"-m gust.train --epochs 7 --train_objects {n}" for n in (3, 2, 4)]


GENERATED = "datasets/files/shapes_multiobj_3_3.h5"
RESULT = "results/gust_scores/record.json"
STATE = "runs/gust/shapes_2/state.pt"
NETWORK = "runs/gust/shapes_3/network.safetensors"
OTHERS = {
    "datasets/files/bars.h5",
    "results/dasbe_table1/record.json",
    "runs/dasbe/bars/state.pt",
    "checkpoints/gust/shapes_3.safetensors",
}


@pytest.mark.parametrize(
    ("flags", "answers", "gone"),
    [
        ([], "", [GENERATED]),
        ([], "n\ny\n", [GENERATED, STATE]),
        ([], "y\nno\n", [GENERATED, RESULT]),
        (["--yes"], "", [GENERATED, RESULT, STATE]),
        (["--checkpoints"], "", [GENERATED]),
        (["--checkpoints", "--yes"], "", [GENERATED, RESULT, STATE, NETWORK]),
        (["--help"], "", []),
        (["--everything"], "", []),
    ],
    ids=str,
)
def test_clean_deletes_what_it_may_and_lists_it(tmp_path, flags, answers, gone):
    root = tmp_path / "a repository"
    everything = {GENERATED, RESULT, STATE, NETWORK, *OTHERS}
    for name in everything:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    script = root / "scripts" / "gust" / "clean.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(SCRIPTS / "clean.sh", script)
    done = subprocess.run([script, *flags], input=answers, capture_output=True, text=True)
    assert done.returncode == ("--everything" in flags), done.stderr
    left = {name for name in everything if (root / name).exists()}
    assert everything - left == set(gone)
    for name in gone:
        listed = Path(name).parent if name == RESULT else Path(name)
        assert f"  {listed}\n" in done.stdout
