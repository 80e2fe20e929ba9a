"""What is to be said about a step: where its inputs are from, and which arrays are new to the reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .columns import same
from .formulas import counts_of
from .numbers import number

__all__ = ["Fact", "Origins", "Shown", "account", "axes_of", "step_id", "step_name"]

# The letters that formulas use for an array's axes, by its name.
AXES = {"weight": "md", "dweight": "md", "bias": "m", "dbias": "m"}


@dataclass(frozen=True)
class Fact:
    """A sentence: `before`, a name, `after`, and, if they lead somewhere, words for that place.

    Attributes:
        place: id of the step that the words are about; "" for none.
        code: whether the words are a name in the program.
    """

    before: str = ""
    name: str = ""
    after: str = ""
    words: str = ""
    place: str = ""
    code: bool = False


@dataclass(frozen=True)
class Shown:
    """An array to print: its name in the formulas, its title, the letters of its axes, how to get at it."""

    name: str
    title: str
    array: Any
    axes: str
    key: str


@dataclass
class Origins:
    """Which arrays a reader has seen already, and where, so that none is printed twice."""

    seen: list[tuple[Any, str, str]] = field(default_factory=list)

    def add(self, array: Any, words: str, place: str) -> None:
        self.seen.append((array, words, place))

    def find(self, array: Any) -> tuple[str, str] | None:
        """Words and place of this array where it was seen last; None for a new one."""
        return next(
            ((words, place) for known, words, place in reversed(self.seen) if same(known, array)), None
        )


def step_id(step: Any) -> str:
    """Where a page has the step."""
    return f"step-{step.index}"


def step_name(step: Any) -> str:
    """0 Linear(2, 3); the loss by its class alone."""
    return step.module if step.path in ("", "loss") else f"{step.path} {step.module}"


def account(step: Any, origins: Origins) -> tuple[list[Fact], list[Shown]]:
    """The facts about a step, and the arrays to print: new inputs, then outputs. `origins` learns of them."""
    from ..trace.origins import equation_name

    facts: list[Fact] = []
    arrays: list[Shown] = []
    key = f'trace["{step.path}"].{step.direction}'
    for name, value in step.inputs.items():
        parameter = step.parameters.get(name)
        if value is None:
            facts.append(Fact("There is no ", name, "."))
        elif not isinstance(value, np.ndarray) or value.ndim == 0:
            facts.append(Fact("", name, f" is {_plain(value)}."))
        elif (where := origins.find(value)) and not (parameter and step.direction == "forward"):
            facts.append(Fact("", name, " is ", *where))
        else:
            arrays.append(
                Shown(name, parameter or name, value, axes_of(step, name, value), f'{key}.inputs["{name}"]')
            )
            words = f"the parameter {parameter}" if parameter else f"{name} of {step.label}"
            origins.add(value, "the target" if name == "target" else words, step_id(step))
    facts += _end(step)
    for name, value in step.outputs.items():
        title = name
        if (formulas := equation_name(step, name)) != name:
            title = f"{formulas} ({name})"
        if step.direction == "backward" and (parameter := step.parameters.get(name.removeprefix("d"))):
            title = f"{name} = dL/d({parameter})"
        arrays.append(Shown(name, title, value, axes_of(step, name, value), f'{key}.outputs["{name}"]'))
        origins.add(value, f"{name} of {step.label}", step_id(step))
    return facts, arrays


def axes_of(step: Any, name: str, array: Any) -> str:
    """The letters of an array's axes: "nm" for a batch, "md" for a weight; "" where nothing is known."""
    several = {1: "n", 2: "nm"}.get(np.ndim(array), "")
    # Only a linear layer has other features coming in than going out.
    if name in ("x", "dx") and several == "nm" and (step is None or step.op.startswith("linear")):
        return "nd"
    letters = AXES.get(name, several)
    return letters if len(letters) == np.ndim(array) else ""


def _plain(value: Any) -> str:
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, np.ndarray):
        value = value[()]
    return number(value) if isinstance(value, (int, float, np.generic)) else repr(value)


def _end(step: Any) -> Iterator[Fact]:
    if "N" in (counts := counts_of(step)):
        yield Fact("", "N", f" is {counts['N']}.")
    if step.op:
        yield Fact("Computed by ", words=f"functional.{step.op}", code=True)
    else:
        kind = step.module.partition("(")[0]
        yield Fact("There is no formula: it is computed by ", words=f"{kind}.{step.direction}", code=True)
