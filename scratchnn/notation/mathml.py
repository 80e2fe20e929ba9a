"""Expressions as MathML, by way of their LaTeX."""

from __future__ import annotations

import html
import re
from dataclasses import replace

from .expression import Expression, Indexed, Name

__all__ = ["mathml"]

PLAIN = re.compile(r"[A-Za-z0-9_.]*")
STANDIN = "StandInNo"


def mathml(node: Expression) -> str:
    """A <math> element.

    The converter knows a formula's LaTeX, but not all that a text may hold: a name that is no plain word
    goes round it, with a word in its place.
    """
    from latex2mathml.converter import convert

    odd: list[str] = []

    def plain(name: str) -> str:
        if PLAIN.fullmatch(name):
            return name
        if name not in odd:
            odd.append(name)
        return f"{STANDIN}{odd.index(name)}x"

    def without(node: Expression) -> Expression:
        if isinstance(node, (Name, Indexed)):
            node = replace(node, name=plain(node.name), path=plain(node.path))
        return node.map(without)

    found = str(convert(without(node).latex())).replace(r"\_", "_")
    for place, name in enumerate(odd):
        found = found.replace(f"{STANDIN}{place}x", html.escape(name))
    return found
