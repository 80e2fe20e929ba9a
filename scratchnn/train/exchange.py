"""Parameters, gradients and the optimizer's state, between their objects and a compiled run."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..checks import Array
from ..engine.plan import LoweringError, Rule
from ..engine.run import Run
from ..layers import Parameter
from ..lowering import read_groups
from ..optim import Optimizer

__all__ = ["Exchange", "Moved"]

STATE_NAMES = {
    Rule.SGD: ("momentum_buffer",),
    Rule.ADAM: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    Rule.ADAMW: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
}
MOMENTUM, AMSGRAD = 1, 5  # places among a group's numbers
Entries: TypeAlias = "dict[str, Any]"


class Moved(NamedTuple):
    """A parameter that the optimizer has.

    Attributes:
        position: among the plan's parameters. value, gradient: of it, in the run's memory.
        slots: (number, name, view of the run's memory) of the state that its hyperparameters use.
    """

    position: int
    parameter: Parameter
    value: Array
    gradient: Array
    slots: list[tuple[int, str, Array]]


class Exchange:
    """Between one run and the objects that it trains.

    Args:
        parameters: in the order of the run's plan.
    Attributes:
        moved: what the optimizer moves. steps_behind: optimizer steps that each parameter had when loaded.
    """

    def __init__(self, run: Run, parameters: list[Parameter], optimizer: Optimizer) -> None:
        self.run, self.plan, self.optimizer, self.parameters = run, run.plan, optimizer, parameters
        self.values = [run.view(run.parameters, position) for position in range(len(parameters))]
        self.steps_behind = [0] * len(parameters)
        self._assign()

    def read_groups(self) -> None:
        """Take over the optimizer's hyperparameters as they are now."""
        self.plan.rule, self.plan.groups = read_groups(self.optimizer, self.parameters)
        self._assign()

    def _assign(self) -> None:
        run, plan = self.run, self.plan
        names = STATE_NAMES[plan.rule]
        numbers = {p: group.numbers for group in plan.groups for p in group.parameters}
        self.moved = []
        for position, parameter in enumerate(self.parameters):
            if position not in numbers:
                continue
            used = len(names) if numbers[position][AMSGRAD] != 0 else 2
            if plan.rule == Rule.SGD:
                used = int(numbers[position][MOMENTUM] != 0)
            slots = [(k, name, run.view(run.state, position, k)) for k, name in enumerate(names[:used])]
            gradient = run.view(run.gradients, position)
            self.moved.append(Moved(position, parameter, self.values[position], gradient, slots))
        self._laid_out = False

    def load(self) -> None:
        """Take over parameters and state as they are now: a callback may have changed them.

        Raises:
            LoweringError: other arrays than the plan is for.
        """
        run, dtype = self.run, self.plan.dtype
        for parameter, value in zip(self.parameters, self.values, strict=True):
            data = parameter.data
            if data.shape != value.shape or data.dtype != dtype or not data.flags.writeable:
                raise LoweringError(
                    f"a parameter of {data.dtype} {data.shape}"
                    f"{'' if data.flags.writeable else ', read-only'}, where it had {dtype} {value.shape}"
                )
            value[...] = data
        made = [0] * len(self.parameters)
        for moved in self.moved:
            if moved.slots:
                entries: Entries = self.optimizer.state.get(moved.parameter, {})
                for _, name, view in moved.slots:
                    view[...] = _entry(entries, name, moved.value)
                made[moved.position] = self._steps(entries)
        if not self._laid_out or not run.keeps_rates or not self._goes_on(made):
            run.set_stretches(made)
            self._laid_out = True
        self.steps_behind = [before + run.made for before in run.made_before]

    def store(self) -> None:
        """Leave parameters, gradients and state where the textbook's loop leaves them."""
        run, state, sgd = self.run, self.optimizer.state, self.plan.rule == Rule.SGD
        if run.made and self.optimizer._stepped is False:
            self.optimizer._stepped = True  # for the schedules, as `step` says it
        for position, parameter, value, gradient, slots in self.moved:
            _put(parameter, value)
            if run.made:
                vars(parameter)["grad"] = gradient.copy()
            steps = run.made_before[position] + run.made
            if steps == 0:
                state.pop(parameter, None)  # undone, down to the start
            elif slots:
                entries = state.setdefault(parameter, {})
                if not sgd:
                    entries["step"] = np.array(steps, np.float32)
                for _, name, view in slots:
                    _keep(entries, name, view)

    def _steps(self, entries: Entries) -> int:
        """Steps that a parameter has behind it, by its state."""
        if self.plan.rule == Rule.SGD:
            return int(entries.get("momentum_buffer") is not None)
        if not entries:
            return 0
        steps = np.asarray(entries.get("step"))
        if steps.shape != () or steps.dtype.kind not in "iuf" or not 0 <= steps < 2**53 or steps % 1:
            raise LoweringError(f"an optimizer's step that is {entries.get('step')!r}")
        if entries.get("exp_avg") is None or entries.get("exp_avg_sq") is None:
            raise LoweringError("an optimizer's state with some of its entries")
        return int(steps)

    def _goes_on(self, made: list[int]) -> bool:
        """The run has counted as many steps as the state says."""
        run = self.run
        if self.plan.rule == Rule.SGD:  # all that counts there is whether a buffer exists
            return all(
                not moved.slots or min(run.made_before[moved.position] + run.made, 1) == made[moved.position]
                for moved in self.moved
            )
        return all(run.made_before[moved.position] + run.made == made[moved.position] for moved in self.moved)


def _entry(entries: Entries, name: str, value: Array) -> Any:
    """An entry of a parameter's state; 0 where there is none."""
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
