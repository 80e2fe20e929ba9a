"""Activations and dropout as layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..checks import Array, Check, as_array, as_dtype, as_int, as_number, as_shape, note_output
from ..functional import formulas as F
from ..random import bernoulli
from .module import Module

__all__ = [
    "Dropout",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Threshold",
]


class Identity(Module):
    """y = x, any shape. Source: torch.nn.Identity."""

    def forward(self, x: Any) -> Array:
        """Any shape -> the same."""
        x = as_array(self._label(), "x", x)
        return self._remember(F.identity(x))

    def backward(self, dy: Any) -> Array:
        """The shape of y -> the same."""
        (dy,) = self._recall(dy)
        return F.identity_vjp(dy)


class ReLU(Module):
    """y = max(x, 0), any shape; gradient 0 at x = 0, as torch. Source: torch.nn.ReLU."""

    def forward(self, x: Any) -> Array:
        """Any shape -> the same."""
        x = as_array(self._label(), "x", x)
        return self._remember(F.relu(x), x)

    def backward(self, dy: Any) -> Array:
        """The shape of y -> the same."""
        dy, x = self._recall(dy)
        return F.relu_vjp(dy, x)


class LeakyReLU(Module):
    """y = x where x > 0, else negative_slope * x. Any shape. Source: torch.nn.LeakyReLU."""

    _checks: ClassVar[Mapping[str, Check]] = {"negative_slope": as_number}

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Array:
        """Any shape -> the same."""
        x = as_array(self._label(), "x", x)
        return self._remember(F.leaky_relu(x, self.negative_slope), x)

    def backward(self, dy: Any) -> Array:
        """The shape of y -> the same."""
        dy, x = self._recall(dy)
        return F.leaky_relu_vjp(dy, x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Module):
    """y = 1 / (1 + exp(-x)), any shape. Source: torch.nn.Sigmoid."""

    def forward(self, x: Any) -> Array:
        """Any shape -> the same."""
        y = F.sigmoid(as_array(self._label(), "x", x))
        note_output(y, "Sigmoid")
        return self._remember(y, y)

    def backward(self, dy: Any) -> Array:
        """The shape of y -> the same."""
        dy, y = self._recall(dy)
        return F.sigmoid_vjp(dy, y)


class Tanh(Module):
    """y = tanh(x), any shape. Source: torch.nn.Tanh."""

    def forward(self, x: Any) -> Array:
        """Any shape -> the same."""
        y = F.tanh(as_array(self._label(), "x", x))
        return self._remember(y, y)

    def backward(self, dy: Any) -> Array:
        """The shape of y -> the same."""
        dy, y = self._recall(dy)
        return F.tanh_vjp(dy, y)


class _AlongAxis(Module):
    """What softmax and log-softmax share: an axis, checked against each input."""

    _checks: ClassVar[Mapping[str, Check]] = {"dim": as_int}

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def _input(self, x: Any) -> Array:
        x = as_array(self._label(), "x", x)
        axes = max(x.ndim, 1)  # a number counts as one class
        if not -axes <= self.dim < axes:
            raise IndexError(
                f"{self._label()} got x of shape {x.shape}; dim must be between {-axes} and {axes - 1}"
            )
        if x.ndim and not x.shape[self.dim]:
            raise ValueError(f"{self._label()} got x of shape {x.shape}, without a class; dim={self.dim}")
        return x

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """y_i = exp(x_i) / sum_j exp(x_j) along axis `dim`; any shape with that axis.

    Source: torch.nn.Softmax. (torch's implicit `dim=None` is deprecated there and absent here.)
    """

    def forward(self, x: Any) -> Array:
        """Any shape -> the same."""
        y = F.softmax(self._input(x), self.dim)
        note_output(y, "Softmax")
        return self._remember(y, y)

    def backward(self, dy: Any) -> Array:
        """The shape of y -> the same."""
        dy, y = self._recall(dy)
        return F.softmax_vjp(dy, y, self.dim)


class LogSoftmax(_AlongAxis):
    """y_i = x_i - log sum_j exp(x_j) along axis `dim`. Source: torch.nn.LogSoftmax."""

    def forward(self, x: Any) -> Array:
        """Any shape -> the same."""
        y = F.log_softmax(self._input(x), self.dim)
        note_output(y, "LogSoftmax")
        return self._remember(y, y)

    def backward(self, dy: Any) -> Array:
        """The shape of y -> the same."""
        dy, y = self._recall(dy)
        return F.log_softmax_vjp(dy, y, self.dim)


class Threshold(Module):
    """y = x where x > threshold, else value. Any shape. Source: torch.nn.Threshold."""

    _checks: ClassVar[Mapping[str, Check]] = {"threshold": as_number, "value": as_number}

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold, self.value = threshold, value

    def forward(self, x: Any) -> Array:
        """Any shape -> the same."""
        x = as_array(self._label(), "x", x)
        return self._remember(F.threshold(x, self.threshold, self.value), x)

    def backward(self, dy: Any) -> Array:
        """The shape of y -> the same."""
        dy, x = self._recall(dy)
        return F.threshold_vjp(dy, x, self.threshold)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class Dropout(Module):
    """In training, zero each element with probability p and scale the rest by 1 / (1 - p).

    Any shape. Masks are torch's, drawn from the default generator; none is drawn in evaluation,
    for p of 0 or 1, or for an empty x.
    Raises:
        ValueError: p outside [0, 1].
    Source: torch.nn.Dropout.
    """

    _checks: ClassVar[Mapping[str, Check]] = {"p": partial(as_number, least=0, most=1)}

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def forward(self, x: Any) -> Array:
        """Any shape -> the same."""
        x = as_array(self._label(), "x", x)
        factor = self.draw_factor(x.shape, x.dtype) if self.training else None
        return self._remember(x if factor is None else F.dropout(x, factor), factor)

    def backward(self, dy: Any) -> Array:
        """The shape of y -> the same."""
        dy, factor = self._recall(dy)
        return dy if factor is None else F.dropout_vjp(dy, factor)

    def draw_factor(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """The next mask of this shape as factors, 0 or 1 / (1 - p); None where nothing is dropped."""
        shape, dtype = as_shape("draw_factor", "shape", shape), as_dtype("draw_factor", dtype)
        if self.p == 0:
            return None
        if self.p == 1:
            return np.zeros(shape, dtype)
        return F.dropout_factor(bernoulli(1 - self.p, shape).astype(dtype), self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
