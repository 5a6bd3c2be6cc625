"""The random numbers: the published generator, uniform, independent, the same compiled and not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dasbe import noise

MASK = 2**64 - 1


def splitmix64(z):
    """The finaliser of splitmix64 on Python's integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def as_unsigned(words):
    return [int(word) & MASK for word in words.flatten()]


def test_bits_are_the_published_sequence_of_splitmix64():
    """The first outputs of splitmix64 seeded with 0 (Vigna's reference code)."""
    words = noise.bits(np.zeros(1, np.uint64), torch.arange(1, 4)[None])
    assert as_unsigned(words) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.integers(0, MASK), st.integers(0, 2**40))
@settings(deadline=None)
def test_bits_equal_integer_arithmetic_and_the_compiled_mix(key, counter):
    expected = splitmix64((key + counter * 0x9E3779B97F4A7C15) & MASK)
    words = noise.bits(np.array([key], np.uint64), torch.tensor([[counter]]))
    assert as_unsigned(words) == [expected]
    compiled = noise.uniforms(np.array([key], np.uint64), counter, 1, torch.zeros(1, 1).long())
    assert noise.uniform_of(words).item() == compiled.item() == (expected >> 40) / 2**24
    coin, coin_before = noise.coins_of(words)
    assert (coin.item(), coin_before.item()) == (bool(expected & 1), bool(expected & 2))


@pytest.mark.parametrize("shared", [True, False])
def test_uniforms_have_the_counters_they_say(shared):
    keys = noise.image_keys(3, noise.PIXELS, np.arange(4))
    columns = torch.randperm(60)[: 5 if shared else 20].view(1 if shared else 4, 5)
    found = noise.uniforms(keys, 1000, 7, columns, stride=60)
    counters = 1000 + 60 * torch.arange(7)[None, :, None] + columns[:, None]
    expected = noise.uniform_of(noise.bits(keys, counters.expand(4, -1, -1)))
    assert torch.equal(found, expected)


def test_keys_differ_between_seeds_streams_and_images():
    images = np.arange(50)
    keys = [noise.image_keys(s, stream, images) for s in range(-3, 20) for stream in range(5)]
    assert np.unique(np.concatenate(keys)).size == len(keys) * 50
    assert np.array_equal(noise.image_keys(-1, 0, images), noise.image_keys(2**64 - 1, 0, images))
    assert np.array_equal(noise.image_keys(4, 2, images[30:]), noise.image_keys(4, 2, images)[30:])


def test_uniforms_are_uniform():
    u = noise.uniforms(noise.image_keys(0, 1, np.arange(10)), 0, 100, torch.arange(500)[None])
    assert u.dtype == torch.float32
    assert 0 <= u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    n = u.numel()
    assert abs(u.double().mean() - 1 / 2) < 4 * (1 / 12 / n) ** 0.5
    assert abs(u.double().var() - 1 / 12) < 4 * (1 / 180 / n) ** 0.5
    counts = torch.histc(u, 256, 0, 1)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def largest_correlation(rows):
    """The largest absolute correlation of two different rows of (M, n), in standard errors."""
    rows = np.asarray(rows, dtype=np.float64)
    matrix = np.corrcoef(rows) - np.eye(len(rows))
    return np.abs(matrix).max() * rows.shape[1] ** 0.5


def test_streams_images_and_seeds_are_uncorrelated():
    columns = torch.arange(50_000)[None]
    rows = torch.cat(
        [
            noise.uniforms(noise.image_keys(seed, stream, np.arange(4)), 0, 1, columns)[:, 0]
            for seed in (0, 1, 111)
            for stream in range(5)
        ]
    )
    # 1 770 pairs: the largest of so many standard normals exceeds 5 once in 1 000 times.
    assert largest_correlation(rows) < 5
    lagged = torch.stack([rows[0, lag : lag + 49_000] for lag in (0, 1, 2, 28, 784)])
    assert largest_correlation(lagged) < 5


def test_coins_are_fair_and_independent_of_the_uniform_number():
    words = noise.bits(noise.image_keys(0, 1, np.arange(1)), torch.arange(200_000)[None])[0]
    coin, coin_before = noise.coins_of(words)
    for fair in (coin, coin_before):
        assert abs(fair.double().mean() - 0.5) < 4 * (0.25 / words.numel()) ** 0.5
    rows = torch.stack([noise.uniform_of(words), coin.float(), coin_before.float()])
    assert largest_correlation(rows) < 4
    shifted = torch.stack([coin[:-1], coin_before[:-1], coin[1:], coin_before[1:]])
    assert largest_correlation(shifted) < 4


def test_start_feedback_sums_to_one_over_the_window():
    pixels = torch.arange(40)[None]
    g = noise.start_feedback(3, np.arange(6), 13, pixels, 40)
    assert g.shape == (6, 13, 40)
    assert g.dtype == torch.float32
    assert (g > 0).all()
    torch.testing.assert_close(g.sum(1), torch.ones(6, 40))


def test_start_feedback_is_a_half_normal_before_it_is_normalised():
    g = noise.start_feedback(5, np.arange(4), 50, torch.arange(300)[None], 300, normalise=False)
    assert torch.isfinite(g).all()
    assert stats.kstest(g.flatten().numpy(), stats.halfnorm.cdf).pvalue > 1e-3
    normalised = noise.start_feedback(5, np.arange(4), 50, torch.arange(300)[None], 300)
    torch.testing.assert_close(normalised, g / g.sum(1, keepdim=True))


def test_start_feedback_belongs_to_the_pixel_not_to_its_place():
    everywhere = noise.start_feedback(1, np.array([8]), 7, torch.arange(30)[None], 30)
    some = torch.tensor([[4, 29, 11]])
    there = noise.start_feedback(1, np.array([8]), 7, some, 30)
    assert torch.equal(there[0], everywhere[0][:, some[0]])


def test_phase_uniforms_go_on_from_iteration_to_iteration():
    keys = noise.image_keys(0, noise.CODE, np.arange(2))
    blocks = [noise.phase_uniforms(keys, n, 5, torch.device("cpu"))(3) for n in range(4)]
    run = noise.uniforms(keys, 0, 20, torch.arange(3)[None])
    assert torch.equal(torch.cat(blocks, 1), run)
