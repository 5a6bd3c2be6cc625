"""Spike-train distances, silhouettes, agreement of groups, k-medoids."""

from __future__ import annotations

import numpy as np
import pytest
import spikedist
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import adjusted_mutual_info_score, silhouette_score

from benchmarks.silhouette import direct_synchrony, example_image
from common.clustering import (
    adjusted_mutual_info,
    adjusted_mutual_info_batch,
    k_medoids,
    k_medoids_batch,
)
from common.errors import UserError
from common.spike_metrics import clustering_score, rate_score, scores, silhouette, synchrony_score
from common.victor_purpura import distinct_trains, textbook_distance, victor_purpura_distances

COSTS = st.sampled_from([0.0, 0.1, 1 / 6, 1 / 3, 0.7, 1.0, 1.5, 1.999, 2.0, 3.0, 1e6])


def train_sets(n_trains: int) -> st.SearchStrategy[np.ndarray]:
    steps = st.integers(1, 80)
    return steps.flatmap(lambda t: arrays(np.uint8, (n_trains, t), elements=st.integers(0, 1)))


def random_images(rng, n_images, n_steps, n_pixels, rate=0.12):
    return (rng.random((n_images, n_steps, n_pixels)) < rate).astype(np.uint8)


def smoothed(trains):
    trains = trains.astype(float)
    return trains + 0.5 * np.pad(trains, ((0, 0), (1, 0)))[:, :-1]


