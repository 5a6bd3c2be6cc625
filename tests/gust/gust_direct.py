"""GUST as its equations stand: one time step at a time, every operation on its own, autograd.

The reference for the tests and the slow side of ``benchmarks/gust.py``. Random numbers come from a
source: :class:`PackageDraws` gives those of the package, so that spikes can be compared one by
one; :class:`FreshDraws` draws its own, as a plain script would.
"""

import torch
from torch import nn

from common import counter_noise
from gust import dynamics


class PackageDraws:
    """The random numbers that the package gives a batch."""

    def __init__(self, noise, n_pixels):
        self.noise, self.pixels = noise, torch.arange(n_pixels)[None]

    def drops(self):
        """Uniform numbers that decide which pixels of the input are dropped."""
        words = counter_noise.bits(self.noise.keys(dynamics.DROPS), self.pixels)
        return counter_noise.uniform_of(words)

    def code(self, window, n_code):
        keys = self.noise.keys(dynamics.START)
        numbers = torch.arange(window * n_code).view(1, window, n_code)
        return counter_noise.uniform_of(counter_noise.bits(keys, numbers))

    def step(self, step):
        """Uniform numbers of a step, and those that decide which of its spikes stay."""
        keys = self.noise.keys(dynamics.PIXELS)
        words = counter_noise.bits(keys, step * self.pixels.shape[1] + self.pixels)
        return counter_noise.uniform_of(words), counter_noise.second_uniform_of(words)


class FreshDraws:
    """Random numbers of PyTorch's generator."""

    def __init__(self, generator, n_images, n_pixels):
        self.generator, self.shape = generator, (n_images, n_pixels)

    def code(self, window, n_code):
        return torch.rand(self.shape[0], window, n_code, generator=self.generator)

    def step(self, step):
        return tuple(torch.rand(self.shape, generator=self.generator) for _ in range(2))


class Fire(torch.autograd.Function):
    """u > 1, with derivative 1 where |u - 1| < 0.5."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u > 1).to(u.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (u,) = ctx.saved_tensors
        return gradient * ((u - 1).abs() < 0.5)


def layers(network):
    """Encoder and decoder as stacks of layers that share the network's parameters."""
    stacks = []
    for linear in (network.encoder, network.decoder):
        parts = [part for layer in linear for part in (layer, nn.ReLU())]
        stacks.append(nn.Sequential(*parts[:-1], nn.Sigmoid()))
    return stacks


def direct_run(images, network, window, refractory, thinning, iterations, draws):
    """Spikes (IT, B, T, P), feedback (IT, B, T, P) and codes (IT, B, T, C), all with gradients."""
    encoder, decoder = layers(network)
    h = list(draws.code(window, network.n_code).to(images.dtype).unbind(1))
    r = torch.zeros_like(images)
    previous = torch.zeros_like(images)
    stays = torch.zeros_like(images)
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


def direct_loss(images, clean, network, window, refractory, thinning, iterations, draws):
    """The receptive field loss of a batch, summed."""
    _, feedback, _ = direct_run(images, network, window, refractory, thinning, iterations, draws)
    m = feedback[-1].mean(1)
    target = clean / (clean.sum(1, keepdim=True) + 1e-6)
    return ((target - m / (m.sum(1, keepdim=True) + 1e-6)) ** 2).sum()
