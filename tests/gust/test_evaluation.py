"""The generalisation table: what it measures, keeps, draws and refuses."""

from dataclasses import replace

import matplotlib.colors
import numpy as np
import pytest
import torch
from gust_figure_examples import ITERATIONS, error_of, install_networks, write_network
from PIL import Image
from scipy import stats

from common.results import load_results, save_results
from datasets.binding import read_group
from datasets.generate import ensure
from gust import evaluation
from gust.figures.sources import dataset_with, read_test_images
from gust.scoring import bind_and_score
from gust.trained import load_network

COVERED = 346
"""A test image with 2 objects, one of which lies exactly on the other."""


@pytest.fixture
def networks(tmp_path, monkeypatch):
    return install_networks(monkeypatch, tmp_path, 2, 3)


@pytest.fixture
def options(networks, tmp_path):
    flags = ["--device", "cpu", "--out", str(tmp_path / "out"), "--images", "3", "--seed", "5"]
    return evaluation.FIGURE.read(flags)


def compute(options):
    record = evaluation.FIGURE.record(options)
    return record, evaluation.compute(options, record)


def test_the_settings_are_those_of_the_paper():
    options = evaluation.FIGURE.read(["--profile", "full"])
    assert options.train_objects == options.test_objects == (2, 3, 4)
    assert options.images == 1000


# ---- measuring ------------------------------------------------------------------------------


def test_every_cell_holds_the_scores_of_single_images(options):
    record, arrays = compute(options)
    assert len(arrays) == 2 * 2 * 3
    for a in (2, 3):
        trained = load_network(f"shapes_{a}")
        for b in (2, 3, 4):
            images, groups = read_group(dataset_with(b), "test", count=3)
            assert {int(g.max()) for g in groups} == {b}
            for i in range(3):
                expected = bind_and_score(
                    images[i : i + 1],
                    groups[i : i + 1],
                    trained.network,
                    trained.settings,
                    5,
                    np.array([i]),
                    b + 1,
                )
                for key, value in expected._asdict().items():
                    assert arrays[f"train_{a}-test_{b}-{key}"][i] == pytest.approx(value[0])
    values = {m.what: m for m in record.measurements}
    assert len(values) == 2 * 3 * 2 + 1
    assert np.std([m.value for m in record.measurements[:-1]]) > 0.01
    row = values["trained on 2, tested on 4 objects: SynScore"]
    found = arrays["train_2-test_4-synchrony"]
    assert row.value == pytest.approx(found.mean())
    half = stats.t.ppf(0.975, 2) * found.std(ddof=1) / 3**0.5
    assert row.interval95 == pytest.approx(half)
    assert (row.n, row.seeds, row.paper) == (3, [5], None)
    assert f"iteration {ITERATIONS}" in row.note and "shapes_multiobj_3_4" in row.note
    missing = values["trained on 4 objects"]
    assert missing.value is None and "shapes_4.safetensors" in missing.note
    assert set(record.checkpoints) == {"shapes_2", "shapes_3"}


def test_other_seeds_give_other_numbers_and_the_same_seed_the_same(options, tmp_path):
    first = compute(options)[1]
    again = compute(replace(options, out=tmp_path / "again"))[1]
    other = compute(replace(options, seed=6))[1]
    for key, values in first.items():
        np.testing.assert_array_equal(again[key], values)
    assert any((other[key] != values).any() for key, values in first.items())


def test_an_image_whose_objects_cover_each_other_is_left_out(options):
    trained = load_network("shapes_3")
    ensure(dataset_with(2), {"test": COVERED + 2}, ["test"])
    images, groups, indices = read_test_images(2, COVERED - 1, 3)
    assert indices.tolist() == [COVERED - 1, COVERED + 1]
    everything = read_group(dataset_with(2), "test", start=COVERED - 1, count=3)
    assert everything.images[1].any() and not everything.groups[1].any()
    assert torch.equal(images, everything.images[::2])
    assert torch.equal(groups, everything.groups[::2])
    together = evaluation.score_images(2, COVERED - 1, 3, trained, options)
    alone = evaluation.score_images(2, COVERED + 1, 1, trained, options)
    assert together["ami"].shape == (2,)
    assert together["synchrony"][1] == pytest.approx(alone["synchrony"][0])


def test_the_record_says_how_many_images_were_left_out(options):
    found = evaluation.Scores(np.array([0.1, 0.5]), np.array([0.2, 0.4]))
    record = evaluation.FIGURE.record(options)
    evaluation.measure(record, 3, 2, found, 1.0, load_network("shapes_3"), options)
    row = record.measurements[0]
    assert row.n == 2 and "without the 1 in which" in row.note


