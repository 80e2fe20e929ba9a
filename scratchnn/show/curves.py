"""Curves over epochs as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .markup import Markup, scrolling, tag
from .numbers import number
from .svg import drawing, text

__all__ = ["curves"]

WIDE, TALL = 560.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 90.0, 14.0, 40.0
MOST_POINTS = 300
DECADES = 30.0  # beyond this ratio of the largest to the smallest, the axis is logarithmic
DASHES = ("none", "7 4", "2 3", "9 3 2 3")


def curves(series: Mapping[str, Sequence[float]], across: str, up: str) -> Markup:
    """A line a series, told apart by its dashes and by its name at its end.

    Args:
        series: {name: values}, the first value at 1. across, up: names of the axes.
    """
    every = np.array([value for values in series.values() for value in values], dtype=np.float64)
    finite = every[np.isfinite(every)]
    if not finite.size:
        return Markup("")
    low, high = float(finite.min()), float(finite.max())
    logarithmic = low > 0 and high / low > DECADES
    scale = math.log if logarithmic else float
    bottom, top = scale(low), scale(high)
    reach = (top - bottom) or 1.0
    longest = max(len(values) for values in series.values())

    def place(at: float, value: float) -> tuple[float, float]:
        x = LEFT + (at - 1) / max(longest - 1, 1) * (WIDE - LEFT - RIGHT)
        return x, TALL - BOTTOM - (scale(value) - bottom) / reach * (TALL - TOP - BOTTOM)

    parts: list[Any] = [
        tag("path", d=f"M{LEFT:g} {TOP:g}V{TALL - BOTTOM:g}H{WIDE - RIGHT:g}", class_="axis"),
        text(LEFT - 8, TOP + 4, number(high, 3), "cap end"),
        text(LEFT - 8, TALL - BOTTOM + 4, number(low, 3), "cap end"),
        text(LEFT, TALL - BOTTOM + 18, "1", "cap"),
        text(WIDE - RIGHT, TALL - BOTTOM + 18, f"{longest:,}", "cap"),
        text((LEFT + WIDE - RIGHT) / 2, TALL - BOTTOM + 32, across, "cap"),
        text(LEFT + 8, TOP + 4, f"{up}{', logarithmic' if logarithmic else ''}", "cap start"),
    ]
    used: list[float] = []
    for at, (name, values) in enumerate(series.items()):
        picked = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS)).astype(int))
        points = [place(i + 1, values[i]) for i in picked if math.isfinite(values[i])]
        if not points:
            continue
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(tag("path", d=f"M{line}", class_=f"curve c{at % 4}", stroke_dasharray=DASHES[at % 4]))
        x, y = points[-1]
        while any(abs(y - other) < 13 for other in used):
            y -= 13
        used.append(y)
        parts.append(text(x + 7, y + 4, name, "cap start"))
    title = f"{', '.join(series)} over {longest:,} {across}s, from {number(low, 3)} to {number(high, 3)}"
    svg = drawing(title, WIDE, TALL, tag("g", parts), class_="curves")
    return scrolling("Curves", svg, wide=True, class_="scroll picture")
