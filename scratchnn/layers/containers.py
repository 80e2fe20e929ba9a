"""Modules made of modules: Sequential, ModuleList, MLP."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, overload

import numpy as np

from ..checks import Array, Instrumented, as_array, as_choice, as_int, as_list, positive_int, shown
from .activations import Identity, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .linear import Linear
from .module import Module

__all__ = ["MLP", "ModuleList", "Sequential"]


class _Chain(Module):
    """What Sequential and ModuleList share: modules in the order in which they were assigned."""

    def _chain(self) -> list[Module]:
        return [value for value in vars(self).values() if isinstance(value, Module)]

    def _names(self) -> list[str]:
        return [name for name, value in vars(self).items() if isinstance(value, Module)]

    def _position(self, index: int) -> int:
        position = as_int(type(self).__name__, "index", index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"{type(self).__name__} of {len(self)} modules has no index {position}")
        return position % len(self)

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns self."""
        _check_module(type(self).__name__, str(len(self)), module)
        setattr(self, str(len(self)), module)
        return self

    def __len__(self) -> int:
        return len(self._chain())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._chain())

    def __setitem__(self, index: int, module: Module) -> None:
        _check_module(type(self).__name__, str(index), module)
        setattr(self, self._names()[self._position(index)], module)


class Sequential(_Chain):
    """Modules one after the other: y = module_k(... module_1(x)).

    Args:
        modules: modules, or one OrderedDict (or dict) of names to modules.
    Raises:
        TypeError: something that is not a Module.
    The same module may stand in several places; its gradients then add up.
    Source: torch.nn.Sequential.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        named: list[tuple[str, Any]] = [(str(i), module) for i, module in enumerate(modules)]
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named = list(modules[0].items())
        for name, module in named:
            _check_module(type(self).__name__, name, module)
            if "." in name or not name or hasattr(self, name):
                raise KeyError(
                    f"Sequential cannot name a module {name!r}: empty, dotted or already an attribute"
                )
            setattr(self, name, module)

    def forward(self, x: Any) -> Array:
        """y (shape as the last module gives it) for x (shape as the first one takes it)."""
        trail = []
        for module in self._chain():
            x = module(x)
            trail.append((module, module._snapshot()))
        if not trail:
            x = as_array(self._label(), "x", x)
        # The trail, not the modules, holds what backward needs: a module may stand here twice.
        self._saved = (trail,)
        return x if isinstance(x, Instrumented) else np.asarray(x)

    def backward(self, dy: Any) -> Array:
        """dL/dx for dL/dy, through the modules in reverse."""
        if self._saved is None:
            raise RuntimeError(
                f"{type(self).__name__} got backward before forward; call it on an input first"
            )
        for module, snapshot in reversed(self._saved[0]):
            module._restore(snapshot)
            dy = module.backward(dy)
        return dy if isinstance(dy, Instrumented) else np.asarray(dy)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            names = self._names()[index]
            return Sequential(OrderedDict((name, getattr(self, name)) for name in names))
        return self._chain()[self._position(index)]


class ModuleList(_Chain):
    """A list of modules that registers them; it has no forward of its own.

    Source: torch.nn.ModuleList.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; returns self."""
        listed = as_list(type(self).__name__, "modules", modules, "modules")
        for position, module in enumerate(listed, len(self)):
            _check_module(type(self).__name__, str(position), module)
        for module in listed:
            self.append(module)
        return self

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return ModuleList(self._chain()[index])
        return self._chain()[self._position(index)]


def _check_module(owner: str, name: str, module: Any) -> None:
    if not isinstance(module, Module):
        raise TypeError(
            f"{owner} got {shown(module)} as module {name}; it needs scratchnn modules: "
            "Linear(2, 10), ReLU(), or a subclass of Module"
        )


_ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "identity": Identity,
    "leaky_relu": LeakyReLU,
    "log_softmax": lambda: LogSoftmax(-1),
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "softmax": lambda: Softmax(-1),
    "tanh": Tanh,
}


class MLP(Sequential):
    """A multilayer perceptron from a list of widths: Linear, activation, ..., Linear, output activation.

    Args:
        in_features: D. hidden: widths of the hidden layers, one int for one layer, [] for none.
        out_features: M.
        activation: after each hidden layer; a name ("relu", "sigmoid", "tanh", "leaky_relu",
            "identity", "softmax", "log_softmax"), or a function that makes a module.
        output_activation: after the last Linear; None for none.
        dtype: of the parameters.
    Shapes: x (..., D) -> y (..., M).
    Raises:
        ValueError: a name that is no activation, a width below 1. TypeError: widths that are no ints.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int | Iterable[int],
        out_features: int,
        activation: str | Callable[[], Module] = "relu",
        output_activation: str | Callable[[], Module] | None = None,
        *,
        dtype: Any = np.float32,
    ) -> None:
        widths = as_list("MLP", "hidden", hidden, "ints") if isinstance(hidden, Iterable) else [hidden]
        widths = [positive_int("MLP", f"hidden[{i}]", width) for i, width in enumerate(widths)]
        modules: list[Module] = []
        for width in widths:
            modules += [Linear(in_features, width, dtype=dtype), _activation("activation", activation)]
            in_features = width
        modules.append(Linear(in_features, out_features, dtype=dtype))
        if output_activation is not None:
            modules.append(_activation("output_activation", output_activation))
        super().__init__(*modules)


def _activation(name: str, value: str | Callable[[], Module]) -> Module:
    if isinstance(value, str):
        return _ACTIVATIONS[as_choice("MLP", name, value, _ACTIVATIONS)]()
    if isinstance(value, Module) or not callable(value):
        raise ValueError(
            f"MLP got {name}={shown(value)}; it must be one of {', '.join(_ACTIVATIONS)}, "
            "or a function that makes a module"
        )
    made = value()
    if not isinstance(made, Module):
        raise TypeError(f"MLP got {name}={shown(value)}, which made {shown(made)}; it must make a module")
    return made
