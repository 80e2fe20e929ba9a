# A subclass of ndarray that need not take every argument of ndarray's methods.
# mypy: disable-error-code="override"
"""Arrays that write down what is done with them, while NumPy code that knows nothing of it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import Array, Instrumented
from . import functions, rules
from .tape import Node, Tape

__all__ = ["Traced", "traced_leaf"]


def traced_leaf(tape: Tape, name: str, value: Array) -> Traced:
    """A tensor that gradients are wanted for."""
    return traced(value.copy(), tape.leaf(name, value))


class Traced(Instrumented):
    """An array that writes down what is done with it."""

    node: Node | None

    def __array_finalize__(self, source: Any) -> None:
        self.node = None

    # ---- operations -------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if method == "reduce" and ufunc.__name__ in rules.REDUCTIONS and isinstance(inputs[0], Traced):
            axis, keepdims = kwargs.get("axis", 0), kwargs.get("keepdims", False)
            result = _reduce(rules.REDUCTIONS[ufunc.__name__], inputs[0], axis, keepdims)
        elif method == "__call__" and ufunc.__name__ in rules.UFUNCS and kwargs.get("where", True) is True:
            result = _record(ufunc.__name__, ufunc, rules.UFUNCS[ufunc.__name__], inputs)
        else:
            result = getattr(ufunc, method)(*[_plain(x) for x in inputs], **kwargs)
        if out is None:
            return result
        target = out[0]
        np.copyto(_plain(target), _plain(result))
        if isinstance(target, Traced):
            _overwrite(target, getattr(result, "node", None))
        return target

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = func.__name__
        if name == "where" and len(args) == 3:
            return _record("where", *rules.where_rule(_plain(args[0])), args[1:])
        if name == "einsum":
            return _einsum(func, args, kwargs)
        if name == "concatenate":
            axis = kwargs.get("axis", args[1] if len(args) > 1 else 0)
            parts = args[0] if axis is not None else [np.ravel(part) for part in args[0]]
            return _record("concatenate", *rules.concatenate_rule(axis or 0), parts)
        if name == "cumsum":
            axis = kwargs.get("axis", args[1] if len(args) > 1 else None)
            x = args[0] if axis is not None else np.ravel(args[0])
            return _record("cumsum", *rules.cumsum_rule(axis or 0), [x])
        if name == "transpose":
            return Traced.transpose(args[0], *args[1:], **kwargs)
        if name in functions.FORMS:
            return functions.FORMS[name](*args, **kwargs)
        if name in functions.GATHERS and isinstance(args[0], Traced):
            rest = [_plain(a) for a in args[1:]]
            rule = rules.gather_rule(lambda x: func(x, *rest, **kwargs), args[0].shape)
            return _record(name, *rule, [args[0]])
        if name in functions.FRESH:
            return traced(func(_plain(args[0]), *args[1:], **kwargs), None)
        if name in functions.PLAIN:
            return func(*[_plain(a) for a in args], **kwargs)
        return super().__array_function__(func, types, args, kwargs)

    def __getitem__(self, index: Any) -> Any:
        return _record("getitem", *rules.index_rule(_plain_index(index)), [self])

    def __setitem__(self, index: Any, value: Any) -> None:
        index = _plain_index(index)
        new = _record("setitem", *rules.assign_rule(index), [self, value])
        np.ndarray.__setitem__(_plain(self), index, _plain(value))
        _overwrite(self, getattr(new, "node", None))

    def sum(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **_: Any
    ) -> Any:
        return _reduce("sum", self, axis, keepdims)

    def mean(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **_: Any
    ) -> Any:
        return _reduce("mean", self, axis, keepdims)

    def prod(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **_: Any
    ) -> Any:
        return _reduce("prod", self, axis, keepdims)

    def cumsum(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        return np.cumsum(self, axis)

    def repeat(self, repeats: Any, axis: Any = None) -> Any:
        return np.repeat(self, repeats, axis)

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False, **_: Any) -> Any:
        return _reduce("max", self, axis, keepdims)

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False, **_: Any) -> Any:
        return _reduce("min", self, axis, keepdims)

    def var(
        self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0, keepdims: bool = False
    ) -> Any:
        centred = self - self.mean(axis=axis, keepdims=True)
        total = (centred * centred).sum(axis=axis, keepdims=keepdims)
        count = self.size / max(np.size(total), 1)
        return total / (count - ddof)

    def std(
        self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0, keepdims: bool = False
    ) -> Any:
        return np.sqrt(self.var(axis=axis, ddof=ddof, keepdims=keepdims))

    def reshape(self, *shape: Any, order: Any = "C", **_: Any) -> Any:
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
        return _record("reshape", *rules.reshape_rule(shape), [self])

    def ravel(self, order: Any = "C") -> Any:
        return self.reshape(-1)

    def flatten(self, order: Any = "C") -> Any:
        return self.reshape(-1)

    def squeeze(self, axis: Any = None) -> Any:
        return self.reshape(np.squeeze(_plain(self), axis).shape)

    def transpose(self, *axes: Any, **kwargs: Any) -> Any:
        axes = kwargs.get("axes", axes)
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], (int, np.integer)) else (axes or None)
        return _record("transpose", *rules.transpose_rule(order), [self])

    @property
    def T(self) -> Any:
        return self.transpose()

    @property
    def mT(self) -> Any:
        return self.swapaxes(-1, -2)

    def swapaxes(self, a: int, b: int) -> Any:
        order = list(range(self.ndim))
        order[a], order[b] = order[b], order[a]
        return self.transpose(order)

    def dot(self, other: Any, out: Any = None) -> Any:
        return np.matmul(self, other)

    def clip(self, low: Any = None, high: Any = None, out: Any = None, **rest: Any) -> Any:
        return np.clip(self, low, high, **rest)

    def take(self, indices: Any, axis: Any = None, **_: Any) -> Any:
        index = (slice(None),) * (0 if axis is None else axis % self.ndim) + (_plain_index(indices),)
        return (self.ravel() if axis is None else self)[index]

    def copy(self, order: Any = "C") -> Any:
        return _record("copy", np.copy, lambda dy, y, x: (dy,), [self])

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        return self.copy() if np.dtype(dtype).kind in "fc" else _plain(self).astype(dtype)

    def __float__(self) -> float:
        return float(self.item())

    def item(self, *args: Any) -> Any:
        if self.node is not None:
            self.node.tape.read.append(self.node)
        return _plain(self).item(*args)

    def tolist(self) -> Any:
        return _plain(self).tolist()


def traced(value: Array, node: Node | None) -> Traced:
    array = np.asarray(value).view(Traced)
    array.node = node
    return array


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, Traced) else x


def _plain_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_plain(i).copy() if isinstance(i, Traced) else i for i in index)
    return _plain(index).copy() if isinstance(index, Traced) else index


def _record(op: str, fn: Callable[..., Any], vjp: Callable[..., Sequence[Any]], args: Sequence[Any]) -> Any:
    """Do it, and write it down if a recorded array takes part."""
    values = [_plain(a) for a in args]
    result = fn(*values)
    nodes = [a.node if isinstance(a, Traced) else None for a in args]
    known = [n for n in nodes if n is not None]
    if not known:
        return result
    # Constants are copied: the code may write into them later.
    kept = [n if n is not None else np.array(v) for n, v in zip(nodes, values, strict=True)]
    value = np.array(result)
    node = Node(known[0].tape, op, fn, vjp, kept, value)
    return traced(np.asarray(result), node)


def _einsum(func: Any, args: Any, kwargs: Any) -> Any:
    equation, *operands = args
    expanded = functions.expand_einsum(equation, operands) if isinstance(equation, str) else None
    if expanded is None:
        return func(*[_plain(a) for a in args], **kwargs)
    subscripts, result = expanded
    if len(operands) == 2 and [*map(len, subscripts)] == [2, 2] and result:
        return _product(subscripts, result, operands)
    return _record("einsum", *rules.einsum_rule(subscripts, result), operands)


def _product(subscripts: list[str], result: str, operands: list[Any]) -> Any:
    """A matrix product by its own name, where an einsum is one: what is known of products is tried on it."""
    (a, b), (first, second) = operands, subscripts
    summed = [c for c in first if c in second and c not in result]
    rows = [c for c in first if c not in second]
    columns = [c for c in second if c not in first]
    if len(summed) != 1 or result not in ("".join(rows + columns), "".join(columns + rows)):
        return _record("einsum", *rules.einsum_rule(subscripts, result), operands)
    left = a if first[1] == summed[0] else np.transpose(a)
    right = b if second[0] == summed[0] else np.transpose(b)
    y = np.matmul(left, right)
    return y if result == rows[0] + columns[0] else np.transpose(y)


def _reduce(kind: str, x: Any, axis: Any, keepdims: bool) -> Any:
    return _record(kind, *rules.reduction_rule(kind, axis, keepdims), [x])


def _overwrite(target: Traced, new: Node | None) -> None:
    old, target.node = target.node, new
    if old is not None and new is not None:
        old.tape.overwritten.append((old, new))
