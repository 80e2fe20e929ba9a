"""Values that are not the forward's: changed meanwhile, broadcast by accident, moved by an epsilon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from ..checks import Array
from .blocks import KNOWN
from .case import VIEWS, Case, Place, Slip, in_places, place_of
from .tape import Change, Node, Rule, unbroadcast
from .wrong_rules import jump

__all__ = ["broadcast", "epsilons", "overwritten", "updated_early"]

LARGEST_EPSILON = 1e-3
EPSILONS = [10.0**-k for k in range(3, 17)]


def updated_early(case: Case) -> Iterator[Slip]:
    if not case.parameters_after:
        return
    views = {node.index for node in case.tape.nodes if node.op in VIEWS}
    change = case.tape.replay(case.parameters_after, views)
    names = ", ".join(case.tape.nodes[i].name for i in case.parameters_after)
    text = f"the backward changes {names}, and then passes dy down through the new values"
    yield Slip("weights-updated-early", text, change, 0)


def overwritten(case: Case) -> Iterator[Slip]:
    events = case.tape.overwritten
    groups = [[event] for event in events] + ([events] if len(events) > 1 else [])
    for group in groups:
        environment: dict[int, Array] = {}
        for old, new in group:
            if old.value.shape == new.value.shape:
                environment[old.index] = new.value
        where = place_of(group[0][0])
        text = f"the forward writes into an array{where} that the backward still needs"
        yield Slip("modified-in-place", text, Change(environment=environment), 0)
        for block in case.blocks:
            known = KNOWN.get(block.kind)
            if block.y.index in environment and known is not None and known.by_output is not None:
                slope = known.by_output(environment[block.y.index])
                yield Slip("modified-in-place", text, jump(block, partial(np.multiply, slope)), 1)


# ---- (N,) against (N, 1) ----------------------------------------------------------------------


def broadcast(case: Case) -> Iterator[Slip]:
    """Columns against rows: where (N, 1) meets (N,), or where it would have."""
    meant = "the forward makes an (N, N) table of them; the backward is that of N differences"
    made = "the backward makes an (N, N) table of differences that the forward does not"
    places: dict[str, dict[tuple[int, int], Array]] = {meant: {}, made: {}}
    for node in case.nodes:
        if node.op not in ("add", "subtract", "multiply", "divide") or len(node.args) != 2:
            continue
        values = node.values()
        shapes = [np.shape(v) for v in values]
        n = max(max(s, default=1) for s in shapes)
        column, row = (n, 1), (n,)
        for i, j in ((0, 1), (1, 0)):
            # Two recorded values are a residual or a pairwise table, both meant.
            if n < 2 or isinstance(node.args[j], Node) or not isinstance(node.args[i], Node):
                continue
            if {shapes[i], shapes[j]} == {column, row}:
                places[meant][node.index, j] = values[j].reshape(shapes[i])
            elif shapes[i] == shapes[j] and shapes[i] in (column, row):
                places[made][node.index, j] = values[j].reshape(row if shapes[i] == column else column)
    for text, found in places.items():
        for group in _one_and_all(found):
            try:
                change = case.tape.replay({}, constants={place: found[place] for place in group})
            except ValueError:
                continue
            n = found[group[0]].size
            factors = (1.0, float(n), 1.0 / n)
            yield Slip("broadcast", text, change, 0, factors, stretched=True)
            if text == made:  # summed over the other axis of the table
                turned = {(i, 1 - j): _over_own_axis(case.tape.nodes[i], 1 - j) for i, j in group}
                yield Slip("broadcast", text, change | Change(edges=turned), 1, factors, stretched=True)


def _over_own_axis(node: Node, place: int) -> Rule:
    """The gradient of one side of a table, added up along that side."""
    value = node.values()[place]
    axis = 0 if value.ndim == 2 else 1

    def rule(dy: Array) -> Array:
        raw = np.asarray(node.vjp(dy, node.value, *node.values())[place])
        if raw.ndim != 2:
            raise ValueError("no table here")
        return raw.sum(axis=axis).reshape(value.shape)

    return rule


def _one_and_all(places: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    every = list(places)
    return [[one] for one in every] + ([every] if len(every) > 1 else [])


# ---- epsilons ---------------------------------------------------------------------------------


def epsilons(case: Case) -> Iterator[Slip]:
    """A constant that keeps log, sqrt and division from 0, in one of the two passes only."""
    found: dict[tuple[int, int], str] = {}
    for node in case.nodes:
        if node.op not in ("add", "subtract"):
            continue
        for place, arg in enumerate(node.args):
            other = node.args[1 - place]
            tiny = not isinstance(arg, Node) and 0 < float(np.abs(arg).max(initial=0.0)) <= LARGEST_EPSILON
            if tiny and isinstance(other, Node):
                found[node.index, place] = f"{float(np.abs(arg).max()):g}{place_of(node)}"
    for group in _one_and_all(found):
        change = case.tape.replay({}, constants={one: np.zeros(()) for one in group})
        text = (
            f"the forward adds {' and '.join(dict.fromkeys(found[one] for one in group))}, the backward not"
        )
        yield Slip("epsilon-in-one-pass", text, change, 1)
    inside = {i for block in case.blocks if block.rank == 0 for i in block.inside}
    nodes = [node for node in case.nodes if node.index not in inside]
    for epsilon in EPSILONS:
        places: list[Place] = []
        for node in nodes:
            edges = dict(_with_epsilon(node, epsilon))
            if edges:
                places.append((f"the {node.op}{place_of(node)}", 0, Change(edges=edges)))
        text = f"at {{}}, the backward adds {epsilon:g}, the forward not"
        yield from in_places("epsilon-in-one-pass", places, text.format, 1)


def _with_epsilon(node: Node, epsilon: float) -> Iterator[tuple[tuple[int, int], Rule]]:
    """The rules of log a and a / b with a + epsilon and b + epsilon."""
    values = node.values()
    if node.op == "log":
        (a,) = values
        yield (node.index, 0), lambda dy: dy / (a + epsilon)
    if node.op == "divide" and isinstance(node.args[1], Node):
        a, b = values
        if isinstance(node.args[0], Node):
            yield (node.index, 0), lambda dy: unbroadcast(dy / (b + epsilon), np.shape(a))
        yield (node.index, 1), lambda dy: unbroadcast(-dy * a / (b + epsilon) ** 2, np.shape(b))
