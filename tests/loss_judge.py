"""What the tests of losses share: read-only inputs, and torch's verdict on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

REDUCTIONS = ("mean", "sum", "none")
DTYPES = (np.float32, np.float64)
STEP = 1e-20  # complex step: its square is far below rounding

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(DTYPES)
reductions = st.sampled_from(REDUCTIONS)
shapes = st.lists(st.integers(1, 6), max_size=3).map(tuple)
row_shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)


def frozen(value: Any, dtype: Any = None) -> np.ndarray:
    array = np.array(value, dtype)
    array.flags.writeable = False
    return array


def tensor(array: np.ndarray | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(np.array(array))


def eps_of(array: np.ndarray) -> float:
    return float(np.finfo(array.dtype).eps)


def judge(function: Any, prediction: np.ndarray, *args: Any, dloss: Any = None, **options: Any) -> tuple:
    """torch's loss and gradient, the gradient for `dloss` (default 1)."""
    leaf = tensor(prediction).requires_grad_()
    loss = function(leaf, *[tensor(a) for a in args], **options)
    upstream = torch.ones_like(loss) if dloss is None else torch.as_tensor(np.array(dloss), dtype=loss.dtype)
    loss.backward(upstream.expand(loss.shape))
    return loss.detach().numpy(), leaf.grad.numpy()


def same_kind(ours: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    assert ours.dtype == dtype
    assert np.shape(ours) == shape
