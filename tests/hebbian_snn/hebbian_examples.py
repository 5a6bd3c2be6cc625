"""Random inputs and states for the tests of the kernels, and how results are compared."""

import torch

from hebbian_snn.kernels import ReadingState, WritingState, lif_scan, read_memory, write_memory
from hebbian_snn.neurons import IFParameters, LIFParameters, LIFState, map_state
from hebbian_snn.plasticity import InvertedOja

NEURONS = {
    "default": LIFParameters(),
    "no refractoriness": LIFParameters(0.1, 20.0, 0),
    "perfect reset": LIFParameters(0.1, 12.0, 2, True, 0.7),
    "no leak": IFParameters(0.3, 3),
}

RULE = InvertedOja(0.9, 0.25, 0.35)


class Draw:
    """Random tensors of one type of number."""

    def __init__(self, seed, dtype=torch.float64):
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype

    def normal(self, *shape, scale=1.0, mean=0.0):
        return torch.randn(shape, generator=self.generator, dtype=self.dtype) * scale + mean

    def uniform(self, *shape, high=1.0):
        return torch.rand(shape, generator=self.generator, dtype=self.dtype) * high

    def spikes(self, *shape, rate=0.15):
        return (torch.rand(shape, generator=self.generator) < rate).to(self.dtype)

    def neurons(self, *shape):
        counters = torch.randint(0, 4, shape, generator=self.generator, dtype=torch.int32)
        return LIFState(self.normal(*shape, scale=0.1), self.spikes(*shape), counters)


def scan_inputs(size, items, n, seed=0, dtype=torch.float64):
    """Arguments of ``scan``."""
    draw = Draw(seed, dtype)
    return draw.normal(size, items, n, scale=0.6, mean=0.2), draw.neurons(size, n)


def scan(inputs, neuron, backend, steps=4):
    """Outputs of ``lif_scan`` as a flat list."""
    currents, state = inputs
    spikes, after = lif_scan(currents, neuron, num_time_steps=steps, state=state, backend=backend)
    return [spikes, *after]


def write_inputs(size, steps, n, seed=0, dtype=torch.float64):
    """Arguments of ``write``: currents, memory and state."""
    draw = Draw(seed, dtype)
    currents = [draw.normal(size, steps, n, scale=0.6, mean=0.1) for _ in range(2)]
    traces = [draw.uniform(size, n, high=0.3) for _ in range(2)]
    state = WritingState(draw.neurons(size, n), draw.neurons(size, n), *traces)
    return *currents, draw.uniform(size, n, n, high=0.8), state


def write(inputs, neuron, backend, feedback=0.2):
    """Outputs of ``write_memory`` as a flat list."""
    key_currents, value_currents, mem, state = inputs
    written = write_memory(
        key_currents,
        value_currents,
        mem=mem,
        state=state,
        neuron=neuron,
        plasticity=RULE,
        tau_trace=15.0,
        feedback=feedback,
        backend=backend,
    )
    return flat(written)


def read_inputs(size, steps, n, delay, seed=0, dtype=torch.float64):
    """Arguments of ``read``: currents, weight, memory and state."""
    draw = Draw(seed, dtype)
    currents = draw.normal(size, steps, n, scale=0.6, mean=0.1)
    weight, mem = draw.normal(n, n, scale=0.3), draw.normal(size, n, n, scale=0.5, mean=0.3)
    state = ReadingState(draw.neurons(size, n), draw.neurons(size, n), draw.spikes(size, delay, n))
    return currents, weight, mem, state


def read(inputs, neuron, backend):
    """Outputs of ``read_memory`` as a flat list."""
    currents, weight, mem, state = inputs
    out = read_memory(
        currents,
        weight,
        mem,
        neuron=neuron,
        delay=1 if state is None else state.delayed.shape[1],
        state=state,
        backend=backend,
    )
    return flat(out)


def flat(nested):
    """The tensors of nested tuples."""
    if isinstance(nested, torch.Tensor):
        return [nested]
    return [tensor for part in nested if part is not None for tensor in flat(part)]


def leaves(inputs, device="cpu"):
    """Copies of nested inputs that want gradients, counters as they are."""

    def copy(x):
        return x.detach().to(device, copy=True).requires_grad_(x.is_floating_point())

    return tuple(None if part is None else map_state(copy, part) for part in inputs)


def gradients(run, inputs, seed=9):
    """Outputs of ``run(inputs)`` and the gradients of a random sum of all of them with respect to
    all inputs."""
    inputs = leaves(inputs, flat(inputs)[0].device)
    outputs = run(inputs)
    draw = Draw(seed, outputs[0].dtype)
    loss = sum((draw.normal(*x.shape).to(x.device) * x).sum() for x in outputs if x.requires_grad)
    wanted = [x for x in flat(inputs) if x.requires_grad]
    return [x.detach() for x in outputs], list(torch.autograd.grad(loss, wanted))


def relative(one, other):
    """Root mean square of the difference over that of ``other``; 0 where both are 0."""
    size = other.square().mean().sqrt()
    return ((one - other).square().mean().sqrt() / size).item() if size else one.abs().max().item()
