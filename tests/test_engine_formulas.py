"""Every elementwise formula and update rule, compiled: the values and the dtype that NumPy gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from scratchnn.checks import Array
from scratchnn.engine import lanes
from scratchnn.engine.formulas import compile_formula
from scratchnn.functional import activations, losses, updates

DTYPES = (np.float32, np.float64)


def compiled(formula: Callable[..., Any], arrays: int, numbers: tuple[Any, ...] = ()) -> Callable[..., Array]:
    """The formula on arrays, by way of lanes; `numbers` are its last arguments."""
    inside = compile_formula(formula)

    @njit(error_model="numpy")
    def loop(a: Any, b: Any, c: Any, out: Any) -> None:
        pa, pb, pc, po = lanes.pointer(a), lanes.pointer(b), lanes.pointer(c), lanes.pointer(out)
        for i in range(0, a.size, lanes.width(pa)):
            if arrays == 1:
                lanes.store(po, i, inside(lanes.load(pa, i), *numbers))
            elif arrays == 2:
                lanes.store(po, i, inside(lanes.load(pa, i), lanes.load(pb, i), *numbers))
            else:
                lanes.store(po, i, inside(lanes.load(pa, i), lanes.load(pb, i), lanes.load(pc, i), *numbers))

    def run(*given: Array) -> Array:
        padded = [np.concatenate([a, np.ones(-a.size % 16, a.dtype)]) for a in given]
        padded += [padded[0]] * (3 - len(padded))
        out = np.empty_like(padded[0])
        loop(*padded, out)
        return out[: given[0].size]

    return run


def values(dtype: Any, count: int = 3000) -> Array:
    rng = np.random.default_rng(0)
    corners = [
        0,
        -0.0,
        1,
        -1,
        np.inf,
        -np.inf,
        np.nan,
        1e-30,
        -1e-30,
        88,
        -88,
        104,
        -104,
        700,
        -750,
        1e4,
        -1e4,
    ]
    return np.concatenate([corners, rng.standard_normal(count) * 5, rng.uniform(-800, 800, 500)]).astype(
        dtype
    )


def probabilities(dtype: Any) -> Array:
    tiny = np.finfo(dtype).tiny
    rng = np.random.default_rng(1)
    corners = [0, 1, tiny, 1e-30, 1e-7, 1 - 1e-7, 1 - np.finfo(dtype).eps, 0.5, np.nan, 1e-12]
    return np.concatenate([corners, rng.random(2000), rng.random(500) ** 20]).astype(dtype)


# formula: (kinds of its array arguments, numbers, exact: built of correctly rounded operations only)
# x any number, p a probability, t a target, d an upstream gradient
FORMULAS: dict[Callable[..., Any], tuple[str, tuple[Any, ...], bool]] = {
    activations.identity: ("x", (), True),
    activations.relu: ("x", (), True),
    activations.relu_vjp: ("dx", (), True),
    activations.leaky_relu: ("x", (0.01,), True),
    activations.leaky_relu_vjp: ("dx", (0.01,), True),
    activations.threshold: ("x", (0.1, 20.0), True),
    activations.threshold_vjp: ("dx", (0.1,), True),
    activations.sigmoid: ("x", (), False),
    activations.sigmoid_vjp: ("dp", (), True),
    activations.tanh: ("x", (), False),
    activations.tanh_vjp: ("dp", (), True),
    activations.dropout: ("xx", (), True),
    activations.dropout_vjp: ("dx", (), True),
    losses.mse_terms: ("xd", (), True),
    losses.mse_terms_vjp: ("dxx", (), True),
    losses.l1_terms: ("xd", (), True),
    losses.l1_terms_vjp: ("dxx", (), True),
    losses.bce_terms: ("pt", (), False),
    losses.bce_terms_vjp: ("dpt", (), True),
    losses.bce_with_logits_terms: ("xt", (1.0,), False),
    losses.bce_with_logits_terms_vjp: ("dxt", (3.0,), False),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("formula", FORMULAS, ids=lambda f: f.__name__)
def test_formulas(formula: Callable[..., Any], dtype: Any) -> None:
    kinds, numbers, exact = FORMULAS[formula]
    rng = np.random.default_rng(2)
    base = probabilities(dtype) if "p" in kinds else values(dtype)
    made = {
        "x": base,
        "p": base,
        "t": rng.integers(0, 2, base.size).astype(dtype),
        "d": rng.standard_normal(base.size).astype(dtype),
    }
    arrays = [
        made[kind] if i == kinds.index(kind) else rng.permutation(made[kind]) for i, kind in enumerate(kinds)
    ]
    with np.errstate(all="ignore"):
        want = formula(*arrays, *numbers)
    got = compiled(formula, len(arrays), numbers)(*arrays)
    assert got.dtype == want.dtype == dtype
    if exact:
        np.testing.assert_array_equal(got, want)
    else:
        size = np.maximum(1, np.abs(base)) if "logits" in formula.__name__ else np.abs(want)
        with np.errstate(all="ignore"):
            # A denormal is a whole number of smallest steps: rounding twice may differ by one.
            allowed = 8 * np.finfo(dtype).eps * size + 2 * np.finfo(dtype).smallest_subnormal
            close = np.abs(got - want) <= allowed
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        wrong = ~(same | close)
        assert not wrong.any(), (base[wrong][:5], got[wrong][:5], want[wrong][:5])


UPDATES: dict[str, tuple[Callable[..., Any], int, tuple[Any, ...]]] = {
    "sgd": (updates.sgd, 3, (0.1, 0.0, 1.0, 0.0, False, False)),
    "sgd nesterov": (updates.sgd, 3, (0.1, 0.9, 0.7, 0.01, True, True)),
    "adam": (updates.adam, 5, (0.01, 0.9, 1e-8, 0.1, 0.999, 0.001, 0.0, False, False)),
    "adam amsgrad": (updates.adam, 5, (0.01, 0.9, 1e-8, 0.7, 0.999, 0.001, 0.1, True, True)),
    "adamw": (updates.adamw, 5, (0.99, 0.01, 0.9, 1e-8, 0.1, 0.999, 0.001, True, False)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UPDATES)
def test_update_rules(name: str, dtype: Any) -> None:
    """Bit for bit: these are correctly rounded operations, in one order."""
    rule, count, numbers = UPDATES[name]
    scalars = tuple(dtype(n) if isinstance(n, float) else n for n in numbers)
    rng = np.random.default_rng(4)
    given = [rng.standard_normal(64).astype(dtype) for _ in range(count)]
    given[3:] = [np.abs(a) for a in given[3:]]
    want = rule(*given, *scalars)
    inside = compile_formula(rule)
    three = count == 3

    @njit(error_model="numpy")
    def loop(a: Any, out: Any) -> None:
        p, o = lanes.pointer(a), lanes.pointer(out)
        n = a.size // count
        for i in range(0, n, lanes.width(p)):
            if three:
                x = inside(lanes.load(p, i), lanes.load(p, n + i), lanes.load(p, 2 * n + i), *scalars)
                for k in range(2):
                    lanes.store(o, k * n + i, x[k])
            else:
                y = inside(
                    lanes.load(p, i), lanes.load(p, n + i), lanes.load(p, 2 * n + i),
                    lanes.load(p, 3 * n + i), lanes.load(p, 4 * n + i), *scalars,
                )  # fmt: skip
                for k in range(4):
                    lanes.store(o, k * n + i, y[k])

    out = np.empty(64 * count, dtype)
    loop(np.concatenate(given), out)
    for k, expected in enumerate(want):
        assert expected.dtype == dtype
        np.testing.assert_array_equal(out[64 * k : 64 * (k + 1)], expected)


def test_what_is_no_formula_is_refused() -> None:
    """A formula that reaches beyond the vocabulary is an error that says what it used."""

    def reaches(x: Any) -> Any:
        return np.cos(x)

    with pytest.raises(TypeError, match="reaches uses np"):
        compile_formula(reaches)
