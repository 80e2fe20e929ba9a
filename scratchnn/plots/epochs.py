"""How a run went, epoch by epoch: training beside validation, or several runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from .look import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PANEL,
    PURPLE,
    SKY,
    TEXT,
    VERMILION,
    axes_or_new,
    label_axes,
    new_figure,
)

LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def history(record: Any, *, title: str | None = None) -> Figure:
    """Draw a `History`: the loss of training and validation on a logarithmic axis, and each metric beside it.

    Args:
        record: a `History` of at least one epoch.
    Raises:
        ValueError: if it holds no epoch.
    """
    if not record.train_loss:
        raise ValueError("history got a History without epochs; train first")
    names = [name for name in record.metrics if not name.startswith("val_")]
    figure = new_figure(PANEL[0] * (1 + 0.85 * len(names)), PANEL[1])
    panels = figure.subplots(1, 1 + len(names), squeeze=False)[0]
    losses = {"training": record.train_loss}
    if record.val_loss:
        losses["validation"] = record.val_loss
    curves(losses, ax=panels[0], title="Loss", ylabel="loss")
    for panel, name in zip(panels[1:], names, strict=True):
        values = {"training": record.metrics[name]}
        if f"val_{name}" in record.metrics:
            values["validation"] = record.metrics[f"val_{name}"]
        curves(values, ax=panel, title=name.capitalize(), ylabel=name, log=False)
        if name == "accuracy":
            panel.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def curves(
    runs: Mapping[Any, Any],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    xlabel: str = "epochs",
    ylabel: str = "loss",
    log: bool = True,
) -> Axes:
    """Draw one line a run, each in a colour and a dash of its own.

    Args:
        runs: {name: one number an epoch}, at most 7 of them.
        log: a logarithmic axis, where all numbers are positive.
    Raises:
        ValueError: without numbers, or for more lines than there are colours.
    """
    columns = {str(name): np.asarray(values, dtype=np.float64) for name, values in runs.items()}
    if not columns or not all(values.ndim == 1 and len(values) for values in columns.values()):
        raise ValueError("curves got runs without numbers; it needs {name: one number an epoch}")
    if len(columns) > len(LINES):
        raise ValueError(
            f"curves got {len(columns)} runs; it draws at most {len(LINES)} that can be told apart"
        )
    ax = axes_or_new(ax)
    for (name, values), color, dash in zip(columns.items(), LINES, DASHES, strict=False):
        ax.plot(np.arange(1, len(values) + 1), values, color=color, linestyle=dash, linewidth=2, label=name)
    label_axes(ax, xlabel, ylabel, title)
    if log and all(np.isfinite(values).all() and values.min() > 0 for values in columns.values()):
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if high < 30 * low else (1,)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(visible=True, which="major", color=GREY, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.margins(x=0.01)
    ax.legend(fontsize=TEXT, framealpha=0.9)
    return ax
