"""Run a subject's forward on traced arrays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .. import layers
from ..checks import Array
from ..functional import formulas as F
from ..gradcheck.adopt import Adopted
from ..gradcheck.pair import LossSubject, PairSubject
from ..gradcheck.subject import ModuleSubject, Subject, held_random, short_repr
from ..losses import Loss
from .tape import LOSS, Node, Tape
from .traced import Traced, traced_leaf

__all__ = ["record"]

# Built-in layers check their input at a door that strips what is traced; these are their formulas.
FORWARDS: dict[type, Callable[[Any, Any], Any]] = {
    layers.Identity: lambda m, x: x,
    layers.ReLU: lambda m, x: F.relu(x),
    layers.LeakyReLU: lambda m, x: F.leaky_relu(x, m.negative_slope),
    layers.Sigmoid: lambda m, x: F.sigmoid(x),
    layers.Tanh: lambda m, x: F.tanh(x),
    layers.Softmax: lambda m, x: F.softmax(x, m.dim),
    layers.LogSoftmax: lambda m, x: F.log_softmax(x, m.dim),
    layers.Threshold: lambda m, x: F.threshold(x, m.threshold, m.value),
    layers.Linear: lambda m, x: F.linear(x, m.weight.data, None if m.bias is None else m.bias.data),
    layers.Dropout: lambda m, x: _dropout(m, x),
    layers.Sequential: lambda m, x: _chain(m, x),
}


def record(subject: Subject) -> tuple[Tape, Node] | None:
    """The tape of the subject's forward and its output, or None where it cannot be followed."""
    tape = Tape()
    leaves = [
        traced_leaf(tape, name, value) for name, value in zip(subject.names, subject.values, strict=True)
    ]
    try:
        with held_random(), _open_doors():
            if isinstance(subject, ModuleSubject):
                y = _run_module(subject, leaves)
            elif isinstance(subject, LossSubject):
                y = copy.deepcopy(subject.loss_fn)(leaves[0], copy.copy(subject.target))
            elif isinstance(subject, PairSubject):
                arguments = copy.copy(subject.inputs)
                for place, leaf in zip(subject.places, leaves, strict=True):
                    arguments[place] = leaf
                y = subject.op(*arguments)
                y = y[0] if isinstance(y, tuple) else y
            else:
                return None
    except Exception:  # a stranger's forward may do anything; without a tape the doctor knows less
        return None
    if isinstance(y, Traced) and y.node is not None:
        return tape, y.node
    # A loss that ends in float(...) leaves a plain number; the array it was taken from is known.
    for node in reversed(tape.read):
        if np.ndim(y) == 0 and node.value.size == 1 and float(y) == float(node.value):
            return tape, node
    return None


def _run_module(subject: ModuleSubject, leaves: list[Traced]) -> Any:
    model, loss_fn = copy.deepcopy((subject.pristine, subject.loss_fn))
    inputs, rest = leaves[: len(subject.inputs)], leaves[len(subject.inputs) :]
    for parameter, array in zip(model.parameters(), rest, strict=True):
        vars(parameter)["data"] = array  # set as an attribute it would be made a plain array
    tape = leaves[0].node.tape if leaves[0].node is not None else Tape()
    for path, module in model.named_modules():
        kind = short_repr(module) if isinstance(module, Adopted) else type(module).__name__
        label = f"{path} ({kind})" if path else kind
        module.forward = partial(_in_scope, tape, label, module.forward)
    y = model(*inputs) if len(inputs) == 1 else model.forward(*inputs)
    if loss_fn is None:
        return y
    tape.scope = LOSS
    return loss_fn(y, copy.copy(subject.target))


def _in_scope(tape: Tape, label: str, forward: Callable[..., Any], *inputs: Any) -> Any:
    outer, tape.scope = tape.scope, label
    try:
        return forward(*inputs)
    finally:
        tape.scope = outer


def _dropout(module: Any, x: Array) -> Any:
    factor = module.draw_factor(x.shape, x.dtype) if module.training else None
    return x if factor is None else F.dropout(x, factor)


def _chain(module: Any, x: Any) -> Any:
    for child in module._chain():
        x = child(x)
    return x


@contextmanager
def _open_doors() -> Iterator[None]:
    """Within, built-in layers and losses take traced arrays; plain ones go their usual way."""
    kept = {kind: kind.forward for kind in (*FORWARDS, Loss)}  # type: ignore[attr-defined]
    try:
        for kind, formula in FORWARDS.items():
            kind.forward = _either(formula, kept[kind])  # type: ignore[attr-defined]
        Loss.forward = _either(_loss, kept[Loss])  # type: ignore[method-assign]
        yield
    finally:
        for kind, forward in kept.items():
            kind.forward = forward  # type: ignore[attr-defined]


def _either(formula: Callable[..., Any], forward: Callable[..., Any]) -> Callable[..., Any]:
    def forward_or_formula(self: Any, x: Any, *rest: Any) -> Any:
        return (formula if isinstance(x, Traced) else forward)(self, x, *rest)

    return forward_or_formula


def _loss(loss_fn: Any, prediction: Any, target: Any) -> Any:
    """A built-in loss: the plain prediction passes its door, the traced one is used."""
    _, *rest = loss_fn._door(prediction.view(np.ndarray), target)
    return loss_fn._op(prediction, *rest)
