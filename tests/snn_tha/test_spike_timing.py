import dataclasses
import json

import numba
import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from common.errors import UserError
from common.results import load_arrays
from common.settings import load_settings
from snn_tha import spike_timing
from snn_tha.membranes import membrane_scan
from snn_tha.neurons import LIFParameters, lif_step, rest
from snn_tha.spike_timing import (
    CONDITIONS,
    FILE,
    SpikeTimingSettings,
    build_network,
    compute,
    input_pattern,
    single_spikes,
    target_trace,
    train_condition,
    well_timed,
)

SMALL = {"hidden": 30, "inputs": 12, "steps": 40, "peak_step": 30, "iterations": 12, "settled": 2}


@pytest.fixture
def published():
    return load_settings(SpikeTimingSettings, FILE)


@pytest.fixture
def settings():
    return load_settings(SpikeTimingSettings, FILE, SMALL)


def direct_membranes(currents, neuron):
    """Step by step, differentiated by autograd."""
    state, membranes = rest(currents.shape[1:], currents), []
    for current in currents:
        _, state = lif_step(current, state, neuron)
        membranes.append(state.mem)
    return torch.stack(membranes)


# ---- membranes ------------------------------------------------------------------------------


@pytest.mark.parametrize("neuron", [(0.15, 5.0, 5.0), (0.6, 1.0, 5.0), (0.0, 0.3, 1.0), (1, 2, 3)])
@pytest.mark.parametrize("shape", [(100, 1), (17, 3), (1, 2)])
def test_membranes_equal_those_of_single_steps(neuron, shape):
    source = torch.Generator().manual_seed(1)
    currents = torch.randn(shape, generator=source, dtype=torch.float64) * 3
    weights = torch.randn(shape, generator=source, dtype=torch.float64)
    results = []
    for scan in (membrane_scan, direct_membranes):
        inputs = currents.clone().requires_grad_()
        membranes = scan(inputs, LIFParameters(*neuron))
        (membranes * weights).sum().backward()
        results.append((membranes.detach(), inputs.grad))
    torch.testing.assert_close(*(found[0] for found in results), rtol=0, atol=1e-12)
    torch.testing.assert_close(*(found[1] for found in results), rtol=0, atol=1e-12)


def test_membranes_of_single_precision_and_of_strided_currents():
    currents = torch.randn(6, 50, generator=torch.Generator().manual_seed(2)).T * 3
    neuron = LIFParameters(0.6, 1.0, 5.0)
    found = membrane_scan(currents, neuron)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, direct_membranes(currents, neuron))


# ---- the task -------------------------------------------------------------------------------


def test_target_is_a_ramp_that_crosses_the_threshold_before_its_end(published):
    for condition, (peak, thr, step) in {"a": (1.05, 1, 72), "d": (55, 50, 69)}.items():
        target = target_trace(published, condition)
        assert target.shape == (100,) and target[75] == peak and not target[76:].any()
        assert int((target > thr).nonzero()[0]) == step
        torch.testing.assert_close(target[:76], torch.linspace(0, peak, 76))


def test_pattern_has_a_probability_for_every_entry(published):
    pattern = input_pattern(published, 3)
    assert pattern.shape == (100, 100) and set(pattern.unique().tolist()) == {0, 1}
    assert pattern.mean().item() == pytest.approx(0.5, abs=0.03)
    assert torch.equal(pattern, input_pattern(published, 3))
    assert not torch.equal(pattern, input_pattern(published, 4))
    # Rows do not share probabilities: their means are those of coins with probability 1/2.
    assert pattern.mean(0).std().item() == pytest.approx(0.05, abs=0.015)


