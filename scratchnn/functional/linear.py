"""The linear map.

N  batch (any leading shape)      D  features in      M  features out
"""

from __future__ import annotations

from .vocabulary import Array, product
from .written import written

__all__ = ["linear", "linear_vjp"]


@written("y[n, m] = Sum(x[n, d] * weight[m, d], d) + bias[m]")
def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """y = x weight^T + bias.

    Args:
        x: (..., D). weight: (M, D). bias: (M,) or None.
    Returns:
        y (..., M).
    Source: torch.nn.functional.linear.
    """
    y = product(x, weight.T)
    return y if bias is None else y + bias


@written(
    "dx[n, d] = Sum(dy[n, m] * weight[m, d], m)",
    "dweight[m, d] = Sum(dy[n, m] * x[n, d], n)",
    "dbias[m] = Sum(dy[n, m], n)",
)
def linear_vjp(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Backpropagate through `linear`.

    y_nm = sum_d x_nd w_md + b_m, so each factor's gradient is dy times the other factor, summed
    over the index that the factor does not have:
        dx_nd = sum_m dy_nm w_md        dweight_md = sum_n dy_nm x_nd        dbias_m = sum_n dy_nm

    Args:
        dy: (..., M). x: (..., D), the forward's input. weight: (M, D).
    Returns:
        dx (..., D), dweight (M, D), dbias (M,).
    """
    rows = dy.reshape(-1, weight.shape[0])
    dx = product(dy, weight)
    dweight = product(rows.T, x.reshape(-1, weight.shape[1]))
    dbias = rows.sum(axis=0)
    return dx, dweight, dbias
