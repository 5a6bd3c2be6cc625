"""What the kernels refuse: parameters out of range, shapes that do not fit, NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from common.errors import UserError
from hebbian_snn.neurons import LIFState, NeuronParameters, threshold
from hebbian_snn.plasticity import InvertedOja

LOWEST_THRESHOLD = 1e-12
"""The slope of a neuron is one over its threshold, in float32."""
LONGEST_REFRACTORY = 2**31 - 1
"""Counters of steps are int32."""

NOT_FINITE = (
    "the currents of the neurons hold NaN or infinite numbers; check the data, or lower "
    "the learning rate if training diverged"
)

_noted: dict[torch.device, Tensor] = {}
"""For each GPU a number that is NaN once a membrane there was not finite, else 0."""


def check_neuron(neuron: NeuronParameters, trained_threshold: bool = True) -> None:
    """Raises :class:`UserError` for parameters out of range, ``ValueError`` for a trained threshold
    where none can be."""
    if isinstance(neuron.thr, Tensor):
        if not trained_threshold:
            raise ValueError("a threshold that is trained is for lif_scan; give a number here")
        if neuron.thr.dim():
            raise ValueError(f"the threshold must be one number, not {_shape(neuron.thr)}")
    on_gpu = isinstance(neuron.thr, Tensor) and neuron.thr.device.type == "cuda"
    if not on_gpu:  # there to read it would be to wait for the GPU
        _positive(thr=threshold(neuron))
        if threshold(neuron) < LOWEST_THRESHOLD:
            raise UserError(f"thr is {threshold(neuron)}; give at least {LOWEST_THRESHOLD}")
    _positive(tau_mem=getattr(neuron, "tau_mem", 1.0))
    _not_negative(
        refractory_time_steps=neuron.refractory_time_steps,
        dampening_factor=neuron.dampening_factor,
    )
    if neuron.refractory_time_steps > LONGEST_REFRACTORY:
        raise UserError(
            f"refractory_time_steps is {neuron.refractory_time_steps}; "
            f"give at most {LONGEST_REFRACTORY}"
        )
    if neuron.refractory_time_steps != int(neuron.refractory_time_steps):
        raise UserError(
            f"refractory_time_steps is {neuron.refractory_time_steps}; give whole steps"
        )


def check_plasticity(rule: InvertedOja, tau_trace: float, feedback: float) -> None:
    """Raises :class:`UserError` for constants of the writing layer that are out of range."""
    _positive(w_max=rule.w_max, tau_trace=tau_trace)
    _not_negative(gamma_pos=rule.gamma_pos, gamma_neg=rule.gamma_neg)
    if not math.isfinite(feedback):
        raise UserError(f"feedback is {feedback}; give a finite number")


def check_currents(currents: Tensor, name: str) -> None:
    """Raises ``ValueError`` unless these are (B, T, N) floating-point numbers with N, T > 0."""
    if currents.dim() != 3 or 0 in currents.shape[1:]:
        raise ValueError(
            f"{name} must be (batch, time, neurons) with at least one step and one neuron, "
            f"not {_shape(currents)}"
        )
    if not currents.is_floating_point():
        raise ValueError(f"{name} must be floating-point numbers, not {currents.dtype}")


def check_same(tensor: Tensor, like: Tensor, name: str, other: str) -> None:
    """Raises ``ValueError`` unless both have one shape, type of number and device."""
    if tensor.shape != like.shape:
        raise ValueError(f"{name} are {_shape(tensor)}, but {other} are {_shape(like)}")
    _check_kind(tensor, like, name)


def check_shape(tensor: Tensor, like: Tensor, shape: Sequence[int], name: str) -> None:
    """Raises ``ValueError`` for another shape, or type of number or device than those of
    ``like``."""
    if tensor.shape != tuple(shape):
        raise ValueError(f"{name} must be {tuple(shape)}, not {_shape(tensor)}")
    _check_kind(tensor, like, name)


def check_state(state: tuple, like: Tensor, shape: Sequence[int]) -> None:
    """Raises ``ValueError`` unless every tensor of a state has this shape; counters are int32."""
    counter = torch.empty(0, dtype=torch.int32, device=like.device)
    for name, tensor in _tensors(state):
        check_shape(tensor, counter if name == "r" else like, shape, f"{name} of the state")


def check_finite(*states: LIFState) -> None:
    """Raises :class:`UserError` if a membrane is not finite: what was not finite in the currents of
    any step has stayed there. On a GPU, which this would wait for at every call, it is noted for
    :func:`check_noted`."""
    device = states[0].v.device
    if device.type != "cuda":
        if not all(bool(state.v.isfinite().all()) for state in states):
            raise UserError(NOT_FINITE)
        return
    with torch.no_grad():
        for state in states:
            so_far = _noted.get(device)
            found = state.v.sum(dtype=torch.float32) * 0
            _noted[device] = found if so_far is None else so_far + found


def check_noted() -> None:
    """Raises :class:`UserError` if a membrane on a GPU has not been finite since the last call.

    Trainings call it before they save anything, and at least every 50 steps.
    """
    noted = torch.stack([x.cpu() for x in _noted.values()]) if _noted else None
    _noted.clear()
    if noted is not None and bool(noted.isnan().any()):
        raise UserError(NOT_FINITE)


def _check_kind(tensor: Tensor, like: Tensor, name: str) -> None:
    if (tensor.dtype, tensor.device) != (like.dtype, like.device):
        raise ValueError(
            f"{name}: {tensor.dtype} on {tensor.device} given, {like.dtype} on {like.device} needed"
        )


def _tensors(state: tuple) -> Iterator[tuple[str, Tensor]]:
    for name, value in zip(state._fields, state, strict=True):
        if isinstance(value, Tensor):
            yield name, value
        else:
            yield from _tensors(value)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise UserError(f"{name} is {value}; give a number above 0")


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise UserError(f"{name} is {value}; give 0 or more")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
