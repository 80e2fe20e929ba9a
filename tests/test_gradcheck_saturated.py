"""gradcheck where a sigmoid saturates: lost digits are no mistake, a clamped gradient is no derivative."""

from __future__ import annotations

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.gradcheck import GradcheckReport


def check(logit: float, target: float, method: str = "auto") -> GradcheckReport:
    x, t = np.full((1, 1), logit), np.full((1, 1), target)
    return snn.gradcheck(snn.Sigmoid(), x, loss_fn=snn.BCELoss(), target=t, method=method)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_lost_digits_are_no_mistake(target: float) -> None:
    """Near p = 1 the loss is rounded so coarsely that differences of it mean nothing."""
    for logit in (*np.arange(-27.5, 27.5, 1.3), 24.01, 26.0, 27.0):
        report = check(logit, target)
        assert report, (logit, str(report))
        assert report.method == "complex", (logit, report.reason)


def test_a_clamped_gradient_is_not_the_derivative() -> None:
    """Where torch keeps the divisor of BCELoss above 1e-12."""
    for logit in (-30.0, 30.0):
        report = check(logit, 0.0)
        assert not report
        assert abs(report["x"].analytic) < 0.2


def test_what_is_not_analytic_is_still_found() -> None:
    report = snn.gradcheck(
        (lambda x: np.abs(x) * x, lambda dy, x: 2 * dy * np.abs(x)), np.array([[0.5, -1.5], [2.0, 3.0]])
    )
    assert report
    assert report.method == "central"
    assert "not analytic" in report.reason
