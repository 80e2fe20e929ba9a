"""Which numbers of a model and its optimizer stand where in the flat row of one step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..checks import Array
from ..layers import Parameter
from ..optim import Optimizer

__all__ = ["Key", "Layout", "fill", "tensors_of"]

KINDS = ("parameter", "gradient", "state")
# What it is, of which parameter, and which entry of the state.
Key: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True)
class Layout:
    """The tensors of a row, one after another.

    Attributes:
        dtype: of the rows. keys, shapes, dtypes: of the tensors, in their order.
    """

    dtype: np.dtype[Any]
    keys: tuple[Key, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]

    @classmethod
    def of(cls, tensors: Mapping[Key, Array]) -> Layout:
        """That of (n, *shape) arrays; n rows."""
        dtypes = tuple(value.dtype.name for value in tensors.values())
        shapes = tuple(value.shape[1:] for value in tensors.values())
        return cls(np.result_type(*dtypes), tuple(tensors), shapes, dtypes)

    @property
    def sizes(self) -> list[int]:
        return [math.prod(shape) for shape in self.shapes]

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(self.sizes)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Their shapes, by name."""
        pairs = zip(self.keys, self.shapes, strict=True)
        return {name: shape for (kind, name, _), shape in pairs if kind == "parameter"}

    def pack(self, tensors: Mapping[Key, Array], rows: Array) -> None:
        """Write (n, *shape) arrays into rows, (n, width)."""
        start = 0
        for value, size in zip(tensors.values(), self.sizes, strict=True):
            rows[:, start : start + size] = value.reshape(len(rows), size)
            start += size

    def unpack(self, row: Array) -> dict[Key, Array]:
        """The tensors of one row, as copies in their own dtypes."""
        found, start = {}, 0
        for key, shape, dtype, size in zip(self.keys, self.shapes, self.dtypes, self.sizes, strict=True):
            found[key] = row[start : start + size].reshape(shape).astype(dtype)
            start += size
        return found

    def column(self, key: Key) -> slice:
        """Where one tensor stands. Raises KeyError where it is not kept."""
        at = self.keys.index(key) if key in self.keys else -1
        if at < 0:
            raise KeyError(key)
        start = sum(self.sizes[:at])
        return slice(start, start + self.sizes[at])

    def as_plain(self) -> dict[str, Any]:
        """For a file."""
        return {
            "dtype": self.dtype.name,
            "keys": [list(key) for key in self.keys],
            "shapes": [list(shape) for shape in self.shapes],
            "dtypes": list(self.dtypes),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Layout:
        """Of a file. Raises KeyError, TypeError, ValueError where it is not one that `as_plain` gives."""
        keys = tuple((str(kind), str(name), str(entry)) for kind, name, entry in plain["keys"])
        shapes = tuple(tuple(shape) for shape in plain["shapes"])
        dtypes = tuple(np.dtype(str(dtype)) for dtype in plain["dtypes"])
        whole = all(type(n) is int and n >= 0 for shape in shapes for n in shape)
        numbers = all(dtype.kind in "bif" for dtype in dtypes)
        known = all(kind in KINDS and (kind == "state" or not entry) for kind, _, entry in keys)
        known = known and len(set(keys)) == len(keys)
        if not (whole and numbers and known and len(keys) == len(shapes) == len(dtypes)):
            raise ValueError("a layout of rows that no model has")
        return cls(np.dtype(str(plain["dtype"])), keys, shapes, tuple(dtype.name for dtype in dtypes))


def tensors_of(named: list[tuple[str, Parameter]], optimizer: Optimizer, gradients: bool) -> dict[Key, Array]:
    """What model and optimizer hold now, as (1, *shape) views: parameters, then gradients, then state.

    Args:
        gradients: of the parameters that have one and that the optimizer moves.
    Raises:
        TypeError: an optimizer whose state is no numbers.
    """
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    found: dict[Key, Array] = {("parameter", name, ""): p.data[None] for name, p in named}
    if gradients:
        for name, p in named:
            if p.grad is not None and id(p) in moved:
                found["gradient", name, ""] = p.grad[None]
    for name, p in named:
        for entry, value in optimizer.state.get(p, {}).items():
            array = np.asarray(value)
            if array.dtype.kind not in "bif":
                raise TypeError(
                    f"Recording got {type(optimizer).__name__}, which keeps {entry!r} of type "
                    f"{type(value).__name__} for {name}; it records numbers and arrays"
                )
            found["state", name, entry] = array[None]
    return found


def fill(tensors: Mapping[Key, Array], named: list[tuple[str, Parameter]], optimizer: Any) -> None:
    """Put recorded tensors into a model, and into an optimizer where one is given, in place of its state."""
    for name, p in named:
        p.data[...] = tensors["parameter", name, ""]
        p.grad = tensors.get(("gradient", name, ""))
        if optimizer is not None:
            optimizer.state.pop(p, None)
            entries = {entry: v for (kind, of, entry), v in tensors.items() if kind == "state" and of == name}
            if entries:
                optimizer.state[p] = entries
