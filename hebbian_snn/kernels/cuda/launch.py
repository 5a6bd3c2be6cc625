"""Starting kernels, and the tensors they work on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hebbian_snn.neurons import NeuronParameters, threshold


def launch(
    kernel: Any, programs: Sequence[int], *arguments: Any, warps: int = 4, fuse: bool = False
) -> None:
    """Start so many programs of a kernel, none if there are no samples.

    Args:
        programs: along every axis. arguments: of the kernel; the first one is a tensor.
        warps: of a program.
        fuse: products and sums are rounded once, not twice. Kernels that compute a membrane anew
            must leave it off, so that the same spikes come out.
    """
    if 0 in programs:
        return
    with torch.cuda.device_of(arguments[0]):
        kernel[tuple(programs)](*arguments, num_warps=warps, enable_fp_fusion=fuse)


def numbers_of(neuron: NeuronParameters, like: Tensor, *others: float) -> Tensor:
    """What :func:`hebbian_snn.kernels.cuda.neurons.load_parameters` reads, then others; numbers
    given to Triton directly would be float32."""
    p = (neuron.decay, neuron.gain, threshold(neuron), neuron.dampening_factor)
    return like.new_tensor([*p, *others])


def copies(*tensors: Tensor) -> list[Tensor]:
    """Contiguous copies, to be changed in place."""
    return [x.detach().clone(memory_format=torch.contiguous_format) for x in tensors]


def gradient_copy(gradient: Tensor | None, shape: Sequence[int], like: Tensor) -> Tensor:
    """A contiguous copy of a gradient of this shape; None stands for zeros."""
    return like.new_zeros(shape) if gradient is None else copies(gradient)[0]
