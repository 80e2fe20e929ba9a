"""A derivation sheet as a LaTeX document."""

from __future__ import annotations

from collections.abc import Iterator

from ..notation import (
    Add,
    Blank,
    Derivative,
    Divide,
    Equation,
    Expression,
    Multiply,
    Negative,
    Number,
    Where,
)
from ..notation.latex import escaped, latex_number
from .sheet import CHECKED_DIGITS, VALUE_DIGITS, Check, Factor, Line, Sheet

__all__ = ["as_latex"]

WIDTH = 78  # characters of a formula, after which it goes on in the next line
# How many of them go to a slope as a fraction, to "if" and its brace, to " + ", to "1/N" and its brackets.
SLOPE, CASES, JOINT, FENCE = 7, 6, 3, 8
ZERO, UNIT = Number(0), Number(7)  # something to join a term, or a factor, to
HEAD = r"""\documentclass[a4paper]{article}
\usepackage[utf8]{inputenc}
\usepackage{amsmath}
\usepackage[margin=2cm]{geometry}
\setlength{\parindent}{0pt}
\allowdisplaybreaks
\begin{document}
"""


def as_latex(sheet: Sheet) -> str:
    """A document of its own; answers, if it is an exercise, on a page of their own."""
    return "\n".join([HEAD, *_body(sheet), r"\end{document}", ""])


def _body(sheet: Sheet) -> Iterator[str]:
    yield rf"\section*{{{_words(sheet.title)} = {_number(sheet.value, VALUE_DIGITS)}}}"
    yield _words(sheet.subtitle)
    if sheet.chain is not None:
        yield r"\subsection*{The chain rule, in one}"
        yield from _line(sheet.chain)
    if sheet.lines:
        yield rf"\subsection*{{{_words(sheet.heading)}}}"
    for title, lines in sheet.passes:
        if title and lines:
            yield rf"\subsubsection*{{{title}}}"
        for line in lines:
            yield rf"\paragraph{{({line.number}) {_words(line.name)}}} {_words(line.where)}"
            yield from _line(line)
    if sheet.checks:
        yield r"\subsection*{The same number from elsewhere}"
        yield r"\begin{tabular}{@{}lll}"
        yield rf"this sheet & {_number(sheet.value, CHECKED_DIGITS)} & \\"
        yield from map(_check, sheet.checks)
        yield r"\end{tabular}"
    if sheet.answers:
        yield r"\newpage"
        yield r"\subsection*{Answers}"
        yield r"\begin{tabular}{@{}lll}"
        for answer in sheet.answers:
            value = _number(answer.value, VALUE_DIGITS)
            yield rf"({answer.label}) & {_words(answer.name)} & {value} \\"
        yield r"\end{tabular}"


def _line(line: Line) -> Iterator[str]:
    symbols = [row for equation in line.symbols for row in _equation(equation)]
    numbers = [
        f"&= {row}" if i == 0 else rf"&\qquad {row}" for i, row in enumerate(broken(line.numbers, WIDTH))
    ]
    rows = [*symbols, *numbers, f"&= {line.result.latex() if line.blank else _plain(line.value)}"]
    yield r"\begin{align*}"
    yield " \\\\\n".join(rows)
    yield r"\end{align*}"
    if line.note:
        yield rf"{_words(line.note)}\par"
    if line.factors:
        yield r"{\small\begin{tabular}{@{\quad}lll}"
        yield from map(_factor, line.factors)
        yield r"\end{tabular}\par}"


def _equation(equation: Expression) -> list[str]:
    assert isinstance(equation, Equation)
    first, *rest = broken(equation.right, WIDTH - len(equation.left.text()))
    return [f"{equation.left.latex()} &= {first}", *(rf"&\qquad {row}" for row in rest)]


def broken(node: Expression, width: int) -> list[str]:
    """The node in LaTeX, in rows of about `width` characters as it would be typed.

    A sum is broken before a sign and a product before a dot; a long fraction becomes 1/bottom times its top.
    """
    if _length(node) <= width:
        return [node.latex()]
    match node:
        case Add(terms=terms):
            return _packed([(t, Add((ZERO, t)).latex().removeprefix("0 ")) for t in terms], width)
        case Multiply(factors=factors) if not any(isinstance(f, Add) for f in factors):
            return _packed(
                [(f, Multiply((UNIT, f)).latex().removeprefix(UNIT.latex())) for f in factors], width
            )
        case Negative(inner=inner):
            return _fenced("-", broken(inner, width))
        case Divide(top=top, bottom=bottom) if not isinstance(top, Number):
            return _fenced(Divide(Number(1), bottom).latex(), broken(top, width - FENCE))
    return [node.latex()]


def _length(node: Expression) -> int:
    """How many characters wide the node is, set as a book sets it."""
    match node:
        case Derivative():
            return SLOPE
        case Divide(top=top, bottom=bottom):
            return max(_length(top), _length(bottom))
        case Where(condition=condition, yes=yes, no=no):
            return max(_length(yes), _length(no)) + _length(condition) + CASES
    return max(len(node.text()) - sum(len(c.text()) - _length(c) for c in node.children()), 1)


def _fenced(before: str, rows: list[str]) -> list[str]:
    rows = [*rows]
    rows[0] = rf"{before} \bigl( {rows[0]}"
    rows[-1] = rf"{rows[-1]} \bigr)"
    return rows


def _packed(parts: list[tuple[Expression, str]], width: int) -> list[str]:
    """As many parts in each row as fit; the very first without the sign that joins it to nothing."""
    rows: list[str] = []
    used = 0
    for place, (node, joined) in enumerate(parts):
        length = _length(node) + JOINT
        if rows and used + length <= width:
            rows[-1] += f" {joined}"
            used += length
        else:
            rows.append(joined if place else node.latex())
            used = length
    return rows


def _factor(factor: Factor) -> str:
    value = rf"${Blank(factor.blank).latex()}$" if factor.blank else _number(factor.value)
    where = f", see ({factor.line})" if factor.line else ""
    symbol = factor.symbol
    if isinstance(symbol, Derivative):  # with a slash, to fit into a row
        latex = rf"\partial {symbol.of.latex()} / \partial {symbol.by.latex()}"
    else:
        latex = symbol.latex()
    return rf"${latex}$ & {value} & {_words(factor.origin)}{where} \\"


def _check(check: Check) -> str:
    if check.value is None or check.difference is None:
        return rf"{_words(check.name)} & & {_words(check.remark)} \\"
    apart = f"{_number(check.difference, 2)} roundings away; {_words(check.remark)}"
    return rf"{_words(check.name)} & {_number(check.value, CHECKED_DIGITS)} & {apart} \\"


def _plain(value: float) -> str:
    return _number(value, VALUE_DIGITS).strip("$")


def _number(value: float, digits: int = 4) -> str:
    return f"${latex_number(value, digits)}$"


def _words(text: str) -> str:
    """Words for text mode; the signs that it has no letter for as mathematics."""
    signs = {"·": r"$\cdot$", "∂": r"$\partial$", "≤": r"$\le$", "≥": r"$\ge$", "²": r"$^2$", "→": r"$\to$"}
    return "".join(signs.get(sign, escaped(sign)) for sign in text)
