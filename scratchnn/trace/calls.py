"""One call of a function of `functional`: its formula, and what each name in it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..functional.written import formulas_for
from ..notation import parse
from ..notation.expression import Equation, Indexed, Name
from ..notation.scope import Scope

__all__ = ["counts_of", "output_names", "scope_of"]

CLASS_LOSSES = ("nll", "cross_entropy")


def _class_loss(name: str) -> bool:
    return name.removesuffix("_vjp") in CLASS_LOSSES


def _prediction(call: Mapping[str, Any]) -> Any:
    return next((call[n] for n in ("prediction", "logits", "log_probs") if n in call), None)


def counts_of(name: str, call: Mapping[str, Any]) -> dict[str, int]:
    """N and C of a loss: its elements, or its rows and classes."""
    prediction = _prediction(call)
    if prediction is None:
        return {}
    if not _class_loss(name):
        return {"N": prediction.size}
    classes = prediction.shape[0 if prediction.ndim == 1 else 1]
    return {"N": prediction.size // classes, "C": classes}


def scope_of(name: str, call: Mapping[str, Any]) -> Scope:
    """The formula of `name` in this call, ready to be read and evaluated."""
    axis = call.get("axis")
    if _class_loss(name):
        axis = 0 if _prediction(call).ndim == 1 else 1
    # Numbers among arrays take the arrays' dtype, as NumPy gives it to Python's.
    dtypes = (v.dtype for v in call.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f")
    dtype = next(dtypes, np.dtype(np.float64))
    values = {key: float(dtype.type(v)) if isinstance(v, float) else v for key, v in call.items()}
    return Scope(formulas_for(name, call), values, axis, counts_of(name, call))


def output_names(name: str, call: Mapping[str, Any]) -> list[str]:
    """The left sides of the equations that are outputs of the function, in the order in which it returns."""
    if name in ("sgd", "adam", "adamw"):
        return ["p_next", *(f"{n}_next" for n in ("b", "m", "v", "peak") if n in call)]
    lefts = [parse(equation) for equation in formulas_for(name, call)]
    names = [e.left.name for e in lefts if isinstance(e, Equation) and isinstance(e.left, (Name, Indexed))]
    return names if name == "linear_vjp" else names[-1:]
