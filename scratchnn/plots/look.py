"""What all pictures share: the colours, the size of the letters, figures without a display, saving.

The colours are those of Okabe and Ito (2008), which every common form of colour blindness tells
apart; classes differ by their marker too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from scratchnn.checks import Array, any_array
from scratchnn.files.atomic import write_atomically

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, YELLOW, BLACK = "#56B4E9", "#CC79A7", "#F0E442", "#000000"
CLASS_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, YELLOW, BLACK)
CLASS_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
GREY = "#dddddd"

PANEL = (6.0, 4.8)  # inches: text of 12 points in it stays legible at half size
DOTS_PER_INCH = 150
TITLE, LABEL, TEXT = 14, 13, 12  # points


def new_figure(width: float = PANEL[0], height: float = PANEL[1]) -> Figure:
    """A figure of `width` x `height` inches that needs no display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(count: int, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """A figure of `count` empty Axes side by side, `columns` in a row, and those Axes."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = new_figure(0.85 * PANEL[0] * columns, 1.05 * PANEL[1] * rows)
    every = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for spare in every[count:]:
        spare.set_axis_off()
    return figure, every[:count]


def axes_or_new(ax: Axes | None) -> Axes:
    return new_figure().subplots() if ax is None else ax


def label_axes(ax: Axes, xlabel: str, ylabel: str, title: str | None) -> None:
    ax.set_xlabel(xlabel, fontsize=LABEL)
    ax.set_ylabel(ylabel, fontsize=LABEL)
    if title:
        ax.set_title(title, fontsize=TITLE, loc="left")
    ax.tick_params(labelsize=TEXT)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def class_name(label: int, names: Sequence[str] | None) -> str:
    return names[label] if names is not None and label < len(names) else f"class {label}"


def tint(color: str, strength: float = 0.45) -> tuple[float, float, float]:
    """The colour mixed with white, so that points of the full colour stand out on it."""
    red, green, blue = (1 - strength * (1 - channel) for channel in to_rgb(color))
    return red, green, blue


def class_numbers(y: Any, owner: str, name: str = "y") -> Array:
    """Classes as (N,) int64, from whole numbers of any dtype, (N,) or (N, 1).

    Raises:
        ValueError: for another shape, or numbers that are no classes.
    """
    y = any_array(owner, name, y, "biuf")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(f"{owner} got {name} of shape {y.shape}; it needs classes, (N,) or (N, 1)")
    most = len(CLASS_COLORS) - 1
    if not np.isin(y, np.arange(most + 1)).all():
        raise ValueError(f"{owner} got {name} with other classes than the whole numbers from 0 to {most}")
    return np.asarray(y, dtype=np.int64)


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write `figure` to `path` as PNG, whole or not at all, and return the path.

    Raises:
        OSError: if the file cannot be written.
    """
    file = io.BytesIO()
    figure.savefig(file, dpi=DOTS_PER_INCH, format="png", facecolor="white")
    write_atomically(path, file.getvalue())
    return Path(path)
