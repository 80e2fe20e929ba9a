"""How good a prediction is, for people: counts, not gradients.

N  batch      C  classes (axis 1)
"""

from __future__ import annotations

from .vocabulary import Array

__all__ = ["hits"]


def hits(prediction: Array, target: Array, cut: float | None) -> Array:
    """True where the prediction decides as the target says.

    Args:
        prediction: with cut=None (N, C, ...) or (C,), one score a class, the largest decides;
            otherwise any shape, a value above `cut` decides for 1.
        target: class indices (N, ...), or an array of the prediction's shape: one score a class
            with cut=None, otherwise decided by 0.5.
        cut: 0.5 for probabilities, 0 for logits, None for classes.
    Returns:
        bool, one entry a decision.
    """
    if cut is not None:
        decided: Array = (prediction > cut) == (target > 0.5)
        return decided
    axis = min(1, prediction.ndim - 1)
    wanted = target.argmax(axis=axis) if target.shape == prediction.shape else target
    chosen: Array = prediction.argmax(axis=axis) == wanted
    return chosen
