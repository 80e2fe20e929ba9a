"""What a backward returned: every array in it, with its path and its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..checks import Array
from .names import gradient_like
from .world import all_floats

__all__ = ["leaves"]


def leaves(returned: Any, names: Any) -> Iterator[tuple[tuple[Any, ...], list[Any] | None, Array]]:
    """(path, name, array) of everything that a backward returned."""
    if isinstance(returned, np.ndarray) or _number(returned):
        yield (), ["grads", names] if isinstance(names, str) else None, np.array(returned)
        return
    known = isinstance(names, list) and isinstance(returned, (tuple, list)) and len(names) == len(returned)
    top = ["grads", names] if isinstance(names, str) and gradient_like(names) else ["grads"]
    for key, child in _parts(returned):
        if isinstance(returned, (tuple, list)) and isinstance(key, int):
            steps = ["grads", names[key]] if known and isinstance(names[key], str) else None
        else:
            steps = [*top, key]
        yield from _below(child, (key,), steps)


def _below(thing: Any, path: tuple[Any, ...], steps: list[Any] | None) -> Iterator[Any]:
    if isinstance(thing, np.ndarray) or _number(thing):
        yield path, steps, np.array(thing)
    else:
        for key, child in _parts(thing):
            yield from _below(child, (*path, key), None if steps is None else [*steps, key])


def _parts(thing: Any) -> list[tuple[Any, Any]]:
    if isinstance(thing, dict):
        return list(thing.items())
    if hasattr(thing, "_fields"):
        return [(name, getattr(thing, name)) for name in thing._fields]
    if isinstance(thing, (tuple, list)):
        return list(enumerate(thing))
    return list(getattr(thing, "__dict__", {}).items())


def _number(thing: Any) -> bool:
    return isinstance(thing, (float, np.floating)) or (isinstance(thing, list) and all_floats(thing))
