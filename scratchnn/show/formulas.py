"""Formulas on the page: MathML from the notation's trees."""

from __future__ import annotations

import functools
import re
from typing import Any

from ..notation import parse
from .markup import Markup, tag

__all__ = ["formula_block", "math"]

SUM = re.compile(r"<msub>(<mo>&#x02211;</mo>)(<mrow><mi>\w+</mi></mrow>)</msub>")


def math(expression: Any, *, block: bool = False) -> Markup:
    """An `Expression` as a <math> element, in the line or on its own."""
    text = SUM.sub(r"<munder>\1\2</munder>", expression.mathml())  # the index below the sign, as in a book
    return Markup(text.replace('display="inline"', 'display="block"', 1) if block else text)


@functools.lru_cache(maxsize=256)
def formula_block(texts: tuple[str, ...]) -> Markup:
    """The formulas of a step, one under the other, in a box that scrolls by itself."""
    lines = [math(parse(text), block=True) for text in texts]
    name = "Formulas" if len(lines) > 1 else "Formula"
    return tag("div", lines, class_="formula", role="region", aria_label=name, tabindex=0)
