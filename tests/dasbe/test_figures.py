"""Figures 2 and 3: what they measure, against direct formulas; compute, draw, keep and go on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from common.errors import UserError
from common.records import mean_interval
from common.results import load_or_run, load_results, save_results
from common.settings import load_settings
from common.victor_purpura import victor_purpura_distances
from dasbe.config import FOLDER
from dasbe.dynamics import on_pixels
from dasbe.figures import figure2, figure3
from dasbe.figures.iterations import correlation, iteration_scores, mean_band
from dasbe.grouping import group_pixels, smooth

SETTINGS_2 = load_settings(figure2.Figure2Settings, FOLDER / "figure2.yaml")
CPU = torch.device("cpu")


@pytest.fixture
def networks(untrained_networks):
    """Untrained networks for bars and shapes."""
    return untrained_networks("bars", "shapes")


# ---- what is measured -----------------------------------------------------------------------


def test_iteration_scores_are_the_silhouettes_of_each_iteration_alone():
    rng = np.random.default_rng(0)
    groups = torch.from_numpy(rng.integers(0, 3, (2, 4, 5)))
    images = torch.ones(2, 4, 5)
    images[1, 0, :3] = 0
    groups[1, 0, :3] = 0
    pixels = on_pixels(images)
    true = groups.flatten(1).gather(1, pixels.index).numpy()
    true[pixels.on.numpy() == 0] = 0
    spikes = torch.from_numpy(rng.random((2, 3, 12, 20)) < 0.2 + 0.2 * (true == 1)[:, None, None])
    spikes = (spikes & (pixels.on > 0)[:, None, None]).to(torch.uint8)
    found = list(iteration_scores(spikes, pixels, groups, 5, np.arange(2), 1 / 3))
    assert len(found) == 3
    for n, scores in enumerate(found):
        maps = group_pixels(spikes[:, n], pixels, groups.flatten(1).numpy().max(1) + 1, 5, [0, 1])
        for b in range(2):
            kept = true[b] > 0
            labels = maps[b][pixels.index[b].numpy()][kept]
            trains = spikes[b, n].numpy().T[kept]
            smoothed = smooth(spikes[b : b + 1, n])[0].numpy().T[kept]
            for value, distances in (
                (scores.synchrony, victor_purpura_distances(trains, 1 / 3)),
                (scores.rate, victor_purpura_distances(trains, 0)),
                (scores.clustering, np.linalg.norm(smoothed[:, None] - smoothed, axis=2)),
            ):
                expected = silhouette_score(distances, labels, metric="precomputed")
                assert value[b] == pytest.approx(expected, abs=1e-6)


def test_coincidence_matrix_counts_pairs_of_spikes_as_in_the_formula():
    spikes = (np.random.default_rng(1).random((25, 4)) < 0.3).astype(np.uint8)
    expected = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            for t in np.flatnonzero(spikes[:, i]):
                earlier = spikes[t + 1, j] if t + 1 < 25 else 0
                later = spikes[t - 1, j] if t > 0 else 0
                expected[i, j] += spikes[t, j] + 0.5 * (spikes[t, j] + earlier) + 0.5 * later
    np.testing.assert_allclose(figure2.coincidence_matrix(spikes), expected / expected.max())
    assert not figure2.coincidence_matrix(np.zeros((5, 3), np.uint8)).any()


def test_autocorrelation_finds_the_period_of_a_rate():
    rate = (np.arange(220) % 11 == 3).astype(float)
    curve = figure2.autocorrelation(rate, 20)
    assert curve[0] == 1
    height, lag = figure2.side_peak(curve)
    assert (lag, height) == (11, pytest.approx(19 / 20, abs=0.01))
    expected = np.corrcoef(np.tile(rate, 50)[:-5], np.tile(rate, 50)[5:])[0, 1]
    assert figure2.autocorrelation(np.tile(rate, 50), 20)[5] == pytest.approx(expected, abs=1e-3)
    assert not figure2.autocorrelation(np.ones(30), 20).any()
    with pytest.raises(ValueError, match="20 steps"):
        figure2.autocorrelation(np.ones(20), 20)


def test_side_peak_is_not_the_slope_at_lag_0():
    assert figure2.side_peak(np.array([1.0, 0.9, 0.2, 0.1, 0.3, 0.25])) == (0.3, 4)
    assert figure2.side_peak(np.array([1.0, 0.9, 0.2])) == (0.2, 2)


def test_bands_and_correlations():
    values = np.random.default_rng(2).normal(size=(7, 3))
    for column, mean, low, high in zip(values.T, *mean_band(values), strict=True):
        expected, _, half = mean_interval(column)
        assert mean == pytest.approx(expected)
        assert ((high - low) / 2, (high + low) / 2) == pytest.approx((half, expected))
    assert np.isnan(mean_band(values[:1])[1]).all()
    assert correlation(values, 3 - 2 * values) == pytest.approx(-1)
    assert correlation(values, np.ones((7, 3))) is None


# ---- Figure 2 -------------------------------------------------------------------------------


def test_figure2_computes_draws_and_is_read_again(networks, tmp_path):
    settings = replace(
        SETTINGS_2,
        iterations=4,
        read_iterations=3,
        frame_iterations=(0, 3),
        coloured_iterations=(0, 3),
    )
    plan = figure2.Plan("quick", "shapes", 5, (1, 2), "auto", CPU, tmp_path / "out")
    record, arrays = figure2.compute(plan, settings)
    assert arrays["spikes"].shape == (4, 32, 28, 28)
    assert not arrays["spikes"][:, :, arrays["image"] == 0].any()
    assert arrays["synchrony"].shape == (2, 4)
    n_objects = int(arrays["true"].max())
    assert arrays["autocorrelation"].shape == (2, n_objects, 21)
    assert arrays["matrix"].shape == ((arrays["true"] > 0).sum(),) * 2
    assert len(record.measurements) == 4 + 2 * n_objects
    assert record.measurements[0].value == pytest.approx(100 * arrays["ami"].mean())
    worse = plan.seeds.index(int(arrays["shown_seed"]))
    assert arrays["ami"][worse] == arrays["ami"].min()  # of two seeds

    again = figure2.compute(replace(plan, seeds=(2,)), settings)[1]
    np.testing.assert_array_equal(again["synchrony"][0], arrays["synchrony"][1])

    save_results(plan.out, record, arrays, figure2.draw(record, arrays))
    assert {p.name for p in plan.out.iterdir()} == {
        "record.json",
        "arrays.npz",
        "figure.png",
        "figure.pdf",
    }
    stored, loaded = load_results(plan.out)
    assert [m.value for m in stored.measurements] == [m.value for m in record.measurements]
    np.testing.assert_array_equal(loaded["spikes"], arrays["spikes"])
    (plan.out / "arrays.npz").write_bytes(b"PK damaged")
    with pytest.raises(UserError, match="damaged"):
        load_results(plan.out)


def test_frames_show_spikes_in_their_objects_colour():
    frames = np.zeros((2, 1, 3), np.uint8)
    frames[0, 0, 1] = frames[1, 0, 0] = 1
    strip = figure2.frame_strip(frames, np.array([[0, 1, 2]]))
    assert strip.shape == (1, 7, 3)
    assert (strip[0, 3] == 1).all()  # between the frames
    colours = figure2.group_colors(3)
    np.testing.assert_allclose(strip[0, 1], colours[1])
    assert strip[0, 4].tolist() == [0.7] * 3  # a spike outside all objects
    assert strip[0, 5].max() < 0.3  # silent
    assert strip[0, 2].max() < 0.3


# ---- Figure 3 -------------------------------------------------------------------------------


def small_figure3(out, **changes):
    flags = ["--images", "4", "--seed", "1", "--device", "cpu", "--out", str(out)]
    options = replace(figure3.FIGURE.read(flags), iterations=3, index_limit=30, **changes)
    record = figure3.FIGURE.record(options)
    return record, figure3.compute(options, record)


def test_figure3_keeps_finished_networks(networks, tmp_path, monkeypatch):
    out = tmp_path / "out"
    curves = {"bars": "bars", "shapes": "shapes", "mnist_shape_conv": "mnist_shape"}
    record, arrays = small_figure3(out, curves=curves)
    assert arrays["shapes-rate"].shape == (4, 3)
    assert arrays["images"].max() < 30
    values = {m.what: m for m in record.measurements}
    assert values["bars, synchrony score"].value == arrays["bars-synchrony"][:, -1].mean()
    assert values["bars, synchrony score"].paper == 0.97
    assert values["mnist_shape_conv, synchrony score"].value is None
    assert "not measured" in values["mnist_shape_conv, synchrony score"].note

    with monkeypatch.context() as patch:
        patch.setattr(figure3, "measure", None)  # a second run measures nothing
        again = small_figure3(out, curves=curves)[1]
        with pytest.raises(TypeError):  # but another seed does
            small_figure3(out, curves=curves, seed=2)
    for key, values in arrays.items():
        np.testing.assert_array_equal(again[key], values)
    part = out / "parts" / "bars.npz"
    part.write_bytes(part.read_bytes()[:100])
    np.testing.assert_array_equal(
        small_figure3(out, curves=curves)[1]["bars-synchrony"], arrays["bars-synchrony"]
    )
    save_results(out, record, arrays, figure3.draw(record, arrays))
    assert (out / "figure.pdf").stat().st_size > 1000


def test_figure3_says_what_is_wrong(networks, capsys):
    assert figure3.main(["--images", "1"]) == 1
    assert "at least 2" in capsys.readouterr().err
    assert figure3.main(["--datasets", "stripes"]) == 1
    assert "stripes" in capsys.readouterr().err
    assert figure3.main(["--datasets", "mnist_shape_conv"]) == 1
    assert "mnist_shape_conv" in capsys.readouterr().err
    assert figure2.main(["--image", "-1"]) == 1
    assert "-1" in capsys.readouterr().err


def test_results_are_made_once_by_the_quick_profile(tmp_path, networks):
    calls = []

    def main(argv):
        calls.append(argv)
        record, arrays = small_figure3(tmp_path / "out", datasets=("bars",))
        save_results(tmp_path / "out", record, arrays, figure3.draw(record, arrays))
        return 0

    first, second = (load_or_run(main, tmp_path / "out") for _ in range(2))
    assert calls == [["--profile", "quick", "--out", str(tmp_path / "out")]]
    assert first[0] == second[0]
    with pytest.raises(UserError, match="no such curve"):
        load_or_run(lambda argv: figure3.main(["--datasets", "x"]), tmp_path / "other")
