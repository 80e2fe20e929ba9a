"""A check leaves everything as it was: also what lies in closures and classes, also after an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layouts import LAYOUTS, UPDATING, assert_same, state

import scratchnn as snn


class Stop(Exception):
    """An error of the user's backward."""


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["matrix_in_a_closure", "class_attributes", "functions_around_an_object"])
def test_nothing_changes_when_a_backward_raises(name: str, error: type[BaseException]) -> None:
    for last in (0, 1, 2):
        calls = iter(range(1000))

        def g(_: str, gradient: Any, last: int = last, calls: Any = calls) -> Any:
            if next(calls) >= last:
                raise error("now")
            return gradient

        subject, *inputs = LAYOUTS[name](g)
        before = state(subject, inputs)
        with pytest.raises((error, TypeError)):
            snn.gradcheck(subject, *inputs)
        assert_same(before, state(subject, inputs))


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("last", [0, 1, 5, 40])
def test_nothing_changes_when_a_forward_raises(error: type[BaseException], last: int) -> None:
    calls = iter(range(1000))

    class Layer:
        W = np.ones((3, 2)) / 3

        def forward(self, x: Any) -> Any:
            if next(calls) >= last:
                raise error("now")
            self.x = x
            return np.tanh(x @ Layer.W)

        def backward(self, dy: Any) -> Any:
            dz = dy * (1 - np.tanh(self.x @ self.W) ** 2)
            self.dW = self.x.T @ dz
            return dz @ self.W.T

    layer, x = Layer(), np.ones((4, 3))
    W = Layer.W
    before = state(layer, [x])
    with pytest.raises(error):
        snn.gradcheck(layer, x)
    assert_same(before, state(layer, [x]))
    assert Layer.W is W


PLAIN = [name for name, make in LAYOUTS.items() if hasattr(make(lambda _, a: a)[0], "backward")]


@pytest.mark.parametrize(
    "name", sorted({*PLAIN} - UPDATING - {"two_outputs", "andrew_ng_class", "a_loss_of_ones_own"})
)
def test_an_object_that_was_used_is_judged_as_a_fresh_one(name: str) -> None:
    spoil = 1 + list(LAYOUTS).index(name) % 2
    for factor in {1, spoil}:
        subject, *inputs = LAYOUTS[name](lambda n, a, factor=factor: factor * a)
        for _ in range(2):
            y = subject.forward(*inputs) if hasattr(subject, "forward") else subject(*inputs)
            subject.backward(np.ones(np.shape(subject.output if y is None else y)))
        report = snn.gradcheck(subject, *inputs)
        assert bool(report) is (factor == 1), str(report)
