"""Loss objects: they check at the door, keep what backward needs, and compute nothing.

    loss = loss_fn(prediction, target)          # a scalar of the prediction's dtype
    dprediction = loss_fn.backward()            # dL/dprediction, in the prediction's shape

The formulas are in `scratchnn.functional`. Names, arguments and shapes are those of torch.nn.
Shapes never broadcast here: a prediction of (N, 1) against a target of (N,) is an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from . import functional as F
from .checks import Array, as_array, came_from_softmax

__all__ = ["BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "L1Loss", "Loss", "MSELoss", "NLLLoss"]

REDUCTIONS = ("mean", "sum", "none")


class Loss:
    """Base of all losses.

    A subclass names its pair of formulas, `_op` and `_op_vjp`, and writes `_door(prediction,
    target)`, which returns their arguments, checked, the prediction first.

    Args:
        reduction: "mean", "sum" or "none" (one loss a term).
    """

    _op: ClassVar[Callable[..., Any]]
    _op_vjp: ClassVar[Callable[..., Array]]

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in REDUCTIONS:
            name = type(self).__name__
            raise ValueError(f'{name} got reduction={reduction!r}; it must be "mean", "sum" or "none"')
        self.reduction = reduction
        self._saved: tuple[Any, ...] | None = None
        self._shape: tuple[int, ...] = ()

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
        self._saved, self._shape = arguments, np.shape(loss)
        return loss

    def backward(self, dloss: Any = 1) -> Array:
        """dL/dprediction for the last call; has the prediction's shape and dtype.

        Args:
            dloss: dL/dloss, a number, or an array of the loss's shape.
        Raises:
            RuntimeError: there was no call yet.
            ValueError: dloss of another shape than the loss.
            TypeError: dloss of another dtype than the loss.
        """
        if self._saved is None:
            raise RuntimeError(f"{self!r} got backward before forward; call it on (prediction, target) first")
        dloss = dloss.item() if isinstance(dloss, np.generic) else dloss
        dloss = as_array(repr(self), "dloss", dloss, self._saved[0].dtype)
        if dloss.shape not in ((), self._shape):
            raise ValueError(
                f"{self!r} got dloss of shape {dloss.shape} in backward; the loss had shape {self._shape}: "
                "pass a number or an array of that shape"
            )
        return self._op_vjp(dloss, *self._saved)

    def convert_target(self, target: Any, dtype: Any) -> Array:
        """`target` as this loss wants it beside a prediction of `dtype`; what `fit` does at its door.

        Raises:
            TypeError: a target that is not numeric.
        """
        array = self._target(target)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{self!r} got a target of dtype {array.dtype}; it needs numbers")
        return array.astype(self._target_dtype(array, np.dtype(dtype)), copy=False)

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
        try:
            return np.asarray(value)
        except ValueError as error:
            raise ValueError(
                f"{self!r} got target as a list whose rows differ in length; make them equal"
            ) from error

    def _pair(self, prediction: Any, target: Any) -> tuple[Array, Array]:
        """Prediction and target of one shape and dtype."""
        prediction = self._prediction(prediction)
        target = as_array(repr(self), "target", target, _like(prediction, target))
        if target.shape != prediction.shape:
            cure = "one target for each prediction"
            if target.size == prediction.size:
                cure = f"reshape target to {_words(prediction.shape)}"
            raise ValueError(
                f"{self!r} got prediction of shape {prediction.shape} and target of shape {target.shape}; "
                f"the shapes must be equal: {cure}"
            )
        return prediction, target

    def _factor(self, name: str, value: Any, prediction: Array) -> Array | None:
        """A weight of the prediction's dtype that broadcasts to its shape, without enlarging it."""
        if value is None:
            return None
        factor = as_array(repr(self), name, value, _like(prediction, value))
        try:
            np.broadcast_to(factor, prediction.shape)
        except ValueError as error:
            raise ValueError(
                f"{self!r} got {name} of shape {factor.shape} and prediction of shape {prediction.shape}; "
                f"{name} must broadcast to the prediction's shape"
            ) from error
        return factor


class MSELoss(Loss):
    """Squared error, (a - b)^2, mean over all elements.

    Args:
        reduction: "mean", "sum" or "none".
    Shapes: prediction and target equal, any, 0-d included.
    Source: torch.nn.MSELoss.
    """

    _op = staticmethod(F.mse)
    _op_vjp = staticmethod(F.mse_vjp)

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        return (*self._pair(prediction, target), self.reduction)


