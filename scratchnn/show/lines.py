"""Weights as lines between units, and as bands where a layer is too large for lines."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ..checks import Array
from .columns import Column
from .markup import Markup, tag
from .numbers import number, short
from .svg import Place, image, rectangle, text

__all__ = ["band", "edge_labels", "edges", "label_places"]

THICKEST, THINNEST = 5.0, 0.6
FAINTEST, STRONGEST = 0.3, 0.92  # opacity
LABEL = (50.0, 29.0)  # the two numbers on a line
SHARES = tuple(k / 20 for k in range(4, 17))  # of the way along a line
WIDEST = 132.0  # the picture of a weight in its band


def edges(column: Column, start: Place, end: Place, mode: str) -> list[Markup]:
    """A line a weight, as thick as it is large, each layer on its own scale; small ones fade."""
    weight = column.weight
    assert weight is not None
    shown = column.dweight if mode == "gradients" else weight
    if shown is None:
        shown = np.zeros_like(weight)
    sizes = np.abs(np.nan_to_num(np.asarray(shown, dtype=np.float64), posinf=0.0, neginf=0.0))
    largest = float(sizes.max()) or 1.0
    thickest = THICKEST if mode == "both" else THICKEST * min(1.0, 4 / max(shown.shape) ** 0.75)
    faintest = FAINTEST if max(shown.shape) <= 6 else FAINTEST / 2
    made = []
    for to, row in enumerate(shown):
        for source, value in enumerate(row):
            share = float(sizes[to, source]) / largest
            words = f"{column.weight_name}[{to}, {source}] = {number(weight[to, source])}"
            if column.dweight is not None:
                words += f", gradient {number(column.dweight[to, source])}"
            path = (
                f"M{start.x + start.half:.0f} {start.ys[source]:.1f}L{end.x - end.half:.0f} {end.ys[to]:.1f}"
            )
            made.append(
                tag(
                    "path",
                    tag("title", words),
                    d=path,
                    class_="w n" if value < 0 else "w p" if value > 0 else "w z",
                    stroke_width=f"{max(THINNEST, thickest * share):.2f}",
                    stroke_opacity=f"{faintest + (STRONGEST - faintest) * share:.2f}",
                )
            )
    return made


def edge_labels(
    column: Column, start: Place, end: Place, taken: list[tuple[float, float]]
) -> list[Markup] | None:
    """Each weight and its gradient on its line; None if two would lie on each other. See `label_places`."""
    assert column.weight is not None
    wide, tall = LABEL if column.dweight is not None else (LABEL[0], LABEL[1] - 12)
    span = (start.x + start.half, end.x - end.half)
    places = label_places(span, start.ys, end.ys, (wide, tall), taken)
    if places is None:
        return None
    made = []
    for (to, source), (x, y) in places.items():
        made.append(rectangle(x, y, wide - 2, tall - 2, "paper"))
        weight = short(column.weight[to, source])
        if column.dweight is None:
            made.append(text(x, y + 4, weight, "num"))
        else:
            made.append(text(x, y - 2, weight, "num"))
            made.append(text(x, y + 11, short(column.dweight[to, source]), "num back"))
    return made


def label_places(
    span: tuple[float, float],
    starts: Sequence[float],
    ends: Sequence[float],
    size: tuple[float, float],
    taken: list[tuple[float, float]],
) -> dict[tuple[int, int], tuple[float, float]] | None:
    """Where on the line from each start to each end its label stands, far from other labels and lines.

    Args:
        span: x where lines start and end. starts, ends: their y there. size: of a label.
        taken: middles of the labels placed so far; the new ones are added.
    Returns:
        {(end, start): (x, y)}; None if two labels would lie on each other.
    """
    wide, tall = size
    lines = [(to, source) for to in range(len(ends)) for source in range(len(starts))]

    def point(line: tuple[int, int], share: float) -> tuple[float, float]:
        to, source = line
        return span[0] + share * (span[1] - span[0]), starts[source] + share * (ends[to] - starts[source])

    def room(line: tuple[int, int], share: float) -> float:
        """How far from what is there already, 1 where boxes just touch."""
        x, y = point(line, share)
        boxes = [max(abs(x - a) / wide, abs(y - b) / tall) for a, b in taken]
        others = [abs(y - point(other, share)[1]) / tall + 0.45 for other in lines if other != line]
        return min([*boxes, *others, 1.6]) - 0.1 * abs(share - 0.5)

    places = {}
    for line in lines:
        x, y = point(line, max(SHARES, key=functools.partial(room, line)))
        if any(abs(x - a) < wide and abs(y - b) < tall for a, b in taken):
            return None
        taken.append((x, y))
        places[line] = (x, y)
    return places


def band(column: Column, start: Place, end: Place, mode: str) -> Markup:
    """What leads to or from a block: a broad band with the picture of its weight, if it has one."""
    x0, x1 = start.x + start.half + 4, end.x - end.half - 4
    y0, y1 = sum(start.ys) / len(start.ys), sum(end.ys) / len(end.ys)
    high0, high1 = start.tall / 2, end.tall / 2
    shape = (
        f"M{x0:.0f} {y0 - high0:.0f}L{x1:.0f} {y1 - high1:.0f}"
        f"L{x1:.0f} {y1 + high1:.0f}L{x0:.0f} {y0 + high0:.0f}Z"
    )
    parts = [tag("path", d=shape, class_="band")]
    shown: Array | None = column.dweight if mode == "gradients" else column.weight
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    if shown is None or not column.connected:
        words = "no weight" if column.connected else "the model's own forward"
        return tag("g", parts, text(x, y + 4, words, "cap"))
    rows, columns = shown.shape
    scale = min(WIDEST / columns, max(24.0, min(start.tall, end.tall) - 64) / rows)
    wide, tall = max(12.0, columns * scale), max(12.0, rows * scale)
    parts.append(rectangle(x, y, wide + 6, tall + 6, "paper"))
    parts.append(image(shown, x, y, wide, tall))
    parts.append(text(x, y - tall / 2 - 9, column.weight_name, "cap"))
    size = f"{rows} × {columns}"
    parts.append(text(x, y + tall / 2 + 17, f"gradient, {size}" if mode == "gradients" else size, "cap"))
    return tag("g", parts)
