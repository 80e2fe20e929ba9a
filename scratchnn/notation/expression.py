"""What a formula is made of. Every node is a value: equal when its parts are equal, never changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

__all__ = [
    "Add",
    "Blank",
    "Call",
    "Compare",
    "Derivative",
    "Divide",
    "Equation",
    "Expression",
    "Indexed",
    "Multiply",
    "Name",
    "Negative",
    "Number",
    "Power",
    "Rest",
    "Sum",
    "Where",
]


@dataclass(frozen=True)
class Expression:
    """Base of all nodes. `str(e)` is `e.text()`."""

    def text(self) -> str:
        """In Unicode, as for a terminal: Σₙ dy[n,3]·x[n,1]."""
        from .text import text

        return text(self)

    def latex(self) -> str:
        """For LaTeX's mathematics mode, without the dollars."""
        from .latex import latex

        return latex(self)

    def mathml(self) -> str:
        """A <math> element, to stand in HTML; names that somebody gave are escaped."""
        from .mathml import mathml

        return mathml(self)

    def __str__(self) -> str:
        return self.text()

    def children(self) -> list[Expression]:
        """The expressions directly inside this one, in order."""
        found: list[Expression] = []
        for field in fields(self):
            value = getattr(self, field.name)
            found += [part for part in (value if isinstance(value, tuple) else (value,)) if _is(part)]
        return found

    def map(self, change: Callable[[Expression], Expression]) -> Expression:
        """The same node with `change` applied to each of its children."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                changed[field.name] = tuple(change(part) if _is(part) else part for part in value)
            elif _is(value):
                changed[field.name] = change(value)
        return replace(self, **changed) if changed else self


def _is(value: Any) -> bool:
    return isinstance(value, Expression)


@dataclass(frozen=True)
class Number(Expression):
    """A number. `key` says which entry of which array it is, "1.dx[2,3]"; "" for one that was written."""

    value: float
    key: str = ""


@dataclass(frozen=True)
class Name(Expression):
    """A variable. `path` is that of the module it belongs to, where that is to be seen."""

    name: str
    path: str = ""


@dataclass(frozen=True)
class Indexed(Expression):
    """An entry of an array: `weight[3, 1]`."""

    name: str
    indices: tuple[Expression, ...]
    path: str = ""


@dataclass(frozen=True)
class Sum(Expression):
    """The sum of `body` over all values of the index `over`."""

    body: Expression
    over: str


@dataclass(frozen=True)
class Add(Expression):
    """The sum of its terms; one that is subtracted is a `Negative`."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Multiply(Expression):
    """The product of its factors."""

    factors: tuple[Expression, ...]


@dataclass(frozen=True)
class Divide(Expression):
    """top / bottom."""

    top: Expression
    bottom: Expression


@dataclass(frozen=True)
class Power(Expression):
    """base to the exponent."""

    base: Expression
    exponent: Expression


@dataclass(frozen=True)
class Negative(Expression):
    """-inner."""

    inner: Expression


@dataclass(frozen=True)
class Call(Expression):
    """A word of the vocabulary, applied: exp, log, maximum, ..."""

    word: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Compare(Expression):
    """left sign right, with one of < <= > >= == !=."""

    sign: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Where(Expression):
    """`yes` where the condition holds, else `no`."""

    condition: Expression
    yes: Expression
    no: Expression


@dataclass(frozen=True)
class Equation(Expression):
    """left = right."""

    left: Expression
    right: Expression


@dataclass(frozen=True)
class Derivative(Expression):
    """The partial derivative of one quantity by another."""

    of: Expression
    by: Expression


@dataclass(frozen=True)
class Rest(Expression):
    """The folded end of a long sum: `count` more terms, whose sum is `value`."""

    count: int
    value: Expression


@dataclass(frozen=True)
class Blank(Expression):
    """A number left out for the reader, and the letter under which the answers have it."""

    label: str
