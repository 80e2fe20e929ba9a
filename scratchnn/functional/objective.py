# NumPy's stubs give arithmetic on NDArray[Any] the type Any.
# mypy: disable-error-code="no-any-return"
"""What an estimator minimises beside the bare loss: a mean over weighted rows, and a penalty on size.

N  rows    w  (N,) what each row counts    W  a weight matrix

L = scale sum_r w_r sum_m terms_rm / sum_r w_r + alpha sum_W |W|^2 / 2 / sum_r w_r
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .vocabulary import Array
from .written import written

__all__ = ["half_square", "half_square_vjp", "row_mean", "row_mean_vjp"]


def _along_rows(row_weights: Array, terms: Array) -> Array:
    return row_weights.reshape((-1,) + (1,) * (terms.ndim - 1))


@written("loss = Sum(row_weights[n] * Sum(terms[n, i], i), n) / Sum(row_weights[n], n)")
def row_mean(terms: Array, row_weights: Array) -> Any:
    """The mean over rows, each counted w_r times, of the sum of a row's terms.

    Args:
        terms: (N, ...). row_weights: (N,) of the same dtype, not all 0.
    Returns:
        a scalar of the terms' dtype.
    """
    return (terms * _along_rows(row_weights, terms)).sum() / row_weights.sum()


@written("dterms[n, i] = dloss * row_weights[n] / Sum(row_weights[j], j)")
def row_mean_vjp(dloss: Any, terms: Array, row_weights: Array) -> Array:
    """Backpropagate through `row_mean`: dterms_rm = dloss w_r / sum w, in the shape of the terms."""
    share = np.asarray(dloss, row_weights.dtype) * row_weights / row_weights.sum()
    return np.broadcast_to(_along_rows(share, terms), terms.shape)


@written("loss = Sum(weight[i] ** 2, i) / 2")
def half_square(weight: Array) -> Any:
    """sum W^2 / 2, whose slope is W."""
    return 0.5 * (weight * weight).sum()


@written("dweight[i] = dloss * weight[i]")
def half_square_vjp(dloss: Any, weight: Array) -> Array:
    """Backpropagate through `half_square`: dW = dloss W."""
    return np.asarray(dloss, weight.dtype) * weight
