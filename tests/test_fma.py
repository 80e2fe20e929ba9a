"""The fused multiply-add: exact rounding, checked by fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchnn as snn
from scratchnn.fma import HAS_FMA, fma

doubles = st.floats(-1e60, 1e60).filter(lambda x: x == 0 or abs(x) > 1e-60)


@settings(max_examples=300)
@given(a=doubles, b=doubles, c=doubles)
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    for addend in (c, -a * b, np.nextafter(-a * b, c)):
        exact = Fraction(a) * Fraction(b) + Fraction(float(addend))
        assert float(fma(np.float64(a), np.float64(b), np.float64(addend))) == float(exact)


singles = st.floats(-1e9, 1e9, width=32).filter(lambda x: x == 0 or abs(x) > 1e-9)


@settings(max_examples=300)
@given(a=singles, b=singles, c=singles)
def test_fma_rounds_once_in_float32(a: float, b: float, c: float) -> None:
    product = float(np.float32(a) * np.float32(b))
    for addend in (c, -product, float(np.float32(c / 2**24))):
        exact = Fraction(a) * Fraction(b) + Fraction(addend)
        found = fma(np.float32(a), np.float32(b), np.float32(addend))
        assert found.dtype == np.float32
        error = abs(Fraction(float(found)) - exact)
        for neighbour in (np.nextafter(found, np.float32(np.inf)), np.nextafter(found, np.float32(-np.inf))):
            assert error <= abs(Fraction(float(neighbour)) - exact)


def test_fma_is_used_where_torch_uses_it() -> None:
    capability = torch.backends.cpu.get_cpu_capability()
    if capability in ("AVX2", "AVX512"):
        assert HAS_FMA


def test_a_fused_multiply_add_is_what_makes_uniform_exact() -> None:
    """With two roundings many values would differ in the last bit; so the tests of uniform can fail."""
    x = snn.rand(20000)
    low, span = np.float32(-1 / 3), np.float32(2 / 3)
    assert np.mean(fma(x, span, low) != x * span + low) > 0.1
