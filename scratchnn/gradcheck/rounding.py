# A subclass of ndarray that need not take every argument of ndarray's methods.
# mypy: disable-error-code="override"
"""Rounding made visible: Monte Carlo arithmetic (Parker 1997) on somebody's own NumPy code.

The code is run again on arrays whose every operation that rounds (see `residual`) ends in a random error of
`AMPLIFIED` units of rounding, relative to the result; a sum or a product of matrices has one in each of its
terms as well, since that is where it loses digits when the terms cancel. What the results then scatter by,
divided by `AMPLIFIED`, is what rounding does to each of them. A number that is computed stably hardly moves;
1 - y*y moves by a whole unit where y is nearly 1, and a mistake does not move at all: nothing of this depends
on the scale of the weights or of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import Array, Instrumented
from .residual import unit_of

__all__ = ["RUNS", "Rounded", "Source", "scatter", "spread"]

RUNS = 8
AMPLIFIED = 32
# Nothing is rounded where numbers are selected, compared or taken apart.
SELECTING = frozenset(("maximum", "minimum", "fmax", "fmin", "clip", "heaviside", "nextafter", "spacing"))
SIGNS = frozenset(("negative", "positive", "absolute", "fabs", "sign", "copysign", "conjugate"))
WHOLE = frozenset(("floor", "ceil", "trunc", "rint", "frexp", "ldexp", "modf"))
EXACT = SELECTING | SIGNS | WHOLE
# Of complex numbers, these add up products.
ADDING = frozenset(("multiply", "divide", "true_divide", "square", "reciprocal"))
# Functions in C that add up products without calling a ufunc.
PRODUCTS = frozenset(("dot", "inner", "vdot", "einsum", "correlate", "trace", "interp", "bincount"))


# On the complex numbers of a complex step: the function of real numbers that is meant, continued.
MEANT: dict[str, Callable[..., Any]] = {
    "absolute": lambda z: np.where(z.real < 0, -z, z),
    "fabs": lambda z: np.where(z.real < 0, -z, z),
    "conjugate": lambda z: z,
    "sign": lambda z: np.sign(z.real),
    "floor": lambda z: np.floor(z.real),
    "ceil": lambda z: np.ceil(z.real),
    "rint": lambda z: np.rint(z.real),
    "trunc": lambda z: np.trunc(z.real),
    "hypot": lambda a, b: np.sqrt(a * a + b * b),
    "logaddexp": lambda a, b: np.maximum(a, b) + np.log1p(np.exp(np.minimum(a - b, b - a))),
    "cbrt": lambda z: np.where(z.real < 0, -((-z) ** (1 / 3)), z ** (1 / 3)),
}


class Source:
    """Where the random errors come from; without `rng` there are none.

    Attributes:
        read: complex numbers of which a Python float was taken.
    """

    def __init__(self, rng: np.random.Generator | None = None) -> None:
        self.rng = rng
        self.read: list[complex] = []

    def complex_of(self, y: Array) -> Array:
        """A loss that ends in float(...) with its imaginary part."""
        if y.ndim or y.dtype.kind != "f":
            return y
        return np.asarray(next((z for z in reversed(self.read) if z.real == y), y))

    def wrap(self, value: Any) -> Any:
        """A float array, or each one in a tuple or list, as Rounded; anything else as it is."""
        if isinstance(value, (tuple, list)):
            parts = [self.wrap(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        if not _is_float(value):
            return value
        wrapped = np.asarray(value).view(Rounded)
        wrapped.source = self
        return wrapped

    def disturb(self, value: Any, error: Array | None = None) -> Any:
        """`value` with a random error in each number, real and imaginary parts apart; ints as they are.

        Args:
            error: the largest that rounding made in each number; without it, one unit.
        """
        if isinstance(value, (tuple, list)):
            parts = [self.disturb(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        if self.rng is None or not _is_float(value):
            return value
        array = np.asarray(value)
        if array.dtype.kind == "f":
            return self._moved(array, error)
        result = np.empty(array.shape, array.dtype)
        result.real, result.imag = self._moved(array.real), self._moved(array.imag)
        return result

    def _moved(self, array: Array, error: Array | None = None) -> Array:
        assert self.rng is not None
        if error is None:
            error = np.finfo(array.dtype).eps / 2 * np.abs(array)
        by = (AMPLIFIED * error * self.rng.uniform(-1, 1, array.shape)).astype(array.dtype)
        # Infinities and NaN stay what they are; so does the sign of a zero.
        return np.where(np.isfinite(array) & (array != 0), array + by, array)


class Rounded(Instrumented):
    """An array whose operations make visible errors."""

    source: Source | None

    def __array_finalize__(self, origin: Any) -> None:
        self.source = getattr(origin, "source", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        source = _source((*inputs, *(out or ())))
        plain = [_plain(x) for x in inputs]
        kwargs = {name: _plain(value) for name, value in kwargs.items()}
        exact = source is None or ufunc.__name__ in EXACT
        if source is not None and not exact and _adds(ufunc, method, plain):
            # `at` writes into its first argument.
            first = plain[:1] if method == "at" else []
            plain = first + [source.disturb(x) for x in plain[len(first) :]]
        function = getattr(ufunc, method)
        if method == "__call__" and ufunc.__name__ in MEANT and any(np.iscomplexobj(x) for x in plain):
            function, kwargs = MEANT[ufunc.__name__], {}
        result = function(*plain, **kwargs)
        if method == "at":
            return None
        if source is not None and not exact:
            single = method == "__call__" and ufunc.signature is None and _is_float(result)
            real = single and result.dtype.kind == "f"
            error = unit_of(ufunc.__name__, plain, np.asarray(result)) if real else None
            result = source.disturb(result, error)
        if out is None:
            return result if source is None else source.wrap(result)
        results = result if isinstance(result, tuple) else (result,)
        for target, values in zip(out, results, strict=True):
            np.copyto(_plain(target), values, casting="unsafe", where=kwargs.get("where", True))
        return out[0] if len(out) == 1 else out

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        source = _source((*args, *kwargs.values()))
        inside = (func.__module__ or "").startswith(("numpy.linalg", "numpy.fft"))
        if source is not None and (inside or func.__name__ in PRODUCTS):
            rounded = [source.disturb(_plain(x)) for x in args]
            result = func(*rounded, **{name: _plain(value) for name, value in kwargs.items()})
            return source.wrap(source.disturb(result))
        result = super().__array_function__(func, types, args, kwargs)
        return result if source is None else source.wrap(result)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return found if self.source is None or isinstance(found, Rounded) else self.source.wrap(found)

    def __float__(self) -> float:
        if self.dtype.kind != "c":
            return super().__float__()
        value = complex(self)
        if self.source is not None:
            self.source.read.append(value)
        return value.real

    def dot(self, other: Any, out: Any = None) -> Any:
        result = np.dot(self, other)
        if out is None:
            return result
        np.copyto(out, result)
        return out


def scatter(run: Callable[[Source], Sequence[Any]], rng: np.random.Generator) -> list[Array | None]:
    """How far rounding moves each number of each array that `run` returns: a standard error.

    `run(source)` wraps what it starts from by `source.wrap`. None stands for an array that is missing, or
    has another shape, in one of the runs.
    """
    runs = [[None if a is None else np.asarray(a) for a in run(Source(rng))] for _ in range(RUNS)]
    found: list[Array | None] = []
    for arrays in zip(*runs, strict=True):
        if any(a is None or a.shape != arrays[0].shape or a.dtype.kind not in "f" for a in arrays):
            found.append(None)
        else:
            found.append(spread(np.stack(arrays)) / AMPLIFIED)
    return found


def spread(runs: Array) -> Array:
    """The standard deviation over the first axis, also of numbers whose squares are too small to be held."""
    away = np.abs(runs - runs.mean(axis=0))
    most = away.max(axis=0)
    unit = np.where(most > 0, most, 1)
    return unit * np.sqrt(np.square(away / unit).sum(axis=0) / (len(runs) - 1))


def _is_float(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fc"


def _plain(value: Any) -> Any:
    if isinstance(value, Rounded):
        return value.view(np.ndarray)
    if isinstance(value, (tuple, list)) and any(isinstance(part, Rounded) for part in value):
        return type(value)(_plain(part) for part in value)
    return value


def _source(values: Sequence[Any]) -> Source | None:
    for value in values:
        if isinstance(value, Rounded) and value.source is not None:
            return value.source
        if isinstance(value, (tuple, list)) and (found := _source(value)) is not None:
            return found
    return None


def _adds(ufunc: Any, method: str, inputs: Sequence[Any]) -> bool:
    """The operation adds up several terms, each with its own rounding."""
    if method != "__call__" or ufunc.signature is not None:
        return True
    return ufunc.__name__ in ADDING and any(np.iscomplexobj(x) for x in inputs)
