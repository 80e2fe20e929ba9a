"""Mistakes in an activation's rule: a derivative of the wrong thing, in the wrong place, or of none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..checks import Array
from .blocks import KNOWN, Block
from .case import Case, Place, Slip, in_places
from .tape import LOSS, Change, Rule
from .wrong_softmax import FUSED, softmaxes

__all__ = ["activations", "jump"]

LINEAR = 4
Maker: TypeAlias = "Callable[[Block], Rule | None]"  # a block -> its wrong dy -> dx, if it has one


def jump(block: Block, rule: Rule) -> Change:
    """A rule for the whole of a block, from its dy to its dx."""
    return Change(jumps={block.y.index: (block.x, rule)})


def places(blocks: Sequence[Block], make: Maker) -> list[Place]:
    """A maker's rule in each block that has one."""
    made = [(block, make(block)) for block in blocks]
    return [(b.label, _rank(b), jump(b, rule)) for b, rule in made if rule is not None]


def _rank(block: Block) -> int:
    """Nobody forgets the derivative of x / 2: such a factor has other names."""
    return 2 * block.rank + (LINEAR if block.rank and block.is_linear else 0)


def activations(case: Case) -> Iterator[Slip]:
    """Every wrong rule of every activation: in each, in all of its kind, and in all of any kind."""
    for rank in (0, 1, 2, 3):
        chosen = [b for b in case.blocks if b.rank == rank and b.kind != "negative"]  # see `signs`
        kinds = sorted({block.kind for block in chosen})
        groups = [[b for b in chosen if b.kind == kind] for kind in kinds]
        if rank == 0:
            groups = [_outermost(group) for group in groups]
            yield from softmaxes([b for group in groups for b in group if b.kind in FUSED])
            if len(kinds) > 1:
                groups.append([b for group in groups for b in group if b.kind not in FUSED])
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


# ---- the wrong rules --------------------------------------------------------------------------


def _times(slope: Array) -> Rule:
    return lambda dy: dy * slope


def at_output(b: Block) -> Rule | None:
    return None if b.kind in FUSED else _times(b.slope(at=b.y.value))


def at_input(b: Block) -> Rule | None:
    by_output = _by_output(b)
    return None if by_output is None else _times(by_output(b.x.value))


def of_another(other: str) -> Maker:
    """The slope of another activation, written in y as people write it."""

    def make(b: Block) -> Rule | None:
        written = KNOWN[other].by_output
        if b.kind not in KNOWN or b.kind == other or written is None:
            return None
        return _times(written(b.y.value))

    return make


RIGHT = {"tanh": "1 - y^2", "sigmoid": "y (1 - y)"}
MISSPELT: dict[str, dict[str, Callable[[Array], Array]]] = {
    "tanh": {"1 - y": lambda y: 1 - y, "1 + y^2": lambda y: 1 + y * y, "y^2": lambda y: y * y},
    "sigmoid": {"1 - y": lambda y: 1 - y, "y": lambda y: y, "y (1 + y)": lambda y: y * (1 + y)},
}


def misspelt(kind: str, slope: Callable[[Array], Array]) -> Maker:
    return lambda b: _times(slope(b.y.value)) if b.kind == kind else None


def at_gradient(b: Block) -> Rule | None:
    """A helper that returns the slope in terms of y, given dy."""
    by_output = _by_output(b)
    return None if by_output is None else lambda dy: dy * by_output(dy)


def at_gradient_alone(b: Block) -> Rule | None:
    by_output = _by_output(b)
    return None if by_output is None else lambda dy: by_output(dy)


def slope_at_gradient(b: Block) -> Rule | None:
    """A helper that returns f', given dy."""
    return None if b.kind in (*FUSED, "relu", "leaky relu") else lambda dy: dy * b.slope(at=dy)


def slope_at_gradient_alone(b: Block) -> Rule | None:
    return None if b.kind in (*FUSED, "relu", "leaky relu") else lambda dy: b.slope(at=dy)


def mask_from_gradient(b: Block) -> Rule | None:
    if b.kind == "relu":
        return lambda dy: np.where(dy > 0, dy, 0)
    if b.kind == "leaky relu":
        low = float(b.slope().min())
        return lambda dy: np.where(dy > 0, dy, low * dy)
    return None


def mask_from_both(b: Block) -> Rule | None:
    return (lambda dy: np.where(dy > 0, b.vjp(dy), 0)) if b.kind in ("relu", "leaky relu") else None


def twice(b: Block) -> Rule:
    return lambda dy: b.vjp(b.vjp(dy))


def _by_output(b: Block) -> Callable[[Array], Array] | None:
    known = KNOWN.get(b.kind)
    return None if known is None else known.by_output


AT_GRADIENT = "for {}, the slope was taken at the upstream gradient dy instead of at x or y"
ALONE = AT_GRADIENT + ", and not multiplied by it"
TABLE: list[tuple[str, Maker, str]] = [
    ("derivative-at-output", at_output, "for {}, f' was evaluated at y instead of x"),
    ("derivative-at-input", at_input, "for {}, a derivative written in terms of y was evaluated at x"),
    ("derivative-at-gradient", at_gradient, AT_GRADIENT),
    ("derivative-at-gradient", at_gradient_alone, ALONE),
    ("derivative-at-gradient", slope_at_gradient, AT_GRADIENT),
    ("derivative-at-gradient", slope_at_gradient_alone, ALONE),
    ("derivative-forgotten", lambda b: lambda dy: dy, "at {}, dx is dy as it came"),
    ("relu-mask-from-gradient", mask_from_gradient, "at {}, dy passes where dy > 0 instead of where x > 0"),
    ("relu-mask-from-gradient", mask_from_both, "at {}, dy passes only where dy > 0 as well as x > 0"),
    (
        "upstream-ignored",
        lambda b: lambda dy: b.vjp(np.ones_like(dy)),
        "at {}, dx is the derivative alone, without dy",
    ),
]


def _wrong_rules(case: Case, blocks: list[Block]) -> Iterator[Slip]:
    for key, make, text in TABLE:
        yield from in_places(key, places(blocks, make), text.format)
    for other, known in KNOWN.items():
        if known.by_output is not None:
            text = f"for {{}}, the derivative of {other} was used"
            yield from in_places("derivative-of-another", places(blocks, of_another(other)), text.format, 1)
    for kind, slopes in MISSPELT.items():
        for written, slope in slopes.items():
            text = f"for {{}}, the derivative is written {written} instead of {RIGHT[kind]}"
            yield from in_places("derivative-misspelt", places(blocks, misspelt(kind, slope)), text.format, 1)
    for b in blocks:
        if b.kind in (*FUSED, "sigmoid") and _only_for_the_loss(case, b):
            text = f"p - t is already dL/dx of {b.label}; it was handed to its backward as if it were dL/dp"
            yield Slip("softmax-twice", text, Change(amends={b.y.index: b.vjp}), _rank(b))
        else:
            text = f"at {b.label}, dy was multiplied by the derivative two times"
            yield Slip("derivative-twice", text, jump(b, twice(b)), _rank(b))
    if len(blocks) > 1:
        text = "at {}, dy was multiplied by the derivative two times"
        yield from in_places("derivative-twice", places(blocks, twice), text.format, 1)


def _only_for_the_loss(case: Case, block: Block) -> bool:
    """The block makes the prediction: nothing but the loss uses it."""
    users: list[Any] = [user.scope for user in case.tape.consumers()[block.y.index]]
    return block.y.scope != LOSS and bool(users) and all(scope == LOSS for scope in users)
