"""Networks in every layout: right ones are called right, and no wrong gradient is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layout_programs import program
from layouts import LAYOUTS, UNNAMED, UPDATING

import scratchnn as snn

SPOILT: dict[str, Any] = {
    "negated": lambda a: -a,
    "zero": lambda a: 0 * a,
    "doubled": lambda a: 2 * a,
    "one entry": lambda a: np.where(np.arange(np.size(a)).reshape(np.shape(a)) == 0, 1.05 * a, a),
}
PROGRAMS = 25


def spoils(turn: int, gradient: Any) -> list[Any]:
    """One way of spoiling a gradient, in turn, and the transpose of a square one."""
    square = np.ndim(gradient) == 2 and len({*gradient.shape}) == 1
    return [list(SPOILT.values())[turn % len(SPOILT)], *[np.transpose] * square]


@pytest.mark.parametrize("name", LAYOUTS)
def test_right_gradients_are_right_and_wrong_ones_are_not(name: str) -> None:
    make = LAYOUTS[name]
    gradients: dict[str, Any] = {}
    report = snn.gradcheck(*make(lambda n, gradient: gradients.setdefault(n, gradient) * 0 + gradient))
    assert report, str(report)
    assert gradients
    for turn, (wrong, gradient) in enumerate(gradients.items(), list(LAYOUTS).index(name)):
        for spoil in spoils(turn, gradient):
            subject, *inputs = make(lambda n, a, wrong=wrong, spoil=spoil: spoil(a) if n == wrong else a)
            report = snn.gradcheck(subject, *inputs)
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
    report = snn.gradcheck(*drawn.make(lambda n, a: spoil(a) if n == wrong else a))
    assert report.verdict == "FAIL", f"{wrong} {drawn}\n{report}"
