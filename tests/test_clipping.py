"""Gradient clipping against torch's, by hand and in fit on both engines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
import scratchnn as snn
from reference.tolerances import trajectory_tolerance
from scratchnn import functional as F

DTYPES = (np.float32, np.float64)
SHAPES = ((5, 3), (3,), (40, 17))


def parameters(dtype: Any, seed: int, scale: float = 1.0) -> tuple[list[Any], list[Any]]:
    """Ours and torch's, with the same gradients; the last has none."""
    rng = np.random.default_rng(seed)
    ours = [snn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in (*SHAPES, (2,))]
    theirs = [torch.nn.Parameter(torch.from_numpy(p.data.copy())) for p in ours]
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        a.grad = (scale * rng.standard_normal(a.shape)).astype(dtype)
        b.grad = torch.from_numpy(a.grad.copy())
    return ours, theirs


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    st.integers(0, 1000),
    st.floats(1e-6, 1e6),
    st.floats(0.0, 1e3),
    st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, math.inf]),
)
def test_norm(dtype: Any, seed: int, scale: float, bound: float, p: float) -> None:
    ours, theirs = parameters(dtype, seed, scale)
    norm = snn.clip_grad_norm_(ours, bound, norm_type=p)
    judge = torch.nn.utils.clip_grad_norm_(theirs, bound, norm_type=p)
    eps = np.finfo(dtype).eps
    assert norm.dtype == dtype
    # A power p magnifies the rounding of its argument by the logarithm of that.
    rtol = (16 if p in (0.0, 1.0, 2.0, math.inf) else 64) * eps
    np.testing.assert_allclose(norm, judge.item(), rtol=rtol)
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        assert a.grad.dtype == dtype
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=2 * rtol, atol=0)
    assert ours[-1].grad is None


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.integers(0, 1000), st.floats(0.0, 3.0))
def test_value(dtype: Any, seed: int, bound: float) -> None:
    ours, theirs = parameters(dtype, seed)
    ours[0].grad[0, 0] = theirs[0].grad[0, 0] = math.nan
    ours[1].grad[:2] = [math.inf, -math.inf]
    theirs[1].grad[:2] = torch.tensor([math.inf, -math.inf])
    snn.clip_grad_value_(ours, bound)
    torch.nn.utils.clip_grad_value_(theirs, bound)
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_array_equal(a.grad, b.grad.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite(dtype: Any, bad: float) -> None:
    ours, theirs = parameters(dtype, 0)
    ours[0].grad[0, 0] = theirs[0].grad[0, 0] = bad
    before = ours[1].grad.copy()
    with pytest.raises(RuntimeError, match=rf"norm of order 2.0 is {bad}"):
        snn.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(ours[1].grad, before)
    snn.clip_grad_norm_(ours, 1.0)
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_array_equal(a.grad, b.grad.numpy())


def test_corners() -> None:
    ours, theirs = parameters(np.float32, 0)
    assert snn.clip_grad_norm_(iter(ours[-1:]), 1.0) == 0.0
    assert snn.clip_grad_norm_(ours[0], 1e-3) == pytest.approx(
        torch.nn.utils.clip_grad_norm_(theirs[0], 1e-3).item(), rel=1e-6
    )
    # what is below the bound stays as it is, to the bit
    before = ours[1].grad.copy()
    snn.clip_grad_norm_(ours[1], 100.0)
    np.testing.assert_array_equal(ours[1].grad, before)
    # a gradient that may not be written to is replaced
    ours[1].grad = np.broadcast_to(np.float32(7), (3,))
    snn.clip_grad_value_(ours[1], 2.0)
    np.testing.assert_array_equal(ours[1].grad, [2, 2, 2])
    assert F.clip_factor(np.zeros(()), 1.0) == 1.0


def test_errors() -> None:
    ours, _ = parameters(np.float32, 0)
    clips: list[Any] = [snn.clip_grad_norm_, snn.clip_grad_value_]
    for clip in clips:
        with pytest.raises(TypeError, match="got a ndarray among the parameters"):
            clip([ours[0].data], 1.0)
        with pytest.raises(ValueError, match="it must be at least 0"):
            clip(ours, -1.0)
        with pytest.raises(TypeError, match="needs a number"):
            clip(ours, "1")
    with pytest.raises(ValueError, match="norm_type=-1"):
        snn.clip_grad_norm_(ours, 1.0, -1.0)
    with pytest.raises(TypeError, match="more than one dtype"):
        snn.clip_grad_norm_([*ours, *parameters(np.float64, 0)[0]], 1.0)


# ---- in fit ---------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: snn.SGD(p, lr=0.5, momentum=0.9),
    "adam": lambda p: snn.Adam(p, lr=0.01),
    "adamw": lambda p: snn.AdamW(p, lr=0.01, weight_decay=0.1),
}
BOUNDS: dict[str, dict[str, float]] = {
    "norm": {"clip_grad_norm": 0.05},
    "value": {"clip_grad_value": 0.01},
    "both": {"clip_grad_norm": 0.03, "clip_grad_value": 0.01},
}


