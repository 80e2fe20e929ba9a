"""Arrays that share memory: which they are, the like of them elsewhere, which entries they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..checks import Array

__all__ = ["families", "positions", "relatives"]


def families(arrays: Sequence[Array]) -> list[list[Array]]:
    """Groups of arrays that overlap in memory, where their entries lie on one grid."""
    spans = sorted(((*np.lib.array_utils.byte_bounds(a), i) for i, a in enumerate(arrays) if a.size))
    groups: list[list[int]] = []
    end = -1
    for low, high, i in spans:
        if low < end:
            groups[-1].append(i)
        else:
            groups.append([i])
        end = max(end, high)
    found = [[arrays[i] for i in group] for group in groups if len(group) > 1]
    return [family for family in found if _on_one_grid(family)]


def _on_one_grid(family: Sequence[Array]) -> bool:
    low = min(np.lib.array_utils.byte_bounds(a)[0] for a in family)
    size = family[0].itemsize
    return len({a.dtype for a in family}) == 1 and all(
        (np.lib.array_utils.byte_bounds(a)[0] - low) % size == 0 and all(s % size == 0 for s in a.strides)
        for a in family
    )


def relatives(family: Sequence[Array], dtype: np.dtype[Any]) -> Iterator[tuple[int, Array]]:
    """(id, twin) of each: new arrays that share memory as the old ones do."""
    bounds = [np.lib.array_utils.byte_bounds(a) for a in family]
    low, high, size = min(b[0] for b in bounds), max(b[1] for b in bounds), family[0].itemsize
    memory = np.zeros((high - low) // size, dtype)
    for array in family:
        offset = (array.__array_interface__["data"][0] - low) // size * dtype.itemsize
        strides = tuple(s // size * dtype.itemsize for s in array.strides)
        view = np.ndarray(array.shape, dtype, memory, offset, strides)
        view[...] = array
        yield id(array), view


def positions(family: Sequence[Array]) -> tuple[Array, dict[int, Array]] | None:
    """(the array that the others view, {id: the positions of its entries in that one}), if there is one."""
    low = min(np.lib.array_utils.byte_bounds(a)[0] for a in family)
    size = family[0].itemsize
    places = {}
    for array in family:
        offset = (array.__array_interface__["data"][0] - low) // size
        grid = [np.arange(n) * (s // size) for n, s in zip(array.shape, array.strides, strict=True)]
        places[id(array)] = (
            offset + sum(np.ix_(*grid), np.zeros(array.shape, int)) if grid else np.array(offset)
        )
    union = np.unique(np.concatenate([p.ravel() for p in places.values()]))
    for array in family:
        mine = places[id(array)]
        if mine.size == union.size == np.unique(mine).size:
            order = np.zeros(int(union.max()) + 1, int)
            order[mine.ravel()] = np.arange(mine.size)
            return array, {key: order[p] for key, p in places.items()}
    return None
