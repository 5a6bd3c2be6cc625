"""GUST as plain loops: one time step at a time, differentiated by autograd. Start reading here.

Everything compiled in this package is tested against these functions, gradients included, and
``benchmarks/gust.py`` times both. Random numbers come from a source: :class:`PackageDraws` gives
those of the package, so that spikes can be compared one by one; :class:`FreshDraws` draws its own,
as a plain script would. Source: Zheng et al., NeurIPS 2023, section 3 (docs/gust.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from common import counter_noise
from gust import dynamics


class Fire(torch.autograd.Function):
    """u > 1, with derivative 1 where |u - 1| < 0.5."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u > 1).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return gradient * ((u - 1).abs() < 0.5)


def layers(network: nn.Module) -> list[nn.Sequential]:
    """Encoder and decoder as stacks of layers that share the network's parameters."""
    stacks = []
    for linear in (network.encoder, network.decoder):
        parts = [part for layer in linear for part in (layer, nn.ReLU())]
        stacks.append(nn.Sequential(*parts[:-1], nn.Sigmoid()))
    return stacks


def simulate(
    images: Tensor,
    network: nn.Module,
    window: int,
    refractory: int,
    thinning: float,
    iterations: int,
    draws: PackageDraws | FreshDraws,
) -> list[Tensor]:
    """Bind a batch of images.

    A pixel fires where its input times the feedback g, plus a uniform number, passes 1 and it is
    not refractory. The encoder sees the spikes of a step and what is left of those before; the
    decoder turns the code of a phase into the feedback of that phase, one iteration later.

    Args:
        images: (B, P) of 0 and 1. network: with ``encoder``, ``decoder`` and ``n_code``.
        window: steps of an iteration, T. refractory: steps a pixel rests after a spike.
        thinning: share of the spikes that is gone one step later.
        iterations: IT. draws: the random numbers.

    Returns:
        spikes (IT, B, T, P), feedback (IT, B, T, P) and codes (IT, B, T, C), all with gradients.
    """
    encoder, decoder = layers(network)
    h = list(draws.code(window, network.n_code).to(images.dtype).unbind(1))
    r, previous, stays = (torch.zeros_like(images) for _ in range(3))
    spikes, feedback, codes = [], [], []
    for iteration in range(iterations):
        for t in range(window):
            uniform, keep = draws.step(iteration * window + t)
            g = decoder(h[t])
            past = previous * stays
            s = Fire.apply(images * g + uniform) * (r < 1)
            r = torch.clamp(r - 1 + refractory * s.detach(), min=0)
            h[t] = encoder(s + past)
            previous, stays = s, keep >= thinning
            spikes.append(s)
            feedback.append(g)
        codes += h
    shape = (iterations, window)
    return [
        torch.stack(values).unflatten(0, shape).transpose(1, 2)
        for values in (spikes, feedback, codes)
    ]


def batch_loss(
    images: Tensor,
    clean: Tensor,
    network: nn.Module,
    window: int,
    refractory: int,
    thinning: float,
    iterations: int,
    draws: PackageDraws | FreshDraws,
) -> Tensor:
    """The receptive field loss of a batch, summed: the mean feedback of the last iteration and the
    clean (B, P) images, each normalised over the pixels, should be equal."""
    _, feedback, _ = simulate(images, network, window, refractory, thinning, iterations, draws)
    m = feedback[-1].mean(1)
    target = clean / (clean.sum(1, keepdim=True) + 1e-6)
    return ((target - m / (m.sum(1, keepdim=True) + 1e-6)) ** 2).sum()


class PackageDraws:
    """The random numbers that the package gives a batch with this :class:`gust.dynamics.Noise`."""

    def __init__(self, noise: dynamics.Noise, n_pixels: int) -> None:
        self.noise, self.pixels = noise, torch.arange(n_pixels)[None]

    def drops(self) -> Tensor:
        """(B, P) uniform numbers that decide which pixels of the input are dropped."""
        words = counter_noise.bits(self.noise.keys(dynamics.DROPS), self.pixels)
        return counter_noise.uniform_of(words)

    def code(self, window: int, n_code: int) -> Tensor:
        """The first codes, (B, T, C)."""
        keys = self.noise.keys(dynamics.START)
        numbers = torch.arange(window * n_code).view(1, window, n_code)
        return counter_noise.uniform_of(counter_noise.bits(keys, numbers))

    def step(self, step: int) -> tuple[Tensor, Tensor]:
        """(B, P) uniform numbers of a step, and those that decide which of its spikes stay."""
        keys = self.noise.keys(dynamics.PIXELS)
        words = counter_noise.bits(keys, step * self.pixels.shape[1] + self.pixels)
        return counter_noise.uniform_of(words), counter_noise.second_uniform_of(words)


class FreshDraws:
    """Random numbers of PyTorch's generator; methods as :class:`PackageDraws`."""

    def __init__(self, generator: torch.Generator, n_images: int, n_pixels: int) -> None:
        self.generator, self.shape = generator, (n_images, n_pixels)

    def code(self, window: int, n_code: int) -> Tensor:
        return torch.rand(self.shape[0], window, n_code, generator=self.generator)

    def step(self, step: int) -> tuple[Tensor, Tensor]:
        uniform, keep = (torch.rand(self.shape, generator=self.generator) for _ in range(2))
        return uniform, keep
