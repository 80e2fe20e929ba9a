"""Where each number of a step was computed: found by following the arrays from operation to operation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array
from .calls import output_names
from .steps import Step

if TYPE_CHECKING:
    from .trace import Trace

__all__ = ["Index", "Origins", "Source", "entry_name", "equation_name"]

Index = tuple[int, ...]
MOST_PAIRS = 40  # arrays among which a sum of two is looked for


def entry_name(path: str, name: str, index: Index) -> str:
    """ "1.dx[2,3]": an entry, as the sheet writes it and the reader asks for it."""
    entry = f"{name}[{','.join(map(str, index))}]" if index else name
    return f"{path}.{entry}" if path and (path, name) != ("loss", "loss") else entry


@dataclass(frozen=True)
class Source:
    """What an array is.

    Attributes:
        kind: "step" (an output of an operation), "sum" (of the two in `parts`), "parameter", "input",
            "target", "number" (an argument of the layer or loss), "mask", "upstream", or "given": what no
            operation of the trace gives.
        path, name: of the array, for its entries' names. step: that computed it, of kind "step".
        place: in words, what stands after "dx[2,3]": " of 1 (ReLU)".
        reshaped: the shape it has where it was computed, if that is another than where it is used.
    """

    kind: str
    path: str = ""
    name: str = ""
    step: Step | None = None
    place: str = ""
    parts: tuple[Source, ...] = ()
    reshaped: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def index(self, index: Index) -> Index:
        """The entry where it was computed that is entry `index` where it is used."""
        if self.reshaped is None:
            return index
        here, there = self.reshaped
        return tuple(int(i) for i in np.unravel_index(np.ravel_multi_index(index, here), there))

    def seen_as(self, here: tuple[int, ...], there: tuple[int, ...]) -> Source:
        """The same array of shape `there`, where it is used in shape `here`."""
        return self if here == there else replace(self, reshaped=(here, there))

    def words(self, index: Index) -> str:
        """The origin of one entry, for people."""
        if self.kind == "sum":
            return " + ".join(part.words(index) for part in self.parts)
        index = self.index(index)
        if self.kind in ("step", "parameter", "input", "target"):
            return entry_name("" if self.kind == "step" else self.path, self.name, index) + self.place
        return self.place

    def key(self, index: Index) -> str:
        """The name of one entry, the same wherever it is used; "" for what has none."""
        named = ("step", "parameter", "input", "target")
        return entry_name(self.path, self.name, self.index(index)) if self.kind in named else ""


class Origins:
    """The sources of all arrays of one trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._forward = {step.path: step for step in trace.steps if step.direction == "forward"}
        self._found: dict[tuple[int, str], Source] = {}

    def of_input(self, step: Step, name: str) -> Source:
        """Where argument `name` of an operation came from."""
        key = (step.index, name)
        if key not in self._found:
            self._found[key] = self._of_input(step, name)
        return self._found[key]

    def _of_input(self, step: Step, name: str) -> Source:
        value = step.inputs.get(name)
        forward = self._forward[step.path]
        first = next(iter(step.inputs), "")
        if name in step.parameters:
            return Source("parameter", "", step.parameters[name], place=", a parameter")
        if step.direction == "backward" and name == first:
            if step.path == "loss":
                return Source("upstream", place="dL/dL, where the way back begins")
            return self._search(step, np.asarray(value), self._gradients(step))
        if step.direction == "backward" and name == "y" and "y" in forward.outputs:
            return self.of_output(forward, "y")
        if step.direction == "backward" and name in forward.inputs:
            return self._of_input(forward, name)
        if step.path == "loss" and name == "target":
            return Source("target", "", "target", place="")
        if name == next(iter(forward.inputs), ""):
            return self._search(forward, np.asarray(value), self._values(forward))
        if name == "factor":
            return Source("mask", place=f"the dropout mask of {step.label}: 0 or 1 / (1 - p)")
        return Source("number", place=f"{name} of {step.label}")

    def of_output(self, step: Step, name: str) -> Source:
        """An operation's own output, as a source for others."""
        return Source("step", step.path, equation_name(step, name), step, f" of {step.label}")

    def parts_of(self, step: Step, name: str) -> Source | None:
        """What the output of a module of somebody's own is made of: one array of the trace, or two."""
        value = step.outputs[name]
        candidates = self._gradients(step) if step.direction == "backward" else self._values(step)
        own = next(iter(step.inputs), "")
        if isinstance(step.inputs.get(own), np.ndarray):
            candidates = itertools.chain(candidates, [(self.of_input(step, own), step.inputs[own])])
        found = self._search(step, value, candidates)
        return None if found.kind == "given" else found

    # Candidates, the nearest first -------------------------------------------------------------------

    def _values(self, step: Step) -> Iterator[tuple[Source, Array]]:
        for earlier in reversed(self.trace.steps[: step.index]):
            if earlier.direction == "forward":
                for name, value in earlier.outputs.items():
                    yield self.of_output(earlier, name), value
        yield Source("input", "", "x", place=", the input"), self.trace.x

    def _gradients(self, step: Step) -> Iterator[tuple[Source, Array]]:
        for earlier in reversed(self.trace.steps[: step.index]):
            if earlier.direction == "backward":
                own = {f"d{argument}" for argument in earlier.parameters}
                for name, value in earlier.outputs.items():
                    if name not in own:
                        yield self.of_output(earlier, name), value

    def _search(self, step: Step, value: Array, candidates: Iterator[tuple[Source, Array]]) -> Source:
        known = list(itertools.islice(candidates, MOST_PAIRS))
        for source, array in known:
            if _equal(array, value):
                return source
        for source, array in known:
            if array.size > 1 and array.size == value.size and _equal(array.reshape(value.shape), value):
                return source.seen_as(value.shape, array.shape)
        for (one, a), (other, b) in itertools.combinations(known, 2):
            if a.shape == b.shape == value.shape and _equal(a + b, value):
                return Source("sum", parts=(one, other))
        method = "backward" if step.direction == "backward" else "forward"
        return Source("given", place=f"computed by {self._owner(step)}.{method}")

    def _owner(self, step: Step) -> str:
        """The class of the module around a step: it did what no step tells."""
        module: Any = self.trace.model
        if step.path != "loss" and step.path:
            for name in step.path.split(".")[:-1]:
                module = getattr(module, name, module)
        return type(module).__name__


def equation_name(step: Step, output: str) -> str:
    """The name of an output in the formula of its op: a loss's dprediction may be dlogits there."""
    if not step.op or output != "dprediction":
        return output
    return output_names(step.op, step.inputs)[-1]


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=True))
