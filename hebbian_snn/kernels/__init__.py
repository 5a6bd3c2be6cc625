"""The three loops over time: neurons alone, writing the memory, reading it.

Three backends do the same; ``scan/``, ``writing/`` and ``reading/`` have a file for each:

- ``reference``: a plain PyTorch loop, differentiated by autograd, for every device;
- ``cpu``: compiled (numba), with its own backward pass, parallel over samples;
- ``cuda``: Triton, with its own backward pass. Triton comes with the CUDA builds of PyTorch and is
  imported only there. Its interpreter runs the kernels without a GPU: ``TRITON_INTERPRET=1``, as
  ``tests/hebbian_snn/test_hebbian_cuda.py`` does. Sums are taken in a fixed order, so that a
  repeated call gives the same numbers.

Tensors are (batch, time, neurons); a step is 1 ms; the type of number is that of the currents.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from common.errors import UserError
from common.gpu import backend_on_gpu
from hebbian_snn.kernels import checks
from hebbian_snn.neurons import LIFState, NeuronParameters, rest
from hebbian_snn.plasticity import InvertedOja

BACKENDS = ("reference", "cpu", "cuda")


class WritingState(NamedTuple):
    """What the writing layer carries besides the memory: neurons and their traces, (B, M)."""

    key: LIFState
    value: LIFState
    key_trace: Tensor
    value_trace: Tensor


class Written(NamedTuple):
    """What writing gives: mem (B, M, M), the spikes (B, T, M) of both populations as 0 and 1, and
    the state after the last step."""

    mem: Tensor
    key_spikes: Tensor
    value_spikes: Tensor
    state: WritingState


class ReadingState(NamedTuple):
    """What the reading layer carries: its neurons, (B, M), and the (B, D, M) value spikes of the
    last D steps, the oldest first."""

    key: LIFState
    value: LIFState
    delayed: Tensor


class Read(NamedTuple):
    """What reading gives: the (B, T, M) spikes of both populations and the state after the last
    step."""

    key_spikes: Tensor
    value_spikes: Tensor
    state: ReadingState


def lif_scan(
    currents: Tensor,
    neuron: NeuronParameters,
    *,
    num_time_steps: int = 1,
    state: LIFState | None = None,
    backend: str = "auto",
) -> tuple[Tensor, LIFState]:
    """Neurons without connections among them, driven by one item after the other.

    Args:
        currents: (B, items, N); each acts for ``num_time_steps`` steps.
        neuron: the neurons; its threshold may be a 0-d tensor that is trained.
        state: (B, N), default rest; it is carried from item to item.
        backend: ``reference``, ``cpu``, ``cuda`` or ``auto``.

    Returns:
        the (B, items * num_time_steps, N) spikes and the state after the last step, with gradients
        with respect to currents, v and z of the state, and the threshold.

    Raises :class:`UserError` for a backend that does not exist or does not run here, currents that
    are not finite and parameters out of range; ``ValueError`` for shapes that do not fit.
    """
    checks.check_neuron(neuron)
    checks.check_currents(currents, "the currents")
    if num_time_steps < 1:
        raise UserError(f"num_time_steps is {num_time_steps}; give 1 or more")
    shape = (currents.shape[0], currents.shape[2])
    state = rest(shape, currents) if state is None else state
    checks.check_state(state, currents, shape)
    spikes, state = _kernel("scan", backend, currents).lif_scan(
        currents, neuron, num_time_steps, state
    )
    checks.check_finite(state)
    return spikes, state


def write_memory(
    key_currents: Tensor,
    value_currents: Tensor,
    *,
    neuron: NeuronParameters,
    plasticity: InvertedOja,
    tau_trace: float,
    mem: Tensor | None = None,
    state: WritingState | None = None,
    feedback: float = 0.2,
    backend: str = "auto",
) -> Written:
    """Drive keys and values, and let the synapses between them learn.

    Per step: the keys fire; value i gets its current and ``feedback * sum_j mem[i, j] z_key[j]``
    and fires; the traces of both take up the spikes; ``mem`` follows
    :func:`hebbian_snn.plasticity.update_memory` with the new traces.

    Args:
        key_currents, value_currents: (B, T, M), one a step.
        neuron: of keys and values. plasticity: of the memory. tau_trace: of the traces, ms.
        mem: (B, M, M), from key j to value i; default 0. state: default rest and traces of 0.
        feedback: strength of the memory while writing.
        backend: ``reference``, ``cpu``, ``cuda`` or ``auto``.

    Gradients are with respect to both currents, ``mem``, and v, z and traces of the state. The
    compiled backends keep two numbers for each neuron and step, and every 64 steps a copy of the
    memory; errors as :func:`lif_scan`.
    """
    checks.check_neuron(neuron, trained_threshold=False)
    checks.check_plasticity(plasticity, tau_trace, feedback)
    checks.check_currents(key_currents, "the key currents")
    checks.check_same(value_currents, key_currents, "the value currents", "the key currents")
    size, _, n = key_currents.shape
    if mem is None:
        mem = key_currents.new_zeros(size, n, n)
    checks.check_shape(mem, key_currents, (size, n, n), "the memory")
    if state is None:
        still = rest((size, n), key_currents)
        state = WritingState(still, still, still.v, still.v)
    checks.check_state(state, key_currents, (size, n))
    written = _kernel("writing", backend, key_currents).write_memory(
        key_currents, value_currents, mem, state, neuron, plasticity, tau_trace, feedback
    )
    checks.check_finite(written.state.key, written.state.value)
    return written


def read_memory(
    currents: Tensor,
    weight: Tensor,
    mem: Tensor,
    *,
    neuron: NeuronParameters,
    delay: int = 1,
    state: ReadingState | None = None,
    backend: str = "auto",
) -> Read:
    """Ask a memory that does not change.

    Per step: the keys get their current and ``weight`` times the value spikes of ``delay`` steps
    ago, and fire; value i gets ``sum_j mem[i, j] z_key[j]`` and fires.

    Args:
        currents: (B, T, M), the input's part of the key currents.
        weight: (M, M), from value spikes to keys. mem: (B, M, M), from key j to value i.
        neuron: of keys and values. delay: D, steps.
        state: with D delayed spikes; default rest and no spikes.
        backend: ``reference``, ``cpu``, ``cuda`` or ``auto``.

    Gradients are with respect to currents, weight, ``mem``, and v, z and delayed spikes of the
    state; errors as :func:`lif_scan`.
    """
    checks.check_neuron(neuron, trained_threshold=False)
    if delay < 1:
        raise UserError(f"the readout delay is {delay}; give 1 step or more")
    checks.check_currents(currents, "the key currents")
    size, _, n = currents.shape
    checks.check_shape(weight, currents, (n, n), "the weight of the value spikes")
    checks.check_shape(mem, currents, (size, n, n), "the memory")
    if state is None:
        still = rest((size, n), currents)
        state = ReadingState(still, still, currents.new_zeros(size, delay, n))
    checks.check_state(state._replace(delayed=state.key.v), currents, (size, n))
    checks.check_shape(state.delayed, currents, (size, delay, n), "the delayed spikes")
    kernel = _kernel("reading", backend, currents)
    read = kernel.read_memory(currents, weight, mem, state, neuron, delay)
    checks.check_finite(read.state.key, read.state.value)
    return read


def _kernel(loop: str, name: str, currents: Tensor) -> ModuleType:
    return importlib.import_module(f"{__name__}.{loop}.{choose_backend(name, currents)}")


def choose_backend(name: str, currents: Tensor) -> str:
    """The backend of that name, for ``auto`` the fastest for these currents; errors as
    :func:`lif_scan`."""
    device = currents.device.type
    compiled = currents.dtype in (torch.float32, torch.float64)
    if name == "auto":
        if not compiled or device not in BACKENDS:
            return "reference"
        return backend_on_gpu(name) if device == "cuda" else device
    if name not in BACKENDS:
        raise UserError(f"unknown backend {name!r}; choose auto, {', '.join(BACKENDS)}")
    if name != "reference" and name != device:
        raise UserError(f"the backend {name} does not run on {device}; choose auto")
    if name != "reference" and not compiled:
        raise UserError(
            f"the backend {name} takes float32 and float64, not {currents.dtype}; choose auto"
        )
    return backend_on_gpu(name) if name == "cuda" else name
