"""Activations in a tape, found by what they compute: y = sigmoid(x), however it was written.

An activation written in NumPy is several operations (negative, exp, add, divide). A mistake in its
derivative is made for all of them at once, so they are taken together: a block from x to y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Array
from ..functional import formulas as F
from .rules import ELEMENTWISE
from .tape import NOTHING, Node, Tape

__all__ = ["KNOWN", "Block", "axis_words", "find_blocks"]

MOST_STEPS_BACK = 24
IDENTITIES = ("maximum", "fmax", "where", "multiply")
NAMES = {"divide": "division", "multiply": "product", "absolute": "absolute value", "power": "power"}


@dataclass(frozen=True)
class Known:
    """An elementwise activation. by_output: its derivative written in y, where people write it so."""

    value: Callable[[Array], Array]
    by_output: Callable[[Array], Array] | None = None


KNOWN: dict[str, Known] = {
    "sigmoid": Known(F.sigmoid, lambda y: y * (1 - y)),
    "tanh": Known(np.tanh, lambda y: 1 - y * y),
    "relu": Known(F.relu),
    "softplus": Known(lambda x: np.logaddexp(x, 0), lambda y: 1 - np.exp(-y)),
    "elu": Known(lambda x: np.where(x > 0, x, np.expm1(x)), lambda y: np.where(y > 0, 1, y + 1)),
}


@dataclass(frozen=True)
class Block:
    """y = f(x) between two nodes.

    Attributes:
        kind: "sigmoid", "softmax", ..., or the operation's name. axis: of softmax and log_softmax; None
            where they take the whole array.
        inside: numbers of the nodes after x up to y. rank: small for what people write derivatives of.
    """

    kind: str
    x: Node
    y: Node
    inside: frozenset[int]
    rank: int
    axis: int | None = None

    @property
    def label(self) -> str:
        kind = NAMES.get(self.kind, self.kind)
        return f"the {kind}" + (f" in {self.y.scope}" if self.y.scope else "")

    @property
    def is_linear(self) -> bool:
        """One slope everywhere, whatever x is."""
        slopes = [self.slope(), self.slope(at=self.x.value + 1)]
        return bool(np.allclose(slopes, slopes[0].flat[0], rtol=1e-12, atol=0))

    def vjp(self, dy: Array) -> Array:
        """The right dL/dx for dL/dy."""
        vjps = {"softmax": F.softmax_vjp, "log_softmax": F.log_softmax_vjp}
        if self.kind not in vjps:
            return dy * self.slope()
        shape = self.y.value.shape if self.axis is not None else (-1,)
        dx = vjps[self.kind](dy.reshape(shape), self.y.value.reshape(shape), self.axis or 0)
        return dx.reshape(dy.shape)

    def slope(self, at: Array | None = None) -> Array:
        """f'(x) entry by entry, at the recorded x or another; for elementwise blocks."""
        tape = self.x.tape
        change = NOTHING if at is None else tape.replay({self.x.index: at}, set(self.inside))
        gradients = {self.y.index: np.ones(self.y.value.shape)}
        for node in reversed(tape.nodes[self.x.index + 1 : self.y.index + 1]):
            if node.index not in self.inside or node.index not in gradients:
                continue
            for parent, gradient in tape.local(node, gradients[node.index], change):
                held = gradients.get(parent.index)
                gradients[parent.index] = gradient if held is None else held + gradient
        return gradients.get(self.x.index, np.zeros(self.x.value.shape))


def axis_words(axes: int | tuple[int, ...] | None) -> str:
    """ "axis 0", "axes 0 and 1", "everything"."""
    if axes is None:
        return "everything"
    numbers = [str(k) for k in ((axes,) if isinstance(axes, int) else axes)]
    if len(numbers) == 1:
        return f"axis {numbers[0]}"
    return f"axes {', '.join(numbers[:-1])} and {numbers[-1]}"


