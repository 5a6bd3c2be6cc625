"""Layer-by-layer networks against the direct step-by-step one."""

import copy

import pytest
import torch
from snn_tha_examples import STEPS, example, some_draws
from torch.nn.functional import avg_pool2d, conv2d, one_hot

from common.errors import UserError
from snn_tha import products, reference
from snn_tha.losses import count_loss, count_targets, n_correct, predicted
from snn_tha.network import Execution, Network, layer_shapes
from snn_tha.products import convolve_and_pool, fold_blocks, multiply, pooled_kernel

EXAMPLES = ("static", "events", "precise", "dense")


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_outputs_and_gradients_are_those_of_the_direct_model(name, backend):
    """Also dropout masks, and the running averages of batch normalisation."""
    ours = example(name)
    direct = reference.PlainNetwork(copy.deepcopy(ours.network))
    draws = some_draws(len(ours.labels))
    found = ours.network(ours.x, ours.neurons, STEPS, draws, Execution(backend))
    expected = direct(ours.x.double(), ours.neurons, STEPS, draws)
    for layer, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert 0.05 < other.mean() < 0.6, layer
        assert one.mean() == other.mean()
    assert torch.equal(found[-1], expected[-1])
    for spikes in (found, expected):
        count_loss(spikes[-1], ours.labels).backward()
    theirs = dict(direct.network.named_parameters())
    for key, parameter in ours.network.named_parameters():
        assert theirs[key].grad.abs().max() > 0, key
        error = (parameter.grad - theirs[key].grad).abs().max() / theirs[key].grad.abs().max()
        assert error < 1e-10, key
    buffers = dict(direct.network.named_buffers())
    for key, value in ours.network.named_buffers():
        torch.testing.assert_close(value, buffers[key])


@pytest.mark.parametrize("name", EXAMPLES)
def test_evaluation_is_that_of_the_direct_model(name):
    """Running averages, no dropout."""
    ours = example(name)
    for norm in ours.network.norms:
        norm.running_mean += 0.1
        norm.running_var *= 0.05
    direct = reference.PlainNetwork(copy.deepcopy(ours.network)).eval()
    found = ours.network.eval()(ours.x, ours.neurons, STEPS)
    expected = direct(ours.x.double(), ours.neurons, STEPS)
    assert torch.equal(found[-1], expected[-1])
    assert found[-1].any()


@pytest.mark.parametrize("name", ["static", "events", "dense"])
def test_bfloat16_products_change_no_spike(name):
    """Gradients are rounded, but point the same way."""
    both = [example(name, torch.float32) for _ in range(2)]
    draws = some_draws(len(both[0].labels))
    found = []
    for bfloat16, ours in zip((False, True), both, strict=True):
        execution = Execution("cpu", bfloat16)
        spikes = ours.network(ours.x, ours.neurons, STEPS, draws, execution)
        count_loss(spikes[-1], ours.labels).backward()
        found.append(spikes)
    assert found[1][0].dtype == torch.bfloat16
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other.float())
    for one, other in zip(*(x.network.parameters() for x in both), strict=True):
        cosine = torch.cosine_similarity(one.grad.flatten(), other.grad.flatten(), 0)
        assert cosine > 0.9999


def test_counts_beyond_bfloat16_change_no_spike():
    """257 is not a bfloat16 number."""
    ours = example("dense", torch.float32)
    ours.x[0, 0, 0] = 257
    spikes = [
        ours.network.eval()(ours.x, ours.neurons, STEPS, None, Execution("cpu", bfloat16))
        for bfloat16 in (False, True)
    ]
    for one, other in zip(*spikes, strict=True):
        assert torch.equal(one, other.float())


