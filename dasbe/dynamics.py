"""The loop of spiking pixels and autoencoder: pure functions over explicit state.

Paper, section 3. One image x in {0, 1}^(H x W); a window of T phases (the "cortical delay");
refractory period R; N iterations. At phase t of an iteration

1. a pixel fires (s = 1) where ``x * g[t] + U(0, 1) > 1.00001`` and it is not refractory; two
   spikes of a pixel are at least R + 1 steps apart;
2. the coincidence detector is c = 1 where s, s1 or s2 is 1;
3. the feedback ``g[t]`` becomes the autoencoder's output for c, which acts T steps later;
4. the memory of past spikes is thinned: s2 <- s1 * coin, s1 <- s * coin.

The feedback written at phase t is read one iteration later. So within an iteration nothing waits
for the network: one element-wise scan gives the spikes of the whole window, then one network call
on (B*T, H*W) gives the whole next feedback, for all images. A pixel that is off never fires and
its feedback is never used, so a network that can be restricted to some pixels works on those
alone. Both are exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numba
import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.memory import check_memory
from dasbe import noise

FIRING_THRESHOLD = 1.00001


@runtime_checkable
class StatefulNetwork(Protocol):
    """What the loop needs of a network; M = images x phases rows, image-major.

    Where it also has ``restrict(pixels)``, that gives a network whose ``encode`` and ``decode``
    work on the (B, T, P) values of those pixels.
    """

    def encode(self, coincidences: Tensor) -> Tensor:
        """(M, H*W) coincidences to the (M, C) drive of the code neurons."""

    def step(self, drive: Tensor, state: Any, uniform: Any, refractory: int) -> tuple[Tensor, Any]:
        """(B, T, C) drive of one iteration and the code's state (None at first) to the (B, T, C)
        code and the next state. ``uniform(n)`` gives (B, T, n) fresh uniform numbers."""

    def decode(self, code: Tensor) -> Tensor:
        """(M, C) code to the (M, H*W) feedback."""


class Pixels(NamedTuple):
    """The pixels that are simulated, for every image, padded to one length.

    Attributes:
        index: (B, P) int64 position in the flattened image; padding repeats position 0.
        on: (B, P) float32, the image's value there; 0 for padding.
        total: number of all pixels H*W.
    """

    index: Tensor
    on: Tensor
    total: int


class State(NamedTuple):
    """Everything the loop carries from one iteration to the next.

    Attributes:
        feedback: (B, T, P) float32, g of the next iteration.
        countdown: (B, P) int32 refractory counter f; a pixel may fire while it is negative.
        past: (B, P) uint8, thinned spikes s1 of one step ago.
        past_before: (B, P) uint8, thinned spikes s2 of two steps ago.
        code: the network's own state (None for a stateless code).
        iteration: number of iterations done.
    """

    feedback: Tensor
    countdown: Tensor
    past: Tensor
    past_before: Tensor
    code: Any
    iteration: int


class Iteration(NamedTuple):
    """What one iteration shows: spikes (B, T, P) uint8, feedback (B, T, P) that was used, and
    the code (B, T, C)."""

    spikes: Tensor
    feedback: Tensor
    code: Tensor


def on_pixels(images: Tensor) -> Pixels:
    """The on-pixels of (B, H, W) binary images, in reading order, padded to the largest count."""
    flat = images.flatten(1).float()
    order = torch.argsort(flat, dim=1, descending=True, stable=True)
    count = int(flat.sum(1).max())
    index = order[:, :count]
    on = flat.gather(1, index)
    return Pixels(torch.where(on > 0, index, 0), on, flat.shape[1])


def scatter_pixels(values: Tensor, pixels: Pixels) -> Tensor:
    """(B, ..., P) values at the pixels, 0 at padding, to (B, ..., H*W), 0 elsewhere."""
    index = pixels.index.view(len(values), *([1] * (values.dim() - 2)), -1)
    out = values.new_zeros(*values.shape[:-1], pixels.total)
    # Padding adds 0 to position 0.
    return out.scatter_add_(-1, index.expand_as(values), values)


class WholeImageNetwork:
    """A network that needs whole images, on the (B, T, P) values of some pixels."""

    def __init__(self, network: StatefulNetwork, pixels: Pixels) -> None:
        self.network = network
        self.pixels = pixels
        self.step = network.step

    def encode(self, coincidences: Tensor) -> Tensor:
        """(B, T, P) coincidences to the (B, T, C) drive."""
        rows = scatter_pixels(coincidences, self.pixels).flatten(0, 1)
        return self.network.encode(rows).unflatten(0, coincidences.shape[:2])

    def decode(self, code: Tensor) -> Tensor:
        """(B, T, C) code to the (B, T, P) feedback. Raises :class:`UserError` for NaN."""
        rows = self.network.decode(code.flatten(0, 1)).unflatten(0, code.shape[:2])
        rows = rows.detach().float()  # also from half precision
        if rows.isnan().any():
            raise UserError("the network gave NaN; check its weights and its input")
        index = self.pixels.index[:, None].expand(-1, code.shape[1], -1)
        return rows.gather(2, index)


def restricted(images: Tensor, network: StatefulNetwork) -> tuple[Pixels, StatefulNetwork]:
    """The on-pixels of (B, H, W) images and the network on them alone.

    Raises :class:`UserError` for a network of another size.
    """
    size = images[0].numel()
    if getattr(network, "n_pixels", size) != size:
        raise UserError(
            f"the images have {images.shape[1]} x {images.shape[2]} pixels, the network is for "
            f"{network.n_pixels}; choose another network or scale the images"
        )
    pixels = on_pixels(images)
    if hasattr(network, "restrict"):
        return pixels, network.restrict(pixels)
    return pixels, WholeImageNetwork(network, pixels)


def start(pixels: Pixels, window: int, seed: int, image_indices: np.ndarray) -> State:
    """The state before the first iteration, for the images with these indices."""
    feedback = noise.start_feedback(seed, image_indices, window, pixels.index, pixels.total)
    still = torch.zeros(pixels.on.shape, dtype=torch.uint8, device=pixels.on.device)
    return State(feedback, still.to(torch.int32), still, still, None, 0)


def scan_window(
    state: State, pixels: Pixels, keys: np.ndarray, refractory: int
) -> tuple[Tensor, Tensor, State]:
    """Fire all pixels through the T phases of one iteration.

    Args:
        state: the state; its feedback is read, not changed.
        pixels: the simulated pixels.
        keys: (B,) keys of the images' PIXELS stream.
        refractory: R, in steps.

    Returns:
        spikes (B, T, P) uint8, coincidences (B, T, P) float32, and the state with the pixels'
        part advanced. Compiled on CPU, plain PyTorch on other devices; both use the same numbers.
    """
    first = state.iteration * state.feedback.shape[1] * pixels.total
    scan = _scan_compiled if state.feedback.device.type == "cpu" else scan_torch
    spikes, coincidences, countdown, past, past_before = scan(
        state.feedback, pixels, keys, first, refractory, state
    )
    advanced = state._replace(countdown=countdown, past=past, past_before=past_before)
    return spikes, coincidences, advanced


def scan_torch(
    feedback: Tensor, pixels: Pixels, keys: np.ndarray, first: int, refractory: int, state: State
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The scan in plain PyTorch, for any device (see :func:`scan_window`)."""
    countdown, past, past_before = state.countdown, state.past, state.past_before
    spikes = torch.empty(feedback.shape, dtype=torch.uint8, device=feedback.device)
    coincidences = torch.empty_like(feedback)
    for t in range(feedback.shape[1]):
        words = noise.bits(keys, first + t * pixels.total + pixels.index)
        coin, coin_before = noise.coins_of(words)
        countdown = countdown - 1
        excited = pixels.on * feedback[:, t] + noise.uniform_of(words) > FIRING_THRESHOLD
        fired = excited & (countdown < 0)
        countdown = torch.where(fired, refractory, countdown)
        spike = fired.to(torch.uint8)
        spikes[:, t] = spike
        coincidences[:, t] = (spike + past + past_before) > 0
        past, past_before = spike * coin, past * coin_before
    return spikes, coincidences, countdown, past, past_before


