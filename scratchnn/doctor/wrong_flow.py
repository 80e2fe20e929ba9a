"""Mistakes in what flows back: contributions lost, gradients ignored, values changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ..checks import Array
from .blocks import KNOWN, find_blocks
from .case import Candidate, Case, Place, in_places, product_label
from .tape import Node
from .wrong_rules import to

__all__ = ["broadcast", "not_accumulated", "overwritten", "updated_early", "upstream"]


def not_accumulated(case: Case) -> Iterator[Candidate]:
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
        name = node.name or f"a value{f' in {node.scope}' if node.scope else ''} ({node.op})"
        for kept in uses:
            dropped = {(node.index, u.index) for u in uses if u is not kept}
            yield Candidate(
                "not-accumulated",
                f"{name} is used {len(uses)} times and only one use counts; add up the gradients",
                case.gradients(dropped=dropped),
                3 if node.op != "leaf" else 1,
            )
        if len(uses) > 2:
            for lost in uses:
                yield Candidate(
                    "not-accumulated",
                    f"{name} is used {len(uses)} times and one use is left out; add up the gradients",
                    case.gradients(dropped={(node.index, lost.index)}),
                    3,
                )
    text = "tensors that are used several times keep one use's gradient; the gradients must be added up"
    for several in (kept_last, kept_first):
        if several:
            yield Candidate("not-accumulated", text, case.gradients(dropped=several), 2)


def _reaching(case: Case) -> set[int]:
    """Numbers of the nodes that the output depends on."""
    found = {case.output.index}
    for node in reversed(case.tape.nodes[: case.output.index + 1]):
        if node.index in found:
            found.update(parent.index for parent in node.parents)
    return found


def upstream(case: Case) -> Iterator[Candidate]:
    ones = np.ones_like(case.cotangent)
    text = "the backward starts from ones instead of the dy it was given"
    yield Candidate("upstream-ignored", text, case.gradients(cotangent=ones), 0)
    places: list[Place] = []
    for node in case.tape.nodes[: case.output.index + 1]:
        if node.op == "matmul" and node.value.ndim:

            def override(dy: Array, node: Node = node) -> list[tuple[Node, Array]]:
                return case.tape.local(node, np.ones_like(dy))

            places.append((product_label(node), 0, node, override))
    yield from in_places(case, "upstream-ignored", places, "at {}, ones went down instead of dy".format, 1)


# ---- values that changed ----------------------------------------------------------------------

VIEWS = ("transpose", "reshape", "copy", "getitem", "swapaxes")


def updated_early(case: Case) -> Iterator[Candidate]:
    if not case.parameters_after:
        return
    views = {node.index for node in case.tape.nodes if node.op in VIEWS}
    environment = case.tape.replay(case.parameters_after, views)
    names = ", ".join(case.tape.nodes[i].name for i in case.parameters_after)
    text = f"the backward changes {names}, and then passes dy down through the new values"
    yield Candidate("weights-updated-early", text, case.gradients(environment=environment), 0)


def overwritten(case: Case) -> Iterator[Candidate]:
    events = case.tape.overwritten
    groups = [[event] for event in events] + ([events] if len(events) > 1 else [])
    for group in groups:
        environment: dict[int, Array] = {}
        for old, new in group:
            if old.value.shape == new.value.shape:
                environment[old.index] = new.value
        where = group[0][0].scope
        text = (
            f"the forward writes into an array{f' in {where}' if where else ''} that the backward still needs"
        )
        try:
            yield Candidate("modified-in-place", text, case.gradients(environment=environment), 0)
        except ValueError:
            continue
        for block in find_blocks(case.tape, case.output):
            known = KNOWN.get(block.kind)
            if block.y.index in environment and known is not None and known.by_output is not None:
                slope = known.by_output(environment[block.y.index])
                rule = {block.y.index: to(block.x, partial(np.multiply, slope))}
                yield Candidate("modified-in-place", text, case.gradients(overrides=rule), 1)


def broadcast(case: Case) -> Iterator[Candidate]:
    """Columns against rows: where (N, 1) meets (N,), or where it would have."""
    for node in case.tape.nodes[: case.output.index + 1]:
        if node.op not in ("add", "subtract", "multiply", "divide") or len(node.args) != 2:
            continue
        values = [a.value if isinstance(a, Node) else a for a in node.args]
        shapes = [np.shape(v) for v in values]
        n = max(max(s, default=1) for s in shapes)
        if n < 2:
            continue
        column, row = (n, 1), (n,)
        for i, j in ((0, 1), (1, 0)):
            # Two recorded values are a residual or a pairwise table, both meant.
            if isinstance(node.args[j], Node) or not isinstance(node.args[i], Node):
                continue
            if {shapes[i], shapes[j]} == {column, row}:
                meant = "the forward makes an (N, N) table of them; the backward is that of N differences"
                yield from _rebroadcast(case, node, j, values[j].reshape(shapes[i]), meant)
            elif shapes[i] == shapes[j] and shapes[i] in (column, row):
                other = row if shapes[i] == column else column
                made = "the backward makes an (N, N) table of differences that the forward does not"
                yield from _rebroadcast(case, node, j, values[j].reshape(other), made)


def _rebroadcast(case: Case, node: Node, j: int, constant: Array, text: str) -> Iterator[Candidate]:
    n = constant.size
    held = node.args[j]
    node.args[j] = constant
    try:
        environment = case.tape.replay({node.index: np.asarray(node.fn(*node.values({})))})
        gradients = case.gradients(environment=environment)
        yield Candidate("broadcast", text, gradients, 0, (1.0, float(n), 1.0 / n))
    except ValueError:
        return
    finally:
        node.args[j] = held
