"""How a user's forward and backward are called: what is the output, and what backward asks for.

    forward(x) -> y                     backward(dy) -> dx
    forward(x) -> (y, cache)            backward(dy, cache)
    forward(x) -> None, y in .output    backward(dy), dx in .dinputs
    forward(x) -> (y0, y1)              backward(dy0, dy1)
    forward(x) -> y                     backward(x, dy), backward(dy, learning_rate)
    loss(x, t) -> loss                  gradient(x, t) -> grads
    loss(x, t) -> (loss, grads)

An argument of backward that has the name of one of forward's is that one; one with the name of a rate is a
rate; the first other is dL/dy, and so is each that is called like a gradient; the rest is what forward saved.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers import Module
from .names import RATES, TARGETS, returned_names, upstream_like
from .outer import MISSING
from .subject import name_of, parameters_of
from .world import SUBJECT, Address, World

__all__ = ["EXPECTED", "RATE", "Form", "form_of"]

METHODS = (
    ("forward", "backward"),
    ("__call__", "backward"),
    ("forward_pass", "backward_pass"),
    ("forward_propagation", "backward_propagation"),
    ("forward_prop", "backward_prop"),
    ("fprop", "bprop"),
    ("call", "backward"),
    ("loss", "gradient"),
    ("loss", "gradients"),
    ("loss", "grad"),
    ("cost", "gradient"),
)
OUTPUTS = (
    "output",
    "outputs",
    "out",
    "y",
    "y_hat",
    "yhat",
    "y_pred",
    "y_out",
    "prediction",
    "predictions",
    "result",
    "a",
    "z",
)
CACHES = frozenset({"cache", "caches", "saved", "ctx", "context", "memory", "tape", "memo"})
# So large that the weights vanish beside the update, and a power of two, which rounds nothing.
RATE = 2.0**60
EXPECTED = (
    "write forward(x), which returns y, and backward(dy), which returns dx and leaves the gradient of W in "
    "dW; (y, cache) with backward(dy, cache), y kept in .output, backward(dy, learning_rate), (y0, y1) with "
    "backward(dy0, dy1) and a function that returns (loss, grads) are understood as well"
)


def form_of(thing: Any) -> tuple[Form, Any] | None:
    """(form, subject) of an object or a pair of functions; None where it has none of the methods."""
    if isinstance(thing, tuple):
        forward, backward = thing
        owner = getattr(forward, "__self__", None)
        if owner is not None and getattr(backward, "__self__", MISSING) is owner:
            return Form(owner, forward.__name__, backward.__name__), owner
        return Form(thing), thing
    for names in METHODS:
        if all(callable(getattr(thing, name, None)) for name in names):
            return Form(thing, *names), thing
    return None


@dataclass
class Given:
    """One argument of a backward.

    Attributes:
        kind: "upstream", "input", "output", "saved" or "rate". name: its own.
        which: of the outputs or inputs, or an index or slice of what forward returned.
        optional: it has a default. keyword: one before it was left out.
    """

    kind: str
    name: str
    which: Any = 0
    optional: bool = False
    keyword: bool = False


class Form:
    """The way to call a subject.

    Attributes:
        forward, backward: names of methods, None of functions. has_backward: else forward has the gradients.
        title: what is checked, in a line. names: what forward and backward are called in words.
        returned, outputs: what the source calls the things that backward and forward return.
        upstream: how many gradients of outputs backward asks for. With 0 the output is a scalar L, and
            dL/dL = 1.
    """

    def __init__(self, subject: Any, forward: str | None = None, backward: str | None = None) -> None:
        self.forward, self.backward = forward, backward
        first, second = self.functions(subject)
        self.has_backward = second is not None
        owner = "" if forward is None else f"{type(subject).__name__}."
        self.names = f"{owner}{name_of(first)}", f"{owner}{name_of(second)}"
        self.returned = (
            returned_names(second) if self.has_backward else _gradients_named(returned_names(first))
        )
        self.outputs = returned_names(first)
        self.upstream = 0
        self._given: list[Given] = []
        self._kept: Address | None = None  # where forward keeps its output, if it returns None
        self._many = False  # outputs lie in a tuple

    def __deepcopy__(self, memo: Any) -> Form:
        return self  # nothing in it changes once it was read

    @property
    def call(self) -> str:
        """`Layer.backward(dy)`, in words."""
        return f"{self.names[1]}({', '.join(given.name for given in self._given)})"

    @property
    def takes_data(self) -> bool:
        """It is a loss of data: it returns (loss, grads), or gradient(x, t) stands beside loss(x, t)."""
        return all(given.kind == "input" for given in self._given) and (
            not self.has_backward or bool(self._given)
        )

    @property
    def takes_rate(self) -> bool:
        """Backward asks for a learning rate."""
        return any(given.kind == "rate" for given in self._given)

    def functions(self, subject: Any) -> tuple[Any, Any]:
        """(forward, backward) of the subject or of a copy; backward is None where forward has its work."""
        if isinstance(subject, tuple):
            return subject
        forward = subject if self.forward is None else getattr(subject, self.forward)
        return forward, None if self.backward is None else getattr(subject, self.backward)

    # ---- running -----------------------------------------------------------------------------------

    def _forward(self, world: World) -> Any:
        forward, _ = self.functions(world.subject)
        if isinstance(world.subject, Module) and len(world.arguments) == 1:
            forward = world.subject  # with its hooks
        with world.running():
            return forward(*world.arguments)

    def run_forward(self, world: World) -> tuple[Any, list[Any]]:
        """(what forward returned, its outputs)."""
        result = self._forward(world)
        if self._kept is not None:
            return result, [world.get(self._kept)]
        return result, list(result[: max(self.upstream, 1)]) if self._many else [result]

    def run_backward(self, world: World, result: Any, outputs: Sequence[Any], dys: Sequence[Any]) -> Any:
        """What backward returned; of (loss, grads), the grads."""
        _, backward = self.functions(world.subject)
        if backward is None:
            return result[1] if len(result) == 2 else tuple(result[1:])
        values = {"upstream": dys, "input": world.arguments, "output": outputs, "saved": result}
        chosen = [(g, RATE if g.kind == "rate" else values[g.kind][g.which]) for g in self._given]
        named = {g.name: value for g, value in chosen if g.keyword}
        with world.running():
            return backward(*(value for g, value in chosen if not g.keyword), **named)

    # ---- reading -----------------------------------------------------------------------------------

    def read(self, world: World) -> None:
        """Run forward once, on a copy that may be changed, and see how backward is to be called.

        Raises:
            TypeError: it is none of the forms; the words show them.
        """
        forward, backward = self.functions(world.subject)
        self._check_arguments(forward, world)
        before = {address: place.thing for place in world.places() for address in place.addresses}
        result = self._forward(world)
        if backward is None:
            self._read_loss(result)
            return
        if result is None:
            self._kept = self._find_output(world, before)
            result = world.get(self._kept)
        self._many = isinstance(result, tuple)
        scalar = np.size(result[0] if self._many and result else result) == 1
        self._given = self._sorted(backward, world.argument_names, scalar)
        self.upstream = sum(given.kind == "upstream" for given in self._given)
        outputs = list(result[: max(self.upstream, 1)]) if self._many else [result]
        self._check_outputs(outputs)
        self._find_saved(result[len(outputs) :] if self._many else (), len(outputs), len(world.arguments))

    @property
    def usual(self) -> bool:
        """It is forward(*x) -> y and backward(dy)."""
        return not self._many and self._kept is None and [g.kind for g in self._given] == ["upstream"]

    def _check_arguments(self, forward: Any, world: World) -> None:
        try:
            signature = inspect.signature(forward)
        except (TypeError, ValueError):
            return
        try:
            signature.bind(*world.arguments)
        except TypeError as error:
            raise TypeError(
                f"{self.names[0]} takes {signature} and got {len(world.arguments)} inputs: {error}; give "
                "gradcheck after the subject what forward takes"
            ) from error

    def _read_loss(self, result: Any) -> None:
        if (
            not isinstance(result, tuple)
            or len(result) < 2
            or np.size(result[0]) != 1
            or not _numeric(result[0])
        ):
            raise TypeError(
                f"{self.names[0]} returned {_described(result)}; without a backward it must return "
                f"(loss, grads), a number first. Else {EXPECTED}"
            )
        self._many = True

    def _sorted(self, backward: Any, names: Sequence[str], scalar: bool) -> list[Given]:
        """The arguments of backward, each with what it is for; `scalar`: the output is one number."""
        parameters = parameters_of(backward)
        if parameters is None:
            return [Given("upstream", "dy")]
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        asked = [p for p in parameters if p.kind in kinds]
        if not asked and any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return [Given("upstream", "dy")]
        # backward(x) after forward(x) is given dy, but a loss needs none.
        alone = sum(p.default is p.empty and p.name.lower() not in RATES for p in asked) == 1
        alone = alone and len(names) == 1 and not scalar
        found: list[Given] = []
        upstream = 0
        left_out = False
        for p in asked:
            name, optional = p.name.lower(), p.default is not p.empty
            given = Given("upstream", p.name, upstream, optional, left_out)
            if name in RATES:
                given.kind = "rate"
            elif p.name in names and not (alone and upstream == 0):
                given.kind, given.which = "input", names.index(p.name)
            elif name in CACHES:
                given.kind = "saved"
            elif optional and (upstream or (scalar and found)):
                left_out = True
                continue
            elif name in OUTPUTS[:3] or (name == "y" and upstream and self.forward is None):
                given.kind, given.which = "output", 0
            elif upstream and not upstream_like(p.name, self.outputs):
                given.kind = "saved"
            elif name in TARGETS:
                raise TypeError(
                    f"{self.names[1]} asks for {p.name!r}, which {self.names[0]} does not: a backward that "
                    f"has the loss in it. Give gradcheck a function that returns (loss, grads); or {EXPECTED}"
                )
            else:
                upstream += 1
            found.append(given)
        return found

    def _find_output(self, world: World, before: dict[Address, Any]) -> Address:
        """Where forward keeps its output, if it returns None."""
        touched = {
            str(address[-1][1]).lower(): address
            for place in world.places()
            for address in place.addresses
            if len(address) == 2 and address[0][1] == SUBJECT and before.get(address) is not place.thing
        }
        for name in OUTPUTS:
            if name in touched:
                return touched[name]
        raise TypeError(
            f"{self.names[0]} returned None, and keeps no output in .output; it must return y. Or {EXPECTED}"
        )

    def _check_outputs(self, outputs: list[Any]) -> None:
        for output in outputs:
            if not _numeric(output):
                raise TypeError(f"{self.names[0]} returned {_described(output)} as output; {EXPECTED}")
        if self.upstream > len(outputs):
            asked = ", ".join(g.name for g in self._given if g.kind == "upstream")
            raise TypeError(
                f"{self.names[1]} asks for {asked}, {self.upstream} upstream gradients, and {self.names[0]} "
                f"returns {len(outputs)} output; {EXPECTED}"
            )
        if self.upstream == 0 and np.size(outputs[0]) != 1:
            raise TypeError(
                f"{self.names[1]} asks for no upstream gradient, and {self.names[0]} returns "
                f"{_described(outputs[0])}, which is not a loss; {EXPECTED}"
            )

    def _find_saved(self, rest: Sequence[Any], outputs: int, inputs: int) -> None:
        """What forward returned after its outputs goes to the arguments of backward that are left."""
        if not rest:
            self._given = [g for g in self._given if g.kind != "saved" or not g.optional]
        saved = [given for given in self._given if given.kind == "saved"]
        if self.forward is None and saved and not rest and len(self._given) - 1 == inputs:
            for k, given in enumerate(self._given[1:]):
                given.kind, given.which = "input", k
        elif saved and len(saved) == len(rest):
            for k, given in enumerate(saved):
                given.which = outputs + k
        elif len(saved) == 1 and rest:
            saved[0].which = slice(outputs, None)
        elif saved:
            raise TypeError(
                f"{self.names[1]} asks for {', '.join(g.name for g in saved)}, which {self.names[0]} neither "
                f"takes nor returns; {EXPECTED}"
            )
        elif (
            self.forward is not None
            and self.upstream
            and any(isinstance(r, np.ndarray) and r.dtype.kind == "f" for r in rest)
        ):
            raise TypeError(
                f"{self.names[0]} returned {outputs + len(rest)} outputs, and {self.names[1]} takes the "
                f"gradient of {outputs}; {EXPECTED}"
            )


def _gradients_named(names: Any) -> Any:
    """Of (loss, grads) the second, of (loss, dW, db) all but the first."""
    if not isinstance(names, list) or len(names) < 2:
        return None
    return names[1] if len(names) == 2 else names[1:]


def _numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "biufc"
    except ValueError:  # rows of several lengths
        return False


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"a {type(value).__name__}" + (
        f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else ""
    )
