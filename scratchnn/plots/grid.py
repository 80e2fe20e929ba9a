"""A grid of curves: one small panel a pair of settings, all on the same scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from scratchnn.checks import shown

from .look import BLACK, GREY, SKY, TEXT, TITLE, new_figure

__all__ = ["curve_grid"]


def curve_grid(
    runs: Mapping[tuple[Any, Any], Any],
    *,
    rows: str,
    columns: str,
    title: str | None = None,
    xlabel: str = "epochs",
    ylabel: str = "loss",
    thin: str = "thin",
    thick: str = "thick",
) -> Figure:
    """Draw a grid of curves on one logarithmic scale, two a pair of settings: one thin, one over it.

    Args:
        runs: {(row setting, column setting): ((x, y), (x, y))}, the thin curve and the thick one; None
            instead of them writes "diverged".
        rows, columns: what the settings are called.
        thin, thick: what the curves are called.
    Raises:
        ValueError: without runs.
    """
    if not runs:
        raise ValueError("curve_grid got no runs; it needs {(row, column): ((x, y), (x, y))}")
    for key, curves in runs.items():
        pairs = (key, key) if curves is None else (key, curves)
        if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
            raise TypeError(
                f"curve_grid got {shown(key)}: {shown(curves)} in runs; "
                "it needs (row, column): ((x, y), (x, y))"
            )
    down, across = (list(dict.fromkeys(key[axis] for key in runs)) for axis in (0, 1))
    figure = new_figure(1.75 * len(across) + 1, 1.5 * len(down) + 1.2)
    panels = figure.subplots(len(down), len(across), sharex=True, sharey=True, squeeze=False)
    drawn: list[Any] = []
    for (row, column), curves in runs.items():
        panel = panels[down.index(row), across.index(column)]
        if curves is None:
            panel.text(0.5, 0.5, "diverged", transform=panel.transAxes, ha="center", fontsize=TEXT)
            continue
        (fine,) = panel.plot(*curves[0], color=SKY, linewidth=0.5, label=thin)
        (coarse,) = panel.plot(*curves[1], color=BLACK, linewidth=1.2, label=thick)
        drawn = [fine, coarse]
    for panel, column in zip(panels[0], across, strict=True):
        panel.set_title(f"{columns} {_word(column)}", fontsize=TEXT)
    for panel, row in zip(panels[:, 0], down, strict=True):
        panel.set_ylabel(f"{rows} {_word(row)}", fontsize=TEXT)
    for panel in panels.flat:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.tick_params(labelsize=TEXT - 1)
        panel.grid(visible=True, color=GREY, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.margins(x=0.02)
    figure.supxlabel(xlabel, fontsize=TEXT)
    figure.supylabel(ylabel, fontsize=TEXT)
    if title:
        figure.suptitle(title, fontsize=TITLE)
    if drawn:
        for line in figure.legend(
            handles=drawn, loc="outside lower right", ncols=2, frameon=False
        ).get_lines():
            line.set_linewidth(2)
    return figure


def _word(setting: Any) -> str:
    return f"{setting:g}" if isinstance(setting, float) else str(setting)
