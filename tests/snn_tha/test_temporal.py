import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

from common.paths import ROOT
from common.results import load_results
from common.settings import load_settings
from snn_tha.figures import temporal
from snn_tha.spike_timing import CONDITIONS, FILE, SpikeTimingSettings, compute

SMALL = {"hidden": 30, "inputs": 12, "steps": 40, "peak_step": 30, "iterations": 21, "settled": 2}


@pytest.fixture(scope="module")
def settings():
    return load_settings(SpikeTimingSettings, FILE, SMALL)


@pytest.fixture(scope="module")
def results(settings):
    return compute(settings, [0], "quick")


def test_figure_shows_snapshots_and_their_spikes(results):
    record, arrays = results
    axes = temporal.draw(record, arrays).axes
    for place, condition in enumerate(CONDITIONS):
        first = 4 * (place // 2) + place % 2
        membranes, spikes = axes[first], axes[first + 2]
        assert membranes.get_title() == CONDITIONS[condition]
        target, threshold, *snapshots = membranes.get_lines()
        iterations = arrays[f"{condition}-snapshots"]
        np.testing.assert_array_equal(target.get_ydata(), arrays[f"{condition}-target"])
        assert threshold.get_ydata()[0] == arrays[f"{condition}-thresholds"][iterations[-1]]
        for row, (line, iteration) in enumerate(zip(snapshots, iterations, strict=True)):
            shown = arrays[f"{condition}-membranes"][iteration]
            np.testing.assert_array_equal(line.get_ydata(), shown)
            drawn = [segment[0, 0] for segment in spikes.collections[row].get_segments()]
            fired = np.flatnonzero(arrays[f"{condition}-spikes"][iteration])
            np.testing.assert_array_equal(drawn, fired)
        assert [text.get_text() for text in spikes.get_yticklabels()] == list(map(str, iterations))


def test_training_is_drawn_over_iterations(results):
    record, arrays = results
    thresholds, error, dead = temporal.draw_training(record, arrays).axes
    for place, condition in enumerate(CONDITIONS):
        power = np.square(arrays[f"{condition}-target"]).mean()
        for ax, values in (
            (thresholds, arrays[f"{condition}-thresholds"]),
            (error, arrays[f"{condition}-mse"] / power),
            (dead, arrays[f"{condition}-dead"]),
        ):
            np.testing.assert_array_equal(ax.get_lines()[place].get_ydata(), values)


def test_moving_average_is_over_steps():
    membranes = np.array([[0.0, 5, 0, 0, 10, 0], [1, 1, 1, 1, 1, 1]])
    found = temporal.moving_average(membranes, 5)
    np.testing.assert_allclose(found[0, 2], 3)
    np.testing.assert_allclose(found[0, 3], 3)
    np.testing.assert_allclose(found[1], 1)
    np.testing.assert_allclose(temporal.moving_average(membranes, 1), membranes)


@pytest.mark.parametrize("smooth", [1, 5])
def test_film_shows_one_iteration_a_frame(results, smooth):
    arrays = results[1]
    scene = temporal.build_scene(arrays, 10, smooth)
    assert scene.iterations.tolist() == [0, 10, 20]
    for k in (2, 0, 1):  # in any order
        scene.update(k)
        iteration = scene.iterations[k]
        assert scene.figure._suptitle.get_text() == f"iteration {iteration}"
        for ax, condition in zip(scene.figure.axes, CONDITIONS, strict=True):
            _, threshold, membrane, marks = ax.get_lines()
            assert threshold.get_ydata()[0] == arrays[f"{condition}-thresholds"][iteration]
            shown = temporal.moving_average(arrays[f"{condition}-membranes"], smooth)[iteration]
            np.testing.assert_array_equal(membrane.get_ydata(), shown)
            fired = arrays[f"{condition}-spikes"][iteration] > 0
            np.testing.assert_array_equal(np.isfinite(marks.get_ydata()), fired)


def test_command_makes_figure_and_films(settings, tmp_path, monkeypatch, capsys):
    small = temporal.FigureSettings((1,), (1, 2), 10, 5)
    given = {SpikeTimingSettings: settings, temporal.FigureSettings: small}
    monkeypatch.setattr(temporal, "load_settings", lambda cls, path: given[cls])
    out = tmp_path / "out"
    assert temporal.main(["--profile", "full", "--out", str(out)]) == 0
    assert "binarised, annealed threshold" in capsys.readouterr().out
    record, arrays = load_results(out)
    assert record.seeds == [1, 2] and arrays["a-steps"].shape == (2, 21)
    assert (out / "figure.png").stat().st_size > 1000 and (out / "figure.pdf").exists()
    for name in ("membranes.gif", "membranes_mean_of_5.gif"):
        with Image.open(out / name) as film:
            assert film.n_frames == 3
    # It is small: on a machine with a GPU it runs on the CPU all the same.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(temporal, "compute", lambda *_: (record, arrays))
    assert temporal.main(["--device", "cuda", "--out", str(tmp_path / "other")]) == 0
    assert "runs on the CPU" in capsys.readouterr().err


def test_the_script_starts_the_module():
    script = ROOT / "scripts" / "snn_tha" / "figure_temporal.sh"
    (module,) = re.findall(r'^exec "\$PYTHON" -m (\S+) "\$@"$', script.read_text(), re.MULTILINE)
    assert module == temporal.__name__ and os.access(script, os.X_OK)
