import pytest
import torch

from common.errors import UserError
from common.training import generator
from hebbian_snn.convnets.episodes import cross_modal, distinct, one_shot, prototypical


def test_distinct_numbers_in_every_order():
    rows = distinct(6000, 3, 4, generator(0, "test"))
    assert rows.shape == (6000, 3) and rows.min() == 0 and rows.max() == 3
    assert all(len(set(row)) == 3 for row in rows.tolist())
    _, counts = rows.unique(dim=0, return_counts=True)
    assert len(counts) == 24 and counts.min() > 180 and counts.max() < 330
    assert torch.equal(distinct(2, 5, 5, generator(1)).sort(1).values, torch.arange(5).repeat(2, 1))
    with pytest.raises(UserError, match="6 different ones cannot be drawn among 5"):
        distinct(2, 6, 5, generator(0))


def test_prototypical_episodes():
    shape = {"classes": 12, "drawings": 7, "way": 5, "shot": 2, "queries": 3}
    found = prototypical(400, **shape, generator=generator(3, "p"))
    assert found.support.shape == (400, 5, 2) and found.queries.shape == (400, 5, 3)
    classes = torch.cat([found.support, found.queries], 2) // 7
    assert (classes == classes[:, :, :1]).all(), "an episode's row is of one class"
    assert all(len(set(row)) == 5 for row in classes[:, :, 0].tolist())
    numbers = torch.cat([found.support, found.queries], 2)
    assert all(len(set(row)) == 5 for row in numbers.flatten(0, 1).tolist())
    assert len(numbers.unique()) == 84, "every drawing occurs"
    again = prototypical(400, **shape, generator=generator(3, "p"))
    assert torch.equal(again.support, found.support)
    other = prototypical(400, **shape, generator=generator(4, "p"))
    assert not torch.equal(other.support, found.support)
    with pytest.raises(UserError, match="13 different ones cannot be drawn among 12"):
        prototypical(1, **{**shape, "way": 13}, generator=generator(0))
    with pytest.raises(UserError, match="8 different ones cannot be drawn among 7"):
        prototypical(1, **{**shape, "queries": 6}, generator=generator(0))


def test_one_shot_episodes():
    found = one_shot(3000, classes=9, drawings=4, way=5, generator=generator(0, "o"))
    classes = found.images // 4
    assert all(len(set(row)) == 5 for row in classes.tolist())
    asked = found.images[torch.arange(3000), found.labels]
    assert (asked // 4 == found.query // 4).all() and (asked != found.query).all()
    counts = found.labels.bincount()
    assert len(counts) == 5 and counts.min() > 500
    # Whatever the drawing that was shown, the query is any of the other three.
    pairs = torch.stack([asked % 4, found.query % 4], 1).unique(dim=0)
    assert len(pairs) == 12


def cross(n, **changes):
    spoken = torch.tensor([3, 1, 2, 3, 1, 2, 5, 1, 5, 5, 5])
    images = torch.tensor([5, 5, 2, 1, 3, 3, 9])
    arguments = {"classes": (1, 2, 3, 5), "pairs": 3, "generator": generator(7)}
    arguments |= {"spoken_labels": spoken, "image_labels": images, **changes}
    return spoken, images, cross_modal(n, **arguments)


def test_cross_modal_episodes():
    spoken, images, found = cross(4000)
    for labels, numbers in ((spoken, found.spoken), (images, found.images)):
        assert numbers.shape == (4000, 3)
        assert all(len(set(row)) == 3 for row in labels[numbers].tolist())
    assert len(found.spoken.unique()) == len(spoken)
    assert found.images.unique().tolist() == [0, 1, 2, 3, 4, 5], "9 is no class here"
    asked = found.spoken[torch.arange(4000), found.asked]
    assert (spoken[asked] == spoken[found.query]).all() and (asked != found.query).all()
    assert found.asked.bincount().min() > 1200
    fives = spoken[asked] == 5
    pairs = torch.stack([asked, found.query], 1)[fives].unique(dim=0)
    assert len(pairs) == 4 * 3, "every other recording may be asked with"
    digits = torch.stack([spoken[found.spoken[:, 0]], images[found.images[:, 0]]], 1)
    assert len(digits.unique(dim=0)) == 16, "both modalities draw on their own"
    _, _, again = cross(4000)
    assert all(torch.equal(*pair) for pair in zip(again, found, strict=True))


def test_cross_modal_episodes_that_cannot_be():
    with pytest.raises(UserError, match="fewer than 2 recordings of the digit 9"):
        cross(1, classes=(1, 2, 9))
    with pytest.raises(UserError, match="fewer than 1 images of the digit 1"):
        cross(1, image_labels=torch.tensor([2, 3, 5]))
    with pytest.raises(UserError, match="5 different ones cannot be drawn among 4"):
        cross(1, pairs=5)
