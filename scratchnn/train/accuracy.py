"""Accuracy: the share of decisions that are right, decided in the way that suits the loss and its targets.

N  batch      C  classes (axis 1)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..checks import Array
from ..functional import formulas as F
from ..losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, Loss, MSELoss, NLLLoss

__all__ = ["Accuracy"]

ROWS = 65536  # looked at together: bounds the memory that this takes


@dataclass
class _Coding:
    """What the targets seen so far are written in.

    Attributes:
        zero_one, plus_minus: all of them are 0 or 1; -1 or +1. zeros, minuses: a 0 was among them; a -1.
        one_each: (N, C, ...), C > 1, and each row has one element above 0.5.
        shares: such rows, of elements from 0 that sum to 1. fractions: an element that is not whole.
        other: the first element that is neither -1, 0 nor 1. seen: there were any.
    """

    zero_one: bool = True
    plus_minus: bool = True
    zeros: bool = False
    minuses: bool = False
    one_each: bool = True
    shares: bool = True
    fractions: bool = False
    other: float | None = None
    seen: bool = False

    def look(self, target: Array) -> None:
        """Take in more targets."""
        self.seen = True
        for start in range(0, len(target), ROWS):
            part = target[start : start + ROWS]
            zero, minus = part == 0, part == -1
            known = zero | (part == 1)
            self.zero_one &= bool(known.all())
            self.plus_minus &= bool((minus | (part == 1)).all())
            self.zeros |= bool(zero.any())
            self.minuses |= bool(minus.any())
            self.fractions |= bool((part != np.floor(part)).any())
            if self.other is None and not (known | minus).all():
                self.other = float(part[~(known | minus)].flat[0])
            if part.ndim < 2 or part.shape[1] == 1:
                self.one_each = self.shares = False
                continue
            self.one_each &= bool(((part > 0.5).sum(axis=1) == 1).all())
            slack = part.shape[1] * math.sqrt(np.finfo(part.dtype).eps) if part.dtype.kind == "f" else 0
            whole = np.abs(part.sum(axis=1, dtype=np.float64) - 1) <= slack
            self.shares &= bool((part >= 0).all() and whole.all())


class Accuracy:
    """The metric "accuracy" of `fit`.

    Losses over classes decide by the largest score. The others decide element by element: by 0.5 for
    probabilities and for targets of 0 and 1, by 0 for logits and for targets of -1 and +1. Where each row of
    the targets marks one class of several, or shares 1 out among them, they too decide by the largest score.

    Attributes:
        cut: a prediction above it decides for 1; None: the largest score decides.
        class_loss: whose `ignore_index` counts nothing, or None.
        settled: the cut is known. complete: all targets of the run are.
    """

    def __init__(self, loss_fn: Loss) -> None:
        self.loss = type(loss_fn).__name__
        self.by_class = isinstance(loss_fn, (CrossEntropyLoss, NLLLoss))
        self.class_loss = loss_fn if isinstance(loss_fn, (CrossEntropyLoss, NLLLoss)) else None
        self.fixed = 0.0 if isinstance(loss_fn, BCEWithLogitsLoss) else None
        if isinstance(loss_fn, BCELoss):
            self.fixed = 0.5
        self.of_values = isinstance(loss_fn, (MSELoss, L1Loss, HuberLoss))
        self.cut: float | None = None
        self.settled = self.complete = self.by_class
        self.coding = _Coding()
        self.batches = False  # that `cut` was decided by

    def look(self, target: Array, outputs: tuple[int, ...]) -> None:
        """Take in the targets of whole data before the run. outputs: the shape of a prediction's row."""
        if not self.by_class and not self._are_indices((len(target), *outputs), target):
            self.coding.look(target)

    def settle(self, complete: bool) -> None:
        """Decide by the targets that were looked at.

        Args:
            complete: they are those of the whole run; otherwise only of the training.
        Raises:
            ValueError: they do not tell how.
        """
        if not self.settled and self.coding.seen:
            self.cut = self._decide(all_seen=True)
            self.settled, self.complete = True, complete

    def __call__(self, prediction: Array, target: Array) -> float:
        """The share of one batch; NaN where nothing counts."""
        if not self.by_class:
            if self._are_indices(prediction.shape, target):
                right = F.hits(prediction, target.reshape(len(target), *prediction.shape[2:]), None)
                return float(right.mean())
            if prediction.shape != target.shape:
                raise self._refusal(f"predictions of shape {prediction.shape}, targets of {target.shape}")
            if not self.complete:
                self._look_at_batch(target)
        right = F.hits(prediction, target, self.cut)
        if self.class_loss is not None and target.dtype.kind in "iu":
            right = right[target != self.class_loss.ignore_index]
        return float(right.mean()) if right.size else math.nan

    def _look_at_batch(self, target: Array) -> None:
        """Decide by the batches up to this one; those to come must agree."""
        self.coding.look(target)
        cut = self._decide(all_seen=self.settled)
        if (self.settled or self.batches) and cut != self.cut:
            raise self._refusal("targets coded otherwise than those of the batches before")
        self.cut, self.batches = cut, True

    def _are_indices(self, outputs: tuple[int, ...], target: Array) -> bool:
        """Whether `target` holds class indices for predictions of this shape, given to a custom loss."""
        if self.fixed is not None or self.of_values or len(outputs) < 2 or outputs[1] == 1:
            return False
        shapes = [(outputs[0], *outputs[2:])] + ([(outputs[0], 1)] if len(outputs) == 2 else [])
        if target.shape not in shapes:
            return False
        return bool(((target == np.floor(target)) & (target >= 0) & (target < outputs[1])).all())

    def _decide(self, all_seen: bool) -> float | None:
        """The cut for targets coded as those seen."""
        seen = self.coding
        marked = seen.one_each and (seen.zero_one or seen.plus_minus or self.fixed is not None)
        if marked or seen.shares:
            if not all_seen and not seen.fractions:
                raise self._refusal(
                    "rows with one class each, in batches of which it has not seen all: rows with several "
                    "may follow"
                )
            return None
        if self.fixed is not None:
            return self.fixed
        if seen.plus_minus and seen.minuses:
            return 0.0
        if seen.zero_one and not self.of_values:
            raise self._refusal("targets of 0 and 1, which do not say whether 0 or 0.5 decides")
        if seen.zero_one and (seen.zeros or all_seen):
            return 0.5
        found = "-1, 0 and 1" if not seen.zero_one else "ones only"
        found = f"the targets {found}" if seen.other is None else f"targets such as {seen.other:g}"
        raise self._refusal(
            f"{found}; it needs classes: 0 and 1, -1 and +1, or rows that mark one of several"
        )

    def _refusal(self, what: str) -> ValueError:
        return ValueError(
            f"the metric 'accuracy' got, with {self.loss}, {what}. Pass a function "
            "(prediction, target) -> float as metric instead"
        )
