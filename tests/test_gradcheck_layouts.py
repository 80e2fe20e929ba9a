"""Networks in every layout: right ones are called right and left as they were, no wrong one is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layout_programs import program
from layouts import LAYOUTS, UNNAMED, UPDATING, assert_same, state

import scratchnn as snn

SPOILT: dict[str, Any] = {
    "negated": lambda a: -a,
    "zero": lambda a: 0 * a,
    "doubled": lambda a: 2 * a,
    "one entry": lambda a: np.where(np.arange(np.size(a)).reshape(np.shape(a)) == 0, 1.05 * a, a),
}
PROGRAMS = 12


def spoiling(turn: int, shape: tuple[int, ...]) -> Any:
    """A way of spoiling a gradient, in turn; every other square one is transposed."""
    square = len(shape) == 2 and len({*shape}) == 1
    return np.transpose if square and turn % 2 else list(SPOILT.values())[turn % len(SPOILT)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_right_gradients_are_right_and_wrong_ones_are_not(name: str) -> None:
    make = LAYOUTS[name]
    shapes: dict[str, tuple[int, ...]] = {}

    def right(of: str, gradient: Any) -> Any:
        shapes[of] = np.shape(gradient)
        return gradient

    subject, *inputs = make(right)
    before = state(subject, inputs)
    report = snn.gradcheck(subject, *inputs)
    assert report, str(report)
    assert_same(before, state(subject, inputs))
    assert shapes
    for turn, (wrong, shape) in enumerate(shapes.items(), list(LAYOUTS).index(name)):
        spoil = spoiling(turn, shape)
        subject, *inputs = make(lambda n, a, wrong=wrong, spoil=spoil: spoil(a) if n == wrong else a)
        report = snn.gradcheck(subject, *inputs, method="central")  # takes half the time
        assert not report, f"{wrong} {turn}\n{report}"
        # What a backward neither names nor changes cannot be told from what is not trained.
        silent = name in UNNAMED or (spoil is SPOILT["zero"] and name in UPDATING)
        assert silent or report.verdict == "FAIL", f"{wrong} {turn}\n{report}"


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_random_layouts(seed: int) -> None:
    drawn = program(seed)
    report = snn.gradcheck(*drawn.make(lambda _, a: a))
    assert report, f"{drawn}\n{report}"
    wrong, spoil = drawn.gradients[seed % len(drawn.gradients)], list(SPOILT.values())[seed % len(SPOILT)]
    report = snn.gradcheck(*drawn.make(lambda n, a: spoil(a) if n == wrong else a), method="central")
    assert report.verdict == "FAIL", f"{wrong} {drawn}\n{report}"
