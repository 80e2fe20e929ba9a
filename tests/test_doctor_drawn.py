"""Networks drawn at random: right ones are not accused, wrong ones get no wrong name; at any scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from accusations import accusations_of_a_user, attribution
from drawn_networks import LAYOUTS, draw
from mistakes import Net, data

from scratchnn.doctor import diagnose


@pytest.mark.parametrize("layout", LAYOUTS)
def test_right_networks_of_a_user_are_not_accused(layout: str) -> None:
    assert accusations_of_a_user(range(4), layout) == ([], [])


@pytest.mark.parametrize("seed", range(8))
def test_one_mistake_is_named(seed: int) -> None:
    verdict, line = attribution(seed, 1)
    assert verdict in ("named", "another set", "no effect"), line


@pytest.mark.parametrize("seed", range(6))
def test_two_mistakes_are_named(seed: int) -> None:
    verdict, line = attribution(seed, 2)
    assert verdict in ("named", "another set", "no effect"), line


@pytest.mark.parametrize("seed", range(4))
def test_a_mistake_of_no_catalogue_gets_no_name(seed: int) -> None:
    verdict, line = attribution(seed, 1, unknown=True)
    assert verdict in ("nothing", "no effect"), line


def test_a_mistake_without_an_effect_is_none() -> None:
    """The harness itself: what changes no gradient is not asked for."""
    names = [draw(seed, 2).names for seed in range(40)]
    assert {len(found) for found in names} == {1, 2}


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 3.0])
def test_names_do_not_depend_on_the_scale(scale: float) -> None:
    class Scaled(Net):
        def __init__(self) -> None:
            super().__init__()
            for parameter in (self.w1, self.b1, self.w2):
                parameter.data = parameter.data * scale

        def bias_sum(self, dz: Any) -> Any:
            return np.full(dz.shape[1], dz.sum())

        def hidden(self, dh: Any) -> Any:
            return -dh * self.slope()

    diagnosis = diagnose(Scaled(), data())
    assert sorted(diagnosis.mistakes) == ["bias-over-everything", "sign-flipped"], str(diagnosis)
