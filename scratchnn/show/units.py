"""Units as circles, as small boxes in larger layers, and whole layers as blocks; the loss at the end."""

from __future__ import annotations

import numpy as np

from ..checks import Array
from .columns import Column, Network
from .heat import as_grid
from .markup import Markup, tag
from .numbers import number, short
from .svg import Place, cut, image, letter, rectangle, text

__all__ = ["BLOCK", "LOSS", "MOST_UNITS", "PILL", "RADIUS", "column_of_units", "loss_box"]

MOST_UNITS = 32  # in a layer that is drawn unit by unit
RADIUS = 30.0  # of a unit with both of its numbers
PILL = (84.0, 22.0)  # a unit of a larger layer
BLOCK = 156.0  # the side of a layer that is too large for units
LOSS = (128.0, 54.0)


def column_of_units(column: Column, place: Place, mode: str) -> list[Markup]:
    """All units of a layer. mode: "both" numbers in circles, "weights" with values, or "gradients"."""
    if column.size > MOST_UNITS:
        return [_block(column, place, mode)]
    if mode == "both":
        return [_circle(column, unit, place.x, y) for unit, y in enumerate(place.ys)]
    name = letter(column.letter, None, place.x, place.ys[0] - PILL[1] / 2 - 9, _style("letter", mode))
    if mode == "gradients":
        words = ["dL/d", tag("tspan", column.letter)]
        name = text(place.x, place.ys[0] - PILL[1] / 2 - 9, words, "num back")
    return [name, *[_pill(column, unit, place.x, y, mode) for unit, y in enumerate(place.ys)]]


def _style(class_: str, mode: str) -> str:
    return f"{class_} back" if mode == "gradients" else class_


def _words(column: Column, unit: int) -> str:
    words = f"{column.letter}[{unit}]"
    if column.values is not None:
        words += f" = {number(column.values[unit])}"
    if column.before is not None:
        words += f", before the activation {number(column.before[unit])}"
    if column.gradients is not None:
        words += f", gradient {number(column.gradients[unit])}"
    if column.bias is not None:
        words += f", bias {number(column.bias[unit])}"
        if column.dbias is not None:
            words += f" (gradient {number(column.dbias[unit])})"
    return words


def _circle(column: Column, unit: int, x: float, y: float) -> Markup:
    parts = [
        tag("title", _words(column, unit)),
        tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{RADIUS:g}", class_="unit"),
    ]
    if column.values is None:
        parts.append(letter(column.letter, unit, x, y + 5))
    else:
        parts.append(letter(column.letter, unit, x, y - RADIUS - 8))
        down = 5 if column.gradients is None else -1
        parts.append(text(x, y + down, short(column.values[unit]), "num big"))
    if column.gradients is not None:
        parts.append(text(x, y + 15, short(column.gradients[unit]), "num back"))
    if column.bias is not None:
        parts.append(
            text(x, y + RADIUS + 15, [tag("tspan", "bias ", class_="cap"), short(column.bias[unit])], "num")
        )
        if column.dbias is not None:
            parts.append(text(x, y + RADIUS + 28, short(column.dbias[unit]), "num back"))
    return tag("g", parts)


def _pill(column: Column, unit: int, x: float, y: float, mode: str) -> Markup:
    wide, tall = PILL
    shown = column.gradients if mode == "gradients" else column.values
    parts = [tag("title", _words(column, unit)), rectangle(x, y, wide, tall, "unit", tall / 2)]
    if shown is None:
        parts.append(text(x, y + 4, unit, "cap"))
    else:
        parts.append(text(x - wide / 2 + 14, y + 4, unit, "cap small"))
        parts.append(text(x + 9, y + 4, short(shown[unit], 2), _style("num", mode)))
    return tag("g", parts)


def _block(column: Column, place: Place, mode: str) -> Markup:
    """A square with the heat map of the layer's values, or of their gradients."""
    shown: Array | None = column.gradients if mode == "gradients" else column.values
    kind = "gradients" if mode == "gradients" else "values"
    words = f"{column.letter}: {column.size} {'units' if shown is None else kind}"
    if shown is not None:
        words += f", largest magnitude {number(np.abs(shown).max(), 3)}"
    x, y = place.x, place.ys[0]
    parts = [tag("title", words), rectangle(x, y, BLOCK, BLOCK, "unit", 4)]
    if shown is None:
        parts.append(text(x, y + 5, f"{column.size} units", "num big"))
    else:
        rows, columns = as_grid(shown).shape
        room = BLOCK - 16
        parts.append(image(shown, x, y, room * min(1.0, columns / rows), room * min(1.0, rows / columns)))
        parts.append(text(x, y - BLOCK / 2 - 9, f"{column.size} {kind}", _style("cap", mode)))
    return tag("g", parts)


def loss_box(network: Network, last: Place, x: float, mode: str) -> Markup:
    """The loss behind the last column, and what was wanted; `x` is its middle."""
    assert network.loss is not None
    wide, tall = LOSS
    y = sum(last.ys) / len(last.ys)
    start, end = last.x + last.half, x - wide / 2
    parts = [tag("path", d=f"M{start:.0f} {unit:.1f}L{end:.0f} {y:.1f}", class_="thread") for unit in last.ys]
    parts.append(rectangle(x, y, wide, tall, "unit", 6))
    if mode == "gradients":
        parts.append(text(x, y - 4, "dL/dL = 1", "num big back"))
    else:
        value = tag("tspan", f" = {number(network.loss)}", class_="num big")
        parts.append(text(x, y - 4, ["L", value], "letter"))
    parts.append(text(x, y + 15, cut(network.loss_name, 20), "cap"))
    if network.target is not None and network.target.size <= 3:
        wanted = ", ".join(number(value, 3) for value in network.target)
        mean = "mean target" if network.whose.startswith("mean") else "target"
        parts.append(text(x, y - tall / 2 - 10, f"{mean} {wanted}", "cap"))
    return tag("g", parts)
