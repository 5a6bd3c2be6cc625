"""Style, colours, rasters and files of figures."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from common.drawing import (
    COLUMN,
    draw_comparison,
    draw_groups,
    draw_image,
    draw_spike_frames,
    group_colors,
    line_with_band,
    match_groups,
    panel_label,
    phase_coloring,
    population_rate,
    raster,
    save_figure,
    use_style,
)


def example_figure() -> Figure:
    rng = np.random.default_rng(0)
    with use_style():
        figure = Figure(figsize=(COLUMN, 2))
        axes = figure.subplots(1, 3)
        raster(axes[0], rng.random((30, 12)) < 0.2, np.repeat([0, 1, 2], 4))
        draw_groups(axes[1], rng.integers(0, 4, (8, 8)), "groups")
        draw_comparison(axes[2], ["a_b", "c"], [1, None], [2, 3], [0.1, None], "AMI")
        panel_label(axes[0], "a")
    return figure


def test_style_leaves_global_settings_alone():
    before = dict(mpl.rcParams)
    with use_style():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert Figure().get_constrained_layout()
    with pytest.raises(RuntimeError), use_style():
        raise RuntimeError
    assert dict(mpl.rcParams) == before


def test_style_does_not_depend_on_settings_outside():
    with mpl.rc_context({"lines.linestyle": "--"}), use_style():
        assert mpl.rcParams["lines.linestyle"] == "-"


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    first = save_figure(example_figure(), tmp_path / "a")
    second = save_figure(example_figure(), tmp_path / "b")
    assert [path.name for path in first] == ["figure.png", "figure.pdf"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert first[1].read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in first[1].read_bytes()
    assert mpl.image.imread(first[0]).shape[1] == int(COLUMN * 250)
    assert len(list(tmp_path.rglob("*.*"))) == 4


def test_a_failing_figure_leaves_the_old_file(tmp_path):
    path = save_figure(example_figure(), tmp_path, "old")[0]
    before = path.read_bytes()
    broken = Figure()
    broken.subplots().set_title("$\\notacommand$")
    with pytest.raises(ValueError, match="notacommand"):
        save_figure(broken, tmp_path, "old")
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.pdf", "old.png"]


@pytest.mark.parametrize("on_white", [False, True])
def test_group_colors_are_distinct(on_white):
    colors = group_colors(14, on_white)
    gaps = np.abs(colors[:, None] - colors[None]).sum(-1) + 9 * np.eye(14)
    assert gaps.min() > 0.2
    assert colors[0].max() < 0.2
    if on_white:
        assert (colors @ [0.2126, 0.7152, 0.0722] < 0.56).all()
    np.testing.assert_array_equal(group_colors(3, on_white), colors[:3])
    with pytest.raises(ValueError, match="15"):
        group_colors(15)


def test_match_groups_undoes_a_renaming():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 5, (12, 12))
    renamed = np.array([7, 2, 9, 0, 4])[true]
    np.testing.assert_array_equal(match_groups(true, renamed), true)
    noisy = renamed.copy()
    noisy[0, :3] = 0
    found = match_groups(true, noisy)
    assert (found == true).sum() >= 141


@pytest.mark.parametrize("n_predicted", [2, 7])
def test_match_groups_keeps_the_partition_when_group_counts_differ(n_predicted):
    rng = np.random.default_rng(2)
    true, predicted = rng.integers(0, 4, (9, 9)), rng.integers(0, n_predicted, (9, 9)) + 20
    found = match_groups(true, predicted)
    pairs = set(zip(predicted.ravel(), found.ravel(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == n_predicted
    assert found.max() < max(4, n_predicted)


def test_phase_coloring_is_the_weighted_hue_of_each_spike():
    spikes = np.zeros((32, 2, 2))
    spikes[5, 0, 0] = 1
    spikes[[5, 20], 0, 1] = 1
    colors = phase_coloring(spikes, 9)

    def phase(t):
        weight = 0.5 * (np.sin(2 * np.pi * (32 / 9) * t / 32) + 1)
        return weight * hsv_to_rgb([(t / 32 + 2 / 3) % 1, 1, 1])

    np.testing.assert_allclose(colors[0, 0], phase(5), atol=1e-12)
    np.testing.assert_allclose(colors[0, 1], np.minimum(phase(5) + phase(20), 1), atol=1e-12)
    np.testing.assert_array_equal(colors[1], 0)
    assert phase_coloring(np.ones((32, 1, 1)), 9).max() == 1


def test_population_rate_is_a_share_and_smoothing_keeps_constants():
    spikes = np.array([[1, 0], [1, 1], [0, 0], [0, 0]])
    np.testing.assert_allclose(population_rate(spikes), [0.5, 1, 0, 0])
    np.testing.assert_allclose(population_rate(spikes, 3), [0.75, 0.5, 1 / 3, 0])
    np.testing.assert_allclose(population_rate(np.ones((9, 4)), 5), 1)


def test_raster_draws_every_spike_in_its_groups_color():
    rng = np.random.default_rng(3)
    spikes, groups = rng.random((40, 9)) < 0.3, rng.integers(0, 3, 9)
    ax = Figure().subplots()
    raster(ax, spikes, groups, names=["none", "left", "right"], start=100)
    order = np.argsort(groups, kind="stable")
    drawn = set()
    for collection in ax.collections:
        for segment in collection.get_segments():
            time, row = int(segment[0, 0]) - 100, round(segment[:, 1].mean())
            drawn.add((time, row))
            expected = group_colors(3, on_white=True)[groups[order[row]]]
            np.testing.assert_allclose(collection.get_color()[0][:3], expected)
    assert drawn == set(zip(*np.nonzero(spikes[:, order]), strict=True))
    present = [["none", "left", "right"][group] for group in np.unique(groups)]
    assert [text.get_text() for text in ax.texts] == present


def test_raster_without_groups_keeps_the_order():
    ax = Figure().subplots()
    raster(ax, np.eye(5))
    (collection,) = ax.collections
    rows = [(s[0, 0], s[:, 1].mean()) for s in collection.get_segments()]
    np.testing.assert_allclose(sorted(rows), [(i, i) for i in range(5)])
    assert not ax.texts


def test_comparison_says_what_was_not_published():
    ax = Figure().subplots()
    draw_comparison(ax, ["a", "b"], [0.5, None], [0.4, 0.6], [0.1, None], value_format=".2f")
    texts = [text.get_text().strip() for text in ax.texts]
    assert sorted(texts) == ["0.40", "0.50", "0.60", "not published"]
    heights = [[bar.get_height() for bar in bars] for bars in ax.containers if len(bars) == 2]
    assert heights == [[0.5, 0.0], [0.4, 0.6]]


def test_frames_images_and_bands_go_where_they_should():
    axes = Figure().subplots(1, 4)
    frames = np.random.default_rng(4).integers(0, 2, (3, 5, 5))
    draw_spike_frames(axes[:3], frames, ["a", "b", "c"])
    for ax, frame, title in zip(axes, frames, "abc", strict=False):
        np.testing.assert_array_equal(ax.images[0].get_array(), frame)
        assert ax.images[0].get_clim() == (0, 1)
        assert ax.get_title() == title
    with pytest.raises(ValueError, match="zip"):
        draw_spike_frames(axes[:2], frames)
    draw_image(axes[3], frames[0])
    line_with_band(axes[3], [0, 1], [1, 2], [0, 1], [2, 3], "mean", "red")
    assert axes[3].lines[0].get_label() == "mean"
    band = axes[3].collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0
    assert band[:, 1].max() == 3