def test_binary_conditions_start_from_the_same_weights(published):
    networks = {condition: build_network(published, condition, 0) for condition in CONDITIONS}
    for layer, (inputs, outputs) in enumerate([(100, 1000), (1000, 1)]):
        layers = {condition: network[layer] for condition, network in networks.items()}
        for condition in "cd":
            assert torch.equal(layers[condition].weight, layers["b"].weight)
        assert layers["b"].weight.abs().max() <= (1.5 / (inputs + outputs)) ** 0.5
        assert layers["b"].binary and not layers["a"].binary
        assert not layers["b"].bias.any() and layers["a"].bias.abs().max() <= inputs**-0.5


def direct_training(settings, condition, seed, dtype):
    """The task step by step in time: straight-through signs, autograd, SGD written out."""
    pattern = input_pattern(settings, seed).to(dtype)
    target = target_trace(settings, condition).to(dtype)
    layers = build_network(settings, condition, seed)
    parameters = [p.detach().to(dtype) for layer in layers for p in (layer.weight, layer.bias)]
    velocities = [torch.zeros_like(p) for p in parameters]
    thr, membranes, errors = settings.thr_start[condition], [], []
    for _ in range(settings.iterations):
        leaves = [p.clone().requires_grad_() for p in parameters]
        used = list(leaves)
        if settings.binary[condition]:
            for k in (0, 2):
                sign = torch.where(leaves[k] >= 0, 1.0, -1.0).to(dtype)
                used[k] = leaves[k] + (sign - leaves[k]).detach()
        neuron = LIFParameters(settings.beta[condition], thr, settings.slope)
        hidden, output = rest((settings.hidden,), pattern), rest((1,), pattern)
        trace = []
        for x in pattern:
            z, hidden = lif_step(linear(x, used[0], used[1]), hidden, neuron)
            _, output = lif_step(linear(z, used[2], used[3]), output, neuron)
            trace.append(output.mem[0])
        loss = torch.stack(trace).sub(target).square().mean()
        loss.backward()
        for k, leaf in enumerate(leaves):
            velocities[k] = settings.momentum * velocities[k] + leaf.grad
            parameters[k] = parameters[k] - settings.learning_rate * velocities[k]
        thr = thr + settings.alpha[condition] * (settings.thr_final[condition] - thr)
        membranes.append(torch.stack(trace).detach().numpy())
        errors.append(loss.item())
    return np.stack(membranes), np.array(errors)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_training_equals_the_direct_one(settings, condition, monkeypatch):
    """In double precision, in which no rounding changes a spike."""
    slow = dataclasses.replace(
        settings,
        alpha={**settings.alpha, "d": 0.1},
        thr_start={**settings.thr_start, "c": 2.0, "d": 1.0},
        thr_final={**settings.thr_final, "c": 2.0, "d": 4.0},
    )
    expected, errors = direct_training(slow, condition, 5, torch.float64)
    plain = {
        name: getattr(spike_timing, name) for name in ("input_pattern", "target_trace", "Linear")
    }
    for name in ("input_pattern", "target_trace", "Linear"):
        monkeypatch.setattr(spike_timing, name, lambda *a, make=plain[name]: make(*a).double())
    found = train_condition(slow, condition, 5)
    assert errors[-1] < errors[0]
    np.testing.assert_allclose(found.membranes, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.mse, errors, rtol=1e-9)


