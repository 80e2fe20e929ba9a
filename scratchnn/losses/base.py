"""The base of all losses: what they check, keep and call."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..checks import Array, Check, CheckedAttributes, any_array, as_array, as_choice, as_dtype, output_of

__all__ = ["Loss", "in_words", "like"]

REDUCTIONS = ("mean", "sum", "none")


class _LastCall(threading.local):
    """The arguments and the result's shape of a loss's last call, of each thread its own."""

    arguments: tuple[Any, ...] | None = None
    shape: tuple[int, ...] = ()


class Loss(CheckedAttributes):
    """Base of all losses.

    A subclass names its pair of formulas, `_op` and `_op_vjp`, and writes `_door(prediction,
    target)`, which returns their arguments, checked, the prediction first.

    Several threads may use one loss at once: `backward` is that of the last call in its own thread. A copy
    and a pickle begin without a call.

    Args:
        reduction: "mean", "sum" or "none" (one loss a term).
    """

    _op: ClassVar[Callable[..., Any]]
    _op_vjp: ClassVar[Callable[..., Array]]
    _warned = False
    _checks: ClassVar[Mapping[str, Check]] = {"reduction": partial(as_choice, choices=REDUCTIONS)}
    _not_here = dict.fromkeys(("reduce", "size_average"), 'set reduction = "mean", "sum" or "none"')

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    @property
    def _last(self) -> _LastCall:
        # Made when it is first asked for, by one thread for all: a subclass need not call super().__init__().
        found = vars(self).get("_last_call")
        return found if found is not None else vars(self).setdefault("_last_call", _LastCall())

    @property
    def _saved(self) -> tuple[Any, ...] | None:
        """The formula's arguments of this thread's last call; None before the first."""
        return self._last.arguments

    @_saved.setter
    def _saved(self, arguments: tuple[Any, ...] | None) -> None:
        self._last.arguments = arguments

    def _remember(self, shape: tuple[int, ...], *saved: Any) -> None:
        """Save what `backward` needs, and the shape of the loss."""
        last = self._last
        last.arguments, last.shape = saved, shape

    def _recall(self) -> tuple[tuple[Any, ...], tuple[int, ...]]:
        """What `_remember` saved in this thread, and the shape of the loss."""
        last = self._last
        if last.arguments is None:
            raise RuntimeError(f"{self!r} got backward before forward; call it on (prediction, target) first")
        return last.arguments, last.shape

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_last_call"}

    def __call__(self, prediction: Any, target: Any) -> Any:
        """`forward(prediction, target)`."""
        return self.forward(prediction, target)

    def forward(self, prediction: Any, target: Any) -> Any:
        """The loss: a scalar of the prediction's dtype, or for reduction "none" an array.

        Raises:
            TypeError: a dtype other than float32 or float64, or a target of another than the prediction's.
            ValueError: shapes that do not match, an empty batch, values out of range.
            IndexError: a class index out of range.
        """
        arguments = self._door(prediction, target)
        loss = self._op(*arguments)
        self._remember(np.shape(loss), *arguments)
        return loss

    def backward(self, dloss: Any = 1) -> Array:
        """dL/dprediction for the last call; has the prediction's shape and dtype.

        Args:
            dloss: dL/dloss, a number, or an array of the loss's shape.
        Raises:
            RuntimeError: there was no call yet in this thread.
            ValueError: dloss of another shape than the loss.
            TypeError: dloss of another dtype than the loss.
        """
        saved, shape = self._recall()
        dloss = dloss.item() if isinstance(dloss, np.generic) else dloss
        dloss = as_array(repr(self), "dloss", dloss, saved[0].dtype)
        if dloss.shape not in ((), shape):
            raise ValueError(
                f"{self!r} got dloss of shape {dloss.shape} in backward; the loss had shape {shape}: "
                "pass a number or an array of that shape"
            )
        return self._op_vjp(dloss, *saved)

    def convert_target(self, target: Any, dtype: Any) -> Array:
        """`target` as this loss wants it beside a prediction of `dtype`; what `fit` does at its door.

        Raises:
            TypeError: a target that is not numeric.
        """
        if type(target) is np.ndarray and isinstance(dtype, np.dtype) and target.dtype.kind in "biuf":
            return target.astype(
                self._target_dtype(target, dtype), copy=False
            )  # as each batch of a run comes
        array = any_array(repr(self), "target", target, "biuf")
        return array.astype(self._target_dtype(array, as_dtype(repr(self), dtype)), copy=False)

    def cause_of_nan(self, target: Array) -> str | None:
        """Why a batch's loss is not finite whatever the prediction, in words; None where it need not be so.

        Args:
            target: as `convert_target` gives it.
        """
        for name in ("weight", "pos_weight"):
            factor = getattr(self, name, None)
            if factor is not None and not np.isfinite(factor).all():
                return f"the {name} of {self!r} is not finite"
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        raise NotImplementedError(f"{type(self).__name__} must write _door(prediction, target)")

    def _target_dtype(self, target: Array, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype

    def _prediction(self, value: Any) -> Array:
        prediction = as_array(repr(self), "prediction", value)
        if prediction.size == 0:
            raise ValueError(
                f"{self!r} got an empty prediction of shape {prediction.shape}; it needs at least one row"
            )
        return prediction

    def _target(self, value: Any) -> Array:
        """`value` as an array of whatever dtype it has."""
        return any_array(repr(self), "target", value)

    def _pair(self, prediction: Any, target: Any) -> tuple[Array, Array]:
        """Prediction and target of one shape and dtype."""
        prediction = self._prediction(prediction)
        target = as_array(repr(self), "target", target, like(prediction, target))
        if target.shape != prediction.shape:
            cure = "one target for each prediction"
            if target.size == prediction.size:
                cure = f"reshape target to {in_words(prediction.shape)}"
            raise ValueError(
                f"{self!r} got prediction of shape {prediction.shape} and target of shape {target.shape}; "
                f"the shapes must be equal: {cure}"
            )
        return prediction, target

    def _warn_once(self, prediction: Array, target: Array) -> None:
        """Say, at the first call that shows it, that the model ends in another layer than this loss wants."""
        if self._warned:
            return
        advice = self._advice(output_of(prediction), prediction, target)
        if advice:
            self._warned = True
            warnings.warn(advice, UserWarning, stacklevel=5)

    def _advice(self, layer: str | None, prediction: Array, target: Array) -> str | None:
        """What is odd about this prediction, the output of such a layer if known, and the cure."""
        return None

    def _given(self, name: str, value: Any) -> Any:
        """`value` as it is, once it is known to be None or numbers; its shape and dtype wait for a call."""
        if value is not None:
            any_array(type(self).__name__, name, value)
        return value

    def _factor(self, name: str, value: Any, prediction: Array) -> Array | None:
        """A weight of the prediction's dtype that broadcasts to its shape, without enlarging it."""
        if value is None:
            return None
        factor = as_array(repr(self), name, value, like(prediction, value))
        try:
            np.broadcast_to(factor, prediction.shape)
        except ValueError as error:
            raise ValueError(
                f"{self!r} got {name} of shape {factor.shape} and prediction of shape {prediction.shape}; "
                f"{name} must broadcast to the prediction's shape"
            ) from error
        return factor


def like(prediction: Array, value: Any) -> np.dtype[Any]:
    """The dtype wanted beside `prediction`: its own; beside a complex-step prediction also float64."""
    real = prediction.real.dtype
    return real if getattr(value, "dtype", real) == real else prediction.dtype


def in_words(shape: tuple[int, ...]) -> str:
    """(N, 1) for (64, 1): how a cure names a shape whose first length is the batch's."""
    return f"(N, {', '.join(map(str, shape[1:]))})" if len(shape) > 1 else "(N,)" if shape else "()"
