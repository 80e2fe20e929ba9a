"""The update rules of `functional.updates`: one step from equal inputs, against torch.optim."""

from __future__ import annotations

import types

import numba
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scratchnn.functional import updates

DTYPES = [np.float32, np.float64]
SIZE = 64

rates = st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 10.0])
decays = st.sampled_from([0.0, 1e-4, 0.01, 0.3])
scales = st.sampled_from([1e-8, 1e-3, 1.0, 1e4])
seeds = st.integers(0, 2**32 - 1)
shares = st.just(0.0) | st.floats(1e-6, 0.99)
flags = st.booleans()


def assert_close(got, want, *sizes):
    """Equal within 4 eps of the largest number that the step handles."""
    assert got.dtype == want.dtype
    largest = max(np.abs(size).max() for size in sizes)
    np.testing.assert_allclose(got, want, rtol=0, atol=4 * np.finfo(got.dtype).eps * largest)


def normals(rng, dtype, scale=1.0):
    return (scale * rng.standard_normal(SIZE)).astype(dtype)


def torch_step(kind, p, g, state, **arguments):
    """The parameter and the state after one step of torch.optim from a given state."""
    parameter = torch.nn.Parameter(torch.from_numpy(p.copy()))
    parameter.grad = torch.from_numpy(g.copy())
    optimizer = kind([parameter], foreach=False, **arguments)
    if state:
        optimizer.state[parameter] = {
            key: torch.as_tensor(np.array(value), dtype=None if key != "step" else torch.float32)
            for key, value in state.items()
        }
    optimizer.step()
    return parameter.detach().numpy(), {k: v.numpy() for k, v in optimizer.state[parameter].items()}


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=60)
@given(
    seed=seeds,
    lr=rates,
    momentum=shares,
    dampening=shares,
    weight_decay=decays,
    nesterov=flags,
    maximize=flags,
    first=flags,
    scale=scales,
)
def test_sgd_is_torchs(dtype, seed, lr, momentum, dampening, weight_decay, nesterov, maximize, first, scale):
    nesterov = nesterov and momentum > 0
    if nesterov:
        dampening = 0.0
    rng = np.random.default_rng(seed)
    p, g, b = normals(rng, dtype), normals(rng, dtype, scale), normals(rng, dtype, scale)
    if first:
        b = np.zeros_like(b)
    want_p, want_state = torch_step(
        torch.optim.SGD,
        p,
        g,
        {} if first or momentum == 0 else {"momentum_buffer": b},
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=nesterov,
        maximize=maximize,
    )
    scalars = map(dtype, updates.sgd_scalars(first, lr, momentum, dampening, weight_decay))
    got_p, got_b = updates.sgd(p, g, b, *scalars, nesterov, maximize)
    assert_close(got_p, want_p, p, want_p - p)
    if momentum:
        assert_close(got_b, want_state["momentum_buffer"], g, b, weight_decay * p)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])
