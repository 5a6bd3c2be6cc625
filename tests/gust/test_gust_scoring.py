"""Clusters and scores of hand-made spikes, and of a network's, against plain computations."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from gust_examples import lively_network, random_images
from sklearn.metrics import adjusted_mutual_info_score

from benchmarks.silhouette import direct_synchrony
from common.errors import UserError
from common.victor_purpura import textbook_distance
from gust import scoring
from gust.config import gust_settings
from gust.dynamics import Noise, iterate

SETTINGS = gust_settings({"height": 5, "width": 6, "evaluation": {"settle": 4}})
EVALUATION = SETTINGS.evaluation
INDICES = np.array([7, 0, 123, 4, 9])
GROUPS = torch.arange(30).view(1, 5, 6).expand(5, -1, -1) // 8


def network():
    return lively_network("plain", 30, dtype=torch.float32)


def images():
    return random_images(5, 30, dtype=torch.float32).unflatten(1, (5, 6))


def spikes_in_turn(groups, phases, n_steps=10):
    """(T, H, W) spikes: the pixels of group k fire once, at phases[k]; None is silence."""
    spikes = np.zeros((n_steps, *groups.shape), np.uint8)
    for group, phase in enumerate(phases):
        if phase is not None:
            spikes[phase, groups == group] = 1
    return spikes


def random_spikes(rng, phases=(None, 0, 2, 5, 7), n_steps=10, refractory=9):
    """(T, 5, 6) spikes that keep their distance, at one of some phases or none."""
    spikes = np.zeros((n_steps, 30), np.uint8)
    for pixel in range(30):
        phase = rng.choice(phases)
        if phase is not None:
            spikes[phase::refractory, pixel] = 1
    return spikes.reshape(n_steps, 5, 6)


def distance_matrix(spikes, q):
    """Victor-Purpura distances (P, P) of the pixels of (T, ...) spikes by the recursion."""
    trains = spikes.reshape(len(spikes), -1).T
    times = [np.flatnonzero(train) for train in trains]
    return np.array([[textbook_distance(a, b, q) for b in times] for a in times])


def two_objects():
    """Groups (1, 5, 6): background 0, objects 1 and 2."""
    groups = np.zeros((1, 5, 6), np.int64)
    groups[0, :2, :3], groups[0, 3:, 2:] = 1, 2
    return groups


def test_objects_that_fire_in_turn_are_found_and_score_1():
    groups = two_objects()
    spikes = spikes_in_turn(groups[0], [None, 2, 8])[None]
    labels = scoring.cluster(spikes, 3, 0, [5], EVALUATION)
    assert labels.shape == groups.shape
    assert adjusted_mutual_info_score(groups.flatten(), labels.flatten()) == pytest.approx(1)
    found = scoring.score(spikes, groups, labels, EVALUATION)
    assert found.ami.tolist() == pytest.approx([1])
    assert found.synchrony.tolist() == pytest.approx([1])


def test_objects_that_fire_together_are_one_cluster():
    groups = two_objects()
    spikes = spikes_in_turn(groups[0], [None, 4, 4])[None]
    labels = scoring.cluster(spikes, 3, 0, [5], EVALUATION)
    assert len(np.unique(labels)) == 2, "there are two different trains"
    found = scoring.score(spikes, groups, labels, EVALUATION)
    assert found.ami.tolist() == found.synchrony.tolist() == [0]


def test_the_background_counts_in_clusters_but_not_in_scores():
    """Background pixels firing with object 1 change neither score; three clusters see silence."""
    groups = two_objects()
    spikes = spikes_in_turn(groups[0], [2, 2, 8])[None]
    labels = scoring.cluster(spikes, 3, 0, [5], EVALUATION)
    found = scoring.score(spikes, groups, labels, EVALUATION)
    assert found.ami.tolist() == pytest.approx([1])
    assert found.synchrony.tolist() == pytest.approx([1])


@pytest.mark.parametrize("seed", range(6))
def test_scores_are_those_of_plain_computations(seed):
    rng = np.random.default_rng(seed)
    spikes = random_spikes(rng)
    groups, labels = rng.integers(0, 4, (2, 5, 6))
    found = scoring.score(spikes[None], groups[None], labels[None], EVALUATION)
    kept = groups.flatten() != 0
    ami = adjusted_mutual_info_score(groups.flatten()[kept], labels.flatten()[kept])
    assert found.ami[0] == pytest.approx(ami, abs=1e-12)
    trains = spikes.reshape(10, -1).T
    synchrony = direct_synchrony(trains, np.where(kept, labels.flatten(), -1), 1 / 3)
    assert found.synchrony[0] == pytest.approx(synchrony, abs=1e-12)
    assert 0 < abs(synchrony) < 1


@pytest.mark.parametrize("q", [3, 1 / 3])
@pytest.mark.parametrize("seed", range(8))
def test_clusters_cannot_be_bettered_by_moving_a_pixel_or_a_medoid(seed, q):
    """K-medoids of all pixels one by one, with every distance from the recursion."""
    phases = [None, *range(10), *[4] * 5, *[7] * 5]  # some trains are much more frequent
    spikes = random_spikes(np.random.default_rng(seed), phases)
    settings = replace(EVALUATION, cluster_cost=q)
    labels = scoring.cluster(spikes[None], 4, seed, [3], settings).flatten()
    distances = distance_matrix(spikes, q)
    assert np.array_equal(np.unique(labels), np.arange(4))
    medoids = []
    for k in range(4):
        members = np.flatnonzero(labels == k)
        medoids.append(members[distances[np.ix_(members, members)].sum(1).argmin()])
    nearest = distances[medoids]
    np.testing.assert_allclose(nearest[labels, np.arange(30)], nearest.min(0), atol=1e-12)
    for one, other in combinations(range(30), 2):
        assert distances[one, other] > 0 or labels[one] == labels[other]


def test_the_cost_of_the_clustering_is_that_of_the_settings():
    """At q = 3 trains one step apart differ as much as any; at q = 1/10 they are almost equal."""
    groups = two_objects()
    spikes = spikes_in_turn(groups[0], [None, 2, 3])[None]
    found = {
        q: scoring.cluster(spikes, 2, 0, [5], replace(EVALUATION, cluster_cost=q)) for q in (3, 0.1)
    }
    objects = groups > 0
    assert np.array_equal(found[0.1] == found[0.1][objects][0], objects)
    assert not np.array_equal(found[3] == found[3][objects][0], objects)


def test_spikes_are_those_of_the_loop_on_clean_images():
    noise = Noise(3, scoring.EVALUATION_ROUND, INDICES)
    steps = iterate(images().flatten(1), network(), SETTINGS.dynamics, noise)
    with torch.no_grad():
        expected = [next(steps)[0].unflatten(2, (5, 6)) for _ in range(6)]
    found = list(scoring.spikes_of(images(), network(), SETTINGS, 3, INDICES))
    assert len(found) == 4, "as many iterations as the settings say"
    more = list(scoring.spikes_of(images(), network(), SETTINGS, 3, INDICES, iterations=6))
    for one, other in zip(more, expected, strict=True):
        assert one.shape == (5, 10, 5, 6)
        assert torch.equal(one, other)
    assert torch.equal(found[3], more[3])
    assert more[3].any()


def bind(which=slice(None), seed=3):
    return scoring.bind_and_score(
        images()[which], GROUPS[which], network(), SETTINGS, seed, INDICES[which], 4
    )


def test_binding_scores_the_last_iteration():
    *_, spikes = scoring.spikes_of(images(), network(), SETTINGS, 3, INDICES)
    labels = scoring.cluster(spikes, 4, 3, INDICES, EVALUATION)
    expected = scoring.score(spikes, GROUPS, labels, EVALUATION)
    for one, other in zip(bind(), expected, strict=True):
        assert one.tolist() == other.tolist()


def test_an_images_result_depends_on_seed_and_index_alone(monkeypatch):
    together = bind()
    assert len(np.unique(together.ami)) > 3, "the example must tell images apart"
    for place in range(5):
        alone = bind(slice(place, place + 1))
        assert [alone.ami[0], alone.synchrony[0]] == [v[place] for v in together]
    back = bind([4, 3, 2, 1, 0])
    assert back.ami[::-1].tolist() == together.ami.tolist()
    monkeypatch.setattr(scoring, "CHUNK", 2)
    assert [v.tolist() for v in bind()] == [v.tolist() for v in together]
    assert bind(seed=4).ami.tolist() != together.ami.tolist()


def test_clusters_depend_on_seed_and_index_alone():
    rng = np.random.default_rng(0)
    spikes = np.stack([random_spikes(rng) for _ in range(12)])
    together = scoring.cluster(spikes, 3, 1, range(12), EVALUATION)
    for place in range(12):
        alone = scoring.cluster(spikes[place : place + 1], 3, 1, [place], EVALUATION)
        assert np.array_equal(alone[0], together[place])
    for seed, indices in ((2, range(12)), (1, range(20, 32))):
        other = scoring.cluster(spikes, 3, seed, indices, EVALUATION)
        assert not np.array_equal(other, together)


def test_an_image_without_an_object_is_named():
    spikes = np.stack([random_spikes(np.random.default_rng(0))] * 2)
    groups = np.concatenate([two_objects(), np.zeros((1, 5, 6), np.int64)])
    with pytest.raises(UserError, match="image 1 has no object pixel"):
        scoring.score(spikes, groups, groups, EVALUATION)
