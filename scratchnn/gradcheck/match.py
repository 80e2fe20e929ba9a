"""Which gradient belongs to which array.

A name decides where there is one: a wrong gradient of that name is a wrong gradient. Without names the shape
decides, then agreement with the measured derivative: the right ones find their arrays, and what a backward
returned and fits nowhere is wrong. What merely lies about after a backward is a gradient only if it agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Array
from .adopt import Source, Value
from .names import is_named, rank
from .report import NO_GRADIENT

__all__ = ["Candidate", "Parts", "match"]

Parts = list[tuple[Any, "Array | None"]]


@dataclass(eq=False)
class Candidate:
    """An array after a backward that may be a gradient.

    Attributes:
        source: where it is. steps: its name as `names.rank` reads it; None where it has none.
        array: it; None where a Parameter has no gradient. live: the backward made it.
        same: alike for several names of one array.
    """

    source: Source
    steps: list[Any] | None
    array: Any
    live: bool
    same: Any = None

    @property
    def returned(self) -> bool:
        return self.source.kind == "returned"


def match(
    values: Sequence[Value], candidates: Sequence[Candidate], agrees: Callable[[Value, Parts], bool]
) -> None:
    """Give each value its sources, or a note why it has none.

    Args:
        values: inputs first. agrees: whether gradients add up to what was measured.
    """
    _Matching(values, candidates, agrees).run()


class _Matching:
    def __init__(
        self,
        values: Sequence[Value],
        candidates: Sequence[Candidate],
        agrees: Callable[[Value, Parts], bool],
    ) -> None:
        self.values, self.agrees = values, agrees
        self.free = list(candidates)
        self.ranks = {id(c): self._ranks(c) for c in candidates}

    def _ranks(self, candidate: Candidate) -> dict[int, tuple[int, int]]:
        """{id of a value: (rank, which of its names)} of the values that it names best."""
        if candidate.steps is None:
            return {}
        found: dict[int, tuple[int, int]] = {}
        for value in self.values:
            for n, (steps, _) in enumerate(value.names):
                score = rank(candidate.steps, steps)
                if score is not None and (id(value) not in found or score < found[id(value)][0]):
                    found[id(value)] = (score, n)
        best = min((score for score, _ in found.values()), default=0)
        return {value: (score, n) for value, (score, n) in found.items() if score == best}

    def _named(self, candidate: Candidate, value: Value) -> bool:
        """Its name says that it is this value's gradient, and no other's."""
        ranks = self.ranks[id(candidate)]
        return len(ranks) == 1 and id(value) in ranks and is_named(ranks[id(value)][0])

    def run(self) -> None:
        for value in self.values:
            self._by_name(value, [c for c in self.free if c.returned and self._named(c, value)])
        for value in self._open():
            if value.argument is None:
                self._by_name(value, [c for c in self.free if self._named(c, value)])
        self._single()
        for value in self._open():
            self._by_name(value, [c for c in self.free if self._named(c, value)])
        self._claims()
        self._numeric()
        for value in self._open():
            value.note = value.note or self._remark(value)

    def _open(self) -> list[Value]:
        return [value for value in self.values if not value.sources and not value.note]

    def _give(self, value: Value, *chosen: tuple[Candidate, Array | None]) -> None:
        value.sources = [(candidate.source, positions) for candidate, positions in chosen]
        used = [candidate for candidate, _ in chosen]
        self.free = [c for c in self.free if not any(c is other or _one(c, other) for other in used)]

    # ---- by name -----------------------------------------------------------------------------------

    def _by_name(self, value: Value, named: list[Candidate]) -> None:
        groups: dict[int, list[Candidate]] = {}
        for candidate in named:
            groups.setdefault(self.ranks[id(candidate)][id(value)][1], []).append(candidate)
        if not groups:
            return
        chosen: list[tuple[Candidate, Array | None]] = []
        for n, group in groups.items():
            positions = value.names[n][1]
            best = self._one_of(value, group, positions)
            if best is None:
                return
            if not any(best is other or _one(best, other) for other, _ in chosen):
                chosen.append((best, positions))
        # dh may be the gradient of the state that came out as well as of the one that went in.
        if not value.moves or self.agrees(value, _parts(chosen)):
            self._add_up(value, chosen)

    def _one_of(self, value: Value, group: list[Candidate], positions: Array | None) -> Candidate | None:
        """Of several arrays with the name of one gradient, the one; None where they contradict each other."""
        live = [c for c in group if c.live] or group
        if len(live) == 1 or positions is not None or all(_equal(c.array, live[0].array) for c in live):
            return live[0]
        right = [c for c in live if self.agrees(value, [(c.array, None)])]
        if not right or len(right) == len(live):
            return live[0]
        wrong = next(c for c in live if c not in right)
        value.note = f"{right[0].source.words} is its derivative, {wrong.source.words} is not"
        return None

    def _add_up(self, value: Value, chosen: list[tuple[Candidate, Array | None]]) -> None:
        """The gradients of an array that is shared, or seen through views, add up; one may be the whole."""
        whole = [(c, p) for c, p in chosen if p is None or p.size == value.array.size]
        parts = [(c, p) for c, p in chosen if p is not None and p.size != value.array.size]
        covered = {int(i) for _, p in parts if p is not None for i in p.ravel()}
        options = [way for way in (whole, parts, whole + parts) if way]
        right = [way for way in options if self.agrees(value, _parts(way))] if len(chosen) > 1 else options
        if right:
            if right[0] is parts and len(covered) < value.array.size:
                value.note = f"{NO_GRADIENT} for all of it"
            else:
                self._give(value, *right[0])
        elif len(whole) > 1 and all(self.agrees(value, _parts([one])) for one in whole):
            self._give(value, whole[0])  # the whole gradient, kept in several places
        elif whole or len(covered) == value.array.size:
            self._give(value, *(whole or parts))
        else:
            value.note = f"{NO_GRADIENT} for all of it"

    # ---- without a name ----------------------------------------------------------------------------

    def _single(self) -> None:
        """A backward that returns one array returns the input's gradient."""
        single = [c for c in self.free if c.returned and not c.source.where]
        inputs = [value for value in self._open() if value.argument is not None]
        if not single or not inputs:
            return
        another = any(_fits(single[0], v) for v in self._open()) and not _fits(single[0], inputs[0])
        if not another:
            self._give(inputs[0], (single[0], None))

    def _claims(self) -> None:
        """What was returned, and what has the end of a value's name, is somebody's gradient."""
        claims = [
            c for c in self.free if c.array is not None and (c.returned or (c.live and self.ranks[id(c)]))
        ]
        self._where(claims, lambda c, v: self._only_pair(c, v, claims))
        self._where(claims, lambda c, v: _fits(c, v) and self.agrees(v, [(c.array, None)]))
        self._where(claims, lambda c, v: _fits(c, v) and self._may_be(c, v))
        left = [c for c in claims if c in self.free and c.returned and not self._names_another(c)]
        self._where(left, lambda c, v: np.size(c.array) == v.array.size)
        if len(left) == len(self.values) or len(left) == len(self._open()) == 1:
            self._where(left, lambda c, v: True)

    def _where(self, claims: list[Candidate], good: Callable[[Candidate, Value], bool]) -> None:
        for candidate in claims:
            if candidate in self.free:
                value = next((v for v in self._open() if good(candidate, v)), None)
                if value is not None:
                    self._give(value, (candidate, None))

    def _only_pair(self, candidate: Candidate, value: Value, claims: list[Candidate]) -> bool:
        if not _fits(candidate, value) or not self._may_be(candidate, value):
            return False
        values = [v for v in self._open() if _fits(candidate, v)]
        return len(values) == 1 and sum(c in self.free and _fits(c, value) for c in claims) == 1

    def _may_be(self, candidate: Candidate, value: Value) -> bool:
        """Nothing in its name speaks against it."""
        if self._names_another(candidate):
            return False
        return candidate.returned or (not value.moves and id(value) in self.ranks[id(candidate)])

    def _names_another(self, candidate: Candidate) -> bool:
        """It has a name, and that is no value's: dA1, dZ."""
        return candidate.steps is not None and not self.ranks[id(candidate)]

    def _numeric(self) -> None:
        for value in self._open():
            for candidate in self.free:
                there = candidate.live and _fits(candidate, value) and np.any(candidate.array)
                if there and self.agrees(value, [(candidate.array, None)]):
                    self._give(value, (candidate, None))
                    break

    def _remark(self, value: Value) -> str:
        near = [c.source.words for c in self.free if c.live and _fits(c, value)]
        return NO_GRADIENT + (
            f"; {near[0]} has its shape, but is not its derivative" if len(near) == 1 else ""
        )


def _fits(candidate: Candidate, value: Value) -> bool:
    return candidate.array is not None and candidate.array.shape == value.array.shape


def _one(a: Candidate, b: Candidate) -> bool:
    """Two names of one array."""
    return a.same is not None and a.same == b.same


def _parts(chosen: Sequence[tuple[Candidate, Array | None]]) -> Parts:
    return [(candidate.array, positions) for candidate, positions in chosen]


def _equal(a: Any, b: Any) -> bool:
    return a is not None and b is not None and np.array_equal(a, b, equal_nan=True)
