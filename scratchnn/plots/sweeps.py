"""Pictures of many runs: how a number spreads for each setting, or its mean for each pair of settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from scratchnn.checks import Array

from .look import BLACK, BLUE, GREY, LABEL, SKY, TEXT, VERMILION, axes_or_new, label_axes

WIDTH = 0.32  # of the cloud of dots, half of it on each side
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples, modulo 1, never come near one another


def distribution(
    runs: Mapping[Any, Any],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    xlabel: str = "setting",
    ylabel: str = "loss",
    log: bool = False,
    known: Mapping[Any, float] | None = None,
    known_name: str = "known",
) -> Axes:
    """Draw the outcome of every run as a dot, one column a setting, with a line from median to median.

    Args:
        runs: {setting: the outcomes of its runs}, in the order to draw.
        log: a logarithmic axis.
        known: {setting: a number from elsewhere}, drawn as a diamond, called `known_name`.
    Raises:
        ValueError: without runs, for a logarithm of what is not positive, or a setting known and not run.
    """
    columns = [np.asarray(values, dtype=np.float64).ravel() for values in runs.values()]
    if not columns or not all(len(values) for values in columns):
        raise ValueError("distribution got settings without runs; it needs at least one outcome of each")
    if log and min(values.min() for values in columns) <= 0:
        raise ValueError("distribution got outcomes of 0 or less; they have no place on a logarithmic axis")
    strangers = [setting for setting in known or () if setting not in runs]
    if strangers:
        raise ValueError(f"distribution got known numbers for {strangers}, settings that have no runs")
    ax = axes_or_new(ax)
    for at, values in enumerate(columns):
        # Neighbours in value go to different places across, so that equal ones stay countable.
        rank = np.empty(len(values))
        rank[np.argsort(values, kind="stable")] = np.arange(len(values))
        across = at + WIDTH * (2 * ((rank * GOLDEN) % 1) - 1)
        name = "one run" if not at else None
        ax.plot(across, values, ".", color=SKY, markersize=5, markeredgewidth=0, alpha=0.7, label=name)
    medians = [float(np.median(values)) for values in columns]
    ax.plot(range(len(columns)), medians, color=BLUE, marker="o", linewidth=2, markersize=7, label="median")
    settings = list(runs)
    if known:
        places = [settings.index(setting) for setting in known]
        diamonds: Any = {"color": VERMILION, "marker": "D", "linestyle": "none", "markersize": 8}
        ax.plot(places, list(known.values()), **diamonds, markeredgecolor=BLACK, label=known_name, zorder=4)
    ax.set_xticks(range(len(columns)), [f"{setting}" for setting in settings])
    label_axes(ax, xlabel, ylabel, title)
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(visible=True, axis="y", which="major", color=GREY, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(fontsize=TEXT, framealpha=0.9)
    return ax


def table_of_means(
    values: Array,
    rows: Sequence[Any],
    columns: Sequence[Any],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    xlabel: str = "column",
    ylabel: str = "row",
    label: str = "mean",
    percent: bool = False,
) -> Axes:
    """Draw a number for each pair of settings, as a table of colours with the numbers in it.

    Args:
        values: (len(rows), len(columns)).
        percent: write 0.934 as 93.4 %.
    Raises:
        ValueError: for another shape.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(rows), len(columns)) or not values.size:
        raise ValueError(
            f"table_of_means got values of shape {values.shape}; it needs {(len(rows), len(columns))}, "
            "a value for each row and column"
        )
    ax = axes_or_new(ax)
    colors = LinearSegmentedColormap.from_list("mean", ["white", BLUE])
    low, high = float(values.min()), float(values.max())
    image = ax.imshow(values, cmap=colors, vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = high > low and (value - low) / (high - low) > 0.6
        text = f"{100 * value:.1f} %" if percent else f"{value:.3g}"
        ax.text(
            column, row, text, ha="center", va="center", fontsize=TEXT, color="white" if dark else "black"
        )
    ax.set_xticks(range(len(columns)), [f"{setting}" for setting in columns])
    ax.set_yticks(range(len(rows)), [f"{setting}" for setting in rows])
    label_axes(ax, xlabel, ylabel, title)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.9)
    bar.set_label(label, fontsize=LABEL)
    bar.ax.tick_params(labelsize=TEXT)
    return ax
