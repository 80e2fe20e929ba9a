"""What a program's forward and backward do to its arrays."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Array
from .adopt import Adopted
from .subject import held_random
from .world import Address, Place

__all__ = ["Seen", "differs", "forward", "observe"]


@dataclass
class Seen:
    """One forward and backward.

    Attributes:
        before, after: {address: array} before the backward and after it, an array under all its addresses.
        groups: the addresses of each array after the backward. returned: by backward.
        kept: arrays that the forward left in their places.
    """

    before: dict[Address, Array]
    after: dict[Address, Array]
    groups: list[list[Address]]
    returned: Any
    kept: set[Address]

    def changed(self, address: Address) -> bool:
        """The backward changed it, or made it."""
        return differs(self.before, self.after, address)


def observe(bare: Adopted, dy: Array) -> Seen:
    """One forward and backward on a copy."""
    with held_random():
        model = copy.deepcopy(bare)
        things = {address: place.thing for place in model.world.places() for address in place.addresses}
        model.forward(*(value.array.copy() for value in model.inputs))
        places = model.world.places()
        kept = {address for p in places for address in p.addresses if things.get(address) is p.thing}
        before = _snapshot(places)
        model.backward(dy.copy())
        places = model.world.places()
        return Seen(before, _snapshot(places), [p.addresses for p in places], model.returned, kept)


def forward(model: Adopted) -> Array:
    """The output of a copy."""
    with held_random():
        return np.asarray(copy.deepcopy(model).forward(*(value.array.copy() for value in model.inputs)))


def _snapshot(places: Sequence[Place]) -> dict[Address, Array]:
    found: dict[Address, Array] = {}
    for place in places:
        found.update(dict.fromkeys(place.addresses, np.array(place.thing)))
    return found


def differs(before: dict[Address, Array], after: dict[Address, Array], address: Address) -> bool:
    """There is something new at the address."""
    if address not in before or address not in after:
        return address in after
    return not np.array_equal(before[address], after[address], equal_nan=True)
