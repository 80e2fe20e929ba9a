"""One step of a trace as a section: the formula, what went in and from where, what came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .columns import same
from .formulas import counts_of, equations_of, formula_block
from .markup import Markup, join, tag
from .numbers import number
from .tables import array_block

__all__ = ["Origins", "step_body", "step_id"]


def step_id(step: Any) -> str:
    """Where the page has the step."""
    return f"step-{step.index}"


@dataclass
class Origins:
    """Which arrays a reader has seen already, and where, so that none is printed twice.

    Attributes:
        linked: whether the words lead to the place by a link.
    """

    linked: bool = True
    seen: list[tuple[Any, str, str]] = field(default_factory=list)

    def add(self, array: Any, words: str, place: str) -> None:
        self.seen.append((array, words, place))

    def find(self, array: Any) -> Markup | str | None:
        """Where this array was seen last, in words; None for a new one."""
        for known, words, place in reversed(self.seen):
            if same(known, array):
                return tag("a", words, href=f"#{place}") if self.linked else words
        return None


def step_body(step: Any, origins: Origins) -> Markup:
    """Everything below the heading of a step. What it makes is added to `origins`."""
    key = f'trace["{step.path}"].{step.direction}'
    sentences, tables = _inputs(step, origins, key)
    if "N" in (counts := counts_of(step)):
        sentences.append(join([tag("i", "N"), f" is {counts['N']}."]))
    if step.op:
        sentences.append(join(["Computed by ", tag("code", f"functional.{step.op}"), "."]))
    else:
        method = tag("code", f"{step.module.partition('(')[0]}.{step.direction}")
        sentences.append(join(["Computed by ", method, ", which has no formula here."]))
    parts: list[Markup | None] = [tag("p", join(sentences, " "), class_="given")]
    equations = equations_of(step)
    if equations:
        parts.append(formula_block(equations))
    for name, value in step.outputs.items():
        title = _output_name(step, name)
        tables.append(_array(step, name, value, title, f'{key}.outputs["{name}"]'))
        origins.add(value, f"{title} of {step.label}", step_id(step))
    parts.append(tag("div", tables, class_="arrays"))
    if step.direction == "forward" and step.saved:
        names = join([tag("i", name) for name in step.saved], ", ")
        parts.append(tag("p", "Saved for the backward: ", names, ".", class_="hint"))
    return join(parts)


def _inputs(step: Any, origins: Origins, key: str) -> tuple[list[Markup], list[Markup]]:
    """Sentences about the inputs that were seen or are plain values, tables of the others."""
    sentences, tables = [], []
    for name, value in step.inputs.items():
        if not isinstance(value, np.ndarray) or value.ndim == 0:
            sentences.append(_plain(name, value))
            continue
        parameter = step.parameters.get(name)
        where = origins.find(value)
        if parameter is not None and step.direction == "forward":
            where = None
        if where is not None:
            sentences.append(join([tag("i", name), " is ", where, "."]))
            continue
        title = name if parameter is None else parameter
        tables.append(_array(step, name, value, title, f'{key}.inputs["{name}"]'))
        words = f"the parameter {parameter}" if parameter is not None else f"{name} of {step.label}"
        if step.path == "loss" and name == "target":
            words = "the target"
        origins.add(value, words, step_id(step))
    return sentences, tables


def _array(step: Any, name: str, value: Any, title: str, key: str) -> Markup:
    # Only a linear layer has other features coming in than going out.
    axes = "nm" if name in ("x", "dx") and np.ndim(value) == 2 and not step.op.startswith("linear") else None
    return array_block(name, value, title=title, axes=axes, key=key)


def _plain(name: str, value: Any) -> Markup:
    if value is None:
        return join(["There is no ", tag("i", name), "."])
    text = number(value) if isinstance(value, (int, float, np.generic, np.ndarray)) else str(value)
    if isinstance(value, np.ndarray):
        text = number(value[()])
    return join([tag("i", name), f" is {text}."])


def _output_name(step: Any, name: str) -> str:
    """dweight is the gradient of the parameter 0.weight, and is called so."""
    parameter = step.parameters.get(name.removeprefix("d"))
    return f"{name} = dL/d({parameter})" if parameter and step.direction == "backward" else name
