"""Fused multiply-add: `a * b + c` rounded once, in plain NumPy.

PyTorch's compilers contract `a * b + c` into one instruction, so a sixth and more of its uniform numbers
differ in the last bit from those of two roundings. NumPy has no such function; two exact tricks make one:

    TwoSum      a + b = s + e         s the rounded sum, e its error, both floats (Knuth 1969)
    TwoProduct  a * b = p + e         the same for the product (Dekker 1971)

and rounding to odd, which keeps one sticky bit so that a second rounding cannot go wrong.
Source: Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums: proved algorithms using
rounding to odd", IEEE Transactions on Computers 57(4).
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from .checks import Array

__all__ = ["HAS_FMA", "fma", "multiply_add"]

SMALL = 2.0**-400  # the error of a product of two larger numbers is a float
SPLITTER = 2.0**27 + 1  # splits 53 bits into two halves whose products are exact


def fma(a: Any, b: Any, c: Any) -> Array:
    """`a * b + c`, rounded once.

    Args:
        a, b, c: float32 or float64 arrays of one dtype that broadcast together. float64 values stay below
            2**400 in size, so that every product and its error are floats.
    Returns:
        The array of that dtype.
    """
    a, b, c = np.asarray(a), np.asarray(b), np.asarray(c)
    if not c.any():
        return np.asarray(a * b + c)
    if a.dtype == np.float32:  # 24 + 24 bits fit in 53: the product is exact
        total, error = _two_sum(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64))
        return _round_to_odd(total, error).astype(np.float32)
    product, product_error = _two_product(a, b)
    low, low_error = _two_sum(c, product_error)
    high, high_error = _two_sum(product, low)
    once = np.asarray(high + _round_to_odd(*_two_sum(low_error, high_error)))
    return _by_fractions(once, *np.broadcast_arrays(a, b, c))


def _by_fractions(once: Array, a: Array, b: Array, c: Array) -> Array:
    """`once`, with what has a factor or a summand below SMALL done over: the errors there are no floats."""
    small = np.zeros(once.shape, bool)
    for number in (a, b, c):
        small |= (number != 0) & (np.abs(number) < SMALL)
    small &= np.isfinite(once)
    if not small.any():
        return once
    from fractions import Fraction

    for index in map(tuple, np.argwhere(small)):
        once[index] = float(Fraction(float(a[index])) * Fraction(float(b[index])) + Fraction(float(c[index])))
    return once


def multiply_add(a: Any, b: Any, c: Any) -> Array:
    """`a * b + c` as PyTorch rounds it on this machine: once with FMA instructions, else twice."""
    return fma(a, b, c) if HAS_FMA else np.asarray(a * b + c)


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    product = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _split(a: Array) -> tuple[Array, Array]:
    scaled = SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high


def _round_to_odd(total: Array, error: Array) -> Array:
    """`total + error` rounded to the neighbour whose last bit is 1, unless it is exact."""
    bits = np.atleast_1d(total).view(np.int64)
    inexact_even = (error != 0) & (bits & 1 == 0)
    away_from_zero = (error > 0) == (total > 0)
    step = np.where(away_from_zero, 1, -1)
    return np.where(inexact_even, bits + step, bits).view(np.float64).reshape(np.shape(total))


def _has_fma() -> bool:
    """Whether PyTorch uses FMA here: on x86 from AVX2 on (NumPy: X86_V3), elsewhere always."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    config: Any = np.show_config(mode="dicts")
    simd = config["SIMD Extensions"]
    features = {*simd.get("baseline", ()), *simd.get("found", ())}
    return "X86_V3" in features or {"AVX2", "FMA3"} <= features


HAS_FMA = _has_fma()
