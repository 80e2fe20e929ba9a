"""Formulas of `functional`, compiled as they stand.

A formula is plain Python over the vocabulary. Here the same function object gets other globals: every
word becomes its twin on lanes, every formula that it calls is compiled in turn, numbers stay. Numbers
among lanes are weak, so the formula keeps its dtype without being touched.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ..functional import vocabulary
from ..imported import code_digest
from . import words
from .inner import inner, inner_inlined

__all__ = ["compile_formula", "compile_scalars", "formulas_key"]

_DIGESTS: set[str] = set()
TWINS: dict[Any, Any] = {getattr(vocabulary, name): getattr(words, name) for name in words.__all__}


@functools.cache
def compile_formula(formula: Callable[..., Any]) -> Any:
    """The formula, to be called from compiled code on lanes and numbers.

    Raises:
        TypeError: the formula uses something that is neither a word, a formula nor a number.
    """
    return inner_inlined(_with_twins(formula))


@functools.cache
def compile_scalars(formula: Callable[..., Any]) -> Any:
    """A formula of plain numbers (doubles, as in Python), to be called from compiled code."""
    return inner(_with_twins(formula))


def formulas_key() -> str:
    """A hash of the formulas that have been compiled, for a module's attribute may be replaced by another."""
    return hashlib.sha256(" ".join(sorted(_DIGESTS)).encode()).hexdigest()


def _with_twins(formula: Callable[..., Any]) -> Callable[..., Any]:
    code, known = formula.__code__, formula.__globals__
    numbers = [(name, known[name]) for name in code.co_names if isinstance(known.get(name), (int, float))]
    _DIGESTS.add(f"{code_digest(code)} {formula.__defaults__} {numbers}")
    names = {name: _twin(formula, name, known[name]) for name in code.co_names if name in known}
    names["__name__"] = formula.__module__
    return types.FunctionType(code, names, formula.__name__, formula.__defaults__, formula.__closure__)


def _twin(formula: Callable[..., Any], name: str, value: Any) -> Any:
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, (types.FunctionType, np.ufunc)) or callable(value):
        if value in TWINS:
            return TWINS[value]
        if isinstance(value, types.FunctionType):
            return compile_formula(value)
    raise TypeError(
        f"{formula.__name__} uses {name}, which is no word of the vocabulary, no formula and no number; "
        "the engine cannot compile it"
    )
