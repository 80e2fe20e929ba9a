"""What a mistake is tried on, and how one is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..checks import Array
from .blocks import Block, find_blocks
from .tape import NOTHING, Change, Node, Tape

__all__ = ["Case", "Place", "Slip", "in_places", "named", "place_of", "product_label"]

# A label, a rank, and what is done otherwise there.
Place = tuple[str, int, Change]
VIEWS = ("transpose", "copy", "reshape", "getitem", "swapaxes")


@dataclass(frozen=True)
class Slip:
    """A mistake in a place.

    Attributes:
        key: in CATALOGUE. text: what was done where, a sentence's second half.
        change: of the backward. rank: small is more likely.
        factors: the mistake may come with one of these factors besides.
        stretched: a gradient may come with an axis too long, along which it was not summed.
    """

    key: str
    text: str
    change: Change
    rank: int = 0
    factors: tuple[float, ...] = (1.0,)
    stretched: bool = False


@dataclass
class Case:
    """What the slips are made from.

    Attributes:
        tape, output, cotangent: the recorded forward and its upstream gradient.
        parameters_after: {leaf number: value} of tensors that the backward changed.
        inputs: numbers of the leaves that are data, where that is known.
    """

    tape: Tape
    output: Node
    cotangent: Array
    parameters_after: Mapping[int, Array]
    inputs: frozenset[int] = frozenset()

    @cached_property
    def blocks(self) -> list[Block]:
        """Activations and other functions on the way to the output."""
        return find_blocks(self.tape, self.output)

    @cached_property
    def nodes(self) -> list[Node]:
        """The operations up to the output, without the leaves."""
        return [node for node in self.tape.nodes[: self.output.index + 1] if node.op != "leaf"]

    def gradients(self, change: Change = NOTHING) -> list[Array]:
        """The gradient for every tensor, with some rules changed.

        Raises ValueError where the changed rules give shapes that do not fit together.
        """
        found = self.tape.backward(self.output, self.cotangent, change)
        return [found.get(leaf.index, np.zeros(leaf.value.shape)) for leaf in self.tape.leaves]

    def gradient(self, leaf: Node, change: Change = NOTHING) -> Array:
        """The gradient for one tensor: less work where it is used late."""
        uses = self.tape.consumers()[leaf.index]
        first = min((node.index for node in uses), default=0)
        found = self.tape.backward(self.output, self.cotangent, change, first)
        return found.get(leaf.index, np.zeros(leaf.value.shape))


def in_places(key: str, places: Sequence[Place], text: Callable[[str], str], rank: int = 0) -> Iterator[Slip]:
    """The same wrong rule in each place alone, and, where there are several, in all of them."""
    groups = [[place] for place in places]
    if len(places) > 1:
        groups.append(list(places))
    if len(places) > 2:
        groups += [list(places[:-1]), list(places[1:])]
    for group in groups:
        change = NOTHING
        try:
            for _, _, one in group:
                change = change | one
        except ValueError:  # two ways to write one mistake, not two places
            continue
        labels = list(dict.fromkeys(label for label, _, _ in group))
        where = (
            " and ".join(labels) if len(labels) < 3 else f"{', '.join(labels[:2])} and {len(labels) - 2} more"
        )
        yield Slip(key, text(where), change, rank + max(place[1] for place in group))


def named(arg: object) -> Node | None:
    """The tensor that an argument is a view of, with its name; None for anything computed."""
    while isinstance(arg, Node) and arg.op in VIEWS:
        arg = arg.args[0]
    return arg if isinstance(arg, Node) and arg.op == "leaf" else None


def place_of(node: Node) -> str:
    """ " in 1 (Linear)", or nothing."""
    return f" in {node.scope}" if node.scope else ""


def product_label(node: Node) -> str:
    names = [leaf.name for arg in node.args if (leaf := named(arg)) is not None and leaf.name]
    where = place_of(node)
    return f"the product with {names[-1]}{where}" if names else f"a product{where}"