# ---- Victor-Purpura -------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(train_sets(5), COSTS)
def test_distances_agree_with_an_independent_implementation(trains, q):
    distances = victor_purpura_distances(trains, q)
    times = [np.flatnonzero(train) for train in trains]
    for i, a in enumerate(times):
        for j, b in enumerate(times):
            expected = spikedist.victor_purpura(a, b, cost=q)
            assert distances[i, j] == pytest.approx(expected, abs=1e-9)
            assert distances[i, j] == pytest.approx(textbook_distance(a, b, q), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(train_sets(6), COSTS)
def test_distances_are_a_metric(trains, q):
    distances = victor_purpura_distances(trains, q)
    np.testing.assert_array_equal(np.diag(distances), 0)
    np.testing.assert_allclose(distances, distances.T, atol=1e-12)
    assert (distances[:, :, None] <= distances[:, None, :] + distances.T[None] + 1e-9).all()
    if q > 0:
        different = (trains[:, None] != trains[None]).any(-1)
        assert (distances[different] > 0).all()


@settings(max_examples=40, deadline=None)
@given(train_sets(6), st.floats(0, 3))
def test_distances_lie_between_their_limits(trains, q):
    counts = trains.sum(1).astype(int)
    by_count = np.abs(counts[:, None] - counts)
    hamming = (trains[:, None] != trains[None]).sum(-1)
    distances = victor_purpura_distances(trains, q)
    assert (by_count <= distances + 1e-12).all()
    assert (distances <= hamming + 1e-12).all()
    np.testing.assert_array_equal(victor_purpura_distances(trains, 0), by_count)
    np.testing.assert_array_equal(victor_purpura_distances(trains, 2), hamming)
    tiny = victor_purpura_distances(trains, 1e-9)
    np.testing.assert_allclose(tiny, by_count, atol=1e-5)
    np.testing.assert_allclose(victor_purpura_distances(trains, 2 - 1e-12), hamming, atol=1e-9)


def test_distances_between_two_sets_are_a_block_of_those_within_their_union():
    trains = random_images(np.random.default_rng(0), 1, 70, 20)[0].T
    for q in (0.0, 0.3, 2.5):
        block = victor_purpura_distances(trains[:8], q, trains[8:])
        np.testing.assert_allclose(block, victor_purpura_distances(trains, q)[:8, 8:], atol=1e-12)


def test_tensors_of_any_type_are_accepted_and_nonsense_is_refused():
    trains = np.array([[0, 1, 0], [0, 0, 1]])
    for same in (torch.tensor(trains), torch.tensor(trains, dtype=torch.float32), trains > 0):
        np.testing.assert_array_equal(victor_purpura_distances(same, 0.5), [[0, 0.5], [0.5, 0]])
    with pytest.raises(ValueError, match="0 or 1"):
        victor_purpura_distances(trains * 0.5, 0.5)
    with pytest.raises(ValueError, match="0 or 1"):
        victor_purpura_distances(trains * 2, 0.5)
    with pytest.raises(ValueError, match="cost"):
        victor_purpura_distances(trains, -1)
    with pytest.raises(ValueError, match="steps"):
        victor_purpura_distances(trains, 1, trains[:, :2])
    with pytest.raises(ValueError, match="shape"):
        victor_purpura_distances(trains[0], 1)


def test_no_trains_and_silent_trains_have_distances():
    assert victor_purpura_distances(np.zeros((0, 5)), 0.5).shape == (0, 0)
    np.testing.assert_array_equal(victor_purpura_distances(np.zeros((3, 5)), 0.5), np.zeros((3, 3)))


def test_distinct_trains_rebuild_the_set():
    rng = np.random.default_rng(1)
    trains = rng.integers(0, 2, (200, 66), dtype=np.uint8) & (np.arange(66) % 22 == 0)
    distinct, kind, counts = distinct_trains(trains)
    np.testing.assert_array_equal(distinct[kind], trains)
    assert len(distinct) == len(np.unique(trains, axis=0)) == 8
    np.testing.assert_array_equal(counts, np.bincount(kind))


# ---- silhouettes ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_clusters", [2, 3, 7])
def test_silhouette_agrees_with_scikit_learn(n_clusters):
    rng = np.random.default_rng(n_clusters)
    points = rng.integers(0, 3, (40, 2)).astype(float)  # many coincide
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    labels = rng.integers(0, n_clusters, 40) * 10 - 5
    labels[0] = 1000  # a cluster of one point
    expected = silhouette_score(distances, labels, metric="precomputed")
    assert silhouette(distances, labels) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_weighted_points_are_repeated_points(seed):
    rng = np.random.default_rng(seed)
    points = rng.random((12, 3))
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    labels, weights = rng.integers(0, 3, 12), rng.integers(0, 4, 12)
    rows = np.repeat(np.arange(12), weights)
    expected = silhouette(distances[np.ix_(rows, rows)], labels[rows])
    assert silhouette(distances, labels, weights) == pytest.approx(expected, abs=1e-12)


def test_silhouette_is_zero_without_two_clusters_or_a_cluster_of_two():
    distances = 1.0 - np.eye(4)
    assert silhouette(distances, np.zeros(4)) == 0.0
    assert silhouette(distances, np.arange(4)) == 0.0
    assert silhouette(np.zeros((0, 0)), np.zeros(0)) == 0.0
    assert silhouette(distances, [0, 0, 1, 1], [1, 1, 0, 0]) == 0.0
    with pytest.raises(ValueError, match="shapes"):
        silhouette(distances, np.zeros(3))


@pytest.mark.parametrize(
    ("n_steps", "n_pixels", "q"), [(10, 90, 1 / 3), (32, 120, 1 / 6), (54, 60, 1 / 3), (130, 30, 3)]
)
def test_scores_agree_with_silhouettes_of_distance_matrices(n_steps, n_pixels, q):
    rng = np.random.default_rng(n_steps)
    spikes = random_images(rng, 5, n_steps, n_pixels)
    labels = rng.integers(-1, 4, (5, n_pixels))
    found = scores(spikes, labels, q)
    for image in range(5):
        kept = labels[image] >= 0
        trains, groups = spikes[image].T[kept], labels[image][kept]
        for score, cost in ((found.synchrony, q), (found.rate, 0)):
            distances = victor_purpura_distances(trains, cost)
            expected = silhouette_score(distances, groups, metric="precomputed")
            assert score[image] == pytest.approx(expected, abs=1e-12)
        expected = silhouette_score(smoothed(trains), groups)
        assert found.clustering[image] == pytest.approx(expected, abs=1e-9)


def test_a_batch_gives_what_single_images_give():
    rng = np.random.default_rng(3)
    spikes, labels = random_images(rng, 6, 32, 64), rng.integers(-1, 3, (6, 64))
    labels[2] = 1  # one cluster
    labels[4] = -1  # no pixel
    found = scores(torch.tensor(spikes).view(6, 32, 8, 8), torch.tensor(labels).view(6, 8, 8), 0.25)
    for image in range(6):
        arguments = spikes[image].T, labels[image]
        assert found.synchrony[image] == synchrony_score(*arguments, q=0.25)
        assert found.rate[image] == rate_score(*arguments)
        assert found.clustering[image] == clustering_score(*arguments)
    np.testing.assert_array_equal(np.array(found)[:, [2, 4]], 0)
    assert (found.synchrony[[0, 1, 3, 5]] != 0).all()
    with pytest.raises(ValueError, match="shapes"):
        scores(spikes, labels[:, :60], 0.25)


def test_synchronous_groups_score_high_by_timing_and_not_by_rate():
    trains, groups = example_image(np.random.default_rng(0))
    score = synchrony_score(trains, groups)
    assert score == pytest.approx(direct_synchrony(trains, groups, 1 / 6), abs=1e-9)
    kept = groups >= 0
    assert (
        score
        > 0.3
        > synchrony_score(trains[kept], np.random.default_rng(0).permutation(groups[kept]))
    )
    phases = np.zeros((20, 30), np.uint8)
    phases[:10, ::10] = 1
    phases[10:, 5::10] = 1
    halves = np.repeat([0, 1], 10)
    assert synchrony_score(phases, halves) == clustering_score(phases, halves) == 1.0
    assert rate_score(phases, halves) == 0.0


# ---- adjusted mutual information ------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 13), st.integers(1, 13), st.integers(20, 250))
def test_ami_agrees_with_scikit_learn(seed, n_true, n_predicted, n_pixels):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, n_true + 1, n_pixels)
    predicted = np.where(rng.random(n_pixels) < 0.5, true, rng.integers(0, n_predicted, n_pixels))
    kept = true != 0
    if kept.any():
        expected = adjusted_mutual_info_score(true[kept], predicted[kept])
        assert adjusted_mutual_info(true, predicted) == pytest.approx(expected, abs=1e-12)


