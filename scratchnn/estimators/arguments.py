"""What scikit-learn's own checks refuse without a word of the argument, refused first, with its name.

Their words are kept where its tests of estimators look for them. What passes here goes through
scikit-learn's checks as ever.
"""

from __future__ import annotations

from numbers import Number
from typing import Any

import numpy as np
from scipy import sparse

from ..checks import Array, shown, unmasked

__all__ = ["check_classes", "check_table", "check_targets", "check_weights"]


def check_table(owner: str, name: str, X: Any) -> int:
    """The rows of `X`, which has two axes and holds numbers, or texts of numbers."""
    if sparse.issparse(X):
        return int(X.shape[0])
    array = _plain(owner, name, X)
    if array.ndim < 2:
        raise ValueError(
            f"{owner} got {name} of shape {array.shape}. Expected 2D array, got {array.ndim}D array instead. "
            f"Reshape your data: {name}.reshape(-1, 1) of one feature, {name}.reshape(1, -1) of one sample"
        )
    _check_numbers(owner, name, array)
    return len(array)


def check_targets(owner: str, name: str, y: Any, rows: int, numeric: bool) -> None:
    """`y` holds a target for each of the rows: a number, or where classes have names a text."""
    if y is None:
        return
    if sparse.issparse(y):
        if numeric:
            raise TypeError(f"{owner} got {name} as a sparse matrix; pass {name}.toarray()")
        return
    array = _plain(owner, name, y)
    if array.ndim == 0:
        raise TypeError(f"{owner} got {name}={shown(y)}; it needs a list or an array, one target a row")
    if len(array) != rows:
        raise ValueError(
            f"{owner} got {rows} rows and {len(array)} targets in {name}. "
            f"Found input variables with inconsistent numbers of samples: {[rows, len(array)]}"
        )
    if numeric:
        _check_numbers(owner, name, array)
    else:
        _check_labels(owner, name, array)


def check_weights(owner: str, name: str, weight: Any, rows: int) -> None:
    """`weight` is None, one number for all rows, or one for each, and not all are zero."""
    if weight is None:
        return
    array = _plain(owner, name, weight)
    _check_numbers(owner, name, array)
    scalar = isinstance(weight, (int, float, np.number))
    if array.dtype.kind not in "biuf" or not (scalar or array.shape == (rows,)):
        raise ValueError(
            f"{owner} got {name} of shape {array.shape} and dtype {array.dtype}; it needs ({rows},) numbers"
        )
    if not array.any():
        raise ValueError(f"{owner} got {name} without a non-zero number; no row would count")


def check_classes(owner: str, name: str, classes: Any) -> None:
    """`classes` is None, or one label for each class."""
    if classes is None:
        return
    array = _plain(owner, name, classes)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{owner} got {name}={shown(classes)}; it needs a list of all classes")
    _check_labels(owner, name, array)


def _plain(owner: str, name: str, value: Any) -> Array:
    if isinstance(value, np.matrix):
        raise TypeError(f"{owner} got {name} as np.matrix, which is not supported; pass np.asarray({name})")
    array = unmasked(owner, name, value)
    if array.dtype.kind == "c":
        raise ValueError(f"{owner} got {name} of dtype {array.dtype}. Complex data not supported")
    if array.dtype.kind in "mMV":
        raise TypeError(f"{owner} got {name} of dtype {array.dtype}; it needs numbers")
    return array


def _check_numbers(owner: str, name: str, array: Array) -> None:
    for element in array.flat if array.dtype.kind in "OSU" else ():
        try:
            float(element)
        except ValueError:
            raise ValueError(
                f"{owner} got {name} holding {shown(element)}: could not convert string to float"
            ) from None
        except TypeError:
            raise TypeError(
                f"{owner} got {name} holding {shown(element)}; an argument must be a string or a number"
            ) from None


def _check_labels(owner: str, name: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{owner} got {name} with NaN or infinity; it needs labels: numbers or texts")
    for element in array.flat if array.dtype.kind == "O" else ():
        if not isinstance(element, (str, bytes, Number, np.generic)):
            raise ValueError(
                f"{owner} got {name} holding {shown(element)}; it needs labels: numbers or texts"
            )