def test_a_training_is_described(settings):
    training = train_condition(settings, "d", 0)
    assert training.membranes.shape == training.spikes.shape == (12, 40)
    np.testing.assert_array_equal(
        training.spikes, training.membranes > training.thresholds[:, None]
    )
    thr = 5.0
    for value in training.thresholds:
        assert value == pytest.approx(thr, rel=1e-6)
        thr += 5e-3 * (50 - thr)
    error = np.square(training.membranes - target_trace(settings, "d").numpy()).mean(1)
    np.testing.assert_allclose(training.mse, error, rtol=1e-5)
    assert ((training.rates >= 0) & (training.rates <= 1 - training.dead + 1e-6)).all()
    again = train_condition(settings, "d", 0)
    for one, other in zip(training, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_threads_are_as_before(settings):
    before = torch.get_num_threads(), numba.get_num_threads()
    train_condition(settings, "a", 0)
    with pytest.raises(UserError, match="became"):
        diverging = dataclasses.replace(settings, learning_rate=1e30)
        train_condition(diverging, "a", 0)
    assert (torch.get_num_threads(), numba.get_num_threads()) == before


@pytest.mark.slow
def test_annealing_fires_once_in_time_where_fixed_thresholds_do_not(published):
    counts = {
        c: int(well_timed(published, train_condition(published, c, 0).spikes).sum()) for c in "bcd"
    }
    assert counts["d"] > max(counts["b"], 10) and counts["c"] == 0


# ---- measuring ------------------------------------------------------------------------------


def test_single_and_well_timed_spikes(settings):
    spikes = np.zeros((6, 100), np.uint8)
    for iteration, steps in enumerate([[70], [70, 71], [66], [77], [78], []]):
        spikes[iteration, steps] = 1
    assert single_spikes(spikes).tolist() == [70, -1, 66, 77, 78, -1]
    assert well_timed(settings, spikes).tolist() == [False, False, True, True, False, False]


def test_compute_measures_every_condition_and_seed(settings):
    record, arrays = compute(settings, [3, 4], "quick")
    names = [m.what for m in record.measurements]
    assert len(names) == len(set(names)) == 24 and record.seeds == [3, 4]
    for condition in CONDITIONS:
        trainings = [train_condition(settings, condition, seed) for seed in (3, 4)]
        np.testing.assert_array_equal(arrays[f"{condition}-membranes"], trainings[0].membranes)
        np.testing.assert_array_equal(
            arrays[f"{condition}-steps"], [single_spikes(x.spikes) for x in trainings]
        )
        found = {
            m.what.partition(": ")[2]: m
            for m in record.measurements
            if m.what.startswith(f"({condition})")
        }
        last = min(settings.snapshot_3[condition], 11)
        assert found[f"MSE, iteration {last}"].value == pytest.approx(
            np.mean([x.mse[last] for x in trainings])
        )
        late = np.mean([x.mse[2:].mean() for x in trainings])
        assert found["mean MSE, iterations 2 to 11"].value == pytest.approx(late)
        power = target_trace(settings, condition).square().mean().item()
        relative = found["mean MSE / power of the target, iterations 2 to 11"]
        assert relative.value == pytest.approx(late / power, rel=1e-5)
        assert found[f"spikes, iteration {last}"].value == np.mean(
            [x.spikes[last].sum() for x in trainings]
        )
        assert all(m.n == 2 for m in found.values())


# ---- command line ---------------------------------------------------------------------------

FLAGS = [word for key, value in SMALL.items() for word in (f"--{key}", str(value))]


def test_command_writes_record_and_arrays(tmp_path, capsys):
    out = tmp_path / "out"
    assert spike_timing.main([*FLAGS, "--seeds", "2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    name = "(d) binarised, annealed threshold: iterations 2 to 11 with one spike, in steps 66 to 77"
    assert f"{name}: of " in printed
    assert load_arrays(out / "arrays.npz")["d-membranes"].shape == (12, 40)
    record = json.loads((out / "record.json").read_text())
    assert record["seeds"] == [2] and record["settings"]["hidden"] == 30


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "1", "1"], "a seed is given twice"),
        (["--beta", "a=0.5"], "beta needs a value for each of a, b, c, d"),
        (["--peak_step", "40"], "peak_step must be below steps"),
        (["--alpha", "a=0", "b=0", "c=0", "d=2"], "must be at most 1"),
        (["--seeds", "-1"], "the seed must be 0 or more"),
    ],
)
def test_wrong_flags_are_one_sentence(tmp_path, capsys, flags, message):
    assert spike_timing.main([*FLAGS, *flags, "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr().err.strip()
    assert message in text and len(text.splitlines()) == 1
    assert not (tmp_path / "out").exists()
