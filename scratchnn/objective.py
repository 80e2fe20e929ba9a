"""The objective of the estimators: a loss over rows that count more or less, and a penalty on the weights.

    L = scale sum_r w_r sum_m terms_rm / sum_r w_r + alpha sum_W |W|^2 / 2 / sum_r w_r

over the rows r of a batch, as scikit-learn's MLP has it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from .checks import Array
from .functional import formulas as F
from .layers import Parameter
from .losses import CrossEntropyLoss, Loss, NLLLoss

__all__ = ["Objective"]


class Objective(Loss):
    """`base` as a mean over weighted rows, plus the penalty alpha/2 |W|^2 shared out over them.

    Its backward adds the penalty's gradient to the `grad` of the weights.

    Args:
        base: what gives the terms; its own reduction is not used.
        weights: what the penalty falls on. alpha: how hard.
        scale: of the terms: 1/2 makes a squared error's slope the difference.
        weighted: targets carry the rows' weights in their last column; class indices then come as (N, 2)
            numbers, index and weight.
    """

    def __init__(
        self,
        base: Loss,
        weights: Sequence[Parameter] = (),
        alpha: float = 0.0,
        scale: float = 1.0,
        weighted: bool = False,
    ) -> None:
        super().__init__("mean")
        self.base = copy.copy(base)
        self.base.reduction = "none"
        self.weights, self.alpha = tuple(weights), float(alpha)
        self.scale, self.weighted = float(scale), weighted

    def forward(self, prediction: Any, target: Any) -> Any:
        """The objective of a batch: a scalar of the prediction's dtype."""
        y, row_weights = self._split(target, len(prediction), prediction.dtype)
        terms = np.asarray(self.base(prediction, y))
        loss = self.scale * F.row_mean(terms, row_weights)
        share = prediction.dtype.type(self.alpha / row_weights.sum())
        self._remember((), terms, row_weights, share)
        return loss + share * self._penalty() if self.alpha else loss

    def backward(self, dloss: Any = 1) -> Array:
        """dL/dprediction for the last call; the weights get the penalty's gradient."""
        (terms, row_weights, share), _ = self._recall()
        if self.alpha:
            for weight in self.weights:
                weight.accumulate(F.half_square_vjp(dloss * share, weight.data))
        return self.base.backward(F.row_mean_vjp(dloss * self.scale, terms, row_weights))

    def convert_target(self, target: Any, dtype: Any) -> Array:
        """As the base's; with weights, an array of `dtype`."""
        return np.asarray(target, dtype) if self.weighted else self.base.convert_target(target, dtype)

    def cause_of_nan(self, target: Array) -> str | None:
        """As the base's; and rows that all weigh 0."""
        if self.weighted and not target[:, -1].any():
            return "the rows of that batch weigh 0, and a mean over nothing is NaN; leave such batches out"
        return self.base.cause_of_nan(target)

    def has_indices(self, target: Array) -> bool:
        """`target` holds class indices beside weights."""
        return self.weighted and target.shape[1] == 2 and isinstance(self.base, (CrossEntropyLoss, NLLLoss))

    def _penalty(self) -> Any:
        return sum(F.half_square(weight.data) for weight in self.weights)

    def _split(self, target: Array, rows: int, dtype: Any) -> tuple[Array, Array]:
        if not self.weighted:
            return target, np.ones(rows, dtype)
        row_weights = np.ascontiguousarray(target[:, -1])
        if self.has_indices(target):
            return target[:, 0].astype(np.int64), row_weights
        return np.ascontiguousarray(target[:, :-1]), row_weights
