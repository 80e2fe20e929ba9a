"""The vocabulary on lanes: what `functional.vocabulary`'s words mean in compiled code.

exp, log, log1p and tanh are polynomials without branches, within 2 units in the last place over the
whole range, infinities, NaN and denormals included (tests/test_engine_words.py measures them).
Sources: the argument reductions are those of fdlibm (Sun Microsystems 1993), `e_exp.c`, `e_log.c`
and `s_log1p.c`; the series are Taylor's, cut where the next term is below the last place; the rational
function in tanh is that of Cephes (Moshier 1989), `tanh.c`.
"""

from __future__ import annotations

import math
from typing import Any

from numba.extending import overload

from . import lanes as on
from .inner import INLINED, inner_inlined
from .lanes import fma, maximum, minimum, sqrt, where

__all__ = ["exp", "log", "log1p", "maximum", "minimum", "sqrt", "tanh", "where"]


LOG2_E = 1 / math.log(2)
INF, NAN = math.inf, math.nan
# 1/k!, for exp
C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13 = (1 / math.factorial(k) for k in range(2, 14))
# 2/(2k+1), for log((1 + s)/(1 - s)) = 2s + s^3 2/3 + ...
A1, A2, A3, A4, A5, A6, A7, A8, A9, A10 = (2 / (2 * k + 1) for k in range(1, 11))

# tanh x = x + x^3 P(x^2)/Q(x^2) for |x| < 0.625
P0, P1, P2 = -1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1
Q0, Q1, Q2 = 4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491632931402e2


class Format:
    """What the reductions must know of a float format."""

    def __init__(self, bits: int) -> None:
        single = bits == 32
        self.magic = 1.5 * 2.0 ** on.MANTISSA[bits]  # adding it rounds to an integer
        # ln 2 in two parts: the first has trailing zeros, so that n * high is exact.
        self.ln2_high = float.fromhex("0x1.62e4p-1" if single else "0x1.62e42feep-1")
        self.ln2_low = math.log(2) - self.ln2_high if single else 1.90821492927058770002e-10
        self.exp_high, self.exp_low = (89.0, -104.0) if single else (710.0, -746.0)
        self.smallest_normal = 2.0 ** (1 - on.EXPONENT_BIAS[bits])
        self.lift = float(on.MANTISSA[bits] + 2)  # 2**lift makes every denormal normal
        self.lift_factor = 2.0**self.lift
        self.largest = float.fromhex("0x1.fffffep127" if single else "0x1.fffffffffffffp1023")


SINGLE, DOUBLE = Format(32), Format(64)


def exp(x: Any) -> Any:
    """e to the x."""


def log(x: Any) -> Any:
    """Natural logarithm; -inf at 0, NaN below."""


def log1p(x: Any) -> Any:
    """log(1 + x) without the rounding of 1 + x."""


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""


@inner_inlined
def _tail32(r: Any) -> Any:
    """(e^r - 1 - r) / r^2 for |r| <= ln(2)/2."""
    return fma(r, fma(r, fma(r, fma(r, fma(r, C7, C6), C5), C4), C3), C2)


@inner_inlined
def _tail64(r: Any) -> Any:
    """(e^r - 1 - r) / r^2 for |r| <= ln(2)/2."""
    q = fma(r, fma(r, fma(r, fma(r, fma(r, C13, C12), C11), C10), C9), C8)
    return fma(r, fma(r, fma(r, fma(r, fma(r, fma(r, q, C7), C6), C5), C4), C3), C2)


@inner_inlined
def _series32(z: Any) -> Any:
    """2/3 + 2/5 z + ..., for z = s^2 <= 0.0295."""
    return fma(z, fma(z, fma(z, fma(z, A5, A4), A3), A2), A1)


@inner_inlined
def _series64(z: Any) -> Any:
    """2/3 + 2/5 z + ..., for z = s^2 <= 0.0295."""
    high = fma(z, fma(z, fma(z, fma(z, fma(z, A10, A9), A8), A7), A6), A5)
    return fma(z, fma(z, fma(z, fma(z, high, A4), A3), A2), A1)


