"""Gradients kept within bounds before the optimizer sees them.

g  a gradient    c  a bound
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .vocabulary import Array, maximum, minimum, where
from .written import written

__all__ = ["clip_factor", "clip_value", "total_norm"]

NORM_FLOOR = 1e-6  # torch's: the factor of a zero gradient is finite


@written("y = minimum(maximum(g, -c), c)")
def clip_value(g: Array, c: float) -> Array:
    """Every element moved into [-c, c]; NaN stays NaN."""
    return minimum(maximum(g, -c), c)


@written(f"y = minimum(1, c / (norm + {NORM_FLOOR}))")
def clip_factor(norm: Array, c: float) -> Array:
    """min(1, c / (norm + 1e-6)): what brings gradients of that norm down to the norm c; NaN for NaN.

    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1, in the form of torch.nn.utils.clip_grad_norm_.
    """
    factor = c / (norm + NORM_FLOOR)
    return where(factor > 1.0, 1.0, factor)


def total_norm(gradients: Sequence[Array], norm_type: float = 2.0) -> Any:
    """The p-norm of all gradients taken as one vector: the norm of their norms.

    Args:
        gradients: arrays of one dtype. norm_type: p >= 0, infinity among them.
    Returns:
        a scalar of that dtype; 0 for no gradients.
    """
    if not gradients:
        return np.float32(0)
    return _norm(np.array([_norm(g, norm_type) for g in gradients], gradients[0].dtype), norm_type)


def _norm(g: Array, p: float) -> Any:
    sizes = where(g < 0, -g, g)
    if p == math.inf:
        return sizes.max(initial=0)
    if p == 2:
        return np.sqrt((g * g).sum())
    if p == 0:
        return (g != 0).sum().astype(g.dtype)
    return (sizes**p).sum() ** g.dtype.type(1 / p)
