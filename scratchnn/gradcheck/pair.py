"""Pairs of functions (op, op_vjp), and loss objects by themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import Array
from .names import TARGETS
from .report import NO_GRADIENT
from .subject import (
    BackwardRun,
    Subject,
    argument_names,
    as_target,
    held_random,
    in_float64,
    name_of,
    parameters_of,
    short_repr,
    takes_argument,
    unknown_constant,
)

__all__ = ["LossSubject", "PairSubject"]


class PairSubject(Subject):
    """A pair of functions (op, op_vjp).

    op_vjp takes dy first, then whatever it needs by name: op's arguments by theirs, `y` for the output.
    It returns gradients in the order of op's float arrays.
    """

    def __init__(
        self,
        op: Callable[..., Any],
        vjp: Callable[..., Any],
        inputs: Sequence[Any],
        constants: Sequence[Any] = (),
    ) -> None:
        self.op, self.vjp = op, vjp
        self.inputs = [_argument(x) for x in inputs]
        floats = [i for i, x in enumerate(self.inputs) if _is_float_array(x)]
        if not floats:
            raise TypeError(f"gradcheck of {name_of(op)} needs at least one float array to differentiate by")
        names = argument_names(op, len(self.inputs))
        self.arguments = names
        # Which inputs the vjp answers for is known once it has answered.
        self.places = floats
        self.names = [names[i] for i in floats]
        self.values = [self.inputs[i] for i in floats]
        self.title = f"({name_of(op)}, {name_of(vjp)})"
        answered = self.backward(
            self.cotangent(self.output(self.values), np.random.default_rng(0)), self.values
        )
        fixed = self._constants(inputs, constants)
        kept = [k for k, i in enumerate(floats) if k in self.answered and i not in fixed]
        left = [i for k, i in enumerate(floats) if k not in self.answered and i not in fixed]
        # A loss answers for the prediction only.
        self.constants = [
            names[i] for i in floats if i in fixed or (i in left and names[i].lower() in TARGETS)
        ]
        self.unchecked = [
            (names[i], self.inputs[i].shape, NO_GRADIENT) for i in left if names[i] not in self.constants
        ]
        self.places = [floats[k] for k in kept]
        self.names, self.values = [self.names[k] for k in kept], [self.values[k] for k in kept]
        if not self.answered:
            raise TypeError(f"{name_of(vjp)} returned {answered.gradients!r}; it must return gradients")

    def _constants(self, inputs: Sequence[Any], constants: Sequence[Any]) -> set[int]:
        """The numbers of the arguments that the user calls constant, by name or by the array itself."""
        fixed = set()
        for constant in [constants] if isinstance(constants, (str, np.ndarray)) else constants:
            if isinstance(constant, str):
                found = [i for i, name in enumerate(self.arguments) if name == constant]
            else:
                found = [i for i, x in enumerate(inputs) if x is constant]
            if not found:
                raise ValueError(unknown_constant(constant, self.arguments))
            fixed.update(found)
        return fixed

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
                f"{name_of(self.vjp)} returned {len(answers)} gradients for {len(slots)} arrays; "
                "it must return one for each float array of the forward, in their order"
            )
        by_place = dict(zip(slots, answers, strict=True))
        self.answered = {k for k, place in enumerate(self.places) if by_place.get(place) is not None}
        gradients = [by_place.get(place) for place in self.places]
        return BackwardRun(gradients, model=None, inputs=[arguments[place] for place in self.places])

    def _vjp_arguments(self, arguments: list[Any], y: Any, saved: list[Any]) -> list[Any]:
        parameters = parameters_of(self.vjp)
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
                    f"{name_of(self.vjp)} asks for {parameter.name!r}, which is no argument of "
                    f"{name_of(self.op)} ({', '.join(self.arguments)}): give it the same name, or `y`"
                )
        return given


class LossSubject(PairSubject):
    """A loss object by itself: the gradient for the prediction."""

    def __init__(self, loss_fn: Any, prediction: Any, target: Any) -> None:
        pristine = in_float64(loss_fn)
        ready = as_target(pristine, target)

        def op(prediction: Any) -> Any:
            return copy.deepcopy(pristine)(prediction, copy.copy(ready))

        def vjp(dloss: Any, prediction: Any) -> Any:
            loss = copy.deepcopy(pristine)
            loss(prediction, copy.copy(ready))
            if not takes_argument(loss.backward):
                return loss.backward()
            return loss.backward(float(dloss) if np.ndim(dloss) == 0 else dloss)

        self.loss_fn, self.target = pristine, ready
        self.takes_dloss = takes_argument(pristine.backward)
        super().__init__(op, vjp, [prediction])
        self.title = short_repr(loss_fn)

    def cotangent(self, y: Array, rng: np.random.Generator) -> Array:
        cotangent = super().cotangent(y, rng)
        return cotangent if self.takes_dloss else np.ones_like(cotangent)


def _argument(value: Any) -> Any:
    if isinstance(value, (list, np.floating)) or _is_float_array(value):
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype.kind == "f" else array
    return value


def _is_float_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"
