"""What can be checked, brought to one form: named tensors, a forward, and somebody's gradients.

Nothing of the user's objects changes: modules and losses are copied, arrays are copied, and the random
generators are put back, so that Dropout draws the same mask in every evaluation and the next draw after
the check is the one it would have been.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..checks import Array
from ..layers import Module, Parameter
from ..losses import Loss
from ..random import default_generator

__all__ = ["BackwardRun", "Subject", "float_array", "held_random", "short_repr"]


@contextmanager
def held_random() -> Iterator[None]:
    """Random draws inside do not happen, as far as anybody outside can tell."""
    ours, numpys = default_generator.get_state(), np.random.get_state()
    try:
        yield
    finally:
        default_generator.set_state(ours)
        np.random.set_state(numpys)


class BackwardRun:
    """What one forward and backward gave.

    Attributes:
        gradients: one for each tensor of the subject; None where there is none.
        loss_gradient: what the loss's backward returned, for a subject with a loss.
        model: the copy that ran, after its backward; inputs: the copies of the inputs it was given.
    """

    def __init__(self, gradients: list[Any], loss_gradient: Any = None, model: Any = None, inputs: Any = ()):
        self.gradients, self.loss_gradient = gradients, loss_gradient
        self.model, self.inputs = model, inputs


class Subject:
    """Named float64 tensors, a function of them, and a gradient that claims to be its derivative.

    Attributes:
        title: in one line. names, values: of the tensors to check.
        real_only: why the function cannot take complex arrays, if that is known; else "".
    """

    title: str
    names: list[str]
    values: list[Array]
    real_only = ""

    def output(self, values: Sequence[Array]) -> Array:
        """y for these tensors, all float64 or all complex128."""
        raise NotImplementedError

    def backward(self, cotangent: Array, values: Sequence[Array]) -> BackwardRun:
        """The user's gradients of sum(cotangent * y)."""
        raise NotImplementedError

    def cotangent(self, y: Array, rng: np.random.Generator) -> Array:
        """A random dL/dy: an all-ones one would let a wrong softmax gradient pass."""
        if y.ndim == 0:
            return np.asarray(rng.uniform(0.5, 1.5))
        return rng.standard_normal(y.shape)


class ModuleSubject(Subject):
    """A Module (anything with `forward`, `backward` and Parameters), with or without a loss."""

    def __init__(self, module: Any, inputs: Sequence[Any], loss_fn: Any, target: Any) -> None:
        self.pristine = _in_float64(module)
        self.inputs = [float_array(x, "x") for x in inputs]
        if not self.inputs:
            raise TypeError(f"gradcheck of {type(module).__name__} needs an input: gradcheck(model, x)")
        self.loss_fn = None if loss_fn is None else _in_float64(_as_loss(loss_fn))
        if (target is None) != (loss_fn is None):
            raise TypeError(
                "gradcheck needs loss_fn and target together: gradcheck(model, x, loss_fn=..., target=t)"
            )
        self.target = None if target is None else _target(self.loss_fn, target)
        parameters = list(self.pristine.named_parameters())
        self.names = [*_argument_names(module.forward, len(self.inputs)), *(name for name, _ in parameters)]
        self.values = [*self.inputs, *(p.data for _, p in parameters)]
        self.title = short_repr(module) + ("" if loss_fn is None else f" with {short_repr(loss_fn)}")
        self._workers: dict[str, tuple[Any, Any]] = {}
        self.fresh = False
        self._settle()

    def _settle(self) -> None:
        """A network that draws its own randomness or keeps state gives another y each time: start afresh."""
        with np.errstate(all="ignore"):
            first = self.output(self.values)
            if not _same(first, self.output(self.values)):
                self.fresh = True
                if not _same(self.output(self.values), self.output(self.values)):
                    raise ValueError(
                        f"{self.title} gives different outputs for the same input; draw its random "
                        "numbers from scratchnn's default generator, or call model.eval()"
                    )

    def _worker(self, dtype: np.dtype[Any]) -> tuple[Any, Any]:
        if self.fresh or dtype.name not in self._workers:
            model, loss_fn = copy.deepcopy((self.pristine, self.loss_fn))
            if dtype.kind == "c":
                _convert(model, dtype)
            self._workers[dtype.name] = (model, loss_fn)
        return self._workers[dtype.name]

    def output(self, values: Sequence[Array]) -> Array:
        with held_random():
            model, loss_fn = self._worker(values[0].dtype)
            y = self._forward(model, loss_fn, values)[0]
        return np.asarray(y)

    def _forward(self, model: Any, loss_fn: Any, values: Sequence[Array]) -> tuple[Any, list[Array]]:
        copies = [value.copy() for value in values]
        inputs, rest = copies[: len(self.inputs)], copies[len(self.inputs) :]
        for (_, parameter), value in zip(model.named_parameters(), rest, strict=True):
            parameter.data, parameter.grad = value, None
        y = model(*inputs) if len(inputs) == 1 and callable(model) else model.forward(*inputs)
        if loss_fn is not None:
            y = loss_fn(y, copy.copy(self.target))
        return y, inputs

    def cotangent(self, y: Array, rng: np.random.Generator) -> Array:
        cotangent = super().cotangent(y, rng)
        takes = self.loss_fn is None or _takes_argument(self.loss_fn.backward)
        return cotangent if takes else np.ones_like(cotangent)

    def backward(self, cotangent: Array, values: Sequence[Array]) -> BackwardRun:
        with held_random():
            model, loss_fn = copy.deepcopy((self.pristine, self.loss_fn))
            for parameter in model.parameters():
                parameter.__class__ = _AnyShape
            _, inputs = self._forward(model, loss_fn, values)
            dy = cotangent.copy()
            dloss = None
            if loss_fn is not None:
                if _takes_argument(loss_fn.backward):
                    dy = dloss = loss_fn.backward(float(cotangent) if cotangent.ndim == 0 else dy)
                else:
                    dy = dloss = loss_fn.backward()
            dx = model.backward(dy)
        returned = list(dx) if isinstance(dx, (tuple, list)) else [dx]
        returned += [None] * (len(self.inputs) - len(returned))
        gradients = [*returned[: len(self.inputs)], *(p.grad for _, p in model.named_parameters())]
        return BackwardRun(gradients, dloss, model, inputs)


