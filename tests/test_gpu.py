"""The same comparisons with PyTorch on a CUDA device: `pytest -m gpu`.

From a plain checkout, nothing installed but numpy, torch, pytest and hypothesis.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

import reference
import scratchnn as snn
from reference.tolerances import CUDA_FACTOR, trajectory_tolerance
from reference.training import exact_arithmetic

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DTYPES = (np.float32, np.float64)


def blobs(n: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 2))
    return x.astype(dtype), (x[:, :1] * x[:, 1:] > 0).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [3, 64, 512])
def test_forward_loss_and_gradients(dtype: type, width: int) -> None:
    rng = np.random.default_rng(width)
    x = rng.standard_normal((33, width)).astype(dtype)
    model = snn.MLP(width, [width, 16], 4, "tanh", dtype=dtype)
    for loss_fn, y in (
        (snn.MSELoss(), rng.standard_normal((33, 4))),
        (snn.L1Loss("sum"), rng.standard_normal((33, 4))),
        (snn.BCEWithLogitsLoss(pos_weight=np.full(4, 2.0, dtype)), rng.integers(0, 2, (33, 4))),
        (snn.CrossEntropyLoss(label_smoothing=0.1), rng.integers(0, 4, 33)),
    ):
        report = reference.compare(model, loss_fn, x, y, device="cuda")
        assert report.device.startswith("cuda")
        assert report, str(report)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [snn.SGD, snn.Adam, snn.AdamW])
def test_training(dtype: type, optimizer: type) -> None:
    snn.manual_seed(0)
    model = snn.MLP(2, 10, 1, "relu", "sigmoid", dtype=dtype)
    loader = snn.DataLoader(snn.TensorDataset(*blobs(500, dtype)), batch_size=64, shuffle=True)
    report = reference.compare_training(
        model,
        snn.BCELoss(),
        optimizer(model.parameters(), lr=0.01),
        loader,
        130,
        device="cuda",
        torch_model=reference.seeded_twin(model, 0, device="cuda"),
        engine="numpy",
        progress=False,  # the bar needs rich
    )
    assert report.history.steps == 1040
    assert report.row("initial weights").identical
    assert report.row("batches").identical
    assert report, str(report)


def test_full_precision_products_and_determinism_inside_only() -> None:
    precision, strict = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_arithmetic(torch.device("cuda")):
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.are_deterministic_algorithms_enabled()
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
            a = torch.full((64, 64), 1 + 2.0**-20, device="cuda")  # TF32 would drop the last bits
            assert torch.equal(a @ torch.eye(64, device="cuda"), a)
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.are_deterministic_algorithms_enabled() is strict
    finally:
        torch.set_float32_matmul_precision(precision)


def test_the_same_run_twice_is_the_same_in_every_bit() -> None:
    model = snn.MLP(2, 10, 1, "relu", "sigmoid")
    optimizer = snn.Adam(model.parameters())
    loader = snn.DataLoader(snn.TensorDataset(*blobs(200, np.float32)), batch_size=32, shuffle=True)
    first, second = (
        reference.fit(model, snn.BCELoss(), optimizer, loader, 5, device="cuda") for _ in range(2)
    )
    last = max(first.parameters)
    for name, value in first.parameters[last].items():
        np.testing.assert_array_equal(value, second.parameters[last][name])


def test_a_fault_shows_there_too() -> None:
    class Wrong(snn.Linear):
        def backward(self, dy):
            dx = super().backward(dy)
            self.bias.grad = 1.001 * self.bias.grad
            return dx

    model = snn.Sequential(snn.Linear(2, 8), snn.ReLU(), Wrong(8, 1))
    x, y = blobs(50, np.float32)
    report = reference.compare(model, snn.MSELoss(), x, y, device="cuda")
    assert [row.name for row in report.failures] == ["dL/d(2.bias)"]


def test_dropout_is_refused() -> None:
    model = snn.Sequential(snn.Linear(2, 1), snn.Dropout(0.5))
    x, y = blobs(10, np.float32)
    with pytest.raises(ValueError, match="Dropout"):
        reference.compare(model, snn.MSELoss(), x, y, device="cuda")
    assert reference.compare(model.eval(), snn.MSELoss(), x, y, device="cuda")
    with pytest.raises(ValueError, match=r"Dropout.*use device='cpu'"):
        reference.fit(model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.1), (x, y), 1, device="cuda")


def test_back_from_the_device_and_a_device_too_many() -> None:
    model = snn.MLP(2, 3, 1)
    back = reference.from_torch(reference.twin(model, device="cuda"))
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(back.state_dict()[key], value)
    with pytest.raises(ValueError, match="CUDA devices; use 'cuda:0'"):
        reference.twin(model, device=f"cuda:{torch.cuda.device_count()}")


def test_tolerances_are_stated() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for dtype in map(np.dtype, DTYPES):
        wide, narrow = trajectory_tolerance(100, dtype, cuda), trajectory_tolerance(100, dtype, cpu)
        assert wide == CUDA_FACTOR * narrow
