"""What a run of mutants (tests/mutation.py) showed that no test looked at."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import scratchnn as snn


def test_huber_needs_a_width() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        snn.HuberLoss(delta=0.0)


def test_softmax_into_cross_entropy_warns_once() -> None:
    model, loss_fn = snn.Sequential(snn.Linear(3, 2), snn.Softmax(-1)), snn.CrossEntropyLoss()
    x, target = np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1])
    with pytest.warns(UserWarning, match="applies softmax itself"):
        loss_fn(model(x), target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_fn(model(x), target)


def test_hits_of_a_single_row_of_scores() -> None:
    assert snn.functional.hits(np.array([0.1, 0.7, 0.2]), np.array(1), None)
    assert not snn.functional.hits(np.array([0.1, 0.7, 0.2]), np.array(2), None)


def test_defaults_of_huber_are_those_of_its_vjp() -> None:
    a, b = np.array([0.2, 1.2, -3.0]), np.zeros(3)
    F = snn.functional
    assert F.huber(a, b) == F.huber(a, b, "mean", 1.0)
    assert np.array_equal(F.huber_vjp(1.0, a, b), F.huber_vjp(1.0, a, b, "mean", 1.0))


def test_hits_at_the_cut_decide_for_0() -> None:
    p, t = np.array([0.5, 0.5, 0.6]), np.array([0.0, 1.0, 0.5])
    assert snn.functional.hits(p, t, 0.5).tolist() == [True, False, False]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_defaults_are_torchs(name: str) -> None:
    ours = getattr(snn, name)(snn.Linear(2, 1).parameters())
    theirs = getattr(torch.optim, name)(torch.nn.Linear(2, 1).parameters())
    for key, value in ours.defaults.items():
        assert theirs.defaults[key] == value, key
