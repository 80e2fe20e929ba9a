"""Sine: how does a network of ten S-curves draw a wave, and why only half of it?

y = sin(3x) exp(-x/8) is a wave that fades from left to right. A hidden unit with Sigmoid is a smooth step
at one place; the output adds up the steps. Ten steps are not enough for the whole wave, so the network
has to choose, and the loss tells it what counts.

N = 200 is the number of points, H the number of hidden units.
"""

from __future__ import annotations

from functools import partial
from os import PathLike
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn import plots
from scratchnn.checks import Array

from .lesson import Lesson, Start, StudyResult
from .sweep import spread, train_many
from .words import batch_words

SEEDS = 100  # a width, in the sweep
WIDTHS = range(1, 11)
FLIPPED_SHARE = 0.7  # 14,000 steps on the flipped function where the other takes 20,000
EVERY = 1000  # steps between two printed losses


def amplitude(x: Array) -> Array:
    """exp(-x/8): how high the wave goes at x."""
    return np.exp(-x / 8)


def data(dtype: Any = np.float32) -> tuple[Array, Array]:
    """The wave from -10 to 10, step 0.1: x (200, 1), y (200, 1)."""
    x = np.arange(-10, 10, 0.1)[:, None]
    return x.astype(dtype), (np.sin(3 * x) * amplitude(x)).astype(dtype)


def network(hidden: int = 10, dtype: Any = np.float32) -> snn.Sequential:
    """1 number in, `hidden` smooth steps, 1 number out: their weighted sum."""
    return snn.Sequential(
        snn.Linear(1, hidden, dtype=dtype),
        snn.Sigmoid(),
        snn.Linear(hidden, 1, dtype=dtype),
    )


class Divide(snn.Module):
    """y = x / scale, row by row: MSELoss after it counts errors relative to the scale.

    Args:
        scale: (N, 1), one number a row of the full batch.
    """

    def __init__(self, scale: Array) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Array) -> Array:
        return x / self.scale

    def backward(self, dy: Array) -> Array:
        return dy / self.scale


def errors(model: Any, x: Array, y: Array, height: Array) -> tuple[float, float]:
    """How far off the model is, left and right of 0, relative to the height of the wave at each point.

    0 is perfect, 1 is as bad as answering 0 everywhere.
    """
    off, wave = (model(x) - y) / height, y / height
    halves = (x < 0, x >= 0)
    left, right = (float(np.sqrt(np.mean(off[half] ** 2) / np.mean(wave[half] ** 2))) for half in halves)
    return left, right


def start(
    *, hidden: int, lr: float, batch_size: int | None, seed: int, dtype: Any, points: Any = None
) -> Start:
    """The network before its first step, and what trains it. The seed comes first: weights and batches are
    drawn from it.

    Args:
        hidden, lr, batch_size, seed, dtype: as `run` takes them. points: x, y; those of the study if None.
    """
    x, y = data(dtype) if points is None else points
    snn.manual_seed(seed)
    model = network(hidden, dtype)
    return Start(model, snn.MSELoss(), snn.Adam(model.parameters(), lr=lr), Lesson.batches(x, y, batch_size))


