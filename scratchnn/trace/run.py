"""Run one step on a copy of somebody's model, and write down everything that happens."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import Array, origin
from ..functional.written import formulas_for
from ..gradcheck.subject import argument_names, held_random
from ..layers import Module, Parameter, Sequential
from ..losses import Loss
from .steps import Reading, Step, arguments, reading_of

__all__ = ["Recorder", "untouched"]


@contextmanager
def untouched() -> Iterator[None]:
    """What a run leaves outside of the model is put back: random numbers, the last output noted."""
    noted, pythons = origin._noted, random.getstate()
    try:
        with held_random():
            yield
    finally:
        origin._noted = noted
        random.setstate(pythons)


@dataclass(eq=False)
class _Call:
    """One module's forward, and, when it comes, its backward."""

    module: Module
    path: str
    inputs: dict[str, Any]
    outer: bool  # made of submodules that were called within it
    inside: list[Any] = field(default_factory=list)  # outputs of the modules called within
    memory: Any = None  # the tuple in which a built-in layer saved
    reading: Reading | None = None
    step: Step | None = None
    done: bool = False  # its backward ran


class Recorder:
    """Puts itself between a model and its modules' methods, for one forward and one backward.

    The model is a copy: its modules' `forward` and `backward` are replaced on the instances, so that hooks,
    `__call__` and a user's own loops run as always. `release` takes the replacements away again.
    """

    def __init__(self, model: Module) -> None:
        self.model = model
        self.steps: list[Step] = []
        self._calls: list[_Call] = []
        self._open: list[_Call] = []
        self._gradients: list[dict[str, Array]] = []  # of each backward that is running
        self._paths: dict[int, list[str]] = {}
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._replaced: list[tuple[Any, str, Any]] = []
        for path, module in _all_paths(model):
            self._paths.setdefault(id(module), []).append(path)
        for module in model.modules():
            self._replace(module, "forward", self._forward)
            self._replace(module, "backward", self._backward)
        for parameter in model.parameters():
            self._replace(parameter, "accumulate", self._accumulate)

    def _replace(self, owner: Any, name: str, method: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        self._replaced.append((owner, name, vars(owner).get(name, _MISSING)))
        vars(owner)[name] = lambda *given, **named: method(owner, original, *given, **named)

    def release(self) -> None:
        """Give the model its own methods back."""
        for owner, name, before in self._replaced:
            if before is _MISSING:
                del vars(owner)[name]
            else:
                vars(owner)[name] = before

    # Forward -----------------------------------------------------------------------------------------

    def _forward(self, module: Module, original: Callable[..., Any], *given: Any, **named: Any) -> Any:
        names = ["x"] if len(given) == 1 else argument_names(original, len(given))
        inputs = {name: _kept(value) for name, value in zip(names, given, strict=True)}
        call = _Call(module, self._next_path(module), inputs | named, outer=False)
        if self._open:
            self._open[-1].outer = True
        before = dict(vars(module))
        self._open.append(call)
        try:
            y = original(*given, **named)
        finally:
            self._open.pop()
        if self._open:
            self._open[-1].inside.append(y)
        call.memory = module._saved
        self._calls.append(call)
        if self._is_a_step(call, y):
            self._write_forward(call, before, given, y)
        return y

    def _is_a_step(self, call: _Call, y: Any) -> bool:
        """A container only hands on; a network of the user's own may compute something itself."""
        if not call.outer:
            return not isinstance(call.module, Sequential)
        own = any(isinstance(value, Parameter) for value in vars(call.module).values())
        return own or not any(y is inner for inner in call.inside)

    def _write_forward(self, call: _Call, before: dict[str, Any], given: tuple[Any, ...], y: Any) -> None:
        module, memory = call.module, call.memory
        reading = None if call.outer else reading_of(module, memory)
        outputs = _named("y", y)
        saved = _saved_by(module, before)
        inputs, op = call.inputs, ""
        if reading is not None:
            kept = dict(zip(reading.saved, memory or (), strict=False))
            pool = {**reading.values(module), "x": np.asarray(given[0]), **kept}
            exact = arguments(reading.op, pool)
            if _agrees(reading.op(*exact.values()), y):
                call.reading, op = reading, reading.op.__name__
                inputs = {name: _kept(value) for name, value in exact.items()}
                saved = {name: _kept(value) for name, value in kept.items()}
        call.step = self._add(call.path, "forward", module._label(), op, inputs, outputs)
        call.step.saved = saved
        call.step.parameters = self._parameters_of(call)

    def _next_path(self, module: Module) -> str:
        paths = self._paths[id(module)]
        used = sum(call.module is module for call in (*self._calls, *self._open))
        return paths[used] if used < len(paths) else f"{paths[-1]}#{used - len(paths) + 2}"

    # Backward ----------------------------------------------------------------------------------------

    def _backward(self, module: Module, original: Callable[..., Any], *given: Any, **named: Any) -> Any:
        call = self._call_of(module)
        memory = module._saved
        names = ["dy"] if len(given) == 1 else argument_names(original, len(given))
        inputs = {name: _kept(value) for name, value in zip(names, given, strict=True)} | named
        before = {name: parameter.grad for name, parameter in self.model.named_parameters()}
        self._gradients.append({})
        try:
            dx = original(*given, **named)
        finally:
            accumulated = self._gradients.pop()
        if call is None or call.step is None:
            for name, gradient in accumulated.items():  # a container's own, if it has any
                self._note(name, gradient)
            return dx
        self._write_backward(call, memory, inputs, dx, accumulated, before)
        return dx

    def _write_backward(
        self,
        call: _Call,
        memory: Any,
        inputs: dict[str, Any],
        dx: Any,
        accumulated: dict[str, Array],
        before: dict[str, Array | None],
    ) -> None:
        module, forward = call.module, call.step
        assert forward is not None
        short = {name: argument for argument, name in forward.parameters.items()}
        gradients = dict(accumulated)
        for name in short:  # a backward may write `grad` by hand
            gradient = self._written(name, before[name]) if name not in gradients else None
            if gradient is not None:
                gradients[name] = gradient
        outputs = {} if dx is None else _named("dx", dx, [f"d{name}" for name in call.inputs])
        outputs |= {f"d{short.get(name, name)}": gradient.copy("K") for name, gradient in gradients.items()}
        op = ""
        if call.reading is not None:
            reading = call.reading
            kept = dict(zip(reading.saved, memory or (), strict=False))
            exact = arguments(reading.vjp, {**reading.values(module), **inputs, **kept})
            result = reading.vjp(*exact.values())
            results = result if isinstance(result, tuple) else (result,)
            found = [outputs.get(name) for name in ("dx", "dweight", "dbias")]
            if all(b is None or _agrees(a, b) for a, b in zip(results, found, strict=False)):
                op = reading.vjp.__name__
                inputs = {name: _kept(value) for name, value in exact.items()}
        step = self._add(call.path, "backward", module._label(), op, inputs, outputs)
        step.saved, step.parameters = dict(forward.saved), dict(forward.parameters)
        if len(step.formulas) > len(outputs):
            step.formulas = step.formulas[: len(outputs)]  # a Linear without bias has no dbias

    def _call_of(self, module: Module) -> _Call | None:
        """The forward that this backward answers: the one whose saved arrays the module holds now."""
        open_calls = [call for call in self._calls if call.module is module and not call.done]
        if not open_calls:
            return None
        own = [call for call in open_calls if call.memory is not None and call.memory is module._saved]
        call = (own or open_calls)[-1]
        call.done = True
        return call

    def _accumulate(self, parameter: Parameter, original: Callable[..., None], gradient: Array) -> None:
        original(gradient)
        self._note(self._names[id(parameter)], gradient)

    def _note(self, name: str, gradient: Array) -> None:
        if self._gradients:
            noted = self._gradients[-1]
            noted[name] = noted[name] + gradient if name in noted else gradient

    def _written(self, name: str, before: Array | None) -> Array | None:
        after = next(p.grad for n, p in self.model.named_parameters() if n == name)
        if after is None or after is before:
            return None
        return np.asarray(after if before is None else after - before)

    # The loss ----------------------------------------------------------------------------------------

    def loss(self, loss_fn: Any, prediction: Any, target: Any) -> Any:
        """The loss, as a step."""
        given = {"prediction": _kept(prediction), "target": _kept(target)}
        loss = loss_fn(prediction, target)
        op, inputs = "", given
        if isinstance(loss_fn, Loss) and loss_fn._saved is not None:
            exact = _bound(loss_fn._op, loss_fn._saved)
            if _agrees(loss_fn._op(*exact.values()), loss):
                op, inputs = loss_fn._op.__name__, exact
        step = self._add("loss", "forward", repr(loss_fn), op, inputs, {"loss": np.array(loss)})
        step.saved = {k: v for k, v in inputs.items() if isinstance(v, np.ndarray)}
        return loss

    def loss_backward(self, loss_fn: Any) -> Any:
        """dL/dprediction, as a step."""
        forward = self.steps[-1]
        dprediction = loss_fn.backward()
        op = ""
        inputs: dict[str, Any] = {"dloss": 1.0}
        if forward.op:
            # For reduction "none", one for each loss: backward() differentiates their sum.
            ones = np.ones(forward.outputs["loss"].shape, loss_fn._saved[0].dtype)
            if _agrees(loss_fn._op_vjp(ones, *loss_fn._saved), dprediction):
                op, inputs = loss_fn._op_vjp.__name__, {"dloss": ones, **forward.inputs}
        outputs = {"dprediction": np.array(dprediction, order="K")}
        step = self._add("loss", "backward", repr(loss_fn), op, inputs, outputs)
        step.saved = dict(forward.saved)
        return dprediction

    # Both --------------------------------------------------------------------------------------------

    def _add(self, path: str, direction: str, module: str, op: str, inputs: Any, outputs: Any) -> Step:
        step = Step(len(self.steps), path, direction, module, op, formulas_for(op, inputs), inputs, outputs)
        self.steps.append(step)
        return step

    def _parameters_of(self, call: _Call) -> dict[str, str]:
        """A network's own; of a module whose submodules were not called, theirs too."""
        own: dict[str, Any] = {k: v for k, v in vars(call.module).items() if isinstance(v, Parameter)}
        found = own if call.outer else dict(call.module.named_parameters())
        return {argument: self._names[id(parameter)] for argument, parameter in found.items()}


_MISSING: Any = object()
ROUNDINGS = 64  # by which two ways of adding up may differ, in eps of the largest number


def _all_paths(module: Module, path: str = "") -> Iterator[tuple[str, Module]]:
    """(path, module), a module that stands in several places once for each of them."""
    yield path, module
    for name, value in vars(module).items():
        if isinstance(value, Module):
            yield from _all_paths(value, f"{path}.{name}" if path else name)


def _bound(op: Callable[..., Any], values: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(inspect.signature(op).parameters, map(_kept, values), strict=True))


def _named(name: str, value: Any, several: list[str] | None = None) -> dict[str, Array]:
    """One output by its name; several by their own names, or numbered."""
    if not isinstance(value, (tuple, list)):
        return {name: np.array(value, order="K")}
    names = several if several and len(several) == len(value) else [f"{name}{i}" for i in range(len(value))]
    return {
        key: np.array(part, order="K") for key, part in zip(names, value, strict=True) if part is not None
    }


def _saved_by(module: Module, before: dict[str, Any]) -> dict[str, Array]:
    """The arrays that a forward of the user's own left in the module."""
    saved = {}
    for name, value in vars(module).items():
        if isinstance(value, np.ndarray) and value is not before.get(name):
            saved[name] = value.copy("K")
    for i, value in enumerate(module._saved or ()):
        if isinstance(value, np.ndarray):
            saved[f"saved{i}"] = value.copy("K")
    return saved


def _kept(value: Any) -> Any:
    """`value` as it is now, whatever is written into it later."""
    return value.copy("K") if isinstance(value, np.ndarray) else value


def _agrees(again: Any, ran: Any) -> bool:
    """True where an op, run again, gives what the module gave, up to a matrix product's order of summing."""
    a, b = np.asarray(again), np.asarray(ran)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.tobytes() == b.tobytes():
        return True
    largest = np.abs(b[np.isfinite(b)]).max(initial=0)
    return bool(np.allclose(a, b, rtol=0, atol=ROUNDINGS * np.finfo(b.dtype).eps * largest, equal_nan=True))
