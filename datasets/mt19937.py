"""NumPy's legacy generator (Mersenne Twister) for compiled loops, draw for draw the same.

The state is one int64 array of 625 numbers: the 624 words of the twister and the position of the
next word. ``RandomState(seed)`` defines the start, so no seeding is written again here.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import njit

compiled = functools.partial(njit, cache=True, nogil=True)

_WORDS = 624
_SHIFT = 397


def new_state(seed: int) -> np.ndarray:
    """The state (625,) int64 of ``np.random.RandomState(seed)``."""
    _, words, position, _, _ = np.random.RandomState(seed).get_state()
    return np.append(words.astype(np.int64), position)


@compiled
def _refill(state: np.ndarray) -> None:
    for i in range(_WORDS):
        joined = (state[i] & 0x80000000) | (state[(i + 1) % _WORDS] & 0x7FFFFFFF)
        word = state[(i + _SHIFT) % _WORDS] ^ (joined >> 1)
        state[i] = word ^ 0x9908B0DF if joined & 1 else word
    state[_WORDS] = 0


@compiled
def next_uint32(state: np.ndarray) -> int:
    """The next 32-bit word of the stream, in 0 .. 2^32 - 1; advances ``state``."""
    if state[_WORDS] >= _WORDS:
        _refill(state)
    word = state[state[_WORDS]]
    state[_WORDS] += 1
    word ^= word >> 11
    word ^= (word << 7) & 0x9D2C5680
    word ^= (word << 15) & 0xEFC60000
    return word ^ (word >> 18)


@compiled
def randint(state: np.ndarray, high: int) -> int:
    """``RandomState.randint(0, high)`` for 1 <= high <= 2^32: words are cut to the bits of
    ``high - 1`` and rejected while above it; nothing is drawn when there is one value only."""
    largest = high - 1
    if largest == 0:
        return 0
    mask = largest
    for shift in (1, 2, 4, 8, 16):
        mask |= mask >> shift
    value = next_uint32(state) & mask
    while value > largest:
        value = next_uint32(state) & mask
    return value


@compiled
def permutation(state: np.ndarray, n: int) -> np.ndarray:
    """``RandomState.permutation(n)`` (n,) int64, which is also what ``shuffle(arange(n))`` leaves
    and whose first k are ``choice(arange(n), replace=False, size=k)``."""
    order = np.arange(n)
    for i in range(n - 1, 0, -1):
        j = randint(state, i + 1)
        order[i], order[j] = order[j], order[i]
    return order
