"""What `fit` asks of its arguments, once, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..checks import Array, as_choice, as_function, note_output, output_of, positive_int, shown
from ..layers import Module
from ..losses import Loss
from ..optim import Optimizer
from .accuracy import Accuracy
from .modes import in_mode
from .numpy_engine import Metrics
from .source import CHECK_ROWS, Source

__all__ = ["Metric", "check_arguments", "measures_of", "named_metrics", "probe", "refuse_no_number"]

Metric: TypeAlias = "str | Callable[[Array, Array], float]"
Outputs: TypeAlias = "tuple[int, ...] | None"

ENGINES = ("auto", "numba", "numpy")


def check_arguments(
    model: Any, loss_fn: Any, optimizer: Any, epochs: Any, engine: str, callbacks: Any = ()
) -> None:
    if not isinstance(model, Module):
        raise TypeError(f"fit got a {type(model).__name__} as model; it needs a scratchnn Module")
    if not isinstance(loss_fn, Loss):
        raise TypeError(f"fit got {loss_fn!r} as loss_fn; it needs a loss object such as BCELoss()")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"fit got {optimizer!r} as optimizer; it needs one such as SGD(model.parameters(), lr=0.1)"
        )
    positive_int("fit", "epochs", epochs, minimum=0)
    as_choice("fit", "engine", engine, ENGINES)
    refuse_no_number(loss_fn)
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(
            f"fit got callbacks={shown(callbacks)}; it needs a list of functions that take a FitState, "
            "and a Recording may be among them"
        )
    for i, callback in enumerate(callbacks):
        as_function("fit", f"callbacks[{i}]", callback, "a function that takes a FitState")
        if any(callback is other for other in callbacks[:i]) and hasattr(callback, "state_dict"):
            raise ValueError(
                f"fit got one {type(callback).__name__} twice as callback; it would see each epoch twice"
            )
    own = {id(p) for p in model.parameters()}
    if not own:
        raise ValueError(f"fit got a {type(model).__name__} without parameters; there is nothing to train")
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            "fit got an optimizer over other parameters than the model's; make it from model.parameters()"
        )


def refuse_no_number(loss_fn: Loss) -> None:
    """Raise ValueError for a loss that gives one number a term."""
    if loss_fn.reduction == "none":
        raise ValueError(f"fit got {loss_fn!r}, which gives no single number; use reduction='mean' or 'sum'")


def probe(model: Module, loss_fn: Loss, source: Source) -> Outputs:
    """One row through the model and every target past the loss's own checks, before anything changes.

    Returns:
        the shape of a row of the model's output; None where no data are at hand.
    """
    shape: Outputs = None
    for x, y in source.at_hand():
        shape = _probe(model, loss_fn, x, y)
    return shape


def _probe(model: Module, loss_fn: Loss, x: Array, y: Array) -> tuple[int, ...]:
    with in_mode(model, training=False):
        row = model.forward(x[:1])
        layer = output_of(row)
    with np.errstate(all="ignore"):
        for start in range(0, len(y), CHECK_ROWS):
            part = y[start : start + CHECK_ROWS]
            # The same prediction for every row: what is checked is the targets.
            predictions = np.broadcast_to(row, (len(part), *row.shape[1:]))
            if layer:
                note_output(predictions, layer)
            loss_fn(predictions, part)
    return row.shape[1:]


def named_metrics(metrics: Any, loss_fn: Loss, sources: Sequence[tuple[Source, Outputs]] = ()) -> Metrics:
    """The metrics by their names.

    Args:
        sources: data and validation, each with what `probe` returned.
    Raises:
        TypeError: no list, or something that is no metric. ValueError: two of one name; targets that do not
            say what their accuracy is.
    """
    if not isinstance(metrics, (list, tuple)):
        raise TypeError(f"fit got metrics={shown(metrics)}; it needs a list, such as ['accuracy']")
    named: Metrics = {}
    for i, metric in enumerate(metrics):
        wanted = "'accuracy' or a function (prediction, target) -> float"
        if isinstance(metric, str) and metric != "accuracy":
            raise ValueError(f"fit got metrics[{i}]={shown(metric)}; it needs {wanted}")
        if not isinstance(metric, str):
            as_function("fit", f"metrics[{i}]", metric, wanted)
        name = "accuracy" if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
        if name in named:
            raise ValueError(
                f"fit got two metrics named {name!r}; they would be one column of the history: "
                "define functions with names of their own"
            )
        named[name] = _accuracy(loss_fn, sources) if isinstance(metric, str) else metric
    return named


def _accuracy(loss_fn: Loss, sources: Sequence[tuple[Source, Outputs]]) -> Accuracy:
    accuracy = Accuracy(loss_fn)
    for source, outputs in sources:
        for _, target in source.at_hand():
            if outputs is not None:
                accuracy.look(target, outputs)
    at_hand_too = [outputs is not None for _, outputs in sources]
    if at_hand_too and at_hand_too[0]:
        accuracy.settle(complete=all(at_hand_too))
    return accuracy


def measures_of(named: Metrics, validated: bool) -> list[str]:
    """The names of what a run measures in each epoch.

    Raises:
        ValueError: two would have one name.
    """
    measures = ["train_loss", *named]
    if validated:
        measures += ["val_loss", *(f"val_{name}" for name in named)]
    for name in named:
        if measures.count(name) > 1 or (validated and measures.count(f"val_{name}") > 1):
            raise ValueError(
                f"fit got a metric named {name!r}, as what it measures anyway; rename the function"
            )
    return measures
