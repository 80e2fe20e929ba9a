"""ONNX exports: checked by onnx, and by onnxruntime equal to the model."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from file_cases import LEAVES, models
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchnn as snn
from scratchnn.files import onnx_graph

DTYPES = (np.float32, np.float64)
# Sigmoid, tanh and exp are other approximations there; sums run in another order.
EPS_ALLOWED = 64


def export(model: snn.Module, path: Path) -> onnx.ModelProto:
    snn.export_onnx(model, path)
    loaded = onnx.load(path)
    onnx.checker.check_model(loaded, full_check=True)
    return loaded


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (y,) = session.run(["y"], {"x": x})
    return y


def assert_same(y: np.ndarray, wanted: np.ndarray, scale: float) -> None:
    assert y.dtype == wanted.dtype
    tolerance = EPS_ALLOWED * np.finfo(wanted.dtype).eps * max(1.0, scale)
    np.testing.assert_allclose(y, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("leaf", LEAVES, ids=repr)
def test_every_layer(leaf: snn.Module, rows: int, dtype: Any, tmp_path: Path) -> None:
    model = snn.Sequential(snn.Linear(3, 3), copy.deepcopy(leaf)).astype(dtype).eval()
    export(model, tmp_path / "model.onnx")
    x = np.random.default_rng(0).standard_normal((rows, 3)).astype(dtype) * 5
    assert_same(run(tmp_path / "model.onnx", x), model(x), 5.0)


@given(models(depth=2, lists=False), st.integers(1, 5), st.integers(0, 2**32))
@settings(max_examples=25)
def test_nested_models(model: snn.Module, rows: int, seed: int) -> None:
    dtype = next((p.dtype for p in model.parameters()), np.float32)
    x = np.random.default_rng(seed).standard_normal((rows, 3)).astype(dtype)
    scales = [1.0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(model, path)
        for module in model.eval().modules():
            module.register_forward_hook(lambda _m, _x, y: scales.append(float(np.abs(y).max(initial=0))))
        assert_same(run(path, x), model(x), max(scales))


def test_nan_and_infinity_pass_as_they_do_here(tmp_path: Path) -> None:
    x = np.array([[np.nan, np.inf, -np.inf, 0.0]], np.float32)
    for layer in (snn.ReLU(), snn.LeakyReLU(0.5), snn.Threshold(0.0, 3.0), snn.Sigmoid(), snn.Tanh()):
        export(layer, tmp_path / "model")
        np.testing.assert_array_equal(run(tmp_path / "model", x), layer(x), err_msg=repr(layer))


def test_a_slope_of_float64_keeps_its_digits(tmp_path: Path) -> None:
    model = snn.Sequential(snn.Linear(1, 1, bias=False, dtype=np.float64), snn.LeakyReLU(0.1))
    model[0].weight.data[...] = 1
    export(model, tmp_path / "model")
    assert run(tmp_path / "model", np.array([[-1.0]]))[0, 0] == -0.1


def test_what_netron_shows(tmp_path: Path) -> None:
    model = snn.Sequential({"hidden": snn.Linear(2, 10), "act": snn.ReLU(), "out": snn.Linear(10, 1)})
    graph = export(model, tmp_path / "model")
    assert [(node.op_type, node.name) for node in graph.graph.node] == [
        ("Gemm", "hidden"),
        ("Relu", "act"),
        ("Gemm", "out"),
    ]
    assert [tensor.name for tensor in graph.graph.initializer] == list(model.state_dict())
    axes = [
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (graph.graph.input[0], graph.graph.output[0])
    ]
    assert axes == [["N", 2], ["N", 1]]
    assert (graph.producer_name, graph.producer_version) == ("scratchnn", snn.__version__)
    assert graph.opset_import[0].version == 27


def test_a_shared_layer_is_written_once(tmp_path: Path) -> None:
    linear = snn.Linear(3, 3)
    graph = export(snn.Sequential(linear, snn.Sequential(linear)), tmp_path / "model")
    assert [tensor.name for tensor in graph.graph.initializer] == ["0.weight", "0.bias"]
    assert [list(node.input)[1:] for node in graph.graph.node] == [["0.weight", "0.bias"]] * 2


def test_dropout_passes_everything_in_any_mode(tmp_path: Path) -> None:
    model = snn.Sequential(snn.Dropout(1.0)).train()
    export(model, tmp_path / "model")
    x = np.ones((2, 2), np.float32)
    assert np.array_equal(run(tmp_path / "model", x), x)
    assert model.training


class Own(snn.Module):
    pass


def hooked() -> snn.Module:
    model = snn.Sequential(snn.ReLU())
    model[0].register_forward_hook(lambda m, x, y: None)
    return model


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: snn.Sequential(Own()), TypeError, "test_export.Own at '0'.*torch.onnx"),
        (lambda: snn.Sequential(snn.ModuleList()), ValueError, "ModuleList at '0', which has no forward"),
        (hooked, ValueError, "ReLU at '0' with a forward hook"),
        (lambda: snn.Sequential(snn.Softmax(2)), ValueError, "Softmax at '0' along axis 2"),
        (
            lambda: snn.Sequential(snn.Linear(2, 3), snn.Linear(4, 1)),
            ValueError,
            "Linear at '1' of 4 features where 3 come in",
        ),
        (
            lambda: snn.Sequential(snn.Linear(2, 2), snn.Linear(2, 2, dtype=np.float64)),
            ValueError,
            "weights of float32 and float64",
        ),
        (lambda: np.zeros(3), TypeError, "export_onnx got a ndarray"),
    ],
)
def test_what_it_cannot_express_is_refused(make: Any, error: type, message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        snn.export_onnx(make(), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_more_weights_than_a_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "MAX_BYTES", 100)
    snn.export_onnx(snn.Linear(2, 2), tmp_path / "model")
    with pytest.raises(ValueError, match="over 100 bytes"):
        snn.export_onnx(snn.Linear(5, 5), tmp_path / "other")
