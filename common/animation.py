"""Animations as GIF files, with Pillow alone: every browser and every README shows them.

    frames = figure_frames(figure, update, n_frames)
    save_animation("binding.gif", frames, fps=10)

All frames share one palette, and only what changes from frame to frame is stored, so flat graphics
make small files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial import cKDTree

from common.files import atomic_path

COLORS = 255
"""Colours of a file at most; the 256th that a GIF can have means "as in the frame before"."""

FASTEST = 50
"""Frames per second that browsers show at most: a GIF counts time in steps of 10 ms, and a frame of
a single step is slowed down."""

_FLAT = 1e-3  # share of all pixels from which on a colour is kept exactly


def figure_frames(
    figure: Figure, update: Callable[[int], None], n_frames: int, dpi: float = 100
) -> Iterator[np.ndarray]:
    """Draw a figure again and again, for :func:`save_animation`.

    The layout is that of the first frame, so that axes do not move when titles or ticks change.

    Args:
        figure: to be drawn; without a window.
        update: ``update(k)`` changes the figure's artists to those of frame k.
        n_frames: k goes from 0 to ``n_frames - 1``.
        dpi: pixels per inch of the figure's size.

    Yields:
        (H, W, 3) uint8.
    """
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    for k in range(n_frames):
        update(k)
        canvas.draw()
        if k == 0:
            figure.set_layout_engine("none")
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_animation(
    path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float = 10
) -> Path:
    """Write frames as a GIF that loops for ever, whole or not at all.

    Up to 255 different colours are kept exactly. Of more, those that fill a thousandth of all
    pixels are kept, and the others become the nearest of a median-cut palette, without dithering.
    The same frames give the same bytes. A frame may be repeated to be shown longer: that takes no
    space.

    Args:
        path: of the file; its folder is made.
        frames: (H, W, 3) uint8 each, all of one size; they are taken one by one.
        fps: frames per second, up to 50; a frame's time is rounded to 10 ms.

    Returns:
        the path.

    Raises:
        ValueError: without frames, for frames of different sizes or of another kind, for ``fps``
            out of range.
    """
    if not 0 < fps <= FASTEST:
        raise ValueError(f"fps is {fps}; it must be above 0 and at most {FASTEST}")
    palette, indexed = _share_palette(frames)
    images = [Image.fromarray(values, "P") for values in indexed]
    for image in images:
        image.putpalette(palette.tobytes())
    with atomic_path(path) as temporary:
        images[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            palette=palette.tobytes(),
            optimize=True,
            duration=10 * round(100 / fps),
            loop=0,
        )
    return Path(path)


def _share_palette(frames: Iterable[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The palette (n, 3) uint8 of all frames, and every frame as (H, W) uint8 places in it."""
    own_colors, own_counts, places = [], [], []
    for number, frame in enumerate(frames):
        packed = _packed(frame, number)
        if places and packed.shape != places[0].shape:
            raise ValueError(
                f"frame {number} has {packed.shape[0]} x {packed.shape[1]} pixels, "
                f"the first {places[0].shape[0]} x {places[0].shape[1]}; all must have one size"
            )
        colors, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
        own_colors.append(colors)
        own_counts.append(counts)
        places.append(inverse.reshape(packed.shape).astype(np.min_scalar_type(len(colors))))
    if not places:
        raise ValueError("there are no frames to save")
    colors, inverse = np.unique(np.concatenate(own_colors), return_inverse=True)
    counts = np.bincount(inverse, np.concatenate(own_counts))
    colors = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(np.uint8)
    palette = _choose_palette(colors, counts)
    nearest = cKDTree(palette.astype(np.float64)).query(colors)[1].astype(np.uint8)
    own_nearest = np.split(nearest[inverse], np.cumsum([len(c) for c in own_colors])[:-1])
    return palette, [lookup[place] for lookup, place in zip(own_nearest, places, strict=True)]


def _packed(frame: np.ndarray, number: int) -> np.ndarray:
    """A frame (H, W, 3) as (H, W) whole numbers, one for each colour."""
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise ValueError(
            f"frame {number} is {frame.dtype} of shape {frame.shape}; "
            "it must be uint8 of shape (H, W, 3)"
        )
    red, green, blue = np.moveaxis(frame.astype(np.uint32), 2, 0)
    return red << 16 | green << 8 | blue


def _choose_palette(colors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Colours (n, 3), at most ``COLORS``, for different ones (m, 3) that fill ``counts`` pixels."""
    if len(colors) <= COLORS:
        return colors
    share = counts / counts.sum()
    order = np.argsort(-share, kind="stable")
    n_flat = min(int((share > _FLAT).sum()), COLORS // 2)
    flat, rest = order[:n_flat], order[n_flat:]
    samples = np.repeat(colors[rest], np.ceil(share[rest] * 2**16).astype(int), axis=0)
    n_rest = COLORS - n_flat
    cut = Image.fromarray(samples[None]).quantize(n_rest, Image.Quantize.MEDIANCUT)
    found = np.array(cut.getpalette(), np.uint8).reshape(-1, 3)[:n_rest]
    return np.unique(np.concatenate([colors[flat], found]), axis=0)