class L1Loss(Loss):
    """Absolute error, |a - b|, mean over all elements; its gradient at a = b is 0.

    Args:
        reduction: "mean", "sum" or "none".
    Shapes: prediction and target equal, any, 0-d included.
    Source: torch.nn.L1Loss.
    """

    _op = staticmethod(F.l1)
    _op_vjp = staticmethod(F.l1_vjp)

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        return (*self._pair(prediction, target), self.reduction)


class BCELoss(Loss):
    """Binary cross-entropy of probabilities, -(t log p + (1 - t) log(1 - p)), mean over all elements.

    Args:
        weight: factor of each term, an array of the prediction's dtype or a list; broadcasts to the
            prediction's shape.
        reduction: "mean", "sum" or "none".
    Shapes: prediction and target equal, any, 0-d included.
    Raises:
        ValueError: a prediction or target outside [0, 1]. A NaN prediction passes and makes the loss
            NaN, for `fit` to report; torch stops at it here.
    Source: torch.nn.BCELoss.
    """

    _op = staticmethod(F.bce)
    _op_vjp = staticmethod(F.bce_vjp)

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = weight

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        prediction, target = self._pair(prediction, target)
        lowest, highest = prediction.real.min(), prediction.real.max()
        if lowest < 0 or highest > 1:
            raise ValueError(
                f"{self!r} got a prediction of {lowest if lowest < 0 else highest}; probabilities must lie "
                "in [0, 1]: end the model in Sigmoid, or use BCEWithLogitsLoss"
            )
        lowest, highest = target.real.min(), target.real.max()
        if not (lowest >= 0 and highest <= 1):
            raise ValueError(
                f"{self!r} got a target of {highest if lowest >= 0 else lowest}; targets must lie in [0, 1]: "
                "code the two classes as 0 and 1"
            )
        return prediction, target, self._factor("weight", self.weight, prediction), self.reduction


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of sigmoid(prediction), mean over all elements; safe for any logit.

    Args:
        weight: factor of each term, an array of the prediction's dtype or a list; broadcasts to the
            prediction's shape.
        reduction: "mean", "sum" or "none".
        pos_weight: factor of the positive part, the same way; above 1 it favours recall.
    Shapes: prediction (logits) and target equal, any, 0-d included.
    Source: torch.nn.BCEWithLogitsLoss.
    """

    _op = staticmethod(F.bce_with_logits)
    _op_vjp = staticmethod(F.bce_with_logits_vjp)

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight = weight
        self.pos_weight = pos_weight

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        prediction, target = self._pair(prediction, target)
        weight = self._factor("weight", self.weight, prediction)
        pos_weight = self._factor("pos_weight", self.pos_weight, prediction)
        return prediction, target, weight, self.reduction, pos_weight


class _ClassLoss(Loss):
    """What the losses over classes share: the checks of class weights and class indices."""

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        name = type(self).__name__
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, (int, np.integer)):
            raise TypeError(f"{name} got ignore_index={ignore_index!r}; it needs an int")
        if weight is not None and np.ndim(weight) != 1:
            raise ValueError(
                f"{name} got weight of shape {np.shape(weight)}; it needs one weight a class: (C,)"
            )
        self.weight = weight
        self.ignore_index = int(ignore_index)

    def _target_dtype(self, target: Array, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype if target.dtype.kind == "f" else np.dtype(np.int64)

    def _rows(self, value: Any) -> Array:
        prediction = self._prediction(value)
        if prediction.ndim == 0:
            raise ValueError(f"{self!r} got a 0-d prediction; it needs a class axis: (C,) or (N, C, ...)")
        return prediction

    def _class_weight(self, prediction: Array) -> Array | None:
        if self.weight is None:
            return None
        classes = prediction.shape[_class_axis(prediction)]
        weight = as_array(repr(self), "weight", self.weight, _like(prediction, self.weight))
        if weight.shape != (classes,):
            raise ValueError(
                f"{self!r} got weight of shape {weight.shape} for {classes} classes; it must be ({classes},)"
            )
        return weight

    def _indices(self, target: Array, prediction: Array) -> Array:
        """Class indices as int64, of the prediction's shape without its class axis, all in range."""
        if target.dtype.kind not in "iu":
            raise TypeError(
                f"{self!r} got target of dtype {target.dtype}; class indices must be integers: "
                "pass target.astype(np.int64)"
            )
        axis = _class_axis(prediction)
        classes = prediction.shape[axis]
        shape = prediction.shape[:axis] + prediction.shape[axis + 1 :]
        if target.shape != shape:
            cure = ""
            if target.shape == prediction.shape:
                cure = f": pass target.argmax({axis})"  # one-hot rows
            elif target.size == np.prod(shape):
                cure = f": reshape target to {_words(shape)}"
            raise ValueError(
                f"{self!r} got prediction of shape {prediction.shape} and class indices of shape "
                f"{target.shape}; they must have shape {shape}{cure}"
            )
        indices = target.astype(np.int64, copy=False)
        wrong = indices[(indices != self.ignore_index) & ((indices < 0) | (indices >= classes))]
        if wrong.size:
            raise IndexError(
                f"{self!r} got class index {wrong[0]}; with {classes} classes it must be 0 to {classes - 1}, "
                f"or ignore_index={self.ignore_index}"
            )
        return indices


