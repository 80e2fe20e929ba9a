"""The network as a drawing: a circle a unit, a square a bias, a line a weight."""

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
COLUMN = 2.0  # how far apart layers stand; units of a layer stand 1 apart
RADIUS = 0.28


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
    places = [_column(at, size) for at, size in enumerate(sizes)]
    top = max(column[0, 1] for column in places) + 1.15
    if ax is None:
        tall = max(2.2, top + max(-column[-1, 1] for column in places) + 1.5)
        ax = new_figure(2.3 * (len(sizes) - 1) + 2.6, 0.75 * tall + 1.2).subplots()
    for at, linear in enumerate(linears):
        bias = None if linear.bias is None else linear.bias.data
        weights = np.abs(linear.weight.data)
        largest = max(float(weights.max()), 0.0 if bias is None else float(np.abs(bias).max())) or 1.0
        for to, row in enumerate(linear.weight.data):
            for start, weight in enumerate(row):
                _edge(ax, places[at][start], places[at + 1][to], float(weight), largest)
        if bias is not None:
            corner = np.array([COLUMN * (at + 0.15), top])
            for to, weight in enumerate(bias):
                _edge(ax, corner, places[at + 1][to], float(weight), largest)
            ax.plot(*corner, marker="s", markersize=21, color="#dddddd", markeredgecolor=BLACK, zorder=3)
            ax.text(corner[0], corner[1], "1", ha="center", va="center", fontsize=TEXT, zorder=4)
        middle = COLUMN * (at + 0.5)
        text = f"layer {at + 1}\nthickest = {largest:.3g}"
        ax.annotate(
            text, (middle, min(c[-1, 1] for c in places) - 0.55), ha="center", va="top", fontsize=TEXT
        )
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


def _column(at: int, size: int) -> Array:
    """(size, 2) where the units of layer `at` stand, the first one on top."""
    return np.stack([np.full(size, COLUMN * at), (size - 1) / 2 - np.arange(size)], axis=1)


def _edge(ax: Axes, start: Array, end: Array, weight: float, largest: float) -> None:
    width = max(THINNEST, THICKEST * abs(weight) / largest)
    line = {"color": VERMILION} if weight >= 0 else {"color": BLUE, "linestyle": (0, (3, 1))}
    ax.plot(*np.stack([start, end], axis=1), linewidth=width, zorder=1, solid_capstyle="butt", **line)