def run(
    *,
    epochs: int = 20_000,
    lr: float = 0.01,
    batch_size: int | None = None,
    hidden: int = 10,
    seed: int = 0,
    dtype: str = "float32",
    reference: bool = True,
    device: str = "cpu",
    out: str | PathLike[str] | None = None,
    quiet: bool = False,
    play: bool = False,
) -> StudyResult:
    """Fit the wave, look inside, and ask why one side fits and the other does not.

    Args:
        epochs: passes over the data; with a full batch, steps.
        lr: learning rate of Adam.
        batch_size: points a step; without it, all of them.
        hidden: units in the hidden layer.
        seed: of everything that is random: weights and batches.
        dtype: "float32" or "float64".
        reference: train by PyTorch too, where it is installed, and compare.
        device: PyTorch's device, "cpu" or "cuda".
        out: folder for the pictures; without it, they are drawn and not written.
        quiet: print nothing.
        play: train 1 to 10 hidden units from 100 seeds each, and the flipped wave from 100 seeds.
    Raises:
        StudyError: for a setting with which the study cannot run.
        DivergenceError: if the loss leaves the finite numbers.
    """
    lesson = Lesson(
        "sine",
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        hidden=hidden,
        seed=seed,
        dtype=dtype,
        reference=reference,
        device=device,
        out=out,
        quiet=quiet,
        play=play,
    )

    # The data, the network and the training.
    x, y = data(lesson.dtype)
    lesson.title("Sine: how do a few smooth steps draw a wave?")
    lesson.fact("data", f"{len(x)} points of y = sin(3x) exp(-x/8)")
    lesson.fact("network", f"1 input, {hidden} hidden units (Sigmoid), 1 linear output")
    lesson.fact("training", f"MSELoss, Adam with lr {lr:g}, {dtype}, seed {seed}")
    lesson.fact("", f"{epochs:,} epochs, {batch_words(batch_size)}")

    model, loss_fn, optimizer, batches = start(
        hidden=hidden, lr=lr, batch_size=batch_size, seed=seed, dtype=lesson.dtype, points=(x, y)
    )
    history = lesson.train(model, loss_fn, optimizer, batches)
    lesson.predict(x)
    milestones = sorted({*range(EVERY, epochs + 1, EVERY), epochs})
    lesson.table(("epoch", "loss"), [(f"{n:,}", f"{history.train_loss[n - 1]:.4f}") for n in milestones])
    lesson.picture("loss", plots.loss_curve(history, title="Loss"), "The loss of every step.")
    lesson.picture(
        "fit",
        plots.curve_fit(model, x, y, title=f"Data and fit: loss {history.train_loss[-1]:.4f}"),
        "The points, and what the network makes of them.",
    )
    lesson.judge()

    # Inside: every hidden unit is a step at one place.
    lesson.question("What does each hidden unit do?")
    places = plots.threshold_places(model)
    adds = model.state_dict()["2.weight"][0]  # what each unit adds to the output while it is on
    order = np.argsort(places[:, 0])
    lesson.table(
        ("unit", "switches at -b/w", "on to the", "adds"),
        [
            (unit + 1, f"{places[unit, 0]:.3g}", _side(places[unit, 1]), f"{adds[unit]:+.3g}")
            for unit in order
        ],
    )
    lesson.picture(
        "thresholds",
        plots.thresholds(model, x, y, title="Where each hidden unit switches"),
        "The place where each hidden unit is at one half, and the side where it is on.",
    )
    inside = (places[:, 0] >= x.min()) & (places[:, 0] <= x.max())
    lesson.answer(
        f"Unit j is sigmoid(w x + b): off on one side of x = -b/w and on at the other, and while it is on it "
        f"adds its output weight. Walking from left to right, the output changes only where a unit switches. "
        f"{int(inside.sum())} of the {hidden} units switch among the data, "
        f"{int((inside & (places[:, 0] < 0)).sum())} of them in the left half, where the wave is high."
    )

    lesson.question("What if the units were real switches, 0 or 1?")
    binary = plots.binary_prediction(model, x)
    smooth_error, binary_error = (float(np.mean((p - y) ** 2)) for p in (model(x), binary))
    lesson.picture(
        "staircase",
        plots.staircase(model, x, y, title="Smooth units, and the same units as switches"),
        "The fit, and the prediction of the same weights with units that are 0 or 1: constant in pieces.",
    )
    lesson.answer(
        f"The prediction becomes a staircase of {len(np.unique(binary))} levels, with a mean squared error "
        f"of {binary_error:.3g} where the smooth units have {smooth_error:.3g}. The stairs show where the "
        "units switch; the fit is made by the slopes between, where several units are half on at once and "
        "large weights of both signs cancel."
    )

    # Why one side? If it is the scale of y, then turning the wave around turns the fit around ...
    lesson.question("Why does one side fit so well and the other not at all?")
    steps = max(1, round(FLIPPED_SHARE * epochs))
    flipped = np.ascontiguousarray(y[::-1])
    snn.manual_seed(seed)
    turned = network(hidden, lesson.dtype)
    adam = snn.Adam(turned.parameters(), lr=lr)
    snn.fit(turned, loss_fn, adam, lesson.batches(x, flipped, batch_size), steps, progress=not quiet)
    # ... and a loss that counts errors relative to the height of the wave has no favourite side.
    scale = amplitude(x)
    snn.manual_seed(seed)
    fair = network(hidden, lesson.dtype)
    adam = snn.Adam(fair.parameters(), lr=lr)
    scaled = snn.Sequential(*fair, Divide(scale))
    snn.fit(scaled, loss_fn, adam, (x, y / scale), epochs, progress=not quiet)

    sides = {
        "squared error": errors(model, x, y, scale),
        "squared error, flipped": errors(turned, x, flipped, scale[::-1]),
        "relative error": errors(fair, x, y, scale),
    }
    lesson.table(
        ("loss", "left half off by", "right half off by"),
        [(name, f"{100 * left:.0f} %", f"{100 * right:.0f} %") for name, (left, right) in sides.items()],
    )
    fits = {
        "Squared error": (model, x, y),
        "Squared error, the wave flipped": (turned, x, flipped),
        "Error relative to the height of the wave": (fair, x, y),
    }
    lesson.picture("sides", plots.curve_fits(fits), "The three fits.")
    lesson.answer(_verdict(sides, y))

    results: dict[str, Any] = {
        "hidden": hidden,
        "lr": lr,
        "batch_size": batch_size,
        "losses": {str(n): history.train_loss[n - 1] for n in milestones},
        "thresholds": places[:, 0],
        "directions": places[:, 1],
        "output_weights": adds,
        "smooth_error": smooth_error,
        "binary_error": binary_error,
        "sides": {name: {"left": left, "right": right} for name, (left, right) in sides.items()},
    }
    if play:
        results |= _play(lesson, epochs, lr, batch_size, hidden)
    else:
        lesson.say(f"--play trains {WIDTHS[0]} to {WIDTHS[-1]} hidden units from {SEEDS} seeds each")
    lesson.where_the_pictures_are()
    return lesson.result(train_accuracy=None, test_accuracy=None, results=results)


