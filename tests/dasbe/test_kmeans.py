"""k-means from inner products against scikit-learn's on coordinates."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from dasbe import noise, reference
from dasbe.dynamics import on_pixels
from dasbe.grouping import group_pixels, smooth
from dasbe.kmeans import kmeans_gram, lloyd_gram


def one_problem(points, weights, n_clusters, key=1, restarts=10):
    """Labels (n,) and inertia of one set of (n, d) points."""
    labels, inertia = kmeans_gram(
        (points @ points.T)[None],
        np.asarray(weights, dtype=np.float64)[None],
        np.array([n_clusters]),
        np.array([key], np.uint64),
        restarts,
    )
    return labels[0], inertia[0]


def inertia_of(points, weights, labels):
    """The sum of weighted squared distances to the clusters' centres."""
    total = 0.0
    for k in np.unique(labels):
        members, w = points[labels == k], weights[labels == k]
        if w.sum() > 0:
            centre = (w[:, None] * members).sum(0) / w.sum()
            total += (w * ((members - centre) ** 2).sum(1)).sum()
    return total


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_lloyd_equals_scikit_learn_from_the_same_centres(seed, weighted):
    rng = np.random.default_rng(seed)
    n, d, n_clusters = rng.integers(30, 120), rng.integers(2, 9), rng.integers(2, 9)
    points = rng.normal(size=(n, d)) + 2 * rng.integers(0, 3, size=(n, 1))
    weights = rng.uniform(0.2, 5, n) if weighted else np.ones(n)
    start = rng.choice(n, n_clusters, replace=False)
    labels, inertia = lloyd_gram(points @ points.T, weights, start)
    expected = KMeans(n_clusters, init=points[start], n_init=1, tol=0, max_iter=300)
    expected.fit(points, sample_weight=weights)
    assert np.array_equal(labels, expected.labels_)
    assert inertia == pytest.approx(expected.inertia_, rel=1e-9)


def spike_trains(rng, n_pixels=60, n_steps=24, n_groups=4):
    """Smoothed trains (n_pixels, n_steps): groups fire at their phases, with jitter and noise."""
    phase = rng.integers(0, n_steps, n_groups)
    group = rng.integers(0, n_groups, n_pixels)
    times = (phase[group] + rng.integers(-1, 2, n_pixels)) % n_steps
    spikes = rng.random((n_steps, n_pixels)) < 0.04
    spikes[times, np.arange(n_pixels)] = True
    return reference.smooth(spikes).T


@pytest.mark.parametrize(
    "n_images, n_pixels, n_groups, n_clusters", [(200, 60, 4, 5), (100, 120, 12, 13)]
)
@threadpool_limits.wrap(1)  # the problems are small
def test_random_starts_are_as_good_as_scikit_learns(n_images, n_pixels, n_groups, n_clusters):
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for key in range(n_images):
        points = spike_trains(rng, n_pixels, 40, n_groups)
        labels, inertia = one_problem(points, np.ones(n_pixels), n_clusters, key)
        assert inertia == pytest.approx(inertia_of(points, np.ones(n_pixels), labels))
        ours.append(inertia)
        theirs.append(KMeans(n_clusters, n_init=10, random_state=key).fit(points).inertia_)
    ours, theirs = np.array(ours), np.array(theirs)
    assert abs(ours.mean() / theirs.mean() - 1) < 0.005
    assert (ours / theirs).max() < 1.08


