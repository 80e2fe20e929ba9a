"""One step of a trace as HTML: where its inputs are from, the formula, the arrays."""

from __future__ import annotations

from typing import Any

from .account import Fact, Origins, account
from .formulas import equations_of, formula_block
from .markup import Markup, join, tag
from .tables import array_block

__all__ = ["step_body"]


def step_body(step: Any, origins: Origins, *, linked: bool = True) -> Markup:
    """Everything below the heading of a step. What it makes is added to `origins`.

    Args:
        linked: whether words about another step lead to it.
    """
    facts, arrays = account(step, origins)
    equations = equations_of(step)
    saved = None
    if step.direction == "forward" and step.saved:
        names = join([tag("i", name) for name in step.saved], ", ")
        saved = tag("p", "Saved for the backward: ", names, ".", class_="hint")
    blocks = [array_block(a.name, a.array, title=a.title, axes=a.axes, key=a.key) for a in arrays]
    return join(
        [
            tag("p", join([_sentence(fact, linked) for fact in facts], " "), class_="given"),
            formula_block(equations) if equations else None,
            tag("div", blocks, class_="arrays"),
            saved,
        ]
    )


def _sentence(fact: Fact, linked: bool) -> Markup:
    words: Any = fact.words
    if fact.code:
        words = tag("code", words)
    elif fact.place and linked:
        words = tag("a", words, href=f"#{fact.place}")
    name = tag("i", fact.name) if fact.name else None
    return join([fact.before, name, fact.after, words, "." if fact.words else None])
