"""What `fit` asks of its arguments, once, before anything is changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import functional as F
from ..checks import Array, note_output, output_of, positive_int
from ..data import DataLoader, TensorDataset, is_made_of_arrays
from ..layers import Module
from ..losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, NLLLoss
from ..optim import Optimizer
from .numpy_engine import Batches, Metrics

__all__ = ["Metric", "at_the_door", "check_arguments", "named_metrics", "probe"]

Metric: TypeAlias = "str | Callable[[Array, Array], float]"

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
    if engine not in ENGINES:
        raise ValueError(f"fit got engine={engine!r}; it must be one of {', '.join(ENGINES)}")
    if loss_fn.reduction == "none":
        raise ValueError(f"fit got {loss_fn!r}, which gives no single number; use reduction='mean' or 'sum'")
    if not isinstance(callbacks, (list, tuple)) or not all(callable(callback) for callback in callbacks):
        raise TypeError(
            f"fit got callbacks={callbacks!r}; it needs a list of functions that take a FitState, "
            "and a Recording may be among them"
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
            yield _as_input(x, self.dtype, self.name), self.loss_fn.convert_target(target, self.dtype)


def at_the_door(data: Any, loss_fn: Loss, dtype: np.dtype[Any], name: str) -> Batches:
    """`data` as batches of the model's dtype, checked for NaN where it is at hand as a whole."""
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
            "or an iterable of (x, target) that can be gone through once an epoch"
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
    for start in range(0, len(array), CHECK_ROWS):
        rows = array[start : start + CHECK_ROWS]
        if not np.isfinite(rows).all():
            where = np.argwhere(~np.isfinite(rows))[0]
            where[0] += start
            index = tuple(where.tolist())
            raise ValueError(f"fit got {array[index]} in {what} at index {index}; remove or fill it")


def probe(model: Module, loss_fn: Loss, batches: Batches) -> None:
    """One row through the model and every target past the loss's own checks, before anything changes."""
    if isinstance(batches, DataLoader):
        x, y = batches.dataset.tensors
    elif isinstance(batches, list):
        x, y = batches[0]
    else:
        return
    was_training = model.training
    model.eval()
    try:
        row = model.forward(x[:1])
        layer = output_of(row)
    finally:
        model.train(was_training)
    with np.errstate(all="ignore"):
        for start in range(0, len(y), CHECK_ROWS):
            part = y[start : start + CHECK_ROWS]
            # The same prediction for every row: what is checked is the targets.
            predictions = np.broadcast_to(row, (len(part), *row.shape[1:]))
            if layer:
                note_output(predictions, layer)
            loss_fn(predictions, part)


def named_metrics(metrics: Sequence[Metric], loss_fn: Loss) -> Metrics:
    if isinstance(metrics, str) or callable(metrics):
        raise TypeError(f"fit got metrics={metrics!r}; it needs a list, such as ['accuracy']")
    named: Metrics = {}
    for metric in metrics:
        if metric == "accuracy":
            named["accuracy"] = _Accuracy(loss_fn)
        elif callable(metric):
            named[getattr(metric, "__name__", type(metric).__name__)] = metric
        else:
            raise ValueError(f"fit got the metric {metric!r}; it needs 'accuracy' or a function")
    return named


class _Accuracy:
    """Share of decisions that are right, in the way that suits the loss."""

    def __init__(self, loss_fn: Loss) -> None:
        self.cut: float | None = 0.5
        self.ignore_index: int | None = None
        if isinstance(loss_fn, (CrossEntropyLoss, NLLLoss)):
            self.cut = None
            self.ignore_index = loss_fn.ignore_index
        elif isinstance(loss_fn, BCEWithLogitsLoss):
            self.cut = 0.0

    def __call__(self, prediction: Array, target: Array) -> float:
        right = F.hits(prediction, target, self.cut)
        if self.ignore_index is not None and target.dtype.kind in "iu":
            right = right[target != self.ignore_index]
        return float(right.mean()) if right.size else math.nan
