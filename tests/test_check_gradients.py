"""check_gradients and numeric_gradient: numbers that are there already, in any structure and any layout."""

from __future__ import annotations

import copy
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.gradcheck import GradcheckError

RNG = np.random.default_rng(5)
X, Y = RNG.standard_normal((4, 7)), (RNG.random((1, 7)) > 0.5) * 1.0


def columns() -> dict[str, Any]:
    """Samples in columns, weights (units, inputs), as courses have them."""
    rng = np.random.default_rng(1)
    return {
        "W1": rng.standard_normal((5, 4)) * 0.01,
        "b1": np.zeros((5, 1)),
        "W2": rng.standard_normal((1, 5)) * 0.01,
        "b2": np.zeros((1, 1)),
    }


def cost(parameters: dict[str, Any]) -> float:
    a1 = np.maximum(0, parameters["W1"] @ X + parameters["b1"])
    a2 = 1 / (1 + np.exp(-(parameters["W2"] @ a1 + parameters["b2"])))
    return float(np.squeeze(-np.sum(Y * np.log(a2) + (1 - Y) * np.log(1 - a2)) / X.shape[1]))


def course(p: dict[str, Any]) -> dict[str, Any]:
    m = X.shape[1]
    z1 = p["W1"] @ X + p["b1"]
    a1 = np.maximum(0, z1)
    dz2 = 1 / (1 + np.exp(-(p["W2"] @ a1 + p["b2"]))) - Y
    da1 = p["W2"].T @ dz2
    dz1 = da1 * (z1 > 0)
    return {
        "dA1": da1,
        "dW1": dz1 @ X.T / m,
        "db1": dz1.sum(1, keepdims=True) / m,
        "dW2": dz2 @ a1.T / m,
        "db2": dz2.sum(1, keepdims=True) / m,
    }


def test_samples_in_columns_as_courses_have_them() -> None:
    params = columns()
    report = snn.check_gradients(cost, params, course(params))
    assert report, str(report)
    assert [row.name for row in report.tensors] == ["W1", "b1", "W2", "b2"]
    assert report.method == "complex"


def test_samples_in_rows() -> None:
    """The transposed network gives the transposed gradients."""
    params = columns()
    rows = {name: value.T for name, value in params.items()}
    grads = {name: course(params)[f"d{name}"].T for name in params}
    assert snn.check_gradients(lambda p: cost({k: v.T for k, v in p.items()}), rows, grads)


@pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2"])
@pytest.mark.parametrize("spoil", [lambda g: -g, lambda g: 0 * g, lambda g: 2 * g, lambda g: 1.05 * g])
def test_a_wrong_one_fails_where_it_is(name: str, spoil: Any) -> None:
    params = columns()
    grads = course(params)
    grads[f"d{name}"] = spoil(grads[f"d{name}"])
    report = snn.check_gradients(cost, params, grads)
    assert [row.name for row in report.tensors if row.status == "FAIL"] == [name]
    with pytest.raises(GradcheckError):
        snn.check_gradients(cost, params, grads, raise_on_fail=True)


def test_one_wrong_entry_is_told() -> None:
    params = columns()
    grads = course(params)
    grads["dW1"][3, 2] *= -1
    row = snn.check_gradients(cost, params, grads)["W1"]
    assert row.status == "FAIL"
    assert row.index == (3, 2)


Pair = namedtuple("Pair", "w b")


def total(thing: Any) -> Any:
    """The sum of squares of everything in a structure."""
    if isinstance(thing, dict):
        return sum(total(value) for value in thing.values())
    if isinstance(thing, (list, tuple)):
        return sum(total(value) for value in thing)
    return 0.0 if thing is None else (thing * thing).sum()


def twice(thing: Any) -> Any:
    if isinstance(thing, dict):
        return type(thing)((k, twice(v)) for k, v in thing.items())
    if isinstance(thing, tuple):
        return type(thing)(*map(twice, thing)) if hasattr(thing, "_fields") else tuple(map(twice, thing))
    if isinstance(thing, list):
        return [twice(part) for part in thing]
    return None if thing is None else 2 * thing


