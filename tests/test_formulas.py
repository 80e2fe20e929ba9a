"""Every op and op_vjp in the table: against torch, by complex step, and along random directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cotangent, dtypes, seeds

STEP = 1e-20
UNDERFLOW = 1e-286  # STEP times less than this is no normal number any more
BITS = 64  # complex step against the formula, in eps of what the gradient is made of: 1.4e-14
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def run(case: Case, arguments: tuple[Any, ...], dy: np.ndarray) -> tuple[Any, tuple[Any, ...]]:
    with np.errstate(all="ignore"):
        y = case.op(*arguments)
        return y, case.vjp(dy, arguments, y)


def program(case: Case, arguments: tuple[Any, ...], dy: Any) -> str:
    """What to paste to see the failure again."""
    given = ", ".join(repr(a) for a in arguments)
    return (
        "\nimport numpy as np\nfrom numpy import array, float32, float64\nfrom cases import CASES\n"
        f"case = next(c for c in CASES if c.name == {case.name!r})\narguments = ({given},)\ndy = {dy!r}\n"
        f"y = case.op(*arguments)\nprint(y, case.vjp(dy, arguments, y))"
    )


def torchs(case: Case, arguments: tuple[Any, ...], dy: np.ndarray) -> tuple[Any, list[Any]]:
    tensors = [torch.from_numpy(np.array(a)) if isinstance(a, np.ndarray) else a for a in arguments]
    leaves = [tensors[i].requires_grad_() for i in case.places]
    y = case.judge(*tensors)
    gradients = torch.autograd.grad(y, leaves, torch.from_numpy(np.array(dy, np.result_type(dy))))
    return y.detach().numpy(), [g.numpy() for g in gradients]


@each_case
@settings(max_examples=60)
@given(data=st.data(), dtype=dtypes, seed=seeds)
def test_gradients_are_torchs(case: Case, data: Any, dtype: Any, seed: int) -> None:
    arguments = case.draw(data.draw, dtype, False)
    with np.errstate(all="ignore"):
        shape = np.shape(case.op(*arguments))
    dy = cotangent(seed, shape, dtype)
    y, ours = run(case, arguments, dy)
    theirs_y, theirs = torchs(case, arguments, dy)
    assert y.dtype == dtype
    assert np.shape(y) == theirs_y.shape
    scales = case.scale(dy, *arguments)
    for gradient, judge, scale in zip(ours, theirs, scales, strict=True):
        assert gradient.dtype == dtype
        assert gradient.shape == judge.shape
        if case.exact:
            assert np.array_equal(gradient, judge, equal_nan=True), program(case, arguments, dy)
        else:
            bound = 8 * np.finfo(dtype).eps * scale + 4 * np.finfo(dtype).smallest_subnormal
            assert np.all(np.abs(gradient - judge) <= bound), program(case, arguments, dy)


@each_case
@settings(max_examples=40)
@given(data=st.data(), seed=seeds)
def test_every_entry_by_complex_step(case: Case, data: Any, seed: int) -> None:
    arguments = case.draw(data.draw, np.float64, True)
    shape = np.shape(case.op(*arguments))
    dy = cotangent(seed, shape, np.float64)
    _, gradients = run(case, arguments, dy)
    for place, gradient, scale in zip(case.places, gradients, case.scale(dy, *arguments), strict=True):
        scale = np.broadcast_to(scale, gradient.shape)
        for index in np.ndindex(gradient.shape):
            stepped = [a.astype(complex) if i in case.places else a for i, a in enumerate(arguments)]
            stepped[place][index] += 1j * STEP
            numeric = (dy * np.asarray(case.op(*stepped)).imag).sum() / STEP
            error = abs(numeric - gradient[index])
            assert error <= BITS * np.finfo(float).eps * scale[index] + UNDERFLOW, program(
                case, arguments, dy
            )


@each_case
@settings(max_examples=40)
@given(data=st.data(), seed=seeds)
def test_along_a_random_direction(case: Case, data: Any, seed: int) -> None:
    """<v, vjp(u)> = <Jv, u>: all inputs at once, in one evaluation."""
    arguments = case.draw(data.draw, np.float64, True)
    dy = cotangent(seed, np.shape(case.op(*arguments)), np.float64)
    _, gradients = run(case, arguments, dy)
    stepped, along, allowed = list(arguments), 0.0, 0.0
    for k, (place, gradient) in enumerate(zip(case.places, gradients, strict=True)):
        v = cotangent(seed + k + 1, gradient.shape, np.float64)
        stepped[place] = arguments[place] + 1j * STEP * v
        along += float((v * gradient).sum())
        allowed += float((np.abs(v) * case.scale(dy, *arguments)[k]).sum())
    numeric = (dy * np.asarray(case.op(*stepped)).imag).sum() / STEP
    assert abs(numeric - along) <= BITS * np.finfo(float).eps * allowed + UNDERFLOW, program(
        case, arguments, dy
    )


@each_case
@settings(max_examples=15)
@given(data=st.data(), dtype=dtypes, seed=seeds)
def test_a_vjp_is_linear_in_what_comes_from_above(case: Case, data: Any, dtype: Any, seed: int) -> None:
    """Twice the upstream gradient is twice the downstream one, to the bit; none gives none."""
    arguments = case.draw(data.draw, dtype, True)
    dy = cotangent(seed, np.shape(case.op(*arguments)), dtype)
    _, once = run(case, arguments, dy)
    _, twice = run(case, arguments, dy * dtype(2))
    _, none = run(case, arguments, dy * dtype(0))
    tiny = 4 * float(np.finfo(dtype).smallest_subnormal)
    for a, b, c in zip(once, twice, none, strict=True):
        assert np.all(np.abs(2 * a - b) <= tiny)
        assert not np.any(c)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [c for c in CASES if c.exact], ids=str)
def test_nan_passes_as_in_torch(case: Case, dtype: Any) -> None:
    if case.name not in ("relu", "leaky_relu", "threshold", "identity"):
        return
    x = np.array([np.nan, 1.0, -1.0], dtype)
    extra = {"leaky_relu": (0.3,), "threshold": (0.5, -2.0)}.get(case.name, ())
    dy = np.array([1.5, np.nan, np.nan], dtype)
    _, (ours,) = run(case, (x, *extra), dy)
    _, (theirs,) = torchs(case, (x, *extra), dy)
    assert np.array_equal(ours, theirs, equal_nan=True)
