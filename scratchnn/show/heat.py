"""Arrays as small pictures: a colour for the sign, its strength for the size, none for zero.

The picture is a PNG of 255 colours within the page. The colours are those of every other picture here
(vermilion above zero, blue below) and fade into whatever paper they lie on, light or dark.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib

import numpy as np

from ..checks import Array
from .markup import Markup, tag
from .numbers import number

__all__ = ["as_grid", "heat_image", "heat_uri", "lies"]

POSITIVE, NEGATIVE, INVALID = (0xD5, 0x5E, 0x00), (0x1F, 0x7A, 0xB8), (0xCC, 0x79, 0xA7)
STRENGTHS = 127  # for each sign
LARGEST, VISIBLE = 9.0, 5.0  # of an entry, on the page
MOST = 128  # pixels along a side; more entries share a pixel


def as_grid(array: Array) -> Array:
    """Any array as (rows, columns): a vector as a square where its length is one (a picture's pixels)."""
    if array.ndim > 1:
        return array.reshape(-1, array.shape[-1])
    side = math.isqrt(array.size)
    if side > 1 and side * side == array.size:
        return array.reshape(side, side)
    columns = math.ceil(math.sqrt(array.size)) or 1
    padded = np.zeros(math.ceil(array.size / columns) * columns)
    padded[: array.size] = array.ravel()
    return padded.reshape(-1, columns)


def heat_uri(grid: Array) -> str:
    """(rows, columns) as a `data:` address of a PNG; full strength is the largest magnitude."""
    grid = _thinned(grid.astype(np.float64))
    finite = np.isfinite(grid)
    largest = float(np.abs(grid[finite]).max()) if finite.any() else 0.0
    with np.errstate(invalid="ignore"):
        strength = np.ceil(np.abs(grid) / (largest or 1.0) * STRENGTHS)
    index = np.where(grid > 0, strength, np.where(grid < 0, STRENGTHS + strength, 0))
    index = np.where(finite, index, 2 * STRENGTHS + 1).astype(np.uint8)
    strengths = [round(255 * k / STRENGTHS) for k in range(1, STRENGTHS + 1)]
    colours = bytes([0, 0, 0, *POSITIVE * STRENGTHS, *NEGATIVE * STRENGTHS, *INVALID])
    opacity = bytes([0, *strengths, *strengths, 255])
    rows, columns = index.shape
    lines = b"".join(b"\0" + row.tobytes() for row in index)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", colours),
            _chunk(b"tRNS", opacity),
            _chunk(b"IDAT", zlib.compress(lines, 9)),
            _chunk(b"IEND", b""),
        ]
    )
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def heat_image(name: str, array: Array, *, wide: int = 420, tall: int = 180) -> Markup:
    """An `img` of the array, as large as its entries need and the bounds allow, with words for it.

    A tall one lies on its side: see `lies`.
    """
    grid = as_grid(array)
    words = f"{grid.shape[0]} rows, {grid.shape[1]} columns"
    if lies(array):
        grid, words = grid.T, f"{words}, the rows from left to right"
    rows, columns = grid.shape
    across, down = min(LARGEST, wide / columns), min(LARGEST, tall / rows)
    square = min(across, down)  # an entry is one, unless it would be a hair
    across, down = max(square, min(across, VISIBLE)), max(square, min(down, VISIBLE))
    finite = np.abs(array[np.isfinite(array)])
    largest = number(finite.max(), 3) if finite.size else "none finite"
    return tag(
        "img",
        class_="heat",
        src=heat_uri(grid),
        width=max(1, round(columns * across)),
        height=max(1, round(rows * down)),
        alt=f"Heat map of {name}: {words}; largest magnitude {largest}",
    )


def lies(array: Array) -> bool:
    """Whether the picture has the array's rows from left to right, to save room: many samples, few units."""
    rows, columns = as_grid(array).shape
    return rows > 2 * columns


def _thinned(grid: Array) -> Array:
    """At most MOST x MOST: of the entries that share a pixel, the one of largest magnitude."""
    for axis in (0, 1):
        length = grid.shape[axis]
        if length > MOST:
            edges = np.linspace(0, length, MOST, endpoint=False).astype(int)
            high = np.maximum.reduceat(grid, edges, axis=axis)
            low = np.minimum.reduceat(grid, edges, axis=axis)
            grid = np.where(high >= -low, high, low)
    return grid


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