class PairSubject(Subject):
    """A pair of functions (op, op_vjp).

    op_vjp takes dy first, then whatever it needs by name: op's arguments by theirs, `y` for the output.
    It returns gradients in the order of op's float arrays.
    """

    def __init__(self, op: Callable[..., Any], vjp: Callable[..., Any], inputs: Sequence[Any]) -> None:
        self.op, self.vjp = op, vjp
        self.inputs = [_argument(x) for x in inputs]
        floats = [i for i, x in enumerate(self.inputs) if _is_float_array(x)]
        if not floats:
            raise TypeError(f"gradcheck of {_name(op)} needs at least one float array to differentiate by")
        argument_names = _argument_names(op, len(self.inputs))
        self.arguments = argument_names
        # Which inputs the vjp answers for is known once it has answered.
        self.places = floats
        self.names = [argument_names[i] for i in floats]
        self.values = [self.inputs[i] for i in floats]
        self.title = f"({_name(op)}, {_name(vjp)})"
        answered = self.backward(
            self.cotangent(self.output(self.values), np.random.default_rng(0)), self.values
        )
        kept = [k for k in range(len(floats)) if k in self.answered]
        self.places = [floats[k] for k in kept]
        self.names, self.values = [self.names[k] for k in kept], [self.values[k] for k in kept]
        if not kept:
            raise TypeError(f"{_name(vjp)} returned {answered.gradients!r}; it must return gradients")

    def _arguments(self, values: Sequence[Array]) -> list[Any]:
        arguments = copy.copy(self.inputs)
        for place, value in zip(self.places, values, strict=True):
            arguments[place] = value.copy()
        return arguments

    def output(self, values: Sequence[Array]) -> Array:
        with held_random():
            y = self.op(*self._arguments(values))
        return np.asarray(y[0] if isinstance(y, tuple) else y)

    def backward(self, cotangent: Array, values: Sequence[Array]) -> BackwardRun:
        with held_random():
            arguments = self._arguments(values)
            result = self.op(*arguments)
            y, *saved = result if isinstance(result, tuple) else (result,)
            given = self._vjp_arguments(arguments, y, saved)
            returned = self.vjp(cotangent[()] if cotangent.ndim == 0 else cotangent.copy(), *given)
        answers = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        # None stands for an argument that was not there, as a missing bias: its gradient is passed over.
        slots = [i for i, x in enumerate(self.inputs) if _is_float_array(x) or x is None]
        slots = slots[: len(answers)]
        if len(answers) > len(slots):
            raise TypeError(
                f"{_name(self.vjp)} returned {len(answers)} gradients for {len(slots)} arrays; "
                "it must return one for each float array of the forward, in their order"
            )
        by_place = dict(zip(slots, answers, strict=True))
        self.answered = {k for k, place in enumerate(self.places) if by_place.get(place) is not None}
        gradients = [by_place.get(place) for place in self.places]
        return BackwardRun(gradients, model=None, inputs=[arguments[place] for place in self.places])

    def _vjp_arguments(self, arguments: list[Any], y: Any, saved: list[Any]) -> list[Any]:
        parameters = _parameters(self.vjp)
        if parameters is None:
            return arguments
        known = dict(zip(self.arguments, arguments, strict=True))
        for name in ("y", "out", "output"):
            known.setdefault(name, y)
        saved = list(saved)
        given: list[Any] = []
        for parameter in parameters[1:]:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if parameter.name in known:
                given.append(known[parameter.name])
            elif saved:
                given.append(saved.pop(0))
            elif parameter.default is not parameter.empty:
                break
            elif len(parameters) - 1 == len(arguments):
                return arguments
            else:
                raise TypeError(
                    f"{_name(self.vjp)} asks for {parameter.name!r}, which is no argument of "
                    f"{_name(self.op)} ({', '.join(self.arguments)}); name the output `y`, the inputs as there"
                )
        return given


