"""DASBE as plain loops: one image, one time step, one network call at a time. Start reading here.

Everything compiled in this package is tested against these functions, and ``benchmarks/binding.py``
times both. Random numbers come from a source: :class:`PackageDraws` gives those of the package, so
that spikes can be compared one by one; :class:`FreshDraws` draws its own, as a plain script would.
Source of the equations: Zheng et al., NeurIPS 2022, section 3 (docs/dasbe.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor, nn

from dasbe import noise

# ----- The loop: spiking pixels and an autoencoder ------------------------------------------------


@torch.inference_mode()
def simulate(
    image: Tensor,
    autoencoder: Callable[[Tensor, int], Tensor],
    window: int,
    refractory: int,
    iterations: int,
    draws: PackageDraws | FreshDraws,
) -> tuple[Tensor, Tensor]:
    """Bind one image.

    A pixel fires where its input times the feedback of its phase, plus a uniform number, passes 1
    and it is not refractory. The autoencoder sees the coincidences c of three steps (older spikes
    stay with probability 1/2) and its reconstruction is the feedback of the same phase one
    iteration later.

    Args:
        image: (H, W) of 0 and 1, or (N, H, W) with another frame for every iteration.
        autoencoder: takes (1, H*W) coincidences and the number of the step; returns (1, H*W).
        window: steps of an iteration, T. refractory: steps a pixel rests after a spike.
        iterations: N. draws: the random numbers.

    Returns:
        spikes (N, T, H*W) uint8 and the feedback (N, T, H*W) that each step used.
    """
    frames = image.expand(iterations, *image.shape[-2:]).flatten(1).float()
    g = draws.start(window)
    f, s1, s2 = (torch.zeros_like(frames[0]) for _ in range(3))
    spikes = torch.zeros(iterations, window, frames.shape[1], dtype=torch.uint8)
    feedback = torch.zeros(iterations, window, frames.shape[1])
    for n, x in enumerate(frames):
        for t in range(window):
            uniform, coin, coin_before = draws.pixels(n * window + t)
            f = f - 1
            s = ((x * g[t] + uniform > 1.00001) & (f < 0)).float()
            f[s == 1] = refractory
            c = (s + s1 + s2 > 0).float()
            spikes[n, t], feedback[n, t] = s, g[t]
            g[t] = autoencoder(c[None], n * window + t)[0]
            s2 = s1 * coin_before
            s1 = s * coin
    return spikes, feedback


# ----- Networks, for one row ----------------------------------------------------------------------


class PlainAutoencoder:
    """Linear layers, ReLU between, sigmoid after the code and after the output.

    Args:
        network: a network of :mod:`dasbe.networks`, whose layers are used.
    """

    code_activation: type[nn.Module] = nn.Sigmoid

    def __init__(self, network: nn.Module) -> None:
        self.encoder = _stack(network.encoder, self.code_activation())
        self.decoder = _stack(network.decoder, nn.Sigmoid())

    def __call__(self, row: Tensor, step: int) -> Tensor:
        return self.decoder(self.code(self.encoder(row), step))

    def code(self, drive: Tensor, step: int) -> Tensor:
        return drive


class PlainSpikingCode(PlainAutoencoder):
    """A code neuron fires where its ReLU drive + U(0, 1) > 1 and it is not refractory."""

    code_activation = nn.ReLU

    def __init__(self, network: nn.Module, draws: Any, refractory: int | None) -> None:
        super().__init__(network)
        self.draws, self.refractory = draws, refractory
        self.f = 0

    def code(self, drive: Tensor, step: int) -> Tensor:
        self.f = self.f - torch.ones_like(drive)
        z = (drive + self.draws.code(step, drive.shape[1]) > 1) & (self.f < 0)
        self.f[z] = self.refractory
        return z.float()


class PlainUngatedCode(PlainSpikingCode):
    """The spiking code without refractoriness, as in the pure ANN."""

    def __init__(self, network: nn.Module, draws: Any) -> None:
        super().__init__(network, draws, None)

    def code(self, drive: Tensor, step: int) -> Tensor:
        return (drive + self.draws.code(step, drive.shape[1]) > 1).float()


class PlainContrastive(PlainSpikingCode):
    """A spiking code whose drive passes a sigmoid."""

    code_activation = nn.Sigmoid


class PlainRecurrent(PlainAutoencoder):
    """The decoder's input is sigmoid(W h_previous + h + b), with h_previous the code of the same
    phase one iteration earlier."""

    def __init__(self, network: nn.Module, window: int) -> None:
        super().__init__(network)
        self.mix, self.window, self.h = network.recurrent, window, {}

    def code(self, drive: Tensor, step: int) -> Tensor:
        previous = self.h.get(step % self.window, torch.zeros_like(drive))
        self.h[step % self.window] = drive
        return torch.sigmoid(previous @ self.mix.weight.T + drive + self.mix.bias)


class PlainConvolutional(PlainAutoencoder):
    """Three strided convolutions before the code's layer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        layers = [nn.Unflatten(1, (1, network.size, network.size))]
        for convolution in network.convolutions:
            layers += [convolution, nn.ReLU()]
        self.encoder = nn.Sequential(*layers, nn.Flatten(), self.encoder)


