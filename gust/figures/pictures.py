"""How spikes of one image are coloured: by their phase, or by their true object."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from common.drawing import BACKGROUND, draw_image, group_colors

SILENT = "#3A3A3A"
"""Colour of a pixel of the image that does not fire."""

OTHER_SPIKE = 0.7
"""Grey of a spike where objects overlap."""

_RING = ("#F0E442", "#E69F00", "#D55E00", "#AA3377", "#4455C8", "#56B4E9", "#8FD9A8")
"""Once around: neighbours are alike, and light and dark colours lie opposite each other."""


def phase_colors(window: int) -> np.ndarray:
    """Colours (T, 3) in [0, 1] of the phases of a window, the last like the first.

    They differ in lightness as well as in hue, for colour-blind readers.
    """
    anchors = np.array([to_rgb(color) for color in (*_RING, _RING[0])])
    places = np.arange(window) / window * len(_RING)
    channels = [np.interp(places, np.arange(len(anchors)), channel) for channel in anchors.T]
    return np.stack(channels, axis=1)


def color_phases(spikes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Colour the pixels of an image by when they fire.

    A pixel has the mean colour of the phases of its spikes. This repository's
    ``common.drawing.phase_coloring`` fades phases out over a refractory period, which in a window
    of that length would make some phases black.

    Args:
        spikes: (T, H, W) 0/1, one window.
        image: (H, W) 0/1.

    Returns:
        (H, W, 3) in [0, 1].
    """
    counts = spikes.sum(axis=0)[..., None]
    sums = np.tensordot(spikes.astype(np.float64), phase_colors(len(spikes)), axes=(0, 0))
    return np.where(counts > 0, sums / np.maximum(counts, 1), _resting(image))


def color_objects(spikes: np.ndarray, true: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Frames of spikes (T, H, W) in the colours of their true objects, (T, H, W, 3)."""
    colors = group_colors(int(true.max()) + 1)
    colors[0] = OTHER_SPIKE
    return np.where(spikes[..., None] > 0, colors[true], _resting(image))


def _resting(image: np.ndarray) -> np.ndarray:
    """The image (H, W) without spikes, (H, W, 3)."""
    return np.array([to_rgb(BACKGROUND), to_rgb(SILENT)])[(image > 0).astype(int)]


def draw_phase_key(ax: Axes, window: int) -> None:
    """A strip with the colour of every phase, numbered from 0."""
    draw_image(ax, phase_colors(window)[None], aspect="auto")
    ax.set_xticks(range(window))
    ax.tick_params(length=0, pad=1)
    ax.set_xlabel("phase of the spike (steps)")
