"""The loss formulas: against torch, against the complex step, and at the extremes.

Every input here is read-only, so an op that wrote into an argument would raise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as T
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_judge import (
    DTYPES,
    STEP,
    dtypes,
    eps_of,
    frozen,
    judge,
    reductions,
    same_kind,
    seeds,
    shapes,
    tensor,
)

import scratchnn.functional as F


def assert_loss(ours: Any, theirs: np.ndarray, terms: np.ndarray, reduction: str, per_term: Any) -> None:
    """`per_term` bounds each term's error; a sum adds 16 eps sum|v| of its own."""
    same_kind(ours, terms.dtype, theirs.shape)
    bound = np.broadcast_to(per_term, terms.shape)
    if reduction != "none":
        bound = bound.sum() + 16 * eps_of(terms) * np.abs(terms).sum()
        bound = bound / terms.size if reduction == "mean" else bound
    assert np.all(np.abs(ours - theirs) <= bound), (ours, theirs, bound)


# ---- elementwise losses: one table ------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An elementwise loss, torch's namesake, and what to feed it."""

    name: str
    judge: Any
    kind: str  # of prediction and target: "real", "probability" or "logit"
    weights: tuple[str, ...] = ()

    @property
    def op(self) -> Any:
        return getattr(F, self.name)

    @property
    def vjp(self) -> Any:
        return getattr(F, self.name + "_vjp")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, hard: bool) -> tuple:
        """(prediction, target); `hard` puts saturated values, ties and exact 0 and 1 among them."""
        if self.kind == "probability":
            prediction, target = rng.uniform(size=shape), rng.uniform(size=shape)
            edges = [0, 1, 1e-38, 1e-13, 1e-11, 1 - 1e-7]
        else:
            prediction = 3 * rng.normal(size=shape)
            target = rng.uniform(size=shape) if self.kind == "logit" else rng.normal(size=shape)
            edges = [0, 1, -1, 1e4, -1e4, 90, -90, 800, -800, 1e-30]
        if hard:
            prediction = np.where(rng.random(shape) < 0.7, rng.choice(edges, size=shape), prediction)
            exact = rng.choice([0.0, 1.0], size=shape) if self.kind != "real" else prediction
            target = np.where(rng.random(shape) < 0.5, exact, target)
        return frozen(prediction, dtype), frozen(target, dtype)

    def draw_weights(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> dict[str, Any]:
        """Some of the weights, of a shape that broadcasts to `shape`."""
        chosen = {}
        for name in self.weights:
            if rng.random() < 0.5:
                start = int(rng.integers(0, len(shape) + 1))
                smaller = tuple(n if rng.random() < 0.7 else 1 for n in shape[start:])
                chosen[name] = frozen(rng.uniform(0.1, 3, smaller), dtype)
        return chosen


CASES = [
    Case("mse", T.mse_loss, "real"),
    Case("l1", T.l1_loss, "real"),
    Case("bce", T.binary_cross_entropy, "probability", ("weight",)),
    Case("bce_with_logits", T.binary_cross_entropy_with_logits, "logit", ("weight", "pos_weight")),
]
cases = st.sampled_from(CASES)
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def term_bound(case: Case, terms: np.ndarray, prediction: np.ndarray, weights: dict[str, Any]) -> Any:
    eps = eps_of(terms)
    if case.name == "bce_with_logits":
        factor = weights.get("weight", 1.0) * np.maximum(1, weights.get("pos_weight", 1.0))
        return 8 * eps * np.maximum(1, np.abs(prediction)) * factor
    return 8 * eps * np.abs(terms)


@each_case
@settings(deadline=None, max_examples=60)
@given(data=st.tuples(seeds, shapes, dtypes, reductions, st.booleans()))
def test_elementwise_loss_is_torchs(case: Case, data: tuple) -> None:
    seed, shape, dtype, reduction, hard = data
    rng = np.random.default_rng(seed)
    prediction, target = case.draw(rng, shape, dtype, hard)
    weights = case.draw_weights(rng, shape, dtype)
    ours = case.op(prediction, target, reduction=reduction, **weights)
    terms = case.op(prediction, target, reduction="none", **weights)
    torch_weights = {name: tensor(value) for name, value in weights.items()}
    theirs, _ = judge(case.judge, prediction, target, reduction=reduction, **torch_weights)
    if case.name in ("mse", "l1") and reduction == "none":
        assert np.array_equal(ours, theirs)
    assert_loss(ours, theirs, np.asarray(terms), reduction, term_bound(case, terms, prediction, weights))


@each_case
@settings(deadline=None, max_examples=60)
@given(data=st.tuples(seeds, shapes, dtypes, reductions, st.booleans()))
def test_elementwise_gradient_is_torchs(case: Case, data: tuple) -> None:
    seed, shape, dtype, reduction, hard = data
    rng = np.random.default_rng(seed)
    prediction, target = case.draw(rng, shape, dtype, hard)
    weights = case.draw_weights(rng, shape, dtype)
    dloss = frozen(rng.normal(size=shape if reduction == "none" else ()), dtype)
    ours = case.vjp(dloss, prediction, target, reduction=reduction, **weights)
    torch_weights = {name: tensor(value) for name, value in weights.items()}
    _, theirs = judge(case.judge, prediction, target, dloss=dloss, reduction=reduction, **torch_weights)
    same_kind(ours, dtype, shape)
    if case.name in ("bce", "l1"):
        assert np.array_equal(ours, theirs)
    elif case.name == "mse":
        assert np.all(np.abs(ours - theirs) <= 2 * eps_of(prediction) * np.abs(theirs))
    else:
        share = np.abs(dloss) / (max(1, prediction.size) if reduction == "mean" else 1)
        factor = weights.get("weight", 1.0) * (1 + weights.get("pos_weight", 1.0))
        assert np.all(np.abs(ours - theirs) <= 8 * eps_of(prediction) * share * factor)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, n=st.integers(1, 700), dtype=dtypes)
