"""One step of backprop as data: what went into each operation and what came out of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .. import layers
from ..checks import Array
from ..functional import formulas as F

__all__ = ["READINGS", "Pair", "Reading", "Step", "arguments", "reading_of"]


@dataclass(eq=False)
class Step:
    """One operation of the forward or the backward pass.

    Attributes:
        index: its place in `Trace.steps`.
        path: of the module: "0", "encoder.fc1"; "loss" for the loss. The second use of a module that has
            one name only is "fc1#2".
        direction: "forward" or "backward".
        module: the module in one line: "Linear(2, 10)".
        op: the name of the function in `scratchnn.functional` that ran: "linear", "linear_vjp"; "" for
            a module of the user's own, whose forward and backward are not written there.
        formulas: of the op, one for each output; empty without an op.
        inputs: by the op's argument names; a vjp's first is `dy`, or `dloss` of the loss. An argument
            may be a number, a text (a loss's reduction), or None where there is nothing (no bias).
        outputs: "y" of a forward; "dx" and, for each parameter, "dweight", "dbias" of a backward; "loss"
            and "dprediction" of the loss.
        saved: what the forward left for the backward, by name.
        parameters: {argument: name in the model}: {"weight": "0.weight"}.
    """

    index: int
    path: str
    direction: str
    module: str
    op: str
    formulas: tuple[str, ...]
    inputs: dict[str, Any]
    outputs: dict[str, Array]
    saved: dict[str, Array] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The class of the module: "Linear"."""
        return self.module.partition("(")[0]

    @property
    def label(self) -> str:
        """Where and what: "0 (Linear)"."""
        return f"{self.path} ({self.kind})" if self.path else self.kind

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array that went in or came out."""
        both = {**self.inputs, **self.outputs}
        return {name: value.shape for name, value in both.items() if isinstance(value, np.ndarray)}


class Pair(NamedTuple):
    """A module's two steps. `backward` is None where no gradient came to it."""

    forward: Step
    backward: Step | None


@dataclass(frozen=True)
class Reading:
    """Which op a layer runs, and where the op's arguments are.

    Attributes:
        op, vjp: functions of `functional`.
        saved: names of what the layer's forward saves, in order.
        values: the arguments that are the layer's own.
    """

    op: Callable[..., Any]
    vjp: Callable[..., Any]
    saved: tuple[str, ...] = ()
    values: Callable[[Any], dict[str, Any]] = lambda module: {}


def _linear(module: Any) -> dict[str, Any]:
    return {"weight": module.weight.data, "bias": None if module.bias is None else module.bias.data}


READINGS: dict[type, Reading] = {
    layers.Linear: Reading(F.linear, F.linear_vjp, ("x",), _linear),
    layers.Identity: Reading(F.identity, F.identity_vjp),
    layers.ReLU: Reading(F.relu, F.relu_vjp, ("x",)),
    layers.LeakyReLU: Reading(
        F.leaky_relu, F.leaky_relu_vjp, ("x",), lambda m: {"negative_slope": m.negative_slope}
    ),
    layers.Sigmoid: Reading(F.sigmoid, F.sigmoid_vjp, ("y",)),
    layers.Tanh: Reading(F.tanh, F.tanh_vjp, ("y",)),
    layers.Softmax: Reading(F.softmax, F.softmax_vjp, ("y",), lambda m: {"axis": m.dim}),
    layers.LogSoftmax: Reading(F.log_softmax, F.log_softmax_vjp, ("y",), lambda m: {"axis": m.dim}),
    layers.Threshold: Reading(
        F.threshold, F.threshold_vjp, ("x",), lambda m: {"limit": m.threshold, "value": m.value}
    ),
    layers.Dropout: Reading(F.dropout, F.dropout_vjp, ("factor",)),
}

# Dropout that drops nothing saves no factor: it hands x on.
NOTHING_DROPPED = Reading(F.identity, F.identity_vjp)


def reading_of(module: Any, saved: tuple[Any, ...] | None) -> Reading | None:
    """How to read what this module just did; None for a forward or backward of somebody's own."""
    kind = type(module)
    known = next((base for base in kind.__mro__ if base in READINGS), None)
    if known is None or kind.forward is not known.forward or kind.backward is not known.backward:  # type: ignore[attr-defined]
        return None
    if known is layers.Dropout and (not saved or saved[0] is None):
        return NOTHING_DROPPED
    return READINGS[known]


def arguments(op: Callable[..., Any], pool: dict[str, Any]) -> dict[str, Any]:
    """The op's arguments by name, in order, out of a pool of named values."""
    return {name: pool[name] for name in inspect.signature(op).parameters}
