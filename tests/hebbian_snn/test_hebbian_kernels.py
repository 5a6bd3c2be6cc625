"""The kernels: the plain loops against one-sample Python, the compiled ones against the plain."""

import multiprocessing
import threading

import numba
import pytest
import torch
from hebbian_direct import direct_read, direct_scan, direct_write
from hebbian_examples import (
    NEURONS,
    RULE,
    Draw,
    flat,
    gradients,
    read,
    read_inputs,
    relative,
    scan,
    scan_inputs,
    write,
    write_inputs,
)

from common.errors import UserError
from hebbian_snn.kernels import cpu_threads as shares
from hebbian_snn.kernels import lif_scan, read_memory, write_memory
from hebbian_snn.neurons import IFParameters, LIFParameters, LIFState
from hebbian_snn.plasticity import InvertedOja

SIZE, STEPS, N = 3, 63, 37

neurons = pytest.mark.parametrize("neuron", NEURONS.values(), ids=NEURONS)


def close(found, expected):
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@neurons
def test_scan_is_that_of_single_neurons(neuron):
    inputs = scan_inputs(2, 5, 4)
    spikes, v, z, r = scan(inputs, neuron, "reference", steps=3)
    assert spikes.mean() > 0.02
    for b in range(2):
        expected, after = direct_scan(inputs[0][b].tolist(), inputs[1], b, neuron, 3)
        assert spikes[b].tolist() == expected
        close(v[b], [n.v for n in after])
        assert (z[b].tolist(), r[b].tolist()) == ([n.z for n in after], [n.r for n in after])


@neurons
def test_writing_is_that_of_single_synapses(neuron):
    inputs = write_inputs(2, 12, 4)
    mem, keys, values, *_, key_trace, value_trace = write(inputs, neuron, "reference")
    assert keys.mean() > 0.02
    assert values.mean() > 0.02
    for b in range(2):
        rows = [x[b].tolist() for x in inputs[:3]]
        expected = direct_write(*rows, inputs[3], b, neuron, RULE, 15.0, 0.2)
        close(mem[b], expected[0])
        assert [keys[b].tolist(), values[b].tolist()] == list(expected[1:3])
        close(key_trace[b], expected[3])
        close(value_trace[b], expected[4])


@neurons
@pytest.mark.parametrize("delay", [1, 3, 20])
def test_reading_is_that_of_single_synapses(neuron, delay):
    inputs = read_inputs(2, 12, 4, delay)
    keys, values, *_, delayed = read(inputs, neuron, "reference")
    assert keys.mean() > 0.02
    assert values.mean() > 0.02
    for b in range(2):
        currents, mem = inputs[0][b].tolist(), inputs[2][b].tolist()
        expected = direct_read(currents, inputs[1].tolist(), mem, inputs[3], b, neuron, delay)
        assert [keys[b].tolist(), values[b].tolist()] == list(expected)
        train = [*inputs[3].delayed[b].tolist(), *expected[1]]
        assert delayed[b].tolist() == train[-delay:]


def agree(run, inputs):
    """Spikes, states and all gradients of the compiled kernel are those of the plain one."""
    expected, expected_gradients = gradients(lambda x: run(x, "reference"), inputs)
    found, found_gradients = gradients(lambda x: run(x, "cpu"), inputs)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        if one.dtype == torch.int32 or set(other.unique().tolist()) <= {0.0, 1.0}:
            assert torch.equal(one, other)
        assert relative(one.double(), other.double()) < 1e-9
    assert found_gradients
    for one, other in zip(found_gradients, expected_gradients, strict=True):
        assert relative(one, other) < 1e-9
    return expected, expected_gradients


@neurons
@pytest.mark.parametrize(("items", "steps", "n"), [(7, 9, 37), (11, 1, 131), (1, 1, 1)])
def test_compiled_scan(neuron, items, steps, n):
    inputs = scan_inputs(SIZE, items, n)
    (spikes, *_), found = agree(lambda x, b: scan(x, neuron, b, steps), inputs)
    assert n == 1 or all(x.any() for x in (spikes, found[0], found[1]))


@neurons
@pytest.mark.parametrize("feedback", [0.2, 0.0])
def test_compiled_writing(neuron, feedback):
    inputs = write_inputs(SIZE, STEPS, N)
    (_, keys, values, *_), found = agree(lambda x, b: write(x, neuron, b, feedback), inputs)
    assert 0.01 < keys.mean() < 0.5
    assert 0.01 < values.mean() < 0.5
    assert all(x.any() for x in found[:3])


