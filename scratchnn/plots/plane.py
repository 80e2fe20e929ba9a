"""Pictures of the plane: points of several classes, and what a model makes of every place in it.

N points, C outputs of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure

from scratchnn.checks import Array, any_array, as_function

from .look import (
    BLACK,
    BLUE,
    CLASS_COLORS,
    CLASS_MARKERS,
    LABEL,
    PANEL,
    TEXT,
    VERMILION,
    axes_or_new,
    class_name,
    class_numbers,
    label_axes,
    new_figure,
    tint,
)

Model = Callable[[Array], Array]
Extent = tuple[float, float, float, float]  # left, right, bottom, top

GRID_SIDE = 241  # places along one side of the plane at which the model is asked
LEGEND_MARKER = 8  # points across, whatever the size of the points themselves


def points(
    x: Array,
    y: Array,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    names: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Draw labelled points in the plane, one colour and marker a class.

    Args:
        x: (N, 2) coordinates.
        y: (N,) or (N, 1) class of each point: 0, 1, 2, ... (at most 8 classes).
        names: what to call the classes in the legend; "class 0", "class 1", ... without it.
    Raises:
        ValueError: for other shapes, or labels that are no class numbers.
    """
    x, labels = labelled("points", x, y)
    ax = axes_or_new(ax)
    size = float(np.clip(9000 / max(1, len(x)), 6, 36))  # thousands of points must not merge into a blot
    for label in range(int(labels.max(initial=1)) + 1):
        first, second = x[labels == label].T
        color, marker = CLASS_COLORS[label], CLASS_MARKERS[label]
        drawn = ax.scatter(first, second, s=size, c=color, marker=marker, linewidths=0.3, edgecolors="white")
        drawn.set(label=class_name(label, names), zorder=3)
    ax.set_aspect("equal", adjustable="box")
    label_axes(ax, "first input $x_1$", "second input $x_2$", title)
    if legend:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "borderpad": 0}
        ax.legend(**below, ncols=4, frameon=False, fontsize=TEXT, markerscale=LEGEND_MARKER / size**0.5)
    return ax


def train_and_test(
    x_train: Array, y_train: Array, x_test: Array, y_test: Array, *, names: Sequence[str] | None = None
) -> Figure:
    """Draw the points to learn from and the points held back, side by side, on the same scale."""
    x_train, y_train = labelled("train_and_test", x_train, y_train, "x_train", "y_train")
    x_test, y_test = labelled("train_and_test", x_test, y_test, "x_test", "y_test")
    wide, high = np.ptp(np.concatenate([x_train, x_test]), axis=0)
    # Equal scales: a flat cloud needs no high picture.
    height = float(min(1.1 * PANEL[1], 1.45 + 0.76 * PANEL[0] * high / max(wide, 1e-30)))
    figure = new_figure(width=1.75 * PANEL[0], height=height)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    points(x_train, y_train, ax=left, names=names, title=f"Training data: {len(x_train):,} points")
    points(x_test, y_test, ax=right, names=names, title=f"Test data: {len(x_test):,} points")
    right.set_ylabel("")
    return figure


def probability(
    model: Model,
    x: Array | None = None,
    y: Array | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    names: Sequence[str] | None = None,
    extent: Extent | None = None,
    bar: bool = True,
) -> Axes:
    """Draw the probability of class 1 over the plane, the line where it is one half, and the points.

    Args:
        model: points (N, 2) -> the probability of class 1, (N,) or (N, 1), or of both classes, (N, 2).
        x, y: points and classes to draw on top, as `points` takes them.
        extent: (left, right, bottom, top); without it, a little more than `x` covers.
        bar: with the colours' scale beside it.
    Raises:
        ValueError: if the model takes no points of the plane, or its outputs are no probabilities.
    """
    extent = extent_of("probability", x, extent)
    first, second, outputs = over_the_plane(model, extent)
    if outputs.shape[1] > 2:
        raise ValueError(
            f"probability got a model with {outputs.shape[1]} outputs; it draws two classes, "
            "decision_regions draws more"
        )
    chance = outputs[:, -1].reshape(first.shape)
    if chance.min() < 0 or chance.max() > 1:
        raise ValueError(
            f"probability got outputs from {chance.min():.3g} to {chance.max():.3g}, no probabilities; "
            "end the model with Sigmoid or Softmax, or use decision_regions"
        )
    ax = axes_or_new(ax)
    colors = LinearSegmentedColormap.from_list(
        "probability", [tint(BLUE), (0.98, 0.98, 0.98), tint(VERMILION)]
    )
    filled = ax.contourf(first, second, chance, levels=np.linspace(0, 1, 21), cmap=colors)
    if chance.min() < 0.5 < chance.max():
        ax.contour(first, second, chance, levels=[0.5], colors=BLACK, linewidths=1.8, zorder=4)
    if bar:
        scale = ax.figure.colorbar(filled, ax=ax, ticks=[0, 0.25, 0.5, 0.75, 1], shrink=0.9)
        scale.set_label(f"predicted probability of {class_name(1, names)}", fontsize=LABEL)
        scale.ax.tick_params(labelsize=TEXT)
    return with_points(ax, x, y, extent, title, names)


