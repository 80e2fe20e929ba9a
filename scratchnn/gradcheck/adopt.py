"""A program that knows nothing of scratchnn, as a Module: its arrays are Parameters, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import Array
from ..layers import Module, Parameter
from .form import RATE, Form
from .outer import MISSING
from .subject import AnyShape
from .world import Address, Place, World

__all__ = ["Adopted", "Positions", "Source", "Value", "total"]


@dataclass(frozen=True)
class Source:
    """Where a gradient is after a backward.

    Attributes:
        kind: "state": at an address in the program; "returned": in what backward returned; "update": in the
            step that backward took with a rate of its own.
        where: an address, a path of keys, or the place of the weight. words: for the report.
    """

    kind: str
    where: tuple[Any, ...]
    words: str

    def read(self, world: World, returned: Any, before: Array | None) -> Any:
        """The array, or None where there is none."""
        if self.kind == "update" and before is not None:
            after = world.get(self.where)
            return None if after is MISSING else (before - np.asarray(after)) / RATE
        found = world.get(self.where) if self.kind == "state" else follow(returned, self.where)
        return None if found is MISSING or found is None else np.array(found)


def follow(thing: Any, path: Sequence[Any]) -> Any:
    """What lies at the end of a path of keys and attribute names; MISSING where it ends before."""
    for key in path:
        try:
            by_name = isinstance(key, str) and not isinstance(thing, dict)
            thing = getattr(thing, key) if by_name else thing[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            return MISSING
    return thing


# Of the entries of a view, which entries of the array they are; None for the array itself.
Positions = Array | None


@dataclass(eq=False)
class Value:
    """An array that the output may depend on.

    Attributes:
        name, array: it, in float64. argument: its number among forward's arguments, for an input.
        names: all its names, as `names.rank` reads them, and those of views of it, with their positions.
        places: where it is, and where views of it are, with their positions.
        sources: its gradients, which are added up. note: why it cannot be checked, where there are none.
        moves: a forward puts another in its place, as a recurrent layer does with its state.
    """

    name: str
    array: Array
    names: list[tuple[list[Any], Positions]]
    argument: int | None = None
    places: list[tuple[Place, Positions]] = field(default_factory=list)
    sources: list[tuple[Source, Positions]] = field(default_factory=list)
    note: str = ""
    moves: bool = False

    def __deepcopy__(self, memo: Any) -> Value:
        return self

    @property
    def address(self) -> Address:
        return self.places[0][0].address

    def put(self, world: World, array: Any) -> None:
        """Give it these values, in every place that holds it or a view of it."""
        for place, positions in self.places:
            world.put(place, array if positions is None else array.ravel()[positions])

    @property
    def is_updated(self) -> bool:
        """Its gradient is read off the step that backward takes."""
        return any(source.kind == "update" for source, _ in self.sources)

    def gradient(self, world: World, returned: Any, before: Array | None = None) -> Any:
        """The sum of its gradients; the first one of a wrong shape, where there is one."""
        return total(
            [(s.read(world, returned, before), positions) for s, positions in self.sources], self.array.shape
        )


def total(parts: Sequence[tuple[Any, Positions]], shape: tuple[int, ...]) -> Any:
    """Gradients of a value and of views of it, added up; None where there are none."""
    there = [(gradient, positions) for gradient, positions in parts if gradient is not None]
    if len(there) <= 1 and all(positions is None for _, positions in there):
        return there[0][0] if there else None
    result = np.zeros(shape)
    for gradient, positions in there:
        needed = shape if positions is None else positions.shape
        if gradient.shape != needed or gradient.dtype.kind not in "biuf":
            return gradient
        if positions is None:
            result += gradient
        else:
            np.add.at(result.reshape(-1), positions.ravel(), gradient.ravel())
    return result


class Adopted(Module):
    """A program and those of its arrays that are checked.

    Attributes:
        world, form: the program and how it is called. inner: its object.
        inputs, weights: Values. returned: what the last backward returned.
        unchecked: values without a gradient. constants: names of arrays that are not trained.
        broken: what backward raised when it was tried.
    """

    def __init__(self, world: World, form: Form, inputs: Sequence[Value], weights: Sequence[Value]) -> None:
        self.world, self.form = world, form
        self.inner = world.subject
        self.inputs, self.weights = list(inputs), list(weights)
        self.proxies = [Parameter(np.array(value.array, np.float64)) for value in weights]
        self.returned: Any = None
        self.unchecked: list[Value] = []
        self.constants: list[str] = []
        self.broken: Exception | None = None
        for thing in world.things():
            # A wrong shape is a finding, and nothing was added up before.
            if type(thing) in (Parameter, AnyShape):
                thing.__class__ = AnyShape
                thing.grad = None

    def forward(self, *inputs: Any) -> Any:
        for value, x in zip(self.inputs, inputs, strict=True):
            self.world.arguments[value.argument or 0] = x
        for value, proxy in self._pairs():
            value.put(self.world, proxy.data)
        # A backward that updates writes into the very arrays.
        self.before = [np.array(proxy.data) if value.is_updated else None for value, proxy in self._pairs()]
        self.last = self.form.run_forward(self.world)
        outputs = self.last[1]
        return outputs[0] if len(outputs) == 1 else np.concatenate([np.ravel(y) for y in outputs])

    def backward(self, dy: Any) -> Any:
        result, outputs = self.last
        dys, begin = [], 0
        for y in outputs:
            part = dy if len(outputs) == 1 else dy[begin : begin + np.size(y)].reshape(np.shape(y))
            begin += np.size(y)
            dys.append(part[()] if np.ndim(part) == 0 else part)
        self.returned = self.form.run_backward(self.world, result, outputs, dys)
        for (value, proxy), before in zip(self._pairs(), self.before, strict=True):
            proxy.grad = value.gradient(self.world, self.returned, before)
            after = self.world.get(value.address)
            if isinstance(after, np.ndarray) and after.dtype.kind == "f":
                proxy.data = np.array(after)  # a backward may have changed it
        return [value.gradient(self.world, self.returned) for value in self.inputs]

    def _pairs(self) -> list[tuple[Value, Parameter]]:
        return list(zip(self.weights, self.proxies, strict=True))

    # What a Module is asked: the arrays under the names they have in the program.

    def _all_named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        for value, proxy in self._pairs():
            yield prefix + value.name, proxy

    def named_children(self) -> Iterator[tuple[str, Module]]:
        if isinstance(self.inner, Module):
            yield from self.inner.named_children()

    def __repr__(self) -> str:
        if isinstance(self.inner, tuple):
            return f"({self.form.names[0]}, {self.form.names[1]})"
        if not self.form.has_backward:
            return self.form.names[0]
        text = repr(self.inner)
        return type(self.inner).__name__ if text.startswith("<") else text
