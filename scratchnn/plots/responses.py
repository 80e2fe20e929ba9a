"""Pictures of what the hidden units answer: a map of the plane each, or the points in the space they span.

N points, H hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from scratchnn.checks import Array
from scratchnn.layers import Linear

from .hidden import first_linear, hidden_answers
from .look import (
    CLASS_COLORS,
    CLASS_MARKERS,
    LABEL,
    TEXT,
    TITLE,
    class_name,
    class_numbers,
    new_figure,
)
from .plane import LEGEND_MARKER, Extent, extent_of, over_the_plane

MOST_MAPS = 64
MOST_TRIPLES = 20


def hidden_responses(
    model: Any,
    x: Array | None = None,
    *,
    extent: Extent | None = None,
    title: str | None = None,
) -> Figure:
    """Draw what every hidden unit answers over the plane, and the output: one map each.

    All maps share one scale where all answers are from 0 to 1; else hidden units and outputs have one each.

    Args:
        model: a Module that calls a Linear(2, H) first; at most 64 maps in all.
        x: points that say how much of the plane to show, where there is no `extent`.
        extent: (left, right, bottom, top).
    Raises:
        TypeError: if the model is no Module.
        ValueError: if its first Linear takes no points of the plane, or it has too many units.
    """
    dtype = first_linear(model, "hidden_responses").weight.dtype
    extent = extent_of("hidden_responses", x, extent)
    first, second, outputs = over_the_plane(model, extent)
    grid = np.column_stack([first.ravel(), second.ravel()]).astype(dtype)
    answers = hidden_answers(model, grid, "hidden_responses")
    hidden, ends = answers.shape[1], outputs.shape[1]
    if hidden + ends > MOST_MAPS:
        raise ValueError(
            f"hidden_responses got a model with {hidden} hidden units and {ends} outputs; "
            f"it draws at most {MOST_MAPS} maps"
        )
    columns = min(hidden + ends, 3 if hidden + ends <= 6 else 4 if hidden + ends <= 12 else 8)
    rows = -(-(hidden + ends) // columns)
    figure = new_figure(3.1 * columns + 1.2, 3.0 * rows + (0.4 if title else 0.0))
    grid_of_panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid_of_panels.ravel())
    for panel in panels[hidden + ends :]:
        panel.set_axis_off()
    for panel in panels[max(0, hidden + ends - columns) : hidden + ends]:
        panel.set_xlabel("$x_1$", fontsize=LABEL)
        panel.tick_params(labelbottom=True)
    for panel in grid_of_panels[:, 0]:
        panel.set_ylabel("$x_2$", fontsize=LABEL)

    def draw(values: Array, panel: Axes, name: str, scale: tuple[float, float]) -> Any:
        panel.set_title(name, fontsize=LABEL, loc="left")
        panel.set_aspect("equal", adjustable="box")
        panel.tick_params(labelsize=TEXT)
        shown = values.reshape(first.shape)
        low, high = scale
        return panel.pcolormesh(
            first, second, shown, cmap="cividis", vmin=low, vmax=high, shading="nearest", rasterized=True
        )

    both = np.concatenate([answers.ravel(), outputs.ravel()])
    one_scale = both.min() >= 0 and both.max() <= 1
    hidden_scale = (0.0, 1.0) if one_scale else _scale(answers)
    output_scale = (0.0, 1.0) if one_scale else _scale(outputs)
    for unit in range(hidden):
        image = draw(answers[:, unit], panels[unit], f"hidden unit {unit + 1}", hidden_scale)
    if not one_scale:
        _bar(figure, image, grid_of_panels, "answer of a hidden unit")
    for unit in range(ends):
        name = f"output {unit + 1}" if ends > 1 else "output"
        image = draw(outputs[:, unit], panels[hidden + unit], name, output_scale)
    _bar(figure, image, grid_of_panels, "answer of the unit" if one_scale else "output")
    if title:
        figure.suptitle(title, fontsize=TITLE, x=0.01, ha="left")
    return figure


def hidden_activations(
    model: Any,
    x: Array,
    y: Array,
    *,
    units: Sequence[int] = (0, 1, 2),
    ax: Axes | None = None,
    title: str | None = None,
    names: Sequence[str] | None = None,
    legend: bool = True,
) -> Any:
    """Draw the points where three hidden units put them: one axis a unit.

    Where the model has just three hidden units and a Linear(3, 1) behind them, the plane on which that
    Linear gives 0 is drawn too: the output layer cuts the points by it.

    Args:
        model: a Module with at least three hidden units.
        x: (N, D) inputs. y: (N,) or (N, 1) classes 0, 1, 2, ...
        units: which three, counted from 0.
        ax: a matplotlib Axes3D.
    Returns:
        the Axes3D.
    Raises:
        TypeError: if the model is no Module, or `ax` is flat.
        ValueError: if there are no such three units, or not one class a point.
    """
    answers, labels = _answers(model, x, y, "hidden_activations")
    if len(units) != 3 or not all(0 <= unit < answers.shape[1] for unit in units):
        raise ValueError(
            f"hidden_activations got units={tuple(units)} of a model with {answers.shape[1]} hidden units; "
            f"it needs three of 0 to {answers.shape[1] - 1}"
        )
    if ax is not None and not hasattr(ax, "get_zlim"):
        raise TypeError("hidden_activations got a flat ax; make it by figure.add_subplot(projection='3d')")
    space: Any = new_figure(5.6, 5.2).add_subplot(projection="3d") if ax is None else ax
    chosen = answers[:, list(units)]
    size = float(np.clip(18000 / max(1, len(chosen)), 9, 36))
    for label in range(int(labels.max(initial=1)) + 1):
        drawn = space.scatter(
            *chosen[labels == label].T,
            s=size,
            c=CLASS_COLORS[label],
            marker=CLASS_MARKERS[label],
            edgecolors="white",
            linewidths=0.2,
            depthshade=False,
        )
        drawn.set_label(class_name(label, names))
    low, high = zip(*(_scale(chosen[:, axis], snap=True) for axis in range(3)), strict=True)
    corners = _cut(model, low, high) if answers.shape[1] == 3 else None
    if corners is not None:
        sheet = corners[:, list(units)]
        space.add_collection3d(Poly3DCollection([sheet], facecolor="#999999", alpha=0.35, edgecolor="black"))
    space.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    for axis, unit in zip("xyz", units, strict=True):
        getattr(space, f"set_{axis}label")(f"unit {unit + 1}", fontsize=LABEL, labelpad=6)
        getattr(space, f"{axis}axis").set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
        getattr(space, f"{axis}axis").set_major_formatter("{x:g}")
    space.tick_params(labelsize=TEXT, pad=1)
    space.view_init(elev=22, azim=-55)
    space.set_box_aspect((1, 1, 1), zoom=0.84)
    if title:
        space.set_title(title, fontsize=TITLE, loc="left")
    if legend:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.02)}
        space.legend(**below, ncols=4, frameon=False, fontsize=TEXT, markerscale=LEGEND_MARKER / size**0.5)
    return space


def hidden_triples(
    model: Any,
    x: Array,
    y: Array,
    *,
    title: str | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw the points as `hidden_activations` does, for every three of the hidden units (at most 20 triples).

    Raises:
        TypeError: if the model is no Module.
        ValueError: for fewer than three or more than six hidden units, or not one class a point.
    """
    answers, _ = _answers(model, x, y, "hidden_triples")
    triples = list(combinations(range(answers.shape[1]), 3))
    if not 0 < len(triples) <= MOST_TRIPLES:
        raise ValueError(
            f"hidden_triples got a model with {answers.shape[1]} hidden units; it draws three to six, "
            "hidden_activations(units=...) draws any three"
        )
    columns = min(len(triples), 5)
    rows = -(-len(triples) // columns)
    figure = new_figure(3.6 * columns, 3.7 * rows + 0.8)
    figure.set_layout_engine(
        "constrained", rect=(0, 0, 0.98, 1)
    )  # a label in space may stand out on the right
    for at, units in enumerate(triples):
        ax = figure.add_subplot(rows, columns, at + 1, projection="3d")
        hidden_activations(model, x, y, units=units, ax=ax, names=names, legend=False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    dots: Any = figure.axes[0].collections[0]
    size = dots.get_sizes()[0]
    below = {"loc": "outside lower center", "ncols": 4, "frameon": False, "fontsize": TITLE}
    figure.legend(handles, labels, **below, markerscale=LEGEND_MARKER / size**0.5)
    if title:
        figure.suptitle(title, fontsize=TITLE + 2, x=0.01, ha="left")
    return figure


def _answers(model: Any, x: Array, y: Array, owner: str) -> tuple[Array, Array]:
    answers = hidden_answers(model, x, owner)
    if not np.isfinite(answers).all():
        raise ValueError(
            f"{owner} got a model and x whose hidden units are not all finite; drop those points"
        )
    labels = class_numbers(y, owner)
    if len(labels) != len(answers):
        raise ValueError(
            f"{owner} got {len(answers)} points and {len(labels)} labels; give one label a point"
        )
    return answers, labels


def _cut(model: Any, low: Sequence[float], high: Sequence[float]) -> Array | None:
    """The corners (K, 3) of the plane v . a + c = 0 of the output layer, inside the box; None without one."""
    linears = [part for part in model.modules() if isinstance(part, Linear)]
    if len(linears) != 2 or linears[1].weight.shape != (1, 3):
        return None
    weight = linears[1].weight.data[0].astype(np.float64)
    bias = 0.0 if linears[1].bias is None else float(linears[1].bias.data[0])
    box = np.array([[low[0], low[1], low[2]], [high[0], high[1], high[2]]])
    corners = []
    for axis in range(3):  # where each of the twelve edges meets the plane
        others = [other for other in range(3) if other != axis]
        for a, b in np.ndindex(2, 2):
            point = np.empty(3)
            point[others] = box[a, others[0]], box[b, others[1]]
            if weight[axis]:
                point[axis] = -(bias + weight[others] @ point[others]) / weight[axis]
                if box[0, axis] <= point[axis] <= box[1, axis]:
                    corners.append(point)
    if len(corners) < 3:
        return None
    found = np.array(corners)
    centre = found.mean(axis=0)
    across = found[0] - centre
    up = np.cross(weight, across)
    around = np.arctan2(
        (found - centre) @ up / np.linalg.norm(up), (found - centre) @ across / np.linalg.norm(across)
    )
    return np.asarray(found[np.argsort(around)])


def _scale(values: Array, *, snap: bool = False) -> tuple[float, float]:
    """From where to where the values go; (0, 1) where they are all in there and it matters to say so."""
    low, high = float(values.min()), float(values.max())
    if snap and low >= 0 and high <= 1 and high - low > 0.1:
        return 0.0, 1.0
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _bar(figure: Figure, image: Any, panels: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=panels, shrink=0.8, aspect=30)
    bar.set_label(label, fontsize=LABEL)
    bar.ax.tick_params(labelsize=TEXT)
