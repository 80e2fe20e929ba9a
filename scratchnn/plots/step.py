"""One step of backprop as a drawing: the values that went forward, the gradients that came back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from scratchnn.checks import Array
from scratchnn.show.columns import Column, network_of_trace
from scratchnn.show.heat import as_grid
from scratchnn.show.lines import label_places

from .look import BLACK, BLUE, TITLE, VERMILION, new_figure

MOST_UNITS = 32  # in a layer that is drawn unit by unit
SMALL_LAYER = 6  # units; in networks of such layers the numbers stand on the lines
THICKEST, THINNEST = 5.0, 0.5  # points
APART, TALLEST = 2.9, 7.0  # inches between layers; of a column
LEAST = 0.33  # inches between two units
UNIT, BLOCK = 0.34, 1.5  # inches: a unit's radius, a block's side
LABEL = (0.5, 0.36)  # inches: the two numbers on a line
SMALL = 8.5  # points
BACK = "#8a3a7a"  # of every gradient
HEAT = LinearSegmentedColormap.from_list("sign", [BLUE, "white", VERMILION])


def trace_diagram(
    trace: Any, *, sample: int | None = None, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Draw the network of a trace: in each unit its value and dL/d of it, each weight as a line.

    Positive weights are vermilion and solid, negative ones blue and dashed, as thick as they are large, each
    layer on its own scale. In a network of at most 6 units a layer the weights and, in purple, their
    gradients over the whole batch stand on the lines, where there is room. A layer of more than 32 units is
    a block with a heat map of its values.

    Args:
        trace: made by `snn.trace`. sample: whose values; None for the mean over the batch.
    Raises:
        TypeError: no trace. IndexError: a sample that the batch has not.
    """
    network = network_of_trace(trace, sample)
    columns = network.columns
    most = max([column.size for column in columns if column.size <= MOST_UNITS], default=1)
    step = 1.25 if most <= SMALL_LAYER else max(TALLEST / most, LEAST)
    radius = min(UNIT, 0.42 * step)
    taken: list[tuple[float, float]] | None = [] if most <= SMALL_LAYER else None
    heights = [BLOCK if _is_block(c) else c.size * step for c in columns]
    wide = APART * len(columns)
    if ax is None:
        ax = new_figure(wide + 0.8, max(heights) + 1.6).subplots()
    places = [_column(at * APART, column, step) for at, column in enumerate(columns)]
    for (before, start), (after, end) in pairwise(zip(columns, places, strict=True)):
        if after.connected and after.weight is not None and not (_is_block(before) or _is_block(after)):
            _lines(ax, after, start, end)
            if taken is not None:
                _numbers(ax, after, start, end, radius, taken)
        else:
            _band(ax, after, start, end, [BLOCK if _is_block(c) else c.size * step for c in (before, after)])
    for column, place in zip(columns, places, strict=True):
        if _is_block(column):
            _block(ax, column, place)
        else:
            _units(ax, column, place, radius)
        low = -max(heights) / 2 - 0.25
        # A dollar in somebody's name for a module is a dollar.
        words: Any = {"ha": "center", "va": "top", "fontsize": SMALL, "parse_math": False}
        ax.text(place[0, 0], low, "\n".join(column.labels), **words)
        ax.plot(place[0, 0], low - 0.2 * len(column.labels), alpha=0)  # room for that
    end_x = places[-1][0, 0] + 0.62 * APART
    ax.text(
        end_x, 0, f"L = {trace.loss:.4g}\n{network.loss_name}", ha="center", va="center", fontsize=SMALL + 2
    )
    ax.plot(end_x + 0.5, 0, alpha=0)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_axis_off()
    ax.margins(0.05)
    ax.legend(handles=_signs(), loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False)
    ax.set_title(title or f"One step of backprop, {network.whose}", fontsize=TITLE, loc="left")
    return ax


def _signs() -> list[Line2D]:
    return [
        Line2D([], [], color=VERMILION, linewidth=3, label="weight > 0"),
        Line2D([], [], color=BLUE, linewidth=3, linestyle=(0, (3, 1)), label="weight < 0"),
        Line2D([], [], color=BACK, marker="$d$", linestyle="", label="dL/d of it"),
    ]


