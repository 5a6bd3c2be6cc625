"""The autoencoder, the settings it is built from, and trained ones from disk."""

from dataclasses import replace

import pytest
import torch
from checkpoint_metadata import TRAINED
from gust_examples import WIDTHS, lively_network

from common.checkpoints import save_checkpoint
from common.errors import UserError
from common.settings import to_dict
from gust.config import gust_settings
from gust.network import Autoencoder
from gust.trained import MODEL, build_network, load_network

SMALL = {"height": 4, "width": 5, "network": {"encoder_widths": [7, 3], "decoder_widths": [3, 6]}}


# ---- network --------------------------------------------------------------------------------


def plain(rows, layers):
    """Linear layers written out: ReLU between them, sigmoid at the end."""
    for place, layer in enumerate(layers):
        rows = rows @ layer.weight.T + layer.bias
        rows = rows.clamp(min=0) if place + 1 < len(layers) else 1 / (1 + torch.exp(-rows))
    return rows


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("part", ["encode", "decode"])
def test_encoder_and_decoder_are_their_layers(widths, part):
    network = lively_network(widths, 23)
    layers, given = {
        "encode": (network.encoder, network.n_pixels),
        "decode": (network.decoder, network.n_code),
    }[part]
    rows = torch.rand(3, 4, given, generator=torch.Generator().manual_seed(0)).double()
    before = rows.clone()
    found, expected = getattr(network, part)(rows), plain(rows, layers)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(rows, before), "the input is not written to"
    parameters = list(layers.parameters())
    weights = torch.linspace(-1, 1, found.numel()).double().view_as(found)
    gradients = [
        torch.autograd.grad((weights * out).sum(), parameters) for out in (found, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_layers_start_as_pytorchs_default():
    network = Autoencoder(784, [512, 400], [400, 512], torch.Generator().manual_seed(0))
    assert [(m.in_features, m.out_features) for m in network.encoder] == [(784, 512), (512, 400)]
    assert [(m.in_features, m.out_features) for m in network.decoder] == [(400, 512), (512, 784)]
    for layer in [*network.encoder, *network.decoder]:
        bound = layer.in_features**-0.5
        for parameter in layer.parameters():
            assert parameter.requires_grad
            assert 0.99 * bound < parameter.abs().max() <= bound
            assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    again = Autoencoder(784, [512, 400], [400, 512], torch.Generator().manual_seed(0))
    other = Autoencoder(784, [512, 400], [400, 512], torch.Generator().manual_seed(1))
    assert torch.equal(network.encoder[0].weight, again.encoder[0].weight)
    assert not torch.equal(network.encoder[0].weight, other.encoder[0].weight)


# ---- settings -------------------------------------------------------------------------------


def test_the_settings_are_the_papers():
    settings = gust_settings()
    assert settings.dataset == "shapes_multiobj_3_3"
    assert (settings.height, settings.width) == (28, 28)
    assert settings.network.encoder_widths == (512, 400)
    assert settings.network.decoder_widths == (400, 512)
    dynamics, training, evaluation = settings.dynamics, settings.training, settings.evaluation
    assert (dynamics.window, dynamics.refractory, dynamics.thinning) == (10, 9, 0.5)
    assert (training.loss, training.noise) == ("receptive_field_sum", 0.65)
    assert (training.images, training.iterations, training.batch_size) == (20_000, 8, 1024)
    assert (training.learning_rate, training.epochs, training.patience) == (0.01, 400, 40)
    assert training.milestones == {60: 0.5, 100: 0.5, 200: 0.5}
    assert evaluation.settle == 30
    assert (evaluation.cluster_cost, evaluation.synchrony_cost) == (3, 1 / 3)
    for objects in (2, 4):
        other = gust_settings({"train_objects": objects})
        assert other.dataset == f"shapes_multiobj_{objects}_3"
        assert replace(other, train_objects=3) == settings


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"train_objects": 5}, "train_objects' must be one of 2, 3, 4"),
        ({"training": {"loss": "nonsense"}}, "receptive_field_sum"),
        ({"training": {"noise": 1.5}}, "noise' must be at most 1"),
        ({"dynamics": {"refractory": 0}}, "refractory' must be at least 1"),
        ({"network": {"encoder_widths": [20, 10]}}, "encoder_widths must end with"),
        ({"network": {"encoder_widths": []}}, "encoder_widths must end with"),
        ({"nonsense": 1}, "nonsense"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(overrides, says):
    with pytest.raises(UserError, match=says):
        gust_settings(overrides)


# ---- trained networks -----------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A function that writes a small network's checkpoint, changed as told; returns its path."""
    monkeypatch.setattr("gust.trained.CHECKPOINTS", tmp_path)

    def write(settings=None, **changed):
        own = gust_settings(SMALL)
        tensors = build_network(own, torch.Generator().manual_seed(0)).state_dict()
        metadata = {**TRAINED, "model": MODEL, "settings": settings or to_dict(own), **changed}
        path = tmp_path / "gust" / "shapes_2.safetensors"
        save_checkpoint(path, tensors, metadata)
        return path

    return write


def test_a_network_is_found_by_name_or_path(shipped):
    path = shipped()
    expected = build_network(gust_settings(SMALL), torch.Generator().manual_seed(0))
    for name in ("shapes_2", path, str(path)):
        trained = load_network(name)
        assert trained.settings == gust_settings(SMALL)
        assert trained.checkpoint.path == path
        assert not trained.network.training
        for one, other in zip(trained.network.parameters(), expected.parameters(), strict=True):
            assert torch.equal(one, other)
            assert not one.requires_grad


def test_a_name_that_is_not_there(shipped):
    with pytest.raises(UserError, match="no trained network 'shapes_2'; shipped are: none"):
        load_network("shapes_2")
    path = shipped()
    with pytest.raises(UserError, match="no trained network 'shapes_9'; shipped are: shapes_2"):
        load_network("shapes_9")
    with pytest.raises(UserError, match="no checkpoint"):
        load_network(path.with_name("shapes_3.safetensors"))


def test_files_that_cannot_be_used(shipped):
    with pytest.raises(UserError, match="'dasbe' where 'gust' is needed"):
        load_network(shipped(model="dasbe"))
    wider = gust_settings({**SMALL, "height": 5})
    with pytest.raises(UserError, match=r"does not fit.*encoder\.0\.weight"):
        load_network(shipped(to_dict(wider)))
    with pytest.raises(UserError, match=r"shapes_2\.safetensors.*not a mapping"):
        load_network(shipped(["nonsense"]))
    with pytest.raises(UserError, match=r"shapes_2\.safetensors.*unknown setting 'colour'"):
        load_network(shipped({**to_dict(wider), "colour": 1}))
    path = shipped()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-40], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"shapes_2\.safetensors.*damaged"):
            load_network(path)
