"""Whatever was given to gradcheck, as a Subject."""

from __future__ import annotations

import copy
import functools
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..layers import Module
from ..losses import Loss
from .discover import FLOATS, discover, read, ready
from .form import EXPECTED, Form, form_of
from .names import upstream_like
from .pair import LossSubject, PairSubject
from .subject import (
    ModuleSubject,
    Subject,
    argument_names,
    float_array,
    parameters_of,
    short_repr,
)
from .world import ARGUMENTS, OUTSIDE, World

__all__ = ["make_subject"]


def make_subject(
    subject: Any, inputs: Sequence[Any], loss_fn: Any, target: Any, constants: Sequence[Any] = ()
) -> Subject:
    """A Subject; which arrays it has and where their gradients are is found by running it.

    Raises:
        TypeError, ValueError: it cannot be checked; the words say what can.
    """
    if "torch" in sys.modules:
        from . import torch_subject

        if torch_subject.is_torch(subject, inputs):
            return torch_subject.TorchSubject(subject, inputs, loss_fn, target, constants)
    if isinstance(subject, tuple) and len(subject) == 2 and all(map(callable, subject)):
        if loss_fn is not None:
            raise TypeError("gradcheck of a pair (op, op_vjp) takes no loss_fn; check the loss by itself")
        return _pair(subject, inputs, constants)
    if isinstance(subject, type):
        raise TypeError(
            f"gradcheck got the class {subject.__name__} as subject; pass an object: {subject.__name__}(...)"
        )
    if isinstance(subject, Loss):
        if len(inputs) != 2:
            raise TypeError(
                f"gradcheck of a loss needs its two inputs: gradcheck({subject!r}, prediction, target)"
            )
        return LossSubject(subject, *inputs)
    if isinstance(subject, Module):
        return _module(subject, inputs, loss_fn, target, constants)
    found = form_of(subject) or _with_gradients(subject)
    if found is None:
        raise TypeError(
            f"gradcheck got as subject {short_repr(subject)}; it needs a Module, a loss, a pair "
            "(op, op_vjp), an object with forward and backward, or something of torch's (import torch "
            f"first). For an object, {EXPECTED}"
        )
    return _adopted(*found, inputs, loss_fn, target, constants)


def _with_gradients(subject: Any) -> tuple[Form, Any] | None:
    """A function, or an object with a method `loss`, that returns (loss, grads)."""
    if isinstance(subject, (types.FunctionType, types.MethodType, functools.partial)):
        return Form(subject), subject
    return (Form(subject, "loss"), subject) if callable(getattr(subject, "loss", None)) else None


def _adopted(
    form: Form, subject: Any, inputs: Sequence[Any], loss_fn: Any, target: Any, constants: Sequence[Any]
) -> Subject:
    if loss_fn is not None and not form.has_backward:
        raise TypeError(f"gradcheck of {form.names[0]} takes no loss_fn: it returns a loss of its own")
    adopted = discover(form, subject, inputs, constants)
    arrays, names = [v.array for v in adopted.inputs], [v.name for v in adopted.inputs]
    made = ModuleSubject(adopted, arrays, loss_fn, target, names, form.upstream > 0)
    made.unchecked = [(v.name, v.array.shape, v.note) for v in adopted.unchecked]
    made.constants = adopted.constants
    if adopted.broken is not None:
        made.broken = (form.call, adopted.broken)
    return made


def _module(
    module: Module, inputs: Sequence[Any], loss_fn: Any, target: Any, constants: Sequence[Any]
) -> Subject:
    """A Module whose arrays are all its own Parameters needs no search."""
    if not inputs:
        raise TypeError(f"gradcheck of {type(module).__name__} needs an input: gradcheck(model, x)")
    for x in inputs:
        if isinstance(x, np.ndarray) and x.dtype.kind not in "biuf":
            float_array(x, "x")
    given = [ready(x) for x in inputs]
    form = Form(module, "forward", "backward")
    world = World(module, given, argument_names(module.forward, len(given)))
    if any(isinstance(x, np.ndarray) and x.dtype.kind in "biu" for x in given):
        try:
            form.read(copy.deepcopy(world))
        except (TypeError, ValueError, IndexError):  # it takes floats only
            return _module(module, [float_array(x, "x") for x in inputs], loss_fn, target, constants)
        return _adopted(form, module, inputs, loss_fn, target, constants)
    own = {id(array) for p in module.parameters() for array in (p.data, p.grad)}
    own |= {id(x) for x in given}
    others = [p for p in world.places() if p.kind in FLOATS and id(p.thing) not in own]
    _, later = read(form, world)
    usual = form.usual
    if constants or others or later is not None or not usual:
        adopted = _adopted(form, module, inputs, loss_fn, target, constants)
        names = [*adopted.names[len(given) :], *(name for name, _, _ in adopted.unchecked)]
        if constants or not usual or not {name for name, _ in module.named_parameters()}.issuperset(names):
            return adopted
    return ModuleSubject(module, inputs, loss_fn, target)


def _pair(pair: tuple[Any, Any], inputs: Sequence[Any], constants: Sequence[Any]) -> Subject:
    """Functions of arrays as they are; with methods, dicts of arrays or several outputs they are searched."""
    form, subject = form_of(pair) or (Form(pair), pair)
    names = argument_names(pair[0], len(inputs))
    given = [ready(x) for x in inputs]
    world = World(subject, given, names)
    direct = {id(x) for x in given}
    nested = any(p.address[0][1] == ARGUMENTS and id(p.thing) not in direct for p in world.places())
    upstream = [
        p.name
        for p in parameters_of(pair[1]) or ()
        if p.name not in names and upstream_like(p.name, form.outputs)
    ]
    asked = [p.name for p in parameters_of(pair[1]) or () if p.default is p.empty]
    without = bool(asked) and set(asked) <= set(names)  # gradient(w, x) beside loss(w, x): no dy
    outside = [p for p in world.places() if p.kind in FLOATS and p.address[0][1] == OUTSIDE]
    read: list[str] = []
    if subject is not pair or nested or outside or without or len(upstream) > 1:
        adopted = _adopted(form, subject, inputs, None, None, constants)
        read = [name for name in adopted.constants if name not in names]
        plain = subject is pair and not nested and not without and len(upstream) <= 1
        if not plain or adopted.unchecked or set(adopted.names) - set(names):
            return adopted
    made = PairSubject(*pair, inputs, constants)
    made.constants = [*made.constants, *read]
    return made
