"""Schedules say at once what they cannot be made of, and warn where torch warns."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import scratchnn as snn

torch_schedules = torch.optim.lr_scheduler
NAN = math.nan
RIGHT: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 3},
    "MultiStepLR": {"milestones": [2, 5]},
    "ExponentialLR": {"gamma": 0.9},
    "LinearLR": {},
    "CosineAnnealingLR": {"T_max": 5},
    "OneCycleLR": {"max_lr": 0.3, "total_steps": 30},
    "ReduceLROnPlateau": {},
    "LambdaLR": {"lr_lambda": lambda t: 1.0},
}
HOSTILE = [
    None,
    "2",
    "relu",
    NAN,
    math.inf,
    -1,
    2.5,
    True,
    [],
    [0.1],
    (1, 2, 3),
    {},
    b"1",
    np.zeros(3),
    object(),
    1j,
]


def optimizers() -> tuple[snn.Optimizer, Any]:
    ours = [{"params": [snn.Parameter(np.zeros(1, np.float32))]} for _ in range(2)]
    theirs = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    return snn.SGD(ours, lr=0.1, momentum=0.9), torch.optim.SGD(theirs, lr=0.1, momentum=0.9)


def groups(optimizer: Any) -> Any:
    return [
        {key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups
    ]


def arguments_of(name: str) -> list[str]:
    return [
        argument for argument in inspect.signature(getattr(snn, name)).parameters if argument != "optimizer"
    ]


@pytest.mark.parametrize(("name", "argument"), [(n, a) for n in RIGHT for a in arguments_of(n)])
def test_every_argument_is_checked(name: str, argument: str) -> None:
    """What torch refuses is refused; what is refused is named, and leaves the optimizer as it was."""
    refused = 0
    for value in HOSTILE:
        ours, theirs = optimizers()
        given = {**RIGHT[name], argument: value}
        before = copy.deepcopy(groups(ours))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy's, within torch
                getattr(torch_schedules, name)(theirs, **given)
            torchs = None
        except Exception as error:
            torchs = error
        said = None
        try:
            schedule = getattr(snn, name)(ours, **given)
        except (
            KeyError,
            TypeError,
            ValueError,
        ) as error:  # KeyError: a last_epoch, and nothing to go on from
            said = error
        if said is not None:
            refused += 1
            assert not isinstance(said, KeyError) or argument == "last_epoch"
            assert name in str(said)
            assert argument in str(said)
            assert groups(ours) == before
            continue
        assert torchs is None, f"torch refuses {argument}={value!r}: {torchs}"
        for _ in range(4):  # what was taken works
            ours.step()
            schedule.step(1.0) if name == "ReduceLROnPlateau" else schedule.step()
        assert all(math.isfinite(group["lr"]) for group in ours.param_groups)
    assert refused >= 8


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("StepLR", {"step_size": 0}),
        ("StepLR", {"step_size": 2.0}),
        ("StepLR", {"gamma": -0.5}),
        ("MultiStepLR", {"milestones": "12"}),
        ("MultiStepLR", {"milestones": [2, 4.5]}),
        ("MultiStepLR", {"milestones": [-1]}),
        ("MultiStepLR", {"milestones": iter(())}),
        ("LinearLR", {"total_iters": 0}),
        ("LinearLR", {"start_factor": NAN}),
        ("CosineAnnealingLR", {"eta_min": -1e-3}),
        ("OneCycleLR", {"div_factor": 0}),
        ("OneCycleLR", {"final_div_factor": -1}),
        ("OneCycleLR", {"max_lr": [0.1, NAN]}),
        ("OneCycleLR", {"max_momentum": [0.9, "high"]}),
        ("OneCycleLR", {"pct_start": NAN}),
        ("OneCycleLR", {"total_steps": True}),
        ("OneCycleLR", {"anneal_strategy": "cosine"}),
        ("ReduceLROnPlateau", {"factor": NAN}),
        ("ReduceLROnPlateau", {"min_lr": [0.0, -1.0]}),
        ("LambdaLR", {"lr_lambda": lambda t: None}),
        ("LambdaLR", {"lr_lambda": [lambda t: 1.0, lambda t: NAN]}),
        ("LambdaLR", {"lr_lambda": snn.SGD}),
    ],
)
def test_what_torch_takes_and_no_schedule_can_be_made_of(name: str, given: dict[str, Any]) -> None:
    ours, _ = optimizers()
    before = copy.deepcopy(groups(ours))
    with pytest.raises((TypeError, ValueError), match=f"{name} got .*{next(iter(given))}"):
        getattr(snn, name)(ours, **{**RIGHT[name], **given})
    assert groups(ours) == before


def test_milestones_come_in_any_collection() -> None:
    wanted = Counter([2, 5])
    for milestones in (
        [2, 5],
        (2, 5),
        {2, 5},
        Counter([2, 5]),
        iter([2, 5]),
        np.array([2, 5]),
        range(2, 6, 3),
    ):
        schedule = snn.MultiStepLR(optimizers()[0], milestones)  # type: ignore[arg-type]
        assert schedule.milestones == wanted
        assert all(type(milestone) is int for milestone in schedule.milestones)


def test_a_function_that_fails_later_leaves_the_schedule_where_it_was() -> None:
    def fails(t: int) -> Any:
        return None if t == 2 else 0.5**t

    ours, _ = optimizers()
    schedule = snn.LambdaLR(ours, fails)
    ours.step()
    schedule.step()
    before, rates = schedule.state_dict(), groups(ours)
    with pytest.raises(TypeError, match=r"LambdaLR got lr_lambda\(2\)=None; it needs a number"):
        schedule.step()
    assert (schedule.state_dict(), groups(ours)) == (before, rates)
    with pytest.raises(TypeError, match=r"ReduceLROnPlateau\.step got 'low'"):
        snn.ReduceLROnPlateau(ours).step("low")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in RIGHT if name != "LambdaLR"])
def test_a_state_of_another_kind_loads_nothing(name: str) -> None:
    ours, _ = optimizers()
    schedule = getattr(snn, name)(ours, **RIGHT[name])
    before = schedule.state_dict()
    for entry in before:
        with pytest.raises(TypeError, match=f"has {entry}=.*is it that of a {name}"):
            schedule.load_state_dict({**before, entry: object()})
    with pytest.raises(TypeError, match=f"{name} got state_dict"):
        schedule.load_state_dict([before])
    assert schedule.state_dict() == before


# ---- warnings ------------------------------------------------------------------------------------


def scenarios(library: Any, schedules: Any) -> dict[str, Callable[[Any], None]]:
    def step(o: Any) -> None:
        schedules.StepLR(o, 1).step()

    def in_order(o: Any) -> None:
        schedule = schedules.StepLR(o, 1)
        o.step()
        schedule.step()

    def steps_before_the_schedule(o: Any) -> None:
        o.step()
        step(o)

    def second_schedule(o: Any) -> None:
        in_order(o)
        step(o)

    def twice(o: Any) -> None:
        schedule = schedules.StepLR(o, 1)
        schedule.step()
        schedule.step()

    def loaded(o: Any) -> None:
        first = schedules.StepLR(o, 1)
        o.step()
        first.step()
        again = schedules.StepLR(o, 1)
        again.load_state_dict(first.state_dict())
        again.step()

    def plateau(o: Any) -> None:
        schedules.ReduceLROnPlateau(o).step(1.0)

    def two_at_once(o: Any) -> None:
        for schedule in [schedules.StepLR(o, 1), schedules.ExponentialLR(o, 0.5)]:
            schedule.step()

    def of_a_class_with_its_own_step(o: Any) -> None:
        class Mine(type(o)):  # type: ignore[misc]
            def step(self, closure: Any = None) -> Any:
                return None

        in_order(Mine(o.param_groups[0]["params"], lr=0.1))

    return {
        name: value
        for name, value in locals().items()
        if callable(value) and name not in ("library", "schedules")
    }


@pytest.mark.parametrize("name", scenarios(snn, snn))
def test_warns_where_torch_warns(name: str) -> None:
    def warned(library: Any, schedules: Any, optimizer: Any) -> int:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            scenarios(library, schedules)[name](optimizer)
        return sum("before" in str(w.message) and "step" in str(w.message) for w in seen)

    ours, theirs = optimizers()
    assert warned(snn, snn, ours) == warned(torch, torch_schedules, theirs)
    expected = {"step": 1, "steps_before_the_schedule": 1, "twice": 1, "two_at_once": 2}.get(name, 0)
    assert warned(snn, snn, optimizers()[0]) == expected


def test_the_warning_names_both_and_points_here() -> None:
    with pytest.warns(UserWarning, match=r"StepLR.step\(\) was called before SGD.step\(\)") as seen:
        snn.StepLR(optimizers()[0], 1).step()
    assert seen[0].filename == __file__