def probabilities(
    models: Mapping[str, Model],
    x: Array | None = None,
    y: Array | None = None,
    *,
    names: Sequence[str] | None = None,
    extent: Extent | None = None,
) -> Figure:
    """Draw `probability` for several models side by side, on the same scale.

    Args:
        models: {title: model}. The rest as for `probability`.
    Raises:
        ValueError: without models, or as `probability`.
    """
    if not models:
        raise ValueError("probabilities got no models; it needs {title: model}")
    for title, model in models.items():
        as_function("probabilities", f"models[{title!r}]", model, "a model")
    figure = new_figure(width=(0.66 * len(models) + 0.28) * PANEL[0], height=PANEL[1])
    panels = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (title, model) in zip(panels, models.items(), strict=True):
        last = panel is panels[-1]
        probability(model, x, y, ax=panel, title=title, names=names, extent=extent, bar=last)
        if panel is not panels[0]:
            panel.set_ylabel("")
    return figure


def decision_regions(
    model: Model,
    x: Array | None = None,
    y: Array | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    names: Sequence[str] | None = None,
    extent: Extent | None = None,
    threshold: float = 0.5,
) -> Axes:
    """Colour the plane by the class that the model predicts, with the points on it.

    Args:
        model: points (N, 2) -> (N,) or (N, 1), class 1 above `threshold`; or (N, C), the largest wins.
        x, y: points and classes to draw on top, as `points` takes them.
        extent: (left, right, bottom, top); without it, a little more than `x` covers.
        threshold: 0.5 suits probabilities, 0 suits logits.
    Raises:
        ValueError: if the model takes no points of the plane, or has more than 8 classes.
    """
    extent = extent_of("decision_regions", x, extent)
    first, second, outputs = over_the_plane(model, extent)
    if outputs.shape[1] == 1:
        classes, predicted = 2, (outputs[:, 0] > threshold).astype(int)
    else:
        classes, predicted = outputs.shape[1], outputs.argmax(axis=1)
    most = len(CLASS_COLORS)
    if classes > most:
        raise ValueError(f"decision_regions got a model with {classes} classes; it draws at most {most}")
    ax = axes_or_new(ax)
    colors = ListedColormap([tint(color) for color in CLASS_COLORS[:classes]])
    regions = predicted.reshape(first.shape)
    ax.pcolormesh(first, second, regions, cmap=colors, vmin=-0.5, vmax=classes - 0.5, shading="nearest")
    return with_points(ax, x, y, extent, title, names)


def over_the_plane(model: Model, extent: Extent) -> tuple[Array, Array, Array]:
    """The grid's coordinates, each (side, side), and the model's outputs there, (side * side, C)."""
    left, right, bottom, top = extent
    across, up = np.linspace(left, right, GRID_SIDE), np.linspace(bottom, top, GRID_SIDE)
    first, second = np.meshgrid(across, up)
    grid = np.column_stack([first.ravel(), second.ravel()])
    parameters = list(model.parameters()) if hasattr(model, "parameters") else []
    if parameters:
        grid = grid.astype(parameters[0].dtype)
    with evaluating(model):
        outputs = np.asarray(model(grid))
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if outputs.ndim != 2 or len(outputs) != len(grid):
        raise ValueError(f"the model maps {grid.shape} to {outputs.shape}; a picture needs (N, 2) -> (N, C)")
    if not np.isfinite(outputs).all():
        raise ValueError("the model's outputs are not all finite; a picture cannot show them")
    return first, second, outputs


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a Module in evaluation mode, and each of its parts back as it was."""
    parts = [(part, part.training) for part in model.modules()] if hasattr(model, "modules") else []
    try:
        if parts:
            model.eval()
        yield
    finally:
        for part, training in parts:
            part.training = training


def with_points(
    ax: Axes, x: Any, y: Any, extent: Extent, title: str | None, names: Sequence[str] | None
) -> Axes:
    if x is not None and y is not None:
        points(x, y, ax=ax, title=title, names=names)
    else:
        ax.set_aspect("equal", adjustable="box")
        label_axes(ax, "first input $x_1$", "second input $x_2$", title)
    ax.set_xlim(extent[:2])
    ax.set_ylim(extent[2:])
    return ax


def plane(x: Any, owner: str, name: str = "x") -> Array:
    """(N, 2) floats."""
    x = any_array(owner, name, x, "biuf")
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"{owner} got {name} of shape {x.shape}; a picture of the plane needs (N, 2)")
    if not np.isfinite(x).all():
        raise ValueError(f"{owner} got {name} with points that are not finite; drop them first")
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def labelled(owner: str, x: Any, y: Any, x_name: str = "x", y_name: str = "y") -> tuple[Array, Array]:
    """Points of the plane, and the class of each."""
    x, labels = plane(x, owner, x_name), class_numbers(y, owner, y_name)
    if len(labels) != len(x):
        raise ValueError(
            f"{owner} got {len(x)} points and {len(labels)} labels as {x_name} and {y_name}; "
            "give one label a point"
        )
    return x, labels


def extent_of(owner: str, x: Any, extent: Extent | None) -> Extent:
    x = None if x is None else plane(x, owner)
    if extent is None:
        if x is None or not len(x):
            raise ValueError(f"{owner} got neither points nor extent=(left, right, bottom, top); give one")
        low, high = np.min(x, axis=0), np.max(x, axis=0)
        (left, bottom), (right, top) = low - 0.1 * (high - low), high + 0.1 * (high - low)
        extent = float(left), float(right), float(bottom), float(top)
    if not (extent[0] < extent[1] and extent[2] < extent[3]):
        raise ValueError(f"{owner} got extent={extent}; it needs left < right and bottom < top")
    return extent