A, B = RNG.standard_normal((2, 3)), RNG.standard_normal(3)
STRUCTURES: list[tuple[Any, list[str]]] = [
    (A, ["p"]),
    ([A, B], ["[0]", "[1]"]),
    ((A, B), ["[0]", "[1]"]),
    ({"W": A, "b": B}, ["W", "b"]),
    (OrderedDict(b=B, W=A), ["b", "W"]),
    ({"layers": [{"W": A}, {"W": B}]}, ["layers[0]['W']", "layers[1]['W']"]),
    ([[A, B], [A + 1, B + 1]], ["[0][0]", "[0][1]", "[1][0]", "[1][1]"]),
    ({0: A, "a b": B}, ["[0]", "['a b']"]),
    (Pair(A, B), ["[0]", "[1]"]),
    ([A, None, B], ["[0]", "[2]"]),
]


@pytest.mark.parametrize(("params", "names"), STRUCTURES, ids=lambda v: type(v).__name__)
def test_every_structure(params: Any, names: list[str]) -> None:
    report = snn.check_gradients(lambda p: total(p), params, twice(params))
    assert report, str(report)
    assert [row.name for row in report.tensors] == names
    assert not snn.check_gradients(lambda p: total(p), params, params)
    numeric = snn.numeric_gradient(lambda p: total(p), params)
    assert type(numeric) is type(params)
    assert total(numeric) == pytest.approx(total(twice(params)), rel=1e-14)


def test_the_elements_of_a_list_may_be_arguments() -> None:
    report = snn.check_gradients(
        lambda w, b: ((w @ b) ** 2).sum(), [A, B], [np.outer(2 * (A @ B), B), 2 * A.T @ (A @ B)]
    )
    assert report, str(report)


# ---- the arrays stay as they are --------------------------------------------------------------


def test_a_loss_that_reads_the_very_arrays() -> None:
    params = columns()
    before = copy.deepcopy(params)
    report = snn.check_gradients(lambda: cost(params), params, course(params))
    assert report, str(report)
    assert report.method == "central"
    wrong = {name: -g for name, g in course(params).items()}
    assert not snn.check_gradients(lambda: cost(params), params, wrong)
    numeric = snn.numeric_gradient(lambda: cost(params), params)
    for name, value in params.items():
        assert np.array_equal(value, before[name])
        assert np.allclose(numeric[name], course(params)[f"d{name}"], rtol=1e-6, atol=1e-9)


def test_the_arrays_are_put_back_after_an_error() -> None:
    w, calls = RNG.standard_normal(3), []
    before = w.copy()

    def loss_of() -> float:
        calls.append(1)
        if len(calls) == 7:
            raise KeyError("mine")
        return float((w**2).sum())

    with pytest.raises(KeyError, match="mine"):
        snn.check_gradients(loss_of, w, 2 * w)
    assert np.array_equal(w, before)


def test_a_loss_may_write_into_what_it_is_given() -> None:
    params, grads = [A.copy()], [2 * A]

    def loss_of(p: Any) -> Any:
        loss = (p[0] ** 2).sum()
        p[0] *= 0
        return loss

    assert snn.check_gradients(loss_of, params, grads)
    assert np.array_equal(params[0], A)
    assert np.array_equal(grads[0], 2 * A)


def test_float32_is_computed_in_float64() -> None:
    params = {name: value.astype(np.float32) for name, value in columns().items()}
    grads = {name: g.astype(np.float32) for name, g in course(params).items()}
    assert snn.check_gradients(cost, params, grads)
    numeric = snn.numeric_gradient(cost, params)
    assert all(g.dtype == np.float64 for g in numeric.values())
    assert params["W1"].dtype == np.float32
    grads["dW2"] = grads["dW2"] * np.float32(1.05)
    assert not snn.check_gradients(cost, params, grads)


# ---- what is hard -----------------------------------------------------------------------------


def test_abs_and_float_are_no_hindrance() -> None:
    w = np.array([0.5, -2.0, 3.0])
    assert snn.check_gradients(lambda p: float(np.abs(p).sum()), w, np.sign(w)).method == "complex"
    assert not snn.check_gradients(lambda p: float(np.abs(p).sum()), w, np.ones(3))


