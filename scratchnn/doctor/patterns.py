"""How a wrong gradient differs from the right one, where no known mistake explains it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import Array

__all__ = ["describe"]


def describe(names: list[str], truth: list[Array], given: list[Any]) -> list[str]:
    """One line for each tensor: right, or the pattern of wrong / right."""
    width = max((len(name) for name in names), default=0)
    return [
        f"{name.ljust(width)}  {_line(right, wrong)}"
        for name, right, wrong in zip(names, truth, given, strict=True)
    ]


def _line(right: Array, wrong: Any) -> str:
    if wrong is None:
        return "no gradient"
    wrong = np.asarray(wrong)
    if wrong.shape != right.shape:
        return f"shape {wrong.shape} instead of {right.shape}"
    if not np.isfinite(right).all():
        return f"the derivative itself is not finite in {int((~np.isfinite(right)).sum())} entries"
    scale = float(np.abs(right).max(initial=0.0))
    off = np.abs(wrong - right) > 1e-9 * scale
    if not off.any():
        return "right"
    if not np.isfinite(wrong).all():
        return f"{int((~np.isfinite(wrong)).sum())} of {wrong.size} entries are not finite"
    usable = np.abs(right) > 1e-9 * scale
    if not usable.any():
        return f"up to {np.abs(wrong).max():.3g} where the right gradient is 0"
    ratio = wrong[usable] / right[usable]
    low, middle, high = np.percentile(ratio, [0, 50, 100])
    text = f"{int(off.sum())} of {off.size} entries differ; wrong / right: {low:.4g} to {high:.4g}"
    text += f", median {middle:.4g}"
    for axis, word in ((0, "row"), (1, "column")):
        if right.ndim == 2 and usable.all():
            table = wrong / right
            lines = table if axis == 0 else table.T
            if lines.shape[1] > 1 and np.all(np.ptp(lines, axis=1) <= 1e-9 * np.abs(lines).max(axis=1)):
                text += f"; one factor for each {word}"
    signs = np.sign(ratio)
    if (signs == -1).all():
        text += "; every sign is flipped"
    elif off.sum() < off.size and np.all(wrong[off] == 0):
        text += "; where it differs it is 0"
    return text
