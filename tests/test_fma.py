"""The fused multiply-add: exact rounding, checked by fractions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchnn as snn
from scratchnn import fma as fma_module
from scratchnn.fma import HAS_FMA, fma
from scratchnn.random import uniform_

doubles = st.floats(-1e60, 1e60).filter(lambda x: x == 0 or abs(x) > 1e-60)


@settings(max_examples=300)
@given(a=doubles, b=doubles, c=doubles)
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    for addend in (c, -a * b, np.nextafter(-a * b, c)):
        exact = Fraction(a) * Fraction(b) + Fraction(float(addend))
        assert float(fma(np.float64(a), np.float64(b), np.float64(addend))) == float(exact)


@settings(max_examples=300)
@given(a=st.floats(-1e60, 1e60), b=st.floats(-1e-290, 1e-290), c=st.floats(-1e-300, 1e-300))
def test_fma_rounds_once_down_to_the_smallest_number(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert float(fma(np.float64(a), np.float64(b), np.float64(c))) == float(exact)


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


@pytest.mark.parametrize(("dtype", "bits"), [(np.float32, 24), (np.float64, 53)])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_hair_beside_a_tie_decides_it(dtype: Any, bits: int, side: int, sign: int) -> None:
    """(1 + s)(1 + t) = 1 + s + t + st is midway between two floats; c is too small to show otherwise."""
    s, t = 2.0 ** -(bits // 2), 2.0 ** -(bits - bits // 2)
    hair = side * 2.0**-110
    found = fma(dtype(sign * (1 + s)), dtype(1 + t), dtype(sign * hair))
    above = 2.0 ** (1 - bits) if side > 0 else 0.0
    assert found == dtype(sign * (1 + s + t + above))


def test_without_fma_torch_rounds_twice_and_so_do_we(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch told to do without AVX2, in a process of its own, against our formula told the same."""
    program = (
        "import sys, torch; torch.manual_seed(0);"
        "sys.stdout.buffer.write(torch.empty(20000).uniform_(-1 / 3, 1 / 3).numpy().tobytes())"
    )
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    answer = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    monkeypatch.setattr(fma_module, "HAS_FMA", platform.machine().lower() not in ("x86_64", "amd64"))
    ours = uniform_(np.empty(20000, np.float32), -1 / 3, 1 / 3)
    np.testing.assert_array_equal(ours, np.frombuffer(answer.stdout, np.float32))


def test_fma_is_used_where_torch_uses_it() -> None:
    capability = torch.backends.cpu.get_cpu_capability()
    if capability in ("AVX2", "AVX512"):
        assert HAS_FMA


def test_a_fused_multiply_add_is_what_makes_uniform_exact() -> None:
    """With two roundings many values would differ in the last bit; so the tests of uniform can fail."""
    x = snn.rand(20000)
    low, span = np.float32(-1 / 3), np.float32(2 / 3)
    assert np.mean(fma(x, span, low) != x * span + low) > 0.1
