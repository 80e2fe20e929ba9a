# NumPy's stubs give arithmetic on NDArray[Any] the type Any.
# mypy: disable-error-code="no-any-return"
"""Losses over classes: nll, cross_entropy.

    C   classes, on axis 1 of (N, C) and (N, C, d1, ...), axis 0 of (C,)
    row one choice among C: an example, or one pixel of it. A target of class indices has one entry a
        row: shape (N,), (N, d1, ...) or (). One of class probabilities has the shape of the logits.
    q   how much of each class a row wants, class weights multiplied in

Both losses are -sum_c q_c log p_c a row, reduced by "none", "sum", or "mean": the sum over rows
divided by the weights of their targets, so that ignored rows do not count. When every row is
ignored that mean is 0/0 = NaN, as in torch, while its gradient is 0.

Shapes and indices are not checked here: `scratchnn.losses` is the door.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .activations import log_softmax, softmax
from .losses import quiet, reduce_terms
from .vocabulary import Array
from .written import written_loss, written_loss_slope

__all__ = ["cross_entropy", "cross_entropy_floor_of_probabilities", "cross_entropy_vjp", "nll", "nll_vjp"]


# Parts of the formulas: the probabilities, what a row counts for, what it wants of each class.
SOFTMAX = "p[n, c] = exp(logits[n, c]) / Sum(exp(logits[n, k]), k)"
ROW_WEIGHT = "w[n] = where(target[n] == ignore_index, 0, weight[target[n]])"
ROWS = "Sum(w[j], j)"
WANTED = "q[n, c] = weight[c] * ((1 - label_smoothing) * target[n, c] + label_smoothing / C)"
ONEHOT = "onehot[n, c] = where(c == target[n], 1, 0)"
WANTED_CLASS = "q[n, c] = weight[c] * ((1 - label_smoothing) * onehot[n, c] + label_smoothing / C)"


def class_axis(logits: Array) -> int:
    """The axis that holds the classes: 0 of (C,), else 1."""
    return 0 if logits.ndim == 1 else 1


def has_indices(target: Array) -> bool:
    """True for a target of class indices, False for one of class probabilities."""
    return target.dtype.kind in "iu"


def _row_weights(log_probs: Array, target: Array, weight: Array | None, ignore_index: int) -> Array:
    """What each row counts for: its target's class weight, 1 without weights, 0 where ignored."""
    if not has_indices(target):
        return np.ones_like(log_probs.take(0, class_axis(log_probs)).real)
    kept = target != ignore_index
    if weight is None:
        return np.where(kept, np.ones((), log_probs.real.dtype), 0)
    # Any class will do for an ignored row; 0 is one that exists.
    return np.where(kept, weight[np.where(kept, target, 0)], 0)


def _dterms(dloss: Any, row_weights: Array, kept: Any, reduction: str, axis: int) -> Array:
    """The gradient for each row's term, with the class axis back in, of length 1. 0 where ignored."""
    share = dloss / row_weights.sum() if reduction == "mean" else dloss
    # All ignored: the share is dloss / 0, and the zero that stands for it here is torch's.
    return np.expand_dims(np.where(kept, share, row_weights.dtype.type(0)), axis)


# ---- negative log-likelihood ------------------------------------------------------------------


