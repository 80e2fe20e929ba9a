"""The lines of a derivation: each formula with its numbers, and from there to where the numbers came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..notation import Add, Equation, Expression, Indexed, Number
from ..notation.filled import Filled, Leaf, concrete, fill
from ..notation.scope import ROWS, Scope
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


class Derivation:
    """Collects lines, depth first, each entry once.

    Attributes:
        lines: in order, numbered from 1.
        sample: whose terms are followed in sums over samples; the one with the largest term by default.
        magnitude: the sum of the sizes of the terms of the first line's sum, or the size of its value.
    """

    def __init__(self, trace: Trace, origins: Origins, sample: int | None) -> None:
        self.origins, self.sample = origins, sample
        self.samples = len(trace.x) if trace.x.ndim > 1 else 1
        self.magnitude = 0.0
        self._lines: list[Line | None] = []
        self._numbers: dict[str, int] = {}
        self._scopes: dict[int, Scope] = {}

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(line for line in self._lines if line is not None)

    def scope(self, step: Step) -> Scope:
        """The formula of a step, with its arrays."""
        if step.index not in self._scopes:
            self._scopes[step.index] = scope_of(step.op, step.inputs)
        return self._scopes[step.index]

    def gradient_of_several(self, name: str, uses: Sequence[Source], index: Index) -> int:
        """A parameter or input that is used more than once: its gradients add up."""
        key = entry_name("", f"{name}.grad", index)
        symbols = Indexed("grad", tuple(map(Number, index)), name)
        values = [_output(use, index) for use in uses]
        return self._sum_line(key, f"the sum over its {len(uses)} uses", symbols, uses, values, index, 0)

    def derive(self, source: Source, index: Index, depth: int = 0) -> int:
        """The number of the line that derives an entry; 0 where there is none."""
        if source.kind == "sum":
            return 0
        step, index = source.step, source.index(index)
        if source.kind != "step" or step is None:
            return 0
        key = source.key(index)
        if key in self._numbers or len(self._lines) >= MOST_LINES:
            return self._numbers.get(key, 0)
        if step.op:
            value = float(_output_array(step, source.name)[index])
            return self._formula_line(step, source.name, index, value, depth)
        name = source.name
        parts = self.origins.parts_of(step, name)
        if parts is None:
            return 0
        uses = parts.parts if parts.kind == "sum" else (parts,)
        symbols = Indexed(name, tuple(map(Number, index)), step.path)
        values = [_output(use, index, self.origins) for use in uses]
        where = f"{step.direction} of {step.label}"
        return self._sum_line(key, where, symbols, uses, values, index, depth)

    def number_of(self, key: str) -> int:
        """The number of the line that derives this entry; 0 for none."""
        return self._numbers.get(key, 0)

    # Lines -----------------------------------------------------------------------------------------

    def _reserve(self, key: str) -> int:
        self._lines.append(None)
        self._numbers[key] = len(self._lines)
        return len(self._lines)

    def _sum_line(
        self,
        key: str,
        where: str,
        left: Expression,
        uses: Sequence[Source],
        values: Sequence[float],
        index: Index,
        depth: int,
    ) -> int:
        number = self._reserve(key)
        if not self.magnitude:
            self.magnitude = math.fsum(map(abs, values))
        terms = tuple(Indexed(u.name, tuple(map(Number, u.index(index))), u.path) for u in uses)
        numbers = tuple(Number(v, u.key(index)) for u, v in zip(uses, values, strict=True))
        factors = tuple(
            Factor(symbol, value, use.words(index), self.derive(use, index, depth + 1), use.key(index))
            for symbol, use, value in zip(terms, uses, values, strict=True)
        )
        self._lines[number - 1] = Line(
            number,
            depth,
            key,
            where,
            (Equation(left, terms[0] if len(terms) == 1 else Add(terms)),),
            numbers[0] if len(numbers) == 1 else Add(numbers),
            math.fsum(values),
            factors,
            len(terms),
            len(terms),
        )
        return number

    def _formula_line(self, step: Step, name: str, index: Index, value: float, depth: int) -> int:
        key = entry_name(step.path, name, index)
        if key in self._numbers:
            return self._numbers[key]
        number = self._reserve(key)
        scope = self.scope(step)
        equation, at = scope.equation(name), scope.at(name, index)
        filled = fill(scope, equation.right, at, lambda n, i: self._key(step, n, i), self._is_followed)
        if not self.magnitude:
            self.magnitude = filled.longest.magnitude if filled.longest else abs(value)
        self._choose_sample(filled)
        followed = {id(leaf) for leaf in self._followed(filled)}
        factors = []
        for leaf in filled.leaves:
            line = self._derive_leaf(step, leaf, depth + 1) if id(leaf) in followed else 0
            line = line or self._numbers.get(self._key(step, leaf.name, leaf.index), 0)
            words = self._words(step, leaf)
            factors.append(
                Factor(leaf.symbol, leaf.value, words, line, self._key(step, leaf.name, leaf.index))
            )
        kind = "a part of" if name not in _output_names(step) else "by"
        self._lines[number - 1] = Line(
            number,
            depth,
            key,
            f"{kind} {step.op} of {step.label}",
            (concrete(scope, equation, at),),
            filled.expression,
            value,
            tuple(factors),
            filled.longest.terms if filled.longest else 0,
            len(filled.longest.shown) if filled.longest else 0,
            self._note(filled, scope.value(equation.right, at), value),
        )
        return number

    def _derive_leaf(self, step: Step, leaf: Leaf, depth: int) -> int:
        if self.scope(step).defines(leaf.name):
            if len(self._lines) >= MOST_LINES:
                return 0
            return self._formula_line(step, leaf.name, leaf.index, leaf.value, depth)
        source = self.origins.of_input(step, leaf.name)
        if source.kind == "sum":
            return self._of_two(source, leaf, depth)
        return self.derive(source, leaf.index, depth)

    def _of_two(self, source: Source, leaf: Leaf, depth: int) -> int:
        """A gradient that is a sum, because what it belongs to was used twice."""
        for part in source.parts:
            self.derive(part, leaf.index, depth)
        return 0

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
        if self.scope(step).defines(name):
            return entry_name(step.path, name, index)
        return "" if name in ("N", "C") else self.origins.of_input(step, name).key(index)

    def _words(self, step: Step, leaf: Leaf) -> str:
        if leaf.name == "N":
            return "the number of rows" if "C" in self.scope(step).values else "the number of elements"
        if leaf.name == "C":
            return "the number of classes"
        if self.scope(step).defines(leaf.name):
            return f"a part of {step.op}"
        return self.origins.of_input(step, leaf.name).words(leaf.index)

    def _note(self, filled: Filled, written: float, value: float) -> str:
        notes = []
        longest = filled.longest
        if longest is not None and len(longest.shown) < longest.terms:
            shown = ", ".join(str(i[0]) if len(i) == 1 else str(i) for i in longest.shown)
            notes.append(
                f"The {len(longest.shown)} largest of {longest.terms} terms: {longest.over} = {shown}."
            )
        scale = max(abs(value), longest.magnitude if longest else 0)
        if not math.isfinite(written) or abs(written - value) > AGREES * scale + 1e-30:
            notes.append(f"Written out, this is {written:.4g}: the code takes another way, without overflow.")
        return " ".join(notes)


def _output_names(step: Step) -> set[str]:
    return {equation_name(step, name) for name in step.outputs}


def _output_array(step: Step, name: str) -> np.ndarray:
    return next(np.asarray(v) for k, v in step.outputs.items() if name in (k, equation_name(step, k)))


def _output(source: Source, index: Index, origins: Origins | None = None) -> float:
    """The value of an entry of a source."""
    index = source.index(index)
    if source.step is not None:
        return float(_output_array(source.step, source.name)[index])
    assert origins is not None
    return float(origins.trace.x[index])
