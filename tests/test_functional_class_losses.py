"""The formulas of the losses over classes: against torch, against the complex step, and at the extremes.

Every input here is read-only, so an op that wrote into an argument would raise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch.nn.functional as T
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_judge import (
    DTYPES,
    REDUCTIONS,
    STEP,
    dtypes,
    frozen,
    judge,
    reductions,
    row_shapes,
    same_kind,
    seeds,
    tensor,
)

import scratchnn.functional as F


@dataclass
class Rows:
    """One drawn problem over classes: logits, target, weight and the options."""

    seed: int
    dtype: Any
    classes: int
    rows: tuple[int, ...]
    weighted: bool
    ignore_index: int
    reduction: str
    smoothing: float
    probabilities: bool
    hard: bool

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        shape = (self.rows[0], self.classes, *self.rows[1:]) if self.rows else (self.classes,)
        self.axis = 1 if self.rows else 0
        logits = 3 * rng.normal(size=shape)
        if self.hard:
            logits = np.where(
                rng.random(shape) < 0.5, rng.choice([0, 1e4, -1e4, 90, -800], size=shape), logits
            )
        self.logits = frozen(logits, self.dtype)
        self.log_probs = frozen(F.log_softmax(self.logits, self.axis))
        indices = rng.integers(0, self.classes, self.rows)
        ignored = rng.random(self.rows) < 0.3
        if ignored.all():
            ignored = np.zeros(self.rows, bool)
        self.indices = frozen(np.where(ignored, self.ignore_index, indices))
        self.weight = frozen(rng.uniform(0.1, 3, self.classes), self.dtype) if self.weighted else None
        if self.probabilities:
            self.ignore_index = -100
        wanted = F.softmax(2 * rng.normal(size=shape), self.axis)
        self.target = frozen(wanted, self.dtype) if self.probabilities else self.indices
        loss_shape = self.rows if self.reduction == "none" else ()
        self.dloss = frozen(rng.normal(size=loss_shape), self.dtype)
        kept = self.indices != self.ignore_index
        self.kept = bool(kept.any())
        weights = np.ones(self.classes) if self.weight is None else self.weight
        counts = np.ones(self.rows) if self.probabilities else weights[self.indices[kept]]
        self.total = float(counts.sum())

    @property
    def share(self) -> Any:
        """|dL/dterm| of each row."""
        return np.abs(self.dloss) / (self.total if self.reduction == "mean" else 1)


def rows_strategy(**fixed: Any) -> st.SearchStrategy[Rows]:
    fields: dict[str, Any] = {
        "seed": seeds,
        "dtype": dtypes,
        "classes": st.integers(1, 6),
        "rows": row_shapes,
        "weighted": st.booleans(),
        "ignore_index": st.sampled_from([-100, 0, -1, 255]),
        "reduction": reductions,
        "smoothing": st.sampled_from([0.0, 0.1, 1.0]),
        "probabilities": st.booleans(),
        "hard": st.booleans(),
    }
    fields.update({name: st.just(value) for name, value in fixed.items()})
    return st.builds(Rows, **fields).filter(lambda rows: rows.kept or rows.probabilities)


def assert_rows_loss(rows: Rows, ours: Any, theirs: np.ndarray, terms: np.ndarray) -> None:
    eps = float(np.finfo(rows.dtype).eps)
    heaviest = 1.0 if rows.weight is None else rows.weight.max()
    scale = np.abs(rows.logits).max(axis=rows.axis)
    # With probabilities or smoothing a term is itself a sum over C products of the scale of the logits.
    per_term = 8 * eps * np.maximum(1, scale) * heaviest * 2
    same_kind(ours, rows.dtype, theirs.shape)
    if rows.reduction == "none":
        assert np.all(np.abs(ours - theirs) <= per_term), (ours, theirs)
        return
    bound = np.sum(per_term) + 16 * eps * np.abs(terms).sum()
    bound = bound / rows.total if rows.reduction == "mean" else bound
    assert abs(ours - theirs) <= bound, (ours, theirs, bound)


@settings(deadline=None, max_examples=150)
@given(rows=rows_strategy(smoothing=0.0, probabilities=False))
def test_nll_is_torchs(rows: Rows) -> None:
    args = (rows.log_probs, rows.indices, rows.weight, rows.ignore_index)
    theirs, dtheirs = judge(
        T.nll_loss,
        rows.log_probs,
        rows.indices,
        dloss=rows.dloss,
        weight=tensor(rows.weight),
        ignore_index=rows.ignore_index,
        reduction=rows.reduction,
    )
    terms = F.nll(*args, reduction="none")
    assert_rows_loss(rows, F.nll(*args, rows.reduction), theirs, terms)
    ours = F.nll_vjp(rows.dloss, *args, rows.reduction)
    same_kind(ours, rows.dtype, rows.logits.shape)
    assert np.all(np.abs(ours - dtheirs) <= 16 * np.finfo(rows.dtype).eps * np.abs(dtheirs))


@settings(deadline=None, max_examples=300)
@given(rows=rows_strategy())
def test_cross_entropy_is_torchs(rows: Rows) -> None:
    args = (rows.logits, rows.target, rows.weight, rows.ignore_index)
    theirs, dtheirs = judge(
        T.cross_entropy,
        rows.logits,
        rows.target,
        dloss=rows.dloss,
        weight=tensor(rows.weight),
        ignore_index=rows.ignore_index,
        reduction=rows.reduction,
        label_smoothing=rows.smoothing,
    )
    terms = F.cross_entropy(*args, "none", rows.smoothing)
    assert_rows_loss(rows, F.cross_entropy(*args, rows.reduction, rows.smoothing), theirs, terms)
    ours = F.cross_entropy_vjp(rows.dloss, *args, rows.reduction, rows.smoothing)
    same_kind(ours, rows.dtype, rows.logits.shape)
    heaviest = 1.0 if rows.weight is None else rows.weight.max()
    bound = 16 * np.finfo(rows.dtype).eps * np.expand_dims(rows.share, rows.axis if rows.share.ndim else 0)
    assert np.all(np.abs(ours - dtheirs) <= bound * heaviest)


@settings(deadline=None, max_examples=80)
@given(rows=rows_strategy(dtype=np.float64, hard=False))
def test_class_gradients_to_machine_precision(rows: Rows) -> None:
    problems = [
        (F.cross_entropy, F.cross_entropy_vjp, rows.logits, rows.target, (rows.smoothing,)),
    ]
    if not rows.probabilities:
        problems.append((F.nll, F.nll_vjp, rows.log_probs, rows.indices, ()))
    for op, vjp, prediction, target, extra in problems:
        args = (target, rows.weight, rows.ignore_index, rows.reduction, *extra)
        analytic = vjp(rows.dloss, prediction, *args)
        scale = np.max(rows.share) * (1.0 if rows.weight is None else rows.weight.max())
        for index in list(np.ndindex(prediction.shape))[:24]:
            stepped = prediction.astype(complex)
            stepped[index] += 1j * STEP
            numeric = (rows.dloss * op(frozen(stepped), *args)).sum().imag / STEP
            assert abs(numeric - analytic[index]) <= 1e-13 * scale


@settings(deadline=None, max_examples=30)
@given(rows=rows_strategy(smoothing=0.0, probabilities=False))
def test_cross_entropy_is_nll_of_log_softmax(rows: Rows) -> None:
    args = (rows.indices, rows.weight, rows.ignore_index, rows.reduction)
    assert np.array_equal(F.cross_entropy(rows.logits, *args), F.nll(rows.log_probs, *args))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_targets_ignored(dtype: Any, weight: Any, smoothing: float) -> None:
    logits = frozen(np.arange(6).reshape(2, 3), dtype)
    target = frozen([-100, -100])
    weight = None if weight is None else frozen(weight, dtype)
    rest = (weight, -100)
    assert np.isnan(F.cross_entropy(logits, target, *rest, "mean", smoothing))
    assert F.cross_entropy(logits, target, *rest, "sum", smoothing) == 0
    assert np.array_equal(F.cross_entropy(logits, target, *rest, "none", smoothing), [0, 0])
    assert np.isnan(F.nll(logits, target, *rest))
    for reduction in REDUCTIONS:
        assert np.array_equal(
            F.cross_entropy_vjp(1, logits, target, *rest, reduction, smoothing), np.zeros((2, 3))
        )
        assert np.array_equal(F.nll_vjp(1, logits, target, *rest, reduction), np.zeros((2, 3)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_impossible_classes_and_ignored_nan_rows_are_torchs(smoothing: float) -> None:
    logits = frozen([[1, -np.inf, 2], [np.nan, np.nan, np.nan], [-np.inf, 0, 1]])
    target = frozen([0, -100, 1])
    theirs, dtheirs = judge(T.cross_entropy, logits, target, label_smoothing=smoothing, reduction="none")
    args = (logits, target, None, -100, "none", smoothing)
    assert np.allclose(F.cross_entropy(*args), theirs, rtol=1e-15, equal_nan=True)
    assert np.allclose(F.cross_entropy_vjp(1, *args), dtheirs, rtol=1e-15, atol=1e-16, equal_nan=True)


def test_nll_skips_the_nan_of_an_ignored_row() -> None:
    log_probs, target = frozen([[-1, -2], [np.nan, np.nan]]), frozen([1, -100])
    assert F.nll(log_probs, target) == 2
    assert np.array_equal(F.nll_vjp(1, log_probs, target), [[0, -1], [0, 0]])


def test_one_class_and_an_ignored_row() -> None:
    logits, target, weight = frozen([[2.0], [3.0]]), frozen([0, -100]), frozen([0.5])
    assert F.nll(logits, target, weight) == -2
    assert np.array_equal(F.nll_vjp(1, logits, target, weight), [[-1], [0]])
    assert F.cross_entropy(logits, target, weight) == 0
    assert np.array_equal(F.cross_entropy_vjp(1, logits, target, weight), [[0], [0]])


def test_class_weights_that_sum_to_zero_are_torchs() -> None:
    logits, target, weight = frozen([[1.0, 2.0], [0.0, 1.0]]), frozen([0, 0]), frozen([0.0, 1.0])
    theirs, dtheirs = judge(T.cross_entropy, logits, target, weight=tensor(weight))
    assert np.isnan(theirs)
    assert np.isnan(F.cross_entropy(logits, target, weight))
    assert np.array_equal(F.cross_entropy_vjp(1, logits, target, weight), dtheirs, equal_nan=True)


def test_the_defaults_are_torchs() -> None:
    logits, target = frozen([[1.0, 2.0], [0.0, 3.0], [1.0, 1.0]]), frozen([0, -100, 1])
    for name, judged in (("cross_entropy", T.cross_entropy), ("nll", T.nll_loss)):
        theirs, dtheirs = judge(judged, logits, target)
        assert np.allclose(getattr(F, name)(logits, target), theirs, rtol=1e-15)
        assert np.allclose(getattr(F, name + "_vjp")(1, logits, target), dtheirs, rtol=0, atol=1e-15)


def test_smaller_index_types_do() -> None:
    logits = frozen(np.arange(6).reshape(2, 3), np.float64)
    for kind in (np.uint8, np.int8, np.int32, np.uint64):
        target = frozen([2, 0], kind)
        assert F.cross_entropy(logits, target) == F.cross_entropy(logits, frozen([2, 0]))
        assert np.array_equal(F.nll_vjp(1, logits, target), F.nll_vjp(1, logits, frozen([2, 0])))


@pytest.mark.parametrize(("classes", "floor"), [(1, 0.0), (2, 0.3133), (10, 1.4612)])
def test_cross_entropy_floor_of_probabilities(classes: int, floor: float) -> None:
    assert round(F.cross_entropy_floor_of_probabilities(classes), 4) == floor
    best = frozen(np.eye(classes)[:1])
    reached = F.cross_entropy(best, frozen([0]))
    assert math.isclose(
        F.cross_entropy_floor_of_probabilities(classes), reached, rel_tol=1e-14, abs_tol=1e-15
    )
    rng = np.random.default_rng(classes)
    probs = frozen(F.softmax(20 * rng.normal(size=(500, classes)), 1))
    assert np.all(F.cross_entropy(probs, frozen(np.zeros(500, int)), reduction="none") >= reached - 1e-12)
