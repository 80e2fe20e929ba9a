"""The lines of a derivation: each formula with its numbers, and from there to where the numbers came from."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..checks import Array
from ..notation import Add, Equation, Expression, Indexed, Number, Sum
from ..notation.filled import Filled, Leaf, concrete, fill
from ..notation.scope import ROWS, Scope
from ..notation.text import as_number
from .calls import scope_of
from .origins import Index, Origins, Source, entry_name, equation_name
from .sheet import Factor, Line
from .steps import Step

if TYPE_CHECKING:
    from .trace import Trace

__all__ = ["Derivation"]

FOLLOWED = 3  # units of a short sum that are all followed; of a longer one only the largest
MOST_LINES = 40
AGREES = 1e-3  # between a formula as it is written and the code, which may take a safer way
NOTHING = 1e-30  # a difference that is none, whatever the size of the numbers


class Derivation:
    """Collects lines, each entry once: first the way back, depth first, then the forward values it needed.

    Attributes:
        sample: whose terms are followed in sums over samples; the one with the largest term by default.
        magnitude: of the first line's terms, where it is a sum: their sizes added up; else of its value.
    """

    def __init__(self, trace: Trace, origins: Origins, sample: int | None) -> None:
        self.trace, self.origins, self.sample = trace, origins, sample
        self.samples = len(trace.x) if trace.x.ndim > 1 else 1
        self.magnitude = 0.0
        self._lines: list[Line | None] = []
        self._numbers: dict[str, int] = {}
        self._later: deque[tuple[Source, Index, int]] = deque()
        self._scopes: dict[int, Scope] = {}

    def lines(self) -> tuple[Line, ...]:
        """All lines, numbered; each factor with the number of the line that derives it."""
        while self._later:
            self._derive_now(*self._later.popleft())
        return tuple(
            replace(line, factors=tuple(replace(f, line=self.number_of(f.key)) for f in line.factors))
            for line in self._lines
            if line is not None
        )

    def number_of(self, key: str) -> int:
        """The number of the line that derives this entry; 0 for none."""
        return self._numbers.get(key, 0)

    def derive(self, source: Source, index: Index, depth: int = 0) -> None:
        """Add the lines of an entry: now, or after the way back for one of the forward pass."""
        for part in source.parts:
            self.derive(part, index, depth)
        if source.step is None or source.kind != "step":
            return
        if depth and source.step.direction == "forward":
            self._later.append((source, index, depth))
        else:
            self._derive_now(source, index, depth)

    def gradient_of_several(self, name: str, uses: Sequence[Source], index: Index, value: float) -> None:
        """The lines of a parameter or input that is used more than once: its gradients add up."""
        left = Indexed("grad", tuple(map(Number, index)), name)
        where = f"the sum over its {len(uses)} uses"
        self._add_up(entry_name(name, "grad", index), where, left, uses, index, 0, "backward", value)

    # Lines -----------------------------------------------------------------------------------------

    def _derive_now(self, source: Source, index: Index, depth: int) -> None:
        step, index, key = source.step, source.index(index), source.key(index)
        if step is None or key in self._numbers or len(self._lines) >= MOST_LINES:
            return
        if step.op:
            value = float(_array(step, source.name)[index])
            self._by_formula(step, source.name, index, value, depth)
            return
        parts = self.origins.parts_of(step, source.name)
        if parts is not None:
            left = Indexed(source.name, tuple(map(Number, index)), step.path)
            uses = parts.parts or (parts,)
            where = f"{step.direction} of {step.label}"
            value = float(_array(step, source.name)[index])
            self._add_up(key, where, left, uses, index, depth, step.direction, value)

    def _reserve(self, key: str) -> int:
        self._lines.append(None)
        self._numbers[key] = len(self._lines)
        return len(self._lines)

    def _add_up(
        self,
        key: str,
        where: str,
        left: Expression,
        uses: Sequence[Source],
        index: Index,
        depth: int,
        direction: str,
        value: float,
    ) -> None:
        """A line for a sum of entries of the trace."""
        number = self._reserve(key)
        values = [self._value(use, index) for use in uses]
        self.magnitude = self.magnitude or math.fsum(map(abs, values))
        terms = tuple(Indexed(u.name, tuple(map(Number, u.index(index))), u.path) for u in uses)
        numbers = tuple(Number(v, u.key(index)) for u, v in zip(uses, values, strict=True))
        factors = tuple(
            Factor(symbol, number.value, use.words(index), key=number.key)
            for symbol, use, number in zip(terms, uses, numbers, strict=True)
        )
        for use in uses:
            self.derive(use, index, depth + 1)
        self._lines[number - 1] = Line(
            number,
            depth,
            key,
            where,
            (Equation(left, terms[0] if len(terms) == 1 else Add(terms)),),
            numbers[0] if len(numbers) == 1 else Add(numbers),
            value,
            factors,
            len(terms),
            len(terms),
            direction=direction,
        )

    def _value(self, source: Source, index: Index) -> float:
        array = self.trace.x if source.step is None else _array(source.step, source.name)
        return float(array[source.index(index)])

    def _by_formula(self, step: Step, name: str, index: Index, value: float, depth: int) -> None:
        """A line for an entry that an op of `functional` computed, or for a part of its formula."""
        key = entry_name(step.path, name, index)
        if key in self._numbers or len(self._lines) >= MOST_LINES:
            return
        number = self._reserve(key)
        scope = self._scope(step)
        equation, at = scope.equation(name), scope.at(name, index)
        filled = fill(scope, equation.right, at, lambda n, i: self._key(step, n, i), self._is_followed)
        longest = filled.longest
        if not self.magnitude:
            whole = isinstance(equation.right, (Sum, Add)) and longest is not None
            self.magnitude = longest.magnitude if longest and whole else abs(value)
        self._choose_sample(filled)
        factors = tuple(
            Factor(
                leaf.symbol, leaf.value, self._words(step, leaf), key=self._key(step, leaf.name, leaf.index)
            )
            for leaf in filled.leaves
        )
        for leaf in self._followed(filled):
            if scope.defines(leaf.name):
                self._by_formula(step, leaf.name, leaf.index, leaf.value, depth + 1)
            else:
                self.derive(self.origins.of_input(step, leaf.name), leaf.index, depth + 1)
        kind = "by" if name in {equation_name(step, output) for output in step.outputs} else "a part of"
        self._lines[number - 1] = Line(
            number,
            depth,
            key,
            f"{kind} {step.op} of {step.label}",
            (concrete(scope, equation, at),),
            filled.expression,
            value,
            factors,
            longest.terms if longest else 0,
            len(longest.shown) if longest else 0,
            self._note(filled, scope.value(equation.right, at), value),
            step.direction,
        )

    def _scope(self, step: Step) -> Scope:
        if step.index not in self._scopes:
            self._scopes[step.index] = scope_of(step.op, step.inputs)
        return self._scopes[step.index]

    # Which numbers are followed --------------------------------------------------------------------

    def _is_followed(self, over: str, index: Index) -> bool:
        return over in ROWS and self.sample is not None and index[:1] == (self.sample,)

    def _choose_sample(self, filled: Filled) -> None:
        for folded in filled.sums:
            if self.sample is None and folded.over in ROWS and folded.largest and folded.largest[0]:
                self.sample = folded.largest[0][0]

    def _followed(self, filled: Filled) -> list[Leaf]:
        wanted: list[set[Index]] = []
        for folded in filled.sums:
            if folded.over in ROWS:
                own = [i for i in folded.largest if not i or i[0] == self.sample]
                wanted.append(set(own[:1]))
            else:
                wanted.append(set(folded.largest[: None if folded.terms <= FOLLOWED else 1]))
        return [leaf for leaf in filled.leaves if all(index in wanted[number] for number, index in leaf.term)]

    # Words -----------------------------------------------------------------------------------------

    def _key(self, step: Step, name: str, index: Index) -> str:
        if self._scope(step).defines(name):
            return entry_name(step.path, name, index)
        return "" if name in ("N", "C") else self.origins.of_input(step, name).key(index)

    def _words(self, step: Step, leaf: Leaf) -> str:
        if leaf.name == "N":
            return "the number of rows" if "C" in self._scope(step).values else "the number of elements"
        if leaf.name == "C":
            return "the number of classes"
        if self._scope(step).defines(leaf.name):
            return f"a part of {step.op}"
        return self.origins.of_input(step, leaf.name).words(leaf.index)

    def _note(self, filled: Filled, written: float, value: float) -> str:
        notes = []
        longest = filled.longest
        if longest is not None and len(longest.shown) < longest.terms:
            shown = ", ".join(str(i[0]) if len(i) == 1 else str(i) for i in longest.shown)
            notes.append(f"{longest.words}: {longest.over} = {shown}.")
        scale = max(abs(value), longest.magnitude if longest else 0)
        if not math.isfinite(written) or abs(written - value) > AGREES * scale + NOTHING:
            why = "" if math.isfinite(written) else ", without overflow"
            notes.append(f"Written out, this is {as_number(written)}: the code takes another way{why}.")
        return " ".join(notes)


def _array(step: Step, name: str) -> Array:
    """The output that has this name in the step's formula."""
    return next(value for key, value in step.outputs.items() if name in (key, equation_name(step, key)))
