"""Pictures of a function of one number: data and fit, and where each hidden unit switches.

N points, H hidden units. Unit j answers f(w_j x + b_j), so it switches at x = -b_j / w_j: on towards
larger x where w_j > 0, on towards smaller x where w_j < 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scratchnn.checks import Array, shown
from scratchnn.layers import Linear, Module, Sequential, Sigmoid

from .hidden import first_linear, lines
from .look import BLACK, BLUE, GREEN, GREY, PANEL, TEXT, VERMILION, axes_or_new, label_axes, new_figure
from .plane import evaluating

__all__ = ["binary_prediction", "curve_fit", "curve_fits", "staircase", "threshold_places", "thresholds"]

SIDE = 801  # places at which a curve is drawn
WIDE = 1.6 * PANEL[0]
BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.15), "frameon": False, "fontsize": TEXT}
ARROW_HEIGHTS = 4  # neighbours have their arrows at different heights


def curve_fit(
    model: Any,
    x: Array,
    y: Array,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    name: str = "network",
) -> Axes:
    """Draw the points of a function of one number, and what a model makes of it.

    Args:
        model: (N, 1) -> (N, 1) or (N,): a Module or a plain function.
        x, y: (N,) or (N, 1) the data.
    Raises:
        ValueError: for other shapes.
    """
    ax = _data(ax, x, y, "curve_fit")
    places = _places(x)
    ax.plot(places, _answers(model, places, "curve_fit"), color=VERMILION, linewidth=2.2, label=name)
    return _finish(ax, title)


def curve_fits(fits: Mapping[str, tuple[Any, Array, Array]]) -> Figure:
    """Draw `curve_fit` for several models, one below the other.

    Args:
        fits: {title: (model, x, y)}.
    Raises:
        ValueError: without fits, or as `curve_fit`.
    """
    if not fits:
        raise ValueError("curve_fits got no fits; it needs {title: (model, x, y)}")
    for title, fit in fits.items():
        if not isinstance(fit, (tuple, list)) or len(fit) != 3:
            raise TypeError(f"curve_fits got {shown(fit)} as fits[{title!r}]; it needs (model, x, y)")
    figure = new_figure(WIDE, 0.5 + 0.58 * PANEL[1] * len(fits))
    panels = figure.subplots(len(fits), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (title, (model, x, y)) in zip(panels, fits.items(), strict=True):
        curve_fit(model, x, y, ax=panel, title=title)
        if panel is not panels[-1]:
            panel.set_xlabel("")
            panel.get_legend().remove()
    panels[-1].legend(ncols=4, **{**BELOW, "bbox_to_anchor": (0.5, -0.25)})
    return figure


def thresholds(
    model: Any,
    x: Array | None = None,
    y: Array | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw where each hidden unit switches, -b/w, with an arrow to the side where it is on.

    Args:
        model: a Module whose first Linear takes one number.
        x, y: (N,) or (N, 1) data to draw with the model's answers, as `curve_fit` does.
    Raises:
        TypeError: if the model is no Module.
        ValueError: if its first Linear takes more than one number, or for x and y of other shapes.
    """
    first_linear(model, "thresholds", inputs=1)
    found = threshold_places(model)
    if x is not None and y is not None:
        ax = curve_fit(model, x, y, ax=ax)
        low, high = float(np.min(x)), float(np.max(x))
        names = [None, "data", "network"]
    else:
        ax = axes_or_new(ax)
        seen = found[np.isfinite(found[:, 0]), 0]
        low, high = (float(seen.min()) - 1, float(seen.max()) + 1) if len(seen) else (-1.0, 1.0)
        names = [None]
    length = 0.035 * (high - low)
    inside = found[(found[:, 0] >= low) & (found[:, 0] <= high)]
    for rank, (place, direction) in enumerate(inside[np.argsort(inside[:, 0])]):
        right = direction > 0
        name = f"on to the {'right' if right else 'left'} of the line"
        style: Any = {"color": BLUE if right else GREEN, "linewidth": 1.6, "zorder": 1}
        ax.axvline(place, **style, linestyle="-" if right else "--", label=None if name in names else name)
        names.append(name)
        height = 0.97 - 0.05 * (rank % ARROW_HEIGHTS)
        ax.annotate(
            "",
            xy=(place + (length if right else -length), height),
            xytext=(place, height),
            xycoords=ax.get_xaxis_transform(),
            arrowprops={"arrowstyle": "-|>", "color": style["color"], "linewidth": 1.6, "shrinkA": 0},
        )
    ax.set_xlim(low - 2 * length, high + 2 * length)
    bottom, top = ax.get_ylim()
    if x is not None:
        ax.set_ylim(bottom, top + 0.28 * (top - bottom))  # the arrows have their own room, above the curve
    outside = len(found) - len(inside)
    if outside:
        where = f"{outside} of {len(found)} units switch outside the picture"
        ax.text(0.99, 0.02, where, transform=ax.transAxes, ha="right", fontsize=TEXT)
    return _finish(ax, title)


