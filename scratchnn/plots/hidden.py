"""Pictures of a hidden layer: the line each unit draws, the regions the lines cut, and what the units say.

The hidden layer is the model's first Linear and the activation after it. Unit j answers
a_j = f(w_j . x + b_j), so it switches where w_j . x + b_j = 0: a straight line in the plane.

N points, H hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from scratchnn.checks import Array
from scratchnn.layers import Linear

from .look import BLACK, BLUE, TEXT, VERMILION, axes_or_new, tint
from .plane import Extent, evaluating, extent_of, over_the_plane, with_points

MOST_UNITS_WITH_CODES = 8  # a code is a digit a unit; longer ones fit in no region
ROOM_FOR_A_DIGIT = 0.009  # half the width that a region needs, in parts of the picture
PALE = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}


def decision_lines(
    model: Any,
    x: Array | None = None,
    y: Array | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    names: Sequence[str] | None = None,
    extent: Extent | None = None,
) -> Axes:
    """Draw the line w1 x1 + w2 x2 + b = 0 of each hidden unit, with an arrow to the side where it is on.

    Args:
        model: a Module that calls a Linear(2, H) first.
        x, y: points and classes to draw below the lines, as `points` takes them.
        extent: (left, right, bottom, top); without it, a little more than `x` covers.
    Raises:
        TypeError: if the model is no Module.
        ValueError: if its first Linear takes no points of the plane.
    """
    linear = first_linear(model, "decision_lines")
    extent = extent_of("decision_lines", x, extent)
    ax = with_points(axes_or_new(ax), x, y, extent, title, names)
    size = max(extent[1] - extent[0], extent[3] - extent[2])
    placed: list[Array] = []
    unseen = []
    for unit, (weight, bias) in enumerate(lines(linear), start=1):
        ends = _across(weight, bias, extent)
        if ends is None:
            unseen.append(str(unit))
            continue
        ax.plot(*ends.T, color=BLACK, linewidth=1.8, zorder=4)
        arrow = 0.09 * size * weight / np.hypot(*weight)
        at = _free_place(ends, arrow, extent, placed)
        placed.append(at)
        ax.annotate(
            "",
            xy=tuple(at + arrow),
            xytext=tuple(at),
            annotation_clip=False,
            arrowprops={"arrowstyle": "-|>", "color": BLACK, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0},
            zorder=5,
        )
        ax.text(at[0], at[1], str(unit), ha="center", va="center", fontsize=TEXT, zorder=6, bbox=_BALL)
    if unseen:
        text = f"outside the picture: line {', '.join(unseen)}"
        ax.text(0.02, 0.02, text, transform=ax.transAxes, fontsize=TEXT, zorder=6, bbox=PALE)
    return ax


_BALL = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": BLACK, "linewidth": 1.2}


def hidden_regions(
    model: Any,
    x: Array | None = None,
    y: Array | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    names: Sequence[str] | None = None,
    extent: Extent | None = None,
) -> Axes:
    """Draw the regions that the hidden units' lines cut, each labelled by its code.

    A code has a digit a unit, 1 where the unit is on (w . x + b > 0). A region is coloured by the mean
    of the model's output in it. A region too small for its code gets none.

    Args:
        model: a Module that calls a Linear(2, H) first, H at most 8, and gives one probability.
        x, y: points and classes to draw on top, as `points` takes them.
        extent: (left, right, bottom, top); without it, a little more than `x` covers.
    Raises:
        TypeError: if the model is no Module.
        ValueError: if it has another shape, or more than 8 hidden units.
    """
    linear = first_linear(model, "hidden_regions")
    units = len(linear.weight.data)
    if units > MOST_UNITS_WITH_CODES:
        raise ValueError(
            f"hidden_regions got a model with {units} hidden units; a code of more than "
            f"{MOST_UNITS_WITH_CODES} digits fits in no region, use decision_lines"
        )
    extent = extent_of("hidden_regions", x, extent)
    first, second, outputs = over_the_plane(model, extent)
    if outputs.shape[1] != 1 or outputs.min() < 0 or outputs.max() > 1:
        raise ValueError(
            f"hidden_regions got a model with {outputs.shape[1]} outputs from {outputs.min():.3g} to "
            f"{outputs.max():.3g}; it needs one probability, so end the model with Linear(H, 1), Sigmoid"
        )
    on = np.stack([weight[0] * first + weight[1] * second + bias > 0 for weight, bias in lines(linear)])
    powers = 2 ** np.arange(units - 1, -1, -1)
    code = np.tensordot(powers, on, axes=1)
    mean = np.zeros(first.shape)
    output = outputs[:, 0].reshape(first.shape)
    for number in np.unique(code):
        mean[code == number] = output[code == number].mean()

    ax = axes_or_new(ax)
    colors = LinearSegmentedColormap.from_list("regions", [tint(BLUE), (0.98, 0.98, 0.98), tint(VERMILION)])
    ax.pcolormesh(first, second, mean, cmap=colors, vmin=0, vmax=1, shading="nearest", rasterized=True)
    for weight, bias in lines(linear):
        ends = _across(weight, bias, extent)
        if ends is not None:
            ax.plot(*ends.T, color=BLACK, linewidth=1.2, zorder=4)
    for number in np.unique(code):
        row, column, room = _middle(code == number)
        if room >= ROOM_FOR_A_DIGIT * max(3, units):
            text = f"{number:0{units}b}"
            size = TEXT if room >= 2 * ROOM_FOR_A_DIGIT * units else 0.85 * TEXT
            place = first[row, column], second[row, column]
            ax.text(*place, text, ha="center", va="center", fontsize=size, zorder=6, bbox=PALE)
    return with_points(ax, x, y, extent, title, names)


# ---------------------------------------------------------------- the hidden layer of a model


def first_linear(model: Any, owner: str, inputs: int | None = 2) -> Linear:
    """The first Linear that the model holds.

    Raises:
        TypeError: if the model is no Module.
        ValueError: if there is none, or it takes another number of inputs.
    """
    if not hasattr(model, "modules") or not hasattr(model, "named_parameters"):
        raise TypeError(f"{owner} got a {type(model).__name__}; it looks inside, so it needs a Module")
    found = [part for part in model.modules() if isinstance(part, Linear)]
    if not found:
        hint = ""
        if type(model).__module__.startswith("torch"):
            hint = "; make one of a torch module by reference.from_torch(module)"
        raise ValueError(f"{owner} got a {type(model).__name__} without a scratchnn Linear{hint}")
    if inputs is not None and found[0].weight.shape[1] != inputs:
        raise ValueError(
            f"{owner} got a model whose first layer is {found[0]!r}; a picture of the plane needs "
            f"{inputs} inputs, Linear({inputs}, {found[0].weight.shape[0]})"
        )
    return found[0]


def hidden_answers(model: Any, x: Array, owner: str) -> Array:
    """(N, H): what the hidden units answer to x: the activation after the first Linear that is called.

    Raises:
        TypeError, ValueError: as `first_linear`.
    """
    linear = first_linear(model, owner, inputs=None)
    heard: list[tuple[Any, Array]] = []

    def listen(part: Any, x: Any, y: Array) -> None:
        heard.append((part, y))

    leaves = [part for part in model.modules() if not list(part.children())]
    forget = [leaf.register_forward_hook(listen) for leaf in leaves]
    try:
        with evaluating(model):
            model(np.asarray(x).astype(linear.weight.dtype))
    finally:
        for each in forget:
            each()
    called = [part for part, _ in heard]
    at = next(i for i, part in enumerate(called) if isinstance(part, Linear))
    # Without an activation, what the Linear gives is what the unit answers.
    follows = at + 1 < len(heard) and not isinstance(called[at + 1], Linear)
    return np.asarray(heard[at + 1 if follows else at][1])


def lines(linear: Linear) -> list[tuple[Array, float]]:
    """(w, b) of each unit's line w . x + b = 0, in float64."""
    weight = linear.weight.data.astype(np.float64)
    bias = np.zeros(len(weight)) if linear.bias is None else linear.bias.data.astype(np.float64)
    return [(row, float(b)) for row, b in zip(weight, bias, strict=True)]


