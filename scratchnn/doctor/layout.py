"""Which numbers a mean may have divided by: the batch, found by moving samples, and the output's sizes.

No axis is taken for the batch by its place. A sample is an input's slice that one slice of the output
depends on, and no other; under a scalar loss, one whose share of the loss does not depend on the others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..checks import Array
from ..gradcheck.adopt import Adopted
from ..gradcheck.judge import Measured
from ..gradcheck.pair import PairSubject
from ..gradcheck.subject import ModuleSubject, Subject
from .case import Case
from .tape import Node

__all__ = ["Sizes", "sizes_of"]

ROUNDING = 1e-10
WEIGHTS = ("w", "b", "theta", "beta", "gamma", "coef", "kernel")  # how their names begin
AXES = ("rows", "columns")


@dataclass(frozen=True)
class Argument:
    """An array that the forward takes. evaluate: the output for another value of it."""

    name: str
    value: Array
    evaluate: Callable[[Array], Array]
    differentiated: bool

    @property
    def like_weights(self) -> bool:
        return self.name.lower().startswith(WEIGHTS)


@dataclass(frozen=True)
class Sizes:
    """Numbers that are sizes of something.

    Attributes:
        means: {what a mean may divide by: what it is}, the batch size first.
        lengths: {any length of any axis: what it is}, which a mean may divide by in error.
        divisors: what the forward divides by. constants: other numbers that it multiplies or divides by.
    """

    means: dict[int, str]
    lengths: dict[int, str]
    divisors: frozenset[int] = frozenset()
    constants: tuple[float, ...] = ()


def sizes_of(subject: Subject, measured: Measured, case: Case | None) -> Sizes:
    """The sizes of the subject's data, inputs and outputs."""
    found: dict[int, list[str]] = {}
    lengths: dict[int, list[str]] = {}

    def note(number: int, what: str, where: dict[int, list[str]] = found) -> None:
        if number > 1 and what not in where.setdefault(number, []):
            where[number].append(what)

    shapes = [measured.y.shape]
    if (gradient := getattr(measured.run, "loss_gradient", None)) is not None:
        shapes.insert(0, np.shape(gradient))
    batch = 1
    data, axes = _samples(subject, measured.y)
    if (
        data is not None
        and 0 not in axes
        and len(subject.values) == 1
        and data.value.shape == measured.y.shape
    ):
        # Samples in columns, or one normalised over the batch: nothing tells the two apart.
        for axis, length in enumerate(data.value.shape):
            note(length, f"{_lines(data.value.ndim, axis)} of {data.name}")
    elif data is not None:
        plain = isinstance(subject, ModuleSubject) and axes == (0,)
        for axis in axes:
            where = "" if plain else f" ({_lines(data.value.ndim, axis)} of {data.name})"
            note(data.value.shape[axis], f"the batch size{where}")
        batch = int(np.prod([data.value.shape[axis] for axis in axes]))
        if len(axes) > 1:
            note(batch, f"the number of samples ({_lines(data.value.ndim, *axes)} of {data.name})")
    for shape in shapes:
        size = int(np.prod(shape))
        note(size, "the number of elements")
        if size % batch == 0:
            note(size // batch, "the row's length" if axes == (0,) else "the outputs of one sample")
    numbers = list(_numbers(case)) if case is not None else []
    divisors = frozenset(round(number) for number in numbers if _is_whole(number))
    for divisor in sorted(divisors - found.keys()):
        note(divisor, "what the forward divides by")
    for argument in _arguments(subject):
        for axis, length in enumerate(argument.value.shape):
            note(length, f"{_lines(argument.value.ndim, axis)} of {argument.name}", lengths)
    means, others = (
        {number: " or ".join(whats) for number, whats in where.items() if whats} for where in (found, lengths)
    )
    constants = tuple(dict.fromkeys(n for n in numbers if not _is_whole(n)))
    return Sizes(means, {**others, **means}, divisors, constants)


def _lines(ndim: int, *axes: int) -> str:
    if ndim <= 2 and len(axes) == 1:
        return f"the {AXES[axes[0]]}"
    return ("axis " if len(axes) == 1 else "axes ") + " and ".join(map(str, axes))


def _numbers(case: Case) -> Iterator[float]:
    """What the forward divides by: in its means, and by itself."""
    for node in case.nodes:
        if node.op == "mean" and isinstance(node.args[0], Node):
            yield node.args[0].value.size / max(node.value.size, 1)
        if node.op in ("divide", "multiply"):
            for place, arg in enumerate(node.args):
                if not isinstance(arg, Node) and not np.ndim(arg) and np.isfinite(arg) and arg != 0:
                    yield abs(float(arg) if node.op == "divide" and place == 1 else 1 / float(arg))


def _is_whole(number: float) -> bool:
    return number >= 1 and abs(number - round(number)) <= ROUNDING * number


# ---- samples ----------------------------------------------------------------------------------


def _samples(subject: Subject, y: Array) -> tuple[Argument | None, tuple[int, ...]]:
    """(the data, the axes along which its samples lie)."""
    arguments = list(_arguments(subject))
    arguments.sort(key=lambda a: (a.like_weights, a.differentiated))
    for argument in arguments:
        axes = tuple(k for k in range(argument.value.ndim) if _independent(argument, k, y))
        if not axes:
            continue
        # An elementwise function: any axis would do, and the first is the custom.
        return argument, axes if len(axes) < argument.value.ndim else axes[:1]
    for argument in arguments:  # samples that depend on each other, as under batch normalisation
        if not argument.like_weights and argument.value.ndim:
            same = [k for k, n in enumerate(argument.value.shape[: y.ndim]) if n == y.shape[k]]
            return argument, tuple(same[:1] or (0,))
    return None, ()


def _arguments(subject: Subject) -> Iterator[Argument]:
    if isinstance(subject, PairSubject):
        places = {place: k for k, place in enumerate(subject.places)}
        for place, value in enumerate(subject.inputs):
            if place in places:
                yield _of_values(subject, places[place])
            elif isinstance(value, np.ndarray) and value.ndim:
                yield _constant(subject, place)
        return
    count = len(subject.inputs) if isinstance(subject, ModuleSubject) else len(subject.values)
    for k in range(count):
        yield _of_values(subject, k)
    if isinstance(subject, ModuleSubject) and isinstance(subject.pristine, Adopted):
        yield from _other_arguments(subject, subject.pristine)


def _other_arguments(subject: ModuleSubject, program: Adopted) -> Iterator[Argument]:
    """What a program is called with besides the inputs: labels, and data that it gives no gradient of."""
    known = {value.argument for value in program.inputs}
    twin = copy.copy(subject)
    twin.pristine, twin.fresh = copy.deepcopy(program), True
    arguments = twin.pristine.world.arguments

    def evaluate(i: int, value: Array) -> Array:
        held, arguments[i] = arguments[i], value
        try:
            return twin.output(twin.values)
        finally:
            arguments[i] = held

    for i, (name, value) in enumerate(zip(program.world.argument_names, arguments, strict=False)):
        if i not in known and isinstance(value, np.ndarray) and value.ndim:
            yield Argument(name, value, partial(evaluate, i), False)


def _of_values(subject: Subject, k: int) -> Argument:
    def evaluate(value: Array) -> Array:
        return subject.output([*subject.values[:k], value, *subject.values[k + 1 :]])

    return Argument(subject.names[k], subject.values[k], evaluate, True)


def _constant(subject: PairSubject, place: int) -> Argument:
    def evaluate(value: Array) -> Array:
        held = subject.inputs
        subject.inputs = [*held[:place], value, *held[place + 1 :]]
        try:
            return subject.output(subject.values)
        finally:
            subject.inputs = held

    return Argument(subject.arguments[place], subject.inputs[place], evaluate, False)


def _independent(argument: Argument, axis: int, y: Array) -> bool:
    """Whether the slices along an axis are samples: each moves its own part of the output."""
    n = argument.value.shape[axis]
    if n < 2:
        return False
    try:
        if y.ndim:
            return _moves_its_own(argument, axis, y)
        return _adds_up(argument, axis, y)
    except Exception:  # a stranger's forward may take no other data
        return False


def _moved(value: Array, axis: int, *which: int) -> Array:
    """The slices `which` replaced by their neighbours: values that the forward is known to take."""
    moved: Any = np.array(value)
    for i in which:
        index = (slice(None),) * axis
        moved[(*index, i)] = value[(*index, (i + 1) % value.shape[axis])]
    return moved


def _moves_its_own(argument: Argument, axis: int, y: Array) -> bool:
    n = argument.value.shape[axis]
    matching = [k for k in range(y.ndim) if y.shape[k] == n]
    seen = False
    for i in sorted({0, n // 2, n - 1}):
        changed = np.abs(argument.evaluate(_moved(argument.value, axis, i)) - y)
        noise = ROUNDING * float(np.abs(y).max(initial=0.0))
        if not (changed > noise).any():
            continue
        seen = True
        matching = [k for k in matching if not (np.delete(changed, i, k) > noise).any()]
    return seen and bool(matching)


def _adds_up(argument: Argument, axis: int, y: Array) -> bool:
    """f(both) - f(one) - f(other) + f = 0 where the two samples have nothing to do with each other."""
    n = argument.value.shape[axis]
    seen = False
    for i, j in {(0, n - 1), (0, n // 2), (n // 2, n - 1)}:
        if i == j:
            continue
        one, other, both = (
            float(argument.evaluate(_moved(argument.value, axis, *which))) for which in ((i,), (j,), (i, j))
        )
        start = float(y)
        size = min(abs(one - start), abs(other - start))
        noise = ROUNDING * max(abs(start), abs(one), abs(other))
        if not np.isfinite(both) or abs(both - one - other + start) > 1e-6 * size + noise:
            return False
        seen |= size > noise
    return seen
