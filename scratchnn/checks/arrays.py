"""Checks of arrays and dtypes.

Nothing changes dtype silently: lists of numbers take the layer's dtype, an array of another dtype is an
error that names the cure.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.ma import MaskedArray  # now: NumPy imports it at first use, perhaps while a thread forks

from .things import shown

__all__ = [
    "FLOAT_DTYPES",
    "REAL_DTYPES",
    "Array",
    "Instrumented",
    "any_array",
    "as_array",
    "as_dtype",
    "unmasked",
]

Array: TypeAlias = npt.NDArray[Any]

# complex128 is here for complex-step differentiation, not for training.
REAL_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
FLOAT_DTYPES = (*REAL_DTYPES, np.dtype(np.complex128))


class Instrumented(np.ndarray):
    """An array of the library's own judges, which watches or disturbs what is done with it.

    The checks let it through as it is; any other subclass of ndarray becomes a plain array.
    """


def as_dtype(owner: str, dtype: Any, among: tuple[np.dtype[Any], ...] = FLOAT_DTYPES) -> np.dtype[Any]:
    """`dtype` as one of the NumPy dtypes `among`; None is float32, torch's default.

    Raises:
        TypeError: anything else.
    """
    if dtype is None:
        return np.dtype(np.float32)
    # NumPy reads None as float64, compares it as equal to float64, and makes dtypes of lists and dicts.
    if isinstance(dtype, (str, type, np.dtype)):
        try:
            found = np.dtype(dtype)
        except (TypeError, ValueError, SyntaxError):
            found = np.dtype(object)
        if found in among:
            return found
    *others, last = (kind.name for kind in among)
    raise TypeError(f"{owner} got dtype={shown(dtype)}; use {', '.join(others)} or {last}")


def as_array(owner: str, name: str, value: Any, dtype: Any = None) -> Array:
    """`value` as an array of `dtype`, without ever copying an array that already is one.

    Args:
        owner: the object that asks, as its repr reads in an error: `Linear(2, 10)`.
        name: the argument's name.
        value: an array of `dtype`, or a number or (nested) list of numbers, which takes `dtype`.
        dtype: float32, float64 or complex128; None takes arrays of any of the three and lists as float32.
    Raises:
        TypeError: an array of another dtype, a masked array, or something that is not numeric.
        ValueError: a list whose rows differ in length.
    """
    array = value if type(value) is np.ndarray else unmasked(owner, name, value)
    if hasattr(value, "__array__"):
        if array.dtype == dtype or (dtype is None and array.dtype in FLOAT_DTYPES):
            return array
        _check_numeric(owner, name, value, array)
        raise TypeError(_dtype_message(owner, name, array, dtype))
    _check_numeric(owner, name, value, array)
    target = np.dtype(np.float32 if dtype is None else dtype)
    if array.dtype.kind == "c" and target.kind != "c":
        raise TypeError(f"{owner} got complex numbers as {name}; it needs {target}")
    return array.astype(target)


def any_array(owner: str, name: str, value: Any, kinds: str = "biufc") -> Array:
    """`value` as an array of whatever numeric dtype it has or NumPy gives it; an array is not copied.

    Args:
        kinds: the kinds of dtype that are allowed, in NumPy's letters: "iu" for ints, "biuf" for reals.
    Raises:
        TypeError: a masked array, another dtype, something that is not numeric.
        ValueError: a list whose rows differ in length.
    """
    array = value if type(value) is np.ndarray else unmasked(owner, name, value)
    _check_numeric(owner, name, value, array)
    if array.dtype.kind not in kinds and array.size:
        needs = "ints" if "f" not in kinds else "real numbers"
        raise TypeError(f"{owner} got {name} of dtype {array.dtype}; it needs {needs}")
    return array


def unmasked(owner: str, name: str, value: Any) -> Array:
    """`value` as NumPy reads it, of any dtype; masked arrays, which would lose their mask, and ragged lists
    are refused."""
    if isinstance(value, Instrumented):
        return value
    parts = value if isinstance(value, (list, tuple)) else (value,)
    if any(isinstance(part, MaskedArray) for part in parts):
        raise TypeError(
            f"{owner} got {name} as a masked array, whose mask would be lost; drop the masked rows, or fill "
            f"them: {name}.filled(0)"
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        wrong = "whose rows differ in length; make them equal"
        if "maximum number of dimension" in str(error):
            wrong = "that contains itself, or is nested too deep; it needs numbers"
        raise ValueError(f"{owner} got {name} as a list {wrong}") from error


def _check_numeric(owner: str, name: str, value: Any, array: Array) -> None:
    if array.dtype.kind in "biufc":
        return
    cure = "an array or a list of floats"
    if hasattr(value, "toarray"):  # a sparse matrix
        cure = f"pass {name}.toarray()"
    elif hasattr(value, "to_numpy"):  # a table of pandas, or one of its columns
        cure = f"fill or drop what is missing, and pass {name}.to_numpy(np.float32)"
    elif array.dtype.kind == "O" and hasattr(value, "__array__"):
        cure = f"convert it by {name}.astype(...), once every element is a number"
    elif hasattr(value, "__next__"):
        cure = f"pass list({name})"
    kind = f"type {type(value).__name__} holding" if type(value) is not np.ndarray else "dtype"
    raise TypeError(f"{owner} got {name} of {kind} {array.dtype}; it needs numbers: {cure}")


def _dtype_message(owner: str, name: str, array: Array, dtype: Any) -> str:
    needs = "float32 or float64" if dtype is None else str(np.dtype(dtype))
    cast = "float32" if dtype is None else np.dtype(dtype).name
    cure = f"pass {name}.astype(np.{cast})"
    if dtype is not None and array.dtype in FLOAT_DTYPES:
        cure += f", or convert the model with model.astype(np.{array.dtype.name})"
    return f"{owner} got {name} of dtype {array.dtype}; it needs {needs}: {cure}"