def find_blocks(tape: Tape, output: Node) -> list[Block]:
    """Every activation and elementwise function on the way to `output`, the well-known ones first."""
    known: list[Block] = []
    others: list[Block] = []
    for y in tape.nodes[: output.index + 1]:
        if y.op == "leaf" or y.value.ndim == 0:
            continue
        for x in _ancestors(y):
            if x.value.shape != y.value.shape:
                continue
            if np.array_equal(x.value, y.value):
                if y.op in IDENTITIES and x in y.parents:  # a relu whose x is positive everywhere
                    known.append(Block("relu", x, y, frozenset({y.index}), 0))
                continue
            inside = _between(x, y)
            block = _recognise(x, y, inside)
            if block is not None:
                known.append(block)
            elif _elementwise(x, inside, tape):
                whole = x.op not in ELEMENTWISE or not x.parents
                others.append(Block(y.op, x, y, inside, 1 if len(inside) == 1 else 2 if whole else 3))
    # Nobody writes a rule for a part of a sigmoid, and 1 - p is no sigmoid of a -x inside one.
    middles = {i for block in known for i in block.inside - {block.y.index}}
    known = [block for block in known if block.x.index not in middles]
    parts = {(x, y) for block in known for y in block.inside for x in block.inside | {block.x.index}}
    others = [block for block in others if (block.x.index, block.y.index) not in parts]
    return sorted([*known, *others], key=lambda block: block.rank)


def _recognise(x: Node, y: Node, inside: frozenset[int]) -> Block | None:
    for kind, known in KNOWN.items():
        if _equal(known.value(x.value), y.value) and _elementwise(x, inside, x.tape):
            return Block(kind, x, y, inside, 0)
    slopes = y.value[x.value < 0] / x.value[x.value < 0]
    low = float(slopes[0]) if slopes.size and (x.value > 0).any() else 0.0
    if 0 < low < 1 and _equal(np.where(x.value > 0, x.value, low * x.value), y.value):
        return Block("leaky relu", x, y, inside, 0) if _elementwise(x, inside, x.tape) else None
    for axis in range(y.value.ndim):
        if y.value.shape[axis] < 2:
            continue
        for kind, function in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
            if _equal(function(x.value, axis), y.value):
                return Block(kind, x, y, inside, 0, axis)
    if y.value.ndim > 1:
        for kind, function in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
            if _equal(function(x.value.ravel(), 0).reshape(x.value.shape), y.value):
                return Block(kind, x, y, inside, 0)
    return None


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-10, atol=1e-14))


def _ancestors(y: Node) -> list[Node]:
    seen: dict[int, Node] = {}
    pending = [(parent, 1) for parent in y.parents]
    while pending:
        node, depth = pending.pop(0)
        if node.index in seen or depth > MOST_STEPS_BACK:
            continue
        seen[node.index] = node
        # Beyond a matrix product everything is another layer.
        if node.op != "matmul":
            pending += [(parent, depth + 1) for parent in node.parents]
    return list(seen.values())


def _between(x: Node, y: Node) -> frozenset[int]:
    """The nodes on the ways from x to y: without x, with y."""
    from_x = {x.index}
    for node in x.tape.nodes[x.index + 1 : y.index + 1]:
        if any(parent.index in from_x for parent in node.parents):
            from_x.add(node.index)
    to_y = {y.index}
    for node in reversed(x.tape.nodes[x.index : y.index + 1]):
        if node.index in to_y:
            to_y.update(parent.index for parent in node.parents)
    return frozenset((from_x & to_y) - {x.index})


def _elementwise(x: Node, inside: frozenset[int], tape: Tape) -> bool:
    def allowed(node: Node) -> bool:
        inner: list[Any] = [p for p in node.parents if p.index in inside or p is x]
        return (
            node.op in ELEMENTWISE and len(inner) == len(node.parents) and node.value.shape == x.value.shape
        )

    return bool(inside) and all(allowed(tape.nodes[i]) for i in inside)
