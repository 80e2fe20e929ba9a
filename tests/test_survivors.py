"""What a run of mutants (tests/mutation.py) showed that no test looked at."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import scratchnn as snn


def test_huber_needs_a_width() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        snn.HuberLoss(delta=0.0)


def test_softmax_into_cross_entropy_warns_once() -> None:
    model, loss_fn = snn.Sequential(snn.Linear(3, 2), snn.Softmax(-1)), snn.CrossEntropyLoss()
    x, target = np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1])
    with pytest.warns(UserWarning, match="applies softmax itself"):
        loss_fn(model(x), target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_fn(model(x), target)
