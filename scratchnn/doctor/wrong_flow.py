"""Mistakes in what flows back: contributions lost, the upstream gradient ignored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ..checks import Array
from .case import Case, Place, Slip, in_places, named, place_of, product_label
from .tape import Change, Node, Rule

__all__ = ["not_accumulated", "passed_down", "upstream"]


def not_accumulated(case: Case) -> Iterator[Slip]:
    consumers = case.tape.consumers()
    reaching = _reaching(case)
    kept_last: set[tuple[int, int]] = set()
    kept_first: set[tuple[int, int]] = set()
    for node in case.tape.nodes:
        uses = [u for u in dict.fromkeys(consumers[node.index]) if u.index in reaching]
        if len(uses) < 2:
            continue
        if node.op == "leaf":
            kept_last |= {(node.index, u.index) for u in uses[:-1]}
            kept_first |= {(node.index, u.index) for u in uses[1:]}
        name = node.name or f"a value{place_of(node)} ({node.op})"
        for kept in uses:
            dropped = frozenset((node.index, u.index) for u in uses if u is not kept)
            text = f"{name} is used {len(uses)} times and only one use counts; add up the gradients"
            rank = 3 if node.op != "leaf" else 1
            yield Slip("not-accumulated", text, Change(dropped=dropped), rank)
        if len(uses) > 2:
            for lost in uses:
                text = f"{name} is used {len(uses)} times and one use is left out; add up the gradients"
                yield Slip("not-accumulated", text, Change(dropped=frozenset({(node.index, lost.index)})), 3)
    text = "tensors that are used several times keep one use's gradient; the gradients must be added up"
    for several in (kept_last, kept_first):
        if several:
            yield Slip("not-accumulated", text, Change(dropped=frozenset(several)), 2)


def _reaching(case: Case) -> set[int]:
    """Numbers of the nodes that the output depends on."""
    found = {case.output.index}
    for node in reversed(case.tape.nodes[: case.output.index + 1]):
        if node.index in found:
            found.update(parent.index for parent in node.parents)
    return found


def upstream(case: Case) -> Iterator[Slip]:
    text = "the backward starts from ones instead of the dy it was given"
    yield Slip("upstream-ignored", text, Change(cotangent=np.ones_like(case.cotangent)), 0)
    places: list[Place] = []
    for node in case.nodes:
        if node.op == "matmul" and node.value.ndim:
            edges: dict[tuple[int, int], Rule] = {
                (node.index, place): _of_ones(case, node, arg)
                for place, arg in enumerate(node.args)
                if isinstance(arg, Node)
            }
            places.append((product_label(node), 0, Change(edges=edges)))
    yield from in_places("upstream-ignored", places, "at {}, ones went down instead of dy".format, 1)


def passed_down(case: Case) -> Iterator[Slip]:
    """The error goes down through the weight as it was before the activation's derivative."""
    places: list[Place] = []
    for block in case.blocks:
        product = _product_before(block.x)
        if block.rank or product is None:
            continue
        for arg in dict.fromkeys(product.parents):
            if named(arg) is not None and arg.index not in case.inputs:
                continue  # a weight
            change = Change(
                adds={block.y.index: (arg, partial(_through, case, product, arg))},
                dropped=frozenset({(arg.index, product.index)}),
            )
            places.append((f"{product_label(product)}", 1, change))
    text = "{} passes down the error before the activation's derivative; only dW has the derivative in it"
    yield from in_places("derivative-forgotten", places, text.format)


def _product_before(x: Node) -> Node | None:
    """The matrix product that x is, but for a bias."""
    while x.op in ("add", "subtract"):
        wide = [p for p in x.parents if p.value.shape == x.value.shape]
        if len(wide) != 1:
            return None
        x = wide[0]
    return x if x.op == "matmul" else None


def _through(case: Case, product: Node, arg: Node, dy: Array) -> Array:
    return next(g for parent, g in case.tape.local(product, dy) if parent is arg)


def _of_ones(case: Case, node: Node, arg: Node) -> Rule:
    def rule(dy: Array) -> Array:
        return next(g for parent, g in case.tape.local(node, np.ones_like(dy)) if parent is arg)

    return rule
