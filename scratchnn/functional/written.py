"""Formulas as data: what a reader is shown stands directly above what the machine runs.

`@written("y = 1 / (1 + exp(-x))")` puts the text into FORMULAS and returns the function as it was, so
that NumPy, the engine and the complex step see the same object as without it. A text is one equation a
line, in Python's syntax:

    y = tanh(x)                                             elementwise: no index
    y[n, m] = Sum(x[n, d] * weight[m, d], d) + bias[m]      an index for each axis, Sum over an index

    n, i  stand for all axes that no other index of the same array takes: the rows of a batch of any shape
    c, k  count classes, along the axis of the call     d, m  features in and out     N  see below

Words: exp, log, log1p, sqrt, tanh, minimum, maximum, and where(condition, a, b). A name whose value is
None (a bias, a weight) is left out of its sum or product; where(flag, a, b) with a Python flag is a or b.
An equation before the last may name a part of what follows; the outputs are named dx for x.
N is the number of elements of the prediction, or of its rows for the losses over classes, and C the number
of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["FORMULAS", "VARIANTS", "formulas_for", "written", "written_loss", "written_loss_slope"]

CLAMP = 1e-12  # p (1 - p) below which binary cross-entropy's backward, and then its forward, are bounded
SURE = 15  # logits beyond which 1 - sigmoid(x) has lost half of its digits

Function = TypeVar("Function", bound=Callable[..., Any])

# The equations of each function as it is called by default, and all ways in which it may be called.
FORMULAS: dict[str, tuple[str, ...]] = {}
VARIANTS: dict[str, list[tuple[dict[str, Any], tuple[str, ...]]]] = {}


def written(*equations: str, **when: Any) -> Callable[[Function], Function]:
    """Register the equations of the function below, which comes back unchanged.

    Args:
        equations: one a line, the function's outputs last.
        when: values of arguments for which these equations hold, as reduction="sum". Where a function has
            several texts, the topmost that fits a call is its text.
    """

    def register(function: Function) -> Function:
        variants = VARIANTS.setdefault(function.__name__, [])
        variants.insert(0, (when, equations))  # decorators run from the function upwards
        FORMULAS[function.__name__] = equations
        return function

    return register


def written_loss(*equations: str, over: str, count: str = "N", **when: Any) -> Callable[[Function], Function]:
    """The three texts of a loss, for "mean", "sum" and "none", from the text of one of its terms.

    Args:
        equations: the last is the term, a bare expression.
        over: the index of the terms. count: what the mean divides by. when: as in `written`.
    """
    *parts, term = equations
    sign, bare = ("-", term[1:]) if term.startswith("-") else ("", term)
    texts = {
        "mean": f"loss = {sign}Sum({bare}, {over}) / {count}",
        "sum": f"loss = {sign}Sum({bare}, {over})",
        "none": f"loss[{over}] = {term}",
    }
    return _by_reduction({key: (*parts, text) for key, text in texts.items()}, when)


def written_loss_slope(
    *equations: str, over: str, count: str = "N", **when: Any
) -> Callable[[Function], Function]:
    """The three texts of a loss's vjp: {dterms} in the last equation is what one term gets of dloss."""
    *parts, text = equations
    shares = {"mean": f"dloss / {count}", "sum": "dloss", "none": f"dloss[{over}]"}
    return _by_reduction(
        {key: (*parts, text.replace("{dterms}", share)) for key, share in shares.items()}, when
    )


def _by_reduction(texts: Mapping[str, tuple[str, ...]], when: Mapping[str, Any]) -> Any:
    def register(function: Function) -> Function:
        for reduction in ("none", "sum", "mean"):
            written(*texts[reduction], reduction=reduction, **when)(function)
        return function

    return register


def formulas_for(name: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The equations of function `name` in a call with these arguments; () where it has none.

    Beside the arguments, `when` may ask what a class target holds: target_of="indices" or
    "probabilities", and whether `some_ignored`; and of binary cross-entropy whether a prediction is
    `clamped`: so sure that the textbook's formula would lose it, and the code takes another way.
    """
    facts: dict[str, Any] = dict(arguments)
    if "ignore_index" in facts and hasattr(facts.get("target"), "dtype"):
        indices = facts["target"].dtype.kind in "iu"
        facts["target_of"] = "indices" if indices else "probabilities"
        facts["some_ignored"] = indices and bool((facts["target"] == facts["ignore_index"]).any())
    if name.startswith("bce_with_logits"):
        facts["clamped"] = bool((abs(facts["logits" if "logits" in facts else "x"]) > SURE).any())
    elif name.startswith("bce"):
        p = facts["prediction" if "prediction" in facts else "p"]
        facts["clamped"] = bool((p * (1 - p) < CLAMP).any())
    for when, equations in VARIANTS.get(name, []):
        if all(key in facts and _same(facts[key], value) for key, value in when.items()):
            return equations
    return ()


def _same(given: Any, wanted: Any) -> bool:
    is_array = getattr(given, "ndim", 0) > 0
    if wanted is None or given is None or is_array:
        return given is wanted
    return bool(given == wanted)
