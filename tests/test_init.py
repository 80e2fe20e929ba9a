"""Initialisers, held to torch.nn.init's bit for bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import scratchnn as snn
from scratchnn import init
from scratchnn.checks import Array

DTYPES = [(np.float32, torch.float32), (np.float64, torch.float64)]
SHAPES = [(10, 2), (1, 10), (3, 3), (64, 17), (5, 4, 3)]
EXACT = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def assert_same(ours: Array, theirs: torch.Tensor) -> None:
    expected = theirs.detach().numpy()
    assert ours.dtype == expected.dtype
    if EXACT:
        np.testing.assert_array_equal(ours, expected)
    else:
        np.testing.assert_allclose(ours, expected, rtol=0, atol=64 * np.finfo(ours.dtype).eps)


def check(name: str, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> None:
    """Our initialiser and torch's: the same numbers, and the same stream afterwards."""
    for dtype, torch_dtype in DTYPES:
        for seed in range(12):
            g, t = snn.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
            array = np.empty(shape, dtype)
            assert getattr(init, name)(array, *args, generator=g, **kwargs) is array
            tensor = getattr(torch.nn.init, name)(
                torch.empty(shape, dtype=torch_dtype), *args, generator=t, **kwargs
            )
            assert_same(array, tensor)
            assert_same(snn.rand(3, generator=g), torch.rand(3, generator=t))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gain", [1.0, 5 / 3, math.sqrt(2)])
@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_"])
def test_xavier(name: str, gain: float, shape: tuple[int, ...]) -> None:
    check(name, shape, gain)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_kaiming(name: str, mode: str, shape: tuple[int, ...]) -> None:
    for nonlinearity, slope in (("relu", 0), ("leaky_relu", 0.2), ("tanh", 0), ("linear", 0), ("selu", 0)):
        check(name, shape, slope, mode, nonlinearity)
    check(name, shape)


@pytest.mark.parametrize("shape", [(3,), *SHAPES])
def test_uniform_and_normal(shape: tuple[int, ...]) -> None:
    check("uniform_", shape)
    check("uniform_", shape, -0.3, 0.7)
    check("normal_", shape)
    check("normal_", shape, mean=-1.5, std=0.02)


def test_constants() -> None:
    for dtype, torch_dtype in DTYPES:
        for shape in ((3, 5), (5, 3)):
            array, tensor = np.empty(shape, dtype), torch.empty(shape, dtype=torch_dtype)
            assert_same(init.constant_(array, 0.3), torch.nn.init.constant_(tensor, 0.3))
            assert_same(init.ones_(array), torch.nn.init.ones_(tensor))
            assert_same(init.zeros_(array), torch.nn.init.zeros_(tensor))
            assert_same(init.eye_(array), torch.nn.init.eye_(tensor))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "torch_dtype"), DTYPES)
def test_what_a_linear_layer_draws_for_itself(dtype: Any, torch_dtype: torch.dtype, bias: bool) -> None:
    for seed in range(60):
        for out_features, in_features in ((10, 2), (1, 10), (128, 7), (3, 1)):
            torch.manual_seed(seed)
            layer = torch.nn.Linear(in_features, out_features, bias=bias, dtype=torch_dtype)
            snn.manual_seed(seed)
            w = np.empty((out_features, in_features), dtype)
            b = np.empty(out_features, dtype) if bias else None
            init.linear_default_(w, b)
            assert_same(w, layer.weight)
            if b is not None:
                assert_same(b, layer.bias)
            assert_same(snn.rand(3), torch.rand(3))


@pytest.mark.parametrize(("dtype", "torch_dtype"), DTYPES)
def test_the_layer_itself(dtype: Any, torch_dtype: torch.dtype) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        theirs = torch.nn.Sequential(
            torch.nn.Linear(2, 10, dtype=torch_dtype), torch.nn.Linear(10, 1, dtype=torch_dtype)
        )
        snn.manual_seed(seed)
        ours = snn.Sequential(snn.Linear(2, 10, dtype=dtype), snn.Linear(10, 1, dtype=dtype))
        for parameter, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_same(parameter.data, expected)


def test_a_parameter_is_filled_and_returned() -> None:
    layer = snn.Linear(2, 3)
    weight = layer.weight.data
    torch.manual_seed(4)
    snn.manual_seed(4)
    assert init.kaiming_uniform_(layer.weight, nonlinearity="relu") is layer.weight
    assert layer.weight.data is weight
    assert_same(weight, torch.nn.init.kaiming_uniform_(torch.empty(3, 2), nonlinearity="relu"))
    assert init.eye_(layer.weight) is layer.weight


def test_nothing_to_fill_is_filled_with_nothing() -> None:
    g = snn.Generator()
    before = g.get_state()
    for shape in ((0, 3), (3, 0)):
        assert init.kaiming_uniform_(np.empty(shape), generator=g).shape == shape
        assert init.xavier_normal_(np.empty(shape), generator=g).shape == shape
    np.testing.assert_array_equal(g.get_state(), before)


@pytest.mark.parametrize(
    "nonlinearity",
    ["linear", "conv1d", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"],
)
def test_gain(nonlinearity: Any) -> None:
    for param in (None, 0, 0.2, 1):
        found = init.calculate_gain(nonlinearity, param)
        assert found == torch.nn.init.calculate_gain(nonlinearity, param)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "must be one of 'linear'", lambda: init.calculate_gain("gelu")),
        (TypeError, "needs a number", lambda: init.calculate_gain("leaky_relu", True)),
        (TypeError, "needs a number", lambda: init.calculate_gain("leaky_relu", "0.1")),  # type: ignore[arg-type]
        (ValueError, "did you mean 'fan_in'", lambda: init.kaiming_uniform_(np.empty((2, 2)), mode="fan")),
        (ValueError, "two axes", lambda: init.kaiming_normal_(np.empty(2))),
        (ValueError, "two axes", lambda: init.xavier_uniform_(np.empty(2))),
        (ValueError, "two axes", lambda: init.eye_(np.empty((2, 2, 2)))),
        (TypeError, "Parameter or an array", lambda: init.zeros_([1.0, 2.0])),
        (TypeError, "Parameter or an array", lambda: init.uniform_(torch.empty(3))),
        (ValueError, "read-only", lambda: init.ones_(np.broadcast_to(np.zeros(1), (2, 2)))),
        (ValueError, "swap", lambda: init.uniform_(np.empty(2), 1, 0)),
        (ValueError, "std", lambda: init.normal_(np.empty(2), 0, -1)),
        (TypeError, "float32 or float64", lambda: init.uniform_(np.empty(2, int))),
    ],
)
def test_bad_input(error: type[Exception], message: str, call: Any) -> None:
    before = snn.default_generator.get_state()
    with pytest.raises(error, match=message):
        call()
    np.testing.assert_array_equal(snn.default_generator.get_state(), before)
