"""The autoencoders: widths, equations, gradients, and the same network on few pixels."""

import numpy as np
import pytest
import torch
from dasbe_examples import SHAPES, lively_network, random_images
from torch.nn.functional import linear

from common.errors import UserError
from dasbe import reference
from dasbe.config import NetworkSettings, dataset_settings, known_datasets
from dasbe.dynamics import on_pixels, scatter_pixels
from dasbe.networks import CallableNetwork, build_network

PAPER_WIDTHS = {
    "bars": (20 * 20, [256], [256]),
    "corners": (28 * 28, [256], [256]),
    "shapes": (28 * 28, [512, 400], [400, 512]),
    "mnist_shape": (28 * 28, [250], [250]),
    "multi_mnist": (48 * 48, [1000, 500], [500, 1000]),
    "mnist_shape_conv": (28 * 28, [1000], [1000, 256, 512]),
    "shapes_contrastive": (28 * 28, [600, 400, 350, 1600], [1600, 350, 400, 600]),
    "moving_shapes": (28 * 28, [600, 300], [300, 600]),
}
PAPER_KINDS = {
    "multi_mnist": "spiking_code",
    "mnist_shape_conv": "convolutional",
    "shapes_contrastive": "contrastive",
    "moving_shapes": "recurrent",
}
PAPER_DYNAMICS = {
    "bars": (54, 6),
    "corners": (28, 8),
    "shapes": (32, 9),
    "multi_mnist": (29, 12),
    "mnist_shape": (29, 9),
    "mnist_shape_conv": (64, 12),
    "shapes_contrastive": (32, 9),
    "moving_shapes": (32, 9),
}
PAPER_ITERATIONS = {"mnist_shape_conv": 30, "shapes_contrastive": 30, "moving_shapes": 60}


def test_there_are_settings_for_the_papers_datasets():
    assert set(known_datasets()) >= set(PAPER_WIDTHS)


@pytest.mark.parametrize("dataset", PAPER_WIDTHS)
def test_settings_build_the_papers_network(dataset):
    settings = dataset_settings(dataset)
    n_pixels, encoder, decoder = PAPER_WIDTHS[dataset]
    assert settings.height * settings.width == n_pixels
    network = build_network(settings.network, n_pixels)
    assert [layer.out_features for layer in network.encoder] == encoder
    first = 512 if dataset == "mnist_shape_conv" else n_pixels
    assert [layer.in_features for layer in network.encoder] == [first, *encoder[:-1]]
    assert [layer.in_features for layer in network.decoder] == decoder
    assert network.decoder[-1].out_features == n_pixels
    assert all(layer.bias is not None for layer in [*network.encoder, *network.decoder])
    assert settings.network.kind == PAPER_KINDS.get(dataset, "autoencoder")
    d = settings.dynamics
    assert (d.window, d.refractory) == PAPER_DYNAMICS[dataset]
    assert d.iterations == PAPER_ITERATIONS.get(dataset, 50)


@pytest.mark.parametrize("dataset", ["bars", "corners", "shapes", "mnist_shape", "multi_mnist"])
def test_settings_of_the_pcnn(dataset):
    settings = dataset_settings(dataset)
    jump, tau = (6, 8) if dataset == "shapes" else (10, 6)
    assert (settings.pcnn.threshold_jump, settings.pcnn.threshold_tau) == (jump, tau)


def written_out(network, images, code_activation, sampled):
    """Drive, code and output of (M, H*W) images, layer by layer."""
    h = images
    for layer in network.encoder[:-1]:
        h = torch.relu(linear(h, layer.weight, layer.bias))
    last = network.encoder[-1]
    drive = code_activation(linear(h, last.weight, last.bias))
    h = code = sampled(drive)
    for layer in network.decoder[:-1]:
        h = torch.relu(linear(h, layer.weight, layer.bias))
    last = network.decoder[-1]
    return drive, code, torch.sigmoid(linear(h, last.weight, last.bias))


@pytest.mark.parametrize("kind", SHAPES)
def test_encode_and_decode_are_the_papers_equations(kind):
    network = lively_network(kind, 30)
    images = random_images(6, 5, 6).flatten(1)
    activation = torch.relu if kind == "spiking_code" else torch.sigmoid
    drive, code, output = written_out(network, images, activation, lambda z: (z > 0.6).float())
    before = images.clone(), code.clone()
    torch.testing.assert_close(network.encode(images), drive)
    torch.testing.assert_close(network.decode(code), output)
    assert torch.equal(images, before[0]), "in-place operations must not reach the input"
    assert torch.equal(code, before[1])


def test_forward_of_a_real_valued_code():
    network = lively_network("deep", 30)
    images = random_images(6, 5, 6).flatten(1)
    drive, _, output = written_out(network, images, torch.sigmoid, lambda z: z)
    logits, code, driven = network(images)
    torch.testing.assert_close(driven, drive)
    assert torch.equal(code, driven)
    torch.testing.assert_close(logits.sigmoid(), output)


