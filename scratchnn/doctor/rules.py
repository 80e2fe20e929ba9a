"""The derivative of each NumPy operation that a `Traced` array knows.

A rule is vjp(dy, y, *values) -> one gradient for each value, before broadcasting is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..checks import Array

__all__ = [
    "ELEMENTWISE",
    "REDUCTIONS",
    "UFUNCS",
    "assign_rule",
    "concatenate_rule",
    "cumsum_rule",
    "einsum_rule",
    "gather_rule",
    "index_rule",
    "reduction_rule",
    "reshape_rule",
    "transpose_rule",
    "where_rule",
]

Rule: TypeAlias = "tuple[Callable[..., Any], Callable[..., Sequence[Any]]]"


def _power(dy: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    with np.errstate(all="ignore"):
        return dy * b * np.power(a, b - 1), dy * y * np.log(np.where(a > 0, a, 1))


def _matmul(dy: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    if a.ndim == 1 or b.ndim == 1:
        rows = a[None] if a.ndim == 1 else a
        columns = b[:, None] if b.ndim == 1 else b
        grid = dy.reshape((*rows.shape[:-1], columns.shape[-1]))
        da, db = _matmul(grid, y, rows, columns)
        return da.reshape(a.shape), db.reshape(b.shape)
    da = dy @ np.swapaxes(b, -1, -2)
    if b.ndim == 2:
        return da, a.reshape(-1, a.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
    return da, np.swapaxes(a, -1, -2) @ dy


def _extreme(dy: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    # A tie gives half to each, as torch does.
    first = np.where(a == y, np.where(b == y, 0.5, 1.0), 0.0)
    return dy * first, dy * (1 - first)


UFUNCS: dict[str, Callable[..., Sequence[Any]]] = {
    "add": lambda dy, y, a, b: (dy, dy),
    "subtract": lambda dy, y, a, b: (dy, -dy),
    "multiply": lambda dy, y, a, b: (dy * b, dy * a),
    "divide": lambda dy, y, a, b: (dy / b, -dy * y / b),
    "negative": lambda dy, y, a: (-dy,),
    "positive": lambda dy, y, a: (dy,),
    "exp": lambda dy, y, a: (dy * y,),
    "expm1": lambda dy, y, a: (dy * (y + 1),),
    "log": lambda dy, y, a: (dy / a,),
    "log1p": lambda dy, y, a: (dy / (1 + a),),
    "log2": lambda dy, y, a: (dy / (a * np.log(2)),),
    "log10": lambda dy, y, a: (dy / (a * np.log(10)),),
    "exp2": lambda dy, y, a: (dy * y * np.log(2),),
    "tanh": lambda dy, y, a: (dy * (1 - y * y),),
    "expit": lambda dy, y, a: (dy * y * (1 - y),),
    "erf": lambda dy, y, a: (dy * 2 / np.sqrt(np.pi) * np.exp(-a * a),),
    "sinh": lambda dy, y, a: (dy * np.cosh(a),),
    "cosh": lambda dy, y, a: (dy * np.sinh(a),),
    "sin": lambda dy, y, a: (dy * np.cos(a),),
    "cos": lambda dy, y, a: (-dy * np.sin(a),),
    "tan": lambda dy, y, a: (dy * (1 + y * y),),
    "arctan": lambda dy, y, a: (dy / (1 + a * a),),
    "arcsin": lambda dy, y, a: (dy / np.sqrt(1 - a * a),),
    "arccos": lambda dy, y, a: (-dy / np.sqrt(1 - a * a),),
    "arcsinh": lambda dy, y, a: (dy / np.sqrt(1 + a * a),),
    "arctanh": lambda dy, y, a: (dy / (1 - a * a),),
    "sqrt": lambda dy, y, a: (dy / (2 * y),),
    "cbrt": lambda dy, y, a: (dy / (3 * y * y),),
    "square": lambda dy, y, a: (dy * 2 * a,),
    "reciprocal": lambda dy, y, a: (-dy * y * y,),
    "absolute": lambda dy, y, a: (dy * np.sign(a),),
    "fabs": lambda dy, y, a: (dy * np.sign(a),),
    "power": _power,
    "float_power": _power,
    "hypot": lambda dy, y, a, b: (dy * a / y, dy * b / y),
    "maximum": _extreme,
    "minimum": _extreme,
    "fmax": _extreme,
    "fmin": _extreme,
    "logaddexp": lambda dy, y, a, b: (dy * np.exp(a - y), dy * np.exp(b - y)),
    "matmul": _matmul,
}
ELEMENTWISE = (set(UFUNCS) - {"matmul"}) | {"where", "copy", "setitem"}
REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}


def reduction_rule(kind: str, axis: Any, keepdims: bool) -> Rule:
    """sum, mean, prod, max or min along `axis`."""
    functions: dict[str, Any] = {
        "sum": np.sum,
        "mean": np.mean,
        "prod": np.prod,
        "max": np.max,
        "min": np.min,
    }

    def fn(x: Array) -> Any:
        return functions[kind](x, axis=axis, keepdims=keepdims)

    def vjp(dy: Array, y: Array, x: Array) -> tuple[Array]:
        if axis is not None and not keepdims:
            dy, y = np.expand_dims(dy, axis), np.expand_dims(y, axis)
        spread = np.broadcast_to(dy, x.shape)
        if kind == "sum":
            return (spread,)
        if kind == "mean":
            return (spread * (np.size(y) / x.size),)
        if kind == "prod":
            return (spread * y / x,)
        chosen = x == y
        return (spread * chosen / chosen.sum(axis=axis, keepdims=True),)

    return fn, vjp


def where_rule(condition: Any) -> Rule:
    """np.where(condition, a, b)."""
    condition = np.array(condition)

    def fn(a: Any, b: Any) -> Any:
        return np.where(condition, a, b)

    return fn, lambda dy, y, a, b: (np.where(condition, dy, 0), np.where(condition, 0, dy))


def index_rule(index: Any) -> Rule:
    """x[index]."""

    def vjp(dy: Array, y: Array, x: Array) -> tuple[Array]:
        dx = np.zeros(x.shape)
        np.add.at(dx, index, dy)
        return (dx,)

    return lambda x: x[index], vjp


def assign_rule(index: Any) -> Rule:
    """x[index] = value, as a new array."""

    def fn(x: Array, value: Any) -> Array:
        y = np.array(x)
        y[index] = value
        return y

    def vjp(dy: Array, y: Array, x: Array, value: Any) -> tuple[Array, Array]:
        dx = np.array(dy)
        dx[index] = 0
        return dx, dy[index]

    return fn, vjp


def reshape_rule(shape: Any) -> Rule:
    """x.reshape(shape)."""
    return lambda x: np.reshape(x, shape), lambda dy, y, x: (np.reshape(dy, x.shape),)


def transpose_rule(order: Any) -> Rule:
    """x.transpose(order)."""

    def vjp(dy: Array, y: Array, x: Array) -> tuple[Array]:
        return (np.transpose(dy, None if order is None else np.argsort([k % x.ndim for k in order])),)

    return lambda x: np.transpose(x, order), vjp


def gather_rule(function: Callable[[Array], Any], shape: tuple[int, ...]) -> Rule:
    """Any function that only moves, repeats or drops entries: seen from where their numbers end up."""
    source = np.asarray(function(np.arange(1, int(np.prod(shape)) + 1).reshape(shape)))

    def fn(x: Array) -> Array:
        return np.where(source > 0, np.ravel(x)[source - 1], 0)

    def vjp(dy: Array, y: Array, x: Array) -> tuple[Array]:
        dx = np.zeros(x.size + 1)
        np.add.at(dx, source, dy)
        return (dx[1:].reshape(x.shape),)

    return fn, vjp


def cumsum_rule(axis: int) -> Rule:
    """np.cumsum(x, axis)."""

    def vjp(dy: Array, y: Array, x: Array) -> tuple[Array]:
        return (np.flip(np.cumsum(np.flip(dy, axis), axis), axis),)

    return lambda x: np.cumsum(x, axis), vjp


def einsum_rule(subscripts: Sequence[str], result: str) -> Rule:
    """np.einsum("ij,jk->ik", a, b); each operand without repeated letters."""
    equation = f"{','.join(subscripts)}->{result}"

    def fn(*operands: Array) -> Any:
        return np.einsum(equation, *operands)

    def vjp(dy: Array, y: Array, *operands: Array) -> Sequence[Array]:
        gradients = []
        for k, (letters, operand) in enumerate(zip(subscripts, operands, strict=True)):
            others = [*subscripts[:k], *subscripts[k + 1 :], result]
            known = [c for c in letters if any(c in other for other in others)]
            arrays = [*operands[:k], *operands[k + 1 :], dy]
            part = np.einsum(f"{','.join(others)}->{''.join(known)}", *arrays)
            missing = tuple(i for i, c in enumerate(letters) if c not in known)
            gradients.append(np.broadcast_to(np.expand_dims(part, missing), operand.shape))
        return gradients

    return fn, vjp


def concatenate_rule(axis: int) -> Rule:
    """np.concatenate((a, b, ...), axis)."""

    def vjp(dy: Array, y: Array, *parts: Array) -> Sequence[Array]:
        ends = np.cumsum([part.shape[axis] for part in parts])[:-1]
        return np.split(dy, ends, axis)

    return lambda *parts: np.concatenate(parts, axis), vjp
