"""The linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import init
from ..checks import Array, Check, as_array, as_dtype, as_flag, positive_int
from ..functional import formulas as F
from .module import Module, Parameter

__all__ = ["Linear"]


def _parameter(owner: str, name: str, value: Any) -> Parameter:
    if not isinstance(value, Parameter):
        raise TypeError(f"{owner} got {name} of type {type(value).__name__}; it needs a Parameter")
    return value


class Linear(Module):
    """y = x weight^T + bias.

    Args:
        in_features: D. out_features: M. bias: with False, no bias is made or drawn.
        dtype: of the parameters, float32 unless said otherwise.
    Shapes: x (..., D) -> y (..., M); weight (M, D), bias (M,).
    Drawn at construction from the default generator, weight first, uniform in +-1/sqrt(D).
    Raises:
        TypeError, ValueError: an x of another dtype, or whose last axis is not D; parameters that were
            replaced by others of another shape.
    Source: torch.nn.Linear.
    """

    bias: Parameter | None
    _checks: ClassVar[Mapping[str, Check]] = {
        "in_features": positive_int,
        "out_features": positive_int,
        "weight": _parameter,
    }

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = np.float32):
        self.in_features, self.out_features = in_features, out_features
        kind = as_dtype("Linear", dtype)
        with_bias = as_flag("Linear", "bias", bias)
        self.weight = Parameter(np.empty((out_features, in_features), kind))
        self.register_parameter("bias", Parameter(np.empty(out_features, kind)) if with_bias else None)
        init.linear_default_(self.weight, self.bias)

    def forward(self, x: Any) -> Array:
        """(..., D) -> (..., M)."""
        x = as_array(self._label(), "x", x, self.weight.dtype)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"{self._label()} got x of shape {x.shape}; the last axis must be {self.in_features}"
            )
        weight, bias = self.weight.data, None if self.bias is None else self.bias.data
        if weight.shape != (self.out_features, self.in_features) or (
            bias is not None and bias.shape != (self.out_features,)
        ):
            raise ValueError(
                f"{self._label()} has a weight of shape {weight.shape} and a bias of shape "
                f"{None if bias is None else bias.shape}; they must be ({self.out_features}, "
                f"{self.in_features}) and ({self.out_features},)"
            )
        y = F.linear(x, weight, bias)
        return self._remember(y, x)

    def backward(self, dy: Any) -> Array:
        """(..., M) -> (..., D); adds to weight.grad and bias.grad."""
        dy, x = self._recall(dy)
        dx, dweight, dbias = F.linear_vjp(dy, x, self.weight.data)
        self.weight.accumulate(dweight)
        if self.bias is not None:
            self.bias.accumulate(dbias)
        return dx

    def _label(self) -> str:
        return f"{type(self).__name__}({self.in_features}, {self.out_features})"

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )
