"""gradcheck at any scale: a small weight or feature hides no mistake, and lost digits are not called one."""

from __future__ import annotations

import operator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scales
import torch

import scratchnn as snn
from scratchnn import functional as F
from scratchnn.gradcheck.residual import residual
from scratchnn.gradcheck.rounding import Rounded, Source, scatter

SIZES = (1e-8, 1e-6, 1e-3, 1e3, 1e8)


@pytest.mark.parametrize(
    ("number", "decades", "ends"), [(14, 8, scales.ENDS), (14, 4, scales.ENDS), (4, 4, ("absolute",))]
)
def test_networks_drawn_at_random(number: int, decades: float, ends: Any) -> None:
    counts, faults = scales.count(number, decades, seed=10_000, ends=ends)
    assert not faults, "\n\n".join(faults)
    assert counts["wrong: FAIL"] >= number // 3


def products(x: Any, w: Any) -> Any:
    return x @ w


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", ["auto", "central", "directional"])
@pytest.mark.parametrize("factor", [-1.0, 0.0, 2.0, 1.05])
def test_a_row_of_one_feature(size: float, method: str, factor: float) -> None:
    r = np.random.default_rng(0)
    x, w = r.standard_normal((6, 2)) * [1.0, size], r.standard_normal((2, 3))

    def vjp(dy: Any, x: Any, w: Any, row: float = factor) -> Any:
        return dy @ w.T, (x.T @ dy) * [[1.0], [row]]

    assert not snn.gradcheck((products, vjp), x, w, method=method)
    assert snn.gradcheck((products, lambda dy, x, w: vjp(dy, x, w, 1.0)), x, w, method=method)


@pytest.mark.parametrize("size", SIZES)
def test_layers_of_the_library(size: float) -> None:
    """Their checks of arguments let the arrays through that make rounding visible."""

    class Wrong(snn.Linear):
        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            self.weight.grad = -self.weight.grad
            return dx

    for kind in (snn.Linear, Wrong):
        snn.manual_seed(0)
        model = snn.Sequential(kind(3, 4, dtype=np.float64), snn.Tanh(), snn.Linear(4, 2, dtype=np.float64))
        model[0].weight.data *= size
        x, t = np.random.default_rng(1).standard_normal((5, 3)), np.zeros((5, 2))
        report = snn.gradcheck(model, x, loss_fn=snn.MSELoss(), target=t)
        wrong = [row.name for row in report.tensors if row.status == "FAIL"]
        saturated = kind is Wrong and not np.any(report["0.weight"].analytic)
        assert wrong == ([] if kind is snn.Linear or saturated else ["0.weight"]), str(report)


@pytest.mark.parametrize("size", SIZES)
def test_functions_of_torch(size: float) -> None:
    class Product(torch.autograd.Function):
        factor = 1.0

        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, w = ctx.saved_tensors
            return dy @ w.T, (x.T @ dy) * torch.tensor([[1.0], [Product.factor]], dtype=dy.dtype)

    r = np.random.default_rng(0)
    x, w = (torch.from_numpy(a) for a in (r.standard_normal((4, 2)) * [1.0, size], r.standard_normal((2, 3))))
    assert snn.gradcheck(Product, x, w)
    for Product.factor in (-1.0, 0.0, 2.0):
        assert not snn.gradcheck(Product, x, w)


def test_a_gradient_that_is_zero_but_for_rounding_is_right() -> None:
    """A bias before a normalisation: what is left of it is rounding, in the backward and in the check."""

    def normalised(x: Any, b: Any) -> Any:
        d = x + b
        d = d - d.mean(axis=0)
        return d / np.sqrt((d * d).mean(axis=0))

    def vjp(dy: Any, x: Any, b: Any, y: Any) -> Any:
        d = x - x.mean(axis=0)
        s = np.sqrt((d * d).mean(axis=0))
        dx = (dy - dy.mean(axis=0) - y * (dy * y).mean(axis=0)) / s
        return dx, dx.sum(axis=0)

    x, b = np.random.default_rng(3).standard_normal((6, 4)), np.zeros(4)
    assert snn.gradcheck((normalised, vjp), x, b)
    wrong = snn.gradcheck((normalised, lambda dy, x, b, y: (vjp(dy, x, b, y)[0], dy.sum(axis=0))), x, b)
    assert [row.name for row in wrong.tensors if row.status == "FAIL"] == ["b"]


