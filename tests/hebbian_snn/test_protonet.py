"""Encoders without spikes: prototypical networks and classifiers of digits, on stand-in data."""

import math

import pytest
import torch
from hebbian_runs import words
from interruption import interrupt_after
from torch.nn import functional

from common.checkpoints import load_checkpoint
from common.distributed import Distributed
from common.training import generator
from hebbian_snn import (
    pretrain_digit_classifier,
    pretrain_protonet,
)
from hebbian_snn.config import task_settings
from hebbian_snn.convnets.digit_classifier import ClassifierSettings, ClassifierTask
from hebbian_snn.convnets.digits import heard_rates, spoken_digits, written_digits
from hebbian_snn.convnets.encoders import ConvolutionalEncoder, LinearClassifier
from hebbian_snn.convnets.protonet import ProtoNet, ProtonetSettings, ProtonetTask, prototype_scores
from hebbian_snn.kernels import lif_scan
from hebbian_snn.neurons import LIFParameters
from hebbian_snn.training import loop as supervised
from hebbian_snn.training.loop import Trainer
from hebbian_snn.training.trained import load_network

ALONE = Distributed(0, 1, torch.device("cpu"))


def encode(currents, steps, neuron):
    """(B, N) constant currents to (B, T, N) spikes, step by step."""
    spikes, _ = lif_scan(currents[:, None].expand(-1, steps, -1), neuron, backend="reference")
    return spikes


def files(folder, *more):
    out = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    return ["--data", "embedded", "--device", "cpu", *out, *more]


EPISODES = words("""--channels 16 --way 8 --queries 3 --iterations 12 --validation_size 8
    --test_size 20 --epochs 3""")


def protonet(seed=0, **episodes):
    overrides = {
        "dataset": {"data": "embedded"},
        "episodes": {"way": 6, "queries": 4, "validation_size": 10, "test_size": 12, **episodes},
        "network": {"channels": 16},
    }
    return ProtonetTask(task_settings(ProtonetSettings, "protonet", False, overrides), seed)


def digits(audio):
    overrides = {"dataset": {"data": "embedded", "audio": audio}, "network": {"channels": 16}}
    return ClassifierTask(task_settings(ClassifierSettings, "digits", False, overrides), 0)


# ---- networks -------------------------------------------------------------------------------


def test_the_encoder_is_four_times_convolution_relu_pooling():
    encoder = ConvolutionalEncoder(5, generator(0))
    images = torch.rand(3, 30, 20, generator=generator(1)) - 0.3
    maps = images[:, None]
    for block in encoder.blocks:
        maps = functional.max_pool2d(functional.conv2d(maps, block.weight, padding=1).relu(), 2)
    torch.testing.assert_close(encoder(images), maps.flatten(1))
    assert encoder(images).shape == (3, 5) and encoder(torch.rand(2, 32, 48)).shape == (2, 30)
    bound = math.sqrt(2) * math.sqrt(6 / (9 * 5 + 9 * 5))
    for block in encoder.blocks[1:]:
        assert 0.9 * bound < block.weight.abs().max() <= bound


def test_bfloat16_is_close():
    encoder = ConvolutionalEncoder(64, generator(0))
    images = (torch.rand(20, 28, 28, generator=generator(1)) < 0.1).byte()
    exact = encoder(images)
    encoder.bfloat16 = True
    found = encoder(images)
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 0.02 * exact.norm()


def test_scores_are_distances_to_means():
    support = torch.randn(2, 3, 4, 5, generator=generator(0))
    queries = torch.randn(2, 3, 6, 5, generator=generator(1))
    found = prototype_scores(support, queries)
    for b in range(2):
        means = [support[b, k].mean(0) for k in range(3)]
        for k in range(3):
            for q in range(6):
                expected = [-float((queries[b, k, q] - mean).pow(2).sum()) for mean in means]
                torch.testing.assert_close(found[b, k * 6 + q], torch.tensor(expected))


def test_a_network_that_knows_the_classes_scores_all():
    """Pixels as features; the images of a class are alike."""
    task = protonet(shot=2)
    assert protonet(shot=2).batch("test", 0, range(2), slice(None)).targets.shape == (2, 75)
    images = torch.rand(4, 6, 1, 28, 28, generator=generator(0)).expand(-1, -1, 6, -1, -1)
    answer = ProtoNet(torch.nn.Flatten(), 2)(images)
    targets = torch.arange(6).repeat_interleave(4).expand(4, -1)
    assert task.scores(answer.outputs, targets).tolist() == [1, 1, 1, 1]
    expected = torch.stack(
        [functional.cross_entropy(*row) for row in zip(answer.outputs, targets, strict=True)]
    )
    torch.testing.assert_close(task.losses(answer.outputs, targets), expected)


# ---- data -----------------------------------------------------------------------------------


