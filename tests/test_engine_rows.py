"""Rows into panels, and the orders that rows come in: the engine's against NumPy's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from scratchnn.engine import lanes
from scratchnn.engine.blocks import VECTORS
from scratchnn.engine.orders import reshuffled
from scratchnn.engine.rows import take_rows
from scratchnn.estimators.training import Orders


@njit(error_model="numpy")
def _take(V: Any, columns: Any, order: Any, ordered: Any, start: Any, count: Any, M: Any, to: Any) -> Any:
    values, panels, rows = lanes.pointer(V), lanes.pointer(M), lanes.pointer(order)
    take_rows(values, columns, rows, ordered, start, count, panels, to)
    return lanes.width(panels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("columns", [1, 2, 7, 8, 15, 16, 17, 50])
@pytest.mark.parametrize("count", [1, 2, 8, 9, 16, 17, 31])
def test_rows_become_panels(count: int, columns: int, ordered: bool, dtype: Any) -> None:
    count = min(count, VECTORS * lanes.REGISTER_BITS // np.finfo(dtype).bits)  # a panel's rows
    rng = np.random.default_rng(count * columns)
    rows, start, to = 40, 5, 3
    values = rng.standard_normal((rows, columns)).astype(dtype)
    order = rng.permutation(rows)
    memory = np.full(to + columns * VECTORS * 16 + 7, -9, dtype)
    W = _take(values.ravel(), columns, order if ordered else order[:0], ordered, start, count, memory, to)

    places = np.arange(start, start + count)
    places = np.append(places, np.repeat(places[-1:], -count % W))  # padding repeats the last row
    expected = np.full_like(memory, -9)
    panel = expected[to : to + columns * VECTORS * W].reshape(columns, VECTORS * W)
    panel[:, : len(places)] = values[order[places] if ordered else places].T
    np.testing.assert_array_equal(memory, expected)


@pytest.mark.parametrize("drawn", [0, 1, 623, 624, 1000])
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 9, 1000, 1025])
def test_reshuffled_is_randomstates_shuffle(rows: int, drawn: int) -> None:
    ours, numpys = np.random.RandomState(rows), np.random.RandomState(rows)
    for generator in (ours, numpys):
        generator.bytes(4 * drawn)
        generator.standard_normal()  # leaves the second of a pair behind, which a shuffle must not lose
    order = np.random.RandomState(1).permutation(rows)
    expected, now = [], order.copy()
    for _ in range(4):
        numpys.shuffle(now)
        expected.append(now.copy())
    state = ours.get_state(legacy=False)
    np.testing.assert_array_equal(reshuffled(state["state"], order, 4), expected)
    ours.set_state(state)
    assert ours.standard_normal() == numpys.standard_normal()
    assert ours.randint(2**31) == numpys.randint(2**31)


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64])
def test_orders_ahead_are_orders_one_by_one(bits: Any) -> None:
    ahead, one_by_one = (Orders(50, True, np.random.RandomState(bits(3))) for _ in range(2))
    for epochs in (1, 3):
        expected = [one_by_one.next() for _ in range(epochs)]
        np.testing.assert_array_equal(ahead.ahead(epochs), np.concatenate(expected))
    np.testing.assert_array_equal(ahead.next(), one_by_one.next())
    ahead.ahead(2), one_by_one.next(), one_by_one.next()
    ahead.settle()
    assert ahead.random_state.standard_normal() == one_by_one.random_state.standard_normal()