@written_loss(
    "-log_probs[n, target[n]]",
    over="n",
    weight=None,
    some_ignored=False,
)
@written_loss(
    ROW_WEIGHT,
    "-where(target[n] == ignore_index, 0, w[n] * log_probs[n, target[n]])",
    over="n",
    count=ROWS,
)
@quiet
def nll(
    log_probs: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """Negative log-likelihood of the target classes: L = -sum w_y log p_y / sum w_y.

    Args:
        log_probs: (C,), (N, C) or (N, C, d1, ...), from log_softmax.
        target: class indices, of that shape without C.
        weight: (C,) factor of each class.
        ignore_index: rows with this target count nothing and get no gradient.
        reduction: "mean", "sum" or "none".
    Returns:
        a scalar of the prediction's dtype, or for "none" one loss a row.
    Source: torch.nn.functional.nll_loss.
    """
    axis = class_axis(log_probs)
    kept = target != ignore_index
    index = np.expand_dims(np.where(kept, target, 0), axis)
    chosen = np.take_along_axis(log_probs, index, axis).squeeze(axis)
    row_weights = _row_weights(log_probs, target, weight, ignore_index)
    # A product would let the NaN of an ignored row through.
    terms = np.where(kept, -row_weights * chosen, 0)
    return reduce_terms(terms, reduction, row_weights.sum())


@written_loss_slope(
    "dlog_probs[n, c] = where(c == target[n], -{dterms}, 0)",
    over="n",
    weight=None,
    some_ignored=False,
)
@written_loss_slope(
    ROW_WEIGHT,
    "dlog_probs[n, c] = where(c == target[n], -{dterms} * w[n], 0)",
    over="n",
    count=ROWS,
)
@quiet
def nll_vjp(
    dloss: Any,
    log_probs: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """Backpropagate through `nll`.

    Only the target's entry of a row has a slope, -w_y:
        dlog_p_c = -dloss w_y / sum w_y where c = y, else 0
    """
    axis = class_axis(log_probs)
    kept = target != ignore_index
    index = np.expand_dims(np.where(kept, target, 0), axis)
    row_weights = _row_weights(log_probs, target, weight, ignore_index)
    dterms = _dterms(dloss, row_weights, kept, reduction, axis)
    dlog_probs = np.zeros_like(log_probs)
    np.put_along_axis(dlog_probs, index, -dterms * np.expand_dims(row_weights, axis), axis)
    return dlog_probs


# ---- cross-entropy ----------------------------------------------------------------------------


def _wanted(logits: Array, target: Array, weight: Array | None, label_smoothing: float) -> Array:
    """q_c = w_c ((1 - eps) t_c + eps / C), with t one-hot for class indices."""
    axis = class_axis(logits)
    classes = logits.shape[axis]
    along_classes = [1] * logits.ndim
    along_classes[axis] = classes
    probs = target
    if has_indices(target):
        onehot = np.arange(classes).reshape(along_classes) == np.expand_dims(target, axis)
        probs = onehot.astype(logits.real.dtype)
    smoothed = probs * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else probs
    return smoothed if weight is None else smoothed * weight.reshape(along_classes)


@written_loss(
    SOFTMAX,
    "-log(p[n, target[n]])",
    over="n",
    target_of="indices",
    weight=None,
    some_ignored=False,
    label_smoothing=0.0,
)
@written_loss(
    SOFTMAX,
    ROW_WEIGHT,
    "-where(target[n] == ignore_index, 0, w[n] * log(p[n, target[n]]))",
    over="n",
    count=ROWS,
    target_of="indices",
    label_smoothing=0.0,
)
@written_loss(
    SOFTMAX,
    ROW_WEIGHT,
    ONEHOT,
    WANTED_CLASS,
    "-where(target[n] == ignore_index, 0, Sum(q[n, c] * log(p[n, c]), c))",
    over="n",
    count=ROWS,
    target_of="indices",
)
@written_loss(
    SOFTMAX,
    WANTED,
    "-Sum(q[n, c] * log(p[n, c]), c)",
    over="n",
    target_of="probabilities",
)
@quiet
def cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross-entropy of softmax(logits): L = -sum_rows sum_c q_c log softmax_c / sum_rows w_y.

    With class indices and no smoothing this is `nll` of `log_softmax`.

    Args:
        logits: (C,), (N, C) or (N, C, d1, ...).
        target: class indices (integers) of that shape without C, or class probabilities (the
            logits' shape and dtype; then the mean divides by the number of rows, weighted or not).
        weight: (C,) factor of each class.
        ignore_index: rows with this class index count nothing and get no gradient.
        reduction: "mean", "sum" or "none".
        label_smoothing: eps in [0, 1], the part of the target that is spread over all classes.
    Returns:
        a scalar of the logits' dtype, or for "none" one loss a row.
    Source: torch.nn.functional.cross_entropy; smoothing by Szegedy et al. 2016, arXiv:1512.00567, sec. 7.
    """
    axis = class_axis(logits)
    log_probs = log_softmax(logits, axis)
    if has_indices(target) and not label_smoothing:
        # Reads one entry a row, so a logit of -inf elsewhere is just an impossible class.
        return nll(log_probs, target, weight, ignore_index, reduction)
    row_weights = _row_weights(logits, target, weight, ignore_index)
    q = _wanted(logits, target, weight, label_smoothing)
    terms = -(q * log_probs).sum(axis)
    if has_indices(target):
        terms = np.where(target != ignore_index, terms, 0)
    return reduce_terms(terms, reduction, row_weights.sum())


@written_loss_slope(
    SOFTMAX,
    ONEHOT,
    "dlogits[n, c] = {dterms} * (p[n, c] - onehot[n, c])",
    over="n",
    target_of="indices",
    weight=None,
    some_ignored=False,
    label_smoothing=0.0,
)
@written_loss_slope(
    SOFTMAX,
    ROW_WEIGHT,
    ONEHOT,
    "dlogits[n, c] = {dterms} * w[n] * (p[n, c] - onehot[n, c])",
    over="n",
    count=ROWS,
    target_of="indices",
    label_smoothing=0.0,
)
@written_loss_slope(
    SOFTMAX,
    ROW_WEIGHT,
    ONEHOT,
    WANTED_CLASS,
    "dlogits[n, c] = where(target[n] == ignore_index, 0, {dterms} * (p[n, c] * Sum(q[n, k], k) - q[n, c]))",
    over="n",
    count=ROWS,
    target_of="indices",
)
@written_loss_slope(
    SOFTMAX,
    WANTED,
    "dlogits[n, c] = {dterms} * (p[n, c] * Sum(q[n, k], k) - q[n, c])",
    over="n",
    target_of="probabilities",
)
@quiet
def cross_entropy_vjp(
    dloss: Any,
    logits: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Backpropagate through `cross_entropy`.

    A term -sum_c q_c log p_c has slope -q_c for log p_c, and dlog p_c/dx_k = 1[c = k] - p_k. So
        dx_k = dloss / sum w_y (p_k sum_c q_c - q_k)
    which for one-hot q is the well-known dloss (p - onehot) / N.
    """
    axis = class_axis(logits)
    row_weights = _row_weights(logits, target, weight, ignore_index)
    kept = target != ignore_index if has_indices(target) else np.ones(row_weights.shape, bool)
    dterms = _dterms(dloss, row_weights, kept, reduction, axis)
    q = _wanted(logits, target, weight, label_smoothing)
    return dterms * (softmax(logits, axis) * q.sum(axis, keepdims=True) - q)


def cross_entropy_floor_of_probabilities(classes: int) -> float:
    """The least that `cross_entropy` can reach on rows that are themselves softmax outputs.

    Probabilities used as logits differ by at most 1, so the best row is (1, 0, ..., 0) and costs
    -log(e / (e + C - 1)): 0.3133 for 2 classes, 1.4612 for 10. A network that ends in Softmax trains
    under CrossEntropyLoss, but its loss stops there.
    """
    return math.log1p((classes - 1) / math.e)
