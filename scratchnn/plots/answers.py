"""A region of the plane given as pixels, and what a model answers at points whose class is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from scratchnn.checks import Array

from .look import (
    BLACK,
    BLUE,
    PANEL,
    TEXT,
    VERMILION,
    axes_or_new,
    label_axes,
    new_figure,
    tint,
)
from .plane import LEGEND_MARKER, Extent, Model, evaluating, labelled, plane, points


def region(
    inside: Array,
    x: Array | None = None,
    y: Array | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    names: Sequence[str] | None = None,
    extent: Extent = (0.0, 1.0, 0.0, 1.0),
) -> Axes:
    """Draw a picture of a region, with points and their classes on it.

    Args:
        inside: (rows, columns) bool, the first row on top.
        x, y: points and classes, as `points` takes them.
        extent: (left, right, bottom, top) of the picture.
    Raises:
        ValueError: for another shape.
    """
    inside = np.asarray(inside)
    if inside.ndim != 2 or not inside.size:
        raise ValueError(f"region got a picture of shape {inside.shape}; it needs (rows, columns)")
    x = None if x is None else plane(x, "region")
    ax = axes_or_new(ax)
    colors = ListedColormap([tint(BLUE, 0.25), tint(VERMILION, 0.45)])
    ax.imshow(inside, cmap=colors, vmin=0, vmax=1, extent=extent, interpolation="nearest")
    if x is not None and y is not None:
        points(x, y, ax=ax, title=title, names=names)
    else:
        label_axes(ax, "first input $x_1$", "second input $x_2$", title)
    ax.set(xlim=extent[:2], ylim=extent[2:])
    return ax


def predicted_against_actual(
    model: Model,
    x: Array,
    y: Array,
    *,
    title: str | None = None,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
) -> Figure:
    """Draw points of the plane by their actual class, by the class predicted, and those that were wrong.

    Args:
        model: points (N, 2) -> (N,) or (N, 1), class 1 above `threshold`; or (N, C), the largest wins.
        x: (N, 2). y: (N,) or (N, 1) classes 0, 1, 2, ...
        threshold: 0.5 suits probabilities, 0 suits logits.
    Raises:
        ValueError: for other shapes.
    """
    x, actual = labelled("predicted_against_actual", x, y)
    if not len(x):
        raise ValueError("predicted_against_actual got 0 points as x; it needs at least one")
    predicted = _predicted(model, x, threshold)
    wrong = predicted != actual
    figure = new_figure(2.1 * PANEL[0], 1.1 * PANEL[1])
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    points(x, actual, ax=panels[0], names=names, title=f"Actual, {len(x):,} points", legend=False)
    points(x, predicted, ax=panels[1], names=names, title="Predicted", legend=False)
    panels[2].scatter(*x[~wrong].T, s=4, c="#cccccc", linewidths=0, zorder=2)
    size = float(np.clip(9000 / max(1, int(wrong.sum())), 6, 36))
    panels[2].scatter(*x[wrong].T, s=size, c=BLACK, marker="x", linewidths=0.9, zorder=3)
    dots = panels[0].collections
    many = float(dots[0].get_sizes()[0])
    below: Any = {"loc": "outside lower center", "ncols": 4, "frameon": False, "fontsize": TEXT}
    figure.legend(handles=list(dots), **below, markerscale=LEGEND_MARKER / many**0.5)
    panels[2].set_aspect("equal", adjustable="box")
    label_axes(panels[2], "first input $x_1$", "", f"Wrong (crosses): {int(wrong.sum()):,}")
    panels[1].set_ylabel("")
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def _predicted(model: Any, x: Array, threshold: float) -> Array:
    parameters = list(model.parameters()) if hasattr(model, "parameters") else []
    with evaluating(model):
        outputs = np.asarray(model(x.astype(parameters[0].dtype) if parameters else x))
    if not 1 <= outputs.ndim <= 2 or len(outputs) != len(x):
        raise ValueError(f"the model maps {x.shape} to {outputs.shape}; a picture needs (N, 2) -> (N, C)")
    outputs = outputs.reshape(len(x), -1)
    if outputs.shape[1] == 1:
        return np.asarray(outputs[:, 0] > threshold, dtype=np.int64)
    return np.asarray(outputs.argmax(axis=1))
