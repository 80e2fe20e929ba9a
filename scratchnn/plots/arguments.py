"""Checks of what pictures are asked to draw, before anything is drawn on a user's Axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scratchnn.checks import (
    any_array,
    as_flag,
    as_function,
    as_int,
    as_kind,
    as_mapping,
    as_number,
    as_path,
    as_text,
    positive_int,
    shown,
    signature,
)
from scratchnn.history import History
from scratchnn.recording import Recording
from scratchnn.trace import Trace

__all__ = ["checked"]

Function = TypeVar("Function", bound=Callable[..., Any])

LARGEST = 100.0  # inches, of a figure's side
MOST_PANELS = 256


def checked(function: Function) -> Function:
    """The function behind a check of each argument."""
    return signature.checked(function, _check_for, _check_together)


def _check_for(name: str, annotation: str) -> signature.Check:
    return BY_NAME.get((name, annotation)) or BY_ANNOTATION[annotation]


def _check_together(owner: str, given: Mapping[str, Any]) -> None:
    """Classes without points would be passed over."""
    if given.get("y") is not None and given.get("x", given["y"]) is None:
        raise ValueError(f"{owner} got y and no x; the classes need points")


def _kind(kind: type, what: str) -> signature.Check:
    return lambda owner, name, value: as_kind(owner, name, value, kind, what)


def _mapping(what: str) -> signature.Check:
    return lambda owner, name, value: as_mapping(owner, name, value, what)


def _list_of(kind: type | None, what: str) -> signature.Check:
    def check(owner: str, name: str, value: Any) -> None:
        row = isinstance(value, np.ndarray) and value.ndim == 1
        if isinstance(value, str) and kind is not None:
            raise TypeError(f"{owner} got {name}={shown(value)}; it needs a list of {what}: [{shown(value)}]")
        if isinstance(value, bytes) or (not row and not isinstance(value, Sequence)):
            raise TypeError(f"{owner} got {name}={shown(value)}; it needs a list of {what}")
        for element in value:
            if kind is int:
                as_int(owner, name, element)
            elif kind is not None and not isinstance(element, kind):
                raise TypeError(f"{owner} got {shown(element)} in {name}; it needs a list of {what}")

    return check


def _check_extent(owner: str, name: str, value: Any) -> None:
    needs = "four numbers: (left, right, bottom, top)"
    _list_of(None, needs)(owner, name, value)
    if len(value) != 4:
        raise ValueError(f"{owner} got {name}={shown(value)}; it needs {needs}")
    left, right, bottom, top = (as_number(owner, name, number, finite=True) for number in value)
    if not (left < right and bottom < top):
        raise ValueError(f"{owner} got {name}={shown(value)}; it needs left < right and bottom < top")


def _check_losses(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, History):
        any_array(owner, name, value, "biuf")


BY_NAME: dict[tuple[str, str], signature.Check] = {
    ("count", "int"): lambda owner, name, value: as_number(
        owner, name, positive_int(owner, name, value), most=MOST_PANELS
    ),
    ("epochs", "float"): lambda owner, name, value: as_number(owner, name, value, above=0, finite=True),
    ("height", "float"): lambda owner, name, value: as_number(owner, name, value, above=0, most=LARGEST),
    ("losses", "Any"): _check_losses,
    ("model", "Any"): lambda owner, name, value: as_function(owner, name, value, "a model"),
    ("record", "Any"): _kind(History, "the History that fit returned"),
    ("recording", "Any"): _kind(Recording, "a Recording"),
    ("sample", "int"): as_int,
    ("trace", "Any"): _kind(Trace, "a trace made by snn.trace"),
    ("width", "float"): lambda owner, name, value: as_number(owner, name, value, above=0, most=LARGEST),
}
BY_ANNOTATION: dict[str, signature.Check] = {
    "Array": lambda owner, name, value: any_array(owner, name, value, "biuf"),
    "Axes": _kind(Axes, "Axes of matplotlib"),
    "Extent": _check_extent,
    "Figure": _kind(Figure, "a figure, as the functions of plots return it"),
    "Mapping[Any, Any]": _mapping("{name: numbers}"),
    "Mapping[Any, float]": _mapping("{setting: number}"),
    "Mapping[str, Model]": _mapping("{title: model}"),
    "Mapping[str, tuple[Any, Array, Array]]": _mapping("{title: (model, x, y)}"),
    "Mapping[tuple[Any, Any], Any]": _mapping("{(row, column): ((x, y), (x, y))}"),
    "Model": lambda owner, name, value: as_function(owner, name, value, "a model: a function of points"),
    "Sequence[Any]": _list_of(None, "settings"),
    "Sequence[int]": _list_of(int, "ints"),
    "Sequence[str]": _list_of(str, "texts"),
    "bool": as_flag,
    "float": lambda owner, name, value: as_number(owner, name, value, finite=True),
    "int": positive_int,
    "str": as_text,
    "str | os.PathLike[str]": as_path,
}
