"""What a program's forward and backward do to its arrays."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Array
from .adopt import Adopted
from .subject import held_random
from .world import Address, World

__all__ = ["Seen", "differs", "forward", "observe"]


@dataclass
class Seen:
    """One forward and backward.

    Attributes:
        before, after: {address: array} before the backward and after it. returned: by backward.
        kept: arrays that the forward left in their places.
    """

    before: dict[Address, Array]
    after: dict[Address, Array]
    returned: Any
    kept: set[Address]

    def changed(self, address: Address) -> bool:
        """The backward changed it, or made it."""
        return differs(self.before, self.after, address)


def observe(bare: Adopted, dy: Array) -> Seen:
    """One forward and backward on a copy."""
    with held_random():
        model = copy.deepcopy(bare)
        things = {place.address: place.thing for place in model.world.places()}
        model.forward(*(value.array.copy() for value in model.inputs))
        kept = {p.address for p in model.world.places() if things.get(p.address) is p.thing}
        before = _snapshot(model.world)
        model.backward(dy.copy())
        return Seen(before, _snapshot(model.world), model.returned, kept)


def forward(model: Adopted) -> Array:
    """The output of a copy."""
    with held_random():
        return np.asarray(copy.deepcopy(model).forward(*(value.array.copy() for value in model.inputs)))


def _snapshot(world: World) -> dict[Address, Array]:
    return {place.address: np.array(place.thing) for place in world.places()}


def differs(before: dict[Address, Array], after: dict[Address, Array], address: Address) -> bool:
    """There is something new at the address."""
    if address not in before or address not in after:
        return address in after
    return not np.array_equal(before[address], after[address], equal_nan=True)
