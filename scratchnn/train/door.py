"""What `fit` asks of its arguments, once, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..checks import Array, as_choice, as_function, note_output, output_of, positive_int, shown
from ..data import DataLoader, TensorDataset, is_made_of_arrays
from ..layers import Module
from ..losses import Loss
from ..optim import Optimizer
from .accuracy import Accuracy
from .modes import in_mode
from .numpy_engine import EVERY_EPOCH, Batches, Metrics

__all__ = [
    "Metric",
    "at_the_door",
    "check_arguments",
    "measures_of",
    "named_metrics",
    "probe",
    "steps_of",
]

Metric: TypeAlias = "str | Callable[[Array, Array], float]"
Outputs: TypeAlias = "tuple[int, ...] | None"

ENGINES = ("auto", "numba", "numpy")
# Rows looked at together when data are checked: bounds the memory a check takes.
CHECK_ROWS = 65536


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
    if loss_fn.reduction == "none":
        raise ValueError(f"fit got {loss_fn!r}, which gives no single number; use reduction='mean' or 'sum'")
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


class _Converted:
    """Batches converted to the model's dtype each time they are asked for."""

    def __init__(self, data: Iterable[Any], loss_fn: Loss, dtype: np.dtype[Any], name: str) -> None:
        self.data, self.loss_fn, self.dtype, self.name = data, loss_fn, dtype, name

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for batch in self.data:
            try:
                x, target = batch
            except (TypeError, ValueError) as error:
                raise TypeError(f"fit needs {self.name} that gives pairs (x, target)") from error
            y = self.loss_fn.convert_target(target, self.dtype)
            _check_finite(y, f"the targets of {self.name}")
            yield _as_input(x, self.dtype, self.name), y


def at_the_door(data: Any, loss_fn: Loss, dtype: np.dtype[Any], name: str) -> Batches:
    """`data` as batches of the model's dtype, checked for NaN where it is at hand as a whole."""
    if not isinstance(data, (np.ndarray, str)) and _length(data) == 0:
        raise ValueError(f"fit got {name} without a single batch; {EVERY_EPOCH}")
    plain = type(data) is DataLoader and is_made_of_arrays(data.dataset)
    if plain and not isinstance(data.dataset, np.ndarray):
        # Rows picked out by a Subset are copied, once; whole arrays are taken as they are.
        arrays = data.dataset.tensors if isinstance(data.dataset, TensorDataset) else data.dataset[:]
        if len(arrays) != 2:
            raise ValueError(f"fit got {name} with {len(arrays)} arrays; it needs two, inputs and targets")
        x, y = _pair(arrays, loss_fn, dtype, name)
        if isinstance(data.dataset, TensorDataset) and x is arrays[0] and y is arrays[1]:
            return data
        return DataLoader(
            TensorDataset(x, y),
            batch_size=data.batch_size,
            shuffle=data.shuffle,
            drop_last=data.drop_last,
            generator=data.generator,
        )
    # A list of two (x, target) tuples is two batches; any other two things are X and y.
    if isinstance(data, (tuple, list)) and len(data) == 2 and not isinstance(data[0], tuple):
        return [_pair(data, loss_fn, dtype, name)]
    if not isinstance(data, Iterable) or isinstance(data, (Iterator, np.ndarray, str, dict)):
        raise TypeError(
            f"fit got {name} of type {type(data).__name__}; it needs a DataLoader, a pair (X, y), "
            "or an iterable of (x, target) that begins anew each time it is gone through, such as a list"
        )
    return _Converted(data, loss_fn, dtype, name)


def _pair(arrays: Any, loss_fn: Loss, dtype: np.dtype[Any], name: str) -> tuple[Array, Array]:
    x = _as_input(arrays[0], dtype, name)
    y = loss_fn.convert_target(arrays[1], dtype)
    if len(x) != len(y):
        raise ValueError(f"fit got {name} with {len(x)} inputs but {len(y)} targets; each row needs one")
    if len(x) == 0:
        raise ValueError(f"fit got {name} without rows; there is nothing to learn from")
    _check_finite(y, f"the targets of {name}")
    return x, y


def _as_input(x: Any, dtype: np.dtype[Any], name: str) -> Array:
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"fit got {name} whose inputs have dtype {array.dtype}; it needs real numbers")
    if array.ndim == 0:
        raise ValueError(f"fit got a single number as inputs of {name}; it needs an array of rows")
    if array.dtype != dtype:
        array = array.astype(dtype)
    _check_finite(array, f"the inputs of {name}")
    return array


def _check_finite(array: Array, what: str) -> None:
    for start in range(0, len(array) if array.ndim else 0, CHECK_ROWS):
        rows = array[start : start + CHECK_ROWS]
        if not np.isfinite(rows).all():
            where = np.argwhere(~np.isfinite(rows))[0]
            where[0] += start
            index = tuple(where.tolist())
            raise ValueError(f"fit got {array[index]} in {what} at index {index}; remove or fill it")


def at_hand(batches: Batches) -> Iterable[tuple[Array, Array]]:
    """The (x, target) of data that are at hand as a whole; of others, which draw or read, nothing."""
    if isinstance(batches, DataLoader):
        return [batches.dataset.tensors]
    if isinstance(batches, list):
        return batches
    if isinstance(batches, _Converted) and isinstance(batches.data, (list, tuple)):
        return batches
    return ()


def steps_of(batches: Batches) -> int | None:
    """Batches in an epoch, where that is known."""
    return _length(batches.data if isinstance(batches, _Converted) else batches)


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None


def probe(model: Module, loss_fn: Loss, batches: Batches) -> Outputs:
    """One row through the model and every target past the loss's own checks, before anything changes.

    Returns:
        the shape of a row of the model's output; None where no data are at hand.
    """
    shape: Outputs = None
    for x, y in at_hand(batches):
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


def named_metrics(metrics: Any, loss_fn: Loss, sources: Sequence[tuple[Batches, Outputs]] = ()) -> Metrics:
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


def _accuracy(loss_fn: Loss, sources: Sequence[tuple[Batches, Outputs]]) -> Accuracy:
    accuracy = Accuracy(loss_fn)
    for batches, outputs in sources:
        for _, target in at_hand(batches):
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