def test_more_restarts_are_never_worse():
    rng = np.random.default_rng(3)
    points = spike_trains(rng, n_pixels=150, n_groups=9)
    values = [one_problem(points, np.ones(150), 9, 7, r)[1] for r in (1, 3, 10, 30)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


@pytest.mark.parametrize("count", [1, 2, 37])
def test_a_weighted_origin_equals_repeated_silent_pixels(count):
    rng = np.random.default_rng(count)
    points = spike_trains(rng)
    points[0] = 0
    weights = np.ones(60)
    weights[0] = count
    start = np.array([0, 3, 11, 20])
    labels, inertia = lloyd_gram(points @ points.T, weights, start)
    repeated = np.concatenate([points, np.zeros((count - 1, points.shape[1]))])
    expected, expected_inertia = lloyd_gram(repeated @ repeated.T, np.ones(len(repeated)), start)
    assert np.array_equal(labels, expected[:60])
    assert (expected[60:] == labels[0]).all()
    assert inertia == pytest.approx(expected_inertia)
    assert inertia == pytest.approx(inertia_of(points, weights, labels))


def test_padding_and_the_rest_of_the_batch_change_nothing():
    rng = np.random.default_rng(1)
    sets = [spike_trains(rng), spike_trains(rng)]
    junk = rng.normal(size=(9, 24))
    padded = np.stack([np.concatenate([points, junk]) for points in sets])
    weights = np.concatenate([np.ones((2, 60)), np.zeros((2, 9))], axis=1)
    gram = padded @ padded.transpose(0, 2, 1)
    keys = np.array([5, 6], np.uint64)
    labels, inertia = kmeans_gram(gram, weights, np.array([4, 3]), keys, 5)
    for b, (points, n_clusters) in enumerate(zip(sets, (4, 3), strict=True)):
        alone, alone_inertia = one_problem(points, np.ones(60), n_clusters, keys[b], 5)
        assert np.array_equal(labels[b, :60], alone)
        assert inertia[b] == pytest.approx(alone_inertia)
        assert np.unique(alone).size == n_clusters


def test_fewer_distinct_points_than_clusters():
    points = np.repeat(np.eye(3), [4, 1, 7], axis=0)
    labels, inertia = one_problem(points, np.ones(12), 6)
    assert inertia == pytest.approx(0, abs=1e-12)
    assert adjusted_rand_score(np.repeat([0, 1, 2], [4, 1, 7]), labels) == 1


@pytest.mark.parametrize("n_clusters", [1, 3])
def test_all_points_the_same(n_clusters):
    labels, inertia = one_problem(np.ones((8, 5)), np.ones(8), n_clusters)
    assert inertia == pytest.approx(0, abs=1e-12)
    assert np.unique(labels).size == 1


def test_one_cluster_has_the_total_variance():
    points = np.random.default_rng(0).normal(size=(40, 6))
    labels, inertia = one_problem(points, np.ones(40), 1)
    assert (labels == 0).all()
    assert inertia == pytest.approx(40 * points.var(0).sum())


def test_an_empty_cluster_takes_the_farthest_point():
    """Two starts on one point: the second is left empty and must get the outlier."""
    points = np.array([[0.0], [0.1], [0.2], [0.0], [9.0]])
    labels, inertia = lloyd_gram(points @ points.T, np.ones(5), np.array([0, 3]))
    assert adjusted_rand_score([0, 0, 0, 0, 1], labels) == 1
    assert inertia == pytest.approx(inertia_of(points, np.ones(5), labels))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_smoothing(dtype):
    activity = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (3, 11, 7))).to(dtype)
    before = activity.clone()
    expected = np.stack([reference.smooth(one) for one in activity.numpy()])
    assert np.array_equal(smooth(activity).numpy(), expected)
    assert torch.equal(activity, before)


def clear_activity(images, truth, kind, seed=0):
    """(B, S, P) activity in which every group of the on-pixels fires at its own phase."""
    pixels = on_pixels(images)
    group = torch.from_numpy(truth).flatten(1).gather(1, pixels.index)
    steps = torch.arange(20)[None, :, None]
    on_phase = (steps % 5 == group[:, None]) & (pixels.on > 0)[:, None]
    noise_bits = torch.rand(on_phase.shape, generator=torch.Generator().manual_seed(seed)) < 0.03
    spikes = (on_phase ^ (noise_bits & (pixels.on > 0)[:, None])).to(torch.uint8)
    return (spikes if kind == "spikes" else 0.7 * spikes.float()), pixels


@pytest.mark.parametrize("kind", ["spikes", "rates"])
def test_group_pixels_equals_scikit_learn_on_all_pixels(kind):
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, (5, 8, 9))
    truth[0, :4] = 0  # images with different numbers of on-pixels
    images = torch.from_numpy((truth > 0).astype(np.float32))
    activity, pixels = clear_activity(images, truth, kind)
    labels = group_pixels(activity, pixels, 4, 3, np.arange(5))
    assert labels.shape == (5, 72)
    assert labels.dtype == np.int64
    for b in range(5):
        everywhere = np.zeros((20, 72))
        count = int(images[b].sum())
        everywhere[:, pixels.index[b, :count]] = activity[b, :, :count].double()
        expected, inertia = reference.group_pixels(everywhere, 4, 0)
        points = reference.smooth(everywhere).T
        assert inertia_of(points, np.ones(72), labels[b]) == pytest.approx(inertia, rel=1e-6)
        assert adjusted_rand_score(expected, labels[b]) == 1
        assert adjusted_rand_score(truth[b].ravel(), labels[b]) > 0.9
        assert (labels[b][truth[b].ravel() == 0] == 0).all()
        assert set(labels[b]) == {0, 1, 2, 3}


def test_group_pixels_takes_a_number_of_groups_for_every_image():
    truth = np.random.default_rng(4).integers(0, 4, (3, 8, 9))
    images = torch.from_numpy((truth > 0).astype(np.float32))
    activity, pixels = clear_activity(images, truth, "spikes")
    labels = group_pixels(activity, pixels, np.array([2, 3, 4]), 3, np.arange(3))
    assert [np.unique(one).size for one in labels] == [2, 3, 4]
    some = group_pixels(activity[1:2], type(pixels)(*(x[1:2] for x in pixels[:2]), 72), 3, 3, [1])
    assert np.array_equal(some[0], labels[1])


def test_group_pixels_repeats_itself_and_seeds_differ():
    rng = np.random.default_rng(0)
    images = torch.ones(4, 8, 8)
    pixels = on_pixels(images)
    activity = torch.from_numpy(rng.integers(0, 2, (4, 10, 64)).astype(np.uint8))
    runs = [group_pixels(activity, pixels, 6, seed, np.arange(4), 1) for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert noise.KMEANS not in (noise.PIXELS, noise.CODE, noise.START, noise.DROPS)
