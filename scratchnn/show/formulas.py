"""Formulas on the page: MathML from the notation's trees, set as a book sets them."""

from __future__ import annotations

import functools
from typing import Any
from xml.etree import ElementTree

from ..notation import Equation, Expression
from .markup import Markup, scrolling

__all__ = ["counts_of", "equations_of", "formula_block", "math", "math_lines"]

MATHML = "http://www.w3.org/1998/Math/MathML"
TALL = {f"{{{MATHML}}}{name}" for name in ("mfrac", "mtable", "munder", "msqrt")}
UNDERLINE = "―"
SIGNS = {"-", "−", "+"}
NARROW = 36  # characters of a formula that fit on the smallest screen
LONGEST = 64  # characters of a sum on one line


@functools.lru_cache(maxsize=1024)
def math(expression: Expression, *, block: bool = False) -> Markup:
    """An expression as a <math> element, in the line or on its own."""
    return _set(expression.mathml(), block)


def math_lines(expression: Expression) -> list[Markup]:
    """An expression on its own; a long one, which no browser breaks, on as many lines as it needs."""
    from latex2mathml.converter import convert

    from ..trace.sheet_latex import broken

    rows = broken(expression, LONGEST)
    if len(rows) == 1:
        return [math(expression, block=True)]
    return [_set(str(convert(row)), True, continued=at > 0) for at, row in enumerate(rows)]


def _set(mathml: str, block: bool, continued: bool = False) -> Markup:
    """MathML with its spaces put right; `continued` is for a line that begins with the sign of its sum."""
    root = ElementTree.fromstring(mathml)
    root.set("display", "block" if block else "inline")
    for node in root.iter():
        _set_sum(node)
        _set_blank(node)
        _set_brackets(node)
        _set_sign(node)
    if continued and root[0][0].text in SIGNS:
        root[0][0].set("form", "infix")
    ElementTree.register_namespace("", MATHML)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _set_sum(node: ElementTree.Element) -> None:
    """The index of a sum stands below its sign."""
    if node.tag == f"{{{MATHML}}}msub" and node[0].text == "∑":
        node.tag = f"{{{MATHML}}}munder"


def _set_blank(node: ElementTree.Element) -> None:
    """A line to write on, under the letter of the answer."""
    if node.tag == f"{{{MATHML}}}munder" and node[1].text == UNDERLINE:
        node.tag = f"{{{MATHML}}}mrow"
        node.set("class", "blank")
        letters = [part for part in node[0] if part.tag == f"{{{MATHML}}}mi"]
        node[:] = letters


def _set_brackets(node: ElementTree.Element) -> None:
    """Brackets grow only around what is tall: grown ones have air in them."""
    if len(node) < 2 or node[0].get("fence") != "true" or node[0].text != "(":
        return
    if not any(part.tag in TALL for part in node.iter()):
        for bracket in (node[0], node[-1]):
            bracket.set("stretchy", "false")


def _set_sign(node: ElementTree.Element) -> None:
    """The sign of a number stands close to it."""
    operator, words = f"{{{MATHML}}}mo", f"{{{MATHML}}}mtext"
    for before, part in zip([None, *node], node, strict=False):
        first = before is None or before.tag == words or (before.tag == operator and before.text != ")")
        if part.tag == operator and part.text in SIGNS and first:
            part.set("form", "prefix")


def equations_of(step: Any) -> list[Equation]:
    """The formulas of a step as trees, without what this call has not: no bias, no weight."""
    from ..trace.calls import scope_of

    return list(scope_of(step.op, step.inputs).equations) if step.op else []


def counts_of(step: Any) -> dict[str, int]:
    """What N and C are in a loss's formulas; empty for other steps."""
    from ..trace import calls

    return calls.counts_of(step.op, step.inputs)


def formula_block(equations: list[Equation]) -> Markup:
    """Formulas one under the other, in a box that scrolls by itself."""
    lines = [math(equation, block=True) for equation in equations]
    name = "Formulas" if len(lines) > 1 else "Formula"
    wide = any(len(equation.text()) > NARROW for equation in equations)
    return scrolling(name, lines, wide=wide, class_="formula")