@pytest.mark.parametrize("steps", [1, 64, 65, 150])
def test_compiled_writing_over_several_segments(steps):
    inputs = write_inputs(2, steps, 9, seed=1)
    agree(lambda x, b: write(x, LIFParameters(), b), inputs)


def test_compiled_writing_from_rest_and_after_silence():
    """Two segments in which the memory and all traces are 0 come first."""
    keys, values, *_ = write_inputs(SIZE, 200, N, seed=2)
    for currents in (keys, values):
        currents[:, :140] = 0
    expected, found = agree(lambda x, b: write(x, LIFParameters(), b), (keys, values, None, None))
    assert expected[0].abs().max() > 0.01
    assert found[0][:, :128].any()


@pytest.mark.parametrize("silent", [0, 1])
def test_compiled_writing_where_one_side_is_silent(silent):
    inputs = write_inputs(SIZE, 130, N, seed=3)
    inputs[silent][:, :100] = 0
    agree(lambda x, b: write(x, LIFParameters(), b), (*inputs[:2], None, None))


def test_compiled_writing_after_traces_have_ended():
    """Most traces fall below the least one within the first segments; some keys spike again."""
    *currents, mem, state = write_inputs(SIZE, 200, N, seed=5)
    for x in currents:
        x[:, :150] = -0.2
    state = state._replace(key_trace=state.key_trace * 1e-3, value_trace=state.value_trace * 1e-3)
    expected, found = agree(lambda x, b: write(x, LIFParameters(), b), (*currents, mem, state))
    assert 0 < (expected[-2] == 0).double().mean() < 1
    assert found[0][:, 150:].any()


@neurons
@pytest.mark.parametrize("delay", [1, 7, 30, 70])
def test_compiled_reading(neuron, delay):
    inputs = read_inputs(SIZE, STEPS, N, delay)
    (keys, values, *_), found = agree(lambda x, b: read(x, neuron, b), inputs)
    assert keys.mean() > 0.01
    assert values.mean() > 0.01
    assert all(x.any() for x in found[:3])


def test_compiled_reading_from_rest():
    agree(lambda x, b: read(x, LIFParameters(), b), (*read_inputs(SIZE, STEPS, N, 1)[:3], None))


