"""The derivation sheet as data: one number of a step, and everything that it was made of."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from ..notation import Blank, Expression, Number
from ..notation.text import as_number

PASSES = {"backward": "The way back", "forward": "What the way back needed of the forward pass"}

__all__ = ["CHECKED_DIGITS", "VALUE_DIGITS", "Answer", "Check", "Factor", "Line", "Sheet"]

VALUE_DIGITS = 7  # of a value and of an answer, as many as float32 has
CHECKED_DIGITS = 10  # of numbers to be held against each other


@dataclass(frozen=True)
class Factor:
    """A number that a line uses, and where it was computed.

    Attributes:
        symbol: as the line writes it: dy[2,3].
        value: the number.
        origin: in words: "dx[2,3] of 1 (ReLU)", "the input", "a parameter".
        line: number of the line of this sheet that derives it; 0 where none does.
        key: which entry of which array it is, unique in the sheet: "1.dx[2,3]".
        blank: the letter of the answer that stands in its place; "" for none.
    """

    symbol: Expression
    value: float
    origin: str
    line: int = 0
    key: str = ""
    blank: str = ""


@dataclass(frozen=True)
class Line:
    """One formula of the step, written three times: in symbols, in numbers, as a value.

    Attributes:
        number: from 1, as other lines refer to it; 0 for the chain rule in one.
        depth: how far from the entry that the sheet explains; 0 for the entry itself.
        name: what is computed: "0.dweight[3,1]". where: by which op of which module.
        symbols: an `Equation`, or several where the formula names a part of itself; the last is that of
            `name`.
        numbers: the right side with the numbers put in.
        value: as the step computed it.
        factors: where each number came from.
        terms, shown: of the longest sum: how many there are, and how many stand in `numbers`.
        note: a remark, such as which samples the terms belong to; often empty.
        direction: "backward" or "forward": of the pass that it belongs to. The way back comes first.
        blank: the letter under which the answers have the value; "" where it is shown.
    """

    number: int
    depth: int
    name: str
    where: str
    symbols: tuple[Expression, ...]
    numbers: Expression
    value: float
    factors: tuple[Factor, ...] = ()
    terms: int = 0
    shown: int = 0
    note: str = ""
    direction: str = "backward"
    blank: str = ""

    @property
    def result(self) -> Expression:
        """The value as an expression: a `Number`, or the `Blank` that stands for it."""
        return Blank(self.blank) if self.blank else Number(self.value, self.name)


@dataclass(frozen=True)
class Check:
    """The same number from elsewhere.

    Attributes:
        name: "complex step", "central differences", "double precision", "PyTorch".
        value: what it gives; None where it could not be had.
        difference: from ours, in units of rounding; None as above.
        remark: what it is, or why there is none, in one line.
    """

    name: str
    value: float | None
    difference: float | None
    remark: str = ""


@dataclass(frozen=True)
class Answer:
    """What belongs into a blank: its letter, what it is, the number."""

    label: str
    name: str
    value: float

    def __str__(self) -> str:
        return f"({self.label}) {self.name} = {as_number(self.value, VALUE_DIGITS)}"


@dataclass(frozen=True)
class Sheet:
    """The derivation of one number; made by `Trace.explain`.

    Attributes:
        title: "dL/d(0.weight[3,1])". value: the number. subtitle: what it is, in a sentence.
        chain: the whole chain rule from the loss to the entry, as one line; None for the loss itself, and
            where somebody's own backward gave the number: `subtitle` says so, and there are no lines.
        heading: what the lines follow: "Step by step, for sample 2, ...".
        lines: the way back from the entry to the loss, depth first; then, of the forward pass, where the
            values came from that it needed. Numbered from 1.
        checks: the number by other means. answers: for an exercise.
    """

    title: str
    subtitle: str
    value: float
    chain: Line | None
    heading: str
    lines: tuple[Line, ...]
    checks: tuple[Check, ...]
    answers: tuple[Answer, ...] = field(default=())

    @property
    def passes(self) -> list[tuple[str, list[Line]]]:
        """The lines of each pass, under a title; a loss has the forward pass only, and no title."""
        if self.chain is None:
            return [("", list(self.lines))]
        groups = itertools.groupby(self.lines, key=lambda line: line.direction)
        return [(PASSES[direction], list(lines)) for direction, lines in groups]

    def __str__(self) -> str:
        from .sheet_text import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from ..show import sheet_html

        return sheet_html(self)

    def to_latex(self) -> str:
        """A document: an `article` with amsmath, nothing else."""
        from .sheet_latex import as_latex

        return as_latex(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, texts and numbers, as for JSON."""
        from .sheet_data import as_dict

        return as_dict(self)
