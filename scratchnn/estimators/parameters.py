"""The door of an estimator: its parameters, checked when it is fitted, as scikit-learn wants it."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = ["check_parameters", "widths_of"]

SOLVERS = ("adam", "sgd", "lbfgs")
LEARNING_RATES = ("constant", "invscaling", "adaptive")
DTYPES = ("auto", "float32", "float64")
ENGINES = ("auto", "numba", "numpy")


def _real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) and not math.isnan(value)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, (bool, np.bool_)) and int(value) >= least


def _share(value: Any) -> bool:
    return _real(value) and 0 <= value < 1


def _flag(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


NUMBERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "alpha": (lambda v: _real(v) and 0 <= v < math.inf, "a number of at least 0"),
    "batch_size": (lambda v: v == "auto" if isinstance(v, str) else _whole(v, 1), "'auto' or an int from 1"),
    "learning_rate_init": (lambda v: _real(v) and 0 < v < math.inf, "a positive number"),
    "power_t": (lambda v: _real(v) and 0 <= v < math.inf, "a number of at least 0"),
    "max_iter": (lambda v: _whole(v, 1), "an int from 1"),
    "max_fun": (lambda v: _whole(v, 1), "an int from 1"),
    "tol": (lambda v: _real(v) and v >= 0, "a number of at least 0"),
    "momentum": (lambda v: _real(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "beta_1": (_share, "a number in [0, 1)"),
    "beta_2": (_share, "a number in [0, 1)"),
    "epsilon": (lambda v: _real(v) and v > 0, "a positive number"),
    "validation_fraction": (lambda v: _real(v) and 0 < v < 1, "a number between 0 and 1"),
    "n_iter_no_change": (lambda v: _whole(v, 1) or v == math.inf, "an int from 1, or infinity"),
    "shuffle": (_flag, "True or False"),
    "warm_start": (_flag, "True or False"),
    "early_stopping": (_flag, "True or False"),
    "nesterovs_momentum": (_flag, "True or False"),
    "verbose": (lambda v: v == "bar" or _flag(v) or _whole(v, 0), "True, False, an int or 'bar'"),
}
CHOICES = {"solver": SOLVERS, "dtype": DTYPES, "engine": ENGINES}


def check_parameters(estimator: Any) -> None:
    """Raise ValueError for the first parameter of `estimator` that is out of its range."""
    owner = type(estimator).__name__
    for name, (right, needs) in NUMBERS.items():
        value = getattr(estimator, name)
        if not right(value):
            raise ValueError(f"{owner} got {name}={value!r}; it needs {needs}")
    for name, known in CHOICES.items():
        value = getattr(estimator, name)
        value = value if isinstance(value, str) or name != "dtype" else np.dtype(value).name
        if value not in known:
            names = ", ".join(map(repr, known))
            raise ValueError(f"{owner} got {name}={value!r}; it must be one of {names}")
    rate = estimator.learning_rate
    if not (callable(rate) or rate in LEARNING_RATES):
        names = ", ".join(map(repr, LEARNING_RATES))
        raise ValueError(
            f"{owner} got learning_rate={rate!r}; it must be one of {names}, or a function that makes a "
            "schedule of an optimizer, such as functools.partial(ExponentialLR, gamma=0.99)"
        )
    dropout = estimator.dropout
    for share in dropout if isinstance(dropout, (list, tuple)) else [dropout]:
        if not _share(share):
            raise ValueError(f"{owner} got dropout={dropout!r}; it needs numbers in [0, 1)")
    widths_of(estimator)
    if estimator.solver == "lbfgs" and (np.any(dropout) or callable(rate)):
        raise ValueError(
            f"{owner} got solver='lbfgs' with dropout or a schedule, which have no meaning there; "
            "use solver='adam' or 'sgd'"
        )


def widths_of(estimator: Any) -> list[int]:
    """The widths of the hidden layers. Raises ValueError for anything but ints from 1."""
    sizes = estimator.hidden_layer_sizes
    widths = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if not all(_whole(width, 1) for width in widths):
        raise ValueError(
            f"{type(estimator).__name__} got hidden_layer_sizes={sizes!r}; hidden_layer_sizes must be > 0, "
            "ints, one for each hidden layer"
        )
    return [int(width) for width in widths]
