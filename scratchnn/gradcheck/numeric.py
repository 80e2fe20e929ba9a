"""Derivatives from the forward alone.

Complex step (Squire and Trapp 1998; Martins, Sturdza and Alonso 2003): an analytic f on the complex
plane has Im f(x + ih) / h = f'(x) - h^2 f'''(x) / 6 + ..., and with h = 1e-20 nothing is left but the
rounding of f itself, since nothing is subtracted.

Central differences: (f(x + h) - f(x - h)) / 2h, with h about eps^(1/3), where truncation and
rounding are equally small: 1e-9 or so for a smooth f.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import Array
from .report import EPS
from .subject import Subject

__all__ = ["CENTRAL_STEP", "along", "analytic_on_complex", "differences", "entry", "moved", "one_sided"]

COMPLEX_STEP = 1e-20
CENTRAL_STEP = EPS ** (1 / 3)
# No multiples of each other: rounding on a grid may favour those all alike.
STEPS, DOUBT_FACTOR = (1, 1.37, 2.23), 16
TRIES = 3  # a kink may lie in the way once, not each time


def _slope(
    subject: Subject,
    values: Sequence[Array],
    t: int,
    direction: Array,
    cotangent: Array,
    method: str,
    step: float = CENTRAL_STEP,
) -> float:
    """The derivative of sum(cotangent * y) when tensor `t` moves along `direction`, differences by `step`."""
    if method == "complex":
        complexes = [value.astype(np.complex128) for value in values]
        complexes[t] = complexes[t] + COMPLEX_STEP * 1j * direction
        y = subject.output(complexes)
        return float((cotangent * y.imag).sum()) / COMPLEX_STEP
    h = step * max(1.0, float(np.abs(values[t][direction != 0]).max(initial=0.0)))
    up, down = list(values), list(values)
    up[t], down[t] = values[t] + h * direction, values[t] - h * direction
    # The outputs are subtracted before they are summed: those that do not move cancel exactly.
    return float((cotangent * (subject.output(up) - subject.output(down))).sum()) / (2 * h)


def entry(
    subject: Subject, values: Sequence[Array], t: int, index: tuple[int, ...], cotangent: Array, method: str
) -> float:
    """The numeric derivative for one entry of tensor `t`."""
    direction = np.zeros(values[t].shape)
    direction[index] = 1.0
    return _slope(subject, values, t, direction, cotangent, method)


def along(
    subject: Subject, values: Sequence[Array], t: int, direction: Array, cotangent: Array, method: str
) -> float:
    """The numeric derivative along a direction: <direction, gradient>, all coordinates in one go."""
    return _slope(subject, values, t, direction, cotangent, method)


def differences(
    subject: Subject, values: Sequence[Array], t: int, direction: Array, cotangent: Array
) -> tuple[float, float]:
    """(the slope by central differences, how much of it is in doubt).

    What changes with the step is rounding, as that of 1 - p near p = 1: it tells nothing.
    """
    slopes = [
        _slope(subject, values, t, direction, cotangent, "central", times * CENTRAL_STEP) for times in STEPS
    ]
    return slopes[0], DOUBT_FACTOR * float(np.ptp(slopes))


def one_sided(
    subject: Subject, values: Sequence[Array], t: int, index: tuple[int, ...], cotangent: Array, h: float
) -> tuple[float, float]:
    """The slopes just left and just right of one entry."""
    middle = subject.output(values)
    slopes = []
    for step in (-h, h):
        shifted = list(values)
        shifted[t] = values[t].copy()
        shifted[t][index] += step
        slopes.append(float((cotangent * (subject.output(shifted) - middle)).sum()) / step)
    return slopes[0], slopes[1]


def moved(values: Sequence[Array], rng: np.random.Generator, size: float) -> list[Array]:
    """The tensors, each entry moved by about `size` of itself, or of 1 where it is small."""
    return [v + size * np.maximum(np.abs(v), 1.0) * rng.uniform(-1, 1, v.shape) for v in values]


def analytic_on_complex(subject: Subject, cotangent: Array, rng: np.random.Generator) -> str:
    """Why the complex step cannot be used here; "" where it can.

    The function must run on complex arrays, give the same real part, and not lose the imaginary one
    on its way (abs, conj, norm, var and `.real` do): tensor by tensor, its slope in a random direction
    is compared with a central difference, away from kinks. One that gets this wrong would let a gradient
    pass that forgets the same path.
    """
    try:
        complexes = [value.astype(np.complex128) for value in subject.values]
        y = subject.output(complexes)
    except Exception as error:  # whatever a stranger's code raises on complex arrays
        reason = f"{type(error).__name__}: {error}"
        return "it does not run on complex arrays: " + (reason if len(reason) < 110 else reason[:107] + "...")
    real = subject.output(subject.values)
    if y.shape != real.shape or not np.allclose(y.real, real, rtol=1e-9, atol=1e-12, equal_nan=True):
        return "it gives another result on complex arrays"
    worst = ""
    for _ in range(TRIES):
        values = moved(subject.values, rng, 1e-3)
        try:
            worst = _disagreement(subject, values, cotangent, rng)
        except Exception:  # moved out of its domain
            return ""
        if not worst:
            return ""
    return f"it is not analytic (abs, conj, norm, var?): {worst}"


def _disagreement(
    subject: Subject, values: Sequence[Array], cotangent: Array, rng: np.random.Generator
) -> str:
    """The first tensor along which the complex step and differences give two slopes; "" for none."""
    noise = 1e-8 * float(np.abs(cotangent * subject.output(values)).sum())
    for t, value in enumerate(values):
        direction = rng.standard_normal(value.shape)
        exact = _slope(subject, values, t, direction, cotangent, "complex")
        central, doubt = differences(subject, values, t, direction, cotangent)
        scale = max(abs(exact), abs(central))
        if np.isfinite(scale) and abs(exact - central) > 1e-5 * scale + noise + doubt:
            return f"in {subject.names[t]}, complex step {exact:.5g}, differences {central:.5g}"
    return ""


def as_gradient(gradient: Any, shape: tuple[int, ...]) -> Array | None:
    """The user's gradient as a float64 array of `shape`, or None where it has another."""
    if gradient is None:
        return np.zeros(shape)
    array = np.asarray(gradient)
    if array.shape != shape or array.dtype.kind not in "biuf":
        return None
    return array.astype(np.float64)