class LossSubject(PairSubject):
    """A loss object by itself: the gradient for the prediction."""

    def __init__(self, loss_fn: Any, prediction: Any, target: Any) -> None:
        pristine = _in_float64(loss_fn)
        ready = _target(pristine, target)

        def op(prediction: Any) -> Any:
            return copy.deepcopy(pristine)(prediction, copy.copy(ready))

        def vjp(dloss: Any, prediction: Any) -> Any:
            loss = copy.deepcopy(pristine)
            loss(prediction, copy.copy(ready))
            if not _takes_argument(loss.backward):
                return loss.backward()
            return loss.backward(float(dloss) if np.ndim(dloss) == 0 else dloss)

        self.takes_dloss = _takes_argument(pristine.backward)
        super().__init__(op, vjp, [prediction])
        self.title = short_repr(loss_fn)

    def cotangent(self, y: Array, rng: np.random.Generator) -> Array:
        cotangent = super().cotangent(y, rng)
        return cotangent if self.takes_dloss else np.ones_like(cotangent)


class _AnyShape(Parameter):
    """A Parameter that takes a gradient of any shape: a wrong shape is a finding, not an accident."""

    def accumulate(self, gradient: Any) -> None:
        self.grad = gradient if self.grad is None else self.grad + gradient


class _PairLoss:
    """A loss given as (loss, loss_vjp)."""

    def __init__(self, op: Callable[..., Any], vjp: Callable[..., Any]) -> None:
        self.op, self.vjp = op, vjp

    def __call__(self, prediction: Any, target: Any) -> Any:
        self.saved = (prediction, target)
        return self.op(prediction, target)

    def backward(self, dloss: Any = 1) -> Any:
        return self.vjp(dloss, *self.saved)

    def __repr__(self) -> str:
        return f"({_name(self.op)}, {_name(self.vjp)})"


def _as_loss(loss_fn: Any) -> Any:
    if isinstance(loss_fn, tuple) and len(loss_fn) == 2 and all(map(callable, loss_fn)):
        return _PairLoss(*loss_fn)
    if not (callable(loss_fn) and hasattr(loss_fn, "backward")):
        raise TypeError(
            f"gradcheck got {loss_fn!r} as loss_fn; it needs a loss object such as MSELoss(), anything with "
            "loss_fn(prediction, target) and loss_fn.backward(), or a pair (loss, loss_vjp)"
        )
    return loss_fn


def _in_float64(thing: Any) -> Any:
    """A copy whose float32 arrays are float64: differences below 1e-7 are the point here."""
    try:
        twin = copy.deepcopy(thing)
    except Exception as error:
        raise TypeError(f"gradcheck cannot copy {short_repr(thing)}: {error}") from error
    _convert(twin, np.dtype(np.float64))
    return twin


def _convert(thing: Any, dtype: np.dtype[Any]) -> None:
    if isinstance(thing, Module):
        thing.astype(dtype)
    parts = list(thing.modules()) if isinstance(thing, Module) else [thing]
    for part in parts:
        for name, value in list(getattr(part, "__dict__", {}).items()):
            if isinstance(value, np.ndarray) and value.dtype in (np.float16, np.float32):
                setattr(part, name, value.astype(np.float64))


def _target(loss_fn: Any, target: Any) -> Any:
    if isinstance(loss_fn, Loss):
        return loss_fn.convert_target(target, np.float64)
    array = np.array(target)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def float_array(value: Any, name: str) -> Array:
    """`value` as a float64 copy. Raises TypeError for anything that is not real numbers."""
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"gradcheck got {name} of dtype {array.dtype}; it needs real numbers")
    return array.astype(np.float64)


def _argument(value: Any) -> Any:
    if isinstance(value, (list, np.floating)) or _is_float_array(value):
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype.kind == "f" else array
    return value


def _is_float_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def _argument_names(function: Callable[..., Any], count: int) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in _parameters(function) or () if p.kind in kinds][:count]
    if count == 1 and len(names) == 1:
        return names
    return names + [f"x{i}" for i in range(len(names), count)]


def _takes_argument(function: Callable[..., Any]) -> bool:
    parameters = _parameters(function)
    return parameters is None or bool(parameters)


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def short_repr(thing: Any) -> str:
    """`thing` in one line: a container by its class and how much is in it."""
    text = repr(thing)
    if "\n" not in text and not text.startswith("<"):
        return text
    inside = len(list(thing.children())) if isinstance(thing, Module) else 0
    return f"{type(thing).__name__} of {inside} modules" if inside else type(thing).__name__


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=True))