def _side(direction: float) -> str:
    return "right" if direction > 0 else "left" if direction < 0 else "(never)"


def _verdict(sides: dict[str, tuple[float, float]], y: Array) -> str:
    """What the three fits say about scale; the numbers decide."""
    (left, right), (turned_left, turned_right), (fair_left, fair_right) = sides.values()
    smallest = float(np.min(y * y))
    weight = float(np.max(y * y)) / smallest if smallest else np.inf
    text = (
        f"An error of 10 % costs {np.exp(2 * (9.9 + 10) / 8):.0f} times as much at the left end as at the "
        "right end, because MSELoss squares what is left over, not its share. "
    )
    if left < right and turned_right < turned_left:
        text += "Flipped, the right side fits: it is the height of the wave that decides, not the side. "
    else:
        text += "From this seed the flipped wave does not turn the fit around; --play asks many seeds. "
    apart, fair_apart = (
        max(a, b) / max(min(a, b), 1e-30) for a, b in ((left, right), (fair_left, fair_right))
    )
    text += (
        "With every error divided by the height, exp(-x/8), before it is squared, the sides are "
        f"{100 * fair_left:.0f} and {100 * fair_right:.0f} % off, a factor of {fair_apart:.1f} where it was "
        f"{apart:.1f}: "
    )
    if fair_apart < 2:
        text += "no side is favoured any more, and there are too few steps for both. "
    elif fair_right < fair_left:
        text += "the high side has lost its privilege; there are too few steps for both, and this run chose "
        text += "the low one. "
    else:
        text += "there are too few steps for both, and this run still chose the high side. "
    return text + (
        "(Divided by y itself, as one would first write it, the loss is hopeless: y passes through zero, and "
        f"the point nearest to it would weigh {weight:.0e} times as much as the highest.)"
    )


