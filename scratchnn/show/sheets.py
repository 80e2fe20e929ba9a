"""A derivation sheet as HTML: the chain rule in one, then line by line, then the checks."""

from __future__ import annotations

import re
from typing import Any

from .formulas import NARROW, math, math_lines
from .markup import Markup, join, scrolling, tag
from .numbers import MINUS, number
from .tables import data_table

__all__ = ["answers_body", "sheet_body"]

DEEPEST = 6  # beyond this, lines are set in no further


def sheet_body(sheet: Any, *, level: int = 4, prefix: str | None = None) -> Markup:
    """Everything below the title of a sheet.

    Args:
        level: of the headings inside.
        prefix: of the ids of its lines, so that factors link to them; None for no links.
    """
    parts: list[Markup | None] = [tag("p", _minus(sheet.subtitle), class_="subtitle")]
    if sheet.chain is not None:
        parts.append(tag(f"h{level}", "The chain rule, in one"))
        parts.append(_writings(sheet.chain))
        parts.append(tag("p", _minus(sheet.chain.note), class_="hint") if sheet.chain.note else None)
        parts.append(_factors(sheet.chain, prefix))
    if sheet.lines:
        parts.append(tag(f"h{level}", sheet.heading))
    for title, lines in sheet.passes:
        if title:
            parts.append(tag(f"h{level + 1}", title, class_="pass"))
        parts += [_line(line, level + 1 + bool(title), prefix) for line in lines]
    if sheet.checks:
        parts.append(tag(f"h{level}", "The same number from elsewhere"))
        parts.append(_checks(sheet))
    return join(parts)


def answers_body(sheet: Any) -> Markup:
    """The answers of an exercise, as a table."""
    rows = [(join(["(", tag("b", a.label), ")"]), (a.name, "left"), number(a.value)) for a in sheet.answers]
    heads = ("blank", ("what it is", "left"), "value")
    return data_table(heads, rows, label=f"Answers to {sheet.title}")


def _line(line: Any, level: int, prefix: str | None) -> Markup:
    heading = tag(
        f"h{min(level, 6)}",
        tag("span", f"{line.number}", class_="no"),
        " ",
        tag("span", line.name, class_="what"),
        " ",
        tag("small", line.where),
    )
    return tag(
        "section",
        heading,
        _writings(line),
        tag("p", _minus(line.note), class_="hint") if line.note else None,
        _factors(line, prefix),
        class_="line",
        id=None if prefix is None else f"{prefix}-line-{line.number}",
        style=f"--depth: {min(line.depth, DEEPEST)}",
    )


def _writings(line: Any) -> Markup:
    """The three writings: symbols, numbers, value."""
    value = _blank(line.blank) if line.blank else tag("b", number(line.value), class_="value")
    symbols = [math(equation, block=True) for equation in line.symbols]
    widths = [max(len(equation.text()) for equation in line.symbols), len(line.numbers.text()), 0]
    contents = (symbols, math_lines(line.numbers), value)
    rows = []
    for name, content, width in zip(("in symbols", "in numbers", "value"), contents, widths, strict=True):
        box = scrolling(f"{line.name}, {name}", content, wide=width > NARROW)
        rows.append(tag("div", tag("dt", name), tag("dd", box)))
    return tag("dl", rows, class_="writings")


def _factors(line: Any, prefix: str | None) -> Markup | None:
    if not line.factors:
        return None
    rows = []
    for factor in line.factors:
        value = _blank(factor.blank) if factor.blank else number(factor.value)
        origin: list[Any] = [factor.origin]
        if factor.line:
            words = f"line {factor.line}"
            origin += [
                ", ",
                words if prefix is None else tag("a", words, href=f"#{prefix}-line-{factor.line}"),
            ]
        rows.append((math(factor.symbol), value, (origin, "left")))
    heads = ("factor", "value", ("where it was computed", "left"))
    return data_table(heads, rows, label=f"Factors of {line.name}", class_="data factors")


def _checks(sheet: Any) -> Markup:
    rows: list[Any] = []
    for check in sheet.checks:
        value = "–" if check.value is None else number(check.value, 9)
        difference = "–" if check.difference is None else number(check.difference, 2)
        rows.append((check.name, value, difference, (check.remark, "left")))
    heads = ("by", "value", "difference, in units of rounding", ("remark", "left"))
    rows.insert(0, ("this sheet", number(sheet.value, 9), "", ("", "left")))
    return data_table(heads, rows, label=f"Checks of {sheet.title}")


def _minus(text: str) -> str:
    """Numbers in a sentence with a true minus sign."""
    return re.sub(r"(?<![\w.)])-(?=[\d.])", MINUS, text)


def _blank(label: str) -> Markup:
    return tag("span", tag("span", "blank ", class_="hidden"), f"({label})", class_="blank")
