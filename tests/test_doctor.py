"""Every mistake of the catalogue, made in a network by hand, is called by its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from all_mistakes import MISTAKES
from hypothesis import given, settings
from mistakes import Net, rng
from programs import Program, programs

from scratchnn.doctor import CATALOGUE, diagnose

CASES = [
    pytest.param(name, make, id=f"{name}: {make.__name__}") for name in MISTAKES for make in MISTAKES[name]
]


@pytest.mark.parametrize(("name", "make"), CASES)
def test_the_mistake_is_named(name: str, make: Any) -> None:
    subject, inputs, loss_fn, target = make()
    diagnosis = diagnose(subject, *inputs, loss_fn=loss_fn, target=target)
    assert not diagnosis.passed
    assert not diagnosis
    assert diagnosis.mistake == name, str(diagnosis)
    assert name in str(diagnosis)


@settings(max_examples=10)
@given(program=programs())
def test_right_networks_are_not_accused(program: Program) -> None:
    made = program.run()
    diagnosis = diagnose(made["model"], made["X"], loss_fn=made["loss_fn"], target=made["y"])
    assert diagnosis, f"{diagnosis}\n{program!r}"
    assert diagnosis.mistake is None


@pytest.mark.parametrize(("name", "make"), CASES[::8])
def test_a_mistake_of_no_name_is_not_given_one(name: str, make: Any) -> None:
    """The same networks, with noise in every gradient besides: nothing in the catalogue fits that."""
    subject, inputs, loss_fn, target = make()
    if not isinstance(subject, Net):
        return
    noise = rng(11)

    class Noisy(type(subject)):  # type: ignore[misc]
        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad = parameter.grad + 0.01 * noise.standard_normal(parameter.grad.shape)
            return dx * (1 + 0.01 * noise.standard_normal(dx.shape))

    subject.__class__ = Noisy
    diagnosis = diagnose(subject, *inputs, loss_fn=loss_fn, target=target)
    assert not diagnosis.passed
    if diagnosis.report is None:  # a shape stopped it before the noise came in
        return
    assert set(diagnosis.mistakes) <= {"no-gradient"}, str(diagnosis)  # a zero has no noise
    assert (
        diagnosis.unexplained if diagnosis.findings else "no mistake of the catalogue fits" in str(diagnosis)
    )
    assert "wrong / right" in str(diagnosis)


def test_every_entry_of_the_catalogue_has_two_cases_and_a_line_in_the_guide() -> None:
    assert set(MISTAKES) == set(CATALOGUE)
    assert [name for name, made in MISTAKES.items() if len(made) < 2] == []
    guide = (Path(__file__).parents[1] / "docs" / "gradcheck.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", guide, re.M)
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row)} >= set(CATALOGUE)
