import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.mt19937 import new_state, next_uint32, permutation, randint

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_words_equal_those_of_numpy_beyond_two_refills(seed):
    rng, state = np.random.RandomState(seed), new_state(seed)
    expected = rng.randint(0, 2**32, size=1500, dtype=np.uint32)
    assert [next_uint32(state) for _ in range(1500)] == expected.tolist()


@given(seed=SEEDS, highs=st.lists(st.integers(1, 2**32), min_size=1, max_size=50))
@settings(max_examples=50, deadline=None)
def test_randint_draws_what_numpy_draws(seed, highs):
    rng, state = np.random.RandomState(seed), new_state(seed)
    assert [randint(state, high) for high in highs] == [rng.randint(0, high) for high in highs]
    assert next_uint32(state) == rng.randint(0, 2**32, dtype=np.uint32)


@given(seed=SEEDS, high=st.integers(1, 10**6), size=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_arrays_of_numpy_are_single_draws_one_after_the_other(seed, high, size):
    state = new_state(seed)
    expected = np.random.RandomState(seed).randint(0, high, size).tolist()
    assert [randint(state, high) for _ in range(size)] == expected


@given(seed=SEEDS, n=st.integers(1, 400), data=st.data())
@settings(max_examples=50, deadline=None)
def test_permutation_shuffle_and_choice(seed, n, data):
    size = data.draw(st.integers(0, n))
    order = permutation(new_state(seed), n)
    shuffled = np.arange(n)
    np.random.RandomState(seed).shuffle(shuffled)
    np.testing.assert_array_equal(order, shuffled)
    chosen = np.random.RandomState(seed).choice(np.arange(n), replace=False, size=size)
    np.testing.assert_array_equal(order[:size], chosen)


def test_one_value_draws_nothing():
    state = new_state(3)
    before = state.copy()
    assert randint(state, 1) == 0
    np.testing.assert_array_equal(state, before)
