"""Exercises: a sheet with some of its values left out."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import replace

from ..checks import as_int, as_text
from ..notation import Blank, Expression, Number
from .sheet import Answer, Factor, Line, Sheet

__all__ = ["with_blanks"]


def with_blanks(sheet: Sheet, blanks: int | str | Sequence[str], seed: int) -> Sheet:
    """The sheet without chosen intermediate values, wherever they stand, and with the answers.

    Args:
        blanks: how many, drawn by `seed`; or the names of lines.
    """
    lines = {line.name: line for line in sheet.lines[1:]}
    names = _chosen(sheet, list(lines), blanks, seed)
    if not names:
        return sheet
    labels = {name: _label(place) for place, name in enumerate(names)}
    hidden = tuple(_without(line, labels) for line in sheet.lines)
    chain = None if sheet.chain is None else _without(sheet.chain, labels)
    answers = tuple(Answer(labels[name], name, lines[name].value) for name in names)
    return replace(sheet, chain=chain, lines=hidden, answers=answers)


def _chosen(sheet: Sheet, names: list[str], blanks: int | str | Sequence[str], seed: int) -> list[str]:
    if isinstance(blanks, str):
        blanks = [blanks]
    if isinstance(blanks, Sequence) and not isinstance(blanks, (bytes, range)):
        for name in blanks:
            if as_text("explain", "blanks", name) not in names:
                raise KeyError(
                    f"no intermediate value {name!r} to leave out as blanks; there are {', '.join(names)}"
                )
        return [name for name in names if name in blanks]
    count = as_int("explain", "blanks", blanks)
    if not 0 <= count <= len(names):
        raise ValueError(
            f"blanks={count}, but the sheet of {sheet.title} has {len(names)} intermediate values; "
            f"leave out between 0 and {len(names)}"
        )
    drawn = set(random.Random(seed).sample(names, count))
    return [name for name in names if name in drawn]


def _label(place: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    letters = string.ascii_lowercase
    more, place = divmod(place, len(letters))
    return (_label(more - 1) if more else "") + letters[place]


def _without(line: Line, labels: dict[str, str]) -> Line:
    def hide(node: Expression) -> Expression:
        if isinstance(node, Number) and node.key in labels:
            return Blank(labels[node.key])
        return node.map(hide)

    factors = tuple(_factor(factor, labels) for factor in line.factors)
    return replace(line, numbers=hide(line.numbers), factors=factors, blank=labels.get(line.name, ""))


def _factor(factor: Factor, labels: dict[str, str]) -> Factor:
    return replace(factor, blank=labels.get(factor.key, ""))
