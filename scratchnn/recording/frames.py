"""A file that grows by frames, each whole by itself: what a killed process has written stays readable.

    "SNNR"  length of the text  length of the body  SHA-256 of both  text  body

The text is JSON: the frame's plain values, in which arrays are named, and the list of the arrays, whose bytes
make up the body, in order. Nothing is pickled, and reading runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from ..checks import Array
from ..files.errors import FileFormatError
from ..files.state_file import DTYPES, _packed, _unpacked

__all__ = ["frame", "frames"]

HEAD = struct.Struct("<4sQQ32s")
MAGIC = b"SNNR"


def frame(kind: str, state: dict[str, Any]) -> bytes:
    """One frame; the last array of `state` ends where the frame ends."""
    tensors: dict[str, Array] = {}
    packed = _packed("Recording", kind, state, tensors)
    listed = [[name, value.dtype.name, list(value.shape)] for name, value in tensors.items()]
    text = json.dumps({"kind": kind, "state": packed, "arrays": listed}, allow_nan=False).encode()
    body = b"".join(value.tobytes() for value in tensors.values())
    return HEAD.pack(MAGIC, len(text), len(body), hashlib.sha256(text + body).digest()) + text + body


def frames(path: str, file: IO[bytes]) -> Iterator[tuple[str, dict[str, Any], int, int]]:
    """(kind, state, where it begins, where it ends) of every whole frame; a last one that is cut is left out.

    Raises:
        FileFormatError: no recording, or a damaged frame with others after it.
    """
    file.seek(0, 2)
    size, at = file.tell(), 0
    while at + HEAD.size <= size:
        file.seek(at)
        magic, text_size, body_size, digest = HEAD.unpack(file.read(HEAD.size))
        end = at + HEAD.size + text_size + body_size
        whole = magic == MAGIC and end <= size
        data = file.read(text_size + body_size) if whole else b""
        if not whole or hashlib.sha256(data).digest() != digest:
            if at and (magic != MAGIC or end >= size):
                return  # the last one, cut in the middle
            raise FileFormatError(f"{path} is damaged at byte {at}, or is no recording")
        yield (*_read(path, data[:text_size], data[text_size:]), at, end)
        at = end
    if at == 0:
        raise FileFormatError(f"{path} is no recording: it has {size} bytes")


def _read(path: str, text: bytes, body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        found = json.loads(text)
        tensors, at = {}, 0
        for name, dtype, shape in found["arrays"]:
            if dtype not in DTYPES:
                raise FileFormatError(f"an array of {dtype!r}")
            size = math.prod(shape) * np.dtype(dtype).itemsize
            tensors[name] = np.frombuffer(body[at : at + size], dtype).reshape(shape).copy()
            at += size
        return str(found["kind"]), dict(_unpacked(found["state"], tensors))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} holds a frame of another format: {error!r}") from error