def _make(form: Format, tail: Any, series: Any) -> dict[Any, Any]:
    """exp, log, log1p and tanh for one format."""
    magic, ln2_high, ln2_low = form.magic, form.ln2_high, form.ln2_low
    exp_high, exp_low, largest = form.exp_high, form.exp_low, form.largest
    smallest_normal, lift, lift_factor = form.smallest_normal, form.lift, form.lift_factor

    @inner_inlined
    def reduced(x: Any) -> Any:
        """(e^r - 1, shifted n) with x = n ln 2 + r."""
        shifted = fma(x, LOG2_E, magic)
        n = shifted - magic
        r = fma(n, -ln2_low, fma(n, -ln2_high, x))
        return fma(r * r, tail(r), r), shifted

    @inner_inlined
    def exp_(x: Any) -> Any:
        # Beyond these bounds the result is inf or 0 already; NaN fails both comparisons and goes through.
        inside = where(x > exp_high, exp_high, where(x < exp_low, exp_low, x))
        power, shifted = reduced(inside)
        return on.times_power_of_two(power + 1.0, shifted)

    @inner_inlined
    def log_of(m: Any, k: Any, correction: Any) -> Any:
        """log(m 2^k) for m = 1 + f; `correction` is what rounding took from f."""
        f = (m - 1.0) + correction
        s = f / (2.0 + f)
        half_square = 0.5 * f * f
        z = s * s
        rest = s * (half_square + z * series(z))
        # f - f^2/2 + s (f^2/2 + R) is log(1 + f), the large parts last.
        return k * ln2_high - ((half_square - (rest + k * ln2_low)) - f)

    @inner_inlined
    def log_(x: Any) -> Any:
        tiny = x < smallest_normal
        m, k = on.split_exponent(where(tiny, x * lift_factor, x))
        y = log_of(m, where(tiny, k - lift, k), 0.0 * k)
        finite = where(x > largest, x, y)
        return where(x > 0.0, finite, where(x == 0.0, -INF, NAN))

    @inner_inlined
    def log1p_(x: Any) -> Any:
        u = 1.0 + x
        m, k = on.split_exponent(u)
        # The part of x that 1 + x lost, relative to 2^k: it goes back into f.
        lost = where(x < 1.0, x - (u - 1.0), 1.0 - (u - x))
        y = log_of(m, k, lost * (m / u))
        finite = where(u > largest, u, where(u == 1.0, x, y))
        return where(u > 0.0, finite, where(u == 0.0, -INF, NAN))

    @inner_inlined
    def tanh_(x: Any) -> Any:
        # With E = e^(2|x|) - 1: tanh|x| = E / (E + 2). Above 22 that is 1 in either format.
        size = on.absolute(x)
        power, shifted = reduced(where(size > 22.0, 44.0, 2.0 * size))
        scale = on.times_power_of_two(0.0 * power + 1.0, shifted)
        e = fma(scale, power, scale - 1.0)
        # Near zero a rational function is closer: x + x z P(z)/Q(z), z = x^2.
        z = x * x
        p = fma(z, fma(z, P2, P1), P0)
        q = fma(z, fma(z, z + Q2, Q1), Q0)
        return on.copysign(where(size < 0.625, fma(size * z, p / q, size), e / (e + 2.0)), x)

    return {exp: exp_, log: log_, log1p: log1p_, tanh: tanh_}


_FORMS = {32: _make(SINGLE, _tail32, _series32), 64: _make(DOUBLE, _tail64, _series64)}


def _overload(word: Any) -> None:
    @overload(word, jit_options=INLINED)
    def choose(x):
        if not isinstance(x, on.Lanes):
            return None
        form = _FORMS[x.dtype.bitwidth][word]
        return lambda x: form(x)


for _word in (exp, log, log1p, tanh):
    _overload(_word)
