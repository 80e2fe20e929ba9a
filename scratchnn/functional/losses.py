# NumPy's stubs give arithmetic on NDArray[Any] the type Any.
# mypy: disable-error-code="no-any-return"
"""Losses of one number against one number: mse, l1, huber, bce, bce_with_logits.

    a, p, x   predictions: values, probabilities, logits      b, t   targets
    n         number of elements                              dloss  dL/dloss, what comes back from above

Each loss has an elementwise core, `*_terms` beside `*_terms_vjp`: plain functions of the vocabulary,
which also run on complex arrays and, compiled, on scalars. The public `op` beside `op_vjp` adds
weights and the reduction over all elements:

    "none"  the terms themselves        "sum"  their sum        "mean"  their sum / n

A vjp returns the gradient for the prediction only; it has the prediction's shape and dtype. Shapes
are any, 0-d included, and are not checked here: `scratchnn.losses` is the door. The losses over
classes are in `class_losses`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import sigmoid
from .vocabulary import Array, exp, log, log1p, minimum, where
from .written import written, written_loss, written_loss_slope

__all__ = [
    "bce",
    "bce_terms",
    "bce_terms_vjp",
    "bce_vjp",
    "bce_with_logits",
    "bce_with_logits_terms",
    "bce_with_logits_terms_vjp",
    "bce_with_logits_vjp",
    "huber",
    "huber_terms",
    "huber_terms_vjp",
    "huber_vjp",
    "l1",
    "l1_terms",
    "l1_terms_vjp",
    "l1_vjp",
    "mse",
    "mse_terms",
    "mse_terms_vjp",
    "mse_vjp",
]

PROBABILITY_FLOOR = 9.999999960041972e-13  # 1e-12 as torch stores it, in float32, whatever the dtype of p

# log(0), inf - inf and exp(large) have right answers here: the clamp, NaN and 1 / inf = 0.
quiet = np.errstate(divide="ignore", invalid="ignore", over="ignore")


def reduce_terms(terms: Array, reduction: str, count: Any) -> Any:
    """The terms as a loss: sum / count for "mean", the sum for "sum", themselves for "none"."""
    if reduction == "none":
        return terms[()]
    if reduction == "sum":
        return terms.sum()
    if reduction == "mean":
        return terms.sum() / count
    raise ValueError(f'reduction must be "mean", "sum" or "none", not {reduction!r}')


# ---- squared error ----------------------------------------------------------------------------


@written("terms = (a - b) ** 2")
def mse_terms(a: Array, b: Array) -> Array:
    """(a - b)^2."""
    return (a - b) * (a - b)


@written("da = 2 * dterms * (a - b)")
def mse_terms_vjp(dterms: Array, a: Array, b: Array) -> Array:
    """Backpropagate through `mse_terms`: da = 2 dterms (a - b)."""
    return 2 * dterms * (a - b)


@written_loss("(prediction[i] - target[i]) ** 2", over="i")
@quiet
def mse(prediction: Array, target: Array, reduction: str = "mean") -> Any:
    """Squared error: L = sum (a - b)^2 / n.

    Args:
        prediction, target: equal shapes and dtypes.
        reduction: "mean", "sum" or "none".
    Returns:
        a scalar of the prediction's dtype, or for "none" the terms.
    Source: torch.nn.functional.mse_loss.
    """
    return reduce_terms(mse_terms(prediction, target), reduction, prediction.size)


@written_loss_slope("dprediction[i] = {dterms} * 2 * (prediction[i] - target[i])", over="i")
@quiet
def mse_vjp(dloss: Any, prediction: Array, target: Array, reduction: str = "mean") -> Array:
    """Backpropagate through `mse`.

    One term has slope 2 (a - b), and the mean hands 1/n of dloss to each:
        da = dloss 2/n (a - b)
    """
    # 2 * (1/n) is 2/n exactly, so this rounds as torch's (2/n) * (a - b) does.
    dterms = dloss * (1 / prediction.size) if reduction == "mean" else dloss
    return mse_terms_vjp(dterms, prediction, target)


# ---- absolute error ---------------------------------------------------------------------------


@written("terms = maximum(a - b, b - a)")
def l1_terms(a: Array, b: Array) -> Array:
    """|a - b|, written without abs so that it runs on complex arrays."""
    return where(a - b < 0, b - a, a - b)


@written("da = where(a > b, dterms, where(a < b, -dterms, 0))")
def l1_terms_vjp(dterms: Array, a: Array, b: Array) -> Array:
    """Backpropagate through `l1_terms`: da = dterms sign(a - b), and 0 at the kink.

    A NaN gets slope 0 too, as torch's sign gives it. `dterms` must have a's dtype.
    """
    return where(a - b > 0, dterms, where(a - b < 0, -dterms, 0))


@written_loss("maximum(prediction[i] - target[i], target[i] - prediction[i])", over="i")
@quiet
def l1(prediction: Array, target: Array, reduction: str = "mean") -> Any:
    """Absolute error: L = sum |a - b| / n.

    Args:
        prediction, target: equal shapes and dtypes.
        reduction: "mean", "sum" or "none".
    Returns:
        a scalar of the prediction's dtype, or for "none" the terms.
    Source: torch.nn.functional.l1_loss.
    """
    return reduce_terms(l1_terms(prediction, target), reduction, prediction.size)


@written_loss_slope(
    "sign[i] = where(prediction[i] > target[i], 1, where(prediction[i] < target[i], -1, 0))",
    "dprediction[i] = {dterms} * sign[i]",
    over="i",
)
@quiet
def l1_vjp(dloss: Any, prediction: Array, target: Array, reduction: str = "mean") -> Array:
    """Backpropagate through `l1`.

    One term has slope sign(a - b), and the mean hands 1/n of dloss to each:
        da = dloss / n sign(a - b)
    """
    dterms = np.asarray(dloss, prediction.dtype)
    if reduction == "mean":
        dterms = dterms / prediction.size
    return l1_terms_vjp(dterms, prediction, target)


# ---- Huber's: squared near, absolute far ------------------------------------------------------


@written(
    "z = maximum(a - b, b - a)",
    "terms = where(z > delta, delta * (z - delta / 2), z ** 2 / 2)",
)
def huber_terms(a: Array, b: Array, delta: Array | float) -> Array:
    """z^2 / 2 for z = a - b within delta, delta (|z| - delta / 2) beyond; written without abs."""
    z = a - b
    far = delta * (where(z < 0, -z, z) - 0.5 * delta)
    return where(z < -delta, far, where(z > delta, far, 0.5 * z * z))


@written("da = dterms * minimum(maximum(a - b, -delta), delta)")
def huber_terms_vjp(dterms: Array, a: Array, b: Array, delta: Array | float) -> Array:
    """Backpropagate through `huber_terms`: da = dterms min(max(a - b, -delta), delta)."""
    z = a - b
    return where(z < -delta, -delta * dterms, where(z > delta, delta * dterms, dterms * z))


@written_loss(
    "z[i] = maximum(prediction[i] - target[i], target[i] - prediction[i])",
    "h[i] = where(z[i] > delta, delta * (z[i] - delta / 2), z[i] ** 2 / 2)",
    "h[i]",
    over="i",
)
@quiet
def huber(prediction: Array, target: Array, reduction: str = "mean", delta: float = 1.0) -> Any:
    """Huber's loss: L = sum h(a - b) / n, h(z) = z^2 / 2 within delta, delta (|z| - delta / 2) beyond.

    Args:
        prediction, target: equal shapes and dtypes.
        reduction: "mean", "sum" or "none".
        delta: positive.
    Returns:
        a scalar of the prediction's dtype, or for "none" the terms.
    Source: Huber 1964; torch.nn.functional.huber_loss.
    """
    return reduce_terms(huber_terms(prediction, target, delta), reduction, prediction.size)


@written_loss_slope(
    "dprediction[i] = {dterms} * minimum(maximum(prediction[i] - target[i], -delta), delta)", over="i"
)
@quiet
def huber_vjp(
    dloss: Any, prediction: Array, target: Array, reduction: str = "mean", delta: float = 1.0
) -> Array:
    """Backpropagate through `huber`.

    One term has slope a - b, cut off at -delta and delta, and the mean hands 1/n of dloss to each.
    """
    dterms = np.asarray(dloss, prediction.dtype)
    if reduction == "mean":
        dterms = dterms / prediction.size
    return huber_terms_vjp(dterms, prediction, target, delta)


# ---- binary cross-entropy on probabilities ----------------------------------------------------


@written("terms = -(t * log(p) + (1 - t) * log(1 - p))", clamped=False)
@written("terms = -(t * maximum(log(p), -100) + (1 - t) * maximum(log(1 - p), -100))")
def bce_terms(p: Array, t: Array) -> Array:
    """-(t log p + (1 - t) log(1 - p)), each log clamped at -100 so that p = 0 or 1 costs a finite sum."""
    log_p = log(p)
    log_q = log1p(-p)
    return (t - 1) * where(log_q < -100, -100, log_q) - t * where(log_p < -100, -100, log_p)


@written("dp = dterms * (p - t) / ((1 - p) * p)", clamped=False)
@written(f"dp = dterms * (p - t) / maximum((1 - p) * p, {PROBABILITY_FLOOR})")
def bce_terms_vjp(dterms: Array, p: Array, t: Array) -> Array:
    """Backpropagate through `bce_terms`.

    The slope is (1 - t)/(1 - p) - t/p, over one denominator:
        dp = dterms (p - t) / ((1 - p) p)
    The denominator is kept above 1e-12. At p exactly 0 or 1 the gradient is therefore huge but
    finite, and times sigmoid's (1 - p) p = 0 it vanishes: a saturated unit learns nothing, as in torch.
    """
    denominator = (1 - p) * p
    return dterms * (p - t) / where(denominator < PROBABILITY_FLOOR, PROBABILITY_FLOOR, denominator)


@written_loss(
    "-weight[i] * (target[i] * log(prediction[i]) + (1 - target[i]) * log(1 - prediction[i]))",
    over="i",
    clamped=False,
)
@written_loss(
    "-weight[i] * (target[i] * maximum(log(prediction[i]), -100)"
    " + (1 - target[i]) * maximum(log(1 - prediction[i]), -100))",
    over="i",
)
@quiet
def bce(prediction: Array, target: Array, weight: Array | None = None, reduction: str = "mean") -> Any:
    """Binary cross-entropy: L = -sum w (t log p + (1 - t) log(1 - p)) / n.

    Args:
        prediction: probabilities in [0, 1].
        target: probabilities in [0, 1], of the prediction's shape and dtype.
        weight: factor of each term; broadcasts to the prediction's shape.
        reduction: "mean" (over n, whatever the weights), "sum" or "none".
    Returns:
        a scalar of the prediction's dtype, or for "none" the terms.
    Source: torch.nn.functional.binary_cross_entropy.
    """
    terms = bce_terms(prediction, target)
    weighted = terms if weight is None else terms * weight
    return reduce_terms(weighted, reduction, prediction.size)


@written_loss_slope(
    "dprediction[i] = {dterms} * weight[i] * (prediction[i] - target[i])"
    " / ((1 - prediction[i]) * prediction[i])",
    over="i",
    clamped=False,
)
@written_loss_slope(
    "dprediction[i] = {dterms} * weight[i] * (prediction[i] - target[i])"
    f" / maximum((1 - prediction[i]) * prediction[i], {PROBABILITY_FLOOR})",
    over="i",
)
@quiet
def bce_vjp(
    dloss: Any, prediction: Array, target: Array, weight: Array | None = None, reduction: str = "mean"
) -> Array:
    """Backpropagate through `bce`.

    The slope of one term (see `bce_terms_vjp`), its weight, and 1/n for the mean:
        dp = dloss (p - t) / max((1 - p) p, 1e-12) w / n
    """
    dp = bce_terms_vjp(dloss, prediction, target)
    weighted = dp if weight is None else dp * weight
    return weighted / prediction.size if reduction == "mean" else weighted


# ---- binary cross-entropy on logits -----------------------------------------------------------


@written(
    "s = 1 / (1 + exp(-x))",
    "terms = -(pos_weight * t * log(s) + (1 - t) * log(1 - s))",
    clamped=False,
)
@written(
    "log_s = minimum(x, 0) - log1p(exp(minimum(x, -x)))",
    "terms = (1 - t) * x - (pos_weight * t + 1 - t) * log_s",
)
def bce_with_logits_terms(x: Array, t: Array, pos_weight: Array | float) -> Array:
    """-(c t log s(x) + (1 - t) log(1 - s(x))) with s the sigmoid and c = pos_weight; 1 for none.

    Since log(1 - s(x)) = log s(x) - x, this is (1 - t) x - (1 + (c - 1) t) log s(x), and
    log s(x) = min(x, 0) - log(1 + exp(-|x|)) neither overflows nor loses small values.
    """
    log_sigmoid = minimum(x, 0) - log1p(exp(minimum(x, -x)))
    return (1 - t) * x - ((pos_weight - 1) * t + 1) * log_sigmoid


@written(
    "s = 1 / (1 + exp(-x))",
    "dx = dterms * ((1 - t) * s - pos_weight * t * (1 - s))",
)
def bce_with_logits_terms_vjp(dterms: Array, x: Array, t: Array, pos_weight: Array | float) -> Array:
    """Backpropagate through `bce_with_logits_terms`.

    With s = sigmoid(x), (log s)' = 1 - s, the slope is (1 - t) - (1 + (c - 1) t) (1 - s):
        dx = (s - t + (c - 1) t (s - 1)) dterms
    With c = 1 the last part is exactly 0 and the first is torch's, bit for bit.
    """
    s = sigmoid(x)
    return (s - t + (pos_weight - 1) * t * (s - 1)) * dterms


@written_loss(
    "s[i] = 1 / (1 + exp(-logits[i]))",
    "-weight[i] * (pos_weight[i] * target[i] * log(s[i]) + (1 - target[i]) * log(1 - s[i]))",
    over="i",
    clamped=False,
)
@written_loss(
    "log_s[i] = minimum(logits[i], 0) - log1p(exp(minimum(logits[i], -logits[i])))",
    "weight[i] * ((1 - target[i]) * logits[i] - (pos_weight[i] * target[i] + 1 - target[i]) * log_s[i])",
    over="i",
)
@quiet
def bce_with_logits(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | float | None = None,
) -> Any:
    """Binary cross-entropy of sigmoid(x): L = -sum w (c t log s + (1 - t) log(1 - s)) / n.

    Args:
        logits: any real numbers; 1e4 costs 1e4 where the target is 0, not infinity.
        target: probabilities of the logits' shape and dtype.
        weight: w, factor of each term; broadcasts to the logits' shape.
        reduction: "mean" (over n, whatever the weights), "sum" or "none".
        pos_weight: c, factor of the positive part; broadcasts to the logits' shape.
    Returns:
        a scalar of the logits' dtype, or for "none" the terms.
    Source: torch.nn.functional.binary_cross_entropy_with_logits.
    """
    terms: Array = bce_with_logits_terms(logits, target, 1 if pos_weight is None else pos_weight)
    weighted = terms if weight is None else terms * weight
    return reduce_terms(weighted, reduction, logits.size)


@written_loss_slope(
    "s[i] = 1 / (1 + exp(-logits[i]))",
    "dlogits[i] = {dterms} * weight[i] * (s[i] - target[i])",
    over="i",
    pos_weight=None,
)
@written_loss_slope(
    "s[i] = 1 / (1 + exp(-logits[i]))",
    "dlogits[i] = {dterms} * weight[i] * ((1 - target[i]) * s[i] - pos_weight[i] * target[i] * (1 - s[i]))",
    over="i",
)
@quiet
def bce_with_logits_vjp(
    dloss: Any,
    logits: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | float | None = None,
) -> Array:
    """Backpropagate through `bce_with_logits`.

    Without weights the chain of log and sigmoid collapses to a difference:
        dx = dloss (s - t) / n
    `bce_with_logits_terms_vjp` has the general slope; the weight multiplies it.
    """
    dx: Array = bce_with_logits_terms_vjp(dloss, logits, target, 1 if pos_weight is None else pos_weight)
    weighted = dx if weight is None else dx * weight
    # Dividing is not multiplying by 1/n: the two round differently, and torch divides.
    return weighted / logits.size if reduction == "mean" else weighted
