"""A derivation sheet for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

from ..notation.text import as_number
from .sheet import Check, Factor, Line, Sheet

__all__ = ["as_text"]

NARROWEST, WIDEST = 40, 110
INDENT = "    "
DIGITS = 7


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
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _rows(sheet: Sheet) -> Iterator[tuple[str, str]]:
    title = f"{sheet.title} = {as_number(sheet.value, DIGITS)}"
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
        ours = max((len(check.name) for check in sheet.checks), default=0)
        yield f"{'this sheet':<{ours}}  {as_number(sheet.value, 10)}", INDENT
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
    value = f"__{line.blank}__" if line.blank else as_number(line.value, DIGITS)
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
    return f"{check.name:<{width}}  {as_number(check.value, 10)}  {apart}; {check.remark}"