def test_episodes_of_the_splits():
    task = protonet()
    train = task.batch("train", 0, range(3, 5), slice(None))
    assert train.inputs[0].shape == (2, 6, 5, 28, 28) and train.targets.shape == (2, 24)
    assert train.targets[0, :5].tolist() == [0, 0, 0, 0, 1]
    for split in ("validation", "test"):
        found = task.batch(split, 0, range(2), slice(None))
        assert found.inputs[0].shape == (2, 5, 16, 28, 28)
        again = protonet(seed=9).batch(split, 5, range(2), slice(1, 2))
        assert torch.equal(again.inputs[0][0], found.inputs[0][1]), "the same in every epoch"
    other = [protonet(seed=1).batch("train", 0, range(3, 5), slice(None))]
    other.append(task.batch("train", 1, range(3, 5), slice(None)))
    other.append(task.batch("train", 0, range(5, 7), slice(None)))
    assert all(not torch.equal(batch.inputs[0], train.inputs[0]) for batch in other)
    assert task.checkpoint_name == "protonet_embedded"
    assert task.data_summary()["source"] == "embedded strokes"


@pytest.mark.parametrize("audio", [False, True])
def test_digits_are_divided(audio):
    task = digits(audio)
    sizes = task.sizes()
    assert 8.5 < sizes["train"] / sizes["validation"] < 9.5
    seen = [
        task.batch("train", 2, range(k, min(k + 100, sizes["train"])), slice(None))
        for k in range(0, sizes["train"], 100)
    ]
    labels = torch.cat([batch.targets for batch in seen])
    assert torch.equal(labels.bincount(), task.digits("train").labels.bincount())
    assert len(task.digits("validation").labels.unique()) == 10
    assert seen[0].inputs[0].shape[1:] == ((30, 20) if audio else (28, 28))
    kind = "audio" if audio else "image"
    assert task.checkpoint_name == f"digits_{kind}_embedded"
    whole = (
        spoken_digits("test", "embedded", 20, 30) if audio else written_digits("test", "embedded")
    )
    assert torch.equal(task.digits("test").labels, whole.labels)


def test_spoken_digits_are_heard_as_rates():
    """Those of the neurons that the spiking network's audio drives, relative to the highest."""
    neuron = LIFParameters(thr=0.05, tau_mem=20.0, refractory_time_steps=3)
    maps = torch.tensor([-1.0, 0.04, 0.1, 0.3, 3.0]).view(1, 1, 5)
    rates = heard_rates(maps, neuron, 100).flatten()
    assert rates[:2].eq(0).all() and rates[3:].eq(1).all() and 0 < rates[2] < 1
    assert int(encode(maps.flatten(1), 100, neuron)[0, :, 2].sum()) == round(25 * rates[2].item())
    task = digits(audio=True)
    maps = spoken_digits("validation", "embedded", 20, 30).images
    heard = task.digits("validation").images
    assert heard.shape == maps.shape and heard.min() == 0 and heard.max() <= 1
    assert not heard[maps <= 0].any() and (heard[maps > 0.3] == 1).all()


# ---- training -------------------------------------------------------------------------------


def test_a_prototypical_network_learns_strokes(tmp_path, capsys):
    assert pretrain_protonet.main(files(tmp_path, *EPISODES)) == 0
    metadata = load_checkpoint(tmp_path / "net.safetensors").metadata
    curve = metadata["curve"]
    assert curve[-1]["cross_entropy"] < 0.9 * curve[0]["cross_entropy"]
    assert metadata["test"]["accuracy"] > 0.5, "chance is 0.2"
    assert metadata["data"]["task"] == "protonet"
    assert (metadata["data"]["source"], metadata["data"]["classes"]) == ("embedded strokes", 400)
    trained = load_network(ProtonetTask, tmp_path / "net.safetensors")
    found = Trainer(trained.task, trained.network, ALONE).evaluate("test")
    assert found["accuracy"] == pytest.approx(metadata["test"]["accuracy"])


def test_pre_training_goes_on_after_ctrl_c(tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert pretrain_protonet.main(files(whole, *EPISODES)) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, supervised, 1)
        assert pretrain_protonet.main(files(stopped, *EPISODES)) == 130
    assert pretrain_protonet.main(files(stopped, *EPISODES)) == 0
    one, two = (load_checkpoint(folder / "net.safetensors") for folder in (whole, stopped))
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


@pytest.mark.parametrize("audio", [False, True])
def test_classifiers_learn(audio, tmp_path):
    more = words("--channels 16 --epochs 6 --batch_size 32")
    status = pretrain_digit_classifier.main(files(tmp_path, *more, "--audio", str(int(audio))))
    assert status == 0
    metadata = load_checkpoint(tmp_path / "net.safetensors").metadata
    assert metadata["test"]["accuracy"] > 0.6, "chance is 0.1"
    assert metadata["data"]["source"] == ("embedded tones" if audio else "MNIST, 5 000 images")
    trained = load_network(ClassifierTask, tmp_path / "net.safetensors")
    assert isinstance(trained.network.network, LinearClassifier)


@pytest.mark.parametrize(
    ("main", "more", "says"),
    [
        (pretrain_protonet, ["--way", "500"], "500 different ones cannot be drawn among 400"),
        (pretrain_protonet, ["--queries", "20"], "21 different ones cannot be drawn among 20"),
        (pretrain_protonet, ["--data", "fake"], "data"),
        (pretrain_digit_classifier, ["--num_mfcc", "8"], "num_mfcc"),
        (pretrain_digit_classifier, ["--audio", "--num_mfcc", "128"], "1 to 127 coefficients"),
    ],
)
def test_flags_that_cannot_work(main, more, says, tmp_path, capsys):
    assert main.main(files(tmp_path, *more)) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("error: ") and says in line
    assert not (tmp_path / "net.safetensors").exists()
