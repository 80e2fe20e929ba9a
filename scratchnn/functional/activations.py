"""Activations: each formula beside its derivative.

    dy  dL/dy, what comes back from above      dx  dL/dx, what goes on below

The elementwise ones are plain functions of the vocabulary, so the same text runs on arrays, on
complex arrays (derivatives to machine precision) and, compiled, on scalars; shapes are any.
A vjp takes what the forward's caller must save: the input `x` where a branch was taken on it, the
output `y` where the derivative is shorter in it. Comparisons are written so that NaN passes
through both ways, as in torch.
"""

from __future__ import annotations

from .vocabulary import Array, exp, log, minimum, where
from .vocabulary import tanh as _tanh
from .written import written

__all__ = [
    "dropout",
    "dropout_factor",
    "dropout_vjp",
    "identity",
    "identity_vjp",
    "leaky_relu",
    "leaky_relu_vjp",
    "log_softmax",
    "log_softmax_vjp",
    "relu",
    "relu_vjp",
    "sigmoid",
    "sigmoid_vjp",
    "softmax",
    "softmax_vjp",
    "tanh",
    "tanh_vjp",
    "threshold",
    "threshold_vjp",
]

# exp of this is just below the largest float64. In float32 it overflows, and 1 / inf is the right 0.
EXP_LIMIT = 709.78


@written("y = x")
def identity(x: Array) -> Array:
    """y = x. Source: torch.nn.Identity."""
    return x


@written("dx = dy")
def identity_vjp(dy: Array) -> Array:
    """Backpropagate through `identity`: dx = dy."""
    return dy


@written("y = where(x <= 0, 0, x)")
def relu(x: Array) -> Array:
    """y = max(x, 0).

    Source: Nair and Hinton 2010; torch.nn.functional.relu.
    """
    return where(x <= 0, 0, x)


@written("dx = where(x <= 0, 0, dy)")
def relu_vjp(dy: Array, x: Array) -> Array:
    """Backpropagate through `relu`.

    The slope is 1 right of zero and 0 left of it; at the kink torch takes 0, and so do we:
        dx = dy where x > 0, else 0
    """
    return where(x <= 0, 0, dy)


@written("y = where(x > 0, x, negative_slope * x)")
def leaky_relu(x: Array, negative_slope: float) -> Array:
    """y = x where x > 0, else negative_slope * x.

    Source: Maas et al. 2013; torch.nn.functional.leaky_relu.
    """
    return where(x > 0, x, x * negative_slope)


@written("dx = where(x > 0, dy, negative_slope * dy)")
def leaky_relu_vjp(dy: Array, x: Array, negative_slope: float) -> Array:
    """Backpropagate through `leaky_relu`.

    The slope is 1 right of zero, negative_slope left of it and at zero:
        dx = dy where x > 0, else negative_slope * dy
    """
    return where(x > 0, dy, dy * negative_slope)


@written("y = where(x <= limit, value, x)")
def threshold(x: Array, limit: float, value: float) -> Array:
    """y = x where x > limit, else value. Source: torch.nn.functional.threshold."""
    return where(x <= limit, value, x)


@written("dx = where(x <= limit, 0, dy)")
def threshold_vjp(dy: Array, x: Array, limit: float) -> Array:
    """Backpropagate through `threshold`.

    Where x was replaced by a constant nothing flows back:
        dx = dy where x > limit, else 0
    """
    return where(x <= limit, 0, dy)


@written("y = 1 / (1 + exp(-x))")
def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + exp(-x)).

    Source: torch.nn.functional.sigmoid.
    """
    return 1 / (1 + exp(minimum(-x, EXP_LIMIT)))


@written("dx = dy * (1 - y) * y")
def sigmoid_vjp(dy: Array, y: Array) -> Array:
    """Backpropagate through `sigmoid`.

    With e = exp(-x): dy/dx = e / (1 + e)^2 = (1 - y) y, since e / (1 + e) = 1 - y. So
        dx = dy (1 - y) y
    """
    return (dy * (1 - y)) * y


@written("y = tanh(x)")
def tanh(x: Array) -> Array:
    """y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)). Source: torch.nn.functional.tanh."""
    return _tanh(x)


@written("dx = dy * (1 - y) * (1 + y)")
def tanh_vjp(dy: Array, y: Array) -> Array:
    """Backpropagate through `tanh`.

    With sinh' = cosh and cosh' = sinh: dy/dx = (cosh^2 - sinh^2) / cosh^2 = 1 - y^2. So
        dx = dy (1 - y) (1 + y)
    """
    # 1 - y * y would round y * y first and lose every digit near |y| = 1.
    return dy * ((1 - y) * (1 + y))


@written("y[n, c] = exp(x[n, c]) / Sum(exp(x[n, k]), k)")
def softmax(x: Array, axis: int) -> Array:
    """y_i = exp(x_i) / sum_j exp(x_j) along `axis`.

    Args:
        x: (..., C, ...) scores, C along `axis`.
    Returns:
        y of the same shape; positive, summing to 1 along `axis`.
    Source: Bridle 1990; torch.nn.functional.softmax.
    """
    # exp(x - top) cannot overflow, and the factor exp(top) cancels.
    powers = exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@written("dx[n, c] = y[n, c] * (dy[n, c] - Sum(dy[n, k] * y[n, k], k))")
def softmax_vjp(dy: Array, y: Array, axis: int) -> Array:
    """Backpropagate through `softmax`.

    The Jacobian is dy_i/dx_j = y_i (1[i = j] - y_j): every score moves every probability. Summed
    over i with dy_i:
        dx_j = y_j (dy_j - sum_i dy_i y_i)
    """
    inner = (dy * y).sum(axis=axis, keepdims=True)
    return y * (dy - inner)


@written("y[n, c] = x[n, c] - log(Sum(exp(x[n, k]), k))")
def log_softmax(x: Array, axis: int) -> Array:
    """y_i = x_i - log sum_j exp(x_j) along `axis`, without ever forming a probability.

    Source: torch.nn.functional.log_softmax.
    """
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - log(exp(shifted).sum(axis=axis, keepdims=True))


@written("dx[n, c] = dy[n, c] - exp(y[n, c]) * Sum(dy[n, k], k)")
def log_softmax_vjp(dy: Array, y: Array, axis: int) -> Array:
    """Backpropagate through `log_softmax`.

    dy_i/dx_j = 1[i = j] - softmax_j, and softmax = exp(y). Summed over i with dy_i:
        dx_j = dy_j - exp(y_j) sum_i dy_i
    """
    return dy - exp(y) * dy.sum(axis=axis, keepdims=True)


@written("factor = mask / (1 - p)")
def dropout_factor(mask: Array, p: float) -> Array:
    """What each element is multiplied by: 1 / (1 - p) where `mask` kept it, else 0.

    The division keeps the expected value of every element what it was ("inverted" dropout).

    Args:
        mask: 1 where an element is kept, else 0, in the dtype of the data.
        p: probability of dropping an element, below 1.
    """
    return mask / (1 - p)


@written("y = x * factor")
def dropout(x: Array, factor: Array) -> Array:
    """y = x * factor, with the factor of `dropout_factor`.

    Source: Srivastava et al. 2014; torch.nn.functional.dropout.
    """
    return x * factor


@written("dx = dy * factor")
def dropout_vjp(dy: Array, factor: Array) -> Array:
    """Backpropagate through `dropout`: dx = dy * factor."""
    return dy * factor
