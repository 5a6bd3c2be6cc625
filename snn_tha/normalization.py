"""Batch normalisation of every time step, all steps in one call.

A network that runs step by step calls its batch normalisation T times a batch: every step is
normalised with its own mean and variance, and the running averages are updated T times. Here one
call does the same; the running averages have a closed form.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from common.distributed import Distributed
from snn_tha.kernels import load_backend


class StepBatchNorm(nn.Module):
    """PyTorch's ``BatchNorm2d`` (with its defaults) called once per time step.

    Args:
        channels: C.
    """

    eps = 1e-5
    momentum = 0.1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(
        self, x: Tensor, steps: int, group: Distributed | None = None, backend: str = "auto"
    ) -> Tensor:
        """Normalise the maps of all steps.

        Args:
            x: (T, R, C), R being samples and places, or (1, R, C) for maps that are the same in
                every step; contiguous.
            steps: T, the updates of the running averages.
            group: processes with the other samples of the batch; the statistics are those of all.
            backend: as of :func:`snn_tha.kernels.lif_scan`.

        Returns:
            of the shape of ``x``. In training each step has the statistics of its batch, else all
            have the running ones.
        """
        if self.training:
            out, mean, variance = _Normalize.apply(
                x, self.weight, self.bias, self.eps, group, backend
            )
            self._update(mean, variance, steps)
            return out
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return torch.addcmul(self.bias - self.running_mean * scale, x, scale)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, steps: int) -> None:
        """``steps`` updates with the (T or 1, C) statistics, ``a <- (1 - m) a + m statistic``."""
        ages = torch.arange(steps - 1, -1, -1, dtype=torch.float64, device=mean.device)
        weights = self.momentum * (1 - self.momentum) ** ages
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            taken = weights.sum() * new[0] if len(new) == 1 else weights @ new
            running.copy_((1 - self.momentum) ** steps * running.double() + taken)


class _Normalize(torch.autograd.Function):
    """(T, R, C) to the normalised ones, and the (T, C) means and unbiased variances, float64."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        group: Distributed | None,
        backend: str,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kernel = load_backend(backend, x)
        mean, squares = kernel.moments(x)
        count: int | Tensor = x.shape[1]
        if group is not None and group.world_size > 1:
            mean, squares, count = _pooled(mean, squares, count, group)
        inverse = (squares / count + eps).rsqrt()
        of_type = [a.to(x.dtype) for a in (mean, weight * inverse)]
        ctx.save_for_backward(x, weight, inverse, *of_type)
        ctx.rest = count, group, kernel
        others = count - 1
        variance = squares / (max(others, 1) if isinstance(others, int) else others.clamp(min=1))
        ctx.mark_non_differentiable(mean, variance)
        return kernel.normalize(x, *of_type, bias), mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_out: Tensor, _m: None, _v: None) -> tuple[Tensor | None, ...]:
        x, weight, inverse, mean, scale = ctx.saved_tensors
        count, group, kernel = ctx.rest
        d_out = d_out.contiguous()
        plain, weighted = kernel.gradient_sums(d_out, x, mean)
        d_weight, d_bias = (weighted * inverse).sum(0), plain.sum(0)
        if group is not None and group.world_size > 1:
            plain, weighted = group.all_reduce_sum(torch.stack([plain, weighted]), wait=False)
        level = (plain / count * inverse * weight).to(x.dtype)
        tilt = (weighted / count * inverse**3 * weight).to(x.dtype)
        d_x = kernel.input_gradient(d_out, x, mean, scale, level, tilt)
        return d_x, d_weight.to(weight.dtype), d_bias.to(weight.dtype), None, None, None


def _pooled(
    mean: Tensor, squares: Tensor, count: int, group: Distributed
) -> tuple[Tensor, Tensor, Tensor]:
    """Means, sums of squared deviations and the 0-d count over the samples of all processes."""
    parts = torch.stack([mean * count, squares + count * mean**2, torch.full_like(mean, count)])
    total, raw, counts = group.all_reduce_sum(parts, wait=False)
    mean = total / counts
    return mean, raw - counts * mean**2, counts.flatten()[0]
