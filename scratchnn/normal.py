"""Box-Muller: pairs of uniform numbers turned into pairs of normal ones, rounded as PyTorch rounds them.

    radius = sqrt(-2 log u1),  angle = 2 pi u2,  value = radius * cos(angle),  partner = radius * sin(angle)

float64 takes log, cos and sin from the C library. float32 takes the Cephes library's polynomials, eight at a
time in torch; here with a fused multiply-add wherever torch's compiler puts one, so that no bit differs.
Sources: Box and Muller 1958, Annals of Mathematical Statistics 29(2); Moshier's Cephes, `logf.c` and
`sinf.c`; torch 2.13, `aten/src/ATen/native/cpu/{DistributionTemplates,avx_mathfun}.h`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .checks import Array
from .fma import multiply_add

__all__ = ["BLOCK", "box_muller_blocks", "box_muller_pair"]

BLOCK = 16  # torch turns 16 uniforms into 16 normals at a time

f32 = np.float32
SQRT_HALF = f32(math.sqrt(0.5))
# log(1 + x) = x - x^2 / 2 + x^3 * P(x) on [sqrt(1/2) - 1, sqrt(2) - 1], highest power first.
LOG_POLYNOMIAL = [
    f32(c)
    for c in (
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    )
]
# log(2) in two parts: the first has few bits, so that a small integer times it is exact.
LOG_2_HIGH, LOG_2_LOW = f32(0.693359375), f32(-2.12194440e-4)
FOUR_OVER_PI = f32(4 / math.pi)
# -pi/4 in three parts, for the same reason.
MINUS_QUARTER_PI = [f32(c) for c in (-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)]
# cos(x) = 1 - z / 2 + z^2 * P(z) and sin(x) = x + x * z * Q(z) with z = x^2, on [-pi/4, pi/4].
COS_POLYNOMIAL = [f32(c) for c in (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)]
SIN_POLYNOMIAL = [f32(c) for c in (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)]


def box_muller_pair(u1: float, u2: float) -> tuple[float, float]:
    """One pair of standard normals from two uniform doubles; here u1 gives the angle and u2 the radius."""
    radius = math.sqrt(-2.0 * math.log1p(-u2))
    angle = 2.0 * math.pi * u1
    return radius * math.cos(angle), radius * math.sin(angle)


def box_muller_blocks(uniforms: Array) -> Array:
    """Standard normals from blocks of uniforms.

    Args:
        uniforms: (blocks, 16) in [0, 1), float32 or float64; the first eight of a row give the radii, the
            last eight the angles.
    Returns:
        (blocks, 16): eight cosines, then their eight sines.
    """
    half = BLOCK // 2
    log, sincos = (log_f32, sincos_f32) if uniforms.dtype == np.float32 else (_log_f64, _sincos_f64)
    radius = np.sqrt(-2 * log(1 - uniforms[:, :half]))
    sin, cos = sincos((2 * math.pi) * uniforms[:, half:])
    return np.hstack([radius * cos, radius * sin])


def log_f32(x: Array) -> Array:
    """log(x) of positive float32, as Cephes: x = m * 2^e with m in [sqrt(1/2), sqrt(2))."""
    mantissa, exponent = np.frexp(x)
    below = mantissa < SQRT_HALF
    e = (exponent - below).astype(f32)
    x = np.where(below, mantissa - 1 + mantissa, mantissa - 1)
    square = x * x
    cube_term = _horner(LOG_POLYNOMIAL, x) * x
    y = multiply_add(cube_term, square, e * LOG_2_LOW) - square * f32(0.5)
    return multiply_add(e, LOG_2_HIGH, x + y)


def sincos_f32(x: Array) -> tuple[Array, Array]:
    """(sin, cos) of float32 in [0, 8192), as Cephes: take off multiples of pi/2, then two polynomials."""
    octant = (x * FOUR_OVER_PI).astype(np.int32)
    octant = (octant + 1) & ~1  # even: 0, 2, 4, 6 for the four quarters
    for part in MINUS_QUARTER_PI:
        x = multiply_add(octant.astype(f32), part, x)
    z = x * x
    cos = multiply_add(_horner(COS_POLYNOMIAL, z) * z, z, z * f32(-0.5)) + f32(1)
    sin = multiply_add(_horner(SIN_POLYNOMIAL, z) * z, x, x)
    swap = octant & 2 != 0
    sin, cos = np.where(swap, cos, sin), np.where(swap, sin, cos)
    return np.where(octant & 4, -sin, sin), np.where((octant + 2) & 4, -cos, cos)


def _horner(coefficients: list[np.float32], x: Array) -> Array:
    y = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        y = multiply_add(y, x, coefficient)
    return y


def _log_f64(x: Array) -> Array:
    return _libm(math.log, x)


def _sincos_f64(x: Array) -> tuple[Array, Array]:
    return _libm(math.sin, x), _libm(math.cos, x)


def _libm(function: Callable[[float], float], x: Array) -> Array:
    """The C library's function on an array: NumPy's own differ from it in one value of a thousand."""
    return np.array([function(value) for value in x.ravel().tolist()]).reshape(x.shape)
