"""Arrays as tables: small ones open, larger ones folded under a heat map, the largest by their corners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..checks import Array
from .heat import heat_image, lies
from .markup import Markup, join, scrolling, tag
from .numbers import cells, number, shape_text, spread

__all__ = ["array_block", "as_rows", "data_table", "row_name", "size_of"]

OPEN = 96  # entries that are shown at once
TALLEST = 16  # rows of those
WHOLE = 1600  # entries that are written at all; of more, the corners
NARROW = 4  # columns that fit on the smallest screen
CORNER = 6  # rows and columns of a corner, taken from either end
TINTS = 4

# What the letters of the formulas count.
WORDS = {"n": ("sample", "samples"), "d": ("input", "inputs"), "m": ("unit", "units")}


def array_block(name: str, array: Any, *, title: str = "", axes: str = "", key: str = "") -> Markup:
    """An array with its name: a number, a table, or a heat map with the table folded under it.

    Args:
        name: as the formulas write it. title: what the caption says instead, if anything.
        axes: the letters of its axes; "" where nobody knows what they are.
        key: the Python expression that gives the whole array, for arrays too large to write.
    """
    array = np.asarray(array)
    heading = join([tag("b", title or name), " ", tag("small", size_of(array, axes))])
    if array.ndim == 0 or array.size == 0:
        text = number(array[()]) if array.ndim == 0 else "empty"
        return tag("div", tag("p", heading, " ", tag("span", text, class_="value")), class_="array")
    if array.size <= OPEN and (array.ndim == 1 or array.size // array.shape[-1] <= TALLEST):
        body = scrolling(f"{name}, table", _table(array, axes, name), wide=array.shape[-1] > NARROW)
        return tag("div", tag("p", heading), body, class_="array")
    inside = [_table(array, axes, name)]
    if array.size > WHOLE:
        where = join([": ", tag("code", key)]) if key else ""
        inside.append(
            tag("p", "Only the corners are written; the whole array is in the trace", where, class_="hint")
        )
    words = spread(array)
    if lies(array):
        words += (
            "; in the picture, "
            + (f"{WORDS[axes[0]][1]} run" if len(axes) == 2 else "rows run")
            + " to the right"
        )
    summary = tag("summary", heading, " ", tag("small", words, class_="spread"))
    folded = tag("details", summary, scrolling(f"{name}, table", *inside, wide=array.shape[-1] > NARROW))
    return tag("div", heat_image(name, array), folded, class_="array large")


def data_table(
    heads: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    *,
    label: str,
    class_: str = "data",
) -> Markup:
    """A table of words and numbers; the first cell of a row is its heading.

    Args:
        heads: of the columns. rows: of cells. Either are texts, Markup, or pairs (content, class).
        label: what a screen reader calls it.
    """
    rows = [list(row) for row in rows]
    if rows and all(_pair(row[-1])[0] == "" for row in rows):  # a column of no remarks
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    head = tag("tr", [_headed(cell) for cell in heads])
    body = []
    for first, *rest in rows:
        row = [tag("th", first, scope="row")]
        row += [tag("td", content, class_=kind) for content, kind in map(_pair, rest)]
        body.append(tag("tr", row))
    title = tag("caption", label, class_="hidden")
    table = tag("table", title, tag("thead", head), tag("tbody", body), class_=class_)
    return scrolling(label, table, wide=len(heads) > 3)


def _headed(cell: Any) -> Markup:
    content, kind = _pair(cell)
    return tag("th", content, class_=kind, scope="col")


def _pair(cell: Any) -> tuple[Any, str | None]:
    return cell if isinstance(cell, tuple) else (cell, None)


def size_of(array: Array, letters: str) -> str:
    """2 samples × 3 units; the plain shape where nobody knows what the axes are."""
    if not letters:
        return shape_text(array.shape) if array.ndim else ""
    return " × ".join(
        f"{length} {WORDS[letter][length != 1]}" for length, letter in zip(array.shape, letters, strict=True)
    )


def _table(array: Array, letters: str, name: str) -> Markup:
    grid = as_rows(array)
    rows, columns = _kept(grid.shape[0], array.size), _kept(grid.shape[1], array.size)
    part = grid[np.ix_([r for r in rows if r >= 0], [c for c in columns if c >= 0])]
    texts, tints = iter(cells(part)), iter(_tints(part, grid))
    plain = array.ndim == 1  # a row that needs no heading
    head = [] if plain else [tag("td", _corner(letters), class_="corner")]
    head += [_gap() if c < 0 else tag("th", c, scope="col") for c in columns]
    body = []
    for r in rows:
        if r < 0:
            body.append(tag("tr", tag("th", "⋮", scope="row"), [_gap("⋮") for _ in columns]))
            continue
        pairs = iter(zip(next(texts), next(tints), strict=True))
        row = [] if plain else [tag("th", row_name(r, array), scope="row")]
        for c in columns:
            row.append(_gap() if c < 0 else _cell(*next(pairs)))
        body.append(tag("tr", row))
    title = tag("caption", name, class_="hidden")
    return tag("table", title, tag("thead", tag("tr", head)), tag("tbody", body), class_="numbers")


def _kept(length: int, size: int) -> list[int]:
    """Which indices are written; -1 is where some are left out."""
    if size <= WHOLE or length <= 2 * CORNER:
        return list(range(length))
    return [*range(CORNER), -1, *range(length - CORNER, length)]


def as_rows(array: Array) -> Array:
    """(rows, columns) of any array: a vector is one row; the last axis goes across."""
    return array.reshape(1, -1) if array.ndim == 1 else array.reshape(-1, array.shape[-1])


def row_name(r: int, array: Array) -> str:
    """The index of a row of `as_rows` in the array; "" for a vector's."""
    return ", ".join(str(int(i)) for i in np.unravel_index(r, array.shape[:-1]))


def _corner(letters: str) -> Markup | str:
    if len(letters) < 2:
        return ""
    return join([tag("i", letters[0]), "\\", tag("i", letters[-1])])


def _gap(text: str = "⋯") -> Markup:
    return tag("td", text, class_="gap")


def _cell(text: str, tint: int) -> Markup:
    kind = None if tint == 0 else f"p{tint}" if tint > 0 else f"n{-tint}"
    return tag("td", text, class_=kind)


def _tints(part: Array, grid: Array) -> list[list[int]]:
    """-TINTS to TINTS for each entry: its sign and how large it is beside the largest."""
    if grid.dtype.kind not in "f":
        return [[0] * part.shape[1] for _ in range(part.shape[0])]
    finite = np.abs(grid[np.isfinite(grid)])
    largest = float(finite.max()) if finite.size else 0.0
    clean = np.where(np.isfinite(part), part, 0.0)
    strength = np.ceil(np.abs(clean) / (largest or 1.0) * TINTS - 0.5)
    return [[int(v) for v in row] for row in np.sign(clean) * strength]
