"""`trace`: one forward and one backward, everything kept."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import Array, as_array
from ..gradcheck.subject import short_repr
from ..layers import Module
from .run import Recorder, untouched
from .steps import Pair, Step

__all__ = ["Trace", "trace"]


@dataclass(eq=False)
class Trace:
    """One step of backprop: every number, and how it came to be. Made by `trace`.

    Attributes:
        steps: in order, forward then backward.
        loss: what the step's backward differentiates: for reduction "none" the sum of the losses.
        prediction, x, target: arrays, as the loss and the model got them.
        parameters: {name: values}. gradients: {name: dL/d(parameter)}, of those that got one.
        model, loss_fn: copies, as they were before the step.
        layers: the health of each layer. findings: sentences about what is wrong; empty if nothing is.
    """

    steps: list[Step]
    loss: float
    prediction: Array
    x: Array
    target: Array
    parameters: dict[str, Array]
    gradients: dict[str, Array]
    model: Module
    loss_fn: Any
    layers: list[Any] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """Where there are steps: "0", "1", ..., "loss"."""
        return list(dict.fromkeys(step.path for step in self.steps))

    def __getitem__(self, path: str) -> Pair:
        forward = [s for s in self.steps if s.path == path and s.direction == "forward"]
        backward = [s for s in self.steps if s.path == path and s.direction == "backward"]
        if not forward:
            raise KeyError(f"no step at {path!r}; there are {', '.join(map(repr, self.paths))}")
        return Pair(forward[0], backward[0] if backward else None)

    def explain(self, *arguments: Any, **options: Any) -> Any:
        """The derivation sheet of one number: see `scratchnn.trace.explain`."""
        from .explain import explain

        return explain(self, *arguments, **options)


def trace(model: Any, loss_fn: Any, x: Any, target: Any, *, optimizer: Any = None) -> Trace:
    """Run one forward and one backward on a copy and keep every number."""
    label = f"trace of {short_repr(model)}"
    twin, loss_twin, mover = copy.deepcopy((model, loss_fn, optimizer))
    parameters = dict(twin.named_parameters())
    if not parameters:
        raise ValueError(f"{label}: it has no parameters, so the loss has nothing to move; add a Linear")
    twin.zero_grad()
    x = np.array(as_array(label, "x", x), order="K")
    target = np.array(target)
    kept_x, kept_target = x.copy("K"), target.copy("K")
    values = {name: parameter.data.copy("K") for name, parameter in parameters.items()}
    recorder = Recorder(twin)
    try:
        with untouched():
            prediction = twin(x)
            loss = recorder.loss(loss_twin, prediction, target)
            twin.backward(recorder.loss_backward(loss_twin))
    finally:
        recorder.release()
    gradients = {name: p.grad.copy("K") for name, p in parameters.items() if p.grad is not None}
    return Trace(
        steps=recorder.steps,
        loss=float(np.sum(loss)),
        prediction=np.array(prediction, order="K"),
        x=kept_x,
        target=kept_target,
        parameters=values,
        gradients=gradients,
        model=twin,
        loss_fn=loss_twin,
    )