def test_sigmoid_gradient_is_torchs_bit_for_bit_from_the_same_output(seed: int, n: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    dy, y = frozen(rng.normal(size=n), dtype), frozen(rng.uniform(size=n), dtype)
    theirs = torch.ops.aten.sigmoid_backward(tensor(dy), tensor(y)).numpy()
    assert np.array_equal(F.sigmoid_vjp(dy, y), theirs)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, n=st.integers(1, 700), dtype=dtypes, reduction=reductions)
def test_mse_gradient_is_torchs_bit_for_bit(seed: int, n: int, dtype: Any, reduction: str) -> None:
    rng = np.random.default_rng(seed)
    a, b = frozen(rng.normal(size=n), dtype), frozen(rng.normal(size=n), dtype)
    _, theirs = judge(T.mse_loss, a, b, reduction=reduction)
    assert np.array_equal(F.mse_vjp(1, a, b, reduction), theirs)
    assert np.array_equal(F.mse_vjp(dtype(1), a, b, reduction), theirs)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, n=st.integers(1, 700), dtype=dtypes)
def test_bce_with_logits_gradient_is_the_same_difference_divided_by_n(seed: int, n: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    x, t = frozen(3 * rng.normal(size=n), dtype), frozen(rng.uniform(size=n), dtype)
    dloss = dtype(rng.normal())
    expected = ((F.sigmoid(x) - t) * dloss) / n  # torch's order, on our sigmoid
    assert np.array_equal(F.bce_with_logits_vjp(dloss, x, t), expected)


def slope_parts(case: Case, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The parts of a term's slope, added without their signs: p - t can cancel, its rounding cannot."""
    if case.name == "bce":
        return target / prediction + (1 - target) / (1 - prediction)
    if case.name == "bce_with_logits":
        return 1 + target
    return np.abs(case.vjp(1, prediction, target, reduction="sum"))


@each_case
@settings(deadline=None, max_examples=30)
@given(seed=seeds, shape=shapes, reduction=reductions)
def test_elementwise_gradient_to_machine_precision(
    case: Case, seed: int, shape: tuple[int, ...], reduction: str
) -> None:
    rng = np.random.default_rng(seed)
    prediction, target = case.draw(rng, shape, np.float64, hard=False)
    weights = case.draw_weights(rng, shape, np.float64)
    dloss = frozen(rng.normal(size=shape if reduction == "none" else ()), np.float64)
    analytic = case.vjp(dloss, prediction, target, reduction=reduction, **weights)
    factor = weights.get("weight", 1.0) * (1 + weights.get("pos_weight", 1.0))
    share = np.abs(dloss) / (prediction.size if reduction == "mean" else 1)
    scale = np.broadcast_to(share * factor * slope_parts(case, prediction, target), shape)
    for index in np.ndindex(shape):
        stepped = prediction.astype(complex)
        stepped[index] += 1j * STEP
        loss = case.op(frozen(stepped), target, reduction=reduction, **weights)
        numeric = (dloss * loss).sum().imag / STEP
        assert abs(numeric - analytic[index]) <= 1e-13 * scale[index]


@each_case
@settings(deadline=None, max_examples=20)
@given(seed=seeds, shape=shapes, dtype=dtypes)
def test_terms_run_on_scalars_and_keep_their_dtype(
    case: Case, seed: int, shape: tuple[int, ...], dtype: Any
) -> None:
    rng = np.random.default_rng(seed)
    prediction, target = case.draw(rng, shape, dtype, hard=True)
    dterms = frozen(rng.normal(size=shape), dtype)
    extra = (dtype(1.5),) if case.name == "bce_with_logits" else ()
    terms, terms_vjp = getattr(F, case.name + "_terms"), getattr(F, case.name + "_terms_vjp")
    with np.errstate(all="ignore"):
        forward = terms(prediction, target, *extra)
        backward = terms_vjp(dterms, prediction, target, *extra)
        for index in np.ndindex(shape):
            one = terms(prediction[index], target[index], *extra)
            slope = terms_vjp(dterms[index], prediction[index], target[index], *extra)
            same_kind(one, dtype, ())
            same_kind(slope, dtype, ())
            # NumPy's vector and scalar loops of exp and log may differ in the last bit.
            bound = 4 * np.finfo(dtype).eps
            assert abs(one - forward[index]) <= bound * max(1, abs(prediction[index]))
            assert abs(slope - backward[index]) <= bound * abs(dterms[index]) or slope == backward[index]


@each_case
def test_memory_order_does_not_matter(case: Case) -> None:
    rng = np.random.default_rng(0)
    prediction, target = case.draw(rng, (6, 4), np.float64, hard=False)
    fortran = frozen(np.asfortranarray(prediction)), frozen(np.asfortranarray(target))
    strided = np.repeat(prediction, 2, axis=0)[::2], np.repeat(target, 2, axis=1)[:, ::2]
    for pair in (fortran, strided):
        assert np.isclose(case.op(*pair), case.op(prediction, target), rtol=1e-15)
        assert np.array_equal(case.vjp(1, *pair), case.vjp(1, prediction, target))


# ---- elementwise losses: the corners ----------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_bce_at_exactly_0_and_1(dtype: Any) -> None:
    p, t = frozen([0, 0, 1, 1], dtype), frozen([0, 1, 0, 1], dtype)
    assert np.array_equal(F.bce(p, t, reduction="none"), [0, 100, 100, 0])
    slope = 1 / dtype(np.float32(1e-12))
    assert np.array_equal(F.bce_vjp(1, p, t, reduction="none"), [0, -slope, slope, 0])
    # And so a saturated sigmoid learns nothing, as in torch.
    assert np.array_equal(F.sigmoid_vjp(F.bce_vjp(1, p, t), p), [0, 0, 0, 0])


def test_bce_clamp_begins_at_100() -> None:
    p, t = frozen(np.exp([-99.5, -100.5])), frozen([1.0, 1.0])
    theirs, _ = judge(T.binary_cross_entropy, p, t, reduction="none")
    assert np.allclose(theirs, [99.5, 100], rtol=1e-15)
    assert np.allclose(F.bce(p, t, reduction="none"), theirs, rtol=1e-15)


def test_bce_gradient_floor_is_torchs_float32_constant_in_both_dtypes() -> None:
    p, t = frozen([1e-13]), frozen([0.5])
    assert F.bce_vjp(1, p, t)[0] == (1e-13 - 0.5) / float(np.float32(1e-12))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bce_with_logits_at_infinity_is_torchs(dtype: Any) -> None:
    x, t = frozen([np.inf, -np.inf, np.inf, -np.inf, np.nan], dtype), frozen([1, 0, 0, 1, 1], dtype)
    theirs, dx = judge(T.binary_cross_entropy_with_logits, x, t, reduction="none")
    assert np.array_equal(F.bce_with_logits(x, t, reduction="none"), theirs, equal_nan=True)
    ours = F.bce_with_logits_vjp(1, x, t, reduction="none")
    assert np.allclose(ours, dx, rtol=0, atol=8 * eps_of(x), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bce_with_logits_far_out(dtype: Any) -> None:
    x, t = frozen([1e4, -1e4, 1e4, -1e4, 0], dtype), frozen([0, 1, 1, 0, 0.5], dtype)
    assert np.allclose(F.bce_with_logits(x, t, reduction="none"), [1e4, 1e4, 0, 0, math.log(2)], rtol=1e-7)
    dx = F.bce_with_logits_vjp(1, x, t, reduction="none")
    assert np.allclose(dx, [1, -1, 0, 0, 0], rtol=0, atol=8 * eps_of(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_l1_at_its_kink_and_at_nan_is_torchs(dtype: Any) -> None:
    a, b = frozen([1, 2, 0, np.nan, np.inf, np.inf], dtype), frozen([1, 3, -1, 0, 1, np.inf], dtype)
    theirs, da = judge(T.l1_loss, a, b, reduction="none")
    assert np.array_equal(F.l1(a, b, reduction="none"), theirs, equal_nan=True)
    assert np.array_equal(F.l1_vjp(1, a, b, reduction="none"), da)


@each_case
def test_nan_prediction_gives_nan_loss(case: Case) -> None:
    p, t = frozen([np.nan, 0.5]), frozen([1.0, 1.0])
    assert np.isnan(case.op(p, t))
    assert np.array_equal(np.isnan(case.op(p, t, reduction="none")), [True, False])


@each_case
def test_the_mean_is_the_default(case: Case) -> None:
    p, t = frozen([0.25, 0.5, 0.75]), frozen([1.0, 0.0, 1.0])
    assert case.op(p, t) == case.op(p, t, reduction="mean") != case.op(p, t, reduction="sum")
    assert np.array_equal(case.vjp(1, p, t), case.vjp(1, p, t, reduction="mean"))
    assert not np.array_equal(case.vjp(1, p, t), case.vjp(1, p, t, reduction="sum"))


@each_case
def test_unknown_reduction(case: Case) -> None:
    with pytest.raises(ValueError, match="'mean', 'sum', 'none'"):
        case.op(frozen([0.5]), frozen([0.5]), reduction="average")
