"""Networks in every layout: right ones are called right, and no wrong gradient is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layouts import LAYOUTS, UNNAMED, UPDATING

import scratchnn as snn

SPOILT: dict[str, Any] = {
    "negated": lambda a: -a,
    "zero": lambda a: 0 * a,
    "doubled": lambda a: 2 * a,
    "one entry": lambda a: np.where(np.arange(np.size(a)).reshape(np.shape(a)) == 0, 1.05 * a, a),
}
AT_ONCE = 2  # ways of spoiling each gradient; over the layouts all take their turn


def spoils(turn: int, gradient: Any) -> list[str]:
    names = [list(SPOILT)[(turn * AT_ONCE + k) % len(SPOILT)] for k in range(AT_ONCE)]
    return names + ["transposed"] * (np.ndim(gradient) == 2 and len({*gradient.shape}) == 1)


def names_of(make: Any) -> dict[str, Any]:
    """{name: a gradient} of all gradients of a layout."""
    found: dict[str, Any] = {}
    snn.gradcheck(*make(lambda name, gradient: found.setdefault(name, gradient) * 0 + gradient))
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_right_gradients_are_right_and_wrong_ones_are_not(name: str) -> None:
    make = LAYOUTS[name]
    report = snn.gradcheck(*make(lambda _, gradient: gradient))
    assert report, str(report)
    gradients = names_of(make)
    assert gradients
    for turn, (wrong, gradient) in enumerate(gradients.items(), list(LAYOUTS).index(name)):
        for how in spoils(turn, gradient):
            spoil = SPOILT.get(how, np.transpose)
            subject, *inputs = make(lambda n, a, wrong=wrong, spoil=spoil: spoil(a) if n == wrong else a)
            report = snn.gradcheck(subject, *inputs)
            assert not report, f"{wrong} {how}\n{report}"
            # What a backward neither names nor changes cannot be told from what is not trained.
            silent = name in UNNAMED or (how == "zero" and name in UPDATING)
            assert silent or report.verdict == "FAIL", f"{wrong} {how}\n{report}"
