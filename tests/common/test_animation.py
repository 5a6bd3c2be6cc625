"""Animations: what a GIF holds when it is read again, its size, and what cannot be saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from common.animation import figure_frames, save_animation


def read(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """The frames (H, W, 3) of a GIF and their times in ms, as a viewer shows them."""
    frames, times = [], []
    with Image.open(path) as file:
        for frame in ImageSequence.Iterator(file):
            frames.append(np.asarray(frame.convert("RGB")))
            times.append(frame.info["duration"])
    return frames, times


def noise(colors: np.ndarray, n_frames: int, shape=(40, 50)) -> list[np.ndarray]:
    """Frames of which a part changes, in random ones of the colours (n, 3)."""
    rng = np.random.default_rng(1)
    frames = [colors[rng.integers(0, len(colors), shape)]]
    for k in range(1, n_frames):
        frame = frames[-1].copy()
        frame[k : k + 7, 3:9] = colors[rng.integers(0, len(colors), (7, 6))]
        frames.append(frame)
    return frames


def random_colors(n: int) -> np.ndarray:
    return np.unique(np.random.default_rng(n).integers(0, 256, (n, 3), dtype=np.uint8), axis=0)


@pytest.mark.parametrize("n_colors", [1, 2, 3, 4, 5, 16, 17, 64, 128, 129, 254, 255])
def test_up_to_255_colours_are_kept_exactly(tmp_path: Path, n_colors: int) -> None:
    colors = random_colors(n_colors)
    assert len(colors) == n_colors
    frames = noise(colors, 6 if n_colors > 1 else 1)
    path = save_animation(tmp_path / "new" / "film.gif", iter(frames), fps=20)
    found, times = read(path)
    assert len(found) == len(frames)
    for frame, expected in zip(found, frames, strict=True):
        np.testing.assert_array_equal(frame, expected)
    assert times == [50] * len(frames)
    assert [p.name for p in path.parent.iterdir()] == ["film.gif"]


def test_a_larger_picture_is_exact_too(tmp_path: Path) -> None:
    frames = noise(random_colors(40), 4, shape=(600, 500))
    found, _ = read(save_animation(tmp_path / "film.gif", frames))
    for frame, expected in zip(found, frames, strict=True):
        np.testing.assert_array_equal(frame, expected)


def test_of_many_colours_the_flat_ones_are_exact_and_the_others_near(tmp_path: Path) -> None:
    ramp = np.zeros((64, 256, 3), np.uint8)
    ramp[..., 0] = np.arange(256)
    ramp[..., 1] = 4 * np.arange(64)[:, None]
    ramp[30:36, 90:96] = 101, 130, 1  # a small flat square between colours much like its own
    frames = [ramp, ramp[:, ::-1]]
    found, _ = read(save_animation(tmp_path / "film.gif", frames))
    assert (found[0][30:36, 90:96] == [101, 130, 1]).all()
    for frame, expected in zip(found, frames, strict=True):
        error = np.abs(frame.astype(int) - expected)
        assert error.max() < 32 and error.mean() < 6


def test_it_loops_and_a_repeated_frame_stands_longer_for_free(tmp_path: Path) -> None:
    frames = noise(random_colors(9), 3)
    once = save_animation(tmp_path / "once.gif", frames)
    held = save_animation(tmp_path / "held.gif", [*frames[:2], frames[1], *[frames[2]] * 30])
    found, times = read(held)
    assert times == [100, 200, 3000]
    for frame, expected in zip(found, frames, strict=True):
        np.testing.assert_array_equal(frame, expected)
    assert held.stat().st_size == once.stat().st_size
    with Image.open(held) as file:
        assert file.info["loop"] == 0  # for ever


def test_a_small_change_costs_little_and_the_palette_is_stored_once(tmp_path: Path) -> None:
    frames = noise(random_colors(250), 1, shape=(200, 200))
    for k in range(60):
        frame = frames[-1].copy()
        frame[3 * k, 2 * k] = frame[0, 0] ^ 255
        frames.append(frame)
    frames[0][0, 0] ^= 255
    sizes = [
        save_animation(tmp_path / f"{n}.gif", frames[:n]).stat().st_size for n in (1, len(frames))
    ]
    assert sizes[1] - sizes[0] < 60 * 100  # a palette alone takes 768 bytes


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    frames = noise(random_colors(2000), 3)
    first, second = (save_animation(tmp_path / name, frames) for name in ("a.gif", "b.gif"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames"),
        ([np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)], "frame 1 has 5 x 4"),
        ([np.zeros((4, 5, 3))], "frame 0 is float64"),
        ([np.zeros((4, 5), np.uint8)], r"of shape \(4, 5\)"),
        ([np.zeros((4, 5, 4), np.uint8)], r"of shape \(4, 5, 4\)"),
        ([np.zeros((0, 5, 3), np.uint8)], r"of shape \(0, 5, 3\)"),
    ],
)
def test_frames_that_cannot_be_saved(tmp_path: Path, frames, message) -> None:
    (tmp_path / "film.gif").write_text("old")
    with pytest.raises(ValueError, match=message):
        save_animation(tmp_path / "film.gif", frames)
    assert (tmp_path / "film.gif").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("fps", [0, -1, 51, float("nan")])
def test_speeds_that_no_browser_shows(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match="fps"):
        save_animation(tmp_path / "film.gif", [np.zeros((4, 5, 3), np.uint8)], fps)


def test_a_figure_is_drawn_for_every_frame_and_its_axes_stand_still() -> None:
    figure = Figure(figsize=(2, 1.5), layout="constrained")
    ax = figure.subplots()
    square = ax.imshow(np.zeros((1, 3)), vmin=0, vmax=1, cmap="gray")
    seen, places = [], []

    def update(k: int) -> None:
        seen.append(k)
        square.set_data(np.arange(3)[None] == k)
        ax.set_ylabel("\n".join("label" * k))  # a constrained layout would make room for it
        places.append(ax.get_position().bounds)

    frames = list(figure_frames(figure, update, 3, dpi=80))
    assert seen == [0, 1, 2]
    assert all(frame.shape == (120, 160, 3) and frame.dtype == np.uint8 for frame in frames)
    assert places[1] == places[2]
    left, _, width, _ = places[2]
    for k, frame in enumerate(frames):
        cells = (160 * (left + width * (np.arange(3) + 0.5) / 3)).astype(int)
        np.testing.assert_array_equal(frame[60, cells, 0], 255 * (np.arange(3) == k))