class PlainFunction:
    """A user's stateless function of a row."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, row: Tensor, step: int) -> Tensor:
        return self.function(row)[0]


def plain_network(
    kind: str, network: nn.Module, draws: Any, window: int, refractory: int
) -> PlainAutoencoder:
    """The network of a kind (``NetworkSettings.kind``) for one image."""
    if kind == "spiking_code":
        return PlainSpikingCode(network, draws, refractory)
    if kind == "contrastive":
        return PlainContrastive(network, draws, refractory)
    if kind == "recurrent":
        return PlainRecurrent(network, window)
    if kind == "convolutional":
        return PlainConvolutional(network)
    return PlainAutoencoder(network)


def _stack(linear_layers: Sequence[nn.Module], last: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in linear_layers:
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1], last)


# ----- What the paper compares with ---------------------------------------------------------------


@torch.inference_mode()
def simulate_pure_ann(
    image: Tensor,
    autoencoder: Callable[[Tensor, int], Tensor],
    window: int,
    iterations: int,
    draws: Any,
    normalise: bool = True,
) -> Tensor:
    """The loop without spikes: x * g of every step, (N, T, H*W)."""
    x = image.flatten().float()
    g = draws.start(window, normalise)
    rates = torch.zeros(iterations, window, x.numel())
    for n in range(iterations):
        for t in range(window):
            rates[n, t] = x * g[t]
            g[t] = autoencoder(rates[n, t][None], n * window + t)[0]
    return rates


def simulate_pulse_coupled(
    image: Tensor, jump: float, tau: float, steps: int, draws: PackageDraws
) -> np.ndarray:
    """Spikes (steps, H*W) of the pulse-coupled network (pure SNN), all pairs of pixels written out.

    Args:
        image: (H, W). jump: what a spike adds to its threshold. tau: the threshold's time constant,
            in steps. draws: decide which inputs are dropped, one in five a step.
    """
    height, width = image.shape
    row, column = np.divmod(np.arange(height * width), width)
    down, right = abs(row[:, None] - row), abs(column[:, None] - column)
    weights = np.exp(-np.sqrt(down**2.0 + right**2.0)) * (np.maximum(down, right) <= 4)
    np.fill_diagonal(weights, 0)
    x = image.flatten().double().numpy()
    linking, y, theta = np.zeros(x.size), np.zeros(x.size), np.full(x.size, 2.0)
    spikes = np.zeros((steps, x.size), np.uint8)
    for step in range(steps):
        present = x * (draws.drops(step).numpy() >= np.float32(0.2))
        linking = np.exp(-1 / 2) * linking + weights @ y
        u = present * (1 + 3 * linking) - 3.5 * y.max()
        theta = np.exp(-1 / tau) * theta + jump * y
        y = (u >= theta).astype(float)
        spikes[step] = y
    return spikes


# ----- Reading the groups -------------------------------------------------------------------------


def smooth(values: ArrayLike) -> np.ndarray:
    """(S, P) activity: every step plus half of the one before."""
    smoothed = np.array(values, dtype=np.float64)
    smoothed[1:] += 0.5 * np.asarray(values, dtype=np.float64)[:-1]
    return smoothed


def group_pixels(activity: ArrayLike, n_groups: int, random_state: int) -> tuple[np.ndarray, float]:
    """scikit-learn's k-means on all pixels of (S, P) activity: labels (P,), inertia."""
    kmeans = KMeans(n_groups, n_init=10, random_state=random_state)
    return kmeans.fit_predict(smooth(activity).T), kmeans.inertia_


def ami(true: ArrayLike, predicted: ArrayLike) -> float:
    """Adjusted mutual information over the pixels whose true group is not 0."""
    true, predicted = np.asarray(true).ravel(), np.asarray(predicted).ravel()
    return adjusted_mutual_info_score(true[true != 0], predicted[true != 0])


# ----- Random numbers -----------------------------------------------------------------------------


class PackageDraws:
    """The random numbers that the package gives image ``index`` under ``seed``."""

    def __init__(self, seed: int, index: int, n_pixels: int) -> None:
        self.seed, self.indices = seed, np.array([index])
        self.n_pixels = n_pixels
        self.pixel = torch.arange(n_pixels)[None]

    def start(self, window: int, normalise: bool = True) -> Tensor:
        """The first feedback, (T, P)."""
        g = noise.start_feedback(
            self.seed, self.indices, window, self.pixel, self.n_pixels, normalise
        )
        return g[0].clone()

    def pixels(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """(P,) uniform numbers of a step, and coins for its spikes and those of the step before."""
        keys = noise.image_keys(self.seed, noise.PIXELS, self.indices)
        words = noise.bits(keys, step * self.n_pixels + self.pixel)[0]
        coin, coin_before = noise.coins_of(words)
        return noise.uniform_of(words), coin.float(), coin_before.float()

    def code(self, step: int, n_units: int) -> Tensor:
        """(1, C) uniform numbers of a spiking code."""
        keys = noise.image_keys(self.seed, noise.CODE, self.indices)
        return noise.uniform_of(noise.bits(keys, step * n_units + torch.arange(n_units)[None]))

    def drops(self, step: int) -> Tensor:
        """(P,) uniform numbers that drop inputs of the pulse-coupled network."""
        keys = noise.image_keys(self.seed, noise.DROPS, self.indices)
        return noise.uniform_of(noise.bits(keys, step * self.n_pixels + self.pixel))[0]


class FreshDraws:
    """Random numbers of PyTorch's generator; methods as :class:`PackageDraws`."""

    def __init__(self, generator: torch.Generator, n_pixels: int) -> None:
        self.generator, self.n_pixels = generator, n_pixels

    def start(self, window: int) -> Tensor:
        g = torch.randn(window, self.n_pixels, generator=self.generator).abs()
        return g / g.sum(0)

    def pixels(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        uniform = torch.rand(self.n_pixels, generator=self.generator)
        coin = torch.empty(self.n_pixels).bernoulli_(0.5, generator=self.generator)
        coin_before = torch.empty(self.n_pixels).bernoulli_(0.5, generator=self.generator)
        return uniform, coin, coin_before

    def code(self, step: int, n_units: int) -> Tensor:
        return torch.rand(1, n_units, generator=self.generator)
