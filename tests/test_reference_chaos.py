"""Runs that rounding throws about: judged by the spread of PyTorch itself, with mistakes still found."""

from __future__ import annotations

import numpy as np
import torch

import reference
import scratchnn as snn
from reference.tolerances import trajectory_tolerance

torch.set_num_threads(1)


def sine_run(steps: int, optimizer=snn.Adam, seed: int = 0):
    """A fit of the sine at a learning rate that makes rounding errors grow without bound."""
    snn.manual_seed(seed)
    x = np.linspace(-1, 1, 50)[:, None]
    y = np.sin(3 * np.pi * x)
    model = snn.Sequential(
        snn.Linear(1, 10, dtype=np.float64), snn.Tanh(), snn.Linear(10, 1, dtype=np.float64)
    )
    return reference.compare_training(
        model, snn.MSELoss(), optimizer(model.parameters(), lr=0.3), (x, y), steps, engine="numpy"
    )


def test_a_chaotic_run_is_judged_by_pytorchs_own_spread() -> None:
    report = sine_run(500)
    assert report.chaotic, str(report)
    assert report, str(report)
    row = next(row for row in report.rows if row.chaotic and row.name == "parameters")
    table = trajectory_tolerance(row.step, np.dtype(np.float64), torch.device("cpu")) * max(1.0, row.scale)
    assert row.difference > table
    assert row.tolerance == 8 * row.spread > table
    assert report.verdict == "passed (chaotic: judged against PyTorch's own spread)"
    assert f"{row.spread:.2g}" in str(report)
    assert f"{row.difference:.2g}" in str(report)


def test_chaos_excuses_no_mistake() -> None:
    class Careless(snn.Adam):
        """Moves one weight by a part in a thousand million at its 20th step."""

        def __init__(self, params, lr: float) -> None:
            super().__init__(params, lr)
            self.count = 0

        def step(self, closure=None):
            super().step(closure)
            self.count += 1
            if self.count == 20:
                self.param_groups[0]["params"][0].data[3] *= 1 + 1e-9

    report = sine_run(500, Careless)
    assert not report
    assert "part at step 20 (epoch 20, batch 1), most in 0.weight[3, 0]" in report.parted


def test_the_table_of_tolerances() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    f64, f32 = np.dtype(np.float64), np.dtype(np.float32)
    steps = (1, 10, 11, 100, 101, 1000, 1001, 10000, 50000)
    doubles = (1e-15, 1e-15, 1e-14, 1e-14, 1e-12, 1e-12, 1e-11, 1e-11, 1e-11)
    singles = (2e-6, 2e-6, 2e-6, 2e-6, 3e-5, 3e-5, 1e-4, 1e-4, 1e-4)
    for step, double, single in zip(steps, doubles, singles, strict=True):
        assert trajectory_tolerance(step, f64, cpu) == double
        assert trajectory_tolerance(step, f32, cpu) == single
        assert trajectory_tolerance(step, f32, cuda) == 4 * single