@settings(deadline=None, max_examples=60)
@given(
    seed=seeds,
    t=st.integers(1, 10) | st.integers(1, 100_000),
    lr=rates,
    beta1=st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.999]) | st.floats(0.0, 0.9999),
    beta2=st.sampled_from([0.0, 0.5, 0.999]) | st.floats(0.0, 0.9999),
    eps=st.sampled_from([1e-8, 1e-5, 1.0]),
    weight_decay=decays,
    amsgrad=flags,
    maximize=flags,
    scale=scales,
)
def test_adam_is_torchs(
    dtype, decoupled, seed, t, lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, scale
):
    rng = np.random.default_rng(seed)
    p, g, m = normals(rng, dtype), normals(rng, dtype, scale), normals(rng, dtype, scale)
    v, peak = normals(rng, dtype, scale) ** 2, normals(rng, dtype, scale) ** 2
    if weight_decay and not decoupled:
        # The same sign as the decay: where the two cancel, Adam divides by the rounding error of
        # their sum (torch's, which fuses it, as well as ours), and no bound holds.
        g = np.copysign(g, -p if maximize else p)
    state = {"step": t - 1, "exp_avg": m, "exp_avg_sq": v}
    if amsgrad:
        state["max_exp_avg_sq"] = peak
    want_p, want = torch_step(
        torch.optim.AdamW if decoupled else torch.optim.Adam,
        p,
        g,
        state,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        amsgrad=amsgrad,
        maximize=maximize,
    )
    rule = updates.adamw if decoupled else updates.adam
    rule_scalars = updates.adamw_scalars if decoupled else updates.adam_scalars
    scalars = map(dtype, rule_scalars(t, lr, beta1, beta2, eps, weight_decay))
    got_p, got_m, got_v, got_peak = rule(p, g, m, v, peak, *scalars, amsgrad, maximize)
    pulled = g if decoupled else np.abs(g) + np.abs(weight_decay * p)
    assert_close(got_p, want_p, p, want_p - p)
    assert_close(got_m, want["exp_avg"], pulled, m)
    assert_close(got_v, want["exp_avg_sq"], pulled * pulled, v)
    if amsgrad:
        assert_close(got_peak, want["max_exp_avg_sq"], pulled * pulled, peak)
    else:
        assert got_peak is peak


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("g", [1e-8, 1e-12, 1e4])
def test_eps_stands_outside_the_bias_correction(dtype, g):
    """At g near eps an Adam with both corrections folded into lr is several times off."""
    p, gradient = np.zeros(4, dtype), np.full(4, g, dtype)
    m = v = np.zeros(4, dtype)
    parameter = torch.nn.Parameter(torch.zeros(4, dtype=torch.from_numpy(p).dtype))
    optimizer = torch.optim.Adam([parameter], lr=1.0, foreach=False)
    parameter.grad = torch.from_numpy(gradient)
    for t in range(1, 11):
        scalars = map(dtype, updates.adam_scalars(t, 1.0, 0.9, 0.999, 1e-8, 0.0))
        p, m, v, _ = updates.adam(p, gradient, m, v, v, *scalars, False, False)
        optimizer.step()
    want = parameter.detach().numpy()
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(p, want, rtol=10 * 4 * np.finfo(dtype).eps, atol=0)


@settings(deadline=None, max_examples=40)
@given(g=st.floats(-1e30, 1e30), m=st.floats(-1e30, 1e30))
@example(g=1e-30, m=1e30)
def test_without_memory_the_mean_is_the_gradient(g, m):
    one = np.ones(1)
    scalars = updates.adam_scalars(3, 0.1, 0.0, 0.9, 1e-8, 0.0)
    _, got, _, _ = updates.adam(one, g * one, m * one, one, one, *scalars, False, False)
    assert got[0] == g


RULES = {
    "sgd": (updates.sgd, 3, updates.sgd_scalars(False, 0.1, 0.9, 0.25, 0.01)),
    "sgd plain": (updates.sgd, 3, updates.sgd_scalars(True, 0.1, 0.0, 0.0, 0.0)),
    "adam": (updates.adam, 5, updates.adam_scalars(7, 0.1, 0.9, 0.999, 1e-8, 0.01)),
    "adam from the other end": (updates.adam, 5, updates.adam_scalars(7, 0.1, 0.3, 0.9, 1e-8, 0.0)),
    "adamw": (updates.adamw, 5, updates.adamw_scalars(7, 0.1, 0.9, 0.999, 1e-8, 0.01)),
}


@pytest.mark.parametrize(("rule", "count", "doubles"), RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("flag", [False, True])
def test_float32_stays_float32_and_arguments_stay_as_they_are(rule, count, doubles, flag):
    rng = np.random.default_rng(0)
    arrays = [np.abs(normals(rng, np.float32)) for _ in range(count)]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    results = rule(*arrays, *map(np.float32, doubles), flag, flag)
    assert {result.dtype for result in results} == {np.dtype(np.float32)}
    assert all(np.array_equal(now, then) for now, then in zip(arrays, before, strict=True))


def test_numba_compiles_the_rules_on_scalars_to_the_same_numbers():
    """The compiled engine's premise: one source, arrays in NumPy, scalars in Numba, equal bits."""
    names = {"adam": numba.njit(updates.adam)}
    jitted = {
        updates.sgd: numba.njit(updates.sgd),
        updates.adam: names["adam"],
        updates.adamw: numba.njit(
            types.FunctionType(updates.adamw.__code__, {**vars(updates), **names}, "adamw")
        ),
    }
    rng = np.random.default_rng(1)
    for rule, count, doubles in RULES.values():
        arrays = [np.abs(normals(rng, np.float64)) for _ in range(count)]
        for a in (False, True):
            for b in (False, True):
                want = np.stack(rule(*arrays, *map(np.float64, doubles), a, b))
                got = [jitted[rule](*scalars, *doubles, a, b) for scalars in zip(*arrays, strict=True)]
                np.testing.assert_array_equal(np.transpose(got), want)
