"""What can be checked, brought to one form: named tensors, a forward, and somebody's gradients.

Nothing of the user's objects changes: modules and losses are copied, arrays are copied, and the random
generators are put back, so that Dropout draws the same mask in every evaluation and the next draw after
the check is the one it would have been.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..checks import Array, any_array, shown
from ..layers import Module, Parameter
from ..losses import Loss
from ..random import default_generator
from .rounding import Rounded

__all__ = [
    "AnyShape",
    "BackwardRun",
    "ModuleSubject",
    "ShapeError",
    "Subject",
    "argument_names",
    "as_target",
    "float_array",
    "held_random",
    "in_float64",
    "name_of",
    "parameters_of",
    "short_repr",
    "takes_argument",
    "unknown_constant",
]


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


class ShapeError(ValueError):
    """The loss's backward returned another shape than the prediction's: `got`, where it `needs`."""

    def __init__(self, owner: str, got: tuple[int, ...], needs: tuple[int, ...]) -> None:
        super().__init__(
            f"{owner}'s backward returned shape {got} for a prediction of shape {needs}; they must be equal"
        )
        self.got, self.needs = got, needs


class Subject:
    """Named float64 tensors, a function of them, and a gradient that claims to be its derivative.

    Attributes:
        title: in one line. names, values: of the tensors to check.
        real_only: why the function cannot take complex arrays, if that is known; else "".
        unchecked: (name, shape, why) of arrays that the output depends on and no gradient was found for.
        constants: names of arrays that are not trained.
        fixed: the gradients are numbers, known at these tensors and at no other.
        tolerances: by method, the largest error of an entry that is right, relative to the entry.
        broken: (how a backward of unknown form was called, what it raised), if it did.
    """

    title: str
    names: list[str]
    values: list[Array]
    real_only = ""
    unchecked: Sequence[tuple[str, tuple[int, ...], str]] = ()
    constants: Sequence[str] = ()
    fixed = False
    tolerances: Mapping[str, float] = {"complex": 1e-13, "central": 1e-6}
    broken: tuple[str, Exception] | None = None

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

    def __init__(
        self,
        module: Any,
        inputs: Sequence[Any],
        loss_fn: Any,
        target: Any,
        names: Sequence[str] | None = None,
        upstream: bool = True,
    ) -> None:
        """As `gradcheck` takes them; `names`: of the inputs; `upstream`: backward takes dL/dy."""
        self.pristine = in_float64(module)
        self.inputs = [float_array(x, "x") for x in inputs]
        if not self.inputs and names is None:
            raise TypeError(f"gradcheck of {type(module).__name__} needs an input: gradcheck(model, x)")
        self.loss_fn = None if loss_fn is None else in_float64(_as_loss(loss_fn))
        if (target is None) != (loss_fn is None):
            raise TypeError(
                "gradcheck needs loss_fn and target together: gradcheck(model, x, loss_fn=..., target=t)"
            )
        self.target = None if target is None else as_target(self.loss_fn, target)
        parameters = list(self.pristine.named_parameters())
        self.upstream = upstream
        if names is None:
            names = argument_names(module.forward, len(self.inputs))
        self.names = [*names, *(name for name, _ in parameters)]
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
            model, loss_fn = self._worker(values[0].dtype if values else np.dtype(np.float64))
            _, loss, _ = self._forward(model, loss_fn, values)
        return np.asarray(loss)

    def _forward(self, model: Any, loss_fn: Any, values: Sequence[Array]) -> tuple[Any, Any, list[Array]]:
        """(prediction, loss or prediction, the copies of the inputs that went in)."""
        copies = [value.copy() for value in values]
        inputs, rest = copies[: len(self.inputs)], copies[len(self.inputs) :]
        for (_, parameter), value in zip(model.named_parameters(), rest, strict=True):
            parameter.data, parameter.grad = value, None
        y = model(*inputs) if len(inputs) == 1 and callable(model) else model.forward(*inputs)
        return y, y if loss_fn is None else loss_fn(y, copy.copy(self.target)), inputs

    def cotangent(self, y: Array, rng: np.random.Generator) -> Array:
        cotangent = super().cotangent(y, rng)
        takes = self.upstream if self.loss_fn is None else takes_argument(self.loss_fn.backward)
        return cotangent if takes else np.ones_like(cotangent)

    def backward(
        self,
        cotangent: Array,
        values: Sequence[Array],
        prepare: Callable[[Any], None] | None = None,
    ) -> BackwardRun:
        """As of every subject; `prepare(model)` is called on the copy that runs."""
        with held_random():
            model, loss_fn = copy.deepcopy((self.pristine, self.loss_fn))
            for parameter in model.parameters():
                if type(parameter) is Parameter:
                    parameter.__class__ = AnyShape
            if prepare is not None:
                prepare(model)
            y, _, inputs = self._forward(model, loss_fn, values)
            dy = cotangent.copy()
            dloss = None
            if loss_fn is not None:
                if takes_argument(loss_fn.backward):
                    dy = dloss = loss_fn.backward(float(cotangent) if cotangent.ndim == 0 else dy)
                else:
                    dy = dloss = loss_fn.backward()
                if isinstance(cotangent, Rounded) and cotangent.source is not None:
                    # Comparisons, as in a slope of L1Loss, leave plain arrays.
                    dy = dloss = cotangent.source.wrap(dy)
                if np.shape(dy) != np.shape(y):
                    raise ShapeError(short_repr(loss_fn), np.shape(dy), np.shape(y))
            dx = model.backward(dy)
        returned = list(dx) if isinstance(dx, (tuple, list)) else [dx]
        returned += [None] * (len(self.inputs) - len(returned))
        gradients = [*returned[: len(self.inputs)], *(p.grad for _, p in model.named_parameters())]
        return BackwardRun(gradients, dloss, model, inputs)


class AnyShape(Parameter):
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
        return f"({name_of(self.op)}, {name_of(self.vjp)})"


def _as_loss(loss_fn: Any) -> Any:
    if isinstance(loss_fn, tuple) and len(loss_fn) == 2 and all(map(callable, loss_fn)):
        return _PairLoss(*loss_fn)
    if not (callable(loss_fn) and hasattr(loss_fn, "backward")):
        raise TypeError(
            f"gradcheck got {loss_fn!r} as loss_fn; it needs a loss object such as MSELoss(), anything with "
            "loss_fn(prediction, target) and loss_fn.backward(), or a pair (loss, loss_vjp)"
        )
    return loss_fn


def in_float64(thing: Any) -> Any:
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


def as_target(loss_fn: Any, target: Any) -> Any:
    if isinstance(loss_fn, Loss):
        return loss_fn.convert_target(target, np.float64)
    array = np.array(target)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def float_array(value: Any, name: str) -> Array:
    """`value` as a float64 copy. Raises TypeError for anything that is not real numbers."""
    return any_array("gradcheck", f"{name} of inputs", value, "biuf").astype(np.float64)


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters_of(function) or () if p.kind in kinds][:count]
    if count == 1 and len(names) == 1:
        return names
    return names + [f"x{i}" for i in range(len(names), count)]


def takes_argument(function: Callable[..., Any]) -> bool:
    parameters = parameters_of(function)
    return parameters is None or bool(parameters)


def unknown_constant(constant: Any, known: Sequence[str]) -> str:
    what = shown(constant)
    return (
        f"gradcheck got {what} among constants; it must be one of {', '.join(known) or 'none'}, or that array"
    )


def name_of(function: Any) -> str:
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
