"""What the paper compares with: the loop without spikes, and spikes without the loop.

Both give the activity of the on-pixels in the last steps, to be grouped as DASBE's spikes are
(:func:`dasbe.grouping.group_pixels`).
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from dasbe import noise
from dasbe.dynamics import Pixels, StatefulNetwork, on_pixels, restricted

LINKING_DECAY = math.exp(-1 / 2)
LINKING_STRENGTH = 3.0
INHIBITION = 3.5
START_THRESHOLD = 2.0
DROPPED = 0.2
REACH = 4
NO_REFRACTORINESS = 0


@torch.inference_mode()
def pure_ann(
    images: Tensor,
    network: StatefulNetwork,
    window: int,
    iterations: int,
    seed: int,
    image_indices: np.ndarray,
    keep_iterations: int = 10,
    normalise_start: bool = True,
) -> tuple[Tensor, Pixels]:
    """The loop of DASBE with rates in place of spikes ("pure ANN").

    The network's input at phase t is ``x * g[t]``, its output the next ``g[t]``. A spiking code is
    sampled, but has no refractory period.

    Args:
        images: (B, H, W) binary. network, window, iterations, seed, image_indices,
            keep_iterations: as for :func:`dasbe.dynamics.simulate`.
        normalise_start: divide the start of g by its sum over the window, as DASBE does (the
            paper's numbers); the published script leaves that out.

    Returns:
        activity ``x * g`` (B, keep_iterations, T, P) float32 of the on-pixels, and those pixels.
    """
    pixels, network = restricted(images, network)
    feedback = noise.start_feedback(
        seed, image_indices, window, pixels.index, pixels.total, normalise_start
    )
    keys = noise.image_keys(seed, noise.CODE, image_indices)
    on = pixels.on[:, None]
    state, kept = None, []
    for n in range(iterations):
        activity = on * feedback
        if n >= iterations - keep_iterations:
            kept.append(activity)
        uniform = noise.phase_uniforms(keys, n, window, images.device)
        code, state = network.step(network.encode(activity), state, uniform, NO_REFRACTORINESS)
        feedback = network.decode(code)
    return torch.stack(kept, dim=1), pixels


@torch.inference_mode()
def pcnn(
    images: Tensor,
    threshold_jump: float,
    threshold_tau: float,
    seed: int,
    image_indices: np.ndarray,
    steps: int = 500,
    keep_steps: int = 100,
) -> tuple[Tensor, Pixels]:
    """The pulse-coupled neural network ("pure SNN").

    With y the spikes of the step before, every step does, for all pixels,

        L <- exp(-1/2) L + sum over neighbours within 4 pixels of exp(-distance) y
        U <- x' (1 + 3 L) - 3.5 [any y is 1],    x' the image with 20 % of its pixels dropped
        theta <- exp(-1/tau) theta + V y
        y <- [U >= theta]

    from L = y = 0, theta = 2. A pixel without input never fires, so only on-pixels are kept.

    Args:
        images: (B, H, W) binary.
        threshold_jump: V. threshold_tau: tau, steps.
        seed, image_indices: name the random numbers of the drop-out.
        steps: simulated. keep_steps: of them, kept at the end.

    Returns:
        spikes (B, keep_steps, P) uint8 of the on-pixels, and those pixels. Compiled and driven by
        events on CPU, a convolution on other devices.
    """
    pixels = on_pixels(images)
    keys = noise.image_keys(seed, noise.DROPS, image_indices)
    decay = math.exp(-1 / threshold_tau)
    if images.device.type != "cpu":
        spikes = pcnn_torch(images.double(), threshold_jump, decay, keys, steps, keep_steps)
        return spikes.flatten(2).gather(2, pixels.index[:, None].expand(-1, keep_steps, -1)), pixels
    height, width = images.shape[1:]
    spikes = np.zeros((len(images), keep_steps, pixels.on.shape[1]), np.uint8)
    counts = pixels.on.sum(1).to(torch.int64).numpy()
    _pcnn_events(
        pixels.index.numpy(), counts, height, width, threshold_jump, decay, keys, steps,
        neighbour_weights().numpy(), spikes,
    )  # fmt: skip
    return torch.from_numpy(spikes), pixels


def neighbour_weights() -> Tensor:
    """(9, 9) float64 linking weights exp(-distance), 0 in the centre."""
    offset = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    weights = torch.exp(-torch.hypot(offset[:, None], offset[None, :]))
    weights[REACH, REACH] = 0
    return weights


def pcnn_torch(
    images: Tensor, threshold_jump: float, decay: float, keys: np.ndarray, steps: int, keep: int
) -> Tensor:
    """The equations of :func:`pcnn` as written, on any device; (B, keep, H, W) uint8 spikes."""
    weights = neighbour_weights().to(images)[None, None]
    linking, spikes = torch.zeros_like(images), torch.zeros_like(images)
    threshold = torch.full_like(images, START_THRESHOLD)
    pixel = torch.arange(images[0].numel(), device=images.device).view(1, *images.shape[1:])
    kept = []
    for step in range(steps):
        words = noise.bits(keys, step * pixel.numel() + pixel)
        present = images * (noise.uniform_of(words) >= DROPPED)
        neighbours = conv2d(pad(spikes[:, None], (REACH,) * 4), weights)[:, 0]
        linking = LINKING_DECAY * linking + neighbours
        inhibition = INHIBITION * spikes.amax((1, 2), keepdim=True)
        drive = present * (1 + LINKING_STRENGTH * linking) - inhibition
        threshold = decay * threshold + threshold_jump * spikes
        spikes = (drive >= threshold).to(images.dtype)
        if step >= steps - keep:
            kept.append(spikes.to(torch.uint8))
    return torch.stack(kept, dim=1)


@numba.njit(cache=True, parallel=True)
def _pcnn_events(index, counts, height, width, jump, decay, keys, steps, weights, out):
    """Each spike adds its 9 x 9 neighbourhood to the linking; all else is per on-pixel."""
    total = np.uint64(height * width)
    first_kept = steps - out.shape[1]
    size = 2 * REACH + 1
    for b in numba.prange(index.shape[0]):
        n = counts[b]
        linking = np.zeros((height + 2 * REACH, width + 2 * REACH))
        threshold = np.full(n, START_THRESHOLD)
        fired = np.zeros(n, np.bool_)
        row, column = index[b, :n] // width, index[b, :n] % width
        for step in range(steps):
            inhibition = 0.0
            linking *= LINKING_DECAY
            for p in range(n):
                if fired[p]:
                    inhibition = INHIBITION
                    for i in range(size):
                        for j in range(size):
                            linking[row[p] + i, column[p] + j] += weights[i, j]
            start = keys[b] + np.uint64(step) * total * noise.GOLDEN
            for p in range(n):
                word = noise.mix(start + np.uint64(index[b, p]) * noise.GOLDEN)
                drive = -inhibition
                if noise.uniform(word) >= np.float32(DROPPED):
                    drive += 1 + LINKING_STRENGTH * linking[row[p] + REACH, column[p] + REACH]
                threshold[p] = decay * threshold[p] + (jump if fired[p] else 0.0)
                fired[p] = drive >= threshold[p]
                if step >= first_kept:
                    out[b, step - first_kept, p] = fired[p]
