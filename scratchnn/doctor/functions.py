"""NumPy's functions, for traced arrays: written in operations that are recorded.

Whatever is not here runs as NumPy wrote it, which is recorded as well if it is made of such operations.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["FORMS", "FRESH", "GATHERS", "PLAIN", "expand_einsum"]

# Functions that only move, repeat or drop the entries of their first argument.
GATHERS = (
    *("broadcast_to", "repeat", "tile", "roll", "flip", "fliplr", "flipud", "rot90", "pad", "resize"),
    *("diag", "diagonal", "tril", "triu", "moveaxis", "rollaxis", "expand_dims", "squeeze"),
    *("take_along_axis", "delete"),
)
# Functions whose result has no derivative, or none that anybody wants.
PLAIN = (
    *("shape", "ndim", "size", "argmax", "argmin", "argsort", "isnan", "isfinite", "allclose"),
    *("array_equal", "copyto"),
)
# New arrays, which may be filled with recorded ones.
FRESH = ("zeros_like", "ones_like", "full_like", "empty_like")


def _clip(x: Any, a_min: Any = None, a_max: Any = None, **rest: Any) -> Any:
    low, high = rest.get("min", a_min), rest.get("max", a_max)
    y = x if low is None else np.maximum(x, low)
    return y if high is None else np.minimum(y, high)


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    if isinstance(axes, int):
        axes = (list(range(np.ndim(a) - axes, np.ndim(a))), list(range(axes)))
    of_a, of_b = ([axes[k]] if isinstance(axes[k], int) else list(axes[k]) for k in (0, 1))
    letters = iter(string.ascii_letters)
    first = [next(letters) for _ in range(np.ndim(a))]
    second = [next(letters) for _ in range(np.ndim(b))]
    for i, j in zip(of_a, of_b, strict=True):
        second[j] = first[i]
    kept = [c for c in first if c not in second] + [c for c in second if c not in first]
    return np.einsum(f"{''.join(first)},{''.join(second)}->{''.join(kept)}", a, b)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord not in (None, 2, "fro") or (ord == 2 and axis is None and np.ndim(x) > 1):
        raise NotImplementedError(f"the norm of order {ord}")
    return np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))


FORMS: dict[str, Callable[..., Any]] = {
    "dot": lambda a, b: np.matmul(a, b) if np.ndim(a) and np.ndim(b) else a * b,
    "inner": lambda a, b: np.matmul(a, np.transpose(b)),
    "vdot": lambda a, b: (np.ravel(a) * np.ravel(b)).sum(),
    "outer": lambda a, b: np.ravel(a)[:, None] * np.ravel(b)[None, :],
    "trace": lambda x: np.diagonal(x).sum(),
    "tensordot": _tensordot,
    "norm": _norm,
    "clip": _clip,
}


def expand_einsum(equation: str, operands: Sequence[Any]) -> tuple[list[str], str] | None:
    """(the letters of each operand, those of the result), dots written out; None where it is none of ours."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    subscripts = left.split(",")
    free = [c for c in string.ascii_letters if c not in equation]
    dots = [np.ndim(x) - len(s.replace("...", "")) for s, x in zip(subscripts, operands, strict=True)]
    most = max((n for n, s in zip(dots, subscripts, strict=True) if "..." in s), default=0)
    spread = "".join(free[:most])
    if not arrow:
        letters = sorted({c for c in left if c.isalpha() and left.count(c) == 1})
        result = ("..." if "..." in left else "") + "".join(letters)
    written = [
        s.replace("...", spread[most - n :] if n else "") for s, n in zip(subscripts, dots, strict=True)
    ]
    if any(len(set(s)) < len(s) for s in written):
        return None
    return written, result.replace("...", spread)
