"""The random numbers: the published generator, uniform, independent, the same compiled and not."""

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common import counter_noise as noise

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix64(z):
    """The finaliser of splitmix64 on Python's integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def as_unsigned(words):
    return [int(word) & MASK for word in words.flatten()]


@numba.njit
def compiled(key, counters):
    """Words (N,) and their two uniform numbers (N, 2), as a compiled scan takes them."""
    words = np.empty(counters.size, np.uint64)
    numbers = np.empty((counters.size, 2), np.float32)
    for i in range(counters.size):
        words[i] = noise.mix(key + counters[i] * noise.GOLDEN)
        numbers[i, 0] = noise.uniform(words[i])
        numbers[i, 1] = noise.second_uniform(words[i])
    return words, numbers


def test_bits_are_the_published_sequence_of_splitmix64():
    """The first outputs of splitmix64 seeded with 0 (Vigna's reference code)."""
    words = noise.bits(np.zeros(1, np.uint64), torch.arange(1, 4)[None])
    assert as_unsigned(words) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.integers(0, MASK), st.integers(0, 2**40))
@settings(deadline=None)
def test_tensors_and_compiled_code_equal_integer_arithmetic(key, counter):
    expected = splitmix64((key + counter * GOLDEN) & MASK)
    words = noise.bits(np.array([key], np.uint64), torch.tensor([[counter]]))
    found, numbers = compiled(np.uint64(key), np.array([counter], np.uint64))
    assert as_unsigned(words) == as_unsigned(found) == [expected]
    first, second = (expected >> 40) / 2**24, (expected & (2**24 - 1)) / 2**24
    assert noise.uniform_of(words).item() == first
    assert noise.second_uniform_of(words).item() == second
    assert numbers.tolist() == [[first, second]]
    filled = noise.uniforms(np.array([key], np.uint64), counter, 1, torch.zeros(1, 1).long())
    assert filled.item() == first
    coin, other_coin = noise.coins_of(words)
    assert (coin.item(), other_coin.item()) == (bool(expected & 1), bool(expected & 2))


@given(st.integers(-(2**63), 2**64 - 1), st.integers(0, 2**40), st.integers(0, 2**40))
@settings(deadline=None)
def test_keys_are_hashes_of_seed_stream_and_image(seed, stream, image):
    base = (splitmix64((seed % 2**64 * GOLDEN + GOLDEN) & MASK) + stream) & MASK
    expected = splitmix64((splitmix64(base) + image * GOLDEN) & MASK)
    assert noise.image_keys(seed, stream, np.array([image])).tolist() == [expected]
    assert noise.image_keys(seed, stream, torch.tensor([image])).tolist() == [expected]


@pytest.mark.parametrize("shared", [True, False])
def test_uniforms_have_the_counters_they_say(shared):
    keys = noise.image_keys(3, 1, np.arange(4))
    columns = torch.randperm(60)[: 5 if shared else 20].view(1 if shared else 4, 5)
    found = noise.uniforms(keys, 1000, 7, columns, stride=60)
    counters = 1000 + 60 * torch.arange(7)[None, :, None] + columns[:, None]
    expected = noise.uniform_of(noise.bits(keys, counters.expand(4, -1, -1)))
    assert torch.equal(found, expected)


def test_rows_follow_each_other_without_a_stride():
    keys = noise.image_keys(0, 2, np.arange(2))
    columns = torch.arange(3)[None]
    run = noise.uniforms(keys, 0, 20, columns)
    assert torch.equal(run[:, 5:], noise.uniforms(keys, 15, 15, columns))
    assert torch.equal(run.flatten(1), noise.uniforms(keys, 0, 1, torch.arange(60)[None])[:, 0])


def test_keys_differ_between_seeds_streams_and_images():
    images = np.arange(50)
    keys = [noise.image_keys(s, stream, images) for s in range(-3, 20) for stream in range(5)]
    assert np.unique(np.concatenate(keys)).size == len(keys) * 50
    assert np.array_equal(noise.image_keys(-1, 0, images), noise.image_keys(2**64 - 1, 0, images))
    assert np.array_equal(noise.image_keys(4, 2, images[30:]), noise.image_keys(4, 2, images)[30:])


def example_words():
    """(500 000,) words of ten images."""
    return noise.bits(noise.image_keys(0, 1, np.arange(10)), torch.arange(50_000)[None]).flatten()


@pytest.mark.parametrize("number", [noise.uniform_of, noise.second_uniform_of])
def test_both_numbers_are_uniform(number):
    u = number(example_words())
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


def test_the_parts_of_a_word_are_independent():
    words = example_words()[:200_000]
    u, second = noise.uniform_of(words), noise.second_uniform_of(words)
    assert largest_correlation(torch.stack([u[:-1], second[:-1], u[1:], second[1:]])) < 4
    pairs, _, _ = np.histogram2d(u.numpy(), second.numpy(), bins=16, range=[[0, 1], [0, 1]])
    assert stats.chisquare(pairs.flatten()).pvalue > 1e-4


def test_coins_are_fair_and_independent_of_the_uniform_number():
    words = example_words()[:200_000]
    coin, coin_before = noise.coins_of(words)
    for fair in (coin, coin_before):
        assert abs(fair.double().mean() - 0.5) < 4 * (0.25 / words.numel()) ** 0.5
    rows = torch.stack([noise.uniform_of(words), coin.float(), coin_before.float()])
    assert largest_correlation(rows) < 4
    shifted = torch.stack([coin[:-1], coin_before[:-1], coin[1:], coin_before[1:]])
    assert largest_correlation(shifted) < 4
