"""Layers against their equations written out: weights, wiring, starts."""

import math

import pytest
import torch
from hebbian_examples import RULE, Draw
from torch.nn.functional import conv2d, max_pool2d

from hebbian_snn.convnets.encoders import ReLUConvolution
from hebbian_snn.kernels import lif_scan, read_memory, write_memory
from hebbian_snn.layers import (
    RELU_PLASTICITY,
    Embedding,
    Encoding,
    LinearEmbedding,
    Output,
    ReadingLayer,
    ReLUReadingLayer,
    ReLUWritingLayer,
    SentenceEncoding,
    SpikingConvolution,
    SpikingLinear,
    WritingLayer,
)
from hebbian_snn.neurons import IFParameters, LIFParameters, lif_step, rest
from hebbian_snn.plasticity import InvertedOja

NEURON = LIFParameters()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


LAYERS = {  # builder, fan in, fan out
    "linear": (lambda g: LinearEmbedding(50, 70, g), 50, 70),
    "embedding": (lambda g: Embedding(50, 70, g), 50, 70),
    "writing": (lambda g: WritingLayer(60, 40, NEURON, RULE, 20.0, g), 60, 80),
    "reading": (lambda g: ReadingLayer(60, 40, NEURON, g), 100, 40),
    "spiking": (lambda g: SpikingLinear(60, 40, NEURON, g), 60, 40),
    "convolution": (lambda g: SpikingConvolution(8, IFParameters(1.0), g), 72, 576),
    "relu writing": (lambda g: ReLUWritingLayer(60, 40, g), 60, 80),
    "relu reading": (lambda g: ReLUReadingLayer(60, 40, g), 60, 40),
    "relu convolution": (lambda g: ReLUConvolution(8, g), 72, 576),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weights_start_xavier_uniform_from_the_generator(name):
    build, fan_in, fan_out = LAYERS[name]
    weight = build(seeded()).weight
    bound = math.sqrt(2) * math.sqrt(6 / (fan_in + fan_out))
    assert 0.97 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    torch.manual_seed(5)
    assert torch.equal(build(seeded()).weight, weight)
    assert not torch.equal(build(seeded(1)).weight, weight)
    assert [n for n, _ in build(seeded()).named_parameters() if n != "thr"] == ["weight"]


def test_the_output_counts_the_spikes_of_the_last_steps():
    layer = Output(40, 7, seeded()).requires_grad_(False)
    assert 0.95 * 40**-0.5 < layer.weight.abs().max() <= 40**-0.5
    spikes = Draw(0, torch.float32).spikes(3, 50, 40)
    expected = [
        [
            sum(spikes[b, t, i] * layer.weight[k, i] for t in range(20, 50) for i in range(40))
            for k in range(7)
        ]
        for b in range(3)
    ]
    torch.testing.assert_close(layer(spikes), torch.tensor(expected))


def test_padding_stays_zero():
    layer = Embedding(6, 5, seeded(), nil=True)
    assert not layer.weight[0].any()
    assert layer.weight[1:].all()
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    words = torch.tensor([[0, 2, 0], [3, 3, 1]])
    assert torch.equal(layer(words)[0, 1], layer.weight[2])
    layer(words).sum().backward()
    optimizer.step()
    assert not layer.weight[0].any()
    assert not layer(words)[0, 0].any()
    assert Embedding(6, 5, seeded()).weight[0].all()


def test_sentences_are_weighted_sums_of_their_words():
    layer = SentenceEncoding(4, 3)
    assert torch.equal(layer.encoding, torch.ones(4, 3))
    words = Draw(0, torch.float32).normal(2, 5, 4, 3)
    torch.testing.assert_close(layer(words), words.sum(2))
    with torch.no_grad():
        layer.encoding.copy_(Draw(1, torch.float32).normal(4, 3))
    expected = sum(layer.encoding[w] * words[:, :, w] for w in range(4))
    torch.testing.assert_close(layer(words), expected)
    layer(words).sum().backward()
    torch.testing.assert_close(layer.encoding.grad, words.sum((0, 1)))
    assert not SentenceEncoding(4, 3, learned=False).encoding.requires_grad


def test_time_words_keep_their_place():
    layer = SentenceEncoding(4, 3, keep_last=True)
    words = Draw(0, torch.float32).normal(2, 5, 4, 3)
    layer(words).sum().backward()
    assert not layer.encoding.grad[3].any()
    assert layer.encoding.grad[:3].all()


def test_items_are_encoded_one_after_the_other():
    items = Draw(0, torch.float32).uniform(2, 3, 5, high=0.08)
    layer = Encoding(20, NEURON, factor=5)
    spikes, after = layer(items)
    currents = 5 * items.repeat_interleave(20, 1)
    expected, expected_after = lif_scan(currents, NEURON, backend="reference")
    assert 0.02 < spikes.mean() < 0.3
    assert torch.equal(spikes, expected)
    torch.testing.assert_close(after, expected_after)
    again, _ = layer(items, after)
    assert not torch.equal(again, spikes)
    assert not list(layer.parameters())


def test_the_writing_layer_halves_its_weight():
    layer = WritingLayer(12, 7, NEURON, RULE, 15.0, seeded(), feedback=0.5)
    spikes = Draw(0, torch.float32).spikes(2, 80, 12, rate=0.3)
    written = layer(spikes)
    expected = write_memory(
        spikes @ layer.weight[:7].T,
        spikes @ layer.weight[7:].T,
        neuron=NEURON,
        plasticity=RULE,
        tau_trace=15.0,
        feedback=0.5,
        backend="reference",
    )
    assert written.mem.abs().max() > 0.01
    torch.testing.assert_close(written, expected, rtol=1e-4, atol=1e-6)
    found = torch.autograd.grad(written.mem.sum(), layer.weight)
    torch.testing.assert_close(
        found, torch.autograd.grad(expected.mem.sum(), layer.weight), rtol=1e-3, atol=1e-5
    )
    further = layer(spikes, written.mem, written.state)
    whole = layer(torch.cat([spikes, spikes], 1))
    torch.testing.assert_close(further.mem, whole.mem, rtol=1e-4, atol=1e-6)


def test_the_reading_layer_hears_inputs_and_values():
    neuron = LIFParameters(thr=0.02)
    layer = ReadingLayer(12, 7, neuron, seeded(), delay=3)
    draw = Draw(0, torch.float32)
    spikes, mem = draw.spikes(2, 40, 12, rate=0.6), draw.uniform(2, 7, 7, high=3.0)
    out = layer(spikes, mem)
    expected = read_memory(
        spikes @ layer.weight[:, :12].T,
        layer.weight[:, 12:],
        mem,
        neuron=neuron,
        delay=3,
        backend="reference",
    )
    assert out.value_spikes.mean() > 0.02
    torch.testing.assert_close(out, expected)
    further, whole = layer(spikes, mem, out.state), layer(torch.cat([spikes, spikes], 1), mem)
    assert torch.equal(further.value_spikes, whole.value_spikes[:, 40:])


def test_without_growth_the_memory_answers_nothing():
    spikes = Draw(0, torch.float32).spikes(2, 80, 12, rate=0.3)
    rule = InvertedOja(gamma_pos=0.0)
    written = WritingLayer(12, 7, NEURON, rule, 20.0, seeded())(spikes)
    assert written.value_spikes.any()
    assert not ReadingLayer(12, 7, NEURON, seeded())(spikes, written.mem).value_spikes.any()


def test_what_was_written_is_read():
    """Two samples see the same key with different values: the same question, other answers."""
    draw = Draw(3, torch.float32)
    key, values = draw.spikes(1, 100, 20, rate=0.4), draw.spikes(2, 100, 20, rate=0.4)
    silent = torch.zeros(2, 100, 20)
    layer = WritingLayer(40, 30, NEURON, InvertedOja(), 20.0, seeded())
    with torch.no_grad():  # keys hear the first half, values the second
        layer.weight[:30, 20:] = 0
        layer.weight[30:, :20] = 0
    mem = layer(torch.cat([key.expand(2, -1, -1), values], 2)).mem
    reader = ReadingLayer(20, 30, NEURON, seeded(1))
    with torch.no_grad():
        reader.weight[:, :20] = layer.weight[:30, :20]
    out = reader(key.expand(2, -1, -1), mem)
    assert torch.equal(out.key_spikes[0, :2], out.key_spikes[1, :2])
    counts = out.value_spikes.sum(1)
    assert counts.sum() > 50
    assert not torch.equal(counts[0], counts[1])
    assert not reader(silent, mem).value_spikes.any()


def test_a_spiking_layer():
    layer = SpikingLinear(12, 7, NEURON, seeded())
    spikes = Draw(0, torch.float32).spikes(2, 30, 12, rate=0.3)
    fired, after = layer(spikes)
    expected, _ = lif_scan(spikes @ layer.weight.T, NEURON, backend="reference")
    assert fired.mean() > 0.02
    assert torch.equal(fired, expected)
    whole, _ = layer(torch.cat([spikes, spikes], 1))
    assert torch.equal(layer(spikes, after)[0], whole[:, 30:])


@pytest.mark.parametrize("learned", [False, True])
def test_a_spiking_convolution_step_by_step(learned):
    neuron = IFParameters(0.7, 1)
    layer = SpikingConvolution(2, neuron, seeded(), 3, learn_threshold=learned).double()
    spikes = Draw(0).spikes(2, 10, 2, 5, 7, rate=0.4).requires_grad_()
    found = layer(spikes)
    thr = layer.thr.detach().clone().requires_grad_()
    weight = layer.weight.detach().clone().requires_grad_()
    state, steps = rest((2, 3, 5, 7), spikes), []
    for t in range(10):
        current = conv2d(spikes[:, t], weight, padding=1)
        fired, state = lif_step(current, state, neuron._replace(thr=thr))
        steps.append(max_pool2d(fired, 2))
    expected = torch.stack(steps, 1)
    assert found.shape == (2, 10, 3, 2, 3)
    assert 0.05 < found.mean() < 0.9
    assert torch.equal(found, expected)
    weights = Draw(1).normal(*found.shape)
    wanted = [layer.weight, spikes, *([layer.thr] if learned else [])]
    one = torch.autograd.grad((weights * found).sum(), wanted)
    other = torch.autograd.grad((weights * expected).sum(), [weight, spikes, thr])
    torch.testing.assert_close(one, other[: len(one)], rtol=1e-9, atol=1e-12)
    assert layer.thr.requires_grad == learned
    assert "thr" in layer.state_dict()


def test_relu_memory_item_by_item():
    layer, reader = ReLUWritingLayer(6, 4, seeded()), ReLUReadingLayer(6, 4, seeded(1))
    draw = Draw(0, torch.float32)
    items, query = draw.uniform(2, 3, 6), draw.uniform(2, 1, 6)
    mem, keys, values = layer(items)
    for b in range(2):
        expected = torch.zeros(4, 4)
        for t in range(3):
            key = (layer.weight[:4] @ items[b, t]).relu()
            value = (layer.weight[4:] @ items[b, t]).relu()
            torch.testing.assert_close(keys[b, t], key)
            torch.testing.assert_close(values[b, t], value)
            expected = (
                expected + 0.1 * (1 - expected) * torch.outer(value, key) - 0.1 * key**2 * expected
            )
        torch.testing.assert_close(mem[b], expected)
        key = (reader.weight @ query[b, 0]).relu()
        found = reader(query, mem)
        torch.testing.assert_close(found[0][b, 0], key)
        torch.testing.assert_close(found[1][b, 0], (expected @ key).relu())
    assert RELU_PLASTICITY == (1.0, 0.1, 0.1)
    first, *_ = layer(items[:, :1])
    torch.testing.assert_close(layer(items[:, 1:], first)[0], mem)
    (gradient,) = torch.autograd.grad(mem.sum(), layer.weight)
    assert gradient.any()


def test_a_relu_convolution():
    layer = ReLUConvolution(2, seeded(), 3)
    maps = Draw(0, torch.float32).normal(4, 2, 6, 5)
    expected = max_pool2d(conv2d(maps, layer.weight, padding=1).clamp(min=0), 2)
    torch.testing.assert_close(layer(maps), expected)
