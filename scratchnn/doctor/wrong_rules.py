"""Mistakes in one rule: an activation's derivative, a bias's sum, a transpose, a sign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..checks import Array
from .blocks import KNOWN, Block, find_blocks
from .case import Candidate, Case, in_places, product_label
from .tape import LOSS, Node, Override

# dy and the bias's shape -> what is taken for the bias's gradient
Form = Callable[[Array, tuple[int, ...]], Any]

__all__ = ["activations", "biases", "signs", "to", "transposes"]


def activations(case: Case) -> Iterator[Candidate]:
    blocks = find_blocks(case.tape, case.output)
    kinds = {block.kind for block in blocks if block.rank == 0}
    for rank in (0, 1, 2, 3):
        chosen = [block for block in blocks if block.rank == rank]
        by_kind = [[b for b in chosen if b.kind == kind] for kind in sorted({b.kind for b in chosen})]
        groups = by_kind if rank else [_outermost(group) for group in by_kind]
        if not rank and len(kinds) > 1:
            groups.append([b for group in groups for b in group if b.kind not in ("softmax", "log_softmax")])
        for group in groups:
            if group:
                yield from _wrong_rules(case, group)


def _outermost(blocks: list[Block]) -> list[Block]:
    """One block for each y: from the farthest x, which is the activation's own input."""
    found: dict[int, Block] = {}
    for block in sorted(blocks, key=lambda b: (b.axis or 0) == 0):
        held = found.get(block.y.index)
        if held is None or block.x.index < held.x.index:
            found[block.y.index] = block
    return list(found.values())


def _wrong_rules(case: Case, blocks: list[Block]) -> Iterator[Candidate]:
    def places(make: Callable[[Block], Callable[[Array], Array] | None]) -> list[Any]:
        found = []
        for block in blocks:
            rule = make(block)
            if rule is not None:
                found.append((block.label, 2 * block.rank, block.y, to(block.x, rule)))
        return found

    def at_output(b: Block) -> Callable[[Array], Array] | None:
        if b.kind in ("softmax", "log_softmax"):
            return None
        slope = b.slope(at=b.y.value)
        return lambda dy: dy * slope

    def at_input(b: Block) -> Callable[[Array], Array] | None:
        known = KNOWN.get(b.kind)
        if known is None or known.by_output is None:
            return None
        slope = known.by_output(b.x.value)
        return lambda dy: dy * slope

    def off_diagonal(b: Block) -> Callable[[Array], Array] | None:
        y = b.y.value
        return (lambda dy: dy * y * (1 - y)) if b.kind == "softmax" else None

    def from_gradient(b: Block) -> Callable[[Array], Array] | None:
        if b.kind == "relu":
            return lambda dy: np.where(dy > 0, dy, 0)
        if b.kind == "leaky relu":
            low = float(b.slope().min())
            return lambda dy: np.where(dy > 0, dy, low * dy)
        return None

    def through_both(b: Block) -> Callable[[Array], Array] | None:
        return (lambda dy: np.where(dy > 0, b.vjp(dy), 0)) if b.kind in ("relu", "leaky relu") else None

    table: list[tuple[str, Callable[[Block], Callable[[Array], Array] | None], str]] = [
        ("softmax-off-diagonal", off_diagonal, "in {}, y_i was taken to depend on x_i alone"),
        ("derivative-at-output", at_output, "for {}, f' was evaluated at y instead of x"),
        ("derivative-at-input", at_input, "for {}, a derivative written in terms of y was evaluated at x"),
        ("derivative-forgotten", lambda b: lambda dy: dy, "at {}, dx is dy as it came"),
        ("relu-mask-from-gradient", from_gradient, "at {}, dy passes where dy > 0 instead of where x > 0"),
        ("relu-mask-from-gradient", through_both, "at {}, dy passes only where dy > 0 as well as x > 0"),
        (
            "upstream-ignored",
            lambda b: lambda dy: b.vjp(np.ones_like(dy)),
            "at {}, dx is the derivative alone, without dy",
        ),
    ]
    for key, make, text in table:
        yield from in_places(case, key, places(make), text.format)
    for b in blocks:
        fused = b.kind in ("softmax", "log_softmax", "sigmoid") and _only_for_the_loss(case, b)
        key = "softmax-twice" if fused else "derivative-twice"
        text = (
            "p - t is already dL/dx of {0}; it was handed to its backward as if it were dL/dp"
            if fused
            else "at {}, dy was multiplied by the derivative two times"
        )
        yield from in_places(case, key, [(b.label, 2 * b.rank, b.y, to(b.x, _twice(b)))], text.format)
    if len(blocks) > 1:
        all_twice = places(_twice)
        yield from in_places(
            case,
            "derivative-twice",
            all_twice,
            "at {}, dy was multiplied by the derivative two times".format,
            1,
        )


