"""Shuffled orders, many epochs in one call: the same words and swaps as `scratchnn.random`, compiled.

Beside them the shuffles of NumPy's RandomState, which scikit-learn orders its rows by.

Source: Matsumoto and Nishimura 1998, `mt19937ar.c`; the shuffle is Fisher and Yates's, torch's from the
first row up and NumPy's from the last row down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from ..functional.vocabulary import Array
from .cache import compiled
from .inner import inner

__all__ = ["compile_now", "permutation_from_words", "reshuffled", "seeded_permutations"]

STATE, SHIFT = 624, 397
UPPER, LOWER, MATRIX = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x9908B0DF)
SEED_FACTOR = np.uint32(1812433253)


@inner
def seed_words(state, seed):
    """Fill the state from a 32-bit seed."""
    word = np.uint32(seed)
    state[0] = word
    for i in range(1, STATE):
        word = np.uint32(SEED_FACTOR * np.uint32(word ^ (word >> np.uint32(30))) + np.uint32(i))
        state[i] = word


@inner
def twist(state, start, stop, ahead):
    """The next generation of words start ... stop - 1; each looks `ahead` for its partner."""
    for i in range(start, stop):
        y = (state[i] & UPPER) | (state[i + 1] & LOWER)
        state[i] = state[i + ahead] ^ (y >> np.uint32(1)) ^ (MATRIX if y & np.uint32(1) else np.uint32(0))


@inner
def next_words(state, words):
    """The next 624 words of the stream. state: (625,), the last entry repeats the first."""
    twist(state, 0, STATE - SHIFT, SHIFT)
    twist(state, STATE - SHIFT, STATE - 1, SHIFT - STATE)
    state[STATE] = state[0]
    twist(state, STATE - 1, STATE, SHIFT - STATE)
    temper(state, words)


@inner
def temper(state, words):
    """The words of a generation, as they leave the generator."""
    for i in range(STATE):
        y = state[i]
        y ^= y >> np.uint32(11)
        y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
        y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
        words[i] = y ^ (y >> np.uint32(18))


@inner
def swap_all(order, words, first, count, partners):
    """Swap rows first ... first + count - 1 with the partners that their words name."""
    n = order.size
    for k in range(count):
        # A remainder by way of doubles, which divide side by side: exact, since 32-bit words are.
        left = np.float64(n - first - k)
        word = np.float64(words[k])
        rest = word - np.floor(word / left) * left
        partners[k] = np.int64(rest)
    for k in range(count):
        i = first + k
        j = i + partners[k]
        order[i], order[j] = order[j], order[i]


@njit(nogil=True, error_model="numpy")
def _seeded(seeds, orders):
    """orders[e]: a permutation from the stream of seeds[e]."""
    state, words = np.empty(STATE + 1, np.uint32), np.empty(STATE, np.uint32)
    partners = np.empty(STATE, np.int64)
    n = orders.shape[1]
    for e in range(seeds.size):
        order = orders[e]
        for i in range(n):
            order[i] = i
        seed_words(state, seeds[e])
        for first in range(0, n - 1, STATE):
            next_words(state, words)
            swap_all(order, words, first, min(STATE, n - 1 - first), partners)


@njit(nogil=True, error_model="numpy")
def _from_words(words, order):
    partners = np.empty(STATE, np.int64)
    for i in range(order.size):
        order[i] = i
    for first in range(0, words.size, STATE):
        count = min(STATE, words.size - first)
        swap_all(order, words[first:], first, count, partners)


@njit(nogil=True, error_model="numpy")
def _reshuffled(state, used, order, orders):
    """orders[e]: the shuffle of the one before, of `order` at first; returns the next value of `used`.

    Args:
        state: (625,) as for `next_words`. used: words that were taken of this generation.
    """
    words, partners = np.empty(STATE, np.uint32), np.empty(order.size, np.int64)
    temper(state, words)
    for e in range(orders.shape[0]):
        i, mask = order.size - 1, np.int64(1)
        while mask < i:
            mask = 2 * mask + 1
        while i > 0:
            while i > mask >> 1:
                if used == STATE:
                    next_words(state, words)
                    used = 0
                # Words beyond i are thrown away: a remainder would favour the first rows. No branch: one that
                # nobody can foresee would cost more than all the rest.
                partners[i] = words[used] & mask
                i -= np.int64(partners[i] <= i)
                used += 1
            mask >>= 1
        now = orders[e]
        now[:] = order if e == 0 else orders[e - 1]
        for i in range(order.size - 1, 0, -1):
            j = partners[i]
            now[i], now[j] = now[j], now[i]
    return used


_KERNELS: list[Any] = []


def compile_now() -> float:
    """Get ready; the seconds that compiling took now, or 0."""
    if _KERNELS:
        return 0.0
    raw, integers = types.Array(types.uint64, 1, "C", readonly=True), types.int64
    many, first = compiled(_seeded, "seeded_orders", (raw, types.Array(integers, 2, "C")))
    row, rows = types.Array(integers, 1, "C"), types.Array(integers, 2, "C")
    one, second = compiled(_from_words, "order_from_words", (raw, row))
    again, third = compiled(
        _reshuffled, "reshuffled", (types.Array(types.uint32, 1, "C"), integers, row, rows)
    )
    _KERNELS[:] = many, one, again
    return first + second + third


def seeded_permutations(seeds: Array, n: int) -> Array:
    """(E, n) int64: for each seed what `randperm(n)` gives from a new generator of that seed.

    Args:
        seeds: (E,) uint64, of which the low 32 bits count.
    """
    compile_now()
    orders = np.empty((len(seeds), n), np.int64)
    _KERNELS[0](seeds & np.uint64(0xFFFFFFFF), orders)
    return orders


def permutation_from_words(words: Array) -> Array:
    """`scratchnn.random.permutation_from_words`, compiled."""
    compile_now()
    order = np.empty(len(words) + 1, np.int64)
    _KERNELS[1](words, order)
    return order


def reshuffled(state: dict[str, Any], order: Array, epochs: int) -> Array:
    """(epochs, N) int64: what RandomState.shuffle makes of (N,) `order`, of that again, and so on.

    Args:
        state: of an MT19937, as `RandomState.get_state(legacy=False)["state"]` gives it; moved on in place.
    """
    compile_now()
    words = np.append(state["key"], state["key"][:1])
    orders = np.empty((epochs, len(order)), np.int64)
    state["pos"] = _KERNELS[2](words, state["pos"], order, orders)
    state["key"] = words[:STATE]
    return orders
