"""Schedules against torch's: the same learning rates to the last bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import scratchnn as snn

torch_schedules = torch.optim.lr_scheduler
STEPS = 40
rates = st.floats(1e-6, 10.0)
factors = st.floats(0.01, 0.99)


def pair(*lrs: float, adam: bool = False) -> tuple[snn.Optimizer, torch.optim.Optimizer]:
    """Two optimizers with a group for each lr, ours and torch's."""
    ours = [{"params": [snn.Parameter(np.zeros(1, np.float32))], "lr": lr} for lr in lrs]
    theirs = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    if adam:
        return snn.Adam(ours), torch.optim.Adam(theirs)
    return snn.SGD(ours, lr=0.1, momentum=0.9), torch.optim.SGD(theirs, lr=0.1, momentum=0.9)


def look(optimizer: Any) -> list[Any]:
    """What schedules move."""
    return [[g["lr"], g.get("momentum"), g.get("betas")] for g in optimizer.param_groups]


def same_sequence(
    name: str, lrs: tuple[float, ...], steps: int = STEPS, adam: bool = False, **arguments: Any
) -> None:
    ours, theirs = pair(*lrs, adam=adam)
    mine = getattr(snn, name)(ours, **arguments)
    judge = getattr(torch_schedules, name)(theirs, **arguments)
    for _ in range(steps):
        assert look(ours) == look(theirs)
        assert mine.get_last_lr() == judge.get_last_lr()
        assert mine.last_epoch == judge.last_epoch
        ours.step()
        theirs.step()
        mine.step()
        judge.step()
    assert look(ours) == look(theirs)


two = st.tuples(rates, rates)


@given(two, st.integers(1, 12), factors)
def test_step(lrs: tuple[float, float], step_size: int, gamma: float) -> None:
    same_sequence("StepLR", lrs, step_size=step_size, gamma=gamma)


@given(two, st.lists(st.integers(0, STEPS), max_size=6), factors)
def test_multi_step(lrs: tuple[float, float], milestones: list[int], gamma: float) -> None:
    same_sequence("MultiStepLR", lrs, milestones=milestones, gamma=gamma)


@given(two, st.floats(0.5, 1.1))
def test_exponential(lrs: tuple[float, float], gamma: float) -> None:
    same_sequence("ExponentialLR", lrs, gamma=gamma)


@given(two, st.floats(0.01, 1.0), st.floats(0.0, 1.0), st.integers(1, 50))
def test_linear(lrs: tuple[float, float], start: float, end: float, total: int) -> None:
    same_sequence("LinearLR", lrs, start_factor=start, end_factor=end, total_iters=total)


@given(two, st.integers(1, 50), st.floats(0.0, 0.1))
def test_cosine(lrs: tuple[float, float], T_max: int, eta_min: float) -> None:
    """Over the bottom of the wave too, where the recursion has its special case."""
    same_sequence("CosineAnnealingLR", lrs, T_max=T_max, eta_min=eta_min, steps=3 * T_max + 3)


@given(two, st.floats(0.1, 2.0))
def test_lambda(lrs: tuple[float, float], slope: float) -> None:
    same_sequence("LambdaLR", lrs, lr_lambda=lambda t: 1 / (1 + slope * t))
    same_sequence("LambdaLR", lrs, lr_lambda=[lambda t: 0.9**t, lambda t: math.cos(slope * t)])


