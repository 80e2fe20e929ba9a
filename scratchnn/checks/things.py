"""Checks of what is neither a number nor an array: paths, choices, lists, mappings, functions."""

from __future__ import annotations

import difflib
import itertools
import os
import reprlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

__all__ = ["as_choice", "as_function", "as_kind", "as_list", "as_mapping", "as_path", "as_text", "shown"]

Kind = TypeVar("Kind")

LONGEST = 10**6  # elements of a list; an iterator that gives more may never end

_brief = reprlib.Repr()  # four or six elements of each container, as it comes
_brief.maxstring, _brief.maxother = 80, 120


def shown(value: Any) -> str:
    """`value` in at most a line, for an error: its repr, an array by its shape and dtype."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return " ".join(_brief.repr(value).split())


def as_kind(owner: str, name: str, value: Any, kind: type[Kind], what: str) -> Kind:
    """`value`, which is an object of the class `kind`; `what` describes it for the error."""
    if not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else shown(value)
        raise TypeError(f"{owner} got {name}={got}; it needs {what}")
    return value


def as_path(owner: str, name: str, value: Any) -> str:
    """`value` as the name of a file: a str that is not empty, or an os.PathLike that gives one."""
    try:
        path = os.fspath(value)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs a path: a str or a pathlib.Path")
    if not path:
        raise ValueError(f"{owner} got {name}={path!r}; it needs the name of a file")
    if "\0" in path:
        raise ValueError(f"{owner} got {name}={path!r}; the name of a file has no NUL character")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError(f"{owner} got {name}={path!r}, which this system cannot write as a name") from None
    return path


def as_text(owner: str, name: str, value: Any) -> str:
    """`value` as a str."""
    if not isinstance(value, str):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs a text")
    return str(value)


def as_choice(owner: str, name: str, value: Any, choices: Collection[str]) -> str:
    """`value` as one of the strings `choices`; where it is close to one of them, the error says so."""
    if isinstance(value, str) and value in choices:
        return str(value)
    near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    cure = f"; did you mean {near[0]!r}?" if near else ""
    known = ", ".join(map(repr, choices))
    raise ValueError(f"{owner} got {name}={shown(value)}; it must be one of {known}{cure}")


def as_list(owner: str, name: str, value: Any, what: str) -> list[Any]:
    """`value` as a list of what it gives in turn: a list, a tuple, an array's rows, a generator.

    Args:
        what: the elements in words, for the error: "ints".
    Raises:
        TypeError: a str, a dict, a set, whose order is not fixed, or anything that is not iterable.
        ValueError: an iterator that is used up, or does not end.
    """
    try:
        table = hasattr(value, "iloc") and hasattr(value, "columns")  # it would give its columns' names
        if table or isinstance(value, (str, bytes, bytearray, Mapping, set, frozenset)):
            raise TypeError
        iterator = iter(value)  # refused also where there is `__iter__`: by an array without axes
    except TypeError:
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs a list of {what}") from None
    listed = list(itertools.islice(iterator, LONGEST + 1))
    if len(listed) > LONGEST:
        raise ValueError(
            f"{owner} got {name} as an iterator of more than {LONGEST} {what}; it needs one that ends"
        )
    if not listed and isinstance(value, Iterator):
        raise ValueError(
            f"{owner} got {name} as an iterator with nothing left in it; it needs a list of {what}: "
            "an iterator is used up by the first that goes through it"
        )
    return listed


def as_mapping(owner: str, name: str, value: Any, what: str) -> dict[Any, Any]:
    """`value` as a dict. `what` describes it for the error: "{title: model}"."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs {what}")
    return dict(value)


def as_function(owner: str, name: str, value: Any, what: str = "a function") -> Any:
    """`value`, which can be called and is not a class; `what` describes it for the error."""
    if isinstance(value, type):
        cure = f"make an object of it: {value.__name__}(...)"
        raise TypeError(f"{owner} got {name}={value.__name__}, a class; it needs {what}: {cure}")
    if not callable(value):
        raise TypeError(f"{owner} got {name}={shown(value)}; it needs {what}")
    return value