class NLLLoss(_ClassLoss):
    """Negative log-likelihood of the target class, from log-probabilities (LogSoftmax).

    Args:
        weight: (C,) factor of each class, an array of the prediction's dtype or a list.
        ignore_index: rows with this target count nothing.
        reduction: "mean" (over the weights of the targets), "sum" or "none".
    Shapes: prediction (C,), (N, C) or (N, C, d1, ...); target the same without C, class indices.
    Source: torch.nn.NLLLoss.
    """

    _op = staticmethod(F.nll)
    _op_vjp = staticmethod(F.nll_vjp)

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        prediction = self._rows(prediction)
        indices = self._indices(self._target(target), prediction)
        return prediction, indices, self._class_weight(prediction), self.ignore_index, self.reduction


class CrossEntropyLoss(_ClassLoss):
    """Cross-entropy of softmax(prediction): log-softmax and negative log-likelihood in one.

    Args:
        weight: (C,) factor of each class, an array of the prediction's dtype or a list.
        ignore_index: rows with this class index count nothing.
        reduction: "mean" (over the weights of the targets), "sum" or "none".
        label_smoothing: in [0, 1], the part of the target that is spread over all classes.
    Shapes: prediction (logits) (C,), (N, C) or (N, C, d1, ...); target either class indices, the same
        without C, or class probabilities, of the prediction's shape and dtype. A list counts as
        probabilities when it has the prediction's shape.
    Source: torch.nn.CrossEntropyLoss.
    """

    _op = staticmethod(F.cross_entropy)
    _op_vjp = staticmethod(F.cross_entropy_vjp)

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not 0 <= label_smoothing <= 1:
            name = type(self).__name__
            raise ValueError(f"{name} got label_smoothing={label_smoothing}; it must lie in [0, 1]")
        self.label_smoothing = float(label_smoothing)
        self._warned = False

    def _warn_once(self, prediction: Array) -> None:
        if not self._warned and came_from_softmax(prediction):
            self._warned = True
            classes = prediction.shape[_class_axis(prediction)]
            floor = F.cross_entropy_floor_of_probabilities(classes)
            warnings.warn(
                "CrossEntropyLoss got the output of a Softmax layer. It applies softmax itself, to logits: "
                f"of probabilities of {classes} classes it cannot fall below {floor:.4f}. Leave the Softmax "
                "out, or take LogSoftmax with NLLLoss.",
                UserWarning,
                stacklevel=4,
            )

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        prediction = self._rows(prediction)
        self._warn_once(prediction)
        array = self._target(target)
        if array.shape == prediction.shape and (array.dtype.kind == "f" or not hasattr(target, "dtype")):
            checked = self._probabilities(target, prediction)
        elif array.dtype.kind == "f" and array.ndim == prediction.ndim:
            raise ValueError(
                f"{self!r} got prediction of shape {prediction.shape} and class probabilities of shape "
                f"{array.shape}; the shapes must be equal"
            )
        else:
            checked = self._indices(array, prediction)
        weight = self._class_weight(prediction)
        return prediction, checked, weight, self.ignore_index, self.reduction, self.label_smoothing

    def _probabilities(self, target: Any, prediction: Array) -> Array:
        if self.ignore_index >= 0:
            raise ValueError(
                f"{self!r} got class probabilities and ignore_index={self.ignore_index}; only class indices "
                "can be ignored: leave ignore_index at -100"
            )
        return as_array(repr(self), "target", target, _like(prediction, target))


def _class_axis(prediction: Array) -> int:
    return min(1, prediction.ndim - 1)


def _like(prediction: Array, value: Any) -> np.dtype[Any]:
    """The dtype wanted beside `prediction`: its own; beside a complex-step prediction also float64."""
    real = prediction.real.dtype
    return real if getattr(value, "dtype", real) == real else prediction.dtype


def _words(shape: tuple[int, ...]) -> str:
    """(N, 1) for (64, 1): how a cure names a shape whose first length is the batch's."""
    return f"(N, {', '.join(map(str, shape[1:]))})" if len(shape) > 1 else "(N,)" if shape else "()"
