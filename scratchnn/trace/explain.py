"""`explain`: the derivation sheet of one number of a step."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import as_int, as_seed, as_text
from ..notation.scope import exact_sum
from ..notation.text import as_number
from .blanks import with_blanks
from .chain import chain_rule
from .checking import checks_of_gradient, checks_of_loss
from .derive import Derivation
from .origins import Index, Origins, entry_name
from .sheet import Sheet
from .steps import Step

if TYPE_CHECKING:
    from .trace import Trace

__all__ = ["explain"]


def explain(
    trace: Trace,
    name: str,
    index: Any = None,
    *,
    sample: int | None = None,
    blanks: int | str | Sequence[str] = 0,
    seed: int = 0,
) -> Sheet:
    """How one number of the step came to be, from the loss down to it, every factor with its origin.

    Args:
        name: a parameter, "0.weight"; "x" for an entry of the input; "loss" for the loss itself.
        index: of the entry: (3, 1). None for a single number.
        sample: whose numbers are followed where samples are summed; None takes the one that counts most.
        blanks: leave so many intermediate values out, for an exercise; or those with these names, as the
            sheet writes them: "1.dx[2,3]". The answers are in `Sheet.answers`.
        seed: which ones, when a number of blanks is given.
    Raises:
        KeyError: there is no such name, or no such blank. IndexError: no such entry or sample.
        ValueError: a parameter that got no gradient; more blanks than there are values.
        TypeError: an index that is no tuple of integers.
    """
    name, seed = as_text("explain", "name", name), as_seed("explain", "seed", seed)
    sample = _checked_sample(trace, sample)
    origins = Origins(trace)
    if name == "loss" and name not in trace.parameters:
        sheet = _of_loss(trace, origins, index, sample)
    else:
        sheet = _of_gradient(trace, origins, name, index, sample)
    return with_blanks(sheet, blanks, seed)


def _of_loss(trace: Trace, origins: Origins, index: Any, sample: int | None) -> Sheet:
    step = trace["loss"].forward
    loss = step.outputs["loss"]
    place = _entry("loss", index, loss.shape)
    derivation = Derivation(trace, origins, sample)
    derivation.derive(origins.of_output(step, "loss"), place)
    lines = derivation.lines()
    value = float(loss[place])
    title = entry_name("", "loss", place)
    unit = _unit(loss.dtype, derivation.magnitude or abs(value))
    return Sheet(
        title,
        f"{step.module}, {_batch(trace)}: what the step is to make smaller.",
        value,
        None,
        _heading(derivation, bool(lines)),
        lines,
        checks_of_loss(trace, place, value, unit),
    )


def _of_gradient(trace: Trace, origins: Origins, name: str, index: Any, sample: int | None) -> Sheet:
    uses, array = _uses(trace, origins, name)
    place = _entry(name, index, array.shape)
    gradients = [step.outputs[f"d{argument}"] for step, argument in uses]
    sources = [
        origins.of_output(step, f"d{argument}").seen_as(array.shape, gradient.shape)
        for (step, argument), gradient in zip(uses, gradients, strict=True)
    ]
    if name in trace.parameters:
        value = float(trace.gradients[name][place])
    else:
        found = zip(gradients, sources, strict=True)
        value = exact_sum(float(gradient[source.index(place)]) for gradient, source in found)
    if name not in trace.parameters:
        sample = _checked_sample(trace, place[0]) if trace.x.ndim > 1 else sample
    derivation = Derivation(trace, origins, sample)
    if len(sources) == 1:
        derivation.derive(sources[0], place)
    else:
        derivation.gradient_of_several(name, sources, place, value)
    lines = derivation.lines()
    chain = chain_rule(origins, derivation, name, uses, sources, place, value) if lines else None
    entry = entry_name("", name, place)
    return Sheet(
        f"dL/d({entry})",
        _meaning(trace, name, entry, place, value) + ("" if lines else _own(uses)),
        value,
        chain,
        _heading(derivation, bool(lines)),
        lines,
        checks_of_gradient(trace, name, place, value, _unit(array.dtype, derivation.magnitude or abs(value))),
    )


# What is asked for ------------------------------------------------------------------------------------


def _uses(trace: Trace, origins: Origins, name: str) -> tuple[list[tuple[Step, str]], np.ndarray]:
    """The backward steps that give a gradient to it, with the argument that it is there, and its values."""
    back = [step for step in trace.steps if step.direction == "backward" and step.path != "loss"]
    if name in trace.parameters:
        uses = [
            (step, argument)
            for step in back
            for argument, own in step.parameters.items()
            if own == name and f"d{argument}" in step.outputs
        ]
        if not uses:
            raise ValueError(f"{name} got no gradient in this step: nothing that leads to the loss uses it")
        return uses, trace.parameters[name]
    if name != "x":
        known = ", ".join(map(repr, [*trace.parameters, "x", "loss"]))
        raise KeyError(f"there is no {name!r} to explain; there are {known}")
    uses = [(step, "x") for step in back if "dx" in step.outputs and _takes_input(trace, origins, step)]
    outer = [u for u in uses if not any(_inside(u[0].path, other.path) for other, _ in uses)]
    if not outer:
        raise ValueError("no operation of this step hands a gradient to x")
    return outer, trace.x


def _takes_input(trace: Trace, origins: Origins, step: Step) -> bool:
    forward = trace[step.path].forward
    return origins.of_input(forward, next(iter(forward.inputs), "")).kind == "input"


def _inside(path: str, outer: str) -> bool:
    return path != outer and (not outer or path.startswith(f"{outer}."))


def _entry(name: str, index: Any, shape: tuple[int, ...]) -> Index:
    """The index as a tuple of integers within `shape`."""
    given = () if index is None else index if isinstance(index, (tuple, list)) else (index,)
    try:
        place = tuple(operator.index(i) for i in given)
    except TypeError as error:
        raise TypeError(
            f"explain got index {index!r} of {name}; it needs integers, such as (0, 1)"
        ) from error
    if len(place) != len(shape):
        needed = "no index" if not shape else f"an index of {len(shape)}: {tuple(0 for _ in shape)}"
        raise IndexError(f"explain got index {index!r} of {name}, which has shape {shape}; it needs {needed}")
    if any(not -size <= i < size for i, size in zip(place, shape, strict=True)):
        last = tuple(size - 1 for size in shape)
        raise IndexError(
            f"explain got index {index!r}: {name} has shape {shape}, so there is no entry {tuple(place)}; "
            f"the last one is {last}"
        )
    return tuple(i % size for i, size in zip(place, shape, strict=True))


def _checked_sample(trace: Trace, sample: int | None) -> int | None:
    if sample is None:
        return None
    count = len(trace.x) if trace.x.ndim > 1 else 1
    if not -count <= as_int("explain", "sample", sample) < count:
        raise IndexError(f"no sample {sample} in a batch of {count}; they are counted from 0 to {count - 1}")
    return int(sample) % count


# Words and units --------------------------------------------------------------------------------------


def _batch(trace: Trace) -> str:
    count = len(trace.x) if trace.x.ndim > 1 else 1
    return f"{count:,} {'sample' if count == 1 else 'samples'}"


def _heading(derivation: Derivation, any_lines: bool) -> str:
    if not any_lines:
        return ""
    if derivation.sample is None or derivation.samples == 1:
        return "Step by step"
    return f"Step by step, following sample {derivation.sample}"


def _meaning(trace: Trace, name: str, entry: str, place: Index, value: float) -> str:
    now = trace.parameters.get(name, trace.x)[place]
    effect = "the loss does not change"
    if value:
        effect = f"the loss {'rises' if value > 0 else 'falls'} by {as_number(abs(value))} per unit"
    return f"{entry} is {as_number(float(now), 6)}. When it grows, {effect}."


def _own(uses: list[tuple[Step, str]]) -> str:
    """For a gradient that no formula of ours gave, and that no array of the trace is."""
    where = " and ".join(step.label for step, _ in uses)
    return f" This was computed by the backward of {where}, its author's own: there is no formula to show."


def _unit(dtype: Any, size: float) -> float:
    """One rounding, at the size of the terms that were added up."""
    smallest = float(np.finfo(dtype).smallest_subnormal)
    return max(float(np.finfo(dtype).eps) * size, smallest)
