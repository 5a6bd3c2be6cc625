"""The window in plain PyTorch, for every device; gradients by autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from common import counter_noise
from gust.kernels import Draws, Scan, Window


class SurrogateStep(torch.autograd.Function):
    """[u > 1], with derivative 1 where |u - 1| < 0.5, else 0."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward((u - 1).abs() < 0.5)
        return (u > 1).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (near,) = ctx.saved_tensors
        return gradient * near


def build(
    images: Tensor, last: nn.Linear, first: nn.Linear, refractory_period: int, thinning: float
) -> Scan:
    """See :func:`gust.kernels.build_scan`."""
    pixels = torch.arange(images.shape[1], device=images.device)

    def scan(hidden: Tensor, refractory: Tensor, past: Tensor, draws: Draws) -> Window:
        feedback = linear(hidden, last.weight, last.bias).sigmoid()
        spikes, seen = [], []
        for t in range(feedback.shape[1]):
            words = counter_noise.bits(draws.keys, (draws.first + t * len(pixels) + pixels)[None])
            u = images * feedback[:, t] + counter_noise.uniform_of(words)
            fired = SurrogateStep.apply(u) * (refractory < 1)
            refractory = (refractory - 1 + refractory_period * fired.detach().int()).clamp(min=0)
            spikes.append(fired.detach().byte())
            seen.append(fired + past)
            past = fired * (counter_noise.second_uniform_of(words) >= thinning)
        drive = linear(torch.stack(seen, 1), first.weight, first.bias)
        return Window(torch.stack(spikes, 1), drive, refractory, past)

    return scan
