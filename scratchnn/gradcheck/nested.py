"""Arrays in lists, tuples and dicts: their names, and the same structure around other arrays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..checks import Array, shown, unmasked
from .names import is_named, rank

__all__ = ["Path", "finite", "float_leaf", "leaves", "matching", "named", "rebuilt"]

Path = tuple[Any, ...]
DEEPEST = 32


def named(path: Path, root: str) -> str:
    """W1 for ("W1",), layers[0]['W'] for ("layers", 0, "W"), [0] for (0,), and `root` for the whole."""
    if not path:
        return root
    first, *rest = path
    plain = isinstance(first, str) and first.isidentifier()
    return (first if plain else f"[{first!r}]") + "".join(f"[{key!r}]" for key in rest)


def leaves(owner: str, thing: Any, root: str, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of everything that is neither a container nor None, in order.

    Raises:
        ValueError: a structure that contains itself, or is nested too deep.
    """
    if len(path) > DEEPEST:
        raise ValueError(f"{owner} got {root} nested more than {DEEPEST} deep, or containing itself")
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from leaves(owner, value, root, (*path, key))
    elif isinstance(thing, (list, tuple)):
        for k, value in enumerate(thing):
            yield from leaves(owner, value, root, (*path, k))
    elif thing is not None:
        yield path, thing


def rebuilt(thing: Any, put: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """The same structure, with `put(path, value)` in the place of each leaf."""
    if isinstance(thing, Mapping):
        made = {key: rebuilt(value, put, (*path, key)) for key, value in thing.items()}
        if type(thing) is dict:
            return made
        other: Any = copy.copy(thing)
        other.update(made)
        return other
    if isinstance(thing, (list, tuple)):
        parts = [rebuilt(value, put, (*path, k)) for k, value in enumerate(thing)]
        return type(thing)(*parts) if hasattr(thing, "_fields") else type(thing)(parts)
    return None if thing is None else put(path, thing)


def matching(params: Any, grads: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path in params, its gradient) for every leaf of `params`.

    In a dict, the gradient of W is under W, or under a name such as dW.

    Raises:
        TypeError: a container where there is an array, or the other way round.
        ValueError: an entry without a gradient, or a gradient without an entry.
    """
    here = "params" + "".join(f"[{key!r}]" for key in path)
    there = "grads" + here.removeprefix("params")
    if isinstance(params, Mapping):
        if not isinstance(grads, Mapping):
            raise TypeError(
                f"check_gradients got {there} of type {type(grads).__name__}; {here} is a dict with "
                f"{_keys(params)}, so it needs a dict, too"
            )
        partner = _partners(params, grads, here, there)
        for key, value in params.items():
            if value is not None:
                yield from matching(value, grads[partner[key]], (*path, key))
    elif isinstance(params, (list, tuple)):
        rows = isinstance(grads, np.ndarray) and grads.ndim > 0
        if not isinstance(grads, (list, tuple)) and not rows:
            raise TypeError(
                f"check_gradients got {there} of type {type(grads).__name__}; {here} is a "
                f"{type(params).__name__} of {len(params)}, so it needs one, too"
            )
        if len(grads) != len(params):
            raise ValueError(
                f"check_gradients got {there} of length {len(grads)}; it needs the length of {here}, "
                f"which is {len(params)}"
            )
        for k, (value, gradient) in enumerate(zip(params, grads, strict=True)):
            if value is not None:
                yield from matching(value, gradient, (*path, k))
    else:
        if isinstance(grads, Mapping):
            raise TypeError(
                f"check_gradients got {there} as a dict; {here} is {shown(params)}: pass an array"
            )
        if grads is None:
            raise ValueError(f"check_gradients got {there}=None; it needs the gradient of {here}")
        yield path, grads


def _partners(params: Mapping[Any, Any], grads: Mapping[Any, Any], here: str, there: str) -> dict[Any, Any]:
    """{key of params: key of its gradient}."""
    found: dict[Any, Any] = {}
    for key, value in params.items():
        if value is None:
            continue
        ranked = {other: rank([other], [key]) for other in grads if isinstance(other, str)}
        good = sorted((r, other) for other, r in ranked.items() if r is not None and is_named(r))
        if key in grads:
            found[key] = key
        elif good:
            found[key] = good[0][1]
        else:
            cure = f"{key!r} or 'd{key}'" if isinstance(key, str) else repr(key)
            raise ValueError(
                f"check_gradients got no gradient of {here}[{key!r}]: {there} has {_keys(grads)}; "
                f"it needs {cure}"
            )
    # dA1 beside dW1 is what a backward keeps on its way; W3 beside W1 is the gradient of something.
    own = {key for key in found if found[key] == key}
    left = [key for key in grads if key not in found.values() and not (isinstance(key, str) and not own)]
    left = [key for key in left if not (key in params and params[key] is None)]
    if left:
        raise ValueError(f"check_gradients got {there}[{left[0]!r}], but {here} has only {_keys(params)}")
    return found


def _keys(mapping: Mapping[Any, Any]) -> str:
    keys = [repr(key) for key in mapping]
    return ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "") or "nothing"


def float_leaf(owner: str, name: str, value: Any) -> Array:
    """`value` as a float64 copy.

    Raises:
        TypeError: anything but floats. ValueError: NaN or an infinity, told with its place.
    """
    if type(value) not in (float, np.ndarray) and not isinstance(value, np.floating):
        if isinstance(value, np.ma.MaskedArray):
            unmasked(owner, name, value)
        cure = f"pass np.asarray({name}, np.float64)" if hasattr(value, "__array__") else "an array of floats"
        raise TypeError(f"{owner} got {name} of type {type(value).__name__}; it needs {cure}")
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise TypeError(
            f"{owner} got {name} of dtype {array.dtype}; it needs floats: pass "
            f"{name}.astype(np.float64), and keep out of params what is not differentiated by"
        )
    return finite(owner, name, array.astype(np.float64))


def finite(owner: str, name: str, array: Array) -> Array:
    """`array`. Raises ValueError for a NaN or an infinity in it, told with its place."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = f"[{', '.join(map(str, bad[0]))}]" if array.ndim else ""
        raise ValueError(
            f"{owner} got {name}{place} = {array[tuple(bad[0])]}; it needs numbers that are finite"
        )
    return array
