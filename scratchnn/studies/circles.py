"""Circles: can a network of ten hidden units tell a circle from the one around it?

No straight line separates the two, so a single linear layer cannot do it. Each hidden unit with ReLU
draws one straight line; ten of them, added up, close a polygon around the inner circle.

The radii are 1 and 0.8 and the noise has a standard deviation of 0.05, so one point in 44 lies two
standard deviations out and nearer to the other circle. No network can tell it: about 98 % is all there is.

N is the number of points.
"""

from __future__ import annotations

from itertools import product
from os import PathLike
from typing import Any

import numpy as np
from sklearn.datasets import make_circles
from sklearn.metrics import classification_report, confusion_matrix
from sklearn.model_selection import train_test_split

import scratchnn as snn
from scratchnn import plots
from scratchnn.checks import Array

from .lesson import Lesson, Start, StudyResult

CIRCLES = ("outer circle", "inner circle")
RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
BATCHES = (16, 32, 64, 128, 256, 512, 1024)
LATE = 25  # the last epochs, in which the noise is measured
MOST_SHOWN = 1500  # steps drawn of one run


def data(dtype: Any = np.float32) -> tuple[Array, Array, Array, Array]:
    """10,000 points on two noisy circles, a third of them held back.

    Returns:
        x_train (6700, 2), x_test (3300, 2), y_train (6700, 1), y_test (3300, 1); 1 is the inner circle.
    """
    x, y = make_circles(n_samples=10_000, noise=0.05, random_state=26)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.33, random_state=26)
    return x_train.astype(dtype), x_test.astype(dtype), _column(y_train, dtype), _column(y_test, dtype)


def _column(y: Array, dtype: Any) -> Array:
    """(N,) -> (N, 1): the shape of the prediction, so that no loss broadcasts by accident."""
    return y[:, None].astype(dtype)


def nearer_to_inner(x: Array) -> Array:
    """What somebody would answer who knows both circles: (N, 2) -> (N, 1), True for the inner one."""
    return np.asarray(np.hypot(x[:, :1], x[:, 1:]) < (1 + 0.8) / 2)


def network(hidden: int = 10, dtype: Any = np.float32) -> snn.Sequential:
    """2 coordinates in, `hidden` lines, 1 probability out."""
    return snn.Sequential(
        snn.Linear(2, hidden, dtype=dtype),
        snn.ReLU(),
        snn.Linear(hidden, 1, dtype=dtype),
        snn.Sigmoid(),
    )


def initialise(model: Any, init: Any) -> None:
    """Draw the first layer's weights as He et al. (2015) do for ReLU.

    Written once and called for both: `model` and `init` are scratchnn's, or PyTorch's.
    """
    init.kaiming_uniform_(model[0].weight, nonlinearity="relu")


def start(*, hidden: int, lr: float, batch_size: int, seed: int, dtype: Any, points: Any = None) -> Start:
    """The network before its first step, and what trains it. The seed comes first: weights and batches are
    drawn from it.

    Args:
        hidden, lr, batch_size, seed, dtype: as `run` takes them. points: x, y; those of the study if None.
    """
    x, y = data(dtype)[::2] if points is None else points
    snn.manual_seed(seed)
    model = network(hidden, dtype)
    initialise(model, snn.init)
    return Start(model, snn.BCELoss(), snn.SGD(model.parameters(), lr=lr), Lesson.batches(x, y, batch_size))


