"""The table: every op with its vjp, torch's function, what to feed it, and how its errors scale.

`test_formulas` runs all checks on every row; `test_completeness` fails when a vjp has none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import strategies as s
import torch
import torch.nn.functional as T
from hypothesis import strategies as st

import scratchnn.functional as F


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: of the op in scratchnn.functional. judge: torch's function of the same arguments.
        draw: (draw, dtype, smooth) -> arguments; smooth keeps away from kinks.
        scale: (dy, arguments) -> for each gradient the sum of the magnitudes that it is made of.
        exact: the gradient is torch's in every bit. forward: bound of the op in eps, times `size`.
        places: positions of the arguments that the vjp gives gradients for.
    """

    name: str
    judge: Callable[..., Any]
    draw: Callable[[Any, Any, bool], tuple[Any, ...]]
    scale: Callable[..., tuple[Any, ...]]
    exact: bool = False
    places: tuple[int, ...] = (0,)

    @property
    def op(self) -> Callable[..., Any]:
        return getattr(F, self.name)

    def vjp(self, dy: Any, arguments: tuple[Any, ...], y: Any) -> tuple[Any, ...]:
        """The gradients, with the vjp's arguments taken by their names."""
        function = getattr(F, f"{self.name}_vjp")
        known = dict(zip(inspect.signature(self.op).parameters, arguments, strict=False), y=y)
        given = [known[name] for name in list(inspect.signature(function).parameters)[1:] if name in known]
        gradients = function(dy, *given)
        return gradients if isinstance(gradients, tuple) else (gradients,)

    def __str__(self) -> str:
        return self.name


def reals(smooth: bool) -> st.SearchStrategy[float]:
    return s.smooth_reals if smooth else s.all_reals