def test_forward_of_a_spiking_code_samples_it():
    """z = [h + U(0, 1) > 1]: 1 with probability min(h, 1)."""
    network = lively_network("spiking_code", 30)
    image = random_images(2, 5, 6)[1].flatten()
    codes = []
    drive = network.encode(image[None])[0]
    network.decode_logits = lambda code: codes.append(code) or code
    network(image.expand(20_000, -1), torch.Generator().manual_seed(0))
    frequency = codes[0].mean(0)
    assert set(codes[0].unique().tolist()) == {0, 1}
    expected = drive.clamp(0, 1)
    assert ((expected > 0.1) & (expected < 0.9)).sum() >= 3, "the example must say something"
    torch.testing.assert_close(frequency, expected, rtol=0, atol=0.02)


def test_surrogate_gradient():
    """The derivative of the step at u = h + U(0, 1) is 1 where |u - 1| < 0.5, else 0."""
    network = lively_network("spiking_code", 30)
    drive = torch.linspace(0, 2, 400).repeat(5, 1).requires_grad_()
    code = network.sample_code(drive, torch.Generator().manual_seed(3))
    u = drive.detach() + torch.rand(drive.shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(code, (u > 1).float())
    weights = torch.randn(drive.shape)
    (code * weights).sum().backward()
    assert torch.equal(drive.grad, weights * ((u - 1).abs() < 0.5))


def test_the_gradient_reaches_the_encoder_through_the_spikes():
    network = build_network(SHAPES["spiking_code"], 30, torch.Generator().manual_seed(0))
    logits, _, _ = network(random_images(8, 5, 6).flatten(1), torch.Generator().manual_seed(0))
    logits.square().sum().backward()
    assert network.encoder[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", SHAPES)
def test_a_restricted_network_equals_the_whole_one(kind):
    images = random_images(5, 6, 7)
    network = lively_network(kind, 42)
    pixels = on_pixels(images)
    few = network.restrict(pixels)
    coincidences = (torch.rand(5, 9, pixels.on.shape[1]) < 0.5) * pixels.on[:, None]
    drive = network.encode(scatter_pixels(coincidences, pixels))
    torch.testing.assert_close(few.encode(coincidences), drive)
    code = torch.rand(drive.shape)
    whole = network.decode(code.clone()).gather(2, pixels.index[:, None].expand(-1, 9, -1))
    torch.testing.assert_close(few.decode(code), whole)


def test_the_codes_refractory_period():
    """A certain drive fires every R + 1 phases, also across iterations."""
    network = lively_network("spiking_code", 12)
    drive = torch.full((2, 7, 40), 5.0)
    state, codes = None, []
    for _ in range(4):
        code, state = network.step(drive, state, lambda n: torch.zeros(2, 7, n), 3)
        codes.append(code)
    train = torch.cat(codes, 1)
    expected = (torch.arange(28) % 4 == 0).float()
    assert torch.equal(train, expected[None, :, None].expand(2, -1, 40))


def test_the_convolutional_encoder_is_the_papers():
    network = build_network(dataset_settings("mnist_shape_conv").network, 28 * 28)
    found = [
        (c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding)
        for c in network.convolutions
    ]
    same = ((3, 3), (2, 2), (1, 1))
    assert found == [(1, 64, *same), (64, 32, *same), (32, 32, *same)]
    images = random_images(5, 28, 28).flatten(1)
    drive = network.encode(images)
    torch.testing.assert_close(
        reference.PlainConvolutional(network).encoder(images), drive, rtol=1e-4, atol=1e-5
    )
    assert drive.shape == (5, 1000)


def test_the_recurrent_weights_start_standard_normal():
    network = build_network(
        dataset_settings("moving_shapes").network, 784, torch.Generator().manual_seed(0)
    )
    weight = network.recurrent.weight
    assert weight.shape == (300, 300)
    assert weight.mean().item() == pytest.approx(0, abs=0.02)
    assert weight.std().item() == pytest.approx(1, abs=0.02)
    assert not network.recurrent.bias.any()


def test_a_start_depends_on_its_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    runs = [
        build_network(SHAPES["deep"], 20, torch.Generator().manual_seed(seed)).state_dict()
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not torch.equal(runs[0]["encoder.0.weight"], runs[2]["encoder.0.weight"])
    bound = 20**-0.5  # PyTorch's default for a linear layer of 20 inputs
    assert 0.9 * bound < runs[0]["encoder.0.weight"].abs().max() <= bound


def test_code_dropout_silences_in_training_only():
    network = build_network(NetworkSettings("autoencoder", (5, 500), (500,)), 20)
    network.code_dropout = 1.0
    codes = []
    network.decode_logits = lambda code: codes.append(code) or code
    images = torch.rand(2000, 20)
    network(images, torch.Generator().manual_seed(0))
    network.eval()
    network(images)
    shares = (codes[0] == 0).float().mean(1)
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)  # p ~ U(0, 1) for each image
    assert shares.std().item() == pytest.approx((1 / 12) ** 0.5, abs=0.03)
    assert (codes[1] > 0).all()


@pytest.mark.parametrize("bad", [(), (7,), (8, 7)])
def test_widths_that_do_not_meet(bad):
    with pytest.raises((ValueError, UserError), match="encoder_widths"):
        NetworkSettings("autoencoder", bad, (8, 9))


@pytest.mark.parametrize("output", [torch.zeros(6, 3), torch.zeros(24), np.zeros((6, 4)), None])
def test_a_function_with_a_wrong_output_is_refused(output):
    network = CallableNetwork(lambda c: (output, None))
    with pytest.raises(UserError, match=r"\(6, 4\)"):
        network.decode(torch.zeros(6, 4))
