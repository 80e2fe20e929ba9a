"""Drawing: can four hidden units learn the outline of a picture?

The data are a picture: at which points of a square is there ink? The network sees points, never the
picture, and answers with the probability of ink. Each hidden unit with sigmoid is a soft step along one
straight line; the output adds four such steps up, and takes a fifth sigmoid of the sum. So four units can
draw a blob with soft edges, and little more: a finer outline needs more of them.

`--image FILE.png` learns a picture of yours. What the tutorial says to try stands in drawing_play.py, and
`--play` tries it.

N is the number of points, H of hidden units.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn import plots
from scratchnn.checks import Array

from .lesson import Lesson, Start, StudyError, StudyResult
from .regions import drawing, read_image, sample

CLASSES = ("ground", "ink")
TRAINING, VALIDATION, TEST = 5000, 1000, 10_000  # points

Data = tuple[Array, Array, Array, Array, Array, Array]  # x, y to train on, to watch, for the test


def data(inside: Array, seed: int = 0, dtype: Any = np.float32) -> Data:
    """Random points of a drawing: 5000 to learn from, 1000 to watch the training, 10,000 for the test.

    Returns:
        x, y, x_val, y_val, x_test, y_test: x (N, 2) from 0 to 1, y (N, 1) with 1 for ink.
    """
    stream = snn.Generator().manual_seed(seed)
    x, y = sample(inside, TRAINING, stream, dtype)
    x_val, y_val = sample(inside, VALIDATION, stream, dtype)
    x_test, y_test = sample(inside, TEST, stream, dtype)
    return x, y, x_val, y_val, x_test, y_test


def network(
    hidden: int = 4, dtype: Any = np.float32, activation: type[snn.Module] = snn.Sigmoid
) -> snn.Sequential:
    """2 coordinates in, `hidden` soft steps, 1 probability of ink out."""
    return snn.Sequential(
        snn.Linear(2, hidden, dtype=dtype),
        activation(),
        snn.Linear(hidden, 1, dtype=dtype),
        snn.Sigmoid(),
    )


def start(*, hidden: int, lr: float, batch_size: int, seed: int, dtype: Any, points: Any = None) -> Start:
    """The network before its first step, and what trains it. The seed comes first: weights and batches are
    drawn from it.

    Args:
        hidden, lr, batch_size, seed, dtype: as `run` takes them. points: x, y; the blob's if None.
    """
    x, y = data(drawing("blob"), seed, dtype)[:2] if points is None else points
    snn.manual_seed(seed)
    model = network(hidden, dtype)
    return Start(model, snn.BCELoss(), snn.Adam(model.parameters(), lr=lr), Lesson.batches(x, y, batch_size))


def run(
    *,
    epochs: int = 100,
    lr: float = 0.01,
    batch_size: int = 24,
    hidden: int = 4,
    seed: int = 0,
    dtype: str = "float32",
    image: str | PathLike[str] | None = None,
    drawing: str | None = None,
    reference: bool = True,
    device: str = "cpu",
    out: str | PathLike[str] | None = None,
    quiet: bool = False,
    play: bool = False,
    seeds: int = 20,
) -> StudyResult:
    """Learn a drawing from points of it, look inside the network, and let PyTorch do the same.

    Args:
        epochs: passes over the training points.
        lr: learning rate of Adam.
        batch_size: points a step.
        hidden: units in the hidden layer.
        seed: of everything that is random: points, weights and batches.
        dtype: "float32" or "float64".
        image: a picture file to learn, such as PNG or JPEG, of at most 50 million pixels (a JPEG 100 million,
            a WebP 12); its opaque part, or its dark part if it has no transparent one.
        drawing: a built-in drawing: blob (the default), ring, spiral, islands or letter.
        reference: train by PyTorch too, where it is installed, and compare.
        device: PyTorch's device, "cpu" or "cuda".
        out: folder for the pictures; without it, they are drawn and not written.
        quiet: print nothing.
        play: try linear units, 1 to 64 units, other learning rates and batch sizes, and more epochs.
        seeds: how many networks for each setting of these.
    Raises:
        StudyError: for a setting, or an image, with which the study cannot run.
        DivergenceError: if the loss leaves the finite numbers.
    """
    inside, subject = _region(image, drawing)
    lesson = Lesson(
        "drawing",
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

    # The data: points of the picture, drawn from a stream of their own.
    x, y, x_val, y_val, x_test, y_test = points = data(inside, seed, lesson.dtype)
    steps = -(-TRAINING // batch_size)
    lesson.title(f"Drawing: learn {subject} from points of it")
    lesson.fact("data", f"{TRAINING:,} points to train, {VALIDATION:,} to validate, {TEST:,} to test")
    lesson.fact("", f"{100 * inside.mean():.1f} % of the picture is ink")
    lesson.fact("network", f"2 inputs, {hidden} hidden units (Sigmoid), 1 output (Sigmoid)")
    lesson.fact("training", f"BCELoss, Adam with lr {lr:g}, {dtype}, seed {seed}")
    lesson.fact("", f"{epochs:,} epochs of {steps:,} batches of {batch_size} = {epochs * steps:,} steps")
    lesson.picture(
        "drawing",
        plots.region(inside, x, y, names=CLASSES, title=f"The drawing, and {TRAINING:,} points of it"),
        "The drawing, and the points that the network is shown.",
    )

    # The network, and the training, watched on the validation points after every epoch.
    model: Any
    model, loss_fn, optimizer, loader = start(
        hidden=hidden, lr=lr, batch_size=batch_size, seed=seed, dtype=lesson.dtype, points=(x, y)
    )
    held_out = (x_val, y_val)
    history = lesson.train(model, loss_fn, optimizer, loader, validation=held_out, metrics=["accuracy"])
    here = snn.default_generator.get_state()  # where training longer goes on
    accuracy = {
        name: float(np.mean((lesson.predict(places) > 0.5) == answers))
        for name, places, answers in (
            ("training", x, y),
            ("validation", x_val, y_val),
            ("test", x_test, y_test),
        )
    }
    for name, value in accuracy.items():
        lesson.fact(f"{name} accuracy", f"{100 * value:.2f} %")
    lesson.judge()

    lesson.question("Did it learn the drawing, or its points by heart?")
    marks = sorted({1, *range(max(1, epochs // 10), epochs + 1, max(1, epochs // 10))})
    right, right_val = history.metrics["accuracy"], history.metrics["val_accuracy"]
    lesson.table(
        ["epoch", "training loss", "validation loss", "training accuracy", "validation accuracy"],
        [
            [
                at,
                f"{history.train_loss[at - 1]:.4f}",
                f"{history.val_loss[at - 1]:.4f}",
                f"{100 * right[at - 1]:.1f} %",
                f"{100 * right_val[at - 1]:.1f} %",
            ]
            for at in marks
        ],
    )
    gap = history.val_loss[-1] - history.train_loss[-1]
    parameters = sum(parameter.data.size for parameter in model.parameters())
    lesson.answer(
        f"The validation loss ends {abs(gap):.4f} {'above' if gap > 0 else 'below'} the training loss. "
        f"{parameters} numbers cannot hold {TRAINING:,} points by heart; what the network misses, it misses "
        "because its few steps cannot follow the outline."
    )
    lesson.picture("history", plots.history(history), "Loss (logarithmic) and accuracy, epoch by epoch.")
    lesson.picture(
        "predicted",
        plots.predicted_against_actual(model, x_test, y_test, names=CLASSES),
        f"The {TEST:,} test points: what they are, what the network says, and where that is wrong.",
    )

    lesson.question("What does each unit contribute?")
    first, last = model[0], model[2]
    lesson.table(
        ["hidden unit", "weight of x1", "weight of x2", "bias", "weight in the output"],
        [
            [unit + 1, *(f"{number:.3f}" for number in (*weights, bias, onwards))]
            for unit, (weights, bias, onwards) in enumerate(
                zip(first.weight.data, first.bias.data, last.weight.data[0], strict=True)
            )
        ],
    )
    lesson.fact("bias of the output", f"{last.bias.data[0]:.3f}")
    if hidden <= 16:
        lesson.picture(
            "network",
            plots.network_diagram(model, title="The trained network"),
            "The network with its bias nodes; a line is as thick as its weight is large.",
        )
    if hidden < 64:
        lesson.picture(
            "responses",
            plots.hidden_responses(model, extent=(0, 1, 0, 1)),
            "What each hidden unit answers over the square, and the output that they add up to.",
        )
    lesson.answer(
        "Each hidden unit is a soft step along one straight line, steeper the larger its weights. The output "
        "unit adds the steps with its own weights, its bias sets where the sum counts as ink."
    )
    results: dict[str, Any] = {
        "subject": subject,
        "ink": float(inside.mean()),
        "hidden": hidden,
        "lr": lr,
        "batch_size": batch_size,
        "validation_accuracy": accuracy["validation"],
        "validation_loss": history.val_loss[-1],
        "history": {"train_loss": history.train_loss, "val_loss": history.val_loss, **history.metrics},
        "parameters": {name: parameter.data for name, parameter in model.named_parameters()},
    }
    if play:
        from . import drawing_play as things_to_try

        results["play"] = {
            "linear": things_to_try.linear(lesson, points, lr, batch_size, hidden),
            "widths": things_to_try.widths(lesson, points, lr, batch_size, seeds),
            "others": things_to_try.others(lesson, lr, batch_size),
            "rates": things_to_try.rates(lesson, points, hidden, seeds),
            "longer": things_to_try.longer(
                lesson, points, (model, optimizer, here), lr, batch_size, hidden, seeds
            ),
        }
    lesson.where_the_pictures_are()
    return lesson.result(train_accuracy=accuracy["training"], test_accuracy=accuracy["test"], results=results)


def _region(image: str | PathLike[str] | None, name: str | None) -> tuple[Array, str]:
    """The region to learn, and what to call it."""
    if image is not None and name is not None:
        raise StudyError(f"drawing got both image={str(image)!r} and drawing={name!r}; give one of them")
    if image is not None:
        return read_image(image), "an image"
    name = "blob" if name is None else name
    return drawing(name), f"the drawing {name!r}"


def accuracy_of(model: Any, x: Array, y: Array) -> float:
    """The share of points whose answer is on the right side of one half."""
    with np.errstate(all="ignore"):
        return float(np.mean((model(x) > 0.5) == y))
