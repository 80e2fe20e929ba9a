"""Schedules in fit, on both engines: the loop by hand, bit for bit, and the same run compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_lr_scheduler import MAKERS, advance, look, pair

import scratchnn as snn
from reference.tolerances import trajectory_tolerance
from scratchnn.checks import Array


def data(dtype: Any = np.float64) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((110, 3)).astype(dtype)
    y = np.sin(X.sum(axis=1, keepdims=True))
    return X, y


def train(engine: str, make: Any, epochs: int = 7, adam: bool = False, **options: Any) -> Any:
    """7 epochs of 8 steps; the learning rates as a callback saw them, if asked."""
    snn.manual_seed(2)
    X, y = data()
    model = snn.Sequential(snn.Linear(3, 6, dtype=np.float64), snn.Tanh(), snn.Linear(6, 1, dtype=np.float64))
    # two groups, so that rates of groups cannot be mistaken for rates of steps
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    groups: list[Any] = [{"params": weights}, {"params": biases, "lr": 0.02}]
    optimizer: Any = snn.Adam(groups, lr=0.05) if adam else snn.SGD(groups, lr=0.05, momentum=0.5)
    loader = snn.DataLoader(snn.TensorDataset(X, y), batch_size=14, shuffle=True)
    schedules = make(optimizer)
    history = snn.fit(
        model, snn.MSELoss(), optimizer, loader, epochs, engine=engine, progress=False,
        scheduler=schedules, **options,
    )  # fmt: skip
    return model, optimizer, history, schedules


def by_hand(make: Any, adam: bool) -> Any:
    """The loop of the module's first lines."""
    model, optimizer, _, _ = train("numpy", lambda o: None, epochs=0, adam=adam)
    X, y = data()
    loader = snn.DataLoader(snn.TensorDataset(X, y), batch_size=14, shuffle=True)
    loss_fn = snn.MSELoss()
    schedule = make(optimizer)
    for _ in range(7):
        losses, counts = [], []
        for x, target in loader:
            optimizer.zero_grad()
            losses.append(float(loss_fn(model(x), target)))
            counts.append(len(x))
            model.backward(loss_fn.backward())
            optimizer.step()
            if schedule.every == "batch":
                schedule.step()
        if isinstance(schedule, snn.ReduceLROnPlateau):
            schedule.step(np.average(losses, weights=counts))
        elif schedule.every == "epoch":
            schedule.step()
    return model, optimizer, schedule


def by_batch(make: Any) -> Any:
    def made(optimizer: Any) -> Any:
        schedule = make(optimizer)
        schedule.every = "batch"
        return schedule

    return made


