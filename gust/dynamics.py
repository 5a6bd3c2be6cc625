"""The loop of spiking pixels and autoencoder: pure functions over explicit state.

One image x in {0, 1}^P; a window of T phases; refractory period R. At phase t of an iteration

1. the feedback is g = decoder(h[t]);
2. past = the spikes of the step before, each kept with probability 1 - thinning;
3. a pixel fires (S = 1) where ``x * g + U(0, 1) > 1`` and r < 1; r <- max(0, r - 1 + R * S);
4. the code h[t] becomes encoder(S + past).

The code written at phase t is read one iteration later. So within an iteration nothing waits for
the network: one decoder call on (B*T, C), one element-wise scan over the T phases, one encoder
call on (B*T, P). This is exact, and so are the gradients through all steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common import counter_noise
from gust.config import DynamicsSettings
from gust.kernels import Draws, build_scan
from gust.network import Autoencoder

START, PIXELS, DROPS = range(3)
"""Streams of random numbers: start of the code, spiking pixels, dropped pixels of the input."""
N_STREAMS = 3


class State(NamedTuple):
    """Everything the loop carries from one iteration to the next.

    Attributes:
        code: (B, T, C), h.
        refractory: (B, P) int32 counter r; a pixel may fire while it is below 1.
        past: (B, P), the thinned spikes of the last step; it carries a gradient.
        iteration: number of iterations done.
    """

    code: Tensor
    refractory: Tensor
    past: Tensor
    iteration: int


class Noise(NamedTuple):
    """Names the random numbers of a batch: an image's depend on (seed, round, index) alone.

    Attributes:
        seed: of the run.
        round: fresh numbers for each, such as epochs.
        images: (B,) indices of the images in their data set; on a GPU its random numbers want
            no copies.
    """

    seed: int
    round: int
    images: np.ndarray | Tensor

    def keys(self, stream: int) -> np.ndarray | Tensor:
        """(B,) keys of one of this module's streams."""
        return counter_noise.image_keys(self.seed, self.round * N_STREAMS + stream, self.images)

    def part(self, which: slice) -> Noise:
        """The numbers of some of the batch's images."""
        return self._replace(images=self.images[which])


def drop_pixels(images: Tensor, probability: float, noise: Noise) -> Tensor:
    """Zero pixels of (B, P) images with a probability, the same for all."""
    pixels = torch.arange(images.shape[1], device=images.device)[None]
    uniforms = counter_noise.uniforms(noise.keys(DROPS), 0, 1, pixels)[:, 0]
    return images * (uniforms >= probability)


def start(images: Tensor, n_code: int, window: int, noise: Noise) -> State:
    """The state before the first iteration: the code from U(0, 1), all else 0."""
    units = torch.arange(n_code, device=images.device)[None]
    code = counter_noise.uniforms(noise.keys(START), 0, window, units).to(images.dtype)
    return State(code, torch.zeros_like(images, dtype=torch.int32), torch.zeros_like(images), 0)


def iterate(
    images: Tensor,
    network: Autoencoder,
    settings: DynamicsSettings,
    noise: Noise,
    backend: str = "auto",
    state: State | None = None,
) -> Iterator[tuple[Tensor, State]]:
    """Run the loop for ever, one iteration at a time.

    Args:
        images: (B, P) of 0 and 1.
        network: for P pixels.
        settings: of the loop.
        noise: names the random numbers.
        backend: of the scan, see :func:`gust.kernels.build_scan`.
        state: where an earlier run stopped (it goes on exactly); default: the start.

    Yields:
        the (B, T, P) uint8 spikes of an iteration and the state after it.
    """
    if state is None:
        state = start(images, network.n_code, settings.window, noise)
    keys = counter_noise.keys_on(noise.keys(PIXELS), images.device)
    scan = build_scan(
        images,
        network.decoder[-1],
        network.encoder[0],
        settings.refractory,
        settings.thinning,
        backend,
    )
    while True:
        draws = Draws(keys, state.iteration * settings.window * images.shape[1])
        hidden = network.decode_to_last(state.code)
        with torch.autocast(images.device.type, enabled=False):
            window = scan(hidden.to(images.dtype), state.refractory, state.past, draws)
        code = network.encode_drive(window.drive)
        state = State(code, window.refractory, window.past, state.iteration + 1)
        yield window.spikes, state


def unroll(
    images: Tensor,
    network: Autoencoder,
    settings: DynamicsSettings,
    iterations: int,
    noise: Noise,
    with_spikes: bool,
    backend: str = "auto",
) -> tuple[Tensor, Tensor | None]:
    """The feedback of the last of some iterations, for training.

    The last iteration's spikes and code come after its feedback, so they are left out unless they
    are asked for.

    Args:
        iterations: 1 or more.
        with_spikes: whether the last iteration's spikes are wanted.
        images, network, settings, noise, backend: as for :func:`iterate`.

    Returns:
        the feedback (B, T, P), and the spikes (B, T, P) as 0.0 and 1.0, or None.
    """
    state = start(images, network.n_code, settings.window, noise)
    steps = iterate(images, network, settings, noise, backend, state)
    for _ in range(iterations - 1):
        _, state = next(steps)
    spikes = None
    if with_spikes:
        with torch.no_grad():
            spikes = next(iterate(images, network, settings, noise, backend, state))[0]
        spikes = spikes.to(images.dtype)
    return network.decode(state.code).to(images.dtype), spikes
