"""A recorded run in pictures: parameters and gradients over time, what the model answered along the way."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from scratchnn.checks import Array
from scratchnn.files.atomic import regular_target, write_atomically

from .epochs import LINES
from .line import curve_fit
from .look import BLUE, GREY, PANEL, TEXT, VERMILION, axes_or_new, label_axes, new_figure
from .plane import Extent, decision_regions, extent_of, over_the_plane, probability
from .training import _running_mean

MOST_LINES = 60  # of one parameter; of larger ones, their range
MOST_STEPS = 1500  # drawn of a run
WINDOWS = 50  # of the running mean, in a run
STRIP = 5  # panels
FRAMES = 40
GIF_DOTS = 72  # per inch
FRAME_SECONDS, LAST_SECONDS = 0.12, 2.0


def parameters_over_time(
    recording: Any, names: Sequence[str] | None = None, *, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Draw every element of the parameters against the steps, a colour a parameter.

    A parameter of more than 60 elements is drawn as the range they cover, with the median in it.

    Args:
        recording: a `Recording`. names: of at most 7 parameters; without it, all of them.
    Raises:
        KeyError: a parameter that is not there. ValueError: an empty recording, more names than colours.
        TypeError: one name without a list.
    """
    names = _named("parameters_over_time", recording, names)
    ax = axes_or_new(ax)
    for name, color in zip(names, LINES, strict=False):
        steps, values = recording.over_time(name)
        every = -(-len(steps) // MOST_STEPS)
        steps = steps[::every]
        values = values[::every].reshape(len(steps), -1)
        if values.shape[1] <= MOST_LINES:
            drawn = ax.plot(steps, values, color=color, linewidth=1.2, alpha=0.8)
            drawn[0].set_label(name)
        else:
            low, high = values.min(axis=1), values.max(axis=1)
            ax.fill_between(steps, low, high, color=color, alpha=0.25, linewidth=0)
            ax.plot(steps, np.median(values, axis=1), color=color, linewidth=2, label=name)
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    return _finished(ax, "value of each element", title)


def gradients_over_time(
    recording: Any, names: Sequence[str] | None = None, *, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Draw how large the gradient of each parameter was, step by step, and its running mean.

    How large is the root of the mean square of its elements.

    Args:
        recording: a `Recording`. names: of at most 7 parameters; without it, all of them.
    Raises:
        KeyError: a gradient that is not there. ValueError: an empty recording, more names than colours.
        TypeError: one name without a list.
    """
    names = _named("gradients_over_time", recording, names)
    ax = axes_or_new(ax)
    for name, color in zip(names, LINES, strict=False):
        steps, values = recording.over_time(name, gradient=True)
        sizes = np.sqrt(np.mean(values.reshape(len(steps), -1).astype(np.float64) ** 2, axis=1))
        every, window = -(-len(steps) // MOST_STEPS), max(1, len(steps) // WINDOWS)
        mean = _running_mean(sizes, window)
        noisy = window > 1
        if noisy:
            ax.plot(steps[::every], sizes[::every], color=color, linewidth=0.5, alpha=0.25)
        ax.plot(steps[::every], mean[::every], color=color, linewidth=2, label=name, zorder=3)
    if all(np.min(line.get_ydata()) > 0 for line in ax.lines):
        _log_axis(ax)
    return _finished(ax, "size of dL/d of each parameter", title)


def _named(owner: str, recording: Any, names: Sequence[str] | None) -> list[str]:
    recording._check_not_empty()
    every = list(recording.parameters(int(recording.steps[0])))
    chosen = every if names is None else list(names)
    if unknown := [name for name in chosen if name not in every]:
        raise KeyError(
            f"{owner} got names={unknown}, no parameters of the recording; it has {', '.join(every)}"
        )
    if not 1 <= len(chosen) <= len(LINES):
        raise ValueError(
            f"{owner} got {len(chosen)} parameters; it draws 1 to {len(LINES)}, which can be told apart: "
            f"choose them with names=, such as [{every[0]!r}]"
        )
    return chosen


def _finished(ax: Axes, ylabel: str, title: str | None) -> Axes:
    label_axes(ax, "step", ylabel, title)
    ax.margins(x=0.01)
    ax.legend(fontsize=TEXT, framealpha=0.9)
    return ax


def _log_axis(ax: Axes) -> None:
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def boundary_strip(
    recording: Any,
    x: Array,
    y: Array,
    steps: Sequence[int] | None = None,
    *,
    names: Sequence[str] | None = None,
    extent: Extent | None = None,
) -> Figure:
    """Draw side by side what the model made of the plane at some steps of the run.

    Probabilities are drawn as `probability`; other outputs as `decision_regions`, one number by its sign.

    Args:
        recording: a `Recording` of a model of 2 inputs.
        x, y: points and classes to draw on top, as `points` takes them.
        steps: numbers of recorded steps; without it five, closer together at the start.
        names: of the classes. extent: (left, right, bottom, top); a little more than `x` covers.
    Raises:
        IndexError: a step that was not kept. ValueError: an empty recording, a model of other inputs.
    """
    recording._check_not_empty()
    chosen = _spread(recording.steps, STRIP) if steps is None else list(steps)
    if not chosen:
        raise ValueError("boundary_strip got steps=[]; it needs numbers of recorded steps")
    extent = extent_of("boundary_strip", x, extent)
    models = [recording.at(step) for step in chosen]
    smooth = _are_probabilities(models, extent)
    figure = new_figure(width=(0.6 * len(models) + 0.28) * PANEL[0], height=PANEL[1])
    panels = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    for panel, step, model in zip(panels, chosen, models, strict=True):
        _plane(model, x, y, panel, smooth, extent, names, f"step {step:,}", bar=panel is panels[-1])
        if panel is not panels[0]:
            panel.set_ylabel("")
        if len(chosen) > 1 and panel is not panels[len(chosen) // 2] and panel.get_legend() is not None:
            panel.get_legend().remove()
    return figure


def animate(
    recording: Any,
    path: str | os.PathLike[str],
    x: Array,
    y: Array,
    *,
    frames: int = FRAMES,
    names: Sequence[str] | None = None,
) -> Path:
    """Write a GIF of the training: what the model answers, beside the losses so far.

    Args:
        recording: a `Recording` of a model of 1 or 2 inputs.
        path: of the file, whole or not at all. x, y: the data, as `curve_fit` or `points` takes them.
        frames: at most so many of the recorded steps, closer together at the start.
        names: of the classes.
    Returns:
        the path.
    Raises:
        ValueError: an empty recording, a model of more inputs. OSError: the file cannot be written.
    """
    from PIL import Image

    regular_target(path)  # before the pictures, which take seconds
    recording._check_not_empty()
    x = np.asarray(x)
    inputs = x.shape[1] if x.ndim == 2 else 1
    if inputs > 2:
        raise ValueError(f"animate got x of shape {x.shape}; it draws models of 1 or 2 inputs")
    steps = _spread(recording.steps, frames)
    models = [recording.at(step) for step in steps]
    extent = extent_of("animate", x, None) if inputs == 2 else None
    smooth = extent is not None and _are_probabilities(models, extent)
    losses, images = recording.losses, []
    bounds = _bounds(models, x, y) if extent is None else None
    for step, model in zip(steps, models, strict=True):
        figure = new_figure(width=1.75 * PANEL[0], height=PANEL[1])
        left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
        if extent is not None:
            _plane(model, x, y, left, smooth, extent, names, f"step {step:,}", bar=False)
        else:
            curve_fit(model, x, y, ax=left, title=f"step {step:,}")
            left.set_ylim(bounds)
        _losses_so_far(right, losses, step)
        figure.set_dpi(GIF_DOTS)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    # One palette for all, so that colours do not flicker.
    palette = images[len(images) // 2].quantize(colors=128)
    still = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [int(1000 * FRAME_SECONDS)] * (len(still) - 1) + [int(1000 * LAST_SECONDS)]
    return _write_gif(still, times, Path(path))


def _write_gif(images: Sequence[Any], milliseconds: Sequence[int], path: Path) -> Path:
    file = io.BytesIO()
    images[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=list(milliseconds),
        loop=0,
        optimize=False,
    )
    write_atomically(path, file.getvalue())
    return path


def _plane(
    model: Any,
    x: Array,
    y: Array,
    ax: Axes,
    smooth: bool,
    extent: Extent,
    names: Sequence[str] | None,
    title: str,
    bar: bool,
) -> None:
    if smooth:
        probability(model, x, y, ax=ax, title=title, names=names, extent=extent, bar=bar)
    else:
        decision_regions(model, x, y, ax=ax, title=title, names=names, extent=extent, threshold=0)


def _are_probabilities(models: Sequence[Any], extent: Extent) -> bool:
    """Of class 1, or of two classes, wherever in the plane."""
    for model in models:
        outputs = over_the_plane(model, extent)[2]
        if outputs.shape[1] > 2 or outputs.min() < 0 or outputs.max() > 1:
            return False
    return True


def _spread(steps: Array, count: int) -> list[int]:
    """At most `count` of the steps, from the first to the last, closer together at the start."""
    if len(steps) <= count:
        return [int(step) for step in steps]
    # Differences that grow by a constant factor: the first one is a step, or close to it.
    last = len(steps) - 1
    places = np.unique(np.rint(np.geomspace(1, last + 1, 50 * count) - 1).astype(int))
    chosen = places[np.rint(np.linspace(0, len(places) - 1, count)).astype(int)]
    return [int(step) for step in steps[np.unique(chosen)]]


def _bounds(models: Sequence[Any], x: Array, y: Array) -> tuple[float, float]:
    """Of the data and all answers, the same in every frame."""
    low, high = float(np.min(y)), float(np.max(y))
    dtype = next(iter(models[0].parameters())).dtype
    for model in models:
        answers = np.asarray(model.eval()(np.asarray(x, dtype).reshape(-1, 1)))
        low, high = min(low, float(answers.min())), max(high, float(answers.max()))
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _losses_so_far(ax: Axes, losses: Array, step: int) -> None:
    """The whole curve faint, the part that is made strong."""
    every = -(-len(losses) // MOST_STEPS)
    numbers = np.arange(1, len(losses) + 1)
    ax.plot(numbers[::every], losses[::every], color=GREY, linewidth=1)
    ax.plot(numbers[:step:every], losses[:step:every], color=BLUE, linewidth=1)
    if step:
        ax.plot(numbers[step - 1], losses[step - 1], "o", color=VERMILION, markersize=7)
    label_axes(ax, "step", "loss of each step", "Loss")
    finite = losses[np.isfinite(losses)]
    if len(finite) and finite.min() > 0 and finite.max() > 10 * finite.min():
        _log_axis(ax)
    ax.margins(x=0.02)
