"""Derivatives from the forward alone.

Complex step (Squire and Trapp 1998; Martins, Sturdza and Alonso 2003): an analytic f on the complex
plane has Im f(x + ih) / h = f'(x) - h^2 f'''(x) / 6 + ..., and with h = 1e-20 nothing is left but the
rounding of f itself, since nothing is subtracted.

Central differences: (f(x + h) - f(x - h)) / 2h, with h about eps^(1/3) of x, where truncation and
rounding are equally small: 1e-9 or so for a smooth f. Which h that is depends on f; where it matters,
`differences` tries one after the other and says how good the best of them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import Array
from .report import EPS
from .rounding import RUNS, Source, scatter, spread
from .subject import Subject

__all__ = [
    "CENTRAL_STEP",
    "COMPLEX_STEP",
    "along",
    "analytic_on_complex",
    "as_gradient",
    "best_entry",
    "differences",
    "entry",
    "moved",
    "one_sided",
    "output_noise",
    "real_step",
    "relative_direction",
    "scales",
    "seen",
    "slope_noise",
    "unit",
]

COMPLEX_STEP = 1e-20
CENTRAL_STEP = EPS ** (1 / 3)
WIDER, CLOSE = 10 * CENTRAL_STEP, 1e-7
# Steps of `differences`, as fractions of what is moved. The largest are for entries that hardly matter,
# such as weights of an input that is 1e-8.
STEPS = tuple(10.0**k for k in range(-11, 7))
# Of a difference's own standard error: beyond it, two slopes are two.
CERTAIN = 8
ULPS = 4
TRIES = 3  # a kink may lie in the way once, not each time
MOVED = 1e-3


def scales(value: Array) -> Array:
    """The size of each entry; of a zero, that of its tensor (geometric mean), and 1 where all are zero."""
    sizes = np.abs(value)
    some = sizes[(sizes > 0) & np.isfinite(sizes)]
    return np.where(sizes > 0, sizes, np.exp(np.log(some).mean()) if some.size else 1.0)


def unit(shape: tuple[int, ...], index: tuple[int, ...]) -> Array:
    """The direction of one entry."""
    direction = np.zeros(shape)
    direction[index] = 1.0
    return direction


def relative_direction(value: Array, rng: np.random.Generator) -> Array:
    """A random direction that moves each entry by about its own size."""
    return scales(value) * rng.standard_normal(value.shape)


def moved(values: Sequence[Array], rng: np.random.Generator, size: float) -> list[Array]:
    """The tensors, each entry moved by up to `size` of itself."""
    return [v + size * scales(v) * rng.uniform(-1, 1, v.shape) for v in values]


def _whole_step(value: Array, direction: Array) -> float:
    """The step along `direction` that moves some entry by all of its own size."""
    return float(1 / np.max(np.abs(direction) / scales(value), initial=np.finfo(np.float64).tiny))


def _sides(
    subject: Subject, values: Sequence[Array], t: int, direction: Array, h: float
) -> tuple[Array, Array]:
    down, up = list(values), list(values)
    down[t], up[t] = values[t] - h * direction, values[t] + h * direction
    return subject.output(down), subject.output(up)


def _imaginary(
    subject: Subject,
    values: Sequence[Array],
    t: int,
    direction: Array,
    cotangent: Array,
    source: Source | None = None,
) -> float:
    """The slope by complex step; with a `source`, rounding made visible."""
    # Real and imaginary part keep their distance, whatever the direction's length.
    h = COMPLEX_STEP / max(1.0, float(np.abs(direction).max(initial=0.0)))
    complexes = [value.astype(np.complex128) for value in values]
    complexes[t] = complexes[t] + h * 1j * direction
    if source is None:
        return float((cotangent * subject.output(complexes).imag).sum()) / h
    y = source.complex_of(subject.output([source.wrap(z) for z in complexes]))
    return float((cotangent * source.wrap(y.imag)).sum()) / h


def along(
    subject: Subject,
    values: Sequence[Array],
    t: int,
    direction: Array,
    cotangent: Array,
    method: str,
    step: float = CENTRAL_STEP,
) -> float:
    """The derivative of sum(cotangent * y) along a direction: <direction, gradient>, all entries in one go.

    Args:
        method: "complex" or "central". step: of differences, as a fraction of what is moved.
    """
    if method == "complex":
        slope = _imaginary(subject, values, t, direction, cotangent)
        if np.isfinite(slope):
            return slope
        # 1/(1 + exp(-z)) at z = -1000 is 0, but inf - inf on complex arrays.
    h = step * _whole_step(values[t], direction)
    down, up = _sides(subject, values, t, direction, h)
    # The outputs are subtracted before they are summed: those that do not move cancel exactly.
    return float((cotangent * (up - down)).sum()) / (2 * h)


def entry(
    subject: Subject, values: Sequence[Array], t: int, index: tuple[int, ...], cotangent: Array, method: str
) -> float:
    """The numeric derivative for one entry of tensor `t`."""
    return along(subject, values, t, unit(values[t].shape, index), cotangent, method)


def best_entry(
    subject: Subject,
    values: Sequence[Array],
    t: int,
    index: tuple[int, ...],
    cotangent: Array,
    kind: str,
    noise: Array,
) -> float:
    """As `entry`; of differences by the step that suits this entry."""
    direction = unit(values[t].shape, index)
    if kind == "complex":
        return along(subject, values, t, direction, cotangent, "complex")
    # Two steps that agree are good; where they do not, or see nothing, all are tried.
    down, up = (along(subject, values, t, direction, cotangent, kind, step) for step in (CENTRAL_STEP, WIDER))
    if down and abs(up - down) <= CLOSE * abs(down):
        return down
    return differences(subject, values, t, direction, cotangent, noise)[0]


def output_noise(subject: Subject, values: Sequence[Array], rng: np.random.Generator) -> Array:
    """How far rounding moves each number of the output: a standard error."""
    y = np.abs(subject.output(values))
    try:
        (noise,) = scatter(lambda source: [subject.output([source.wrap(v) for v in values])], rng)
    except Exception:  # somebody's code need not take arrays of another class
        noise = None
    if noise is None or noise.shape != y.shape or not noise.any():
        # What rounding of the arrays themselves does is no less than that of the operations on them.
        runs = [subject.output(moved(values, rng, ULPS * EPS)) for _ in range(RUNS)]
        noise = spread(np.stack(runs))
    return np.maximum(EPS / 4 * np.where(np.isfinite(y), y, 0), noise)


def slope_noise(
    subject: Subject,
    values: Sequence[Array],
    t: int,
    direction: Array,
    cotangent: Array,
    rng: np.random.Generator,
) -> float:
    """How far rounding moves the slope by complex step: a standard error; NaN where it cannot be told."""

    def run(source: Source) -> list[Any]:
        return [_imaginary(subject, values, t, direction, cotangent, source)]

    try:
        (noise,) = scatter(run, rng)
    except Exception:  # as above
        return float("nan")
    return float("nan") if noise is None else float(noise)


def real_step(subject: Subject, values: Sequence[Array], t: int, direction: Array, cotangent: Array) -> float:
    """The slope by complex step where abs and the like are taken for functions of real numbers.

    NaN where the code does not run on such arrays. What it gives has to be compared with differences.
    """
    try:
        return _imaginary(subject, values, t, direction, cotangent, Source())
    except Exception:  # as above
        return float("nan")


def differences(
    subject: Subject, values: Sequence[Array], t: int, direction: Array, cotangent: Array, noise: Array
) -> tuple[float, float]:
    """(the slope by central differences, how far off it may be).

    The step grows as long as the slopes agree to within the rounding of the outputs; where they cease to,
    the function bends. Not found at all: an infinite error.

    Args:
        noise: of the outputs, from `output_noise`.
    """
    whole = _whole_step(values[t], direction)
    tried: list[tuple[float, Array]] = []
    for step in STEPS:
        try:
            down, up = _sides(subject, values, t, direction, step * whole)
        except (ValueError, FloatingPointError):  # out of the function's domain
            break
        if not np.isfinite(cotangent * (up - down)).all():
            break
        tried.append((step * whole, cotangent * (up - down)))
    moving = _depends(subject, values, t, direction)
    for _, change in tried:
        moving = moving | (change != 0)
    rounding = CERTAIN * float(np.sqrt(np.square(cotangent * noise * moving).sum() / 2))
    low, high = -np.inf, np.inf
    agreed: list[tuple[float, float]] = []
    for h, change in tried:
        slope, width = float(change.sum()) / (2 * h), rounding / h
        low, high = max(low, slope - width), min(high, slope + width)
        if low > high:
            break
        agreed.append((slope, width))
    # Where nothing is seen, nothing says that the function is straight as far as that: tanh(h) hardly is.
    if agreed and abs(agreed[-1][0]) <= agreed[-1][1]:
        agreed = agreed[: STEPS.index(1.0) + 1]
    if len(agreed) < 2:
        return 0.0, np.inf
    # The last one that agrees bends a little already, by less than the one before it could show.
    (before, width), (last, _) = agreed[-2:]
    return before, 2 * width + abs(last - before) + CERTAIN * EPS * abs(before)


def _depends(subject: Subject, values: Sequence[Array], t: int, direction: Array) -> Array:
    """The outputs that what is moved can reach: NaN in its place changes them. The others round alike."""
    probe = list(values)
    probe[t] = np.where(direction != 0, np.nan, values[t])
    y = subject.output(values)
    try:
        changed = subject.output(probe)
    except Exception:  # somebody's code may refuse NaN
        return np.ones(y.shape, bool)
    return np.asarray(changed != y) if changed.shape == y.shape else np.ones(y.shape, bool)


def seen(subject: Subject, values: Sequence[Array], t: int, direction: Array) -> bool:
    """Whether the output moves at all, for steps of any size along a direction."""
    whole = _whole_step(values[t], direction)
    for step in STEPS[::-4]:
        try:
            down, up = _sides(subject, values, t, direction, step * whole)
        except (ValueError, FloatingPointError):  # out of the function's domain
            continue
        if not np.array_equal(down, up, equal_nan=True):
            return True
    return False


def one_sided(
    subject: Subject, values: Sequence[Array], t: int, direction: Array, cotangent: Array, step: float
) -> tuple[float, float, float]:
    """(slope to the left, slope to the right, h), h being `step` of what is moved."""
    h = step * _whole_step(values[t], direction)
    middle = subject.output(values)
    down, up = _sides(subject, values, t, direction, h)
    return float((cotangent * (middle - down)).sum()) / h, float((cotangent * (up - middle)).sum()) / h, h


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
        values = moved(subject.values, rng, MOVED)
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
    noise = output_noise(subject, values, rng)
    for t, value in enumerate(values):
        direction = relative_direction(value, rng)
        exact = _imaginary(subject, values, t, direction, cotangent)
        central, doubt = differences(subject, values, t, direction, cotangent, noise)
        scale = max(abs(exact), abs(central))
        if np.isfinite(scale) and abs(exact - central) > 1e-5 * scale + doubt:
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