def test_finished_images_are_kept_and_a_longer_run_goes_on(options, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "CHUNK", 2)
    calls = []
    measure = evaluation.score_images

    def counted(b, begin, count, trained, _):
        calls.append((trained.settings.train_objects, b, begin, count))
        return measure(b, begin, count, trained, options)

    monkeypatch.setattr(evaluation, "score_images", counted)
    record, arrays = compute(options)
    cells = [(a, b) for a in (2, 3) for b in (2, 3, 4)]
    assert calls == [(*cell, *chunk) for cell in cells for chunk in ((0, 2), (2, 1))]
    calls.clear()
    again = compute(options)
    assert not calls
    for key, values in arrays.items():
        np.testing.assert_array_equal(again[1][key], values)
    assert [m.seconds for m in again[0].measurements] == [m.seconds for m in record.measurements]
    longer = compute(replace(options, images=4))[1]
    assert calls == [(*cell, 2, 2) for cell in cells]
    for key, values in arrays.items():
        np.testing.assert_allclose(longer[key][:3], values)
    calls.clear()
    other = write_network(tmp_path / "other.safetensors", 3, seed=9)
    compute(replace(options, images=4, networks=(str(other), "shapes_2")))
    assert calls == [(3, b, begin, 2) for b in (2, 3, 4) for begin in (0, 2)], (
        "another network is measured anew"
    )


# ---- drawing --------------------------------------------------------------------------------


def test_the_heat_maps_show_means_and_what_is_missing(options):
    record = evaluation.FIGURE.record(options)
    arrays = {
        f"train_{a}-test_{b}-{key}": np.array([0, 2 * value])
        for a in (2, 3)
        for b in (2, 3, 4)
        for key, value in (("ami", (10 * a + b) / 100), ("synchrony", (a + 10 * b) / 100))
    }
    figure = evaluation.draw(record, arrays)
    for ax, values in zip(
        figure.axes, (lambda a, b: 10 * a + b, lambda a, b: a + 10 * b), strict=False
    ):
        texts = {text.get_position(): text.get_text() for text in ax.texts}
        colors = []
        for y, a in enumerate((2, 3)):
            for x, b in enumerate((2, 3, 4)):
                assert texts[(x, y - 0.1)] == f"{values(a, b) / 100:.2f}"
                (patch,) = [
                    p for p in ax.patches if p.get_x() == x - 0.48 and p.get_y() == y - 0.48
                ]
                colors.append((values(a, b), np.mean(patch.get_facecolor()[:3])))
        brightness = [light for _, light in sorted(colors)]
        assert (np.diff(brightness) > 0).all(), "a higher score is lighter"
        assert [texts[(x, 2)] for x in range(3)] == ["not\nmeasured"] * 3
        assert matplotlib.colors.same_color(ax.patches[-1].get_facecolor(), "0.93")


# ---- the command ----------------------------------------------------------------------------


def test_the_command_writes_everything_and_says_what_is_missing(networks, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluation.main(["--images", "2", "--seed", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "left out: trained on 4 objects: not measured" in said
    assert "--train_objects 4" in said
    record, arrays = load_results(out)
    assert arrays["train_3-test_2-ami"].shape == (2,)
    assert record.seeds == [1] and record.settings["images"] == 2
    with Image.open(out / "figure.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    assert (out / "figure.pdf").read_bytes().startswith(b"%PDF")
    save_results(tmp_path / "copy", record, arrays, evaluation.draw(record, arrays))
    drawn = (tmp_path / "copy" / "figure.png").read_bytes()
    assert drawn == (out / "figure.png").read_bytes(), "the record alone gives the same picture"


def test_given_networks_are_all_that_is_measured(networks, tmp_path, capsys):
    file = write_network(tmp_path / "mine.safetensors", 4, seed=8)
    flags = ["--images", "2", "--out", str(tmp_path / "out")]
    assert evaluation.main([*flags, "--networks", str(file), "shapes_2"]) == 0
    assert "left out" not in capsys.readouterr().out
    _, arrays = load_results(tmp_path / "out")
    assert {key.split("-")[0] for key in arrays} == {"train_4", "train_2"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images", "1"], "--images must be at least 2, not 1"),
        (["--images", "10001"], "there are 10000 images"),
        (["--seed", "-2"], "--seed must be at least 0, not -2"),
        (["--networks", "shapes_4"], "no trained network 'shapes_4'"),
        (["--networks", "shapes_3", "shapes_3"], "both trained on 3 objects"),
    ],
)
def test_mistakes_are_one_sentence(networks, tmp_path, capsys, flags, message):
    out = tmp_path / "out"
    assert message in error_of(capsys, evaluation.main([*flags, "--out", str(out)]))
    assert not out.exists()


def test_without_a_network_the_command_says_how_to_get_one(tmp_path, monkeypatch, capsys):
    install_networks(monkeypatch, tmp_path)
    assert "gust.train" in error_of(capsys, evaluation.main(["--out", str(tmp_path / "out")]))