def test_ami_ignores_the_background_and_the_names_of_groups():
    true = np.array([[0, 0, 1, 1], [0, 0, 2, 2]])
    assert adjusted_mutual_info(true, [[9, 4, 7, 7], [5, 7, 3, 3]]) == pytest.approx(1.0)
    assert adjusted_mutual_info(true, np.zeros((2, 4))) == 0.0
    assert adjusted_mutual_info(np.ones((2, 2)), np.ones((2, 2))) == 1.0
    assert adjusted_mutual_info(true, true > 0, ignore=-1) == pytest.approx(
        adjusted_mutual_info_score(true.ravel(), (true > 0).ravel())
    )


def test_ami_of_a_batch_and_of_images_without_objects():
    rng = np.random.default_rng(5)
    true, predicted = rng.integers(0, 4, (6, 8, 8)), rng.integers(0, 4, (6, 8, 8))
    expected = [adjusted_mutual_info(a, b) for a, b in zip(true, predicted, strict=True)]
    found = adjusted_mutual_info_batch(torch.tensor(true), predicted)
    np.testing.assert_array_equal(found, expected)
    true[3] = 0
    with pytest.raises(UserError, match="image 3 has no object pixel"):
        adjusted_mutual_info_batch(true, predicted)
    with pytest.raises(UserError, match="no object pixel"):
        adjusted_mutual_info(true[3], predicted[3])
    with pytest.raises(ValueError, match="shapes"):
        adjusted_mutual_info(true[0], predicted[0, :4])