def staircase(model: Any, x: Array, y: Array, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw a fit beside the prediction in which each hidden unit is either 0 or 1, whichever is nearer.

    Args:
        model: Sequential(Linear(1, H), Sigmoid(), Linear(H, 1)).
        x, y: (N,) or (N, 1) the data.
    Raises:
        TypeError, ValueError: for another model or other shapes.
    """
    ax = curve_fit(model, x, y, ax=ax, name="network, smooth units")
    places = _places(x)
    steps = binary_prediction(model, places[:, None])[:, 0]
    ax.plot(places, steps, color=BLUE, linewidth=1.8, label="the same, units 0 or 1", zorder=4)
    return _finish(ax, title)


def threshold_places(model: Any) -> Array:
    """(H, 2): where each hidden unit switches, -b/w, and its direction: 1, -1, or 0 if it never does.

    Raises:
        TypeError, ValueError: as `thresholds`.
    """
    linear = first_linear(model, "threshold_places", inputs=1)
    found = [(-b / w[0] if w[0] else np.nan, np.sign(w[0])) for w, b in lines(linear)]
    return np.asarray(found)


def binary_prediction(model: Any, x: Array) -> Array:
    """(N, 1): what the model would answer if each hidden unit were 0 or 1, by 1/2: constant in pieces.

    Raises:
        TypeError: for anything but Sequential(Linear(D, H), Sigmoid(), Linear(H, 1)).
    """
    parts: list[Any] = list(model) if isinstance(model, Sequential) else []
    if [type(part) for part in parts] != [Linear, Sigmoid, Linear]:
        raise TypeError(
            f"binary_prediction got {type(model).__name__}; "
            "it needs Sequential(Linear(1, H), Sigmoid(), Linear(H, 1))"
        )
    first, _, last = parts
    with evaluating(model):
        on = first(np.asarray(x, first.weight.dtype)) > 0  # sigmoid(z) > 1/2 exactly where z > 0
        return np.asarray(last(on.astype(last.weight.dtype)))


def _data(ax: Axes | None, x: Any, y: Any, owner: str) -> Axes:
    first, second = np.asarray(x), np.asarray(y)
    if first.size != second.size or not first.size or max(first.shape) != first.size:
        raise ValueError(
            f"{owner} got x of shape {first.shape} and y of shape {second.shape}; "
            "it needs (N,) or (N, 1) of each"
        )
    if ax is None:
        ax = new_figure(WIDE, PANEL[1]).subplots()
    ax.plot(first.ravel(), second.ravel(), ".", color=BLACK, markersize=5, label="data", zorder=3)
    return ax


def _places(x: Any) -> Array:
    return np.linspace(float(np.min(x)), float(np.max(x)), SIDE)


def _answers(model: Any, places: Array, owner: str) -> Array:
    parameters = list(model.parameters()) if isinstance(model, Module) else []
    dtype = parameters[0].dtype if parameters else places.dtype
    with evaluating(model):
        answers = np.asarray(model(places[:, None].astype(dtype)))
    if answers.size != len(places):
        raise ValueError(
            f"{owner} got a model that maps {(len(places), 1)} to {answers.shape}; it needs (N, 1)"
        )
    return answers.ravel()


def _finish(ax: Axes, title: str | None) -> Axes:
    label_axes(ax, "input $x$", "output $y$", title)
    ax.grid(visible=True, color=GREY, linewidth=0.6)
    ax.set_axisbelow(True)
    handles, names = ax.get_legend_handles_labels()
    if names:
        ax.legend(handles, names, ncols=4, **BELOW)
    return ax
