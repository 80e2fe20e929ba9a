"""What a mistake is tried on, and what it would give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Array
from .tape import Node, Override, Tape

__all__ = ["Candidate", "Case", "Place", "in_places", "product_label"]

# A label, a rank, the node, and the wrong rule.
Place = tuple[str, int, Node, Override]


@dataclass
class Candidate:
    """A mistake in a place.

    Attributes:
        key: in CATALOGUE. text: what was done where, a sentence's second half.
        gradients: what each tensor's gradient would be. rank: small is more likely.
        factors: the mistake may come with one of these factors besides.
    """

    key: str
    text: str
    gradients: list[Array]
    rank: int = 0
    factors: tuple[float, ...] = (1.0,)


@dataclass
class Case:
    """What the candidates are made from.

    Attributes:
        tape, output, cotangent: the recorded forward and its upstream gradient.
        parameters_after: {leaf number: value} of tensors that the backward changed.
    """

    tape: Tape
    output: Node
    cotangent: Array
    parameters_after: Mapping[int, Array]

    def gradients(self, **changes: Any) -> list[Array]:
        """The gradient for every tensor, with some rules changed (see Tape.backward)."""
        cotangent = changes.pop("cotangent", self.cotangent)
        found = self.tape.backward(self.output, cotangent, **changes)
        return [found.get(leaf.index, np.zeros(leaf.value.shape)) for leaf in self.tape.leaves]


def in_places(
    case: Case, key: str, places: Sequence[Place], text: Callable[[str], str], rank: int = 0
) -> Iterator[Candidate]:
    """The same wrong rule in each place alone, and, where there are several, in all of them."""
    groups = [[place] for place in places]
    if len(places) > 1:
        groups += [list(places), list(places[:-1]), list(places[1:])]
    for group in groups:
        overrides = {node.index: override for _, _, node, override in group}
        try:
            gradients = case.gradients(overrides=overrides)
        except ValueError:
            continue
        labels = list(dict.fromkeys(label for label, _, _, _ in group))
        where = (
            " and ".join(labels) if len(labels) < 3 else f"{', '.join(labels[:2])} and {len(labels) - 2} more"
        )
        yield Candidate(key, text(where), gradients, rank + max(place[1] for place in group))


def product_label(node: Node) -> str:
    names = []
    for arg in node.args:
        while isinstance(arg, Node) and arg.op in ("transpose", "copy", "reshape"):
            arg = arg.args[0]
        names.append(arg.name if isinstance(arg, Node) and arg.name else "")
    named = next((name for name in names[::-1] if name), "")
    where = f" in {node.scope}" if node.scope else ""
    return f"the product with {named}{where}" if named else f"a product{where}"
