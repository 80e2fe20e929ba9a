"""A network as columns of units: what a diagram of it shows, on a page or in a figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import Array
from ..layers import Linear, Module, Sequential

__all__ = ["Column", "Network", "network_of_model", "network_of_trace"]


@dataclass(eq=False)
class Column:
    """One layer of units, with what leads into it from the column before.

    Attributes:
        letter: what its units are called: "x", "h", "y".
        labels: the modules that make it: ["0 Linear(2, 3)", "1 ReLU()"].
        size: how many units.
        values, gradients: (size,) the units' outputs and dL/d of them, of one sample or averaged.
        before: (size,) what went into the activation, where there is one.
        weight, dweight: (size, size before); bias, dbias: (size,). None where there is none.
        weight_name: "0.weight". connected: its Linear takes just what the column before gives.
    """

    letter: str
    labels: list[str]
    size: int
    values: Array | None = None
    gradients: Array | None = None
    before: Array | None = None
    weight: Array | None = None
    dweight: Array | None = None
    bias: Array | None = None
    dbias: Array | None = None
    weight_name: str = ""
    connected: bool = False


@dataclass(eq=False)
class Network:
    """Columns from left to right, and where they end.

    Attributes:
        whose: of whom the units' numbers are: "sample 3", "mean over 4 samples"; "" without numbers.
        loss_name, loss, target: of the trace; the target of that sample, or averaged.
    """

    columns: list[Column] = field(default_factory=list)
    whose: str = ""
    loss_name: str = ""
    loss: float | None = None
    target: Array | None = None

    @property
    def largest(self) -> int:
        """Units in the largest column."""
        return max(column.size for column in self.columns)

    @property
    def has_gradients(self) -> bool:
        return any(column.dweight is not None for column in self.columns)


def network_of_model(model: Module) -> Network | None:
    """The columns of a chain of layers, without numbers of units; None where the order is not known.

    A Sequential, nested or not, runs its modules in order; of a network of the user's own only its forward
    knows, so there is none unless it is a single Linear.
    """
    linears = _chain(model, "")
    if linears is None or not any(isinstance(part, Linear) for _, part in linears):
        return None
    network = Network()
    for path, part in linears:
        if not isinstance(part, Linear):
            if network.columns:
                network.columns[-1].labels.append(_label(path, part._label()))
            continue
        out, width = part.weight.shape
        if not network.columns:
            network.columns.append(Column("x", ["input"], width))
        elif network.columns[-1].size != width:
            return None
        bias = part.bias
        network.columns.append(
            Column(
                "h",
                [_label(path, part._label())],
                out,
                weight=part.weight.data,
                dweight=part.weight.grad,
                bias=None if bias is None else bias.data,
                dbias=None if bias is None else bias.grad,
                weight_name=f"{path}.weight" if path else "weight",
                connected=True,
            )
        )
    _name(network.columns)
    return network


def _chain(model: Module, path: str) -> list[tuple[str, Module]] | None:
    if type(model).forward is Sequential.forward:
        parts: list[tuple[str, Module]] = []
        for name, child in vars(model).items():
            if isinstance(child, Module):
                below = _chain(child, f"{path}.{name}" if path else name)
                if below is None:
                    return None
                parts += below
        return parts
    return None if any(True for _ in model.children()) else [(path, model)]


def network_of_trace(trace: Any, sample: int | None = None) -> Network:
    """The columns of a trace, in the order in which the forward made them.

    Args:
        sample: whose numbers the units show; None for the mean over the batch.
    Raises:
        IndexError: a sample that the batch has not.
    """
    count = len(trace.x) if trace.x.ndim > 1 else 1
    sample = check_sample(sample, count)
    if count == 1:
        sample = 0
    whose = f"mean over {count} samples" if sample is None else f"sample {sample}"
    batched = trace.x.ndim > 1

    def units(array: Any) -> Array | None:
        """(..., units) of this sample, or averaged over everything but the units."""
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return None
        if array.ndim == 0:
            return array.reshape(1).astype(np.float64)
        if sample is not None and batched and len(array) == count:
            array = array[sample]
        if array.ndim == 0:
            return array.reshape(1).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverged, inf and -inf among them
            return np.asarray(array.reshape(-1, array.shape[-1]).astype(np.float64).mean(axis=0))

    forward = [step for step in trace.steps if step.direction == "forward" and step.path != "loss"]
    backward = {step.path: step for step in trace.steps if step.direction == "backward"}
    first = units(trace.x)
    columns = [Column("x", ["input"], 0 if first is None else first.size, values=first)]
    latest: Any = trace.x
    straight = True
    for step in forward:
        y, given = step.outputs.get("y"), step.inputs.get("x")
        follows = same(given, latest)
        straight = straight and follows
        values = units(y)
        back = backward.get(step.path)
        dy = None if back is None else units(next(iter(back.inputs.values()), None))
        label = _label(step.path, step.module)
        if step.op != "linear" and follows and values is not None and np.shape(y) == np.shape(latest):
            column = columns[-1]
            column.labels.append(label)
            column.before = column.values if column.before is None else column.before
            column.values, column.gradients = values, dy
        else:
            column = Column("h", [label], 0 if values is None else values.size, values, dy, connected=follows)
            if step.op == "linear":
                column.weight, column.bias = step.inputs.get("weight"), step.inputs.get("bias")
                column.weight_name = f"{step.path}.weight" if step.path else "weight"
                if back is not None:
                    column.dweight, column.dbias = back.outputs.get("dweight"), back.outputs.get("dbias")
            columns.append(column)
        latest = y
    if straight and forward and (back := backward.get(forward[0].path)) is not None:
        columns[0].gradients = units(back.outputs.get("dx"))
    columns = [column for column in columns if column.size]
    _name(columns)
    return Network(columns, whose, type(trace.loss_fn).__name__, trace.loss, units(trace.target))


def check_sample(sample: Any, count: int) -> int | None:
    """`sample` as an index from 0, or None.

    Raises:
        TypeError: no whole number. IndexError: not among the `count` samples.
    """
    if sample is None:
        return None
    if isinstance(sample, bool) or not isinstance(sample, (int, np.integer)):
        raise TypeError(f"sample={sample!r} is no whole number; it must be one, or None for the mean")
    if not -count <= sample < count:
        raise IndexError(f"sample={sample} is not in the batch; it has {count}: 0 to {count - 1}")
    return int(sample) % count


def same(a: Any, b: Any) -> bool:
    """The same array, or one with the same shape and the same bits."""
    if a is b:
        return a is not None
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return False
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _label(path: str, module: str) -> str:
    return f"{path} {module}" if path else module


def _name(columns: list[Column]) -> None:
    """x, then h (numbered where there are several), then y."""
    hidden = columns[1:-1]
    for at, column in enumerate(hidden, start=1):
        column.letter = "h" if len(hidden) == 1 else f"h{at}"
    if len(columns) > 1:
        columns[-1].letter = "y"
