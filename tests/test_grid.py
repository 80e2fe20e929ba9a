"""fit_grid: every combination, each the run that it would be alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchnn as snn

X = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
Y = (X[:, :1] > X[:, 1:]).astype(np.float32)
GRID = {"hidden": [1, 3], "lr": [0.1, 0.01, 0.001]}


def make(hidden: int, lr: float) -> tuple[snn.Module, snn.Optimizer]:
    model = snn.MLP(2, hidden, 1, "tanh", "sigmoid")
    return model, snn.Adam(model.parameters(), lr=lr)


def test_every_combination_is_the_run_it_would_be_alone() -> None:
    before = snn.default_generator.get_state()
    many = snn.fit_grid(make, snn.BCELoss(), X, Y, grid=GRID, seeds=[5, 7], epochs=3, batch_size=16)
    assert_array_equal(before, snn.default_generator.get_state())
    results = many.results
    assert results["param_hidden"].tolist() == [1] * 6 + [3] * 6
    assert results["param_lr"].tolist() == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001] * 2
    assert results["seed"].tolist() == [5, 7] * 6
    for i in (0, 3, 7, 10):
        snn.manual_seed(int(results["seed"][i]))
        model, optimizer = make(int(results["param_hidden"][i]), float(results["param_lr"][i]))
        snn.manual_seed(int(results["seed"][i]))
        batches = snn.DataLoader(snn.TensorDataset(X, Y), batch_size=16, shuffle=True)
        history = snn.fit(model, snn.BCELoss(), optimizer, batches, 3, engine="numba")
        assert_array_equal(many.histories[i].step_losses, history.step_losses)
        for ours, alone in zip(many.models[i].parameters(), model.parameters(), strict=True):
            assert_array_equal(ours.data, alone.data)
    assert len(many.table()) == 12


def test_no_grid_is_one_setting() -> None:
    many = snn.fit_grid(lambda: make(2, 0.1), snn.BCELoss(), X, Y, grid={}, seeds=range(3), epochs=1)
    assert many.results["seed"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"grid": {"hidden": [], "lr": [1.0]}}, ValueError, "no values for hidden"),
        ({"seeds": []}, ValueError, "no values for seeds"),
        ({"grid": {"width": [1]}}, TypeError, r"make\(width\), which it does not take"),
        ({"make": lambda hidden, lr: snn.MLP(2, hidden, 1)}, TypeError, r"return \(model, optimizer\)"),
    ],
)
def test_bad_input_leaves_the_generator_alone(change: dict, error: type, match: str) -> None:
    before = snn.default_generator.get_state()
    arguments = {"make": make, "loss_fn": snn.BCELoss(), "X": X, "y": Y, "grid": GRID, "epochs": 1} | change
    with pytest.raises(error, match=match):
        snn.fit_grid(**arguments)
    assert_array_equal(before, snn.default_generator.get_state())