@pytest.mark.parametrize("density", [0.05, 1.0])
def test_products_in_bfloat16_are_exact(density, monkeypatch):
    """Small results at once; results of 64 (256) and more by way of float32."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (8, 16, 5, 5), generator=generator).float() * 2 - 1
    signs[0] = 1
    maps = (torch.rand(3, 12, 12, 16, generator=generator) < density).float()
    expected = avg_pool2d(conv2d(maps.permute(0, 3, 1, 2), signs), 2).permute(0, 2, 3, 1)
    calls = []

    def counted(maps, weight):
        calls.append(maps.dtype)
        return conv2d(maps, weight)

    monkeypatch.setattr(products, "conv2d", counted)
    assert torch.equal(convolve_and_pool(fold_blocks(maps).bfloat16(), signs), expected)
    large = expected.abs().max() >= 64
    assert calls == [torch.bfloat16, torch.float32][: 1 + large]
    assert large == (density == 1.0)
    rows = maps.flatten(1)[:, :400]
    weight = signs.flatten(1)
    assert torch.equal(multiply(rows.bfloat16(), weight), rows @ weight.T)


def test_pooled_kernels_are_convolution_and_pooling():
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
    maps = torch.randn(2, 3, 14, 16, generator=generator, dtype=torch.float64)
    expected = avg_pool2d(conv2d(maps, kernel), 2)
    torch.testing.assert_close(conv2d(maps, pooled_kernel(kernel), stride=2), expected)
    folded = fold_blocks(maps.permute(0, 2, 3, 1))
    assert folded.shape == (2, 7, 8, 12)
    found = convolve_and_pool(folded, kernel).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="no 2 x 2 blocks"):
        fold_blocks(torch.zeros(1, 3, 4, 2))


def test_shapes_of_the_published_networks():
    assert layer_shapes((1, 28, 28), (16, 64), (10,)) == [(16, 12, 12), (64, 4, 4), (10,)]
    assert layer_shapes((2, 32, 32), (16, 32), (11,)) == [(16, 14, 14), (32, 5, 5), (11,)]
    network = Network((1, 28, 28), (16, 64), (10,), batch_norm=True, binary=True, dropout=[0] * 3)
    assert network.linears[0].weight.shape == (10, 1024)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 27, 28), (4,), (10,)), "does not fit maps of 23 x 24"),
        (((1, 28, 28), (4, 4, 4), (10,)), "use fewer convolutions"),
        (((700,), (4,), (10,)), "need an input of channels, rows and columns"),
        (((700,), (), ()), "needs a linear layer"),
    ],
)
def test_networks_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        layer_shapes(*arguments)


def test_inputs_that_do_not_fit():
    ours = example("dense")
    with pytest.raises(ValueError, match="the input has shape"):
        ours.network(ours.x[:, :, :29], ours.neurons, STEPS)
    with pytest.raises(ValueError, match="dropout in training needs draws"):
        ours.network(ours.x, ours.neurons, STEPS)
    with pytest.raises(UserError, match="1 dropout rates for 2 layers"):
        Network((3,), (), (4, 2), batch_norm=False, binary=True, dropout=(0,))


# ---- the loss ---------------------------------------------------------------------------------


def test_the_loss_on_counts():
    """As snnTorch's, whose mean over the batch is our sum divided by its size."""
    functional = pytest.importorskip("snntorch.functional")
    spikes = (torch.rand(13, 6, 4, generator=torch.Generator().manual_seed(2)) < 0.4).float()
    labels = torch.tensor([0, 3, 1, 1, 2, 0])
    expected = functional.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)(spikes, labels)
    torch.testing.assert_close(count_loss(spikes, labels) / 6, expected)
    assert count_targets(labels[:2], 4, 13).tolist() == [[10, 2, 2, 2], [2, 2, 2, 10]]


def test_the_class_with_most_spikes_is_predicted():
    counts = torch.tensor([[3, 5, 1], [2, 2, 0], [0, 0, 0]])
    spikes = (torch.arange(6)[:, None, None] < counts).float()
    assert predicted(spikes).tolist() == [1, 0, 0]
    assert n_correct(spikes, torch.tensor([1, 0, 2])) == 2
    assert one_hot(predicted(spikes), 3).sum() == 3
