"""Do arrays share memory?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..functional.vocabulary import Array

__all__ = ["sharing"]


def sharing(arrays: Sequence[Array]) -> tuple[int, int] | None:
    """The positions of two arrays, the lower one first, that share an element; None where none do."""
    bounds = sorted((*byte_bounds(array), i) for i, array in enumerate(arrays) if array.size)
    reaching: list[tuple[int, int]] = []  # end and position of those that reach beyond the next one's start
    for start, end, i in bounds:
        reaching = [(far, other) for far, other in reaching if far > start]
        for _, other in reaching:
            if np.shares_memory(arrays[i], arrays[other]):
                return min(i, other), max(i, other)
        reaching.append((end, i))
    return None