def _is_block(column: Column) -> bool:
    return column.size > MOST_UNITS


def _column(x: float, column: Column, step: float) -> Array:
    """(units, 2) where they stand, the first one on top; a block has one place."""
    count = 1 if _is_block(column) else column.size
    return np.stack([np.full(count, x), ((count - 1) / 2 - np.arange(count)) * step], axis=1)


def _lines(ax: Axes, column: Column, start: Array, end: Array) -> None:
    weight = column.weight
    assert weight is not None
    largest = float(np.abs(weight).max()) or 1.0
    thickest = THICKEST * min(1.0, 6 / max(weight.shape))
    for (to, source), value in np.ndenumerate(weight):
        style: Any = {"color": VERMILION} if value >= 0 else {"color": BLUE, "linestyle": (0, (3, 1))}
        width = max(THINNEST, thickest * abs(value) / largest)
        ax.plot(*np.stack([start[source], end[to]]).T, linewidth=width, zorder=1, **style)


def _numbers(ax: Axes, column: Column, start: Array, end: Array, radius: float, taken: Any) -> None:
    """Each weight and its gradient on its line, where there is room for all of them."""
    assert column.weight is not None
    span = (start[0, 0] + radius, end[0, 0] - radius)
    places = label_places(span, list(start[:, 1]), list(end[:, 1]), LABEL, taken)
    for (to, source), (x, y) in (places or {}).items():
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
        kept: Any = {"ha": "center", "fontsize": SMALL, "zorder": 5, "bbox": box}
        ax.text(x, y + 0.02, f"{column.weight[to, source]:.2g}", va="bottom", **kept)
        if column.dweight is not None:
            ax.text(x, y - 0.02, f"{column.dweight[to, source]:.2g}", va="top", color=BACK, **kept)


def _band(ax: Axes, column: Column, start: Array, end: Array, heights: list[float]) -> None:
    """What leads to or from a block."""
    x0, x1, half0, half1 = start[0, 0], end[0, 0], heights[0] / 2, heights[1] / 2
    ax.fill([x0, x1, x1, x0], [half0, half1, -half1, -half0], color="#eeeeee", zorder=0)
    if column.weight is not None:
        rows, columns = column.weight.shape
        name = f"{column.weight_name}\n{rows} × {columns}"
        ax.text((x0 + x1) / 2, 0, name, ha="center", va="center", fontsize=SMALL, parse_math=False)


def _units(ax: Axes, column: Column, place: Array, radius: float) -> None:
    """Circles with the value above the gradient; in a large layer, ovals with the two side by side."""
    beside = radius < UNIT / 2
    wide = 0.48 if beside else radius
    size = SMALL if not beside else 0.8 * SMALL
    for unit, (x, y) in enumerate(place):
        ax.add_patch(Ellipse((x, y), 2 * wide, 2 * radius, facecolor="white", edgecolor=BLACK, zorder=3))
        texts = [] if column.values is None else [(f"{column.values[unit]:.2g}", BLACK)]
        if column.gradients is not None:
            texts.append((f"{column.gradients[unit]:.1g}", BACK))
        for at, (text, color) in enumerate(texts):
            off = at - 0.5 * (len(texts) - 1)
            spot = (x + 0.42 * off, y) if beside else (x, y - 0.75 * radius * off)
            ax.text(*spot, text, ha="center", va="center", color=color, fontsize=size, zorder=4)


def _block(ax: Axes, column: Column, place: Array) -> None:
    (x, y), half = place[0], BLOCK / 2
    if column.values is not None:
        grid = as_grid(column.values)
        largest = float(np.abs(grid).max()) or 1.0
        extent = (x - half, x + half, y - half, y + half)
        ax.imshow(grid, cmap=HEAT, vmin=-largest, vmax=largest, extent=extent, zorder=3, aspect="auto")
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * half + place[0]
    ax.plot(*corners.T, color=BLACK, linewidth=1, zorder=4)
    ax.text(x, y + half + 0.1, f"{column.size} units", ha="center", va="bottom", fontsize=SMALL)
