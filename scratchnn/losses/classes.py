"""Losses over classes: NLLLoss, CrossEntropyLoss."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..checks import Array, Check, as_array, as_int, as_number
from ..functional import formulas as F
from ..functional.class_losses import class_axis
from .base import Loss, in_words, like

__all__ = ["CrossEntropyLoss", "NLLLoss"]

# The probabilities of one row may sum to 1 but for this: far above what float32 rounds off.
LARGEST_EXCESS = 1e-2


class _ClassLoss(Loss):
    """What the losses over classes share: the checks of class weights and class indices."""

    _checks: ClassVar[Mapping[str, Check]] = {**Loss._checks, "ignore_index": as_int}

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        name = type(self).__name__
        self.ignore_index = ignore_index
        self.weight = self._given("weight", weight)
        if weight is not None and np.ndim(weight) != 1:
            raise ValueError(
                f"{name} got weight of shape {np.shape(weight)}; it needs one weight a class: (C,)"
            )

    def cause_of_nan(self, target: Array) -> str | None:
        """As the base; and a mean over rows that count nothing."""
        cause = super().cause_of_nan(target)
        if cause is not None or self.reduction != "mean" or target.dtype.kind not in "iu":
            return cause
        kept = target[target != self.ignore_index]
        if not kept.size:
            return (
                f"all targets of that batch are ignored (ignore_index={self.ignore_index}), and a mean over "
                "nothing is NaN, as in PyTorch; leave such batches out, or use reduction='sum'"
            )
        if self.weight is not None and not np.asarray(self.weight)[kept].any():
            return (
                "the classes of that batch's targets have weight 0, and a mean over nothing is NaN, as in "
                "PyTorch; leave such batches out, or use reduction='sum'"
            )
        return None

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
        classes = prediction.shape[class_axis(prediction)]
        weight = as_array(repr(self), "weight", self.weight, like(prediction, self.weight))
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
        axis = class_axis(prediction)
        classes = prediction.shape[axis]
        shape = prediction.shape[:axis] + prediction.shape[axis + 1 :]
        if target.shape != shape:
            cure = ""
            if target.shape == prediction.shape:
                cure = f": pass target.argmax({axis})"  # one-hot rows
            elif target.size == np.prod(shape):
                cure = f": reshape target to {in_words(shape)}"
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
    _looked = False

    def _advice(self, layer: str | None, prediction: Array, target: Array) -> str | None:
        # The sum costs as much as the loss, so it is taken of the first batch only.
        if self._looked or layer == "LogSoftmax":
            return None
        self._looked = True
        with np.errstate(all="ignore"):
            totals = np.exp(prediction.real).sum(class_axis(prediction))
        totals = totals[target != self.ignore_index]
        far = np.abs(totals - 1).max(initial=0.0)
        if not far > LARGEST_EXCESS:
            return None
        return (
            f"NLLLoss got predictions whose exponentials sum to {totals.min():.4g} to {totals.max():.4g} "
            "over the classes; those of log-probabilities sum to 1. End the model in LogSoftmax, or take "
            "CrossEntropyLoss, which wants raw scores."
        )

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        prediction = self._rows(prediction)
        indices = self._indices(self._target(target), prediction)
        self._warn_once(prediction, indices)
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
    _checks: ClassVar[Mapping[str, Check]] = {
        **_ClassLoss._checks,
        "label_smoothing": partial(as_number, least=0, most=1),
    }

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = label_smoothing

    def _advice(self, layer: str | None, prediction: Array, target: Array) -> str | None:
        classes = prediction.shape[class_axis(prediction)]
        if classes == 1:
            return (
                "CrossEntropyLoss got predictions of one class. The softmax of one number is 1, so the loss "
                "is always 0 and nothing is learned. Give two classes two outputs, or take BCEWithLogitsLoss."
            )
        if layer not in ("Sigmoid", "Softmax"):
            return None
        floor = F.cross_entropy_floor_of_probabilities(classes)
        cure = ", or take LogSoftmax with NLLLoss" if layer == "Softmax" else ""
        return (
            f"CrossEntropyLoss got the output of a {layer} layer. It applies softmax itself, to logits: of "
            f"probabilities of {classes} classes it cannot fall below {floor:.4f}. Leave the {layer} "
            f"out{cure}."
        )

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        prediction = self._rows(prediction)
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
        self._warn_once(prediction, checked)
        weight = self._class_weight(prediction)
        return prediction, checked, weight, self.ignore_index, self.reduction, self.label_smoothing

    def _probabilities(self, target: Any, prediction: Array) -> Array:
        if self.ignore_index >= 0:
            raise ValueError(
                f"{self!r} got class probabilities and ignore_index={self.ignore_index}; only class indices "
                "can be ignored: leave ignore_index at -100"
            )
        return as_array(repr(self), "target", target, like(prediction, target))
