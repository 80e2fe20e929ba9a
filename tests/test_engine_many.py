"""fit_many: every network as if it were alone."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.engine import LoweringError


def networks(count: int, dropout: float = 0.0) -> tuple[list[Any], list[Any]]:
    """Networks of different widths, rates and rules."""
    models: list[Any] = []
    optimizers: list[Any] = []
    for i in range(count):
        snn.manual_seed(100 + i)
        hidden = 2 + i % 5
        model = snn.Sequential(snn.Linear(2, hidden), snn.Dropout(dropout), snn.Tanh(), snn.Linear(hidden, 1))
        models.append(model)
        rules = (snn.SGD, snn.Adam, snn.AdamW)
        optimizers.append(rules[i % 3](model.parameters(), lr=0.01 * (1 + i % 4)))
    return models, optimizers


def data(rows: int = 300) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((rows, 2)).astype(np.float32)
    return X, (np.hypot(*X.T) > 1).astype(np.float32)[:, None]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("batch_size", "dropout"), [(None, 0.0), (32, 0.0), (32, 0.3)])
def test_each_network_as_if_alone(threads: int, batch_size: int | None, dropout: float) -> None:
    X, y = data()
    loss_fn = snn.BCEWithLogitsLoss()
    models, optimizers = networks(9, dropout)
    seeds = list(range(50, 59))
    many = snn.fit_many(
        models, loss_fn, optimizers, X, y,
        epochs=6, batch_size=batch_size, seeds=seeds, metrics=["accuracy"], threads=threads, progress=False,
    )  # fmt: skip
    alone, their_optimizers = networks(9, dropout)
    for i, (model, optimizer) in enumerate(zip(alone, their_optimizers, strict=True)):
        loader: Any = (X, y)
        if batch_size is not None:
            loader = snn.DataLoader(snn.TensorDataset(X, y), batch_size, shuffle=True)
        snn.manual_seed(seeds[i])
        history = snn.fit(
            model, loss_fn, optimizer, loader, 6, engine="numba", metrics=["accuracy"], progress=False
        )
        for a, b in zip(model.parameters(), models[i].parameters(), strict=True):
            np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(history.step_losses, many.histories[i].step_losses)
        assert history.train_loss == many.histories[i].train_loss
        assert history.metrics == many.histories[i].metrics
    results = many.results
    assert results["seed"].tolist() == seeds
    assert results["epochs"].tolist() == [6] * 9
    assert sorted(results["rank_train_loss"]) == list(range(1, 10))
    assert results["accuracy"].shape == (9,)
    assert list(many.table().columns) == list(results)


def test_one_that_diverges_does_not_stop_the_others() -> None:
    X, y = data()
    models, optimizers = networks(4)
    optimizers[1] = snn.SGD(models[1].parameters(), lr=1e30)
    many = snn.fit_many(models, snn.MSELoss(), optimizers, X, y, epochs=20, progress=False)
    assert [error is not None for error in many.diverged] == [False, True, False, False]
    assert all(np.isfinite(p.data).all() for model in models for p in model.parameters())
    assert [history.epochs for history in many.histories] == [20, many.histories[1].epochs, 20, 20]
    assert many.results["diverged"].tolist() == [False, True, False, False]


def test_ctrl_c_keeps_what_is_done() -> None:
    import _thread

    X, y = data()
    models, optimizers = networks(400)
    # An interrupt that arrives in the __del__ of something that dies just then is lost, as Python has it.
    gc.collect()
    gc.disable()
    try:
        threading.Timer(0.7, _thread.interrupt_main).start()
        started = time.perf_counter()
        many = snn.fit_many(
            models, snn.MSELoss(), optimizers, X, y, epochs=200_000, threads=2, progress=False
        )
    finally:
        gc.enable()
    assert many.interrupted
    assert time.perf_counter() - started < 3
    assert any(history.steps for history in many.histories)
    assert not many.histories[-1].steps


FIRST_OF_ALL = """
import numpy as np, scratchnn as snn
models = [snn.Linear(2, 1) for _ in range(8)]
optimizers = [snn.SGD(model.parameters(), lr=0.1) for model in models]
X = np.ones((64, 2))
snn.fit_many(models, snn.MSELoss(), optimizers, X, X[:, :1], epochs=2, batch_size=8, threads=8)
"""


def test_threads_that_start_in_a_fresh_process_do_not_compile_at_once() -> None:
    subprocess.run([sys.executable, "-c", FIRST_OF_ALL], check=True, timeout=300)


def test_refusals() -> None:
    X, y = data()
    models, optimizers = networks(3)

    class Own(snn.Module):
        def __init__(self) -> None:
            self.inner = snn.Linear(2, 1)

        def forward(self, x: Any) -> Any:
            return self.inner(x)

        def backward(self, dy: Any) -> Any:
            return self.inner.backward(dy)

    before = [p.data.copy() for p in models[0].parameters()]
    own = Own()
    with pytest.raises(LoweringError, match="Own"):
        snn.fit_many(
            [models[0], own],
            snn.MSELoss(),
            [optimizers[0], snn.SGD(own.parameters(), lr=0.1)],
            X,
            y,
            epochs=2,
        )
    with pytest.raises(ValueError, match="2 models and 3 optimizers"):
        snn.fit_many(models[:2], snn.MSELoss(), optimizers, X, y, epochs=2)
    with pytest.raises(ValueError, match="1 seeds for 3 models"):
        snn.fit_many(models, snn.MSELoss(), optimizers, X, y, epochs=2, seeds=[1])
    with pytest.raises(ValueError, match="twice"):
        snn.fit_many([models[0]] * 2, snn.MSELoss(), optimizers[:2], X, y, epochs=2)
    with pytest.raises(ValueError, match="shape"):
        snn.fit_many(models, snn.MSELoss(), optimizers, X, y[:, 0], epochs=2)
    for a, b in zip(before, models[0].parameters(), strict=True):
        np.testing.assert_array_equal(a, b.data)
