"""The objective of the estimators: weighted rows and penalty, by autograd, by both engines, by repetition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import scratchnn as snn
from reference import twin
from scratchnn.objective import Objective

N, D, M = 77, 5, 3
# base, its torch twin with reduction="none", what ends the model, what the targets are
LOSSES: dict[str, tuple[Any, Any, list[Any], str]] = {
    "mse": (snn.MSELoss(), torch.nn.MSELoss(reduction="none"), [], "numbers"),
    "l1": (snn.L1Loss(), torch.nn.L1Loss(reduction="none"), [], "numbers"),
    "huber": (snn.HuberLoss(delta=0.7), torch.nn.HuberLoss("none", 0.7), [], "numbers"),
    "logits": (snn.BCEWithLogitsLoss(), torch.nn.BCEWithLogitsLoss(reduction="none"), [], "binary"),
    "bce": (snn.BCELoss(), torch.nn.BCELoss(reduction="none"), [snn.Sigmoid()], "binary"),
    "classes": (snn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(reduction="none"), [], "index"),
    "shares": (snn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(reduction="none"), [], "shares"),
    "nll": (snn.NLLLoss(), torch.nn.NLLLoss(reduction="none"), [snn.LogSoftmax(-1)], "index"),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def data(kind: str) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((N, D))
    y: Any = {
        "numbers": rng.standard_normal((N, M)),
        "binary": rng.integers(0, 2, (N, M)).astype(float),
        "index": rng.integers(0, M, N),
        "shares": rng.dirichlet(np.ones(M), N),
    }[kind]
    return X, y, rng.uniform(0.1, 3, N)


def program(name: str, weighted: bool, alpha: float = 0.3) -> tuple[Any, Any, Any, Any, Any]:
    base, _, ends, kind = LOSSES[name]
    X, y, w = data(kind)
    snn.manual_seed(3)
    layers = [snn.Linear(D, 9, dtype=np.float64), snn.Tanh(), snn.Linear(9, M, dtype=np.float64), *ends]
    model = snn.Sequential(*layers)
    weights = [p for path, p in model.named_parameters() if path.endswith("weight")]
    objective = Objective(base, weights, alpha, 0.5, weighted)
    return model, objective, X, np.column_stack([y, w]) if weighted else y, (y, w)


@each_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_torchs(name: str, weighted: bool) -> None:
    model, objective, X, target, (y, w) = program(name, weighted)
    loss = objective(model(X), target)
    model.backward(objective.backward())

    judge = twin(model)
    terms = LOSSES[name][1](judge(torch.from_numpy(X)), torch.from_numpy(y)).reshape(N, -1).sum(1)
    w = torch.from_numpy(w if weighted else np.ones(N))
    squares = sum((p * p).sum() for path, p in judge.named_parameters() if path.endswith("weight"))
    theirs = 0.5 * (w * terms).sum() / w.sum() + 0.3 / 2 * squares / w.sum()
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-14)
    for ours, its in zip(model.parameters(), judge.parameters(), strict=True):
        np.testing.assert_allclose(ours.grad, its.grad.numpy(), rtol=0, atol=1e-15)


@each_loss
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch", [20, N])
def test_both_engines_give_the_same_run(name: str, weighted: bool, batch: int) -> None:
    runs = []
    for engine in ("numpy", "numba"):
        model, objective, X, target, _ = program(name, weighted)
        loader = snn.DataLoader(snn.TensorDataset(X, target), batch, shuffle=batch < N)
        optimizer = snn.SGD(model.parameters(), lr=0.05, momentum=0.9)
        history = snn.fit(model, objective, optimizer, loader, 6, engine=engine, progress=False)
        assert history.engine == engine
        runs.append((history.step_losses, [p.data for p in model.parameters()]))
    (losses, parameters), (compiled_losses, compiled) = runs
    np.testing.assert_allclose(compiled_losses, losses, rtol=0, atol=1e-13)
    for a, b in zip(parameters, compiled, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-13)


@each_loss
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_a_row_of_weight_two_is_a_row_twice(name: str, engine: str) -> None:
    base, _, _, kind = LOSSES[name]
    X, y, _ = data(kind)
    counts = np.random.default_rng(5).integers(1, 4, N)
    ends = []
    for weighted in (True, False):
        model, _, _, _, _ = program(name, weighted)
        objective = Objective(base, (), 0.0, 1.0, weighted)
        arrays = (X, np.column_stack([y, counts])) if weighted else (X.repeat(counts, 0), y.repeat(counts, 0))
        snn.fit(model, objective, snn.SGD(model.parameters(), 0.1), arrays, 20, engine=engine, progress=False)
        ends.append(np.concatenate([p.data.ravel() for p in model.parameters()]))
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-13)


def test_backward_comes_after_forward() -> None:
    with pytest.raises(RuntimeError, match="before forward"):
        Objective(snn.MSELoss()).backward()


def test_a_weight_that_only_the_penalty_moves_never_becomes_denormal() -> None:
    """Denormal numbers cost a hundred times as much; an input that is always 0 leads there."""
    X = np.zeros((64, 3), np.float32)
    X[:, 0] = np.linspace(-1, 1, 64)
    model = snn.Sequential(snn.Linear(3, 16), snn.ReLU(), snn.Linear(16, 1))
    weights = [model[0].weight, model[2].weight]
    objective = Objective(snn.MSELoss(), weights, 1.0)
    optimizer = snn.SGD(model.parameters(), lr=0.9)
    snn.fit(model, objective, optimizer, (X, X[:, :1]), 20000, engine="numba", progress=False)
    smallest = np.abs(weights[0].data[:, 1:]).max()
    # It rests where the square of its gradient, weight / 64, is the smallest that the engine keeps: 1e-30.
    assert 1e-15 < smallest < 64e-15
