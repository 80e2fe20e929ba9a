"""Numbers as a reader wants them: few digits, a true minus sign, powers of ten."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..checks import Array

__all__ = ["cells", "number", "shape_text", "short", "spread"]

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS = "−"
LARGEST, SMALLEST = 1e5, 1e-4  # beyond these, powers of ten
SMALLEST_SHORT = 1e-3
DIGITS = 4


def number(value: Any, digits: int = DIGITS) -> str:
    """One number with `digits` significant digits: 0.6931, −12.50, 3.1×10⁻⁵, NaN, ∞."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value)).replace("-", MINUS)
    value = float(value)
    if math.isnan(value):
        return "NaN"
    sign = MINUS if value < 0 else ""
    size = abs(value)
    if math.isinf(size):
        return f"{sign}∞"
    if size == 0:
        return "0"
    if size == int(size) and size < 1000:
        return f"{sign}{int(size)}"
    if SMALLEST <= size < LARGEST:
        power = int(f"{size:.{digits - 1}e}".partition("e")[2])  # after rounding
        return f"{sign}{size:.{max(0, digits - 1 - power)}f}"
    return _scientific(value, digits)


def _scientific(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return number(value)
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}×10{str(int(power)).translate(SUPERSCRIPTS)}".replace("-", MINUS)


def short(value: float, digits: int = 1) -> str:
    """At most six characters or so, for a diagram: 0.43, −12.5, 3×10⁻⁵, the last with `digits` digits."""
    size = abs(value)
    if 0 < size < SMALLEST_SHORT or size >= LARGEST:
        return _scientific(value, digits)
    if 0 < size < 10:
        return f"{value:.3f}".replace("-", MINUS) if size < 0.1 else f"{value:.2f}".replace("-", MINUS)
    return number(value, 3)


def cells(array: Array) -> list[list[str]]:
    """The texts of a (rows, columns) array, all to the same decimal place, so that columns line up.

    A number too small for that place is written by itself rather than as a zero.
    """
    if array.dtype.kind not in "f":
        return [[number(value) for value in row] for row in array]
    finite = np.abs(array[np.isfinite(array)])
    largest = float(finite.max()) if finite.size else 0.0
    if not (SMALLEST <= largest < LARGEST):
        return [[number(value) for value in row] for row in array]
    if np.all(finite == np.floor(finite)) and largest < 1000:
        return [[number(value) for value in row] for row in array]
    places = max(0, DIGITS - 1 - math.floor(math.log10(largest)))
    return [[_to_place(float(value), places) for value in row] for row in array]


def _to_place(value: float, places: int) -> str:
    if not math.isfinite(value) or value == 0:
        return number(value)
    if abs(value) < 0.5 * 10**-places:
        return number(value, 2)
    return f"{value:.{places}f}".replace("-", MINUS)


def spread(array: Array) -> str:
    """An array in a few words: its range, and how much of it is zero."""
    if array.size == 0:
        return "empty"
    if array.size == 1:
        return number(array.flat[0])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return "with NaN or infinity in it"
    text = f"from {number(array.min(), 3)} to {number(array.max(), 3)}"
    zeros = int(np.count_nonzero(array == 0))
    return text if zeros == 0 else f"{text}, {zeros} of {array.size} zero"


def shape_text(shape: tuple[int, ...]) -> str:
    """(3, 2) as 3 × 2; () as a number."""
    return " × ".join(map(str, shape)) if shape else "a number"
