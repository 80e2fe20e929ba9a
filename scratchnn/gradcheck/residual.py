"""Which operations on float64 numbers round nothing off.

The error of a sum, a product or a quotient of two float64 numbers is itself a float64 number, or nearly, and
can be computed (Knuth 1969; Dekker 1971): 1/1 rounds off nothing, and 1 + 1e-300 as good as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import Array

__all__ = ["NOTHING", "residual", "unit_of"]

SPLIT = 2.0**27 + 1  # Dekker's: it takes a number of 53 bits apart into two of 26
# Outside of these, the parts of a product overflow, or are too small to be held.
LEAST, MOST = 1e-280, 1e290
# Of a number: what is less than this part of it is nothing. No scale of weights makes up for it.
NOTHING = 1e-75


def unit_of(name: str, inputs: Sequence[Any], result: Array) -> Array:
    """One unit of rounding for each number that the ufunc `name` gave, and 0 where nothing was rounded off.

    An error in between counts as a unit: 1 + 1e-23 is 1, and no smaller error can be put into that 1.
    """
    usual = np.finfo(result.dtype).eps / 2 * np.abs(result)
    return np.where(residual(name, inputs, result) <= NOTHING * np.abs(result), 0, usual)


def residual(name: str, inputs: Sequence[Any], result: Array) -> Array:
    """An upper bound of |rounded - exact| for each number that the ufunc `name` gave.

    It is sharp for sums, products, squares and quotients of float64 numbers, and for a tanh that is 1; for
    anything else it is one unit of rounding.
    """
    usual = np.finfo(result.dtype).eps / 2 * np.abs(result)
    if result.dtype != np.float64 or not all(_is_double(x) for x in inputs):
        return usual
    a, *others = (np.asarray(x, np.float64) for x in inputs)
    if name == "add":
        error = _of_sum(a, others[0], result)
    elif name == "subtract":
        error = _of_sum(a, -others[0], result)
    elif name == "square" or (name == "power" and np.all(others[0] == 2)):
        error = _of_product(a, a, result)
    elif name == "multiply":
        error = _of_product(a, others[0], result)
    elif name in ("divide", "true_divide"):
        error = _of_quotient(a, others[0], result)
    elif name == "tanh":
        # 1 - tanh z = 2 / (exp(2z) + 1)
        error = np.where(np.abs(result) == 1, 2 * np.exp(-2 * np.abs(a)), usual)
    else:
        return usual
    return np.where(np.isfinite(error), np.minimum(np.abs(error), usual), usual)


def _is_double(value: Any) -> bool:
    """A float64 array, or a number, which NumPy takes for one next to such an array."""
    return np.asarray(value).dtype == np.float64 or isinstance(value, (int, float))


def _of_sum(a: Array, b: Array, total: Array) -> Array:
    """TwoSum: total - (a + b)."""
    other = total - a
    return (a - (total - other)) + (b - other)


def _of_product(a: Array, b: Array, rounded: Array) -> Array:
    """TwoProduct: a b - rounded, where the parts can be held; else NaN."""
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    error = a2 * b2 - (((rounded - a1 * b1) - a2 * b1) - a1 * b2)
    size = np.abs(rounded)
    held = ((size > LEAST) & (size < MOST)) | (a == 0) | (b == 0)
    return np.where(held, error, np.nan)


def _halves(a: Array) -> tuple[Array, Array]:
    much = SPLIT * a
    high = much - (much - a)
    return high, a - high


def _of_quotient(a: Array, b: Array, rounded: Array) -> Array:
    """(a - rounded b) / b, whose numerator is exact."""
    again = rounded * b
    return ((a - again) - _of_product(rounded, b, again)) / b
