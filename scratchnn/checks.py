"""The door: what every public entry point asks of an array, asked once.

Nothing behind the door checks again, and nothing changes dtype silently: lists of numbers take the
layer's dtype, an array of another dtype is an error that names the cure.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from .functional.vocabulary import Array

__all__ = [
    "FLOAT_DTYPES",
    "Array",
    "as_array",
    "as_dtype",
    "as_int",
    "as_number",
    "came_from_softmax",
    "note_softmax",
    "positive_int",
]

# complex128 is here for complex-step differentiation, not for training.
FLOAT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.complex128))


def as_dtype(owner: str, dtype: Any) -> np.dtype[Any]:
    """`dtype` as a NumPy dtype: float32, float64 or complex128; anything else is a TypeError."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in FLOAT_DTYPES:
        raise TypeError(f"{owner} got dtype={dtype!r}; use float32, float64 or complex128")
    return found


def as_array(owner: str, name: str, value: Any, dtype: Any = None) -> Array:
    """`value` as an array of `dtype`, without ever copying an array that already is one.

    Args:
        owner: the object that asks, as its repr reads in an error: `Linear(2, 10)`.
        name: the argument's name.
        value: an array of `dtype`, or a number or (nested) list of numbers, which takes `dtype`.
        dtype: float32, float64 or complex128; None takes arrays of any of the three and lists as float32.
    Raises:
        TypeError: an array of another dtype, or something that is not numeric.
        ValueError: a list whose rows differ in length.
    """
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype == dtype or (dtype is None and array.dtype in FLOAT_DTYPES):
            return array
        raise TypeError(_dtype_message(owner, name, array, dtype))
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{owner} got {name} as a list whose rows differ in length; make them equal"
        ) from error
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"{owner} got {name} of type {type(value).__name__} holding {array.dtype}; "
            "it needs numbers: an array or a list of floats"
        )
    target = np.dtype(np.float32 if dtype is None else dtype)
    if array.dtype.kind == "c" and target.kind != "c":
        raise TypeError(f"{owner} got complex numbers as {name}; it needs {target}")
    return array.astype(target)


def _dtype_message(owner: str, name: str, array: Array, dtype: Any) -> str:
    needs = "float32 or float64" if dtype is None else str(np.dtype(dtype))
    if array.dtype.kind not in "biufc":
        return f"{owner} got {name} of dtype {array.dtype}; it needs numbers of dtype {needs}"
    cast = "float32" if dtype is None else np.dtype(dtype).name
    cure = f"pass {name}.astype(np.{cast})"
    if dtype is not None and array.dtype in FLOAT_DTYPES:
        cure += f", or convert the model with model.astype(np.{array.dtype.name})"
    return f"{owner} got {name} of dtype {array.dtype}; it needs {needs}: {cure}"


def positive_int(owner: str, name: str, value: Any, minimum: int = 1) -> int:
    """`value` as an int of at least `minimum`. Raises TypeError for other types, ValueError below."""
    whole = as_int(owner, name, value)
    if whole < minimum:
        raise ValueError(f"{owner} got {name}={whole}; it must be at least {minimum}")
    return whole


def as_int(owner: str, name: str, value: Any) -> int:
    """`value` as an int. Raises TypeError for other types, truth values and floats among them."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{owner} got {name}={value!r}; it needs an int")
    return int(value)


def as_number(owner: str, name: str, value: Any) -> float:
    """`value` as a float, NaN and infinities among them. Raises TypeError for other types."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{owner} got {name}={value!r}; it needs a number")
    return float(value)


# The newest output of a Softmax layer, so that a loss can know it by identity and need not guess by value.
_softmax_output: weakref.ref[Array] | None = None


def note_softmax(y: Array) -> None:
    """Remember that `y` holds the probabilities a Softmax layer gave."""
    global _softmax_output
    _softmax_output = weakref.ref(y)


def came_from_softmax(y: Any) -> bool:
    """True if `y` is the array that `note_softmax` was last given."""
    return _softmax_output is not None and _softmax_output() is y
