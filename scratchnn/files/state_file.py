"""A run's state on disk: nested plain values and arrays in one safetensors file.

Arrays are the file's tensors. The rest is JSON text beside them, in which what JSON has no words for is an
object with a kind: {"is": "tuple", "of": [...]}. Reading makes plain values and arrays, and nothing else.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import Any

import numpy as np

from ..checks import Array
from .atomic import write_atomically
from .errors import FileFormatError, needs
from .model_file import (
    FORMAT,
    KEY,
    MAX_HEADER,
    _broken,
    _check_digest,
    _digest,
    _header,
    _opened,
    _text,
    _version,
)

__all__ = ["DescriptionTooLong", "read_state", "text_size", "write_state"]

DTYPES = ("bool", "uint8", "int64", "float32", "float64")


class DescriptionTooLong(ValueError):
    """What a state has besides arrays does not fit into a file's header."""


def write_state(owner: str, kind: str, path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Put `state` where `path` is, whole or not at all.

    Args:
        owner: who asks, for errors. kind: of state, which `read_state` must name.
        state: dicts, lists, tuples, Counters of None, bool, int, float, str and arrays.
    Raises:
        TypeError: something else, by its place. DescriptionTooLong: too much of it besides the arrays.
        OSError: from the disk. ImportError: no safetensors.
    """
    tensors: dict[str, Array] = {}
    header = {"format": FORMAT, "version": _version(), "kind": kind}
    header["state"] = _packed(owner, kind, state, tensors)
    header["sha256"] = _digest(header, tensors)
    text = _text(header)
    data = needs(owner, "safetensors.numpy").save(tensors, {KEY: text}) if len(text) <= MAX_HEADER else b""
    if not data or int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise DescriptionTooLong(
            f"{owner} got a {kind} whose description, all but its arrays, is over {MAX_HEADER:,} bytes"
        )
    write_atomically(path, data)


def text_size(owner: str, place: str, value: Any) -> int:
    """Bytes that `value` takes in a file besides its arrays. Raises TypeError as `write_state`."""
    return len(_text({"": _packed(owner, place, value, {})}))


def read_state(kind: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `write_state` wrote.

    Raises:
        FileFormatError: cut, damaged, hostile, or of another kind. OSError: no such file.
    """
    with _opened(path) as file:
        header = _header(path, file)
        if header is None or header.get("kind") != kind:
            raise _broken(path, f"it holds no {kind}")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file is no dict)
    _check_digest(path, header, tensors)
    try:
        return dict(_unpacked(header["state"], tensors))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _broken(path, f"its {kind} is not of this format: {error!r}") from error


def _packed(owner: str, place: str, value: Any, tensors: dict[str, Array]) -> Any:
    """`value` as JSON, its arrays put among `tensors`."""
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"is": "float", "of": repr(float(value))}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.name in DTYPES:
        name = f"{len(tensors)} {place}"
        tensors[name] = np.array(value, order="C")
        return {"is": "array" if isinstance(value, np.ndarray) else "scalar", "of": name}
    if isinstance(value, (list, tuple)):
        listed = [_packed(owner, f"{place}/{i}", entry, tensors) for i, entry in enumerate(value)]
        return listed if type(value) is list else {"is": "tuple", "of": listed}
    if isinstance(value, dict):
        pairs = [
            [_packed(owner, place, name, tensors), _packed(owner, f"{place}/{name}", entry, tensors)]
            for name, entry in value.items()
        ]
        return {"is": "counter" if isinstance(value, Counter) else "dict", "of": pairs}
    raise TypeError(
        f"{owner} got {place} of type {type(value).__name__}; what a file keeps is numbers, text, arrays, "
        "and lists and dicts of them"
    )


def _unpacked(node: Any, tensors: dict[str, Array]) -> Any:
    if isinstance(node, list):
        return [_unpacked(entry, tensors) for entry in node]
    if not isinstance(node, dict):
        return node
    kind, of = node["is"], node["of"]
    if kind == "float":
        return float(of)
    if kind == "array":
        return tensors[of]
    if kind == "scalar":
        return tensors[of][()]
    if kind == "tuple":
        return tuple(_unpacked(of, tensors))
    if kind in ("dict", "counter"):
        found = {_unpacked(name, tensors): _unpacked(entry, tensors) for name, entry in of}
        return Counter(found) if kind == "counter" else found
    raise FileFormatError(f"unknown kind {kind!r}")