RUNS = {
    "scan": (lambda x, b: scan(x, LIFParameters(), b), lambda d: scan_inputs(8, 40, 37, 0, d)),
    "writing": (
        lambda x, b: write(x, LIFParameters(), b),
        lambda d: write_inputs(8, 160, 37, 0, d),
    ),
    "reading": (
        lambda x, b: read(x, LIFParameters(), b),
        lambda d: read_inputs(8, 90, 37, 7, 0, d),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_single_precision(name):
    """Sums in another order may move a spike now and then; samples without one agree closely."""
    run, make = RUNS[name]
    inputs = make(torch.float32)
    expected, expected_gradients = gradients(lambda x: run(x, "reference"), inputs)
    found, found_gradients = gradients(lambda x: run(x, "cpu"), inputs)
    trains = [
        k for k, x in enumerate(expected) if x.dim() == 3 and set(x.unique().tolist()) == {0, 1}
    ]
    differ = torch.stack([(found[k] != expected[k]).flatten(1).sum(1) for k in trains]).sum(0)
    assert differ.sum() < 1e-4 * sum(expected[k].numel() for k in trains)
    same = differ == 0
    assert same.sum() >= 4
    for one, other in zip(found_gradients, expected_gradients, strict=True):
        assert one.dtype == torch.float32
        if len(other) == len(same):  # the weight of the reading layer has no sample
            one, other = one[same], other[same]
        elif not same.all():
            continue
        assert relative(one, other) < 1e-4


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradients_at_fixed_spikes_are_finite_differences(name, backend):
    """With dampening 0 no gradient passes a spike: membranes, traces and memory are smooth."""
    neuron = LIFParameters(0.1, 20.0, 2, True, 0.0)
    run, inputs = {
        "scan": (scan, scan_inputs(2, 5, 3, 4)),
        "writing": (write, write_inputs(2, 13, 3, 4)),
        "reading": (read, read_inputs(2, 13, 3, 2, 4)),
    }[name]
    outputs, found = gradients(lambda x: run(x, neuron, backend), inputs)
    weights = [x.clone() for x in outputs]

    def loss(moved):
        draw = Draw(9)
        results = run(moved, neuron, backend)
        total = 0.0
        for x in results:
            if x.is_floating_point():
                total += (draw.normal(*x.shape) * x).sum().item()
        return total, results

    wanted = [x for x in flat(inputs) if x.is_floating_point()]
    draw, step = Draw(5), 1e-7
    for gradient, tensor in zip(found, wanted, strict=True):
        direction = draw.normal(*tensor.shape)
        ends = []
        for sign in (1, -1):
            tensor += sign * step * direction
            value, results = loss(inputs)
            tensor -= sign * step * direction
            ends.append(value)
            for x, fixed in zip(results, weights, strict=True):
                if set(fixed.unique().tolist()) <= {0.0, 1.0}:
                    assert torch.equal(x, fixed), "a spike moved"
        slope = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_trained_threshold(backend):
    inputs = scan_inputs(SIZE, 6, 21)
    results = {}
    for name in ("reference", backend):
        for neuron in (LIFParameters(0.1), IFParameters(0.3, 1, True)):
            thr = torch.tensor(float(neuron.thr), dtype=torch.float64, requires_grad=True)
            out = scan(inputs, neuron._replace(thr=thr), name)
            loss = sum((Draw(1).normal(*x.shape) * x).sum() for x in out[:3])
            results.setdefault(neuron, []).append(torch.autograd.grad(loss, thr)[0].item())
    for expected, found in results.values():
        assert expected
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", RUNS)
def test_stopping_and_going_on_changes_nothing(name):
    neuron = LIFParameters()
    if name == "scan":
        currents, state = scan_inputs(2, 10, 5)
        whole, *_ = scan((currents, state), neuron, "cpu")
        first, *state = scan((currents[:, :4], state), neuron, "cpu")
        second, *_ = scan((currents[:, 4:], LIFState(*state)), neuron, "cpu")
        assert torch.equal(torch.cat([first, second], 1), whole)
        return
    if name == "writing":
        key, value, mem, state = write_inputs(2, 100, 9)
        options = {"neuron": neuron, "plasticity": RULE, "tau_trace": 15.0}
        whole = write_memory(key, value, mem=mem, state=state, **options)
        first = write_memory(key[:, :37], value[:, :37], mem=mem, state=state, **options)
        second = write_memory(
            key[:, 37:], value[:, 37:], mem=first.mem, state=first.state, **options
        )
        assert torch.equal(second.mem, whole.mem)
    else:
        currents, weight, mem, state = read_inputs(2, 60, 9, 7)
        options = {"neuron": neuron, "delay": 7}
        whole = read_memory(currents, weight, mem, state=state, **options)
        first = read_memory(currents[:, :4], weight, mem, state=state, **options)
        second = read_memory(currents[:, 4:], weight, mem, state=first.state, **options)
    for spikes in ("key_spikes", "value_spikes"):
        parts = [getattr(first, spikes), getattr(second, spikes)]
        assert torch.equal(torch.cat(parts, 1), getattr(whole, spikes))
    for one, other in zip(flat(second.state), flat(whole.state), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", RUNS)
def test_layouts_empty_batches_and_threads(name, monkeypatch):
    run, make = RUNS[name]
    inputs = make(torch.float64)
    monkeypatch.setattr(shares, "LEAST_SHARE", 1)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        expected, expected_gradients = gradients(lambda x: run(x, "cpu"), inputs)
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        found, found_gradients = gradients(lambda x: run(x, "cpu"), inputs)
    finally:
        numba.set_num_threads(threads)
    for one, other in zip(found + found_gradients, expected + expected_gradients, strict=True):
        assert torch.equal(one, other)
    strided = inputs[0].transpose(0, 1).contiguous().transpose(0, 1)
    assert not strided.is_contiguous()
    for one, other in zip(run((strided, *inputs[1:]), "cpu"), expected, strict=True):
        assert torch.equal(one, other)
    # A mean's gradient is one number, repeated.
    means = [
        torch.autograd.grad(run((x, *inputs[1:]), b)[0].mean(), x)[0]
        for b in ("cpu", "reference")
        for x in [inputs[0].clone().requires_grad_()]
    ]
    assert relative(*means) < 1e-9


@pytest.mark.parametrize(("count", "expected"), [(0, 1), (7, 1), (8, 2), (11, 2)])
def test_a_thread_takes_at_least_four_samples(count, expected):
    """And all shares together are all samples, each once."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread here")
    threads, bounds = numba.get_num_threads(), []
    try:
        numba.set_num_threads(2)
        shares.in_shares(lambda begin, end: bounds.append((begin, end)), count)
    finally:
        numba.set_num_threads(threads)
    assert len(bounds) == expected
    assert sorted(n for bound in bounds for n in range(*bound)) == list(range(count))


def test_threads_stay_for_the_next_call_and_a_forked_process_has_its_own():
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread here")

    def names():
        found = set()
        shares.in_shares(lambda *_: found.add(threading.current_thread().name), 8)
        return found

    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(2)
        before = names()
        assert names() == before
        child = multiprocessing.get_context("fork").Process(target=names)
        child.start()
        child.join(20)
        assert child.exitcode == 0, "a child that waits for its parent's threads does not end"
    finally:
        numba.set_num_threads(threads)
        child.kill()


def test_an_empty_batch():
    for run, inputs in (
        (scan, scan_inputs(0, 5, 3)),
        (write, write_inputs(0, 5, 3)),
        (read, read_inputs(0, 5, 3, 2)),
    ):
        outputs, found = gradients(lambda x, run=run: run(x, LIFParameters(), "cpu"), inputs)
        assert outputs[0].shape[0] == 0
        assert len(found) == len([x for x in flat(inputs) if x.is_floating_point()])


def saved_bytes(run):
    """Bytes that ``run`` keeps for the way back."""
    sizes = {}

    def pack(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        kept = run()
    assert kept is not None
    return sum(sizes.values())


def test_writing_keeps_two_numbers_a_neuron_and_step_and_few_rows():
    size, steps, n = 2, 256, 40
    inputs = [x.requires_grad_() for x in write_inputs(size, steps, n, dtype=torch.float32)[:2]]

    def kept(backend):
        return saved_bytes(lambda: write((*inputs, None, None), LIFParameters(), backend))

    per_step, rows = size * steps * n * 4, size * n * n * 4
    assert kept("cpu") <= 2 * per_step + steps // 64 * rows + 20 * size * n * 4
    assert kept("reference") > steps * rows, "the hooks see what is kept"
    inputs = [x.detach() for x in inputs]
    assert kept("cpu") <= rows, "nothing is kept where nothing is trained"


def test_scan_keeps_nothing_per_step():
    currents, state = scan_inputs(2, 3, 50)
    currents.requires_grad_()
    assert saved_bytes(lambda: scan((currents, state), LIFParameters(), "cpu", 500)) < 10_000


OPTIONS = {"neuron": LIFParameters(), "plasticity": InvertedOja(), "tau_trace": 20.0}


@pytest.mark.parametrize("name", ["nonsense", "cuda"])
def test_a_backend_that_cannot_run(name):
    x = torch.zeros(1, 2, 3)
    for call in (
        lambda: lif_scan(x, LIFParameters(), backend=name),
        lambda: write_memory(x, x, **OPTIONS, backend=name),
        lambda: read_memory(
            x, x[0, :1].T @ x[0, :1], x[:, :1].mT @ x[:, :1], neuron=LIFParameters(), backend=name
        ),
    ):
        with pytest.raises(UserError, match=name):
            call()


def test_half_precision_takes_the_plain_loop():
    currents = torch.ones(1, 2, 3, dtype=torch.bfloat16)
    spikes, _ = lif_scan(currents, LIFParameters())
    assert spikes.dtype == torch.bfloat16
    with pytest.raises(UserError, match="float32"):
        lif_scan(currents, LIFParameters(), backend="cpu")


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("perfect", [False, True])
def test_currents_that_are_not_finite(backend, bad, perfect):
    neuron = LIFParameters(perfect_reset=perfect)
    x, mem = torch.rand(2, 6, 3), torch.rand(2, 3, 3)
    poisoned = x.clone()
    poisoned[1, 2, 0] = bad
    options = {"neuron": neuron, "backend": backend}
    rule = {"plasticity": InvertedOja(), "tau_trace": 20.0}
    for call in (
        lambda: lif_scan(poisoned, **options),
        lambda: write_memory(poisoned, x, **rule, **options),
        lambda: write_memory(x, poisoned, **rule, **options),
        lambda: read_memory(poisoned, mem[0], mem, **options),
    ):
        with pytest.raises(UserError, match="NaN or infinite"):
            call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neuron": LIFParameters(thr=0.0)}, "thr is 0.0"),
        ({"neuron": LIFParameters(thr=float("nan"))}, "thr is nan"),
        ({"neuron": LIFParameters(tau_mem=-1.0)}, "tau_mem is -1.0"),
        ({"neuron": LIFParameters(refractory_time_steps=-1)}, "refractory_time_steps is -1"),
        ({"neuron": LIFParameters(refractory_time_steps=2.5)}, "refractory_time_steps is 2.5"),
        ({"neuron": LIFParameters(dampening_factor=-0.1)}, "dampening_factor is -0.1"),
        ({"plasticity": InvertedOja(w_max=0.0)}, "w_max is 0.0"),
        ({"plasticity": InvertedOja(gamma_pos=-1.0)}, "gamma_pos is -1.0"),
        ({"plasticity": InvertedOja(gamma_neg=float("inf"))}, "gamma_neg is inf"),
        ({"tau_trace": 0.0}, "tau_trace is 0.0"),
        ({"feedback": float("nan")}, "feedback is nan"),
    ],
)
def test_parameters_out_of_range(change, message):
    x = torch.zeros(1, 2, 3)
    with pytest.raises(UserError, match=message):
        write_memory(x, x, **{**OPTIONS, **change})


def test_delays_and_steps_out_of_range():
    x = torch.zeros(1, 2, 3)
    with pytest.raises(UserError, match="delay is 0"):
        read_memory(x, x[0], x, neuron=LIFParameters(), delay=0)
    with pytest.raises(UserError, match="num_time_steps is 0"):
        lif_scan(x, LIFParameters(), num_time_steps=0)


def test_shapes_that_do_not_fit():
    x, mem = torch.zeros(2, 4, 3), torch.zeros(2, 3, 3)
    state = LIFState(x[:, 0], x[:, 0], x[:, 0].int())
    reading = {"neuron": LIFParameters()}
    for call, message in (
        (lambda: lif_scan(x[0], LIFParameters()), "batch, time, neurons"),
        (lambda: lif_scan(x[:, :0], LIFParameters()), "at least one step"),
        (lambda: lif_scan(x.int(), LIFParameters()), "floating-point"),
        (lambda: lif_scan(x, LIFParameters(), state=state._replace(v=x[:, 0, :2])), "v of the"),
        (lambda: lif_scan(x, LIFParameters(), state=state._replace(r=x[:, 0])), "r of the state"),
        (lambda: lif_scan(x, LIFParameters(torch.ones(3))), "must be one number"),
        (lambda: write_memory(x, x[:, :3], **OPTIONS), "the value currents are"),
        (lambda: write_memory(x, x.double(), **OPTIONS), "the value currents: torch.float64"),
        (lambda: write_memory(x, x, mem=mem[:1], **OPTIONS), "the memory must be"),
        (lambda: read_memory(x, mem[0, :2], mem, **reading), "the weight of the value spikes"),
        (lambda: read_memory(x, mem[0], mem[:, :2], **reading), "the memory must be"),
        (
            lambda: write_memory(x, x, **{**OPTIONS, "neuron": LIFParameters(torch.tensor(0.1))}),
            "give a number here",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    _, _, state = read_memory(x, mem[0], mem, neuron=LIFParameters(), delay=2)
    with pytest.raises(ValueError, match="the delayed spikes must be"):
        read_memory(x, mem[0], mem, neuron=LIFParameters(), delay=3, state=state)


@pytest.mark.parametrize("from_rest", [True, False])
def test_compiled_writing_where_most_keys_are_silent(from_rest):
    """Some never come near the threshold, some do but never spike, some spike late."""
    inputs = write_inputs(SIZE, 200, N, seed=4)
    currents = inputs[0]
    currents[:, :, ::2] -= 4
    currents[:, :, 1::6] = 0.03
    currents[:, :120, 3::6] = -1
    mem, state = inputs[2:]
    if from_rest:
        mem = state = None
    else:
        quiet = state.key._replace(z=torch.zeros_like(state.key.z))
        key_trace = state.key_trace * (torch.arange(N) % 3 == 0)
        state = state._replace(key=quiet, key_trace=key_trace)
    expected, found = agree(lambda x, b: write(x, LIFParameters(), b), (*inputs[:2], mem, state))
    keys = expected[1].sum(1)
    assert 0.5 < (keys == 0).double().mean() < 0.9
    assert found[0][:, :, 1::6].any()
