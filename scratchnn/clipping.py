"""clip_grad_norm_ and clip_grad_value_: gradients kept within bounds, between `backward` and `step`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .checks import Array, as_flag, as_list, as_number
from .functional import formulas as F
from .layers import Parameter

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(
    parameters: Parameter | Iterable[Parameter],
    max_norm: float,
    norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
) -> Any:
    """Scale all gradients by one factor, in place, so that together they have at most the norm `max_norm`.

    Args:
        parameters: those without a gradient are left out.
        norm_type: p of the p-norm; `math.inf` or "inf" for the largest absolute element.
        error_if_nonfinite: otherwise a norm of NaN makes every gradient NaN, an infinite one zero.
    Returns:
        the norm before, a scalar of the gradients' dtype.
    Raises:
        RuntimeError: a norm that is not finite, if asked for; no gradient is changed.
        TypeError, ValueError: no parameters, gradients of different dtypes, a bound that is negative.
    Source: torch.nn.utils.clip_grad_norm_.
    """
    found = _with_gradient("clip_grad_norm_", parameters)
    as_number("clip_grad_norm_", "max_norm", max_norm, least=0)
    error_if_nonfinite = as_flag("clip_grad_norm_", "error_if_nonfinite", error_if_nonfinite)
    is_inf = isinstance(norm_type, str) and norm_type == "inf"
    order = as_number("clip_grad_norm_", "norm_type", math.inf if is_inf else norm_type, least=0)
    if len({p.data.dtype for p in found}) > 1:
        raise TypeError("clip_grad_norm_ got gradients of more than one dtype; clip them apart")
    with np.errstate(all="ignore"):
        norm = F.total_norm([_gradient(p) for p in found], order)
        if error_if_nonfinite and not np.isfinite(norm):
            raise RuntimeError(
                f"clip_grad_norm_ got gradients whose norm of order {norm_type} is {norm}, which cannot be "
                "scaled; look for the step that made them, or pass error_if_nonfinite=False"
            )
        if found:
            factor = F.clip_factor(norm, float(max_norm)).astype(norm.dtype)
        for parameter in found:
            _gradient(parameter)[...] *= factor
    return norm


def clip_grad_value_(parameters: Parameter | Iterable[Parameter], clip_value: float) -> None:
    """Cut every element of every gradient to [-clip_value, clip_value], in place; NaN stays NaN.

    Raises:
        TypeError, ValueError: no parameters, a bound that is negative or NaN.
    Source: torch.nn.utils.clip_grad_value_.
    """
    found = _with_gradient("clip_grad_value_", parameters)
    as_number("clip_grad_value_", "clip_value", clip_value, least=0)
    for parameter in found:
        gradient = _gradient(parameter)
        gradient[...] = F.clip_value(gradient, gradient.dtype.type(clip_value))


def _with_gradient(owner: str, parameters: Parameter | Iterable[Parameter]) -> list[Parameter]:
    """A list of those that have a gradient, which may be written to."""
    if isinstance(parameters, Parameter):
        parameters = [parameters]
    listed = as_list(owner, "parameters", parameters, "parameters: model.parameters()")
    for parameter in listed:
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"{owner} got a {type(parameter).__name__} among the parameters; pass model.parameters()"
            )
    found = [parameter for parameter in listed if parameter.grad is not None]
    for parameter in found:
        if not _gradient(parameter).flags.writeable:
            parameter.grad = _gradient(parameter).copy()
    return found


def _gradient(parameter: Parameter) -> Array:
    assert parameter.grad is not None
    return parameter.grad
