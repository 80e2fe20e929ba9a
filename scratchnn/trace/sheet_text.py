"""A derivation sheet for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

from ..notation.text import as_number
from .sheet import CHECKED_DIGITS, VALUE_DIGITS, Check, Factor, Line, Sheet

__all__ = ["as_text"]

NARROWEST, WIDEST = 40, 110
INDENT = "    "
HARD_SPACE, DEEPEST = "\u00a0", 6  # brackets are kept in one line, the inner ones longest


def as_text(sheet: Sheet) -> str:
    """The sheet, no wider than the terminal."""
    width = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
    lines: list[str] = []
    for text, indent in _rows(sheet):
        lines += _wrapped(text, indent, width)
    return "\n".join(line.rstrip() for line in lines)


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    if not text:
        return [""]
    rows: list[str] = []
    for depth in range(1, DEEPEST):
        rows = textwrap.wrap(
            _together(text, depth),
            width,
            initial_indent=indent,
            subsequent_indent=f"{indent}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        if max(map(len, rows)) <= width:
            break
    return [row.replace(HARD_SPACE, " ") for row in rows]


def _together(text: str, depth: int) -> str:
    """The text with spaces that no line ends at inside of `depth` brackets and deeper."""
    signs, inside = [], 0
    for sign in text:
        inside += (sign in "([") - (sign in ")]")
        signs.append(HARD_SPACE if sign == " " and inside >= depth else sign)
    return "".join(signs)


def _rows(sheet: Sheet) -> Iterator[tuple[str, str]]:
    title = f"{sheet.title} = {as_number(sheet.value, VALUE_DIGITS)}"
    yield title, ""
    yield "=" * len(title), ""
    yield sheet.subtitle, ""
    if sheet.chain is not None:
        yield "", ""
        yield "The chain rule, in one", ""
        yield "", ""
        yield from _writings(sheet.chain, INDENT)
        yield from _factors(sheet.chain, INDENT)
    if sheet.lines:
        yield "", ""
        yield sheet.heading, ""
    for title, lines in sheet.passes:
        if title and lines:
            yield "", ""
            yield title, ""
        for line in lines:
            yield "", ""
            yield f"({line.number}) {line.name}, {line.where}", ""
            yield from _writings(line, INDENT)
            yield from _factors(line, INDENT)
    if sheet.checks:
        yield "", ""
        yield "The same number from elsewhere", ""
        yield "", ""
        ours = max(len(check.name) for check in sheet.checks)
        yield f"{'this sheet':<{ours}}  {as_number(sheet.value, CHECKED_DIGITS)}", INDENT
        for check in sheet.checks:
            yield _check(check, ours), INDENT
    if sheet.answers:
        yield "", ""
        labels = ", ".join(f"__{answer.label}__" for answer in sheet.answers)
        yield f"Left out: {labels}. The answers: print(*sheet.answers, sep='\\n')", ""


def _writings(line: Line, indent: str) -> Iterator[tuple[str, str]]:
    for symbols in line.symbols:
        yield symbols.text(), indent
    yield f"= {line.numbers.text()}", f"{indent}  "
    value = f"__{line.blank}__" if line.blank else as_number(line.value, VALUE_DIGITS)
    yield f"= {value}", f"{indent}  "
    if line.note:
        yield line.note, indent


def _factors(line: Line, indent: str) -> Iterator[tuple[str, str]]:
    if not line.factors:
        return
    symbols = [factor.symbol.text() for factor in line.factors]
    values = [_value(factor) for factor in line.factors]
    wide, long = max(map(len, symbols)), max(map(len, values))
    for factor, symbol, value in zip(line.factors, symbols, values, strict=True):
        where = f" → ({factor.line})" if factor.line else ""
        yield f"{symbol:<{wide}} = {value:<{long}}  {factor.origin}{where}", f"{indent}  "


def _value(factor: Factor) -> str:
    return f"__{factor.blank}__" if factor.blank else as_number(factor.value)


def _check(check: Check, width: int) -> str:
    if check.value is None or check.difference is None:
        return f"{check.name:<{width}}  {check.remark}"
    apart = "no difference" if check.difference == 0 else f"{check.difference:.2g} roundings away"
    return f"{check.name:<{width}}  {as_number(check.value, CHECKED_DIGITS)}  {apart}; {check.remark}"
