"""What Hypothesis draws for the tests of formulas and networks: arrays that shrink to something readable."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = (np.float32, np.float64)
dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)
reductions = st.sampled_from(["mean", "sum", "none"])

# Where sigmoids saturate, exp overflows in float32 and in float64, and squares underflow.
FAR_OUT = [-1e4, -800.0, -90.0, -20.0, -1e-30, 1e-30, 20.0, 90.0, 800.0, 1e4]
KINKS = [0.0, -0.0, 0.5, 1.0, -1.0]

ordinary = st.floats(-4, 4, width=32).filter(lambda v: abs(v) > 1e-3 and abs(v - 0.5) > 1e-3)
smooth_reals = ordinary | st.sampled_from(FAR_OUT)
all_reals = smooth_reals | st.sampled_from(KINKS)
inner_probabilities = st.floats(1e-4, 1 - 1e-4)
all_probabilities = inner_probabilities | st.sampled_from([0.0, 1.0, 1e-38, 1e-13, 1e-11, 1 - 1e-7])


def shapes(least: int = 0, most: int = 3, side: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """One row, one column, a batch of one among them."""
    return hnp.array_shapes(min_dims=least, max_dims=most, min_side=1, max_side=side)


def array(draw: Any, shape: tuple[int, ...], elements: st.SearchStrategy[float], dtype: Any) -> np.ndarray:
    """A read-only array, so that an op which wrote into an argument would raise."""
    drawn = draw(hnp.arrays(np.float64, shape, elements=elements))
    with np.errstate(over="ignore"):
        return frozen(drawn.astype(dtype))


def frozen(value: Any) -> np.ndarray:
    kept = np.array(value)
    kept.flags.writeable = False
    return kept


def cotangent(seed: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A random dL/dy; never all ones."""
    return frozen(np.random.default_rng(seed).standard_normal(shape).astype(dtype))
