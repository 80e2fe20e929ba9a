"""Checks of the arguments that users hand to the formulas: numbers, in shapes that go together.

The formulas check nothing. Layers, losses and optimizers, which check for themselves, call them in
`functional.formulas`; `functional.relu(x)` of a user comes through `checked`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ..checks import any_array, as_choice, as_flag, as_int, as_number, positive_int, shown, signature
from .class_losses import class_axis, has_indices

__all__ = ["checked"]

Function = TypeVar("Function", bound=Callable[..., Any])
Given = Mapping[str, Any]

REDUCTIONS = ("mean", "sum", "none")
# Arrays that need not have the shape of the others.
BROADCAST = ("dloss", "weight", "pos_weight")
# Annotated as arrays, for what the compiled engine passes; a user may pass one number.
NUMBERS_TOO = ("norm",)
COUNTS = ("t", "classes")
PROBABILITIES = ("label_smoothing",)


def checked(formula: Function) -> Function:
    """The formula behind a check of each argument, and of the shapes of all."""
    return signature.checked(formula, _check_for, SHAPES.get(formula.__name__, _check_alike))


def _check_for(name: str, annotation: str) -> signature.Check:
    checks: dict[str, signature.Check] = {
        "Array": _check_number_or_array if name in NUMBERS_TOO else _check_array,
        "Array | float": _check_number_or_array,
        "Any": _check_number_or_array,
        "Sequence[Array]": _check_arrays,
        "bool": as_flag,
        "float": functools.partial(as_number, least=0, most=1) if name in PROBABILITIES else as_number,
        "int": positive_int if name in COUNTS else as_int,
        "str": lambda owner, name, value: as_choice(owner, name, value, REDUCTIONS),
    }
    return checks[annotation]


# ---- one argument -----------------------------------------------------------------------------------


def _check_array(owner: str, name: str, value: Any) -> None:
    if type(value) is np.ndarray and value.dtype.kind in "fiuc":
        return
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs an array: np.asarray({name})")
    any_array(owner, name, value)
    if isinstance(value, np.matrix):
        raise TypeError(
            f"{owner} got {name} as a matrix, whose * is no product of elements: np.asarray({name})"
        )
    if value.dtype.kind == "b" and name not in ("mask", "target"):
        raise TypeError(f"{owner} got {name} of dtype bool; it needs numbers: {name}.astype(np.float32)")


def _check_arrays(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs a list of arrays")
    for position, array in enumerate(value):
        _check_array(owner, f"{name}[{position}]", array)


def _check_number_or_array(owner: str, name: str, value: Any) -> None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return
    _check_array(owner, name, value)


# ---- all shapes together ----------------------------------------------------------------------------


def _shape_error(owner: str, given: Given, names: tuple[str, ...], needs: str) -> ValueError:
    shapes = " and ".join(f"{name} of shape {np.shape(given[name])}" for name in names)
    return ValueError(f"{owner} got {shapes}; {needs}")


def _arrays(given: Given) -> dict[str, Any]:
    return {name: value for name, value in given.items() if isinstance(value, (np.ndarray, np.generic))}


def _check_alike(owner: str, given: Given) -> None:
    """One shape for all arrays; weights, and what comes back to a loss, broadcast to it."""
    arrays = _arrays(given)
    full = [name for name in arrays if name not in BROADCAST and arrays[name].ndim]
    for name in full[1:]:
        if arrays[name].shape != arrays[full[0]].shape:
            raise _shape_error(owner, given, (full[0], name), "the shapes must be equal")
    if not full and np.ndim(given.get("dloss", 0)):
        raise _shape_error(owner, given, ("dloss",), "it needs a number")
    for name in arrays:
        if full and name in BROADCAST and not _broadcasts(arrays[name].shape, arrays[full[0]].shape):
            raise _shape_error(owner, given, (name, full[0]), f"{name} must broadcast to {full[0]}")
    if "axis" in given:
        _check_axis(owner, given, next(iter(arrays)))


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _check_axis(owner: str, given: Given, name: str) -> None:
    shape, axis = given[name].shape or (1,), given["axis"]  # a number counts as one class
    if not -len(shape) <= axis < len(shape):
        raise _shape_error(owner, given, (name,), f"it has no axis={axis}")
    if not shape[axis]:
        raise _shape_error(owner, given, (name,), f"it needs at least one number along axis={axis}")


def _check_linear(owner: str, given: Given) -> None:
    weight, x = given["weight"], given["x"]
    if weight.ndim != 2:
        raise _shape_error(owner, given, ("weight",), "it needs (out, in)")
    if not x.ndim or x.shape[-1] != weight.shape[1]:
        raise _shape_error(owner, given, ("x", "weight"), f"x's last axis must be {weight.shape[1]}")
    out = x.shape[:-1] + weight.shape[:1]
    if given.get("bias") is not None and given["bias"].shape != weight.shape[:1]:
        raise _shape_error(owner, given, ("bias", "weight"), f"bias must be {weight.shape[:1]}")
    if "dy" in given and given["dy"].shape != out:
        raise _shape_error(owner, given, ("dy", "x", "weight"), f"dy must be {out}")


def _check_classes(owner: str, given: Given) -> None:
    name = "logits" if "logits" in given else "log_probs"
    scores, target, weight = given[name], given["target"], given["weight"]
    if not scores.ndim or not scores.size:
        raise _shape_error(owner, given, (name,), "it needs a class axis, and a row: (C,) or (N, C, ...)")
    axis = class_axis(scores)
    classes = scores.shape[axis]
    if weight is not None and weight.shape != (classes,):
        raise _shape_error(owner, given, ("weight", name), f"weight must be ({classes},)")
    rows = scores.shape[:axis] + scores.shape[axis + 1 :]
    if np.ndim(given.get("dloss", 0)) and np.shape(given["dloss"]) != rows:
        raise _shape_error(owner, given, ("dloss", name), f"dloss must be a number or {rows}")
    if target.shape == scores.shape and target.dtype.kind == "f" and name == "logits":
        return
    if not has_indices(target):
        raise TypeError(
            f"{owner} got target of dtype {target.dtype} and shape {target.shape}; it needs class indices, "
            f"integers of shape {rows}: target.astype(np.int64)"
        )
    if target.shape != rows:
        raise _shape_error(owner, given, ("target", name), f"class indices must be {rows}")
    wrong = target[(target != given["ignore_index"]) & ((target < 0) | (target >= classes))]
    if wrong.size:
        raise IndexError(f"{owner} got class index {wrong.flat[0]} in target; {name} has {classes} classes")


def _check_rows(owner: str, given: Given) -> None:
    terms, row_weights = given["terms"], given["row_weights"]
    if not terms.ndim or row_weights.shape != terms.shape[:1]:
        needs = "row_weights must be (N,) and terms (N, ...)"
        raise _shape_error(owner, given, ("terms", "row_weights"), needs)
    if np.ndim(given.get("dloss", 0)):
        raise _shape_error(owner, given, ("dloss",), "it needs a number")


def _check_decisions(owner: str, given: Given) -> None:
    prediction, target = given["prediction"], given["target"]
    fits = target.shape == prediction.shape
    if given["cut"] is None and prediction.ndim:
        axis = min(1, prediction.ndim - 1)
        fits = fits or target.shape == prediction.shape[:axis] + prediction.shape[axis + 1 :]
        if not prediction.shape[axis]:
            raise _shape_error(owner, given, ("prediction",), "it needs scores of classes")
    if not fits:
        needs = "the shapes must be equal, or target be class indices and cut None"
        raise _shape_error(owner, given, ("prediction", "target"), needs)


# How the shapes of a formula's arguments go together, where they are not all alike.
SHAPES: dict[str, Callable[[str, Given], None]] = {
    "linear": _check_linear,
    "linear_vjp": _check_linear,
    "nll": _check_classes,
    "nll_vjp": _check_classes,
    "cross_entropy": _check_classes,
    "cross_entropy_vjp": _check_classes,
    "row_mean": _check_rows,
    "row_mean_vjp": _check_rows,
    "hits": _check_decisions,
}
