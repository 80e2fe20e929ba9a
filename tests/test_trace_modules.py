"""Which module a step of `snn.trace` belongs to: nested modules, several uses, modules of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import traced
from traced import bits

import scratchnn as snn


def test_paths_of_modules_within_modules() -> None:
    assert snn.trace(*traced.chain()).paths == ["encoder.0", "encoder.1", "fc", "loss"]
    trace = snn.trace(*traced.residual())
    assert trace.paths == ["0", "1.inner.0", "1.inner.1", "1", "2", "loss"]
    pair = trace["1"]
    assert pair.backward is not None
    assert pair.forward.op == pair.backward.op == ""
    inner = trace["1.inner.0"].backward
    assert inner is not None
    assert bits(pair.backward.outputs["dx"]) == bits(pair.backward.inputs["dy"] + inner.outputs["dx"])


def test_a_module_used_several_times_has_a_step_for_each() -> None:
    trace = snn.trace(*traced.shared())
    assert trace.paths == ["0.0", "0.1", "1", "2", "3", "4.0", "4.1", "loss"]
    steps = [trace[path].backward for path in ("4.0", "2", "0.0")]
    assert [step.parameters["weight"] for step in steps if step] == ["0.0.weight"] * 3
    total = sum(step.outputs["dweight"] for step in steps if step)
    assert bits(total) == bits(trace.gradients["0.0.weight"])


class Twice(snn.Module):
    """One layer, called twice under one name."""

    def __init__(self) -> None:
        self.fc = snn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        first = self.fc(x)
        self.kept = self.fc._snapshot()
        return self.fc(first)

    def backward(self, dy: Any) -> Any:
        dy = self.fc.backward(dy)
        self.fc._restore(self.kept)
        return self.fc.backward(dy)


def test_the_second_use_of_one_name_is_numbered() -> None:
    trace = snn.trace(Twice(), snn.MSELoss(), traced.batch(4, 3), traced.batch(4, 3, seed=1))
    assert [(step.path, step.direction) for step in trace.steps] == [
        ("fc", "forward"), ("fc#2", "forward"), ("loss", "forward"),
        ("loss", "backward"), ("fc#2", "backward"), ("fc", "backward"),
    ]  # fmt: skip
    assert bits(trace["fc#2"].backward.inputs["x"]) == bits(trace["fc"].forward.outputs["y"])  # type: ignore[union-attr]
    assert bits(trace["fc"].backward.inputs["x"]) == bits(trace.x)  # type: ignore[union-attr]


class Both(snn.Module):
    """f(first half) + f(second half), taken back in the order of the forward."""

    def __init__(self) -> None:
        self.f = snn.Sequential(snn.Linear(2, 2), snn.Tanh())

    def forward(self, x: Any) -> Any:
        y = []
        self.trails = []
        for half in (x[:, :2], x[:, 2:]):
            y.append(self.f(half))
            self.trails.append(self.f._snapshot())
        return y[0] + y[1]

    def backward(self, dy: Any) -> Any:
        halves = []
        for trail in self.trails:
            self.f._restore(trail)
            halves.append(self.f.backward(dy))
        return np.concatenate(halves, axis=1)


def test_a_backward_belongs_to_the_forward_whose_arrays_it_uses() -> None:
    trace = snn.trace(Both(), snn.MSELoss(), traced.batch(5, 4), traced.batch(5, 2, seed=1))
    backward = [step for step in trace.steps if step.direction == "backward" and step.op == "linear_vjp"]
    assert [step.path for step in backward] == ["f.0", "f.0#2"]
    for step, half in zip(backward, (trace.x[:, :2], trace.x[:, 2:]), strict=True):
        assert bits(step.inputs["x"]) == bits(half)
        assert bits(trace[step.path].forward.inputs["x"]) == bits(half)


class Double(snn.Module):
    """A leaf that keeps nothing."""

    def forward(self, x: Any) -> Any:
        return 2 * x

    def backward(self, dy: Any) -> Any:
        return 2 * dy


def test_uses_that_keep_nothing_are_taken_back_from_the_last() -> None:
    double = Double()
    model = snn.Sequential(double, snn.Linear(2, 2), double)
    trace = snn.trace(model, snn.MSELoss(), traced.batch(3, 2), traced.batch(3, 2, seed=1))
    assert [step.path for step in trace.steps if step.direction == "backward"] == ["loss", "2", "1", "0"]


def test_a_grad_written_by_hand_is_shared_out_to_the_uses() -> None:
    class Shift(snn.Module):
        def __init__(self) -> None:
            self.b = snn.Parameter([0.25, -0.5])

        def forward(self, x: Any) -> Any:
            return x + self.b.data

        def backward(self, dy: Any) -> Any:
            self.b.grad = dy.sum(axis=0) if self.b.grad is None else self.b.grad + dy.sum(axis=0)
            return dy

    shift = Shift()
    trace = snn.trace(snn.Sequential(shift, shift), snn.MSELoss(reduction="sum"), [[1, 2]], [[0, 0]])
    assert [trace[path].backward.outputs["db"].tolist() for path in "10"] == [[3, 2]] * 2  # type: ignore[union-attr]
    assert trace.gradients["0.b"].tolist() == [6, 4]


def test_layers_used_without_being_called_belong_to_who_uses_them() -> None:
    class Tied(snn.Module):
        def __init__(self) -> None:
            self.inner = snn.Linear(2, 2, bias=False)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.inner.weight.data

        def backward(self, dy: Any) -> Any:
            self.inner.weight.accumulate(self.x.T @ dy)
            return dy @ self.inner.weight.data.T

    trace = snn.trace(snn.Sequential(Tied()), snn.MSELoss(), [[1, 2]], [[0, 0]])
    pair = trace["0"]
    assert trace.paths == ["0", "loss"]
    assert pair.forward.parameters == {"inner.weight": "0.inner.weight"}
    assert pair.backward is not None
    assert bits(pair.backward.outputs["dinner.weight"]) == bits(trace.gradients["0.inner.weight"])


def test_containers_are_no_steps() -> None:
    model = snn.Sequential(snn.Sequential(), snn.Sequential(snn.Linear(2, 2)))
    assert snn.trace(model, snn.MSELoss(), [[1, 2]], [[0, 0]]).paths == ["1.0", "loss"]