def one(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
    return (s.array(draw, draw(s.shapes()), reals(smooth), dtype),)


def with_options(*options: Any) -> Callable[..., tuple[Any, ...]]:
    return lambda draw, dtype, smooth: (*one(draw, dtype, smooth), *options)


def along_axis(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
    x = s.array(draw, draw(s.shapes(least=1)), reals(smooth), dtype)
    return x, draw(st.integers(-x.ndim, x.ndim - 1))


def dropped(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
    (x,) = one(draw, dtype, smooth)
    mask = draw(st.sampled_from([0, 1])) * np.ones(x.shape, dtype)
    p = draw(st.sampled_from([0.1, 0.5, 0.9]))
    return x, s.frozen(F.dropout_factor(mask, p))


def affine(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
    *lead, d, m = draw(s.shapes(least=2, most=4))
    small = s.ordinary | st.sampled_from([0.0, 1e3, -1e3])
    x, weight = s.array(draw, (*lead, d), small, dtype), s.array(draw, (m, d), small, dtype)
    return x, weight, s.array(draw, (m,), small, dtype)


def pair(prediction: Any, target: Any) -> Callable[..., tuple[Any, ...]]:
    """Two arrays of one shape; off the smooth path, half of the targets tie with the predictions."""

    def draw_pair(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
        shape = draw(s.shapes())
        a, b = (s.array(draw, shape, e(smooth), dtype) for e in (prediction, target))
        if prediction is reals and target is reals and not smooth:
            b = s.frozen(np.where(np.arange(a.size).reshape(shape) % 2, a, b))
        if smooth:
            b = s.frozen(np.where(a == b, 0.75 * b, b))
        return a, b

    return draw_pair


def with_delta(base: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Half a unit or two: the kinks lie at other places than those of the numbers drawn."""
    return lambda draw, dtype, smooth: (*base(draw, dtype, smooth), draw(st.sampled_from([0.3125, 1.0, 2.0])))


def reduced(base: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    return lambda draw, dtype, smooth: (*base(draw, dtype, smooth), draw(s.reductions))


def weighted(base: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    def draw_weighted(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
        a, b = base(draw, dtype, smooth)
        weight = s.array(draw, a.shape[-1:], st.floats(0.25, 3), dtype) if draw(st.booleans()) else None
        return a, b, weight, draw(s.reductions)

    return draw_weighted


def with_pos_weight(base: Callable[..., tuple[Any, ...]], always: bool = False) -> Any:
    def draw_both(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
        arguments = base(draw, dtype, smooth)
        wanted = always or draw(st.booleans())
        return *arguments, (
            s.array(draw, arguments[0].shape[-1:], st.floats(0.25, 3), dtype) if wanted else None
        )

    return draw_both


def rows(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
    terms = s.array(draw, draw(s.shapes(least=1)), reals(smooth), dtype)
    return terms, s.array(draw, terms.shape[:1], st.floats(0.25, 3), dtype)


def few(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
    return (s.array(draw, draw(s.shapes()), s.ordinary, dtype),)


def classes(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
    shape = draw(s.shapes(least=1))
    scores = s.array(draw, shape, reals(smooth), dtype)
    axis = min(1, len(shape) - 1)
    rows = shape[:axis] + shape[axis + 1 :]
    labels = st.integers(0, shape[axis] - 1) | st.just(-100)
    target = np.array([draw(labels) for _ in range(int(np.prod(rows)))], np.int64).reshape(rows)
    if smooth and target.size and np.all(target == -100):
        target.flat[0] = 0  # the mean of no row is NaN
    weight = s.array(draw, (shape[axis],), st.floats(0.25, 3), dtype) if draw(st.booleans()) else None
    return scores, s.frozen(target), weight, -100, draw(s.reductions)


def smoothed(draw: Any, dtype: Any, smooth: bool) -> tuple[Any, ...]:
    return *classes(draw, dtype, smooth), draw(st.sampled_from([0.0, 0.1, 1.0]))


def wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """The torch loss with the arguments of ours, in our order."""

    def judge(prediction: Any, target: Any, *rest: Any) -> Any:
        names = list(inspect.signature(getattr(F, OURS[function])).parameters)[2:]
        return function(prediction, target, **dict(zip(names, rest, strict=False)))

    return judge


OURS = {
    T.mse_loss: "mse",
    T.l1_loss: "l1",
    T.huber_loss: "huber",
    T.binary_cross_entropy: "bce",
    T.binary_cross_entropy_with_logits: "bce_with_logits",
    T.nll_loss: "nll",
    T.cross_entropy: "cross_entropy",
}


# ---- how errors scale -------------------------------------------------------------------------


def size(dy: Any, *_: Any) -> tuple[Any, ...]:
    return (np.abs(dy),)


def of_tanh(dy: Any, x: Any) -> tuple[Any, ...]:
    # The slope has all its digits, given y; y itself is rounded, and near 1 that moves the slope by eps.
    y = np.tanh(np.float64(x))
    return (np.abs(dy) * ((1 - y) * (1 + y) + 0.25 * np.abs(y)),)


def of_softmax(dy: Any, x: Any, axis: int) -> tuple[Any, ...]:
    y = F.softmax(np.float64(x), axis)
    reach = np.maximum(1, np.abs(np.float64(x) - np.float64(x).max(axis=axis, keepdims=True)))
    reach = np.minimum(reach, 800)
    return (reach * y * (np.abs(dy) + (np.abs(dy) * y * reach).sum(axis=axis, keepdims=True)),)


def of_log_softmax(dy: Any, x: Any, axis: int) -> tuple[Any, ...]:
    y = F.softmax(np.float64(x), axis)
    reach = np.maximum(1, np.abs(x).max())
    return (np.abs(dy) + np.maximum(reach * y, 0) * np.abs(dy).sum(axis=axis, keepdims=True),)


def of_linear(dy: Any, x: Any, weight: Any, bias: Any) -> tuple[Any, ...]:
    m, d = weight.shape
    rows, drows = np.abs(x).reshape(-1, d), np.abs(dy).reshape(-1, m)
    n = len(rows)
    return (
        (m + 4) / 8 * (np.abs(dy) @ np.abs(weight)),
        (n + 4) / 8 * (drows.T @ rows),
        2 * drows.sum(axis=0),
    )


def share(dloss: Any, prediction: Any, reduction: str) -> Any:
    return np.abs(dloss) / (prediction.size if reduction == "mean" else 1)


def of_difference(dloss: Any, a: Any, b: Any, reduction: str = "none") -> tuple[Any, ...]:
    # float32 may overflow at 1e4 ** 2 in the loss, never in the slope
    return (2 * share(dloss, a, reduction) * (np.abs(a) + np.abs(b)),)


def of_sign(dloss: Any, a: Any, b: Any, reduction: str = "none") -> tuple[Any, ...]:
    return (share(dloss, a, reduction) * np.ones(a.shape),)


def of_cut(dloss: Any, a: Any, b: Any, delta: float) -> tuple[Any, ...]:
    return of_reduced_cut(dloss, a, b, "none", delta)


def of_reduced_cut(dloss: Any, a: Any, b: Any, reduction: str, delta: float) -> tuple[Any, ...]:
    return (share(dloss, a, reduction) * (np.minimum(np.abs(a) + np.abs(b), delta) + np.abs(a) + np.abs(b)),)


def of_rows(dloss: Any, terms: Any, weights: Any) -> tuple[Any, ...]:
    along = (weights / weights.sum()).reshape((-1,) + (1,) * (terms.ndim - 1))
    return (np.abs(dloss) * along * np.ones(terms.shape),)


def of_bce(dloss: Any, p: Any, t: Any, weight: Any = None, reduction: str = "none") -> tuple[Any, ...]:
    p, t = np.float64(p), np.float64(t)
    denominator = np.maximum((1 - p) * p, 1e-12)
    return (
        share(dloss, p, reduction)
        * (p + t)
        / denominator
        * (1 if weight is None else weight)
        / (1 - p + 1e-9),
    )


def of_logits(
    dloss: Any, x: Any, t: Any, weight: Any = None, reduction: str = "none", pos_weight: Any = None
) -> tuple[Any, ...]:
    factor = (1 if weight is None else weight) * (1 + (1 if pos_weight is None else pos_weight))
    return (share(dloss, x, reduction) * factor * (1 + t),)


def of_logit_terms(dloss: Any, x: Any, t: Any, pos_weight: Any) -> tuple[Any, ...]:
    return of_logits(dloss, x, t, None, "none", pos_weight)


def of_classes(
    dloss: Any,
    scores: Any,
    target: Any,
    weight: Any,
    ignore_index: int,
    reduction: str,
    label_smoothing: float = 0.0,
) -> tuple[Any, ...]:
    axis = min(1, scores.ndim - 1)
    counted = np.where(target != ignore_index, 1.0 if weight is None else weight[np.maximum(target, 0)], 0)
    total = max(float(counted.sum()), 0.25) if reduction == "mean" else 1.0
    reach = np.minimum(np.maximum(1, np.ptp(np.float64(scores), axis=axis, keepdims=True)), 800)
    dloss = np.expand_dims(dloss, axis) if np.ndim(dloss) else dloss
    return (np.abs(dloss) / total * 3 * reach * np.ones(scores.shape) * (1 if weight is None else 3),)


CASES = [
    Case("identity", lambda x: x.clone(), one, size, exact=True),
    Case("relu", T.relu, one, size, exact=True),
    Case("leaky_relu", T.leaky_relu, with_options(0.3), size, exact=True),
    Case("threshold", T.threshold, with_options(0.5, -2.0), size, exact=True),
    Case("sigmoid", torch.sigmoid, one, size),
    Case("tanh", torch.tanh, one, of_tanh),
    Case("softmax", T.softmax, along_axis, of_softmax),
    Case("log_softmax", T.log_softmax, along_axis, of_log_softmax),
    Case("dropout", lambda x, factor: x * factor, dropped, lambda dy, x, f: (np.abs(dy * f),), exact=True),
    Case("linear", T.linear, affine, of_linear, places=(0, 1, 2)),
    Case("mse_terms", lambda a, b: T.mse_loss(a, b, reduction="none"), pair(reals, reals), of_difference),
    Case("l1_terms", lambda a, b: T.l1_loss(a, b, reduction="none"), pair(reals, reals), of_sign, exact=True),
    Case(
        "huber_terms",
        lambda a, b, delta: T.huber_loss(a, b, reduction="none", delta=delta),
        with_delta(pair(reals, reals)),
        of_cut,
    ),
    Case(
        "bce_terms",
        lambda p, t: T.binary_cross_entropy(p, t, reduction="none"),
        pair(
            lambda smooth: s.inner_probabilities if smooth else s.all_probabilities, lambda _: st.floats(0, 1)
        ),
        of_bce,
        exact=True,
    ),
    Case(
        "bce_with_logits_terms",
        lambda x, t, c: T.binary_cross_entropy_with_logits(x, t, pos_weight=c, reduction="none"),
        with_pos_weight(pair(reals, lambda _: st.floats(0, 1)), always=True),
        of_logit_terms,
    ),
    Case("mse", wide(T.mse_loss), reduced(pair(reals, reals)), of_difference),
    Case("l1", wide(T.l1_loss), reduced(pair(reals, reals)), of_sign, exact=True),
    Case("huber", wide(T.huber_loss), with_delta(reduced(pair(reals, reals))), of_reduced_cut),
    Case(
        "bce",
        wide(T.binary_cross_entropy),
        weighted(
            pair(
                lambda smooth: s.inner_probabilities if smooth else s.all_probabilities,
                lambda _: st.floats(0, 1),
            )
        ),
        of_bce,
    ),
    Case(
        "bce_with_logits",
        wide(T.binary_cross_entropy_with_logits),
        with_pos_weight(weighted(pair(reals, lambda _: st.floats(0, 1)))),
        of_logits,
    ),
    Case("row_mean", lambda t, w: (t.reshape(len(w), -1) * w[:, None]).sum() / w.sum(), rows, of_rows),
    Case("half_square", lambda w: (w * w).sum() / 2, few, lambda dy, w: (np.abs(dy * w),)),
    Case("nll", wide(T.nll_loss), classes, of_classes),
    Case("cross_entropy", wide(T.cross_entropy), smoothed, of_classes),
]
