"""Starting kernels, and the tensors they work on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hebbian_snn.neurons import NeuronParameters


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
    """What :func:`hebbian_snn.kernels.cuda_neurons.load_parameters` reads, then others; numbers
    given to Triton directly would be float32. A step copies nothing to the GPU and waits for
    nothing: what was asked for before lies there, a trained threshold stays where it is."""
    thr, kind = neuron.thr, (like.dtype, like.device)
    if not isinstance(thr, Tensor):
        p = (neuron.decay, neuron.gain, float(thr), neuron.dampening_factor)
        return _constants((*p, *others), *kind)
    before = _constants((neuron.decay, neuron.gain), *kind)
    after = _constants((neuron.dampening_factor, *others), *kind)
    return torch.cat([before, thr.detach().to(like.dtype).view(1), after])


@lru_cache(maxsize=256)
def _constants(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it may be saved for a backward pass later
        return torch.tensor(numbers, dtype=dtype, device=device)


def copies(*tensors: Tensor) -> list[Tensor]:
    """Contiguous copies, to be changed in place."""
    return [x.detach().clone(memory_format=torch.contiguous_format) for x in tensors]


def gradient_copy(gradient: Tensor | None, shape: Sequence[int], like: Tensor) -> Tensor:
    """A contiguous copy of a gradient of this shape; None stands for zeros."""
    return like.new_zeros(shape) if gradient is None else copies(gradient)[0]
