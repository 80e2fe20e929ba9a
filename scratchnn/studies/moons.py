"""Moons: which of two interlocking crescents does a point belong to?

A network with two outputs answers with two probabilities. The tutorial ends it with a Softmax layer and
trains it with CrossEntropyLoss, which applies softmax itself. The softmax of a softmax still learns; but its
loss stops at a floor, and the lesson is why, and what the same network does without that layer.

N is the number of points, C = 2 the number of classes.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from sklearn.datasets import make_moons

import scratchnn as snn
from scratchnn import functional as F
from scratchnn import plots
from scratchnn.checks import Array

from .lesson import Lesson, Start, StudyResult
from .sweep import spread, train_many
from .words import batch_words

MOONS = ("upper moon", "lower moon")
PLANE = (-3.0, 3.0, -3.0, 3.0)
SEEDS = 100  # of the sweep
KINDS = ("softmax, then cross-entropy", "cross-entropy on logits")


def data(dtype: Any = np.float32) -> tuple[Array, Array, Array, Array]:
    """1000 points on two noisy half circles: the first half to learn from, the second to be asked about.

    Returns:
        x_train (500, 2), x_test (500, 2), y_train (500,), y_test (500,); the classes are 0 and 1.
    """
    x, y = make_moons(noise=0.2, random_state=0, n_samples=1000)
    x = x.astype(dtype)
    return x[:500], x[500:], y[:500].astype(np.int64), y[500:].astype(np.int64)


def network(hidden: int = 10, dtype: Any = np.float32, *, softmax: bool = True) -> snn.Sequential:
    """2 coordinates in, `hidden` lines, 2 probabilities out; or, without Softmax, 2 logits."""
    layers = [snn.Linear(2, hidden, dtype=dtype), snn.ReLU(), snn.Linear(hidden, 2, dtype=dtype)]
    return snn.Sequential(*layers, snn.Softmax(dim=1)) if softmax else snn.Sequential(*layers)


def accuracy(model: Any, x: Array, y: Array) -> float:
    """The share of points whose class has the larger output."""
    return float(np.mean(model(x).argmax(axis=1) == y))


def start(
    *, hidden: int, lr: float, batch_size: int | None, seed: int, dtype: Any, points: Any = None
) -> Start:
    """The network before its first step, and what trains it. The seed comes first: weights and batches are
    drawn from it.

    Args:
        hidden, lr, batch_size, seed, dtype: as `run` takes them. points: x, y; those of the study if None.
    """
    x, y = data(dtype)[::2] if points is None else points
    snn.manual_seed(seed)
    model = network(hidden, dtype)
    optimizer = snn.SGD(model.parameters(), lr=lr)
    return Start(model, snn.CrossEntropyLoss(), optimizer, Lesson.batches(x, y, batch_size))


def run(
    *,
    epochs: int = 10_000,
    lr: float = 1.0,
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
    """Train on the moons with one softmax too many, let PyTorch do the same, and then do it right.

    Args:
        epochs: passes over the training data; with a full batch, steps.
        lr: learning rate of SGD.
        batch_size: points a step; without it, all of them.
        hidden: units in the hidden layer.
        seed: of everything that is random: weights and batches. (The data are always the same.)
        dtype: "float32" or "float64".
        reference: train by PyTorch too, where it is installed, and compare.
        device: PyTorch's device, "cpu" or "cuda".
        out: folder for the pictures; without it, they are drawn and not written.
        quiet: print nothing.
        play: train both networks from 100 seeds.
    Raises:
        StudyError: for a setting with which the study cannot run.
        DivergenceError: if the loss leaves the finite numbers.
    """
    lesson = Lesson(
        "moons",
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

    # The data, and the network of the tutorial: its last layer is a Softmax.
    x_train, x_test, y_train, y_test = data(lesson.dtype)
    lesson.title("Moons: which of two crescents does a point belong to?")
    lesson.fact("data", f"{len(x_train)} points to train on, {len(x_test)} held back for the test")
    lesson.fact("network", f"2 inputs, {hidden} hidden units (ReLU), 2 outputs (Softmax)")
    lesson.fact("training", f"CrossEntropyLoss, SGD with lr {lr:g}, {dtype}, seed {seed}")
    lesson.fact("", f"{epochs:,} epochs, {batch_words(batch_size)}")
    lesson.picture(
        "data",
        plots.train_and_test(x_train, y_train, x_test, y_test, names=MOONS),
        "The points to learn from, and the points held back.",
    )

    model, loss_fn, optimizer, batches = start(
        hidden=hidden, lr=lr, batch_size=batch_size, seed=seed, dtype=lesson.dtype, points=(x_train, y_train)
    )
    with warnings.catch_warnings(record=True) as caught:  # the loss warns of what this lesson is about
        warnings.simplefilter("always", UserWarning)
        history = lesson.train(model, loss_fn, optimizer, batches)
    warning = next((str(each.message) for each in caught if each.category is UserWarning), "")

    model.eval()
    right = {"train": accuracy(model, x_train, y_train), "test": accuracy(model, x_test, y_test)}
    last = history.train_loss[-1]
    lesson.fact("final training loss", f"{last:.4f}")
    lesson.fact("training accuracy", f"{100 * right['train']:.1f} %")
    lesson.fact("test accuracy", f"{100 * right['test']:.1f} %")
    lesson.picture(
        "loss",
        plots.loss_curve(history, title="Softmax into CrossEntropyLoss"),
        "The loss of every step.",
    )
    lesson.picture(
        "probability",
        plots.probability(
            model,
            x_test,
            y_test,
            names=MOONS,
            extent=PLANE,
            title=f"What the network predicts: {100 * right['test']:.1f} % right",
        ),
        "The probability of the lower moon everywhere, with the test points and the line of one half.",
    )
    lesson.judge()

    # Why the loss stops falling.
    floor = F.cross_entropy_floor_of_probabilities(2)
    mistakes = 1 - right["train"]
    lesson.question(f"Why can the loss not fall below {floor:.4f}, however right the answers are?")
    if warning:
        lesson.answer(f'CrossEntropyLoss said it itself: "{warning}"')
    lesson.answer(
        "CrossEntropyLoss takes the softmax of what it is given. Given probabilities, the most decided "
        f"answer it can get is (1, 0), and the softmax of that is e/(e + 1) = {math.exp(-floor):.4f} for the "
        f"right class. A point that is perfectly right still costs log(1 + 1/e) = {floor:.4f}, and one "
        f"that is perfectly wrong costs log(1 + e) = {floor + 1:.4f}, exactly 1 more. Once the network is "
        "sure of everything, its loss is the floor plus the share of mistakes: "
        f"{floor:.4f} + {mistakes:.4f} = {floor + mistakes:.4f}, where the run above ended at {last:.4f}. "
        "The accuracy can be read off the loss."
    )

    # The same run on logits, side by side: same seed, same weights, same batches, no Softmax layer.
    lesson.question("What does the same network do without the Softmax layer?")
    snn.manual_seed(seed)
    plain = network(hidden, lesson.dtype, softmax=False)
    plain_history = snn.fit(
        plain,
        snn.CrossEntropyLoss(),
        snn.SGD(plain.parameters(), lr=lr),
        lesson.batches(x_train, y_train, batch_size),
        epochs,
        progress=not quiet,
    )
    plain.eval()
    plain_right = {"train": accuracy(plain, x_train, y_train), "test": accuracy(plain, x_test, y_test)}
    lesson.table(
        ("", "final loss", "training", "test"),
        [
            (kind, f"{loss:.4f}", f"{100 * share['train']:.1f} %", f"{100 * share['test']:.1f} %")
            for kind, loss, share in zip(
                KINDS, (last, plain_history.train_loss[-1]), (right, plain_right), strict=True
            )
        ],
    )
    both = plots.curves(
        dict(zip(KINDS, (history.step_losses, plain_history.step_losses), strict=True)),
        title="The same weights, the same batches",
        xlabel="steps",
    )
    both.axhline(floor, color="black", linewidth=1, linestyle=":")
    both.annotate(
        f"floor {floor:.4f}", (1, floor), (-4, -4), both.get_yaxis_transform(), "offset points",
        ha="right", va="top", fontsize=12, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip
    lesson.picture("side-by-side-loss", both, "The loss on logits has no floor but zero.")
    certain = snn.Sequential(*plain, snn.Softmax(dim=1)).eval()
    lesson.picture(
        "side-by-side",
        plots.probabilities({KINDS[0]: model, KINDS[1]: certain}, x_test, y_test, names=MOONS, extent=PLANE),
        "Both answers over the plane.",
    )
    sure = [sure_where_wrong(each, x_test, y_test) for each in (model, certain)]
    lesson.answer(_verdict(last, floor, plain_history.train_loss[-1], sure))

    results: dict[str, Any] = {
        "hidden": hidden,
        "lr": lr,
        "batch_size": batch_size,
        "floor": floor,
        "floor_plus_mistakes": floor + mistakes,
        "sure_where_wrong": dict(zip(("softmax", "logits"), sure, strict=True)),
        "warning": warning,
        "logits": {
            "train_loss": plain_history.train_loss[-1],
            "train_accuracy": plain_right["train"],
            "test_accuracy": plain_right["test"],
        },
    }
    if play:
        results["seeds"] = _play(lesson, epochs, lr, batch_size, hidden, (x_train, x_test, y_train, y_test))
    else:
        lesson.say(f"--play trains both networks from {SEEDS} seeds, to see how much is luck")
    lesson.where_the_pictures_are()
    return lesson.result(train_accuracy=right["train"], test_accuracy=right["test"], results=results)


def _verdict(last: float, floor: float, plain: float, sure: list[float]) -> str:
    """What to say of both runs: their losses, and how sure each network is where it is wrong."""
    return (
        "The line between the moons is nearly the same; what the loss counts is not. With the Softmax layer "
        f"a mistake costs at most 1 more than a right answer, so the loss, {last - floor:.4f} above its "
        "floor, counts mistakes and little else, and the inner softmax is flat where the network is sure: it "
        "may be sure and wrong. On logits a mistake costs the more the surer it is, without limit; the loss "
        f"ends at {plain:.4f} and the network learns to doubt. Of their wrong answers on test points, the "
        f"first is {100 * sure[0]:.0f} % sure on average, the second {100 * sure[1]:.0f} %."
    )


def sure_where_wrong(model: Any, x: Array, y: Array) -> float:
    """The mean probability that a model gives to its wrong answers; NaN if it has none."""
    probabilities = model(x)
    wrong = probabilities.argmax(axis=1) != y
    return float(probabilities[wrong].max(axis=1).mean()) if wrong.any() else math.nan


def _play(
    lesson: Lesson, epochs: int, lr: float, batch_size: int | None, hidden: int, points: Any
) -> dict[str, Any]:
    """Both networks from 100 seeds: how much of the outcome is luck?"""
    x_train, x_test, y_train, y_test = points
    lesson.question(f"How much is luck? Both networks from {SEEDS} seeds")
    found: dict[str, dict[str, Any]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for kind, softmax in zip(KINDS, (True, False), strict=True):
            trained = train_many(
                partial(network, hidden, lesson.dtype, softmax=softmax),
                snn.CrossEntropyLoss(),
                lambda parameters: snn.SGD(parameters, lr=lr),
                lambda: lesson.batches(x_train, y_train, batch_size),
                epochs,
                range(SEEDS),
                progress=not lesson.quiet,
            )
            found[kind] = {
                "train_loss": [each.loss for each in trained],
                "train_accuracy": [accuracy(each.model, x_train, y_train) for each in trained],
                "test_accuracy": [accuracy(each.model, x_test, y_test) for each in trained],
            }
    names = {"train_loss": "final loss", "train_accuracy": "training", "test_accuracy": "test"}
    spreads = {kind: {name: spread(values) for name, values in each.items()} for kind, each in found.items()}
    lesson.table(
        ("", "", "least", "median", "most"),
        [
            (kind, names[name], *(_figure(name, each[part]) for part in ("least", "median", "most")))
            for kind, by_name in spreads.items()
            for name, each in by_name.items()
        ],
    )
    drawing = plots.distribution(
        {kind: each["test_accuracy"] for kind, each in found.items()},
        title=f"Test accuracy from {SEEDS} seeds",
        xlabel="",
        ylabel="test accuracy",
    )
    drawing.legend(loc="center")  # between the seeds that found both bends and those that did not
    lesson.picture("seeds", drawing, "Each dot is one network.")
    losses, accuracies = spreads[KINDS[0]]["train_loss"], spreads[KINDS[0]]["test_accuracy"]
    lesson.answer(
        f"With the Softmax layer, the middle half of the seeds end with a loss of {losses['low']:.3f} to "
        f"{losses['high']:.3f} and {100 * accuracies['low']:.1f} to {100 * accuracies['high']:.1f} % of the "
        f"test points right. "
        f"The worst seed has {100 * accuracies['least']:.1f} %, the worst on logits "
        f"{100 * spreads[KINDS[1]]['test_accuracy']['least']:.1f} %."
    )
    return {"softmax": found[KINDS[0]], "logits": found[KINDS[1]], "spread": spreads}


def _figure(name: str, value: float) -> str:
    return f"{value:.4f}" if name == "train_loss" else f"{100 * value:.1f} %"
