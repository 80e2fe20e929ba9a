"""Drawing, played with: linear units, more units, other rates and batches, more epochs.

`scratchnn study drawing --play` runs these after the lesson in drawing.py.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn import plots
from scratchnn.checks import Array

from .drawing import CLASSES, Data, accuracy_of, data, network
from .lesson import Lesson
from .regions import DRAWINGS, drawing, every_pixel
from .sweep import train_many

__all__ = ["linear", "longer", "others", "rates", "widths"]

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
OTHERS = ((4, 1), (16, 1), (64, 1), (64, 10))  # hidden units, times as many epochs
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
BATCHES = (8, 24, 72, 216, 648)


def linear(lesson: Lesson, points: Data, lr: float, batch_size: int, hidden: int) -> dict[str, Any]:
    """The same network with hidden units that answer w . x + b and nothing else."""
    lesson.question("What if the hidden units are linear?")
    x, y, _, _, x_test, y_test = points
    snn.manual_seed(lesson.seed)
    model: Any = network(hidden, lesson.dtype, snn.Identity)
    optimizer = snn.Adam(model.parameters(), lr=lr)
    snn.fit(model, snn.BCELoss(), optimizer, lesson.batches(x, y, batch_size), lesson.epochs, progress=False)
    model.eval()
    first, last = model[0], model[2]
    weight = last.weight.data @ first.weight.data  # (1, 2)
    bias = last.weight.data @ first.bias.data + last.bias.data  # (1,)
    right = accuracy_of(model, x_test, y_test)
    guess = max(float(y_test.mean()), 1 - float(y_test.mean()))
    lesson.picture(
        "linear",
        plots.probability(
            model,
            x_test[:2000],
            y_test[:2000],
            names=CLASSES,
            extent=(0, 1, 0, 1),
            title="Linear hidden units",
        ),
        "What a network with linear hidden units answers: one slope, whatever their number.",
    )
    lesson.answer(
        f"Then {hidden} of them do no more than none: a sum of linear functions is linear. The whole network "
        f"is sigmoid({weight[0, 0]:.2f} x1 {weight[0, 1]:+.2f} x2 {bias[0]:+.2f}), one straight line, and "
        f"gets {100 * right:.1f} % of the test points right; always giving the commoner answer gets "
        f"{100 * guess:.1f} %."
    )
    return {"test_accuracy": right, "commoner_answer": guess, "weight": weight[0], "bias": bias[0]}


def widths(lesson: Lesson, points: Data, lr: float, batch_size: int, seeds: int) -> dict[int, Any]:
    """Test accuracy against the number of hidden units, many seeds each."""
    lesson.question(f"How many hidden units does the drawing need? 1 to 64, {seeds} seeds each")
    x, y, _, _, x_test, y_test = points
    right: dict[int, list[float]] = {}
    for hidden in WIDTHS:
        trained = train_many(
            lambda hidden=hidden: network(hidden, lesson.dtype),  # type: ignore[misc]
            snn.BCELoss(),
            lambda parameters: snn.Adam(parameters, lr=lr),
            lambda: lesson.batches(x, y, batch_size),
            lesson.epochs,
            range(seeds),
            progress=not lesson.quiet,
        )
        right[hidden] = [accuracy_of(each.model, x_test, y_test) for each in trained]
    lesson.table(
        ["hidden units", "worst", "median", "best test accuracy"],
        [[hidden, *_percent(min(r), np.median(r), max(r))] for hidden, r in right.items()],
    )
    figure, axes = plots.panels(2)
    for ax, least, title in zip(
        axes, (1, 4), ("Test accuracy against width", "From 4 units on"), strict=True
    ):
        plots.distribution(
            {hidden: [100 * each for each in values] for hidden, values in right.items() if hidden >= least},
            ax=ax,
            title=title,
            xlabel="hidden units",
            ylabel="test accuracy in %",
        )
    lesson.picture(
        "widths",
        figure,
        f"One dot a network: {seeds} seeds for each number of hidden units.",
    )
    medians = {hidden: float(np.median(values)) for hidden, values in right.items()}
    best = max(medians.values())
    enough = next(hidden for hidden in WIDTHS if medians[hidden] >= best - 0.002)
    lesson.answer(
        f"One unit gets {100 * medians[1]:.1f} % right in the median, four {100 * medians[4]:.1f} %, "
        f"{WIDTHS[-1]} {100 * medians[WIDTHS[-1]]:.1f} %. From {enough} units on, more of them bring less "
        "than 0.2 % more."
    )
    return {hidden: {"median": medians[hidden], "runs": values} for hidden, values in right.items()}


def others(lesson: Lesson, lr: float, batch_size: int) -> dict[str, dict[str, float]]:
    """Every built-in drawing, learned by few units and by many, and by many for longer."""
    lesson.question("How do all the built-in drawings look to few units, and to many?")
    tries = [(hidden, lesson.epochs * times) for hidden, times in OTHERS]
    names = [
        f"{hidden} units" + (f", {epochs:,} epochs" if epochs > lesson.epochs else "")
        for hidden, epochs in tries
    ]
    figure = plots.new_figure(12.5, 13.0)
    grid = figure.subplots(len(DRAWINGS), 1 + len(tries))
    pixels = every_pixel(lesson.dtype)
    right: dict[str, dict[str, float]] = {}
    for row, name in zip(grid, DRAWINGS, strict=True):
        inside = drawing(name)
        x, y = data(inside, lesson.seed, lesson.dtype)[:2]
        drawn = []
        for hidden, epochs in tries:
            (trained,) = train_many(
                lambda hidden=hidden: network(hidden, lesson.dtype),  # type: ignore[misc]
                snn.BCELoss(),
                lambda parameters: snn.Adam(parameters, lr=lr),
                lambda x=x, y=y: lesson.batches(x, y, batch_size),  # type: ignore[misc]
                epochs,
                [lesson.seed],
            )
            drawn.append((trained.model(pixels) > 0.5).reshape(inside.shape))
        right[name] = {each: float(np.mean(d == inside)) for each, d in zip(names, drawn, strict=True)}
        titles = [
            name,
            *(
                f"{hidden}{', longer' * (times > 1)}: {100 * r:.1f} %"
                for (hidden, times), r in zip(OTHERS, right[name].values(), strict=True)
            ),
        ]
        for ax, picture, title in zip(row, [inside, *drawn], titles, strict=True):
            plots.region(picture, ax=ax, title=title)
            ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
    lesson.picture(
        "others",
        figure,
        f"The drawings, what networks of so many hidden units make of them, and the share of pixels that is "
        f"right; longer is {tries[-1][1]:,} epochs.",
    )
    few, many, longer = names[0], names[-2], names[-1]
    hardest = min(right, key=lambda name: right[name][few])
    lesson.answer(
        f"The {hardest} is the hardest: {100 * right[hardest][few]:.1f} % of its pixels are right with "
        f"{few}, {100 * right[hardest][many]:.1f} % with {many}, and {100 * right[hardest][longer]:.1f} % "
        f"with {longer}. Width is what makes a fine outline possible; getting there takes time as well."
    )
    return right


def rates(lesson: Lesson, points: Data, hidden: int, seeds: int) -> dict[str, Any]:
    """Test accuracy for each pair of learning rate and batch size."""
    lesson.question(f"Which learning rate, which batch size? {seeds} seeds each, {lesson.epochs} epochs")
    x, y, _, _, x_test, y_test = points
    mean = np.zeros((len(RATES), len(BATCHES)))
    for row, rate in enumerate(RATES):
        for column, size in enumerate(BATCHES):
            trained = train_many(
                lambda: network(hidden, lesson.dtype),
                snn.BCELoss(),
                lambda parameters, rate=rate: snn.Adam(parameters, lr=rate),  # type: ignore[misc]
                lambda size=size: lesson.batches(x, y, size),  # type: ignore[misc]
                lesson.epochs,
                range(seeds),
                progress=not lesson.quiet,
            )
            mean[row, column] = np.mean([accuracy_of(each.model, x_test, y_test) for each in trained])
    lesson.picture(
        "rates",
        plots.table_of_means(
            mean,
            RATES,
            BATCHES,
            title=f"Mean test accuracy, {seeds} seeds",
            xlabel="batch size",
            ylabel="learning rate",
            label="mean test accuracy",
            percent=True,
        ),
        "Mean test accuracy for each learning rate and batch size, after as many epochs.",
    )
    best = np.unravel_index(int(np.argmax(mean)), mean.shape)
    worst = np.unravel_index(int(np.argmin(mean)), mean.shape)
    lesson.answer(
        f"Best is lr {RATES[best[0]]:g} with batches of {BATCHES[best[1]]} ({100 * mean[best]:.1f} %), worst "
        f"lr {RATES[worst[0]]:g} with batches of {BATCHES[worst[1]]} ({100 * mean[worst]:.1f} %). The epochs "
        "being the same, large batches mean few steps: they need a larger learning rate to get as far, and "
        "small steps in large batches do not arrive at all."
    )
    return {"rates": RATES, "batch_sizes": BATCHES, "mean_test_accuracy": mean}


def longer(
    lesson: Lesson,
    points: Data,
    stopped: tuple[snn.Module, snn.Optimizer, Array],
    lr: float,
    batch_size: int,
    hidden: int,
    seeds: int,
) -> dict[str, Any]:
    """As many epochs again from where the run stopped, against starting over.

    Args:
        stopped: the trained model, its optimizer, and the random state in which the run left.
    """
    lesson.question("More epochs from where it stopped, or start over?")
    x, y, x_val, y_val, x_test, y_test = points
    epochs = lesson.epochs
    loss_fn = snn.BCELoss()

    def go_on(model: Any, optimizer: Any) -> snn.History:
        snn.default_generator.set_state(stopped[2])
        batches = lesson.batches(x, y, batch_size)
        return snn.fit(model, loss_fn, optimizer, batches, epochs, validation=(x_val, y_val), progress=False)

    model, optimizer = copy.deepcopy(stopped[:2])
    same = go_on(model, optimizer)
    fresh = copy.deepcopy(stopped[0])
    forgot = go_on(fresh, snn.Adam(fresh.parameters(), lr=lr))

    def start(seed: int, epochs: int) -> tuple[Any, snn.History]:
        snn.manual_seed(seed)
        model = network(hidden, lesson.dtype)
        rule = snn.Adam(model.parameters(), lr=lr)
        batches = lesson.batches(x, y, batch_size)
        return model, snn.fit(
            model, loss_fn, rule, batches, epochs, validation=(x_val, y_val), progress=False
        )

    whole, _ = start(lesson.seed, 2 * epochs)
    _, over = start((lesson.seed + 1) % 2**32, epochs)
    identical = all(
        np.array_equal(ours.data, theirs.data)
        for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True)
    )
    apart = np.abs(np.subtract(same.val_loss, forgot.val_loss))
    lesson.picture(
        "longer",
        plots.curves(
            {
                f"{epochs} and {epochs} more, same Adam": lesson.history.val_loss + same.val_loss,
                f"{epochs} and {epochs} more, a new Adam": lesson.history.val_loss + forgot.val_loss,
                "started over": over.val_loss,
            },
            title="Going on, or starting over",
            ylabel="validation loss",
        ),
        "Validation loss of the run continued, in two ways, and of one started over from other weights.",
    )

    # The same question for many seeds: 200 epochs of one network, or the better of two networks of 100.
    runs: dict[str, list[Any]] = {}
    for name, count in (("stopped", epochs), ("longer", 2 * epochs)):
        runs[name] = [
            each.model
            for each in train_many(
                lambda: network(hidden, lesson.dtype),
                loss_fn,
                lambda parameters: snn.Adam(parameters, lr=lr),
                lambda: lesson.batches(x, y, batch_size),
                count,
                range(2 * seeds if name == "stopped" else seeds),
                progress=not lesson.quiet,
            )
        ]
    pairs = zip(runs["stopped"][:seeds], runs["stopped"][seeds:], strict=True)
    better = [max(pair, key=lambda each: accuracy_of(each, x_val, y_val)) for pair in pairs]
    right = {
        f"stopped after {epochs}": runs["stopped"][:seeds],
        f"{epochs} more": runs["longer"],
        f"better of 2 x {epochs}": better,
    }
    test = {name: [accuracy_of(each, x_test, y_test) for each in models] for name, models in right.items()}
    lesson.picture(
        "start-over",
        plots.distribution(
            {name: [100 * value for value in values] for name, values in test.items()},
            title=f"The same work, spent in two ways: {seeds} seeds",
            xlabel="",
            ylabel="test accuracy in %",
        ),
        "Test accuracy where it stopped, after going on, and of the better of two (by validation).",
    )
    names = list(test)
    before, more, two = (float(np.median(test[name])) for name in names)
    lesson.answer(
        f"Going on with the optimizer's state is {'exactly, bit for bit,' if identical else 'not'} the run "
        f"of {2 * epochs} epochs. With a new Adam, which has to estimate the slopes again, the validation "
        f"loss is {apart[0]:.1e} away after one epoch and {apart[-1]:.1e} after {epochs}. Over {seeds} "
        f"seeds the median test accuracy goes from {100 * before:.2f} % to {100 * more:.2f} % by going on; "
        f"the same work spent on a second start, keeping the better of two, gives {100 * two:.2f} %. The "
        f"worst of the seeds goes from {100 * min(test[names[0]]):.1f} % to {100 * min(test[names[1]]):.1f} "
        f"% and {100 * min(test[names[2]]):.1f} %."
    )
    return {"identical": identical, "new_optimizer_apart": apart, "test_accuracy": test}


def _percent(*values: Any) -> list[str]:
    return [f"{100 * value:.1f} %" for value in values]
