"""The words that formulas are written in.

On arrays each word *is* NumPy's, except that `exp`, the logarithms and the matrix product keep quiet when
infinity or NaN is the answer: in these formulas it is meant. The compiled engine runs the same formulas on
scalars, with every word replaced by a twin that LLVM can vectorise; a bare `np.where` on scalars
would allocate arrays. A formula that uses only these words and + - * / < > <= >= == also runs on
complex arrays, which gives derivatives to machine precision (complex step, Squire and Trapp 1998).
"""

from __future__ import annotations

import numpy as np
from numpy import maximum, minimum, sqrt, tanh, where

from ..checks import Array

__all__ = ["Array", "exp", "log", "log1p", "maximum", "minimum", "product", "sqrt", "tanh", "where"]


def exp(x: Array) -> Array:
    """e to the x; infinity where that overflows, without a warning."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.exp(x)


def log(x: Array) -> Array:
    """Natural logarithm; -infinity at 0 and NaN below, without a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x)


def log1p(x: Array) -> Array:
    """log(1 + x) without the rounding of 1 + x; -infinity at -1, without a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log1p(x)


def product(a: Array, b: Array) -> Array:
    """The matrix product, without a warning.

    On some processors a BLAS computes with what lies beside its matrices, too, and throws that away, but the
    flag of an invalid operation stays, and NumPy would warn of a product of finite numbers.
    """
    with np.errstate(invalid="ignore"):
        return a @ b