def train(engine: str, dtype: Any, name: str, **bounds: Any) -> Any:
    snn.manual_seed(4)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 3)).astype(dtype)
    y = (10 * np.sin(X.sum(axis=1, keepdims=True))).astype(dtype)
    # 5 and 7 units: no stretch of the engine's memory is full
    model = snn.Sequential(
        snn.Linear(3, 5, dtype=dtype), snn.Tanh(), snn.Linear(5, 7, dtype=dtype), snn.Tanh(),
        snn.Linear(7, 1, dtype=dtype),
    )  # fmt: skip
    initial = reference.twin(model)
    optimizer = OPTIMIZERS[name](model.parameters())
    loader = snn.DataLoader(snn.TensorDataset(X, y), batch_size=32)
    history = snn.fit(model, snn.MSELoss(), optimizer, loader, 5, engine=engine, progress=False, **bounds)
    return model, optimizer, history, initial, X, y


def train_by_torch(dtype: Any, name: str, twin: Any, X: Any, y: Any, **bounds: Any) -> list[float]:
    kinds: dict[str, Any] = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    }
    optimizer = kinds[name](twin.parameters())
    losses = []
    for _ in range(5):
        for start in range(0, 150, 32):
            optimizer.zero_grad()
            x, target = torch.from_numpy(X[start : start + 32]), torch.from_numpy(y[start : start + 32])
            loss = torch.nn.functional.mse_loss(twin(x), target)
            loss.backward()  # type: ignore[no-untyped-call]
            if "clip_grad_value" in bounds:
                torch.nn.utils.clip_grad_value_(twin.parameters(), bounds["clip_grad_value"])
            if "clip_grad_norm" in bounds:
                torch.nn.utils.clip_grad_norm_(twin.parameters(), bounds["clip_grad_norm"])
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("bounds", BOUNDS)
def test_in_fit(dtype: Any, name: str, bounds: str) -> None:
    model, _, slow, twin, X, y = train("numpy", dtype, name, **BOUNDS[bounds])
    compiled, _, fast, _, _, _ = train("numba", dtype, name, **BOUNDS[bounds])
    free = train("numba", dtype, name)[2]
    bound = trajectory_tolerance(slow.steps, np.dtype(dtype), torch.device("cpu"))
    scale = float(slow.step_losses.max())
    assert np.abs(free.step_losses - fast.step_losses).max() > 1000 * bound  # the bounds do bind
    np.testing.assert_allclose(fast.step_losses, slow.step_losses, rtol=0, atol=scale * bound)
    judge = train_by_torch(dtype, name, twin, X, y, **BOUNDS[bounds])
    np.testing.assert_allclose(fast.step_losses, judge, rtol=0, atol=scale * bound)
    for a, b in zip(compiled.parameters(), model.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=0, atol=bound * max(1, np.abs(b.data).max()))
        # the gradient left behind is the clipped one
        np.testing.assert_allclose(a.grad, b.grad, rtol=0, atol=100 * bound)
        limit = BOUNDS[bounds].get("clip_grad_value", math.inf)
        assert np.abs(a.grad).max() <= np.dtype(dtype).type(limit)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_refused_at_the_door(engine: str) -> None:
    for name in ("clip_grad_norm", "clip_grad_value"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            train(engine, np.float32, "sgd", **{name: 0.0})
        with pytest.raises(TypeError, match=f"{name}='1'"):
            train(engine, np.float32, "sgd", **{name: "1"})
