"""Checks of single numbers: ints, floats, truth values, seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .things import as_list, shown

__all__ = ["as_flag", "as_int", "as_number", "as_seed", "as_shape", "positive_int"]

INT64 = (-(2**63), 2**63 - 1)
SEEDS = (-(2**63), 2**64 - 1)  # torch's
MOST_AXES = 64  # NumPy's
MOST_ELEMENTS = 2**48  # a petabyte of float32


def as_flag(owner: str, name: str, value: Any) -> bool:
    """`value` as a bool: True or False, NumPy's among them."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs True or False")
    return bool(value)


def positive_int(owner: str, name: str, value: Any, minimum: int = 1) -> int:
    """`value` as an int of at least `minimum`. Raises TypeError for other types, ValueError below."""
    whole = as_int(owner, name, value)
    if whole < minimum:
        raise ValueError(f"{owner} got {name}={whole}; it must be at least {minimum}")
    return whole


def as_int(owner: str, name: str, value: Any) -> int:
    """`value` as an int of 64 bits. Raises TypeError for other types, truth values and floats among them."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs an int")
    lowest, highest = INT64
    if not lowest <= value <= highest:
        raise ValueError(f"{owner} got {name}={shown(value)}; it must fit into 64 bits (int64)")
    return int(value)


def as_number(
    owner: str,
    name: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    finite: bool = False,
) -> float:
    """`value` as a float. Without bounds NaN and infinities pass; no bound lets NaN pass.

    Args:
        least, most: bounds that the number may reach. above, below: bounds that it may not reach.
        finite: refuse infinities and NaN.
    Raises:
        TypeError: another type, truth values among them. ValueError: a number out of bounds.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{owner} got {name}={shown(value)}; it is too large for a float") from None
    inside = (
        (least is None or number >= least)
        and (most is None or number <= most)
        and (above is None or number > above)
        and (below is None or number < below)
        and (not finite or math.isfinite(number))
    )
    if not inside:
        bounds = {"at least": least, "above": above, "at most": most, "below": below}
        needs = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
        if len(needs) == 2:
            left, low = ("[", least) if least is not None else ("(", above)
            high, right = (most, "]") if most is not None else (below, ")")
            needs = [f"within {left}{low:g}, {high:g}{right}"]
        needs += ["finite"] if finite else []
        raise ValueError(f"{owner} got {name}={shown(value)}; it must be {' and '.join(needs)}")
    return number


def as_shape(owner: str, name: str, value: Any) -> tuple[int, ...]:
    """`value`, an int or a sequence of ints, as the shape of an array."""
    lengths = [value] if isinstance(value, (int, np.integer)) else as_list(owner, name, value, "ints")
    if not all(isinstance(n, (int, np.integer)) and not isinstance(n, (bool, np.bool_)) for n in lengths):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs ints, or one tuple of ints")
    shape = tuple(map(int, lengths))
    if any(length < 0 for length in shape):
        raise ValueError(f"{owner} got {name}={shown(shape)}; no length may be negative")
    if len(shape) > MOST_AXES or math.prod(shape) > MOST_ELEMENTS:
        raise ValueError(f"{owner} got {name}={shown(shape)}; no memory holds an array of that shape")
    return shape


def as_seed(owner: str, name: str, value: Any) -> int:
    """`value` as a seed in PyTorch's range, [-2**63, 2**64 - 1]; a float that is whole counts, as there."""
    if isinstance(value, (float, np.floating)) and math.isfinite(value) and value == math.floor(value):
        value = int(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs an int")
    lowest, highest = SEEDS
    if not lowest <= value <= highest:
        raise ValueError(f"{owner} got {name}={shown(value)}; it must be within [-2**63, 2**64 - 1]")
    return int(value)