IN_FIT = {**MAKERS, "cosine by batch": by_batch(lambda o: snn.CosineAnnealingLR(o, 56))}


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("name", IN_FIT)
def test_in_fit_on_both_engines(name: str, adam: bool) -> None:
    """fit's NumPy engine is the loop by hand, bit for bit; the compiled one the same run to rounding."""
    model, optimizer, schedule = by_hand(IN_FIT[name], adam)
    slow = train("numpy", IN_FIT[name], adam=adam)
    fast = train("numba", IN_FIT[name], adam=adam)
    watched = train("numba", IN_FIT[name], adam=adam, callbacks=[lambda state: None])
    for a, b in zip(model.parameters(), slow[0].parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    bound = trajectory_tolerance(56, np.dtype(np.float64), torch.device("cpu"))
    np.testing.assert_allclose(fast[2].step_losses, slow[2].step_losses, rtol=0, atol=bound)
    for a, b in zip(fast[0].parameters(), slow[0].parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=0, atol=bound)
    # one epoch a call or many: not a bit of difference
    np.testing.assert_array_equal(fast[2].step_losses, watched[2].step_losses)
    for a, b in zip(fast[0].parameters(), watched[0].parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert look(optimizer) == look(slow[1]) == look(fast[1]) == look(watched[1])
    assert schedule.last_epoch == fast[3].last_epoch == (56 if schedule.every == "batch" else 7)
    assert look(fast[1]) != look(train("numpy", lambda o: None, epochs=0, adam=adam)[1])


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_a_list_of_schedules(engine: str) -> None:
    def make(o: Any) -> list[Any]:
        return [by_batch(lambda o: snn.LinearLR(o, total_iters=20))(o), snn.StepLR(o, 2, 0.5)]

    _, optimizer, _, schedules = train(engine, make)
    assert [schedule.last_epoch for schedule in schedules] == [56, 7]
    ours = pair(0.05, 0.02)[0]
    chained = make(ours)
    for _ in range(7):
        advance(chained[0], 8)
        chained[1].step()
    assert [row[0] for row in look(optimizer)] == [row[0] for row in look(ours)]


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_plateau_looks_at_validation(engine: str) -> None:
    X, y = data()
    seen = []

    def note(state: Any) -> None:
        seen.append((state.history.val_loss[-1], state.optimizer.param_groups[0]["lr"]))

    def make(o: Any) -> Any:
        return snn.ReduceLROnPlateau(o, patience=0, threshold=0.9, factor=0.5)

    train(engine, make, validation=(X[:20], y[:20]), callbacks=[note])
    again = pair(0.05)[0]
    schedule = make(again)
    for loss, lr in seen:
        schedule.step(loss)
        assert again.param_groups[0]["lr"] == lr
    assert seen[-1][1] < 0.05


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_plateau_looks_at_what_it_is_told(engine: str) -> None:
    def make(o: Any) -> Any:
        schedule = snn.ReduceLROnPlateau(o, mode="max")
        schedule.monitor = "val_accuracy"
        return schedule

    with pytest.raises(ValueError, match=r"monitors 'val_accuracy', which this run does not measure"):
        train(engine, make)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("name", ["StepLR", "OneCycleLR"])
def test_schedules_stop_where_the_run_diverged(name: str, engine: str) -> None:
    """Both engines leave schedule and rates as they are after the steps that were made."""
    snn.manual_seed(0)
    X = np.ones((40, 1), np.float32)
    model = snn.Sequential(snn.Linear(1, 1))
    optimizer = snn.SGD(model.parameters(), lr=30.0, momentum=0.0)
    schedule: Any = snn.StepLR(optimizer, 2, 1.5)
    if name == "OneCycleLR":
        schedule = snn.OneCycleLR(optimizer, 60.0, total_steps=400, div_factor=2.0)
    loader = snn.DataLoader(snn.TensorDataset(X, X), batch_size=10)
    with pytest.raises(snn.DivergenceError) as stop:
        snn.fit(
            model, snn.MSELoss(), optimizer, loader, 100,
            engine=engine, scheduler=schedule, progress=False,
        )  # fmt: skip
    made = 4 * (stop.value.epoch - 1) + stop.value.step - 1
    assert 4 < made < 100
    assert schedule.last_epoch == (made if name == "OneCycleLR" else made // 4)
    fresh = snn.SGD([snn.Parameter(np.zeros(1, np.float32))], lr=30.0)
    again: Any = snn.StepLR(fresh, 2, 1.5)
    if name == "OneCycleLR":
        again = snn.OneCycleLR(fresh, 60.0, total_steps=400, div_factor=2.0)
    advance(again, schedule.last_epoch)
    assert look(fresh) == look(optimizer)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_refused_at_the_door(engine: str) -> None:
    with pytest.raises(ValueError, match="40 steps left for a run of 56; give it total_steps=56"):
        train(engine, lambda o: snn.OneCycleLR(o, 0.1, total_steps=40))
    with pytest.raises(ValueError, match="StepLR of another optimizer"):
        train(engine, lambda o: snn.StepLR(pair(0.1)[0], 3))
    with pytest.raises(TypeError, match="as scheduler; it needs one such as StepLR"):
        train(engine, lambda o: "StepLR")
    for make in (by_batch(lambda o: snn.ReduceLROnPlateau(o)),):
        with pytest.raises(ValueError, match="with every='batch'"):
            train(engine, make)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_a_schedule_that_fails_ends_the_run_at_its_epoch(engine: str) -> None:
    """Also where the compiled engine asks it ahead of its steps."""
    rates = [1.0, 0.5, 0.25]
    made: list[Any] = []

    def make(optimizer: Any) -> Any:
        made.append(snn.LambdaLR(optimizer, lambda epoch: rates[epoch]))
        return made[-1]

    with pytest.raises(IndexError):
        train(engine, make, epochs=10)
    assert made[0].last_epoch == 2
    assert made[0].optimizer.param_groups[0]["lr"] == 0.05 * rates[2]


def test_an_interrupt_leaves_the_schedule_where_the_steps_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from scratchnn.engine.run import Run
    from scratchnn.train.numba_engine import NumbaEngine

    advance_by, made, calls = Run.advance, [], []

    def interrupted(self: Any, *given: Any) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        advance_by(self, *given)

    def make(optimizer: Any) -> Any:
        made.append(snn.ExponentialLR(optimizer, 0.9))
        return made[-1]

    monkeypatch.setattr(NumbaEngine, "_steps_at_once", lambda self: 12)  # of 8 an epoch
    monkeypatch.setattr(Run, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train("numba", make)
    assert made[0].last_epoch == 3  # 24 steps
    assert made[0].optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.9**3, rel=1e-12)
