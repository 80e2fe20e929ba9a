"""A check leaves everything as it was: also what lies in closures and classes, also after an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layouts import LAYOUTS, UPDATING

import scratchnn as snn
from scratchnn.gradcheck.world import World


def state(subject: Any, inputs: Any) -> tuple[dict[Any, tuple[Any, bytes]], list[tuple[Any, list[str]]]]:
    """Every array with its identity and bytes, and every object with the names of its attributes."""
    world = World(subject, inputs, [f"x{i}" for i in range(len(inputs))])
    arrays = {
        (*container, key): (place.thing, np.array(place.thing).tobytes())
        for place in world.places()
        for container, key in place.edges
    }
    return arrays, [(thing, list(getattr(thing, "__dict__", ()))) for thing in world.things()]


def assert_same(before: Any, after: Any) -> None:
    arrays, things = before
    assert list(arrays) == list(after[0])
    for address, (thing, content) in arrays.items():
        assert after[0][address][0] is thing or isinstance(thing, float), address
        assert after[0][address][1] == content, address
    assert [id(thing) for thing, _ in things] == [id(thing) for thing, _ in after[1]]
    assert [names for _, names in things] == [names for _, names in after[1]]


@pytest.mark.parametrize("name", LAYOUTS)
def test_nothing_changes(name: str) -> None:
    subject, *inputs = LAYOUTS[name](lambda _, gradient: gradient)
    before = state(subject, inputs)
    assert snn.gradcheck(subject, *inputs)
    assert_same(before, state(subject, inputs))


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
    for spoil in (1, 2):
        subject, *inputs = LAYOUTS[name](lambda n, a, spoil=spoil: spoil * a)
        for _ in range(2):
            y = subject.forward(*inputs) if hasattr(subject, "forward") else subject(*inputs)
            subject.backward(np.ones(np.shape(subject.output if y is None else y)))
        report = snn.gradcheck(subject, *inputs)
        assert bool(report) is (spoil == 1), str(report)