def test_slopes_that_cancel_to_nothing_are_right() -> None:
    """Of 148 slopes of +-1 that add up to 0, rounding leaves a few units, and the complex step nothing."""
    rng = np.random.default_rng(1598321266)
    snn.manual_seed(1275800247)
    model = snn.Sequential(snn.Linear(42, 37, dtype=np.float64))
    x, target = rng.standard_normal((148, 42)) / np.sqrt(42), rng.standard_normal((148, 37))
    assert snn.gradcheck(model, x, loss_fn=snn.L1Loss("sum"), target=target, max_entries=50)


def test_what_cannot_be_decided_says_so() -> None:
    """By differences, next to an output of 1e12, a gradient of 1e-6 is beyond what float64 shows."""

    def hidden(x: Any) -> Any:
        return np.asarray(1e12 + 1e-6 * np.tanh(np.asarray(x, np.float64)))

    report = snn.gradcheck((hidden, lambda dy, x: dy * 1e-6 / np.cosh(x) ** 2), np.array([0.3, 0.7]))
    assert not report
    assert report.verdict == "not checked"
    assert "cannot be decided" in report["x"].note


def test_differences_know_how_far_off_they_are() -> None:
    """The largest step of all bends as well: a weight of 2e-8 in a tanh is moved by 0.02 then."""
    case = scales.draw(np.random.default_rng(491), 8, ("absolute",))
    report, verdict = scales.judged(case)
    assert verdict == "right", str(report)


def test_a_mistake_does_not_hide_where_nothing_was_rounded() -> None:
    """1/(1 + exp(-1636)) is exactly 1: its slope 0 hides no mistake in what other samples leave."""
    case = scales.draw(np.random.default_rng(48), 4)
    assert scales.judged(case)[1] == "right"
    case.net.spoil = ("W1", scales.sign)
    assert scales.judged(case)[1] == "FAIL"


@pytest.mark.parametrize("op", [np.add, np.subtract, np.multiply, np.divide, np.square])
def test_what_an_operation_rounds_off_is_known_exactly(op: Any) -> None:
    r = np.random.default_rng(0)
    numbers = [r.standard_normal(300) * 10.0 ** r.integers(-12, 12, 300) for _ in range(op.nin)]
    rounded = op(*numbers)
    exactly = {
        "add": operator.add,
        "subtract": operator.sub,
        "multiply": operator.mul,
        "divide": operator.truediv,
    }
    exactly["square"] = lambda a: a * a
    for *inputs, y, error in zip(*numbers, rounded, residual(op.__name__, numbers, rounded), strict=True):
        right = abs(Fraction(y) - exactly[op.__name__](*map(Fraction, inputs)))
        assert error == pytest.approx(float(right), rel=1e-9, abs=1e-300)


def test_rounding_is_seen_where_it_is() -> None:
    def run(source: Source) -> list[Any]:
        y = np.tanh(source.wrap(np.array([0.5, 40.0, 400.0])))
        return [1 - y * y, np.maximum(y, 0) - y]

    slope, exact = scatter(run, np.random.default_rng(0))
    unit = np.finfo(float).eps
    assert (slope[:2] > unit / 20).all()  # 1 - y*y has an absolute error where y is 1 but for 4e-35
    assert (slope[:2] < 2 * unit).all()
    assert slope[2] == 0  # tanh 400 is 1
    assert not exact.any()


def test_disturbed_arrays_stay_what_they_are_through_numpy() -> None:
    source = Source(np.random.default_rng(0))
    a = source.wrap(np.random.default_rng(1).standard_normal((3, 3)))
    made = [
        a @ a,
        np.dot(a, a),
        a.dot(a),
        np.einsum("ij,jk", a, a),
        np.linalg.inv(a),
        a.sum(axis=0),
        a.mean(),
    ]
    made += [a.std(), np.where(a > 0, a, 0), np.concatenate([a, a]), np.clip(a, 0, 1), np.zeros_like(a)]
    made += [a.T, a[0], a[0, 0]]
    assert all(isinstance(x, Rounded) and x.source is source for x in made)
    out = np.zeros((3, 3))
    assert np.add(a, a, out=out) is out
    assert np.allclose(out, 2 * np.asarray(a), rtol=1e-13)
    assert F.softmax(a, -1).sum() == pytest.approx(3, rel=1e-12)