def _play(lesson: Lesson, epochs: int, lr: float, batch_size: int | None, hidden: int) -> dict[str, Any]:
    """Every width from 100 seeds, and the flipped wave too: what is luck, and what is not?"""
    x, y = data(lesson.dtype)
    height = amplitude(x)
    train = partial(
        train_many,
        loss_fn=snn.MSELoss(),
        optimizer=lambda parameters: snn.Adam(parameters, lr=lr),
        seeds=range(SEEDS),
        progress=not lesson.quiet,
    )

    lesson.question(f"How many hidden units does the wave need? {SEEDS} seeds each")
    widths = {
        width: train(
            partial(network, width, lesson.dtype),
            data=lambda: lesson.batches(x, y, batch_size),
            epochs=epochs,
        )
        for width in WIDTHS
    }
    losses = {width: [each.loss for each in trained] for width, trained in widths.items()}
    spreads = {width: spread(values) for width, values in losses.items()}
    lesson.table(
        ("hidden units", "least", "median", "most"),
        [
            (width, *(f"{each[part]:.4f}" for part in ("least", "median", "most")))
            for width, each in spreads.items()
        ],
    )
    drawing = plots.distribution(losses, title="Final loss from 100 seeds", xlabel="hidden units", log=True)
    lesson.picture("widths", drawing, f"Each dot is one network: {SEEDS} seeds for each width.")
    first, last = spreads[WIDTHS[0]], spreads[WIDTHS[-1]]
    lesson.answer(
        f"Each unit is one more step, and the median loss falls from {first['median']:.2f} with one unit to "
        f"{last['median']:.2f} with {WIDTHS[-1]}. Luck counts too: with {WIDTHS[-1]} units the worst seed "
        f"ends {last['most'] / last['least']:.1f} times as high as the best, as high as the median of "
        f"{_as_good_as(spreads, last['most'])} units. The loss has many valleys, and the weights that are "
        "drawn first decide in which one the run ends."
    )

    lesson.question(f"Does the high side always fit better? {SEEDS} seeds both ways round")
    flipped = np.ascontiguousarray(y[::-1])
    turned = train(
        partial(network, hidden, lesson.dtype),
        data=lambda: lesson.batches(x, flipped, batch_size),
        epochs=max(1, round(FLIPPED_SHARE * epochs)),
    )
    straight = widths.get(hidden) or train(
        partial(network, hidden, lesson.dtype),
        data=lambda: lesson.batches(x, y, batch_size),
        epochs=epochs,
    )
    both = {
        "as it is": np.array([errors(each.model, x, y, height) for each in straight]),
        "flipped": np.array([errors(each.model, x, flipped, height[::-1]) for each in turned]),
    }
    high_side = {"as it is": 0, "flipped": 1}
    shares = {
        name: float(np.mean(found[:, side] < found[:, 1 - side]))
        for (name, found), side in zip(both.items(), high_side.values(), strict=True)
    }
    medians = {name: np.median(found, axis=0) for name, found in both.items()}
    lesson.table(
        ("wave", "left half off by", "right half off by", "high side fits better"),
        [
            (name, *(f"{100 * value:.0f} %" for value in medians[name]), f"{100 * share:.0f} % of seeds")
            for name, share in shares.items()
        ],
    )
    lesson.answer(
        f"As it is, the high side, on the left, fits better from {100 * shares['as it is']:.0f} % of the "
        f"seeds; flipped, the high side, on the right, from {100 * shares['flipped']:.0f} %. (The errors in "
        "the table are medians.)"
    )
    return {
        "widths": {"losses": losses, "spread": spreads},
        "seeds": {name: {"left": each[:, 0], "right": each[:, 1]} for name, each in both.items()},
        "high_side_fits_better": shares,
    }


def _as_good_as(spreads: dict[int, dict[str, float]], loss: float) -> int:
    """The most units whose median loss is at least `loss`; 1 if there is none."""
    return max((width for width, each in spreads.items() if each["median"] >= loss), default=WIDTHS[0])
