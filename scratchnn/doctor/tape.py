"""A record of a forward pass: it can be played again with other values, and run backwards.

With one rule replaced by a wrong one, the backward run gives the gradient that a program with just that
mistake would give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..checks import Array

__all__ = ["LOSS", "NOTHING", "Change", "Node", "Rule", "Tape", "unbroadcast"]

LOSS = "the loss"  # the scope of a loss's nodes
Rule: TypeAlias = "Callable[[Array], Any]"  # dy -> the gradient of one argument


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

    def values(self, change: Change | None = None) -> list[Any]:
        """The arguments' values, taken from `change` where it has them."""
        if change is None or not (change.environment or change.constants):
            return [a.value if isinstance(a, Node) else a for a in self.args]
        return [
            change.environment.get(a.index, a.value)
            if isinstance(a, Node)
            else change.constants.get((self.index, place), a)
            for place, a in enumerate(self.args)
        ]


@dataclass(frozen=True)
class Change:
    """What a wrong backward does otherwise. Two of them, made in the same backward, are `one | other`.

    Attributes:
        edges: {(node, place of an argument): rule for that argument's gradient}.
        jumps: {node y: (node x, rule)}: dx straight from dy, past all that lies between.
        amends: {node: what is done to its dy before its own rule}.
        adds: {node: (another node, rule)}: besides, dy goes to that node as well.
        dropped: (parent, consumer) pairs whose contribution is forgotten.
        environment: {node: value that rules see instead of the recorded one}.
        constants: {(node, place of an argument): constant that its rule sees instead}.
        cotangent: what the backward starts from; None for the right one.
    """

    edges: Mapping[tuple[int, int], Rule] = field(default_factory=dict)
    jumps: Mapping[int, tuple[Node, Rule]] = field(default_factory=dict)
    amends: Mapping[int, Rule] = field(default_factory=dict)
    adds: Mapping[int, tuple[Node, Rule]] = field(default_factory=dict)
    dropped: frozenset[tuple[int, int]] = frozenset()
    environment: Mapping[int, Array] = field(default_factory=dict)
    constants: Mapping[tuple[int, int], Array] = field(default_factory=dict)
    cotangent: Array | None = None

    def __or__(self, other: Change) -> Change:
        """Both. Raises ValueError where they change the same thing."""
        clash = (
            self.edges.keys() & other.edges.keys()
            or self.jumps.keys() & other.jumps.keys()
            or self.amends.keys() & other.amends.keys()
            or self.adds.keys() & other.adds.keys()
            or self.environment.keys() & other.environment.keys()
            or (self.cotangent is not None and other.cotangent is not None)
        )
        if clash:
            raise ValueError("two changes of the same rule")
        return Change(
            {**self.edges, **other.edges},
            {**self.jumps, **other.jumps},
            {**self.amends, **other.amends},
            {**self.adds, **other.adds},
            self.dropped | other.dropped,
            {**self.environment, **other.environment},
            {**self.constants, **other.constants},
            self.cotangent if other.cotangent is None else other.cotangent,
        )


NOTHING = Change()


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

    def leaf(self, name: str, value: Array) -> Node:
        """A tensor that gradients are wanted for."""
        node = Node(self, "leaf", lambda: None, lambda dy, y: (), [], value.copy(), name)
        self.leaves.append(node)
        return node

    def consumers(self) -> dict[int, list[Node]]:
        """{node number: the nodes that use it, once for every use}."""
        found: dict[int, list[Node]] = {node.index: [] for node in self.nodes}
        for node in self.nodes:
            for parent in node.parents:
                found[parent.index].append(node)
        return found

    def replay(
        self,
        changed: Mapping[int, Array],
        only: set[int] | None = None,
        constants: Mapping[tuple[int, int], Array] | None = None,
    ) -> Change:
        """The values of all nodes (or those in `only`) after some of them, or some constants, are changed."""
        new = Change(environment=dict(changed), constants=constants or {})
        environment: Any = new.environment
        again = {i for i, _ in new.constants}
        for node in self.nodes:
            touched = node.index in again or any(parent.index in environment for parent in node.parents)
            if node.index in environment or not touched or (only is not None and node.index not in only):
                continue
            environment[node.index] = np.asarray(node.fn(*node.values(new)))
        return new

    def backward(
        self, output: Node, cotangent: Array, change: Change = NOTHING, until: int = 0
    ) -> dict[int, Array]:
        """{node number: dL/dnode} for L = sum(cotangent * output), with some rules changed.

        Only the rules of the nodes from number `until` on are run.
        Raises ValueError where a changed rule gives a shape that later rules cannot take.
        """
        start = cotangent if change.cotangent is None else change.cotangent
        gradients: dict[int, Array] = {output.index: np.asarray(start, np.float64)}
        for node in reversed(self.nodes[until : output.index + 1]):
            dy = gradients.get(node.index)
            if dy is None or node.op == "leaf":
                continue
            if node.index in change.amends:
                dy = np.asarray(change.amends[node.index](dy))
            if node.index in change.jumps:
                x, rule = change.jumps[node.index]
                parts = [(x, np.asarray(rule(dy)))]
            else:
                parts = self.local(node, dy, change)
            if node.index in change.adds:
                other, rule = change.adds[node.index]
                parts = [*parts, (other, np.asarray(rule(dy)))]
            for parent, gradient in parts:
                if (parent.index, node.index) in change.dropped:
                    continue
                held = gradients.get(parent.index)
                gradients[parent.index] = gradient if held is None else held + gradient
        return gradients

    @staticmethod
    def local(node: Node, dy: Array, change: Change = NOTHING) -> list[tuple[Node, Array]]:
        """One node's rule: the gradient for each argument that is a node."""
        values = node.values(change)
        y = change.environment.get(node.index, node.value)
        wrong = [change.edges.get((node.index, place)) for place in range(len(values))]
        right: Sequence[Any] = wrong
        if any(rule is None and isinstance(arg, Node) for rule, arg in zip(wrong, node.args, strict=True)):
            right = node.vjp(dy, y, *values)
        return [
            (
                arg,
                np.asarray(rule(dy), np.float64)
                if rule is not None
                else unbroadcast(np.asarray(gradient, np.float64), np.shape(value)),
            )
            for arg, value, gradient, rule in zip(node.args, values, right, wrong, strict=True)
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
