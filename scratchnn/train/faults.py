"""What is not finite in a run, and what the reader is told about it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..checks import Array
from ..layers import Module, Parameter
from ..losses import Loss
from ..optim import Optimizer

__all__ = ["Fault", "all_finite", "first_fault", "moved_fault", "why_not_finite"]

ADVICE = (
    "Try a smaller lr, inputs of about unit size, or BCEWithLogitsLoss and CrossEntropyLoss on logits in "
    "place of losses on probabilities."
)


@dataclass(frozen=True)
class Fault:
    """A number that is NaN or infinite.

    Attributes:
        value: the number.
        parameter: of which it is one; None for the loss.
        before: it was so before the step; otherwise the step has made it so.
        cause: why, in words, where that is known.
    """

    value: float
    parameter: Parameter | None = None
    before: bool = False
    cause: str | None = None

    def words(self, model: Module, optimizer: Optimizer, epoch: int, step: int) -> str:
        """All of it, with what to do."""
        where = f"epoch {epoch}, step {step}"
        kept = "Model and optimizer hold what they held at the last finite loss."
        if self.parameter is not None and self.before:
            name = name_of(model, self.parameter)
            return (
                f"parameter {name} is {self.value} before {where}: no step has made it so, but what ran "
                f"before it, a callback or another thread. {kept} Write finite numbers into {name}."
            )
        what = "the loss" if self.parameter is None else f"parameter {name_of(model, self.parameter)}"
        if self.cause is not None:
            return f"{what} became {self.value} at {where}: {self.cause}. {kept}"
        rates = ", ".join(f"{group['lr']:g}" for group in optimizer.param_groups)
        return f"{what} became {self.value} at {where}, training with lr={rates}. {kept} {ADVICE}"


def name_of(model: Module, parameter: Parameter) -> str:
    """Its path in the model, or its shape where the model does not have it."""
    for name, own in model.named_parameters():
        if own is parameter:
            return name
    return f"of shape {parameter.shape}, which only the optimizer has,"


def all_finite(array: Array) -> bool:
    """No element is NaN or infinite. One product tells, unless large elements overflow it."""
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def first_fault(parameters: Iterable[Parameter], before: bool) -> Fault | None:
    """The first of the parameters that is not finite, by its first such number."""
    for parameter in parameters:
        if not all_finite(parameter.data):
            return Fault(float(parameter.data[~np.isfinite(parameter.data)][0]), parameter, before)
    return None


def moved_fault(optimizer: Optimizer) -> Fault | None:
    """As `first_fault`, of what the optimizer moves, after a step."""
    return first_fault((p for group in optimizer.param_groups for p in group["params"]), before=False)


def why_not_finite(loss_fn: Loss, x: Array, target: Array) -> str | None:
    """Why the loss of a batch is not finite, where that is not a matter of the weights."""
    for what, values in (("inputs", x), ("targets", target)):
        finite = np.isfinite(values)
        if not finite.all():
            index = tuple(np.argwhere(~finite)[0].tolist())
            return f"the {what} of that batch hold {values[index]} at index {index}; remove or fill it"
    return loss_fn.cause_of_nan(target)
