"""The network as inline SVG: a circle a unit, a line a weight; large layers as blocks with a heat map.

A small network has all its numbers in one drawing. Of a larger one there are two: what went forward, and
what came back. Colours are names of the stylesheet's, so the drawing follows light and dark; a sign is
also told by the line (negative ones are dashed) and by the minus of the number.
"""

from __future__ import annotations

from itertools import pairwise

from .columns import Column, Network
from .lines import band, edge_labels, edges
from .markup import Markup, scrolling, tag
from .svg import Place, cut, drawing, text
from .units import BLOCK, LOSS, MOST_UNITS, PILL, RADIUS, column_of_units, loss_box

__all__ = ["diagram"]

MOST_CIRCLES = 6  # in a layer of circles
MOST_LABELS = 15  # weights between two layers that are written on their lines
SIDES = 16.0
GAP = {"both": 205.0, "weights": 170.0, "gradients": 170.0}
LINE = 15.0  # between two lines of text
APART = {"circles": 36.0, "circles with biases": 66.0, "pills": 5.0}  # between two units, one over the other
MOST_APART = 1.35  # times that, in a layer that is smaller than the largest
SPREAD = 2.5  # of way more for the lines, for each unit of the larger layer
ABOVE, HEADING, NAME = 6.0, 20.0, 40.0  # room over the drawing, for what travels where, for a column's letter
BELOW, BIAS = 26.0, 22.0  # room under the units, and for the biases under them
BEFORE_LOSS = 80.0
LEGIBLE, NEEDED = 0.82, 1100.0  # the scale at which text can still be read; as wide as need be
REM = 16.0


def diagram(network: Network) -> Markup:
    """One or two figures of the network, with a key to each; "" where there is nothing to draw."""
    if len(network.columns) < 2:
        return Markup("")
    drawn = _draw(network, "both") if _small(network) else None
    if drawn is not None:
        return tag("div", drawn, _key(network, "both"), class_="diagram")
    modes = ["weights", "gradients"] if network.has_gradients else ["weights"]
    return tag("div", [[_draw(network, mode), _key(network, mode)] for mode in modes], class_="diagram")


def _small(network: Network) -> bool:
    lines = [before.size * after.size for before, after in pairwise(network.columns)]
    return network.largest <= MOST_CIRCLES and max(lines) <= MOST_LABELS


def _draw(network: Network, mode: str) -> Markup | None:
    """The figure; None where the numbers of mode "both" do not fit on their lines."""
    columns = network.columns
    places, wide, bottom = _places(network, mode)
    below: list[Markup] = []  # the lines, and on them the numbers
    above: list[Markup] = []
    taken: list[tuple[float, float]] = []
    for after, start, end in zip(columns[1:], places, places[1:], strict=False):
        lined = after.connected and after.weight is not None
        if lined and len(start.ys) == after.weight.shape[1] and len(end.ys) == after.size:  # type: ignore[union-attr]
            below += edges(after, start, end, mode)
            if mode == "both":
                labels = edge_labels(after, start, end, taken)
                if labels is None:
                    return None
                above += labels
        else:
            below.append(band(after, start, end, mode))
    if network.loss is not None:
        above.append(loss_box(network, places[-1], wide - SIDES - LOSS[0] / 2, mode))
    for column, place in zip(columns, places, strict=True):
        above += column_of_units(column, place, mode)
        above += [
            text(place.x, bottom + LINE * (at + 1), cut(label), "cap")
            for at, label in enumerate(column.labels)
        ]
    tall = bottom + LINE * (max(len(column.labels) for column in columns) + 0.5)
    content = tag("g", _headings(network, mode, wide), below, above)
    about = "The same numbers stand in the tables of this page." if network.whose else ""
    svg = drawing(_title(network, mode), wide, tall, content, class_="network", about=about)
    # Not smaller than its text is legible, and not larger than life.
    bounds = f"min-width: {min(LEGIBLE * wide, NEEDED) / REM:.0f}rem; max-width: {wide / REM:.0f}rem"
    return scrolling("Diagram", tag("div", svg, style=bounds), wide=True, class_="scroll picture")