def run(
    *,
    epochs: int = 100,
    lr: float = 0.1,
    batch_size: int = 64,
    hidden: int = 10,
    seed: int = 0,
    dtype: str = "float32",
    reference: bool = True,
    device: str = "cpu",
    out: str | PathLike[str] | None = None,
    quiet: bool = False,
    play: bool = False,
) -> StudyResult:
    """Train on the circles, look at the result, and let PyTorch do the same.

    Args:
        epochs: passes over the training data.
        lr: learning rate of SGD.
        batch_size: points a step.
        hidden: units in the hidden layer.
        seed: of everything that is random: weights and batches. (The data are always the same.)
        dtype: "float32" or "float64".
        reference: train by PyTorch too, where it is installed, and compare.
        device: PyTorch's device, "cpu" or "cuda".
        out: folder for the pictures; without it, they are drawn and not written.
        quiet: print nothing.
        play: train with other learning rates and batch sizes too, all pairs of them.
    Raises:
        StudyError: for a setting with which the study cannot run.
        FloatingPointError: if the training leaves the finite numbers (`DivergenceError` says where).
    """
    lesson = Lesson(
        "circles",
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

    # The data: what the network may learn from, and what it is asked about afterwards.
    x_train, x_test, y_train, y_test = data(lesson.dtype)
    steps = -(-len(x_train) // batch_size)
    lesson.title("Circles: tell a circle from the one around it")
    lesson.fact("data", f"{len(x_train):,} points to train on, {len(x_test):,} held back for the test")
    lesson.fact("network", f"2 inputs, {hidden} hidden units (ReLU), 1 output (Sigmoid)")
    lesson.fact("training", f"BCELoss, SGD with lr {lr:g}, {dtype}, seed {seed}")
    lesson.fact("", f"{epochs:,} epochs of {steps:,} batches of {batch_size} = {epochs * steps:,} steps")
    drawing = plots.train_and_test(x_train, y_train, x_test, y_test, names=CIRCLES)
    lesson.picture("data", drawing, "The points to learn from, and the points held back.")

    # The network, and the training.
    points = x_train, y_train
    model, loss_fn, optimizer, loader = start(
        hidden=hidden, lr=lr, batch_size=batch_size, seed=seed, dtype=lesson.dtype, points=points
    )
    history = lesson.train(model, loss_fn, optimizer, loader, initialise)
    curve = plots.loss_curve(history, title="Loss on the training data")
    lesson.picture("loss", curve, "The loss of every step, and its mean over one epoch.")

    # What it learned: the probability it gives to every place, and what it confuses.
    train_accuracy = float(np.mean((lesson.predict(x_train) > 0.5) == y_train))
    predicted = (lesson.predict(x_test) > 0.5).astype(np.int64)
    test_accuracy = float(np.mean(predicted == y_test))
    ceiling = float(np.mean(nearer_to_inner(x_test) == y_test))
    lesson.say()
    lesson.fact("final training loss", f"{history.train_loss[-1]:.4f}")
    lesson.fact("training accuracy", f"{100 * train_accuracy:.2f} %")
    lesson.fact("test accuracy", f"{100 * test_accuracy:.2f} %")
    lesson.fact("", f"({100 * ceiling:.2f} % is what knowing both circles would give)")
    answers = {"target_names": CIRCLES, "labels": [0, 1], "zero_division": 0.0}
    lesson.say()
    lesson.say(classification_report(y_test.ravel(), predicted.ravel(), digits=4, **answers))
    title = f"What the network predicts: {100 * test_accuracy:.1f} % right"
    lesson.picture(
        "probability",
        plots.probability(model, x_test, y_test, names=CIRCLES, title=title),
        "The probability of the inner circle everywhere, with the test points and the line of one half.",
    )
    lesson.picture(
        "confusion",
        plots.confusion_matrix(y_test, predicted, names=CIRCLES, title="Test data"),
        "How often the points of each circle were taken for each.",
    )

    # The judge: PyTorch runs the same program from the same seed.
    lesson.judge()

    if play:
        extra = {"noise_ball": noise_ball(lesson, hidden, points)}
    else:
        extra = {}
        pairs = len(RATES) * len(BATCHES)
        lesson.say(f"--play trains with {pairs} pairs of learning rate and batch size, to see the noise")
    lesson.where_the_pictures_are()

    report = classification_report(y_test.ravel(), predicted.ravel(), output_dict=True, **answers)
    return lesson.result(
        train_accuracy=train_accuracy,
        test_accuracy=test_accuracy,
        results={
            "hidden": hidden,
            "lr": lr,
            "batch_size": batch_size,
            "nearer_circle_accuracy": ceiling,
            "confusion_matrix": confusion_matrix(y_test.ravel(), predicted.ravel(), labels=[0, 1]),
            "classification_report": report,
            **extra,
        },
    )


def noise_ball(lesson: Lesson, hidden: int, points: tuple[Array, Array]) -> dict[str, Any]:
    """The same training with every pair of learning rate and batch size: how large is the ball of noise?

    A batch is a sample, so its gradient is the gradient plus noise. Near the minimum the gradient is gone
    and the noise is not: the weights wander in a ball around the minimum, and never arrive. The loss of a
    step shows the noise of its batch as well; the loss on all the data, after each epoch, shows the ball.
    """
    x, y = points
    lesson.question("What do learning rate and batch size do?")
    curves: dict[tuple[float, int], Any] = {}
    final, jumps = (np.full((len(RATES), len(BATCHES)), np.nan) for _ in range(2))
    for (row, lr), (column, batch_size) in product(enumerate(RATES), enumerate(BATCHES)):
        snn.manual_seed(lesson.seed)
        model = network(hidden, lesson.dtype)
        initialise(model, snn.init)
        optimizer = snn.SGD(model.parameters(), lr=lr)
        batches = lesson.batches(x, y, batch_size)
        try:
            history = snn.fit(
                model, snn.BCELoss(), optimizer, batches, lesson.epochs, validation=(x, y), progress=False
            )
        except snn.DivergenceError:
            curves[lr, batch_size] = None
            continue
        losses = history.step_losses
        shown = np.unique(np.linspace(0, len(losses) - 1, MOST_SHOWN).astype(int))
        every_step = ((shown + 1) * lesson.epochs / len(losses), losses[shown])
        curves[lr, batch_size] = every_step, (np.arange(1, lesson.epochs + 1), history.val_loss)
        late = np.diff(history.val_loss[-LATE - 1 :])
        final[row, column] = np.median(history.val_loss[-LATE:])
        jumps[row, column] = np.sqrt(np.mean(late * late)) if len(late) else np.nan
    drawing = plots.curve_grid(
        curves, rows="lr", columns="batch", thin="batch of each step", thick="all data, after each epoch"
    )
    lesson.picture(
        "noise-ball",
        drawing,
        "The loss of single steps, and the loss on all the training data after each epoch.",
    )
    for what, figures, form in (
        ("loss on all data", final, ".3f"),
        ("jump from epoch to epoch", jumps, ".0e"),
    ):
        rows = [
            (f"lr {lr:g}", *(f"{each:{form}}" for each in row))
            for lr, row in zip(RATES, figures, strict=True)
        ]
        lesson.table((f"{what}; batch of", *map(str, BATCHES)), rows)
    i, j = np.unravel_index(np.nanargmin(final), final.shape)
    lesson.answer(
        f"Both trade speed for noise. With lr {RATES[0]:g} and batches of {BATCHES[-1]} the loss moves by "
        f"{jumps[0, -1]:.0e} from one epoch to the next and, {lesson.epochs} epochs on, has come down to "
        f"{final[0, -1]:.3f}. With lr {RATES[-1]:g} and batches of {BATCHES[0]} it was down in a few epochs "
        f"and now jumps by {jumps[-1, 0]:.0e} around {final[-1, 0]:.3f}: the ball of noise. Along a diagonal "
        "of the grid, where lr / batch stays the same, the curves fall alike: ten times the batch takes "
        f"about ten times the lr. That ends where the step gets too long: with lr {RATES[-1]:g} the loss "
        "leaps out of the valley now and then, however large the batch. The lowest loss is "
        f"{final[i, j]:.3f}, with lr {RATES[i]:g} and batches of {BATCHES[j]}."
    )
    return {"lr": RATES, "batch_size": BATCHES, "loss": final, "jump": jumps}
