"""A grid of curves: one small panel a pair of settings, all on the same scale."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from .look import BLACK, BLUE, GREY, TEXT, new_figure

__all__ = ["curve_grid"]


def curve_grid(
    runs: Mapping[tuple[Any, Any], Any],
    *,
    rows: str,
    columns: str,
    title: str | None = None,
    xlabel: str = "epochs",
    ylabel: str = "loss",
    label: str | None = None,
) -> Figure:
    """Draw a grid of curves on one logarithmic scale, one a pair of settings: (row's, column's).

    Args:
        runs: {(row setting, column setting): (x, y) or (x, y, mean)}, a curve and a smoother one over it;
            y of None writes "diverged".
        rows, columns: what the settings are called.
    Raises:
        ValueError: without runs.
    """
    if not runs:
        raise ValueError("curve_grid got no runs; it needs {(row, column): (x, y)}")
    down, across = (list(dict.fromkeys(key[axis] for key in runs)) for axis in (0, 1))
    figure = new_figure(1.75 * len(across) + 1, 1.5 * len(down) + 0.9)
    panels = figure.subplots(len(down), len(across), sharex=True, sharey=True, squeeze=False)
    for (row, column), values in runs.items():
        panel = panels[down.index(row), across.index(column)]
        if values is None:
            panel.text(0.5, 0.5, "diverged", transform=panel.transAxes, ha="center", fontsize=TEXT)
            continue
        at, curve, *smooth = values
        panel.plot(at, curve, color=BLUE, linewidth=0.5, alpha=0.5 if smooth else 1)
        if smooth:
            panel.plot(at, smooth[0], color=BLACK, linewidth=1.4)
    for panel, column in zip(panels[0], across, strict=True):
        panel.set_title(f"{columns} {column}", fontsize=TEXT)
    for panel, row in zip(panels[:, 0], down, strict=True):
        panel.set_ylabel(f"{rows} {row}", fontsize=TEXT)
    for panel in panels.flat:
        panel.set_yscale("log")
        panel.grid(visible=True, color=GREY, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.margins(x=0.02)
    figure.supxlabel(xlabel, fontsize=TEXT)
    figure.supylabel(ylabel, fontsize=TEXT)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure
