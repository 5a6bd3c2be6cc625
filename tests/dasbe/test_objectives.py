"""Losses and noise of the training objectives, against their formulas written out."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy, cosine_similarity

from common.distributed import Distributed
from common.errors import UserError
from common.training import generator
from dasbe.config import dataset_settings
from dasbe.networks import build_network
from dasbe.objectives import (
    Contrast,
    NextFrame,
    Randomness,
    Reconstruction,
    add_interference,
    at_epoch,
    blank_images,
    drop_pixels,
    epoch_batches,
)

ALONE = Distributed(0, 1, torch.device("cpu"))


def settings_of(name, **training):
    return dataset_settings(name, {"training": training})


def network_of(settings):
    return build_network(settings.network, settings.height * settings.width, generator(3, "net"))


def randomness(seed=0):
    return Randomness(generator(seed, "data"), generator(seed, "code"))


def test_dropped_pixels_share_one_probability_per_batch() -> None:
    random = generator(1, "drop")
    shares = [
        drop_pixels(torch.ones(200, 400), (0.6, 0.8), random).mean().item() for _ in range(50)
    ]
    assert all(0.19 < share < 0.41 for share in shares)
    assert max(shares) - min(shares) > 0.1
    assert drop_pixels(torch.zeros(3, 9), (0.0, 0.0), random).sum() == 0


def test_interference_shows_a_few_pixels_of_another_image() -> None:
    random = torch.Generator().manual_seed(0)
    clean = torch.zeros(300, 60)
    clean[::2, :20] = clean[1::2, 20:40] = 1  # the image before an even one is odd
    noisy = clean * (torch.rand(clean.shape) < 0.3)
    disturbed = add_interference(noisy, clean, 0.5, random)
    assert (disturbed >= noisy).all()
    added = disturbed - noisy
    assert not added[::2, :20].any() and not added[1::2, 20:40].any()
    assert not added[:, 40:].any()
    shares = torch.cat([added[::2, 20:40], added[1::2, :20]]).mean(dim=1)
    assert shares.mean().item() == pytest.approx(0.25, abs=0.03)
    assert shares.std() > 0.12  # a probability of its own for every image
    assert add_interference(noisy, clean, 0.0, random) is noisy


def test_an_epoch_visits_every_image_once_or_draws_as_many_steps_as_asked() -> None:
    settings = settings_of("shapes", batch_size=7).training
    visited = torch.cat(epoch_batches(30, settings, generator(0, "epoch")))
    assert sorted(visited.tolist()) == list(range(30))
    drawn = epoch_batches(5, settings_of("bars", batch_size=7).training, generator(0, "epoch"))
    assert len(drawn) == 50
    assert all(batch.shape == (7,) and batch.max() < 5 for batch in drawn)


def test_blank_images_and_the_epoch_they_start_in() -> None:
    images = torch.ones(10, 4)
    assert blank_images(images, 0.3).sum() == 28
    assert images.sum() == 40
    training = settings_of("multi_mnist").training
    early = at_epoch(training, training.code_terms_from - 1)
    assert (early.blank, early.code_cost, early.code_dropout) == (0, 0, 0)
    assert at_epoch(training, training.code_terms_from) == training


def test_reconstruction_learns() -> None:
    settings = settings_of("bars", steps_per_epoch=60, batch_size=64)
    objective, network = Reconstruction(settings, "auto"), network_of(settings)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    before = objective.validate(network, 0)
    assert objective.validate(network, 0) == before  # the same noise every time
    for epoch in range(3):
        objective.train_epoch(network, optimizer, epoch, randomness(epoch), ALONE)
    after = objective.validate(network, 0)
    assert after[0] < 0.3 * before[0]
    assert after[1] < 0.3 * before[1]


def test_contrastive_loss_is_its_formula() -> None:
    settings = settings_of("shapes_contrastive", images=40, batch_size=5, contrast_weight=0.3)
    objective, network = Contrast(settings, "auto"), network_of(settings)
    clean = objective.images[:, :5].float()
    found = objective.loss(network, clean, clean, generator(9, "code"))
    logits, code, _ = network(clean.flatten(0, 1), generator(9, "code"))
    expected = sum(
        binary_cross_entropy(torch.sigmoid(part), kind)
        for part, kind in zip(logits.split(5), clean, strict=True)
    )
    for i in range(15):
        for j in range(15):
            cosine = cosine_similarity(code[i], code[j], dim=0)
            expected = expected + 0.3 * (cosine / 0.5 - float(i // 5 == j // 5)) ** 2
    assert math.isclose(found.item(), expected.item(), rel_tol=1e-4)


def test_contrastive_loss_refuses_several_processes() -> None:
    settings = settings_of("shapes_contrastive", images=20, batch_size=5)
    objective = Contrast(settings, "auto")
    with pytest.raises(UserError, match="one process"):
        objective.train_epoch(None, None, 0, randomness(), Distributed(0, 2, torch.device("cpu")))


@pytest.fixture
def moving():
    settings = settings_of("moving_shapes", images=10, unroll=4)
    objective = NextFrame.__new__(NextFrame)
    objective.settings = settings.training
    return objective, network_of(settings)


def test_pieces_of_frames_predict_as_frame_by_frame(moving) -> None:
    objective, network = moving
    frames = (torch.rand(2, 11, 784, generator=generator(0, "frames")) < 0.1).float()
    with torch.inference_mode():
        found = sum(loss.item() for loss in objective.losses(network, frames, frames))
        expected, previous = 0.0, torch.zeros(2, 300)
        for t in range(10):
            h = network.encode(frames[:, t])
            mixed = torch.sigmoid(
                previous @ network.recurrent.weight.T + h + network.recurrent.bias
            )
            expected += (network.decode(mixed) - frames[:, t + 1]).square().sum().item()
            previous = h
    assert math.isclose(found, expected, rel_tol=1e-5)


def test_spoiled_frames(moving) -> None:
    objective, _ = moving
    frames = torch.ones(2, 999, 50)
    noisy = objective.spoil(frames, generator(0, "spoil"))
    rate = noisy.mean(2)
    lost = rate < 0.25
    assert torch.equal(lost[0], lost[1])
    assert int(lost[0].sum()) == 200
    assert abs(rate[lost].mean() - 0.05) < 0.01
    assert abs(rate[~lost].mean() - 0.525) < 0.01