def _scan_compiled(
    feedback: Tensor, pixels: Pixels, keys: np.ndarray, first: int, refractory: int, state: State
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    spikes = np.empty(feedback.shape, np.uint8)
    coincidences = np.empty(feedback.shape, np.float32)
    carried = [x.numpy().copy() for x in (state.countdown, state.past, state.past_before)]
    _scan(
        feedback.numpy(),
        pixels.on.numpy(),
        pixels.index.numpy(),
        keys,
        np.uint64(first),
        np.uint64(pixels.total),
        np.int32(refractory),
        *carried,
        spikes,
        coincidences,
    )
    return tuple(map(torch.from_numpy, (spikes, coincidences, *carried)))  # type: ignore[return-value]


@numba.njit(cache=True, parallel=True)
def _scan(
    feedback, on, index, keys, first, total, refractory, countdown, past, past_before, spikes, out
):
    n_images, n_phases, n_pixels = feedback.shape
    for b in numba.prange(n_images):
        pixel = index[b]
        for t in range(n_phases):
            start = keys[b] + (first + np.uint64(t) * total) * noise.GOLDEN
            for p in range(n_pixels):
                word = noise.mix(start + np.uint64(pixel[p]) * noise.GOLDEN)
                excited = on[b, p] * feedback[b, t, p] + noise.uniform(word) > np.float32(
                    FIRING_THRESHOLD
                )
                waited = countdown[b, p] - np.int32(1)
                spike = np.uint8(excited & (waited < 0))
                countdown[b, p] = refractory if spike else waited
                spikes[b, t, p] = spike
                out[b, t, p] = np.float32(spike | past[b, p] | past_before[b, p])
                past_before[b, p] = past[b, p] & np.uint8((word >> np.uint64(1)) & np.uint64(1))
                past[b, p] = spike & np.uint8(word & np.uint64(1))


def iterate(
    state: State,
    pixels: Pixels,
    network: StatefulNetwork,
    refractory: int,
    seed: int,
    image_indices: np.ndarray,
    frames: Iterable[Tensor] | None = None,
) -> Iterator[tuple[Iteration, State]]:
    """Run the loop for ever, or over the frames of a film, one iteration at a time.

    Args:
        state: from :func:`start`, or where an earlier run stopped (it goes on exactly).
        pixels: the simulated pixels, those that ``network`` works on.
        network: encode, step and decode over (B, T, P).
        refractory: R, in steps.
        seed, image_indices: name the random numbers, see :mod:`dasbe.noise`.
        frames: (B, P) values of the pixels in one iteration after the other, in place of
            ``pixels.on``.
    """
    keys = noise.image_keys(seed, noise.PIXELS, image_indices)
    code_keys = noise.image_keys(seed, noise.CODE, image_indices)
    for shown in itertools.repeat(pixels.on) if frames is None else frames:
        used = state.feedback
        spikes, coincidences, state = scan_window(
            state, pixels._replace(on=shown), keys, refractory
        )
        uniform = noise.phase_uniforms(code_keys, state.iteration, used.shape[1], used.device)
        code, code_state = network.step(
            network.encode(coincidences), state.code, uniform, refractory
        )
        state = state._replace(
            feedback=network.decode(code), code=code_state, iteration=state.iteration + 1
        )
        yield Iteration(spikes, used, code), state


@torch.inference_mode()
def simulate(
    images: Tensor,
    network: StatefulNetwork,
    window: int,
    refractory: int,
    iterations: int,
    seed: int,
    image_indices: np.ndarray | None = None,
    keep_iterations: int = 10,
) -> tuple[Tensor, Pixels]:
    """Simulate a batch of images and keep the spikes of the last iterations.

    Args:
        images: (B, H, W) binary.
        network: with ``restrict(pixels)`` where it can work on some pixels alone.
        window: T, steps. refractory: R, steps. iterations: N.
        seed: of the random numbers. image_indices: (B,) name them for each image (default 0..B-1).
        keep_iterations: how many of the last iterations are kept.

    Returns:
        spikes (B, keep_iterations, T, P) uint8 of the on-pixels, and those pixels.
    """
    if image_indices is None:
        image_indices = np.arange(len(images))
    kept_bytes = len(images) * keep_iterations * window * int(images.count_nonzero((1, 2)).max())
    check_memory({"window": 12.0 * len(images) * window, "iterations that are kept": kept_bytes})
    pixels, network = restricted(images, network)
    state = start(pixels, window, seed, image_indices)
    kept = []
    steps = iterate(state, pixels, network, refractory, seed, image_indices)
    for n, (iteration, _) in zip(range(iterations), steps, strict=False):
        if n >= iterations - keep_iterations:
            kept.append(iteration.spikes)
    return torch.stack(kept, dim=1), pixels


@torch.inference_mode()
def simulate_frames(
    frames: Tensor,
    network: StatefulNetwork,
    window: int,
    refractory: int,
    seed: int,
    image_indices: np.ndarray | None = None,
) -> tuple[Tensor, Pixels]:
    """Simulate films, of which every iteration shows the next frame (paper, figure 5).

    Args:
        frames: (B, N, H, W) binary, N frames and iterations.
        network, window, refractory, seed: as for :func:`simulate`.
        image_indices: (B,) name the random numbers of each film (default 0..B-1).

    Returns:
        spikes (B, N, T, P) uint8 of the pixels that are on in any frame, and those pixels.
    """
    if image_indices is None:
        image_indices = np.arange(len(frames))
    pixels, network = restricted(frames.amax(dim=1), network)
    state = start(pixels, window, seed, image_indices)
    values = frames.flatten(2).gather(2, pixels.index[:, None].expand(-1, frames.shape[1], -1))
    values = values.float() * pixels.on[:, None]
    steps = iterate(state, pixels, network, refractory, seed, image_indices, values.unbind(1))
    return torch.stack([iteration.spikes for iteration, _ in steps], dim=1), pixels
