"""Rings: how many straight lines does it take to close a ring around a disc?

A hidden unit with weights w and bias b switches along the line w . x + b = 0 and nowhere else. One line
has the disc on one side, and half of the ring with it. Two lines make a strip, and the strip leaves the
picture at both ends. Three lines close a triangle. So the loss should fall little with one unit, more
with two, and the great step comes with the third. It does.

In another light: H units send every point to a corner, or near it, of a cube of H dimensions, and the
output unit cuts that cube by one plane. What counts is whether the rings can be cut there.

N is the number of points, H of hidden units.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn import plots
from scratchnn.checks import Array

from .lesson import Lesson, Start, StudyResult
from .sweep import train_many

RINGS = ("disc", "ring")
POINTS = 1000  # in each
EXTENT = (-4.6, 4.6, -4.6, 4.6)

WIDTHS = (1, 2, 3, 5)
TUTORIAL = {1: 0.525, 2: 0.236, 3: 0.043, 5: 0.006}  # its final losses
MOST_CODES = 8  # hidden units whose codes can be drawn
PLAY_WIDTHS = tuple(range(1, 11))
SOLVED = 0.01  # a loss at which every point has been given its class with about 99 % on the average

SIGMOID: Callable[[], snn.Module] = snn.Sigmoid
RELU: Callable[[], snn.Module] = snn.ReLU


def data(dtype: Any = np.float32, points: int = POINTS, seed: int = 100) -> tuple[Array, Array]:
    """A disc of radius 1, and the ring between the radii 3 and 4 around it.

    The numbers are those that `numpy.random.seed(100)` gives: for each class its radii, then its angles.
    Radii are uniform, so the points lie denser towards the middle of the disc.

    Returns:
        x (2 * points, 2), y (2 * points, 1): 0 is the disc, 1 the ring.
    """
    stream = np.random.RandomState(seed)  # the stream of numpy.random.seed, without touching the global one
    places = []
    for inner in (0, 3):
        r = stream.uniform(inner, inner + 1, points)
        theta = stream.uniform(0, 2 * np.pi, points)
        places.append(np.stack([r * np.cos(theta), r * np.sin(theta)], axis=1))
    y = np.repeat([0, 1], points)[:, None]
    return np.concatenate(places).astype(dtype), y.astype(dtype)


def network(hidden: int, activation: Callable[[], snn.Module] = SIGMOID, dtype: Any = np.float32) -> Any:
    """2 coordinates in, `hidden` lines, 1 probability of the ring out."""
    return snn.Sequential(
        snn.Linear(2, hidden, dtype=dtype),
        activation(),
        snn.Linear(hidden, 1, dtype=dtype),
        snn.Sigmoid(),
    )


def start(
    *,
    hidden: int,
    lr: float,
    batch_size: int | None,
    seed: int,
    dtype: Any,
    points: Any = None,
    activation: Callable[[], snn.Module] = SIGMOID,
) -> Start:
    """The network before its first step, and what trains it. The seed comes first: weights and batches are
    drawn from it.

    Args:
        hidden, lr, batch_size, seed, dtype: as `run` takes them. points: x, y; those of the study if None.
        activation: of the hidden units.
    """
    x, y = data(dtype) if points is None else points
    snn.manual_seed(seed)
    model = network(hidden, activation, dtype)
    return Start(model, snn.BCELoss(), snn.Adam(model.parameters(), lr=lr), Lesson.batches(x, y, batch_size))


def run(
    *,
    epochs: int = 10_000,
    lr: float = 1e-3,
    batch_size: int | None = None,
    hidden: int = 3,
    seed: int = 0,
    dtype: str = "float32",
    reference: bool = True,
    device: str = "cpu",
    out: str | PathLike[str] | None = None,
    quiet: bool = False,
    play: bool = False,
    seeds: int = 200,
) -> StudyResult:
    """Train networks of 1, 2, 3 and 5 hidden units on the rings, and look at the lines they draw.

    Args:
        epochs: passes over the data.
        lr: learning rate of Adam.
        batch_size: points a step; None is all of them, every step.
        hidden: units of the network that PyTorch trains too.
        seed: of everything that is random: weights and batches. (The data are always the same.)
        dtype: "float32" or "float64".
        reference: train by PyTorch too, where it is installed, and compare.
        device: PyTorch's device, "cpu" or "cuda".
        out: folder for the pictures; without it, they are drawn and not written.
        quiet: print nothing.
        play: train every width from 1 to 10 from many seeds, with sigmoid and with ReLU.
        seeds: how many, for each width.
    Raises:
        StudyError: for a setting with which the study cannot run.
        DivergenceError: if the loss leaves the finite numbers.
    """
    lesson = Lesson(
        "rings",
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
        seeds=seeds,
    )
    x, y = data(lesson.dtype)
    x_new, y_new = data(lesson.dtype, seed=101)
    size = "all points" if batch_size is None else f"batches of {batch_size} points"
    lesson.title("Rings: close a ring around a disc")
    lesson.fact("data", f"{POINTS:,} points in a disc, {POINTS:,} in a ring; as many to test")
    lesson.fact("network", f"2 inputs, {hidden} hidden units (Sigmoid), 1 output (Sigmoid)")
    lesson.fact("training", f"BCELoss, Adam with lr {lr:g}, {dtype}, seed {seed}")
    lesson.fact("", f"{epochs:,} epochs, {size} a step")

    # One network, judged by PyTorch; the same again for the other widths.
    def train_one(width: int, activation: Callable[[], snn.Module]) -> tuple[snn.Module, snn.History]:
        model, loss_fn, optimizer, batches = start(
            hidden=width,
            lr=lr,
            batch_size=batch_size,
            seed=seed,
            dtype=lesson.dtype,
            points=(x, y),
            activation=activation,
        )
        if width == hidden and activation is SIGMOID:
            history = lesson.train(model, loss_fn, optimizer, batches)
        else:
            history = snn.fit(model, loss_fn, optimizer, batches, epochs, progress=False)
        return model.eval(), history

    model, history = train_one(hidden, SIGMOID)
    lesson.fact("final training loss", f"{history.train_loss[-1]:.4f}")
    lesson.fact("training accuracy", f"{100 * _accuracy(model, x, y):.2f} %")
    lesson.fact("test accuracy", f"{100 * _accuracy(model, x_new, y_new):.2f} %, on points drawn anew")
    lesson.judge()
    widths = sorted({*WIDTHS, hidden})
    runs = {width: (model, history) if width == hidden else train_one(width, SIGMOID) for width in widths}

    lesson.question("What does each further hidden unit bring?")
    marks = list(range(max(1, epochs // 10), epochs + 1, max(1, epochs // 10)))
    headings = ["epoch", *(f"H = {width}" for width in widths)]
    lesson.table(
        headings,
        [[f"{at:,}", *(f"{runs[width][1].train_loss[at - 1]:.4f}" for width in widths)] for at in marks],
    )
    losses = {width: run_history.train_loss[-1] for width, (_, run_history) in runs.items()}
    lesson.table(
        ["hidden units", "our loss", "the tutorial's", "points on the wrong side"],
        [
            [width, f"{losses[width]:.3f}", TUTORIAL.get(width, "-"), _wrong(runs[width][0], x, y)]
            for width in widths
        ],
    )
    lesson.answer(
        f"One line leaves {_wrong(runs[1][0], x, y)} of {len(x):,} points on the wrong side, the two lines "
        f"of a strip {_wrong(runs[2][0], x, y)}, the three of a triangle {_wrong(runs[3][0], x, y)}. Two "
        "units cannot close the line, whatever they learn: the output unit adds up, so its smallest value "
        "over all codes belongs to one of 00, 01, 10, 11, and with two lines the region of every code runs "
        "out of the picture, through the ring. With three lines one region is closed. (The tutorial did not "
        "seed its weights, so its losses are neighbours of ours and not the same.)"
    )
    lesson.picture(
        "loss",
        plots.curves(
            {f"H = {width}": run_history.train_loss for width, (_, run_history) in runs.items()},
            title="Loss by hidden units, sigmoid",
        ),
        "The loss of networks of 1, 2, 3 and 5 hidden units.",
    )
    lesson.picture(
        "lines",
        _grid(plots.decision_lines, runs, losses, x, y),
        "The line of each hidden unit, numbered; the arrow points to where the unit is on.",
    )

    lesson.question("Which regions do the lines cut, and what does the network make of each?")
    lesson.picture(
        "regions",
        _grid(plots.hidden_regions, runs, losses, x[::5], y[::5]),
        "The regions between the lines. A region's code has a digit a unit: 1 where it is on.",
    )
    lesson.answer(
        "Seen from the output unit, a region is its code: it can tell two places apart only as far as their "
        "codes differ (and as far as the sigmoids have not yet levelled off). The disc has a code of its own "
        "as soon as the lines around it close."
    )

    lesson.question("Where do the hidden units put the points?")
    lesson.picture(
        "activations",
        plots.hidden_activations(runs[3][0], x, y, names=RINGS, title="Three hidden units, one axis each"),
        "H = 3: the points in the cube of the hidden units, and the plane by which the output unit cuts it.",
    )
    lesson.picture(
        "triples",
        plots.hidden_triples(runs[5][0], x, y, names=RINGS, title="Five hidden units, three at a time"),
        "H = 5: the same for all ten triples of units.",
    )
    lesson.answer(
        "In the plane no straight cut tells the disc from the ring. The hidden layer moves the points into a "
        "cube where one plane does: the disc goes to one corner and the ring to the others."
    )

    lesson.question("The same with ReLU: at what width does the loss reach zero?")
    bent = {width: train_one(width, RELU) for width in widths}
    bent_losses = {width: run_history.train_loss[-1] for width, (_, run_history) in bent.items()}
    lesson.table(
        ["hidden units", "loss with ReLU", "with sigmoid", "points on the wrong side, ReLU"],
        [
            [width, f"{bent_losses[width]:.4f}", f"{losses[width]:.4f}", _wrong(bent[width][0], x, y)]
            for width in widths
        ],
    )
    lesson.picture("relu-lines", _grid(plots.decision_lines, bent, bent_losses, x, y), "The lines with ReLU.")
    lesson.picture(
        "relu-regions",
        _grid(plots.hidden_regions, bent, bent_losses, x[::5], y[::5]),
        "The regions with ReLU: the unit of a digit 1 still grows with the distance from its line.",
    )
    lesson.picture(
        "relu-activations",
        plots.hidden_activations(bent[3][0], x, y, names=RINGS, title="Three ReLU units, one axis each"),
        "H = 3 with ReLU: the disc in the corner where all units are off, and the plane that cuts it off.",
    )
    first = next((width for width in widths if bent_losses[width] < SOLVED), None)
    lesson.answer(
        "Exactly zero is out of reach: it would take a probability of exactly 0 or 1. But once all points "
        "are on the right side, longer training takes the loss as low as one likes, and three ReLU units can "
        "put them there: their sum is 0 in a triangle and grows on every side of it. Two cannot: what they "
        "add up to is smallest where both are off, in a wedge or strip that never ends, or it falls for "
        "ever. "
        + (
            f"Here H = {first} is the first width below {SOLVED:g}, with {bent_losses[first]:.4f}."
            if first
            else f"Here no width came below {SOLVED:g} in {epochs:,} epochs."
        )
        + " A line outside all points is a dead unit: off for every point, so no gradient ever moves it."
    )
    results: dict[str, Any] = {
        "hidden": hidden,
        "lr": lr,
        "batch_size": batch_size,
        "tutorial_losses": TUTORIAL,
        "losses": losses,
        "wrong": {width: _wrong(each, x, y) for width, (each, _) in runs.items()},
        "loss_at": {width: {at: runs[width][1].train_loss[at - 1] for at in marks} for width in widths},
        "relu_losses": bent_losses,
        "relu_wrong": {width: _wrong(each, x, y) for width, (each, _) in bent.items()},
        "relu_first_width_solved": first,
    }
    if play:
        results["play"] = _play(lesson, x, y, lr, batch_size, seeds)
    lesson.where_the_pictures_are()
    return lesson.result(
        train_accuracy=_accuracy(model, x, y), test_accuracy=_accuracy(model, x_new, y_new), results=results
    )


def _play(
    lesson: Lesson, x: Array, y: Array, lr: float, batch_size: int | None, seeds: int
) -> dict[str, dict[int, dict[str, Any]]]:
    """Every width from 1 to 10 from many seeds: what one run only hints at."""
    lesson.question(f"Is it the width, or luck? {seeds} seeds each")
    found: dict[str, dict[int, dict[str, Any]]] = {}
    spread: dict[str, dict[int, list[float]]] = {}
    for name, activation in (("sigmoid", SIGMOID), ("relu", RELU)):
        found[name], spread[name] = {}, {}
        for width in PLAY_WIDTHS:
            trained = train_many(
                lambda width=width, activation=activation: network(width, activation, lesson.dtype),  # type: ignore[misc]
                snn.BCELoss(),
                lambda parameters: snn.Adam(parameters, lr=lr),
                lambda: lesson.batches(x, y, batch_size),
                lesson.epochs,
                range(seeds),
                progress=not lesson.quiet,
            )
            # A run that left the finite numbers is as bad as guessing, and counts as such.
            losses = [each.loss if np.isfinite(each.loss) else float(np.log(2)) for each in trained]
            low, median, high = np.quantile(losses, [0.05, 0.5, 0.95])
            right = [_wrong(each.model, x, y) == 0 for each in trained]
            found[name][width] = {
                "median": median,
                "low": low,
                "high": high,
                "all_points_right": float(np.mean(right)),
                "below_solved": float(np.mean(np.array(losses) < SOLVED)),
                "runs": losses,
            }
            spread[name][width] = losses
        rows = [
            [
                width,
                f"{each['median']:.2g}",
                f"{each['low']:.2g} to {each['high']:.2g}",
                f"{100 * each['all_points_right']:.1f} %",
            ]
            for width, each in found[name].items()
        ]
        lesson.say(f"With {'sigmoid' if name == 'sigmoid' else 'ReLU'}:")
        lesson.table(["hidden units", "median loss", "5 % to 95 % of the seeds", "all points right"], rows)
        lesson.picture(
            f"widths-{name}",
            plots.distribution(
                spread[name],
                title=f"Final loss of {seeds} networks a width, {'ReLU' if name == 'relu' else name}",
                xlabel="hidden units",
                log=True,
                known=TUTORIAL if name == "sigmoid" else None,
                known_name="the tutorial's one run",
            ),
            f"One dot a network: {seeds} seeds for each number of hidden units.",
        )
    two, three = found["sigmoid"][2], found["sigmoid"][3]
    decided = two["all_points_right"] < three["all_points_right"]
    lesson.answer(
        f"{'It is the width.' if decided else 'Trained so briefly, neither shows.'} With sigmoid, "
        f"{100 * two['all_points_right']:.1f} % of the networks of two units put every point on "
        f"its side, and {100 * three['all_points_right']:.1f} % of those of three. The "
        f"best of two units ends at {min(spread['sigmoid'][2]):.3f}, the median of three at "
        f"{three['median']:.3f}, and the worst of three at {max(spread['sigmoid'][3]):.3f}: the third unit "
        "makes it possible, luck decides how soon."
    )
    below = {width: f"{100 * each['below_solved']:.1f} %" for width, each in found["relu"].items()}
    lesson.answer(
        f"With ReLU, {below[2]} of the networks of two units come below {SOLVED:g}, {below[3]} of those of "
        f"three, {below[5]} of five and {below[10]} of ten. Three can; more units make up for the dead ones."
    )
    return found


def _grid(
    draw: Callable[..., Any],
    runs: dict[int, tuple[snn.Module, Any]],
    losses: dict[int, float],
    x: Any,
    y: Any,
) -> Any:
    """One panel a width; a width whose codes are too long to draw has no panel of regions."""
    widths = [width for width in runs if draw is plots.decision_lines or width <= MOST_CODES]
    figure, panels = plots.panels(len(widths))
    for panel, width in zip(panels, widths, strict=True):
        title = f"{width} {'unit' if width == 1 else 'units'}: loss {losses[width]:.3f}"
        draw(runs[width][0], x, y, ax=panel, names=RINGS, extent=EXTENT, title=title)
    return figure


def _accuracy(model: snn.Module, x: Array, y: Array) -> float:
    return float(np.mean((model(x) > 0.5) == y))


def _wrong(model: snn.Module, x: Array, y: Array) -> int:
    return int(np.sum((model(x) > 0.5) != y))
