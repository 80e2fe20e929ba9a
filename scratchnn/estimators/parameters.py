"""The door of an estimator: its parameters, checked when it is fitted, as scikit-learn wants it."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..checks import as_choice, shown
from ..layers import Module

__all__ = ["check_parameters", "widths_of"]

SOLVERS = ("adam", "sgd", "lbfgs")
LEARNING_RATES = ("constant", "invscaling", "adaptive")
DTYPES = ("auto", "float32", "float64")
MOST_UNITS = 2**31  # of a layer
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
    "n_iter_no_change": (
        lambda v: _whole(v, 1) or (_real(v) and v == math.inf),
        "an int from 1, or infinity",
    ),
    "shuffle": (_flag, "True or False"),
    "warm_start": (_flag, "True or False"),
    "early_stopping": (_flag, "True or False"),
    "nesterovs_momentum": (_flag, "True or False"),
    "verbose": (
        lambda v: (isinstance(v, str) and v == "bar") or _flag(v) or _whole(v, 0),
        "True, False, an int or 'bar'",
    ),
}
CHOICES = {"solver": SOLVERS, "dtype": DTYPES, "engine": ENGINES}


def _check_seed(owner: str, seed: Any) -> None:
    """`random_state` as scikit-learn takes it."""
    if seed is None or seed is np.random or isinstance(seed, np.random.RandomState):
        return
    if not (_whole(seed, 0) and seed < 2**32):
        raise ValueError(
            f"{owner} got random_state={shown(seed)}; it needs None, an int within [0, 2**32 - 1], "
            "or a RandomState instance"
        )


def check_parameters(estimator: Any) -> None:
    """Raise ValueError for the first parameter of `estimator` that is out of its range."""
    owner = type(estimator).__name__
    for name, (right, needs) in NUMBERS.items():
        value = getattr(estimator, name)
        if not right(value):
            raise ValueError(f"{owner} got {name}={shown(value)}; it needs {needs}")
    for name, known in CHOICES.items():
        value = getattr(estimator, name)
        if name == "dtype" and isinstance(value, (type, np.dtype)):
            value = np.dtype(value).name
        as_choice(owner, name, value, known)
    _check_seed(owner, estimator.random_state)
    rate = estimator.learning_rate
    is_schedule = callable(rate) and not isinstance(rate, Module)
    if not (is_schedule or (isinstance(rate, str) and rate in LEARNING_RATES)):
        names = ", ".join(map(repr, LEARNING_RATES))
        raise ValueError(
            f"{owner} got learning_rate={shown(rate)}; it must be one of {names}, or a function that makes a "
            "schedule of an optimizer, such as functools.partial(ExponentialLR, gamma=0.99)"
        )
    dropout = estimator.dropout
    for share in dropout if isinstance(dropout, (list, tuple)) else [dropout]:
        if not _share(share):
            raise ValueError(f"{owner} got dropout={shown(dropout)}; it needs numbers in [0, 1)")
    widths_of(estimator)
    if estimator.solver == "lbfgs" and (np.any(dropout) or callable(rate)):
        raise ValueError(
            f"{owner} got solver='lbfgs' with dropout or a schedule, which have no meaning there; "
            "use solver='adam' or 'sgd'"
        )


def widths_of(estimator: Any) -> list[int]:
    """The widths of the hidden layers. Raises ValueError for anything but ints from 1."""
    sizes = estimator.hidden_layer_sizes
    is_list = isinstance(sizes, (list, tuple, range)) or (isinstance(sizes, np.ndarray) and sizes.ndim == 1)
    widths = list(sizes) if is_list else [sizes]
    if not all(_whole(width, 1) and width < MOST_UNITS for width in widths):
        raise ValueError(
            f"{type(estimator).__name__} got hidden_layer_sizes={shown(sizes)}; hidden_layer_sizes must be "
            "> 0, ints, one for each hidden layer"
        )
    return [int(width) for width in widths]