def test_on_a_kink_any_slope_between_the_two_will_do() -> None:
    w = np.array([0.0, 1.0])
    for slope, right in ((0.0, True), (0.5, True), (1.0, True), (1.5, False), (-1.0, False)):
        assert bool(snn.check_gradients(lambda p: np.maximum(p, 0).sum(), w, np.array([slope, 1.0]))) is right


@pytest.mark.parametrize("size", [1e-8, 1e-4, 1e4, 1e8])
def test_small_and_large_features(size: float) -> None:
    x, w = RNG.standard_normal((6, 2)) * [1, size], RNG.standard_normal((2, 3))
    t = RNG.standard_normal((6, 3))
    right = 2 * x.T @ (x @ w - t)
    assert snn.check_gradients(lambda p: ((x @ p - t) ** 2).sum(), w, right)
    for factor in (-1, 0, 2, 1.05):
        wrong = right * [[1], [factor]]
        assert not snn.check_gradients(lambda p: ((x @ p - t) ** 2).sum(), w, wrong), factor


def test_a_large_array_is_sampled_and_covered() -> None:
    w = RNG.standard_normal(400)
    assert snn.check_gradients(lambda p: (p**2).sum(), w, 2 * w, max_entries=10)
    wrong = 2 * w
    wrong[123] *= 2
    assert not snn.check_gradients(lambda p: (p**2).sum(), w, wrong, max_entries=10)


# ---- words ------------------------------------------------------------------------------------

ERRORS: list[tuple[Any, Any, Any, type[Exception], str]] = [
    (total, {"W": A}, {"V": A}, ValueError, r"no gradient of params\['W'\].*it needs 'W' or 'dW'"),
    (total, {"W": A}, {"W": A, "V": A}, ValueError, r"grads\['V'\], but params has only 'W'"),
    (total, {"W": A}, {"W": A.T}, ValueError, r"grads\['W'\] of shape \(3, 2\); params\['W'\] has shape"),
    (total, [A, B], [A], ValueError, "grads of length 1"),
    (total, {"W": A}, [A], TypeError, "grads of type list; params is a dict"),
    (total, [A], [None], ValueError, r"grads\[0\]=None"),
    (total, [A], ["x"], TypeError, r"grads\[0\]"),
    (total, {"W": A, "n": 3}, {"W": A, "n": 0}, TypeError, r"params\['n'\] of type int"),
    (total, [np.arange(3)], [B], TypeError, r"params\[0\] of dtype int64; it needs floats"),
    (total, [A * np.nan], [A], ValueError, r"params\[0\]\[0, 0\] = nan"),
    (total, [B], [np.array([1, np.inf, 2])], ValueError, r"grads\[0\]\[1\] = inf"),
    (total, [], [], ValueError, "without any array"),
    (3, A, A, TypeError, "loss_of=3"),
    (lambda p: p, A, A, TypeError, r"returns an array of shape \(2, 3\); it needs one number"),
    (lambda p: None, A, A, TypeError, "returns a NoneType"),
    (lambda p: (1.0, p), A, A, TypeError, "returns a tuple"),
    (lambda p: np.nan * p.sum(), A, A, ValueError, "returns nan at these params"),
    (lambda p, q, r: 1.0, [A, B], [A, B], TypeError, "needs 3 arguments"),
    (lambda: 1.0, A.copy(), A, ValueError, "does not depend on the arrays"),
    (lambda: 1.0, A.astype(np.float32), A, TypeError, "must be float64"),
    (total, [A, A], [A, A], ValueError, r"one array as params\[0\] and as params\[1\]"),
]


@pytest.mark.parametrize(("loss_of", "params", "grads", "error", "words"), ERRORS)
def test_what_does_not_match_is_named(loss_of: Any, params: Any, grads: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=f"check_gradients got .*{words}"):
        snn.check_gradients(loss_of, params, grads)


def test_a_loss_that_draws_at_random_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="another number each time"):
        snn.check_gradients(lambda p: p.sum() + rng.random(), A, A)


def test_a_list_that_contains_itself_is_refused() -> None:
    params: list[Any] = [A]
    params.append(params)
    with pytest.raises(ValueError, match="numeric_gradient got params nested"):
        snn.numeric_gradient(total, params)