def _across(weight: Array, bias: float, extent: Extent) -> Array | None:
    """Both ends (2, 2) of the line inside the picture; None if it does not cross it."""
    left, right, bottom, top = extent
    ends = []
    if weight[1]:
        ends += [(edge, -(bias + weight[0] * edge) / weight[1]) for edge in (left, right)]
    if weight[0]:
        ends += [(-(bias + weight[1] * edge) / weight[0], edge) for edge in (bottom, top)]
    slack = 1e-9 * max(right - left, top - bottom)
    inside = [
        end
        for end in ends
        if left - slack <= end[0] <= right + slack and bottom - slack <= end[1] <= top + slack
    ]
    if len(inside) < 2:
        return None
    first = np.array(inside[0])
    last = np.array(max(inside, key=lambda end: np.hypot(*(np.array(end) - first))))
    return np.stack([first, last]) if np.hypot(*(last - first)) > slack else None


def _free_place(ends: Array, arrow: Array, extent: Extent, placed: list[Array]) -> Array:
    """Where on a line to put its number: far from the numbers before, and with its arrow in the picture."""
    places = ends[0] + np.linspace(0.08, 0.92, 43)[:, None] * (ends[1] - ends[0])
    tips, (left, right, bottom, top) = places + arrow, extent
    inside = (tips[:, 0] > left) & (tips[:, 0] < right) & (tips[:, 1] > bottom) & (tips[:, 1] < top)
    places = places[inside] if inside.any() else places
    if not placed:
        return np.asarray(places[0])
    apart = np.linalg.norm(places[:, None] - np.array(placed), axis=2).min(axis=1)
    enough = max(right - left, top - bottom) / 4  # beyond this, the first place is as good as the farthest
    return np.asarray(places[int(np.argmax(np.minimum(apart, enough)))])


def _middle(region: Array) -> tuple[int, int, float]:
    """Row and column of a place deepest inside a region, and its depth as a part of the picture.

    The region is peeled, one layer of pixels at a time; what is left last is deepest.
    """
    depth, core = 0, np.pad(region, 1)
    while True:
        rows = core[1:-1, 1:-1] & core[:-2, 1:-1] & core[2:, 1:-1]
        peeled = np.pad(rows & core[1:-1, :-2] & core[1:-1, 2:], 1)
        if not peeled.any():
            break
        depth, core = depth + 1, peeled
    last = np.argwhere(core[1:-1, 1:-1])
    row, column = last[len(last) // 2]
    return int(row), int(column), depth / max(region.shape)
