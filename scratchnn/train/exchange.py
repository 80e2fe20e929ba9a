"""Parameters, gradients and the optimizer's state, between their objects and a compiled run."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ..checks import Array
from ..engine.plan import LoweringError, Rule
from ..engine.run import Run
from ..layers import Parameter
from ..lowering import read_groups
from ..optim import Optimizer

__all__ = ["Exchange"]

STATE_NAMES = {
    Rule.SGD: ("momentum_buffer",),
    Rule.ADAM: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    Rule.ADAMW: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
}
MOMENTUM, AMSGRAD = 1, 5  # places among a group's numbers
Entries: TypeAlias = "dict[str, Any]"


class Exchange:
    """Between one run and the objects that it trains.

    Args:
        parameters: in the order of the run's plan.
    Attributes:
        steps_behind: optimizer steps that each parameter had when it was loaded.
    """

    def __init__(self, run: Run, parameters: list[Parameter], optimizer: Optimizer) -> None:
        self.run, self.plan, self.optimizer = run, run.plan, optimizer
        self.parameters = parameters
        self.values = [run.view(run.parameters, position) for position in range(len(parameters))]
        self.names = STATE_NAMES[run.plan.rule]
        self.steps_behind = [0] * len(parameters)
        self._laid_out = False

    def read_groups(self) -> None:
        """Take over the optimizer's hyperparameters as they are now."""
        self.plan.rule, self.plan.groups = read_groups(self.optimizer, self.parameters)
        self._laid_out = False

    def load(self) -> None:
        """Take over parameters and state as they are now: a callback may have changed them.

        Raises:
            LoweringError: other arrays than the plan is for.
        """
        run, dtype = self.run, self.plan.dtype
        made = []
        for position, (parameter, value) in enumerate(zip(self.parameters, self.values, strict=True)):
            data = parameter.data
            if data.shape != value.shape or data.dtype != dtype or not data.flags.writeable:
                raise LoweringError(
                    f"a parameter of {data.dtype} {data.shape}"
                    f"{'' if data.flags.writeable else ', read-only'}, where it had {dtype} {value.shape}"
                )
            value[...] = data
            entries: Entries = self.optimizer.state.get(parameter, {})
            for slot, name in enumerate(self.names):
                run.view(run.state, position, slot)[...] = self._entry(entries, name, value)
            made.append(self._steps(entries))
        if not self._laid_out or not self._goes_on(made) or not run.keeps_rates:
            run.set_stretches(made)
            self._laid_out = True
        self.steps_behind = [before + run.made for before in run.made_before]

    def store(self) -> None:
        """Leave parameters, gradients and state where the textbook's loop leaves them."""
        run, sgd = self.run, self.plan.rule == Rule.SGD
        if run.made and self.optimizer._stepped is False:
            self.optimizer._stepped = True  # for the schedules, as `step` says it
        for position, (parameter, numbers) in self.moved().items():
            _put(parameter, self.values[position])
            if run.made:
                parameter.grad = run.view(run.gradients, position).copy()
            steps = run.made_before[position] + run.made
            entries = self.optimizer.state.setdefault(parameter, {})
            if steps == 0:
                self.optimizer.state.pop(parameter)  # undone, down to the start
            elif sgd:
                if not self.slots(numbers) and not entries:
                    self.optimizer.state.pop(parameter)
            else:
                entries["step"] = np.array(steps, np.float32)
            if steps:
                for slot, name in self.slots(numbers):
                    _keep(entries, name, run.view(run.state, position, slot))

    def moved(self) -> dict[int, tuple[Parameter, list[float]]]:
        """The parameters that the optimizer has, by position, with their hyperparameters."""
        numbers = {p: group.numbers for group in self.plan.groups for p in group.parameters}
        return {i: (p, numbers[i]) for i, p in enumerate(self.parameters) if i in numbers}

    def slots(self, numbers: list[float]) -> list[tuple[int, str]]:
        """The slots of state that a parameter with these hyperparameters uses, with their names."""
        if self.plan.rule == Rule.SGD:
            return list(enumerate(self.names)) if numbers[MOMENTUM] != 0 else []
        return list(enumerate(self.names if numbers[AMSGRAD] != 0 else self.names[:2]))

    def _entry(self, entries: Entries, name: str, value: Array) -> Any:
        """An entry of the state; 0 where there is none."""
        entry = entries.get(name)
        if entry is None:
            return 0
        # What is narrower than the parameter counts as it does by hand, in the parameter's dtype.
        if (
            not isinstance(entry, np.ndarray)
            or entry.shape != value.shape
            or entry.dtype.kind != "f"
            or entry.itemsize > value.itemsize
            or not entry.flags.writeable
        ):
            raise LoweringError(f"an optimizer's {name} that is not an array like its parameter")
        return entry

    def _steps(self, entries: Entries) -> int:
        """Steps that a parameter has behind it, by its state."""
        if self.plan.rule == Rule.SGD:
            return int(entries.get("momentum_buffer") is not None)
        if not entries:
            return 0
        steps = np.asarray(entries.get("step"))
        if steps.shape != () or steps.dtype.kind not in "iuf" or not 0 <= steps < 2**53 or steps % 1:
            raise LoweringError(f"an optimizer's step that is {entries.get('step')!r}")
        if any(entries.get(name) is None for name in self.names[:2]):
            raise LoweringError("an optimizer's state with some of its entries")
        return int(steps)

    def _goes_on(self, made: list[int]) -> bool:
        """The run has counted as many steps as the state says."""
        run = self.run
        counted = [before + run.made for before in run.made_before]
        if self.plan.rule != Rule.SGD:
            return counted == made
        # All that counts there is whether a buffer exists.
        momentum = any(group.numbers[MOMENTUM] != 0 for group in self.plan.groups)
        return not momentum or [min(steps, 1) for steps in counted] == made


def _put(parameter: Parameter, value: Array) -> None:
    """Write into the array that is there, or put a copy in its place where it has another form."""
    data = parameter.data
    if data.shape == value.shape and data.flags.writeable:
        data[...] = value
    else:
        parameter.data = value.copy()


def _keep(entries: Entries, name: str, value: Array) -> None:
    """Write the value into the array that is there, as torch does, or a copy of it where none is."""
    held = entries.get(name)
    if held is not None and held.dtype == value.dtype:
        held[...] = value
    else:
        entries[name] = value.copy()
