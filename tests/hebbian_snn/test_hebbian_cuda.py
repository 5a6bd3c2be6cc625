"""The backend cuda against the plain loops.

On a GPU: ``python -m pytest -m gpu tests/hebbian_snn/test_hebbian_cuda.py``. Without one but with
Triton, its interpreter runs the same kernels, slowly and so at small sizes; one test here does that
in a process of its own, in which the others can be run with ``TRITON_INTERPRET=1`` as well.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from hebbian_examples import (
    NEURONS,
    RULE,
    Draw,
    flat,
    gradients,
    leaves,
    read,
    read_inputs,
    relative,
    scan,
    scan_inputs,
    write,
    write_inputs,
)

from common.errors import UserError
from hebbian_snn import kernels
from hebbian_snn.kernels import checks, lif_scan, read_memory, write_memory
from hebbian_snn.neurons import IFParameters, LIFParameters
from hebbian_snn.plasticity import InvertedOja

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"

with_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed (it comes with PyTorch's CUDA builds for Linux)",
)
from_outside = pytest.mark.skipif(INTERPRETED, reason="starts a process without TRITON_INTERPRET")
neurons = pytest.mark.parametrize("neuron", NEURONS.values(), ids=NEURONS)


some_neurons = pytest.mark.parametrize(
    "neuron",
    [v for k, v in NEURONS.items() if not INTERPRETED or k in ("default", "perfect reset")],
)


def sized(on_gpu, interpreted):
    """Sizes for the GPU, or fewer and smaller ones for the interpreter."""
    return interpreted if INTERPRETED else on_gpu


@pytest.fixture(
    params=["interpreter" if INTERPRETED else pytest.param("gpu", marks=pytest.mark.gpu)]
)
def cuda(monkeypatch):
    """The backend; in the interpreter it takes tensors of the CPU and is cut into small pieces."""
    if not INTERPRETED:
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
        return
    from hebbian_snn.kernels.reading import cuda as reading
    from hebbian_snn.kernels.scan import cuda as scanning
    from hebbian_snn.kernels.writing import cuda as writing

    monkeypatch.setattr(scanning, "SEGMENT", 4)
    monkeypatch.setattr(writing, "PART", 2)
    monkeypatch.setattr(writing, "ELEMENTS", dict.fromkeys(writing.ELEMENTS, 64))
    monkeypatch.setattr(writing, "PROGRAMS", 3)
    monkeypatch.setattr(reading, "ELEMENTS", dict.fromkeys(reading.ELEMENTS, 128))
    choose = kernels.choose_backend
    monkeypatch.setattr(
        kernels, "choose_backend", lambda name, x: name if name == "cuda" else choose(name, x)
    )


def agree(run, inputs):
    """Spikes, states and all gradients are those of the plain loop, in double precision."""
    inputs = leaves(inputs, DEVICE)
    expected, expected_gradients = gradients(lambda x: run(x, "reference"), inputs)
    found, found_gradients = gradients(lambda x: run(x, "cuda"), inputs)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.dtype, one.device) == (other.dtype, other.device)
        if one.dtype == torch.int32 or set(other.unique().tolist()) <= {0.0, 1.0}:
            assert torch.equal(one, other)
        assert relative(one.double(), other.double()) < 1e-9
    assert found_gradients
    for one, other in zip(found_gradients, expected_gradients, strict=True):
        assert relative(one, other) < 1e-9
    return expected, expected_gradients


@neurons
@pytest.mark.parametrize(
    ("items", "steps", "n"),
    sized([(7, 9, 37), (11, 1, 131), (1, 1, 1), (30, 10, 300)], [(3, 3, 47)]),
)
def test_scan(cuda, neuron, items, steps, n):
    """47 neurons of three samples need two programs."""
    inputs = scan_inputs(3, items, n)
    (spikes, *_), found = agree(lambda x, b: scan(x, neuron, b, steps), inputs)
    assert n == 1 or all(x.any() for x in (spikes, found[0], found[1]))


@some_neurons
@pytest.mark.parametrize(("steps", "n"), sized([(63, 37), (150, 100)], [(7, 5)]))
def test_writing(cuda, neuron, steps, n):
    inputs = write_inputs(2 if INTERPRETED else 3, steps, n)
    (_, keys, values, *_), found = agree(lambda x, b: write(x, neuron, b), inputs)
    assert keys.mean() > 0.01
    assert values.mean() > 0.01
    assert all(x.any() for x in found[:3])


@pytest.mark.parametrize("steps", sized([1, 64, 65, 200], [1, 4]))
@pytest.mark.parametrize("feedback", [0.2, 0.0])
def test_writing_from_rest(cuda, steps, feedback):
    keys, values, *_ = write_inputs(1, steps, 9, seed=1)
    agree(lambda x, b: write(x, LIFParameters(), b, feedback), (keys, values, None, None))


def test_writing_after_traces_have_ended(cuda):
    *currents, mem, state = write_inputs(2, 6, 5)
    traces = {x: getattr(state, x) * 1e-6 for x in ("key_trace", "value_trace")}
    inputs = (*(x - 4 for x in currents), mem, state._replace(**traces))
    expected, _ = agree(lambda x, b: write(x, LIFParameters(), b), inputs)
    assert 0 < (expected[-1] == 0).double().mean() < 1


@some_neurons
@pytest.mark.parametrize("delay", sized([1, 7, 30, 70], [2]))
def test_reading(cuda, neuron, delay):
    inputs = read_inputs(2, *sized((63, 37), (7, 9)), delay)
    (keys, values, *_), found = agree(lambda x, b: read(x, neuron, b), inputs)
    assert keys.mean() > 0.01
    assert values.mean() > 0.01
    assert all(x.any() for x in found[:3])


@pytest.mark.parametrize("n", sized([1, 100, 200], [1, 17]))
def test_reading_from_rest(cuda, n):
    inputs = read_inputs(1, sized(40, 3), n, 1)[:3]
    agree(lambda x, b: read(x, LIFParameters(), b), (*inputs, None))


RUNS = {
    "scan": (
        lambda x, b: scan(x, LIFParameters(), b),
        lambda d: scan_inputs(*sized((8, 40, 37), (2, 3, 20)), 0, d),
    ),
    "writing": (
        lambda x, b: write(x, LIFParameters(), b),
        lambda d: write_inputs(*sized((8, 160, 37), (2, 3, 5)), 0, d),
    ),
    "reading": (
        lambda x, b: read(x, LIFParameters(), b),
        lambda d: read_inputs(*sized((8, 90, 37, 7), (2, 3, 5, 2)), 0, d),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_single_precision(cuda, name):
    """Sums in another order may move a spike now and then; samples without one agree closely."""
    run, make = RUNS[name]
    inputs = leaves(make(torch.float32), DEVICE)
    expected, expected_gradients = gradients(lambda x: run(x, "reference"), inputs)
    found, found_gradients = gradients(lambda x: run(x, "cuda"), inputs)
    trains = [
        k for k, x in enumerate(expected) if x.dim() == 3 and set(x.unique().tolist()) <= {0.0, 1.0}
    ]
    differ = torch.stack([(found[k] != expected[k]).flatten(1).sum(1) for k in trains]).sum(0)
    assert differ.sum() <= 1e-4 * sum(expected[k].numel() for k in trains)
    same = differ == 0
    assert 2 * same.sum() >= len(same)
    for one, other in zip(found_gradients, expected_gradients, strict=True):
        assert one.dtype == torch.float32
        if len(other) == len(same):  # the weight of the reading layer has no sample
            one, other = one[same], other[same]
        elif not same.all():
            continue
        assert relative(one, other) < 1e-4


@pytest.mark.parametrize("name", RUNS)
def test_layouts_and_repetition(cuda, name):
    """Anyhow in memory, or once more: the same numbers."""
    run, make = RUNS[name]
    inputs = leaves(make(torch.float64), DEVICE)
    outputs, found = gradients(lambda x: run(x, "cuda"), inputs)
    turned = [None if x is None else _turned(x) for x in inputs]
    again, found_again = gradients(lambda x: run(x, "cuda"), turned)
    for one, other in zip(again + found_again, outputs + found, strict=True):
        assert torch.equal(one, other)
    # A mean's gradient is one number, repeated; no gradient comes from the other outputs.
    means = [
        torch.autograd.grad(run((x, *inputs[1:]), b)[0].mean(), x)[0]
        for b in ("cuda", "reference")
        for x in [inputs[0].detach().clone().requires_grad_()]
    ]
    assert relative(*means) < 1e-9


def _turned(x):
    """The same numbers, the last axis not the one that is contiguous; states, however nested."""
    if isinstance(x, torch.Tensor):
        return x.detach().transpose(0, -1).contiguous().transpose(0, -1)
    return type(x)(*(_turned(part) for part in x))


def test_an_empty_batch(cuda):
    for run, inputs in (
        (scan, scan_inputs(0, 5, 3)),
        (write, write_inputs(0, 5, 3)),
        (read, read_inputs(0, 5, 3, 2)),
    ):
        inputs = leaves(inputs, DEVICE)
        outputs, found = gradients(lambda x, run=run: run(x, LIFParameters(), "cuda"), inputs)
        assert outputs[0].shape[0] == 0
        assert len(found) == len([x for x in flat(inputs) if x.is_floating_point()])


def test_a_trained_threshold(cuda):
    inputs = leaves(scan_inputs(3, 4, 21), DEVICE)
    for neuron in (LIFParameters(0.1), IFParameters(0.3, 1, True)):
        found = []
        for name in ("cuda", "reference"):
            thr = torch.tensor(neuron.thr, dtype=torch.float64, device=DEVICE, requires_grad=True)
            out = scan(inputs, neuron._replace(thr=thr), name, 3)
            draw = Draw(1)
            loss = sum((draw.normal(*x.shape).to(x.device) * x).sum() for x in out[:3])
            found.append(torch.autograd.grad(loss, thr)[0].item())
        assert found[1]
        assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_stopping_and_going_on_changes_nothing(cuda):
    options = {"neuron": LIFParameters(), "backend": "cuda"}
    key, value, mem, state = leaves(write_inputs(1, 9, 5), DEVICE)
    rule = {"plasticity": RULE, "tau_trace": 15.0, **options}
    with torch.no_grad():
        whole = write_memory(key, value, mem=mem, state=state, **rule)
        first = write_memory(key[:, :5], value[:, :5], mem=mem, state=state, **rule)
        second = write_memory(key[:, 5:], value[:, 5:], mem=first.mem, state=first.state, **rule)
        for one, other in zip(
            flat((second[0], second[3])), flat((whole[0], whole[3])), strict=True
        ):
            assert torch.equal(one, other)
        currents, weight, mem, state = leaves(read_inputs(1, 9, 5, 3), DEVICE)
        whole = read_memory(currents, weight, mem, delay=3, state=state, **options)
        first = read_memory(currents[:, :2], weight, mem, delay=3, state=state, **options)
        second = read_memory(currents[:, 2:], weight, mem, delay=3, state=first.state, **options)
        for one, other in zip(flat(second.state), flat(whole.state), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(second.value_spikes, whole.value_spikes[:, 2:])


def test_writing_keeps_a_few_bytes_a_neuron_and_step_and_few_rows(cuda):
    from hebbian_snn.kernels.writing.cuda import PART

    size, n, segments = 1, 16, 2
    steps = segments * PART**2
    inputs = write_inputs(size, steps, n, dtype=torch.float32)[:2]
    inputs = [x.to(DEVICE).requires_grad_() for x in inputs]
    sizes = {}

    def pack(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        outputs = write((*inputs, None, None), LIFParameters(), "cuda")
    assert outputs[0].requires_grad
    kept = sum(sizes.values())
    per_step, rows, states = size * steps * n * (4 + 1), size * n * n * 4, size * n * 4
    assert 2 * per_step + segments * rows < kept
    assert kept < 2 * per_step + segments * (rows + 2 * states) + 6 * states + 100


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_currents_that_are_not_finite(cuda, bad):
    options = {"neuron": LIFParameters(), "backend": "cuda"}
    x, mem = torch.rand(2, 4, 3, device=DEVICE), torch.rand(2, 3, 3, device=DEVICE)
    poisoned = x.clone()
    poisoned[1, 2, 0] = bad
    rule = {"plasticity": InvertedOja(), "tau_trace": 20.0}
    for call in (
        lambda: lif_scan(poisoned, **options),
        lambda: write_memory(poisoned, x, **rule, **options),
        lambda: write_memory(x, poisoned, **rule, **options),
        lambda: read_memory(poisoned, mem[0], mem, **options),
    ):
        with pytest.raises(UserError, match="NaN or infinite"):
            call()
            checks.check_noted()  # on a GPU it is only noted at first


def run_python(*arguments, cwd=None, **environment):
    """Run Python in a process of its own; returns what it printed."""
    environment = {k: v for k, v in {**os.environ, **environment}.items() if v is not None}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=cwd
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@with_triton
@from_outside
def test_everything_in_tritons_interpreter():
    """In a process of its own: Triton must be imported with the variable set."""
    import triton

    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
        pytest.skip(
            f"the interpreter of Triton {triton.__version__} does not run with NumPy >= 2.4"
        )
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", __file__]
    assert " passed" in run_python(*command, TRITON_INTERPRET="1")
