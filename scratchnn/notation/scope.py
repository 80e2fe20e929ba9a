"""What the names in a formula stand for in one call of its op, and what the formula is worth there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .expression import (
    Add,
    Call,
    Compare,
    Divide,
    Equation,
    Expression,
    Indexed,
    Multiply,
    Name,
    Negative,
    Number,
    Power,
    Rest,
    Sum,
    Where,
)
from .parse import parse, product

__all__ = ["Index", "Scope", "exact_sum"]

Index = tuple[int, ...]
At = Mapping[str, Index]  # what each index letter is; under ELEMENT the entry of an elementwise formula

ELEMENT = ""
ROWS = ("n", "j", "i")  # letters that stand for as many axes as are left; i before n, where both stand
CLASS = ("c", "k")  # letters that count the classes of a loss
SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


class Scope:
    """The equations of a formula, and the arrays, numbers and Nones that it was called with.

    Args:
        equations: texts or trees, as `functional.written` has them.
        values: by the argument names of the op; entries that no formula can use, such as texts, are ignored.
        axis: where the class index c of an entry [n, c] stands; the last axis by default.
        counts: the values of N and C, where the equations have them.
    Attributes:
        equations: trees, without what is None, and with flags decided.
    """

    def __init__(
        self,
        equations: Sequence[str | Expression],
        values: Mapping[str, Any],
        axis: int | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self.values = {**values, **(counts or {})}
        self.axis = axis
        trees = [parse(e) if isinstance(e, str) else e for e in equations]
        self.equations = [self._specialised(e) for e in trees if isinstance(e, Equation)]
        self._definitions = {e.left.name: e for e in self.equations if isinstance(e.left, (Name, Indexed))}

    def equation(self, name: str) -> Equation:
        """The equation whose left side is `name`. Raises KeyError where there is none."""
        return self._definitions[name]

    def defines(self, name: str) -> bool:
        """True for a name that an equation, and no argument, gives its value."""
        return name in self._definitions and name not in self.values

    def at(self, name: str, index: Index) -> dict[str, Index]:
        """What the index letters are when the equation of `name` is read for entry `index`."""
        left = self.equation(name).left
        if isinstance(left, Name):
            return {ELEMENT: index}
        assert isinstance(left, Indexed)
        letters = [part.name for part in left.indices if isinstance(part, Name)]
        return dict(zip(letters, self._split(letters, index), strict=True))

    # Without what is not there ---------------------------------------------------------------------

    def _specialised(self, equation: Equation) -> Equation:
        right = self._kept(equation.right)
        return Equation(equation.left, Number(1) if right is None else right)

    def _kept(self, node: Expression) -> Expression | None:
        """The node without names that are None; None for one of which nothing is left."""
        match node:
            case Name(name=name) | Indexed(name=name):
                return None if name in self.values and self.values[name] is None else node
            case Negative(inner=inner):
                kept = self._kept(inner)
                return None if kept is None else Negative(kept)
            case Multiply(factors=factors):
                rest = [kept for kept in map(self._kept, factors) if kept is not None]
                return product(*rest) if rest else None
            case Add(terms=terms):
                rest = [kept for kept in map(self._kept, terms) if kept is not None]
                return (rest[0] if len(rest) == 1 else Add(tuple(rest))) if rest else None
            case Where(condition=Name(name=flag), yes=yes, no=no) if _is_flag(self.values.get(flag)):
                return self._kept(yes if self.values[flag] else no)
        return node.map(lambda part: self._kept(part) or Number(1))

    # Indices ---------------------------------------------------------------------------------------

    def _split(self, letters: Sequence[str], index: Index) -> list[Index]:
        """The part of an entry's index that each letter stands for."""
        rows = self._rows_letter(letters)
        if rows is None:
            return [(i,) for i in index]
        many = len(index) - (len(letters) - 1)
        if self.axis is not None and len(letters) == 2:
            axis = self.axis % len(index)
            return [index[:axis] + index[axis + 1 :], (index[axis],)]
        place = letters.index(rows)
        head, tail = index[:place], index[place + many :]
        return [*((i,) for i in head), index[place : place + many], *((i,) for i in tail)]

    def _rows_letter(self, letters: Sequence[str]) -> str | None:
        return next((letter for letter in reversed(ROWS) if letter in letters), None)

    def joined(self, parts: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        """One index from the parts of its letters, each at its axis."""
        if self.axis is not None and len(parts) == 2 and len(parts[1]) == 1:
            rows, (single,) = parts
            axis = self.axis % (len(rows) + 1)
            return (*rows[:axis], single, *rows[axis:])
        return tuple(i for part in parts for i in part)

    def entry(self, name: str, index: Index) -> Index:
        """`index` as it applies to array `name`, which may have fewer or shorter axes and be broadcast."""
        shape = np.shape(self.values[name])
        index = index[len(index) - len(shape) :] if len(index) > len(shape) else index
        return tuple(0 if length == 1 else i for i, length in zip(index, shape, strict=True))

    def indices(self, node: Indexed, at: At) -> Index:
        """The entry that `node` means, as an index into its array."""
        return self.joined([self._index(part, at) for part in node.indices])

    def _index(self, part: Expression, at: At) -> Index:
        if isinstance(part, Name) and part.name in at:
            return at[part.name]
        return (int(self.value(part, at)),)

    def range_of(self, letter: str, body: Expression) -> list[Index]:
        """All values of an index letter in a sum over `body`."""
        shapes = self._shapes(letter, body)
        if letter in CLASS and "C" in self.values:
            shapes.append((int(self.values["C"]),))
        if not shapes:
            raise ValueError(f"no array of {body} says how far {letter} runs")
        return list(np.ndindex(max(shapes, key=_extent)))

    def _shapes(self, letter: str, node: Expression) -> list[Index]:
        found = [shape for part in node.children() for shape in self._shapes(letter, part)]
        if not isinstance(node, Indexed):
            return found
        letters = [part.name if isinstance(part, Name) else "" for part in node.indices]
        if letter not in letters:
            return found
        if self.defines(node.name):
            equation = self.equation(node.name)
            assert isinstance(equation.left, Indexed)
            theirs = equation.left.indices[letters.index(letter)]
            assert isinstance(theirs, Name)
            return found + self._shapes(theirs.name, equation.right)
        shape = np.shape(self.values[node.name])
        if len(shape) < len(letters) - (self._rows_letter(letters) is not None):
            return found  # broadcast: says nothing
        return [*found, self._split(letters, shape)[letters.index(letter)]]

    # Values ----------------------------------------------------------------------------------------

    def value(self, node: Expression, at: At) -> float:
        """The number that `node` is where the index letters are `at`, in double precision."""
        match node:
            case Number(value=value):
                return float(value)
            case Name(name=name):
                if name in at:
                    return float(at[name][0])
                if self.defines(name):
                    return self.value(self.equation(name).right, at)
                array = np.asarray(self.values[name])
                return float(array[self.entry(name, at.get(ELEMENT, ()))])
            case Indexed(name=name):
                index = self.indices(node, at)
                if self.defines(name):
                    return self.value(self.equation(name).right, self.at(name, index))
                return float(np.asarray(self.values[name])[self.entry(name, index)])
            case Sum(body=body, over=over):
                return exact_sum(self.terms(body, over, at)[1])
            case Add(terms=terms):
                return exact_sum(self.value(term, at) for term in terms)
            case Multiply(factors=factors):
                return math.prod(self.value(factor, at) for factor in factors)
            case Divide(top=top, bottom=bottom):
                return _over(self.value(top, at), self.value(bottom, at))
            case Power(base=base, exponent=exponent):
                return float(self.value(base, at) ** self.value(exponent, at))
            case Negative(inner=inner):
                return -self.value(inner, at)
            case Rest(value=inner):
                return self.value(inner, at)
            case Where(condition=condition, yes=yes, no=no):
                return self.value(yes if self.holds(condition, at) else no, at)
            case Call(word=word, arguments=arguments):
                return _applied(word, [self.value(argument, at) for argument in arguments])
        raise TypeError(f"{type(node).__name__} has no value")

    def holds(self, condition: Expression, at: At) -> bool:
        """Whether a comparison is true."""
        if isinstance(condition, Compare):
            return bool(
                SIGNS[condition.sign](self.value(condition.left, at), self.value(condition.right, at))
            )
        return bool(self.value(condition, at))

    def terms(self, body: Expression, over: str, at: At) -> tuple[list[Index], list[float]]:
        """The indices of a sum, and its terms in that order."""
        indices = self.range_of(over, body)
        return indices, [self.value(body, {**at, over: index}) for index in indices]


def _extent(shape: Sequence[Any]) -> tuple[int, int]:
    """To choose the largest shape; of equally many entries the one with most axes."""
    return math.prod(shape), len(shape)


def _is_flag(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def exact_sum(values: Iterable[float]) -> float:
    """The sum, rounded once; where that is infinite or NaN, what NumPy makes of it."""
    values = list(values)
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # too large on the way; infinities of both signs
        with np.errstate(all="ignore"):
            return float(np.sum(values))


def _over(top: float, bottom: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(top) / np.float64(bottom))


def _applied(word: str, arguments: list[float]) -> float:
    # NumPy's words, because theirs are the right infinities; NaN passes through minimum and maximum.
    with np.errstate(all="ignore"):
        return float(getattr(np, word)(*arguments))
