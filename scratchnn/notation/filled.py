"""A formula with the numbers put in; long sums folded to their largest terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .expression import Add, Equation, Expression, Indexed, Name, Number, Rest, Sum, Where
from .scope import ELEMENT, Index, Scope, exact_sum

__all__ = ["FULL", "SHOWN", "Filled", "Folded", "Leaf", "concrete", "fill", "folded_order", "shown_words"]

FULL = 6  # a sum of so many terms is shown whole
SHOWN = 3  # of a longer one, so many, the largest first

Term = tuple[tuple[int, Index], ...]


@dataclass(frozen=True)
class Leaf:
    """A number that was put in: entry `index` of `name`.

    `term` says in which terms of which sums it stands: (number of the sum in `Filled.sums`, index) pairs.
    """

    name: str
    index: Index
    value: float
    symbol: Expression
    term: Term = ()


@dataclass(frozen=True)
class Folded:
    """How a sum was shown: its index letter, the number of its terms, the indices of those shown, in their
    order and the largest first, how many they are in words, and the sum of the sizes of all."""

    over: str
    terms: int
    shown: list[Index]
    largest: list[Index]
    words: str
    magnitude: float


@dataclass
class Filled:
    """The numbers in their places, the numbers by themselves, each entry once, and the sums."""

    expression: Expression
    leaves: list[Leaf] = field(default_factory=list)
    sums: list[Folded] = field(default_factory=list)

    @property
    def longest(self) -> Folded | None:
        """The sum of most terms."""
        return max(self.sums, key=lambda folded: folded.terms, default=None)


def folded_order(values: list[float], kept: list[bool]) -> list[int]:
    """The places of the terms to show: all of a short sum, as they stand; the largest first of a long one.

    A term that is to be `kept` is among them, large or not.
    """
    places = list(range(len(values)))
    if len(values) <= FULL:
        return places
    places.sort(key=lambda i: (not kept[i], -abs(values[i])))
    return sorted(places[:SHOWN], key=lambda i: -abs(values[i]))


def shown_words(values: list[float], order: list[int], things: str) -> str:
    """What the values in `order` are: "The 3 largest of 64 terms"; or else, if a smaller one was kept."""
    left = (abs(value) for i, value in enumerate(values) if i not in order)
    if max(left, default=0) <= min((abs(values[i]) for i in order), default=0):
        return f"The {len(order)} largest of {len(values)} {things}"
    return f"{len(order)} of {len(values)} {things}, the largest and what is followed"


def concrete(scope: Scope, node: Expression, at: Mapping[str, Index]) -> Expression:
    """The formula in symbols for one entry: index letters in `at` become numbers, sums keep theirs."""
    match node:
        case Equation(left=left, right=right):
            return Equation(concrete(scope, left, at), concrete(scope, right, at))
        case Name(name=name):
            if name in at and len(at[name]) == 1:
                return Number(at[name][0])
            if ELEMENT in at and not _is_scalar(scope, name):
                index = at[ELEMENT]
                known = name in scope.values and not scope.defines(name)
                return _entry(name, scope.entry(name, index) if known else index)
            return node
        case Indexed(name=name, indices=indices):
            parts = [
                _numbers(at[part.name])
                if isinstance(part, Name) and part.name in at
                else (concrete(scope, part, at),)
                for part in indices
            ]
            placed = scope.joined(parts)
            if name in scope.values and not scope.defines(name):  # it may be broadcast
                placed = placed[max(0, len(placed) - np.ndim(scope.values[name])) :]
            return Indexed(name, placed) if placed else Name(name)
        case Sum(body=body, over=over):
            if scope.range_of(over, body) == [()]:
                return concrete(scope, body, {**at, over: ()})
            return Sum(concrete(scope, body, at), over)
    return node.map(lambda part: concrete(scope, part, at))


def _numbers(index: Index) -> tuple[Expression, ...]:
    return tuple(Number(i) for i in index)


def _entry(name: str, index: Index) -> Expression:
    return Indexed(name, _numbers(index)) if index else Name(name)


def _is_scalar(scope: Scope, name: str) -> bool:
    if scope.defines(name) or name not in scope.values:
        return False  # an output, or a part of the formula: as many entries as the rest
    return np.ndim(scope.values[name]) == 0


def fill(
    scope: Scope,
    node: Expression,
    at: Mapping[str, Index],
    key: Callable[[str, Index], str] = lambda name, index: "",
    keep: Callable[[str, Index], bool] = lambda over, index: False,
) -> Filled:
    """Put the numbers into `node`.

    Args:
        key: the `Number.key` of an entry.
        keep: by index letter and index, terms of a long sum that are to be seen whatever their size.
    """
    return _Filling(scope, key, keep).run(node, at)


class _Filling:
    def __init__(
        self, scope: Scope, key: Callable[[str, Index], str], keep: Callable[[str, Index], bool]
    ) -> None:
        self.scope, self.key, self.keep = scope, key, keep
        self.leaves: dict[tuple[str, Index], Leaf] = {}
        self.sums: list[Folded] = []

    def run(self, node: Expression, at: Mapping[str, Index]) -> Filled:
        expression = self.put(node, at, ())
        return Filled(expression, list(self.leaves.values()), self.sums)

    def put(self, node: Expression, at: Mapping[str, Index], term: Term) -> Expression:
        match node:
            case Number():
                return node
            case Name(name=name) if name in at:
                return Number(at[name][0])
            case Name() | Indexed():
                return self._leaf(node, at, term)
            case Sum(body=body, over=over):
                return self._sum(body, over, at, term)
            case Where(condition=condition, yes=yes, no=no):
                taken, other = (yes, no) if self.scope.holds(condition, at) else (no, yes)
                if _may_not_exist(other):
                    return self.put(taken, at, term)
        filled = node.map(lambda part: self.put(part, at, term))
        return _flat(filled) if isinstance(filled, Add) else filled

    def _leaf(self, symbol: Name | Indexed, at: Mapping[str, Index], term: Term) -> Number:
        scope, name = self.scope, symbol.name
        index = scope.indices(symbol, at) if isinstance(symbol, Indexed) else at.get(ELEMENT, ())
        if not scope.defines(name):
            index = scope.entry(name, index)
        value = scope.value(symbol, at)
        known = self.leaves.get((name, index))
        if known is None or len(term) < len(known.term):  # outside of a sum counts more than within
            self.leaves[name, index] = Leaf(name, index, value, _entry(name, index), term)
        return Number(value, self.key(name, index))

    def _sum(self, body: Expression, over: str, at: Mapping[str, Index], term: Term) -> Expression:
        indices, values = self.scope.terms(body, over, at)
        order = folded_order(values, [self.keep(over, index) for index in indices])
        largest = sorted(order, key=lambda i: -abs(values[i]))
        number = len(self.sums)
        self.sums.append(
            Folded(
                over,
                len(indices),
                [indices[i] for i in order],
                [indices[i] for i in largest],
                shown_words(values, order, "terms"),
                math.fsum(map(abs, values)),
            )
        )
        parts = [self.put(body, {**at, over: indices[i]}, (*term, (number, indices[i]))) for i in order]
        if len(order) < len(indices):
            rest = exact_sum(v for i, v in enumerate(values) if i not in set(order))
            parts.append(Rest(len(indices) - len(order), Number(rest)))
        if not parts:
            return Number(0)
        return parts[0] if len(parts) == 1 else Add(tuple(parts))


def _flat(node: Add) -> Add:
    """A sum that a sum was put into, as one."""
    parts = (term.terms if isinstance(term, Add) else (term,) for term in node.terms)
    return Add(tuple(term for part in parts for term in part))


def _may_not_exist(node: Expression) -> bool:
    """True for an entry looked up at a computed index, which exists only where the formula asks for it."""
    if isinstance(node, Indexed) and any(isinstance(part, Indexed) for part in node.indices):
        return True
    return any(map(_may_not_exist, node.children()))