def _places(network: Network, mode: str) -> tuple[list[Place], float, float]:
    """Where the columns stand, how wide the drawing is, and below which y there are no units."""
    columns, both = network.columns, mode == "both"
    biases = both and any(column.bias is not None for column in columns)
    unit = 2 * RADIUS if both else PILL[1]
    step = unit + APART["pills" if not both else "circles with biases" if biases else "circles"]
    talls = [BLOCK if _is_block(c) else (c.size - 1) * step + unit for c in columns]
    above = ABOVE + (HEADING if _headings(network, mode, 0) else 0)
    middle = above + NAME + max(talls) / 2
    places: list[Place] = []
    x = SIDES
    for at, column in enumerate(columns):
        half = BLOCK / 2 if _is_block(column) else RADIUS if both else PILL[0] / 2
        if at:
            blocks = _is_block(column) or _is_block(columns[at - 1])
            # Many lines need a longer way to spread.
            x += GAP[mode] + (0 if both or blocks else SPREAD * max(column.size, columns[at - 1].size))
        x += half
        apart = step
        if both and column.size < network.largest:  # use the room that a larger layer leaves
            apart = step * min(MOST_APART, (network.largest - 0.4) / column.size)
        first = middle - (column.size - 1) / 2 * apart
        ys = [middle] if _is_block(column) else [first + i * apart for i in range(column.size)]
        places.append(Place(x, ys, half, talls[at]))
        x += half
    if network.loss is not None:
        x += BEFORE_LOSS + LOSS[0]
    return places, x + SIDES, middle + max(talls) / 2 + BELOW + (BIAS if biases else 0)


def _is_block(column: Column) -> bool:
    return column.size > MOST_UNITS


# Words --------------------------------------------------------------------------------------------


def _headings(network: Network, mode: str, wide: float) -> list[Markup]:
    """Above the drawing: which way each of the numbers travels."""
    made = []
    if network.whose and mode != "gradients":
        made.append(text(SIDES, 16, "forward: values and weights  ⟶", "way start forth"))
    if network.has_gradients and mode != "weights":
        made.append(text(wide - SIDES, 16, "⟵  backward: dL/d of each", "way end back"))
    return made


def _title(network: Network, mode: str) -> str:
    sizes = "-".join(str(column.size) for column in network.columns)
    what = {
        "both": "its weights and their gradients" if network.has_gradients else "its weights",
        "weights": "its values and weights" if network.whose else "its weights",
        "gradients": "the gradients of its values and weights"
        if network.whose
        else "gradients of its weights",
    }[mode]
    return f"Network {sizes}: {what}{f'; {network.whose}' if network.whose else ''}"


def _key(network: Network, mode: str) -> Markup:
    """How to read the drawing."""
    shown = "gradient" if mode == "gradients" else "weight"
    columns = network.columns
    blocks = any(_is_block(column) for column in columns)
    lines = any(not (_is_block(a) or _is_block(b)) for a, b in pairwise(columns))
    parts: list[str | Markup] = []
    if lines:
        parts += [
            tag("span", _sample("p"), f" positive {shown}", class_="sign"),
            tag("span", _sample("n"), f" negative {shown}", class_="sign"),
            f" A line is as thick as its {shown} is large, each layer on its own scale. ",
        ]
    if blocks:
        parts.append("In a block, vermilion is above zero and blue below; the largest has the full colour. ")
    if not network.whose:
        return tag("p", parts, class_="key")
    mean = network.whose.startswith("mean")
    whose = network.whose.removeprefix("mean ") if mean else f"for {network.whose}"
    if mode == "both":
        parts.append(f"In a circle: {'the mean of the values' if mean else 'the value'} {whose}")
        if network.has_gradients:
            parts += [" and, below, ", tag("span", "dL/d of it", class_="back")]
            parts += [". On a line: the weight and, below, ", tag("span", "its gradient", class_="back")]
            parts.append(", which the whole batch adds up to")
        parts.append(". ")
    elif mode == "weights":
        parts.append(f"A unit shows {'the mean of its values' if mean else 'its value'} {whose}. ")
    else:
        unit = tag("span", "mean of dL/d of its values" if mean else "dL/d of its value", class_="back")
        parts += [
            "A unit shows the ",
            unit,
            f" {whose}; the gradient of a weight is that of the whole batch. ",
        ]
    return tag("p", parts, class_="key")


def _sample(sign: str) -> Markup:
    words = "solid line" if sign == "p" else "dashed line"
    line = tag("path", d="M1 5H29", class_=f"w {sign}", stroke_width=3)
    return drawing(words, 30, 10, line, class_="sample")