# ---- k-medoids ------------------------------------------------------------------------------


def plane_distances(points):
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))


def test_k_medoids_finds_separate_groups():
    rng = np.random.default_rng(7)
    groups = rng.integers(0, 4, 80)
    centres = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
    distances = plane_distances(centres[groups] + rng.normal(0, 0.5, (80, 2)))
    labels = k_medoids(distances, 4, rng=rng, n_restarts=3)
    assert adjusted_mutual_info(groups, labels, ignore=-1) == pytest.approx(1.0)


def within_cost(distances, labels, weights):
    clusters = [labels == label for label in np.unique(labels)]
    return sum((distances[c][:, c] @ weights[c]).min() for c in clusters)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 3))
def test_k_medoids_of_weighted_points_is_that_of_repeated_points(seed, n_clusters, n_restarts):
    rng = np.random.default_rng(seed)
    distances = plane_distances(rng.random((10, 2)))
    weights = rng.integers(0, 5, 10)
    weights[rng.integers(10)] = 3
    rows = np.repeat(np.arange(10), weights)
    weighted = k_medoids(
        distances,
        n_clusters,
        rng=np.random.default_rng(seed),
        weights=weights,
        n_restarts=n_restarts,
    )
    repeated = k_medoids(
        distances[np.ix_(rows, rows)],
        n_clusters,
        rng=np.random.default_rng(seed),
        n_restarts=n_restarts,
    )
    np.testing.assert_array_equal(weighted[rows], repeated)


def test_k_medoids_ends_where_no_point_gains_by_another_medoid():
    rng = np.random.default_rng(11)
    distances, weights = plane_distances(rng.random((60, 2))), rng.integers(1, 4, 60).astype(float)
    labels = k_medoids(distances, 5, rng=rng, weights=weights)
    clusters = [np.flatnonzero(labels == label) for label in range(5)]
    medoids = [c[(distances[np.ix_(c, c)] @ weights[c]).argmin()] for c in clusters]
    np.testing.assert_array_equal(distances[medoids].argmin(0), labels)
    many = k_medoids(distances, 5, rng=rng, weights=weights, n_restarts=20)
    assert within_cost(distances, many, weights) <= within_cost(distances, labels, weights)


def test_k_medoids_of_a_batch_is_reproducible_and_independent_of_later_sets():
    rng = np.random.default_rng(13)
    distances = np.stack([plane_distances(rng.random((12, 2))) for _ in range(9)])
    weights = rng.integers(0, 5, (9, 12))
    n_clusters = rng.integers(2, 4, 9)
    n_clusters[0] = 4
    found = k_medoids_batch(distances, n_clusters, rng=np.random.default_rng(1), weights=weights)
    part = k_medoids_batch(
        distances[:4], n_clusters[:4], rng=np.random.default_rng(1), weights=weights[:4]
    )
    np.testing.assert_array_equal(found[:4], part)
    shared = k_medoids_batch(distances[0], 3, rng=np.random.default_rng(1), weights=weights)
    copied = k_medoids_batch(
        np.repeat(distances[:1], 9, 0), 3, rng=np.random.default_rng(1), weights=weights
    )
    np.testing.assert_array_equal(shared, copied)


def test_k_medoids_with_too_few_points_uses_fewer_clusters():
    distances = np.array([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
    labels = k_medoids(distances, 3, rng=np.random.default_rng(0))
    assert labels[0] == labels[2] != labels[1]
    assert set(labels) == {0, 1}
    with pytest.raises(ValueError, match="cluster"):
        k_medoids(distances, 0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="positive weight"):
        k_medoids(distances, 1, rng=np.random.default_rng(0), weights=np.zeros(3))
    with pytest.raises(ValueError, match="fit"):
        k_medoids(distances[:2], 1, rng=np.random.default_rng(0))
