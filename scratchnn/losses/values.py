"""Losses of one number against one number: MSE, L1, Huber, binary cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..checks import Array, Check, as_number
from ..functional import formulas as F
from .base import Loss

__all__ = ["BCELoss", "BCEWithLogitsLoss", "HuberLoss", "L1Loss", "MSELoss"]


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


class HuberLoss(Loss):
    """Squared error near, absolute error far: (a - b)^2 / 2 within delta, delta (|a - b| - delta/2) beyond.

    Args:
        reduction: "mean", "sum" or "none".
        delta: where the two meet, positive.
    Shapes: prediction and target equal, any, 0-d included.
    Source: torch.nn.HuberLoss; Huber 1964.
    """

    _op = staticmethod(F.huber)
    _op_vjp = staticmethod(F.huber_vjp)

    _checks: ClassVar[Mapping[str, Check]] = {
        **Loss._checks,
        "delta": partial(as_number, above=0, finite=True),
    }

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        return (*self._pair(prediction, target), self.reduction, self.delta)


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
        self.weight = self._given("weight", weight)

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
        self.weight = self._given("weight", weight)
        self.pos_weight = self._given("pos_weight", pos_weight)

    def _advice(self, layer: str | None, prediction: Array, target: Array) -> str | None:
        if layer not in ("Sigmoid", "Softmax"):
            return None
        lowest, highest = F.sigmoid(np.array([0.0, 1.0]))
        return (
            f"BCEWithLogitsLoss got the output of a {layer} layer. It applies sigmoid itself, to logits: of "
            f"probabilities it makes values from {lowest} to {highest:.3f} only. Leave the {layer} out, or "
            "take BCELoss."
        )

    def _door(self, prediction: Any, target: Any) -> tuple[Any, ...]:
        prediction, target = self._pair(prediction, target)
        self._warn_once(prediction, target)
        weight = self._factor("weight", self.weight, prediction)
        pos_weight = self._factor("pos_weight", self.pos_weight, prediction)
        return prediction, target, weight, self.reduction, pos_weight
