"""The network as a drawing: a circle a unit, a square a bias, a line a weight."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scratchnn.checks import Array
from scratchnn.layers import Linear

from .hidden import first_linear
from .look import BLACK, BLUE, TEXT, TITLE, VERMILION, new_figure

MOST_UNITS = 16  # in a layer
MOST_LAYERS = 6
THICKEST, THINNEST = 7.0, 0.4  # points
COLUMN = 2.0  # how far apart layers stand, at least; units of a layer stand 1 apart


def network_diagram(model: Any, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw a chain of Linear layers: units, biases, and each weight as a line as thick as it is large.

    Positive weights are vermilion and solid, negative ones blue and dashed. The thickness is in
    proportion to |weight|, each layer on its own scale: a layer of large weights must not hide another.

    Args:
        model: a Module whose Linears each take what the one before gives; at most 16 units a layer.
    Raises:
        TypeError: if the model is no Module.
        ValueError: if its Linears are no such chain.
    """
    first_linear(model, "network_diagram", inputs=None)
    linears = [part for part in model.modules() if isinstance(part, Linear)]
    sizes = [linears[0].weight.shape[1], *(linear.weight.shape[0] for linear in linears)]
    for before, after in pairwise(linears):
        if after.weight.shape[1] != before.weight.shape[0]:
            raise ValueError(f"network_diagram got {after!r} after {before!r}; it draws a chain of layers")
    if max(sizes) > MOST_UNITS or len(linears) > MOST_LAYERS:
        raise ValueError(
            f"network_diagram got layers of {', '.join(map(str, sizes))} units; it draws at most "
            f"{MOST_UNITS} units a layer and {MOST_LAYERS} layers"
        )
    apart = max(COLUMN, 0.3 * max(sizes))
    thickest = THICKEST * min(1.0, 5 / max(sizes))  # many lines must leave room for each other
    places = [_column(at * apart, size) for at, size in enumerate(sizes)]
    top = max(column[0, 1] for column in places) + 1.15
    if ax is None:
        tall = max(2.2, top + max(-column[-1, 1] for column in places) + 1.5)
        ax = new_figure(1.1 * apart * (len(sizes) - 1) + 1.2, 0.75 * tall + 1.2).subplots()
    for at, linear in enumerate(linears):
        bias = None if linear.bias is None else linear.bias.data
        weights = np.abs(linear.weight.data)
        largest = max(float(weights.max()), 0.0 if bias is None else float(np.abs(bias).max())) or 1.0
        for to, row in enumerate(linear.weight.data):
            for start, weight in enumerate(row):
                _edge(ax, places[at][start], places[at + 1][to], thickest * float(weight) / largest)
        if bias is not None:
            corner = np.array([apart * (at + 0.15), top])
            for to, weight in enumerate(bias):
                _edge(ax, corner, places[at + 1][to], thickest * float(weight) / largest)
            ax.plot(*corner, marker="s", markersize=21, color="#dddddd", markeredgecolor=BLACK, zorder=3)
            ax.text(corner[0], corner[1], "1", ha="center", va="center", fontsize=TEXT, zorder=4)
        middle, low = apart * (at + 0.5), min(column[-1, 1] for column in places) - 0.55
        ax.text(middle, low, f"layer {at + 1}\nthickest: {largest:.3g}", ha="center", va="top", fontsize=TEXT)
        ax.plot(middle, low - 0.6, alpha=0)  # room for that
    letters = ["x", *["h" if len(sizes) < 4 else f"h^{{({at})}}" for at in range(1, len(sizes) - 1)], "y"]
    for column, letter in zip(places, letters, strict=True):
        for unit, place in enumerate(column, start=1):
            ax.plot(*place, marker="o", markersize=27, color="white", markeredgecolor=BLACK, zorder=3)
            name = f"${letter}_{{{unit}}}$"
            ax.text(place[0], place[1], name, ha="center", va="center", fontsize=TEXT, zorder=4)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_axis_off()
    ax.margins(0.08)
    signs = [
        Line2D([], [], color=VERMILION, linewidth=3, label="weight > 0"),
        Line2D([], [], color=BLUE, linewidth=3, linestyle=(0, (3, 1)), label="weight < 0"),
    ]
    ax.legend(
        handles=signs, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, frameon=False, fontsize=TEXT
    )
    if title:
        ax.set_title(title, fontsize=TITLE, loc="left")
    return ax


def _column(across: float, size: int) -> Array:
    """(size, 2) where the units of a layer stand, the first one on top."""
    return np.stack([np.full(size, across), (size - 1) / 2 - np.arange(size)], axis=1)


def _edge(ax: Axes, start: Array, end: Array, weight: float) -> None:
    """A line `weight` points thick, dashed where it is negative."""
    line: Any = {"color": VERMILION} if weight >= 0 else {"color": BLUE, "linestyle": (0, (3, 1))}
    width = max(THINNEST, abs(weight))
    ax.plot(*np.stack([start, end], axis=1), linewidth=width, zorder=1, solid_capstyle="butt", **line)
