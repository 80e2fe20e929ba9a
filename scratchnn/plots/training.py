"""Pictures of a training run: how the loss fell, and what the trained model confuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from scratchnn.checks import Array

from .look import BLUE, GREY, LABEL, SKY, TEXT, axes_or_new, class_name, class_numbers, label_axes


def loss_curve(
    losses: Any,
    epochs: float | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    log: bool | None = None,
) -> Axes:
    """Draw the loss of every step against the epochs passed, and its running mean over one epoch.

    Args:
        losses: a `History`, or one loss a step, (steps,).
        epochs: the epochs that those steps make up; without it, a step is an epoch.
        log: a logarithmic loss axis; without it, where the losses span more than a factor of 10.
    Raises:
        ValueError: if there is not one loss a step, or none.
    """
    if hasattr(losses, "step_losses"):
        losses, epochs = losses.step_losses, len(losses.train_loss)
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 1 or not len(losses):
        raise ValueError(f"loss_curve got losses of shape {losses.shape}; it needs one a step, (steps,)")
    steps_per_epoch = len(losses) / epochs if epochs else 1.0
    passed = np.arange(1, len(losses) + 1) / steps_per_epoch
    window = round(steps_per_epoch)

    ax = axes_or_new(ax)
    if 1 < window < len(losses):
        ax.plot(passed, losses, color=SKY, linewidth=0.6, label="each step")
        ax.plot(passed, _running_mean(losses, window), color=BLUE, linewidth=2.2, label="mean over one epoch")
        ax.legend(fontsize=TEXT, framealpha=0.9)
    else:
        ax.plot(passed, losses, color=BLUE, linewidth=1.8, label="each step")
    label_axes(ax, "epochs", "loss", title)
    positive = np.isfinite(losses).all() and losses.min() > 0
    if (positive and losses.max() > 10 * losses.min()) if log is None else log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(visible=True, which="major", color=GREY, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.margins(x=0.01)
    return ax


def confusion_matrix(
    target: Array,
    predicted: Array,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    names: Sequence[str] | None = None,
) -> Axes:
    """Draw how often each class was taken for each: counts, and shares of the actual class.

    Args:
        target, predicted: (N,) or (N, 1) class of each point: 0, 1, 2, ...
    Raises:
        ValueError: if they are no classes, or not one of each a point.
    """
    actual = class_numbers(target, "confusion_matrix", "target")
    guess = class_numbers(predicted, "confusion_matrix", "predicted")
    if len(actual) != len(guess) or not len(actual):
        raise ValueError(
            f"confusion_matrix got {len(actual)} targets and {len(guess)} predictions; "
            "give one of each a point"
        )
    classes = max(2, int(actual.max()) + 1, int(guess.max()) + 1)
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (actual, guess), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    ax = axes_or_new(ax)
    colors = LinearSegmentedColormap.from_list("share", ["white", BLUE])
    image = ax.imshow(shares, cmap=colors, vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]:,}\n{100 * share:.1f} %"
        color = "white" if share > 0.5 else "black"
        size = 16 if classes <= 3 else 9
        ax.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
    ticks = [class_name(label, names) for label in range(classes)]
    ax.set_xticks(range(classes), ticks)
    ax.set_yticks(range(classes), ticks, rotation=90, va="center")
    label_axes(ax, "predicted class", "actual class", title)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, format=PercentFormatter(xmax=1), shrink=0.9)
    bar.set_label("share of the actual class", fontsize=LABEL)
    bar.ax.tick_params(labelsize=TEXT)
    return ax


def _running_mean(values: Array, window: int) -> Array:
    """The mean of `window` values around each, of fewer at both ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    start = np.maximum(0, at - window // 2)
    stop = np.minimum(len(values), at + (window - window // 2))
    return np.asarray((total[stop] - total[start]) / (stop - start))
