"""exp, log, log1p and tanh on lanes: within 2 units in the last place, everywhere; and the other words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from scratchnn.checks import Array
from scratchnn.engine import lanes, words

ULPS = 2.0
DTYPES = (np.float32, np.float64)
WORDS = ("exp", "log", "log1p", "tanh")


def on_lanes(formula: Any, count: int = 1) -> Callable[..., Array]:
    """A formula of `count` arguments, applied to arrays by way of lanes."""

    @njit(error_model="numpy")
    def one(x: Any, out: Any) -> None:
        p, q = lanes.pointer(x), lanes.pointer(out)
        for i in range(0, x.size, lanes.width(p)):
            lanes.store(q, i, formula(lanes.load(p, i)))

    @njit(error_model="numpy")
    def two(x: Any, y: Any, out: Any) -> None:
        p, r, q = lanes.pointer(x), lanes.pointer(y), lanes.pointer(out)
        for i in range(0, x.size, lanes.width(p)):
            lanes.store(q, i, formula(lanes.load(p, i), lanes.load(r, i)))

    def run(*arrays: Array) -> Array:
        padded = [np.concatenate([a, np.zeros(-a.size % 16, a.dtype)]) for a in arrays]
        out = np.empty_like(padded[0])
        (one if count == 1 else two)(*padded, out)
        return out[: arrays[0].size]

    return run


def sample(dtype: Any) -> Array:
    """Every exponent, the neighbourhoods where something happens, and what is no ordinary number."""
    rng = np.random.default_rng(0)
    single = dtype == np.float32
    bits = rng.integers(0, 2**32 if single else 2**64, 200_000, np.uint32 if single else np.uint64)
    ranges = [(-104, 89), (-746, 710), (-1, 1), (0.5, 2), (-1e-3, 1e-3), (-25, 25), (-1, -0.9)]
    info = np.finfo(dtype)
    corners = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, info.max, -info.max, info.tiny, -info.tiny]
    corners += [info.smallest_subnormal, -info.smallest_subnormal, 0.625, -0.625, 0.5**0.5, 2**0.5, 22.0]
    corners += [88.7, 88.72, 88.73, 88.8, -87.3, -103.97, -104, 709.78, 709.79, -708.3, -745.1, -745.2]
    values = [np.array(corners, dtype), bits.view(dtype)]
    for low, high in ranges:
        values.append(rng.uniform(low, high, 60_000).astype(dtype))
    around = np.array(corners, dtype)[5:]
    with np.errstate(over="ignore", under="ignore"):
        values += [np.nextafter(around, dtype(np.inf)), np.nextafter(around, dtype(-np.inf))]
    return np.concatenate(values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("word", WORDS)
def test_within_two_ulp(word: str, dtype: Any) -> None:
    x = sample(dtype)
    got = on_lanes(getattr(words, word))(x)
    with np.errstate(all="ignore"):
        exact = getattr(np, word)(x.astype(np.longdouble))
        rounded = exact.astype(dtype)
    assert got.dtype == dtype
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    ordinary = np.isfinite(rounded)
    infinite = np.isinf(rounded)
    # At the edge of overflow the last finite number and infinity are neighbours.
    edge = np.abs(exact) >= np.finfo(dtype).max
    np.testing.assert_array_equal(got[infinite & ~edge], rounded[infinite & ~edge])
    np.testing.assert_array_equal(np.sign(got[infinite]), np.sign(rounded[infinite]))
    spacing = np.spacing(np.abs(rounded[ordinary])).astype(np.longdouble)
    error = np.abs(got[ordinary].astype(np.longdouble) - exact[ordinary]) / spacing
    worst = error.argmax()
    assert error[worst] <= ULPS, f"{word}({x[ordinary][worst]!r}) is {error[worst]} ulp off"
    zero = got == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(rounded[zero]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_judge_knows_better(dtype: Any) -> None:
    """The extended precision that judges above agrees with mpmath."""
    mpmath = pytest.importorskip("mpmath")
    x = np.random.default_rng(1).uniform(0.01, 5, 50).astype(dtype)
    with mpmath.workdps(40):
        for word in WORDS:
            judged = getattr(np, word)(x.astype(np.longdouble))
            for value, number in zip(x, judged, strict=True):
                exact = getattr(mpmath, word)(mpmath.mpf(float(value)))
                assert abs(mpmath.mpf(str(number)) / exact - 1) < 1e-17


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("word", ["maximum", "minimum"])
def test_extrema_pass_nan_on(word: str, dtype: Any) -> None:
    values = np.array([1, 2, -1, np.nan, np.inf, -np.inf], dtype)
    a, b = (grid.ravel() for grid in np.meshgrid(values, values))
    got = on_lanes(getattr(lanes, word), 2)(a, b)
    np.testing.assert_array_equal(got, getattr(np, word)(a, b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_is_numpy_s(dtype: Any) -> None:
    """Numbers are weak, nothing is fused or reassociated, comparisons with NaN are false."""

    @njit(error_model="numpy")
    def formula(x: Any, y: Any) -> Any:
        picked = lanes.where(x > 0.1, x * 0.3 + y, lanes.where(y <= x, 1 - y, lanes.sqrt(x) / 3))
        return lanes.where(x != x, 7, lanes.where(y >= 2, -picked, picked))

    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 4096)).astype(dtype)
    x[:3], y[5:8] = np.nan, np.inf
    with np.errstate(all="ignore"):
        inner = np.where(y <= x, 1 - y, np.sqrt(x) / 3)
        picked = np.where(x > 0.1, x * 0.3 + y, inner)
        want = np.where(x != x, dtype(7), np.where(y >= 2, -picked, picked))
    assert want.dtype == dtype
    np.testing.assert_array_equal(on_lanes(formula, 2)(x, y), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_lanes_is_one_tree(dtype: Any) -> None:
    """The upper half onto the lower one, until one is left."""

    @njit(error_model="numpy")
    def total(x: Any) -> Any:
        return lanes.sum_of_lanes(lanes.load(lanes.pointer(x), 0))

    x = np.random.default_rng(3).standard_normal(64).astype(dtype)
    folded = x[: lanes.REGISTER_BITS // (8 * x.itemsize)]
    while folded.size > 1:
        half = folded.size // 2
        folded = folded[:half] + folded[half:]
    assert total(x) == folded[0]
