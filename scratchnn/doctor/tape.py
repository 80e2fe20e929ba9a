# A subclass of ndarray that need not take every argument of ndarray's methods.
# mypy: disable-error-code="override"
"""A record of a forward pass, taken while somebody's own NumPy code runs.

The code is given `Traced` arrays, which are NumPy arrays that write down what is done with them. The
record can be played again with other values, and run backwards; with one rule replaced by a wrong one,
the backward run gives the gradient that a program with just that mistake would give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import Array
from . import rules

__all__ = ["LOSS", "Node", "Tape", "Traced", "unbroadcast"]

LOSS = "the loss"  # the scope of a loss's nodes
# What replaces a node's rule: dy -> [(node, its gradient)].
Override = Callable[[Array], "list[tuple[Node, Array]]"]


class Node:
    """One operation: y = fn(*args).

    Attributes:
        op: its name. args: Nodes, and constants. vjp: (dy, y, *values) -> gradient for each argument.
        value: the y of the recorded run. name: of a leaf. scope: the module at work.
    """

    def __init__(
        self,
        tape: Tape,
        op: str,
        fn: Callable[..., Any],
        vjp: Callable[..., Sequence[Any]],
        args: Sequence[Any],
        value: Array,
        name: str = "",
    ) -> None:
        self.tape, self.op, self.fn, self.vjp = tape, op, fn, vjp
        self.args, self.value, self.name = list(args), value, name
        self.index, self.scope = len(tape.nodes), tape.scope
        tape.nodes.append(self)

    @property
    def parents(self) -> list[Node]:
        return [a for a in self.args if isinstance(a, Node)]

    def values(self, environment: Mapping[int, Array]) -> list[Any]:
        """The arguments' values, taken from `environment` where it has them."""
        return [environment.get(a.index, a.value) if isinstance(a, Node) else a for a in self.args]


class Tape:
    """The nodes of one forward pass, in order.

    Attributes:
        nodes; leaves: the tensors, by number. overwritten: (old, new) for every array written into.
        read: nodes whose number was taken out as a Python float.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.leaves: list[Node] = []
        self.overwritten: list[tuple[Node, Node]] = []
        self.read: list[Node] = []
        self.scope = ""

    def leaf(self, name: str, value: Array) -> Traced:
        """A tensor that gradients are wanted for."""
        node = Node(self, "leaf", lambda: None, lambda dy, y: (), [], value.copy(), name)
        self.leaves.append(node)
        return traced(value.copy(), node)

    def consumers(self) -> dict[int, list[Node]]:
        """{node number: the nodes that use it, once for every use}."""
        found: dict[int, list[Node]] = {node.index: [] for node in self.nodes}
        for node in self.nodes:
            for parent in node.parents:
                found[parent.index].append(node)
        return found

    def replay(self, changed: Mapping[int, Array], only: set[int] | None = None) -> dict[int, Array]:
        """The values of all nodes (or those in `only`) after those of some are changed."""
        environment = dict(changed)
        for node in self.nodes:
            touched = any(parent.index in environment for parent in node.parents)
            if node.index in environment or not touched or (only is not None and node.index not in only):
                continue
            environment[node.index] = np.asarray(node.fn(*node.values(environment)))
        return environment

    def backward(
        self,
        output: Node,
        cotangent: Array,
        overrides: Mapping[int, Override] | None = None,
        environment: Mapping[int, Array] | None = None,
        dropped: set[tuple[int, int]] | None = None,
    ) -> dict[int, Array]:
        """{node number: dL/dnode} for L = sum(cotangent * output).

        Args:
            overrides: wrong rules for some nodes. environment: values that rules see instead of the
                recorded ones. dropped: (parent, consumer) pairs whose contribution is forgotten.
        """
        overrides, environment, dropped = overrides or {}, environment or {}, dropped or set()
        gradients: dict[int, Array] = {output.index: np.asarray(cotangent, np.float64)}
        for node in reversed(self.nodes[: output.index + 1]):
            dy = gradients.get(node.index)
            if dy is None or node.op == "leaf":
                continue
            if node.index in overrides:
                parts = overrides[node.index](dy)
            else:
                parts = self.local(node, dy, environment)
            for parent, gradient in parts:
                if (parent.index, node.index) in dropped:
                    continue
                if (
                    parent.op != "leaf"
                    and gradient.shape != environment.get(parent.index, parent.value).shape
                ):
                    raise ValueError("a gradient of another shape can only end in a leaf")
                held = gradients.get(parent.index)
                gradients[parent.index] = gradient if held is None else held + gradient
        return gradients

    @staticmethod
    def local(
        node: Node, dy: Array, environment: Mapping[int, Array] | None = None
    ) -> list[tuple[Node, Array]]:
        """The right rule of one node."""
        environment = environment or {}
        values = node.values(environment)
        y = environment.get(node.index, node.value)
        gradients = node.vjp(dy, y, *values)
        return [
            (arg, unbroadcast(np.asarray(gradient, np.float64), np.shape(value)))
            for arg, value, gradient in zip(node.args, values, gradients, strict=True)
            if isinstance(arg, Node)
        ]


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which an array of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    if extra > 0:
        gradient = gradient.sum(axis=tuple(range(extra)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    if stretched:
        gradient = gradient.sum(axis=stretched, keepdims=True)
    return np.broadcast_to(gradient, shape)


class Traced(np.ndarray):
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
            condition = _plain(args[0])
            return _record("where", *rules.where_rule(condition), args[1:])
        if name in ("dot", "inner") and len(args) == 2:
            return np.matmul(args[0], args[1] if name == "dot" else np.transpose(args[1]))
        if name == "concatenate":
            axis = kwargs.get("axis", args[1] if len(args) > 1 else 0)
            return _record("concatenate", *rules.concatenate_rule(axis), args[0])
        if name == "clip" and len(args) == 3:
            return np.minimum(np.maximum(args[0], args[1]), args[2])
        if name == "transpose":
            return Traced.transpose(args[0], *args[1:], **kwargs)
        if name in ("zeros_like", "ones_like", "full_like", "empty_like", "shape", "ndim", "size"):
            return func(_plain(args[0]), *args[1:], **kwargs)
        if name in ("argmax", "argmin", "argsort", "isnan", "isfinite", "allclose", "array_equal", "copyto"):
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

    def clip(self, low: Any = None, high: Any = None, out: Any = None, **_: Any) -> Any:
        y = self if low is None else np.maximum(self, low)
        return y if high is None else np.minimum(y, high)

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


def _reduce(kind: str, x: Any, axis: Any, keepdims: bool) -> Any:
    return _record(kind, *rules.reduction_rule(kind, axis, keepdims), [x])


def _overwrite(target: Traced, new: Node | None) -> None:
    old, target.node = target.node, new
    if old is not None and new is not None:
        old.tape.overwritten.append((old, new))
