"""Initialisers: `torch.nn.init`'s names, arguments, bounds and order of draws.

Each fills a Parameter or an array in place and returns it. `weight` is (M, D), M outputs and D inputs;
further axes count as a receptive field. The numbers are torch's, bit for bit.
Sources: Glorot and Bengio 2010 (xavier), He et al. 2015, arXiv:1502.01852 (kaiming);
https://docs.pytorch.org/docs/stable/nn.init.html
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.ma import MaskedArray

from . import random
from .checks import REAL_DTYPES, Array, as_choice, as_number, shown
from .random import Generator

__all__ = [
    "calculate_gain",
    "constant_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "linear_default_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

T = TypeVar("T")  # an ndarray, or a Parameter: anything that holds one as `.data`

GAINS = {
    "linear": 1.0,
    **{f"conv{transpose}{n}d": 1.0 for transpose in ("", "_transpose") for n in (1, 2, 3)},
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,  # found by experiment: pytorch pull request 50664
}
NONLINEARITIES = (*GAINS, "leaky_relu")


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights grow so that signals keep their variance through `nonlinearity`.

    linear, sigmoid, conv{1,2,3}d: 1; tanh: 5/3; relu: sqrt(2); selu: 3/4;
    leaky_relu: sqrt(2 / (1 + slope**2)) with the slope `param`, 0.01 if None.

    Raises:
        ValueError: another name. TypeError: a slope that is not a number.
    """
    name = as_choice("calculate_gain", "nonlinearity", nonlinearity, NONLINEARITIES)
    slope = 0.01 if param is None else as_number("calculate_gain", "param", param)
    if name == "leaky_relu":
        return math.sqrt(2.0 / (1 + slope**2))
    return GAINS[name]


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> T:
    """Fill with uniform numbers in [a, b)."""
    low, high = as_number("uniform_", "a", a), as_number("uniform_", "b", b)
    random.uniform_(_floats("uniform_", tensor), low, high, generator=generator)
    return tensor


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> T:
    """Fill with normal numbers."""
    random.normal_(_floats("normal_", tensor), mean, std, generator=generator)
    return tensor


def constant_(tensor: T, val: float) -> T:
    """Fill with `val`."""
    return _fill("constant_", tensor, as_number("constant_", "val", val))


def ones_(tensor: T) -> T:
    """Fill with 1."""
    return _fill("ones_", tensor, 1.0)


def zeros_(tensor: T) -> T:
    """Fill with 0."""
    return _fill("zeros_", tensor, 0.0)


def eye_(tensor: T) -> T:
    """Fill an (M, D) matrix with the identity: as many inputs pass unchanged as possible."""
    array = _array("eye_", tensor)
    if array.ndim != 2:
        raise ValueError(f"eye_ got shape {array.shape}; it fills matrices, with two axes")
    array[...] = np.eye(*array.shape, dtype=array.dtype)
    return tensor


def xavier_uniform_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """Uniform in (-a, a), a = sqrt(3) * gain * sqrt(2 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    bound = math.sqrt(3.0) * _xavier_std("xavier_uniform_", tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    return normal_(tensor, 0.0, _xavier_std("xavier_normal_", tensor, gain), generator)


def kaiming_uniform_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> T:
    """Uniform in (-bound, bound), bound = sqrt(3) * gain / sqrt(fan). He et al. 2015.

    Args:
        a: the negative slope, for leaky_relu. mode: fan_in keeps the variance forward, fan_out backward.
    """
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> T:
    """Normal with standard deviation gain / sqrt(fan); arguments as `kaiming_uniform_`. He et al. 2015."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity), generator)


def linear_default_(weight: Any, bias: Any = None, generator: Generator | None = None) -> None:
    """What `torch.nn.Linear` draws for itself: all of `weight` first, then `bias`.

    weight: uniform in (-w, w), w = sqrt(3) * gain / sqrt(D) with leaky_relu's gain at slope sqrt(5);
    bias: uniform in (-b, b), b = 1 / sqrt(D).

    Args:
        weight: (M, D). bias: (M,), or None, which draws nothing.
    Source: torch/nn/modules/linear.py, `reset_parameters`.
    """
    fan_in, _ = _fans("linear_default_", weight, "weight")
    if bias is not None:
        _floats("linear_default_", bias, "bias")
    kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    if bias is not None:
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
        uniform_(bias, -bound, bound, generator)


def _fill(owner: str, tensor: T, value: float) -> T:
    _array(owner, tensor)[...] = value
    return tensor


def _xavier_std(owner: str, tensor: Any, gain: float) -> float:
    gain = as_number(owner, "gain", gain, least=0, finite=True)
    return gain * math.sqrt(2.0 / float(sum(_fans(owner, tensor))))


def _kaiming_std(owner: str, tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    fans = dict(zip(("fan_in", "fan_out"), _fans(owner, tensor), strict=True))
    fan = fans[as_choice(owner, "mode", mode.lower() if isinstance(mode, str) else mode, tuple(fans))]
    as_number(owner, "a", a, finite=True)
    gain = calculate_gain(as_choice(owner, "nonlinearity", nonlinearity, NONLINEARITIES), a)
    return gain / math.sqrt(fan) if fan else 0.0  # nothing to fill


def _fans(owner: str, tensor: Any, name: str = "tensor") -> tuple[int, int]:
    """(fan_in, fan_out): how many numbers a unit reads, and how many read an input."""
    shape = _floats(owner, tensor, name).shape
    if len(shape) < 2:
        raise ValueError(
            f"{owner} got {name} of shape {shape}; fan in and fan out need two axes at least: (out, in)"
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _floats(owner: str, tensor: Any, name: str = "tensor") -> Array:
    """The array to fill with random numbers."""
    array = _array(owner, tensor, name)
    if array.dtype not in REAL_DTYPES:
        raise TypeError(f"{owner} got {name} of dtype {array.dtype}; it fills float32 or float64")
    return array


def _array(owner: str, tensor: Any, name: str = "tensor") -> Array:
    """The array to fill: `tensor` itself, or the `.data` of a Parameter."""
    sparse = hasattr(tensor, "toarray")  # its `data` is what is not zero, without a shape
    array = tensor if isinstance(tensor, np.ndarray) or sparse else getattr(tensor, "data", None)
    if not isinstance(array, np.ndarray) or isinstance(array, MaskedArray):
        raise TypeError(f"{owner} got {name}={shown(tensor)}; it fills a Parameter or an array")
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{owner} got {name} of dtype {array.dtype}; it fills arrays of numbers")
    if not array.flags.writeable:
        raise ValueError(f"{owner} got a read-only array as {name}; pass a copy of it")
    return array