def _twice(block: Block) -> Callable[[Array], Array]:
    return lambda dy: block.vjp(block.vjp(dy))


def _only_for_the_loss(case: Case, block: Block) -> bool:
    """The block makes the prediction: nothing but the loss uses it."""
    users = [user.scope for user in case.tape.consumers()[block.y.index]]
    return block.y.scope != LOSS and bool(users) and all(scope == LOSS for scope in users)


def to(x: Node, rule: Callable[[Array], Array]) -> Override:
    return lambda dy: [(x, np.asarray(rule(dy)))]


def biases(case: Case) -> Iterator[Candidate]:
    """An operand of a sum that was repeated along axes: its gradient is a sum over those axes."""
    wrong_axis = "{}: dy was summed over its last axis; a bias belongs to a column, so take axis 0"
    everything = "{}: all of dy was summed to one number; sum over axis 0 only"
    sums: list[tuple[str, str, Form]] = [
        ("bias-wrong-axis", wrong_axis, lambda dy, shape: dy.sum(axis=-1)),
        ("bias-wrong-axis", wrong_axis, lambda dy, shape: dy.sum(axis=-1, keepdims=True)),
        ("bias-over-everything", everything, lambda dy, shape: np.broadcast_to(dy.sum(), shape)),
        ("bias-over-everything", everything, lambda dy, shape: dy.sum()),
        ("bias-not-summed", "{}: dy itself was returned; add it up over axis 0", lambda dy, shape: dy),
    ]
    adds: list[tuple[Node, Node]] = [
        (node, parent)
        for node in case.tape.nodes[: case.output.index + 1]
        if node.op in ("add", "subtract")
        for parent in node.parents
        if parent.value.size < node.value.size and node.value.ndim >= 2
    ]

    def rule(node: Node, bias: Node, form: Form, shape: Any) -> Override:
        sign = -1.0 if node.op == "subtract" else 1.0

        def override(dy: Array) -> list[tuple[Node, Array]]:
            parts = [(p, g) for p, g in case.tape.local(node, dy) if p is not bias]
            return [*parts, (bias, np.asarray(form(sign * dy, shape)))]

        return override

    for key, text, form in sums:
        places = [(_gradient_name(b), 0, n, rule(n, b, form, b.value.shape)) for n, b in adds]
        yield from in_places(case, key, places, text.format)
    first = [
        (_gradient_name(b), 0, n, rule(n, b, lambda dy, shape: dy[0].reshape(shape), b.value.shape))
        for n, b in adds
        if b.value.size == n.value[0].size
    ]
    yield from in_places(
        case, "bias-not-summed", first, "{}: only the first example counts; sum over axis 0".format
    )


def _gradient_name(bias: Node) -> str:
    return f"d{bias.name}" if bias.name.isidentifier() else f"d({bias.name or 'bias'})"


def transposes(case: Case) -> Iterator[Candidate]:
    """da = dy b^T for y = a b: forget the transpose."""
    places = []
    for node in case.tape.nodes[: case.output.index + 1]:
        if node.op != "matmul" or not isinstance(node.args[0], Node) or node.value.ndim < 2:
            continue
        b = node.args[1].value if isinstance(node.args[1], Node) else node.args[1]
        if b.ndim == 2 and b.shape[0] == b.shape[1]:
            places.append((product_label(node), 0, node, _without_transpose(case, node, b)))
    yield from in_places(
        case, "transpose", places, "in {} dx is dy times the wrong side of the weight".format
    )


def _without_transpose(case: Case, node: Node, b: Array) -> Override:
    def override(dy: Array) -> list[tuple[Node, Array]]:
        parts = case.tape.local(node, dy)
        return [(node.args[0], dy @ b), *[(p, g) for p, g in parts if p is not node.args[0]]]

    return override


def signs(case: Case) -> Iterator[Candidate]:
    """Subtraction is where signs get lost: the gradient of b in a - b."""
    places = []
    for node in case.tape.nodes[: case.output.index + 1]:
        if node.op in ("subtract", "negative"):

            def override(dy: Array, node: Node = node) -> list[tuple[Node, Array]]:
                return [
                    (p, -g if node.op == "negative" or p is node.args[1] else g)
                    for p, g in case.tape.local(node, dy)
                ]

            place = f"the minus in {node.scope}" if node.scope else "a minus in the forward"
            places.append((place, 4, node, override))
    yield from in_places(case, "sign-flipped", places, "{} is not in the backward".format)