@given(
    two,
    two,
    st.integers(2, STEPS),
    st.floats(0.05, 0.45),
    st.sampled_from(["cos", "linear"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.floats(2.0, 100.0),
)
def test_one_cycle(
    lrs: tuple[float, float],
    max_lr: tuple[float, float],
    total: int,
    share: float,
    strategy: str,
    adam: bool,
    three: bool,
    cycle: bool,
    factor: float,
) -> None:
    assume(share * total != 1)  # where torch divides by zero: see the next test
    same_sequence(
        "OneCycleLR",
        lrs,
        steps=total,
        adam=adam,
        max_lr=list(max_lr),
        total_steps=total,
        pct_start=share,
        anneal_strategy=strategy,
        cycle_momentum=cycle,
        three_phase=three,
        div_factor=factor,
        final_div_factor=10 * factor,
    )


@given(
    two,
    st.lists(st.floats(-2.0, 2.0) | st.sampled_from([math.nan, math.inf, 0.5]), min_size=20, max_size=40),
    st.sampled_from(["min", "max"]),
    st.sampled_from(["rel", "abs"]),
    factors,
    st.integers(0, 4),
    st.integers(0, 4),
    st.floats(0.0, 0.3),
    st.sampled_from([0.0, 1e-3, [1e-3, 1e-2]]),
)
def test_plateau(
    lrs: tuple[float, float],
    values: list[float],
    mode: str,
    threshold_mode: str,
    factor: float,
    patience: int,
    cooldown: int,
    threshold: float,
    min_lr: Any,
) -> None:
    ours, theirs = pair(*lrs)
    arguments: Any = {
        "mode": mode,
        "factor": factor,
        "patience": patience,
        "threshold": threshold,
        "threshold_mode": threshold_mode,
        "cooldown": cooldown,
        "min_lr": min_lr,
    }
    mine = snn.ReduceLROnPlateau(ours, **arguments)
    judge = torch_schedules.ReduceLROnPlateau(theirs, **arguments)
    for value in values:
        mine.step(value)
        judge.step(value)
        assert look(ours) == look(theirs)
        assert mine.get_last_lr() == judge.get_last_lr()
        assert (mine.num_bad_epochs, mine.in_cooldown) == (judge.num_bad_epochs, judge.in_cooldown)


@given(st.floats(1e-3, 1.0), st.permutations(["LinearLR", "ExponentialLR", "StepLR", "CosineAnnealingLR"]))
def test_chained_by_hand(lr: float, names: list[str]) -> None:
    """Several schedules on one optimizer, stepped one after another, with a hand on the lr in between."""
    arguments: dict[str, dict[str, Any]] = {
        "LinearLR": {"start_factor": 0.1, "total_iters": 7},
        "ExponentialLR": {"gamma": 0.97},
        "StepLR": {"step_size": 3, "gamma": 0.7},
        "CosineAnnealingLR": {"T_max": 9, "eta_min": 1e-4},
    }
    ours, theirs = pair(lr)
    mine = [getattr(snn, name)(ours, **arguments[name]) for name in names]
    judges = [getattr(torch_schedules, name)(theirs, **arguments[name]) for name in names]
    for step in range(30):
        ours.step()
        theirs.step()
        if step == 11:
            ours.param_groups[0]["lr"] *= 3.0
            theirs.param_groups[0]["lr"] *= 3.0
        for a, b in zip(mine, judges, strict=True):
            a.step()
            b.step()
            assert look(ours) == look(theirs)


def test_one_cycle_without_a_way_up() -> None:
    """A way up of no steps: torch divides by zero, here the cycle begins at its top."""
    ours, theirs = pair(0.1)
    with pytest.raises(ZeroDivisionError):
        torch_schedules.OneCycleLR(theirs, 0.3, total_steps=20, pct_start=0.05)
    schedule = snn.OneCycleLR(ours, 0.3, total_steps=20, pct_start=0.05)
    assert schedule.get_last_lr() == [0.3]
    advance(schedule, 20)


MAKERS: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: snn.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda o: snn.MultiStepLR(o, [2, 2, 5]),
    "ExponentialLR": lambda o: snn.ExponentialLR(o, 0.9),
    "LinearLR": lambda o: snn.LinearLR(o, 0.2, total_iters=6),
    "CosineAnnealingLR": lambda o: snn.CosineAnnealingLR(o, 5),
    "OneCycleLR": lambda o: snn.OneCycleLR(o, 0.3, total_steps=56),
    "LambdaLR": lambda o: snn.LambdaLR(o, lambda t: 0.8**t),
    "ReduceLROnPlateau": lambda o: snn.ReduceLROnPlateau(o, patience=0, threshold=0.2, factor=0.5),
}


def advance(schedule: Any, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        schedule.optimizer.step()
        if type(schedule).__name__ == "ReduceLROnPlateau":
            schedule.step(1.0 + (step % 3))
        else:
            schedule.step()


@pytest.mark.parametrize("name", MAKERS)
def test_state_goes_on_where_it_was(name: str) -> None:
    first, second = pair(0.1)[0], pair(0.1)[0]
    schedule = MAKERS[name](first)
    advance(schedule, 4)
    kept, kept_optimizer = schedule.state_dict(), first.state_dict()
    advance(schedule, 6, first=4)
    again = MAKERS[name](second)
    second.load_state_dict(kept_optimizer)
    again.load_state_dict(kept)
    advance(again, 6, first=4)
    assert look(first) == look(second)
    assert again.state_dict() == schedule.state_dict()
    kept.clear()  # a snapshot, no window
    assert again.last_epoch == 10
    with pytest.raises(ValueError, match=rf"loaded state dict has no .*is it that of a {name}"):
        again.load_state_dict({})


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "LambdaLR"])
def test_state_of_torch(name: str) -> None:
    """A state that torch saved goes on here, and the other way round."""
    ours, theirs = pair(0.1)
    table: dict[str, dict[str, Any]] = {
        "StepLR": {"step_size": 3},
        "MultiStepLR": {"milestones": [2, 5]},
        "ExponentialLR": {"gamma": 0.9},
        "LinearLR": {},
        "CosineAnnealingLR": {"T_max": 5},
        "OneCycleLR": {"max_lr": 0.3, "total_steps": 30},
        "ReduceLROnPlateau": {"patience": 1},
    }
    arguments = table[name]
    mine = getattr(snn, name)(ours, **arguments)
    judge = getattr(torch_schedules, name)(theirs, **arguments)
    theirs.step()
    advance(judge, 4)
    mine.load_state_dict(judge.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for round_ in range(8):
        advance(mine, 1, round_)
        advance(judge, 1, round_)
        assert look(ours) == look(theirs)
    judge.load_state_dict(mine.state_dict())
    advance(mine, 1)
    advance(judge, 1)
    assert look(ours) == look(theirs)


@given(st.integers(0, 6))
def test_begun_at_another_place(last_epoch: int) -> None:
    table: dict[str, dict[str, Any]] = {
        "StepLR": {"step_size": 3},
        "LinearLR": {"total_iters": 5},
        "CosineAnnealingLR": {"T_max": 5},
        "ExponentialLR": {"gamma": 0.9},
        "MultiStepLR": {"milestones": [3]},
    }
    for name, arguments in table.items():
        ours, theirs = pair(0.1)
        for optimizer in (ours, theirs):
            optimizer.param_groups[0]["initial_lr"] = 0.4
        mine = getattr(snn, name)(ours, last_epoch=last_epoch, **arguments)
        judge = getattr(torch_schedules, name)(theirs, last_epoch=last_epoch, **arguments)
        for _ in range(12):
            assert look(ours) == look(theirs)
            ours.step()
            theirs.step()
            mine.step()
            judge.step()


def test_callable_objects_are_part_of_the_state() -> None:
    class Decay:
        def __init__(self) -> None:
            self.base = 0.5

        def __call__(self, t: int) -> float:
            return self.base**t

    ours = pair(0.1)[0]
    schedule = snn.LambdaLR(ours, Decay())
    kept = schedule.state_dict()
    assert kept["lr_lambdas"] == [{"base": 0.5}]
    kept["lr_lambdas"][0]["base"] = 0.25
    schedule.load_state_dict(kept)
    advance(schedule, 1)
    assert ours.param_groups[0]["lr"] == 0.1 * 0.25


def test_errors() -> None:
    ours = pair(0.1, 0.2)[0]
    with pytest.raises(TypeError, match="StepLR got a list as optimizer"):
        snn.StepLR([], 3)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="group 0 has no initial_lr"):
        snn.StepLR(ours, 3, last_epoch=4)
    with pytest.raises(ValueError, match="1 functions as lr_lambda for 2 groups"):
        snn.LambdaLR(ours, [lambda t: 1.0])
    with pytest.raises(ValueError, match="start_factor=0"):
        snn.LinearLR(ours, 0.0)
    with pytest.raises(ValueError, match="end_factor=2"):
        snn.LinearLR(ours, 1.0, 2.0)
    lengths: list[Any] = [{}, {"epochs": 3}, {"total_steps": 0}, {"epochs": 3, "steps_per_epoch": 2.5}]
    for arguments in lengths:
        with pytest.raises(ValueError, match=r"OneCycleLR (needs|got)"):
            snn.OneCycleLR(ours, 0.1, **arguments)
    with pytest.raises(ValueError, match="pct_start"):
        snn.OneCycleLR(ours, 0.1, 10, pct_start=1.5)
    with pytest.raises(ValueError, match="anneal_strategy"):
        snn.OneCycleLR(ours, 0.1, 10, anneal_strategy="sine")
    with pytest.raises(ValueError, match="3 numbers as max_lr for 2 groups"):
        snn.OneCycleLR(ours, [0.1, 0.1, 0.1], 10)
    schedule = snn.OneCycleLR(ours, 0.1, 2)
    advance(schedule, 2)
    with pytest.raises(ValueError, match="stepped 3 times, but has total_steps=2"):
        schedule.step()
    wrong: list[Any] = [{"factor": 1.0}, {"mode": "up"}, {"threshold_mode": "up"}, {"min_lr": [0.1]}]
    for arguments in wrong:
        with pytest.raises(ValueError, match="ReduceLROnPlateau got"):
            snn.ReduceLROnPlateau(ours, **arguments)
    fixed = snn.ReduceLROnPlateau(ours, patience=0, min_lr=[0.0, 0.0])
    ours.add_param_group({"params": [snn.Parameter(np.zeros(1, np.float32))]})
    fixed.step(1.0)
    with pytest.raises(RuntimeError, match="2 numbers as min_lr for 3 groups"):
        fixed.step(1.0)
