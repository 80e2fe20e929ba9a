"""Forks of recordings: with nothing changed they are the run, with something changed they go on with that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from recorded import KINDS, STEPS, X, Y, adam, assert_equal, plain, program, same_steps, sgd

import scratchnn as snn

ENGINES = ("numpy", "numba")
both = pytest.mark.parametrize("engine", ENGINES)
kinds = pytest.mark.parametrize("kind", KINDS)


@both
@kinds
def test_a_fork_with_nothing_changed_is_the_run(engine: str, kind: str) -> None:
    recording = snn.Recording()
    steps = program(engine, recording, **KINDS[kind])[2].steps
    state = snn.default_generator.get_state()
    for step in {0, 1, steps // 5 - 1, steps // 5, steps // 5 + 2, steps - 1}:
        if step == steps:
            continue
        fork = recording.fork(step)
        same_steps(recording, fork, step)
        if step + 1 < steps:
            same_steps(recording, fork.fork(step), step)
            same_steps(recording, fork.fork(step + 1), step + 1)
    np.testing.assert_array_equal(snn.default_generator.get_state(), state)


@both
def test_a_run_that_is_seeded_anew_on_its_way(engine: str) -> None:
    def seed(state: snn.FitState) -> None:
        if state.epoch == 2:
            snn.manual_seed(12)

    recording = snn.Recording()
    program(engine, recording, dropout=0.3, callbacks=[seed])
    for step in (10, 13):
        same_steps(recording, recording.fork(step), step)


@both
def test_a_fork_of_a_thin_recording(engine: str) -> None:
    recording = snn.Recording(every=7)
    program(engine, recording, dropout=0.3, optimizer=adam)
    same_steps(recording, recording.fork(7), 7)
    same_steps(recording, recording.fork(14), 14)


@both
def test_a_fork_with_another_rate_or_optimizer(engine: str) -> None:
    """What a program with that change at that step does."""

    def changed(state: snn.FitState) -> None:
        if state.epoch == 2:
            state.optimizer.param_groups[0]["lr"] = 0.5

    recording, other = snn.Recording(), snn.Recording()
    program(engine, recording, optimizer=sgd)
    program(engine, other, optimizer=sgd, callbacks=[changed])
    fork = recording.fork(2 * STEPS, lr=0.5)
    for step in range(2 * STEPS, 5 * STEPS + 1):
        assert_equal(fork.parameters(step), other.parameters(step))
    fork = recording.fork(7, optimizer=snn.Adam, lr=0.01)
    assert fork.moments(7) == {}
    assert float(fork.moments(8)["0.weight"]["step"]) == 1
    np.testing.assert_array_equal(fork.gradients(8)["0.weight"], recording.gradients(8)["0.weight"])
    assert fork.settings(9)["groups"][0]["lr"] == 0.01


@both
def test_a_fork_with_another_rate_ends_the_schedules(engine: str) -> None:
    recording = snn.Recording()
    program(engine, recording, **KINDS["schedules"])
    rates = {recording.settings(step)["groups"][0]["lr"] for step in range(1, 26)}
    assert len(rates) > 5
    fork = recording.fork(7, lr=0.03)
    assert {fork.settings(step)["groups"][0]["lr"] for step in range(8, 26)} == {0.03}


@both
def test_settings_are_those_that_made_the_step(engine: str) -> None:
    seen: list[float] = []

    class Watched(snn.Adam):
        def step(self, closure: Any = None) -> Any:
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    recording = snn.Recording()
    program(engine, recording, **KINDS["schedules"])
    program("numpy", **{**KINDS["schedules"], "optimizer": lambda p: Watched(p, lr=0.02, amsgrad=True)})
    assert [recording.settings(step)["groups"][0]["lr"] for step in range(1, 26)] == seen


@both
def test_a_stopped_run_is_forked_to_where_it_stopped_and_a_diverged_one_to_its_planned_end(
    engine: str,
) -> None:
    recording = snn.Recording()
    stopping = snn.EarlyStopping(patience=1, min_delta=1.0)
    program(engine, recording, epochs=50, callbacks=[stopping])
    assert recording.fork(3).steps[-1] == recording.steps[-1] == stopping.stopped_epoch * STEPS


@both
def test_divergence_leaves_the_steps_before_and_can_be_forked(engine: str) -> None:
    recording = snn.Recording()
    data = (X * 1e4, Y)
    with pytest.raises(snn.DivergenceError) as caught:
        program(engine, recording, data=data, optimizer=lambda p: snn.SGD(p, lr=1e30), loss_fn=snn.MSELoss())
    losses = caught.value.history.step_losses
    np.testing.assert_array_equal(recording.losses, losses)
    assert recording.steps[-1] == len(losses) - 2  # the last finite loss was computed there
    fork = recording.fork(0, lr=1e-9)
    assert fork.steps[-1] == 5 * STEPS
    with pytest.raises(snn.DivergenceError):
        recording.fork(0)


def test_a_metric_that_a_schedule_waits_for_is_known_at_the_end_of_an_epoch_only() -> None:
    def waits(optimizer: Any) -> Any:
        schedule = snn.ReduceLROnPlateau(optimizer, mode="max", patience=0)
        schedule.monitor = "accuracy"
        return schedule

    recording = snn.Recording()
    program("numba", recording, scheduler=waits, metrics=["accuracy"])
    same_steps(recording, recording.fork(10), 10)
    with pytest.raises(ValueError, match="in the middle of an epoch"):
        recording.fork(12)


def test_ready_made_batches_are_forked_and_have_no_rows() -> None:
    batches = [(X[:10], Y[:10]), (X[10:30], Y[10:30]), (X[30:], Y[30:])]
    model = snn.Linear(3, 1)
    recording = snn.Recording()
    snn.fit(
        model, snn.MSELoss(), plain(model.parameters()), batches, 3, callbacks=[recording], progress=False
    )
    for step in (0, 3, 4, 8):
        same_steps(recording, recording.fork(step), step)
    with pytest.raises(ValueError, match="ready-made"):
        recording.rows(2)
