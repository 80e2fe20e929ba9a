"""The doctor follows NumPy: what each function computes is recorded, with its derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scratchnn.doctor.tape import Tape
from scratchnn.doctor.traced import Traced, traced_leaf

ARRAYS = {"a": (3, 4), "w": (4, 5), "t": (2, 3, 4), "v": (4,)}


def filled(a: Any, w: Any, t: Any, v: Any) -> Any:
    y = np.zeros_like(a)
    y[a > 1] = a[a > 1]
    return y


def cut(a: Any, w: Any, t: Any, v: Any) -> Any:
    y = a.copy()
    y[y < 1] = 0
    return y


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "einsum": lambda a, w, t, v: np.einsum("ij,jk->ik", a, w),
    "einsum, turned": lambda a, w, t, v: np.einsum("ij,jk->ki", a, w),
    "einsum of positions": lambda a, w, t, v: np.einsum("btd,dm->btm", t, w),
    "einsum twice the same": lambda a, w, t, v: np.einsum("btd,bsd->bts", t, t),
    "einsum of one": lambda a, w, t, v: np.einsum("ij->j", a),
    "einsum of three": lambda a, w, t, v: np.einsum("ij,jk,j->ik", a, w, v),
    "einsum without an arrow": lambda a, w, t, v: np.einsum("ij,jk", a, w),
    "einsum with dots": lambda a, w, t, v: np.einsum("...d,dm->...m", t, w),
    "tensordot": lambda a, w, t, v: np.tensordot(t, w, axes=1),
    "tensordot of axes": lambda a, w, t, v: np.tensordot(t, w, axes=([2], [0])),
    "stack": lambda a, w, t, v: np.stack([a, 2 * a], axis=-1),
    "vstack": lambda a, w, t, v: np.vstack([a, v]),
    "hstack": lambda a, w, t, v: np.hstack([a, 2 * a]),
    "c_": lambda a, w, t, v: np.c_[a, np.ones(3)],
    "concatenate without an axis": lambda a, w, t, v: np.concatenate([a, v[None]], axis=None),
    "outer": lambda a, w, t, v: np.outer(v, a[0]),
    "dot": lambda a, w, t, v: np.dot(t, w),
    "dot of vectors": lambda a, w, t, v: v.dot(v),
    "inner": lambda a, w, t, v: np.inner(a, a),
    "vdot": lambda a, w, t, v: np.vdot(v, v),
    "sum": lambda a, w, t, v: np.sum(a * a, axis=(0, 1)),
    "mean": lambda a, w, t, v: np.mean(a, axis=1, keepdims=True),
    "max": lambda a, w, t, v: np.max(a, axis=1),
    "prod": lambda a, w, t, v: np.prod(a, axis=1),
    "var": lambda a, w, t, v: np.var(a, axis=0, ddof=1),
    "std": lambda a, w, t, v: np.std(a, axis=0, keepdims=True),
    "norm": lambda a, w, t, v: np.linalg.norm(a, axis=1, keepdims=True),
    "cumsum": lambda a, w, t, v: np.cumsum(a, axis=1),
    "repeat": lambda a, w, t, v: np.repeat(a, 2, axis=0),
    "tile": lambda a, w, t, v: np.tile(v, (3, 1)),
    "broadcast_to": lambda a, w, t, v: np.broadcast_to(v, (3, 4)) * a,
    "moveaxis": lambda a, w, t, v: np.moveaxis(t, 0, -1),
    "pad": lambda a, w, t, v: np.pad(a, ((0, 0), (1, 1))),
    "roll": lambda a, w, t, v: np.roll(a, 1, axis=0),
    "diag": lambda a, w, t, v: np.diag(v),
    "trace": lambda a, w, t, v: np.trace(a[:, :3]),
    "split": lambda a, w, t, v: np.split(a, 2, axis=1)[1],
    "clip": lambda a, w, t, v: np.clip(a, 0.6, 1.2),
    "take_along_axis": lambda a, w, t, v: np.take_along_axis(a, np.array([[1], [2], [0]]), axis=1),
    "powers and logs": lambda a, w, t, v: a**3 + 2**a + np.sqrt(a) + np.log10(a) + np.exp2(a) + np.cbrt(a),
    "angles": lambda a, w, t, v: np.tan(a) + np.arctan(a) + np.arcsin(a / 3) + np.arccos(a / 3),
    "hyperbolic": lambda a, w, t, v: np.arcsinh(a) + np.arctanh(a / 3) + np.sinh(a) + np.hypot(a, 2 * a),
    "a fresh array, filled": filled,
    "an array, cut": cut,
    "rows in a loop": lambda a, w, t, v: sum(row @ v for row in a),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_recorded(name: str) -> None:
    function, rng = FUNCTIONS[name], np.random.default_rng(0)
    values = [rng.random(shape) + 0.5 for shape in ARRAYS.values()]
    tape = Tape()
    y = function(*(traced_leaf(tape, *pair) for pair in zip(ARRAYS, values, strict=True)))
    assert isinstance(y, Traced)
    assert y.node is not None
    expected = function(*values)
    np.testing.assert_allclose(y.node.value, expected, rtol=1e-14)
    cotangent = rng.standard_normal(np.shape(expected))
    gradients = tape.backward(y.node, cotangent)
    for i, value in enumerate(values):
        direction, h = rng.standard_normal(value.shape), 1e-6
        up, down = list(values), list(values)
        up[i], down[i] = value + h * direction, value - h * direction
        numeric = float((cotangent * (function(*up) - function(*down))).sum()) / (2 * h)
        found = float((gradients.get(i, np.zeros(value.shape)) * direction).sum())
        assert found == pytest.approx(numeric, rel=1e-6, abs=1e-7)
