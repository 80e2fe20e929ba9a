"""compare_runs: why are these two runs different?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import Array
from .layout import Key
from .leg import Leg
from .recording import Recording
from .replay import state_at

__all__ = ["Comparison", "compare_runs"]

SETTINGS = ("loss", "optimizer", "clip_grad_norm", "clip_grad_value")


@dataclass(frozen=True)
class Parting:
    """One tensor in which two runs differ.

    Attributes:
        step, tensor, index: where: "0.weight", "dL/d(0.weight)", "exp_avg of 0.weight", or "loss".
        first, second: the two numbers. difference: the largest of the tensor, at `index`.
        units: that, in units of rounding: eps times the tensor's largest element.
    """

    step: int
    tensor: str
    index: tuple[int, ...]
    first: float
    second: float
    difference: float
    units: float

    def __str__(self) -> str:
        if math.isnan(self.first) and math.isnan(self.second):
            return f"{self.tensor} at step {self.step}, which only one run has"
        where = f"{self.tensor}[{', '.join(map(str, self.index))}]" if self.index else self.tensor
        return (
            f"{where} at step {self.step}: {self.first:.9g} and {self.second:.9g}, {self.units:.3g} eps apart"
        )


@dataclass
class Comparison:
    """Two runs side by side. True in a condition where they are identical at every step both have.

    Attributes:
        cause: "initial weights", "data", "batches", "random numbers", "settings" or "arithmetic"; "" where
            there is none. why: the same in a sentence.
        parting: the first tensor that differs; None where none does.
        end: the parameter that differs most at the last step both have; None where none does.
        also: what else differs, and is not the cause.
        steps: that were compared. last: the last of them.
    """

    cause: str
    why: str
    parting: Parting | None
    end: Parting | None
    steps: int
    last: int
    also: list[str] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """At every step that both have."""
        return self.parting is None

    def __bool__(self) -> bool:
        return self.identical

    def lines(self) -> list[tuple[str, str]]:
        """The report as (heading, text)."""
        compared = f"{self.steps} steps that both have, up to step {self.last}"
        if self.parting is None:
            found = [("identical", compared), ("", self.why)]
        else:
            found = [("cause", self.cause), ("why", self.why), ("first", str(self.parting))]
            found += [("in the end", str(self.end))] if self.end is not None else []
            found.append(("compared", compared))
        return [(name, text) for name, text in found if text] + [("also differs", text) for text in self.also]

    def _repr_html_(self) -> str:
        from ..show import comparison_html

        return comparison_html(self)

    def __str__(self) -> str:
        return "\n".join(f"{name:<14}{text}" for name, text in self.lines())


def compare_runs(a: Recording, b: Recording) -> Comparison:
    """Where two recorded runs part, by how much, and why.

    Compared are the losses of all steps, and parameters, gradients and the optimizer's state at the steps
    that both recordings keep. At the first that differs, the cause is looked for in the steps since the last
    that was equal: other rows, other data, other random numbers, other settings; where all of them are the
    same, it is the arithmetic: another engine, which adds in another order.

    Args:
        a, b: recordings of `fit`, of `reference.fit`, of a fork, or read from files.
    Raises:
        TypeError: no recordings. ValueError: an empty one, other parameters, no step in common.
    """
    for one in (a, b):
        if not isinstance(one, Recording):
            raise TypeError(f"compare_runs got a {type(one).__name__}; it needs two recordings")
        one._check_not_empty()
    _check_architectures(a, b)
    common = np.intersect1d(a.steps, b.steps)
    if not len(common):
        raise ValueError(
            f"compare_runs got recordings without a step in common: one keeps {a.steps[0]} to {a.steps[-1]} "
            f"(every={a.every}), the other {b.steps[0]} to {b.steps[-1]} (every={b.every})"
        )
    parting, equal = _first_parting(a, b, common)
    last = int(common[-1])
    if parting is None:
        ends = {int(a.steps[-1]), int(b.steps[-1])}
        why = "" if len(ends) == 1 else f"One run goes on after step {last}, to step {max(ends)}."
        return Comparison("", why, None, None, len(common), last)
    causes = list(_causes(a, b, equal, parting))
    worst = [p for p in _differences(a, b, last) if p.tensor in a.parameters(last)]
    end = max(worst, key=lambda p: p.difference, default=None)
    cause, why = causes[0]
    also = [text for _, text in causes[1:] if text]
    return Comparison(cause, why, parting, end, len(common), last, also)


# ---- where ------------------------------------------------------------------------------------------


def _check_architectures(a: Recording, b: Recording) -> None:
    shapes = [{n: v.shape for n, v in one.parameters(int(one.steps[0])).items()} for one in (a, b)]
    for name in [*shapes[0], *shapes[1]]:
        if shapes[0].get(name) != shapes[1].get(name):
            raise ValueError(
                f"compare_runs got runs of different models: {name} is {shapes[0].get(name, 'missing')} in "
                f"one, {shapes[1].get(name, 'missing')} in the other"
            )


def _first_parting(a: Recording, b: Recording, common: Array) -> tuple[Parting | None, int]:
    """The first difference, and the last common step before it, where all was equal; -1: there is none."""
    losses = _first_loss(a, b, int(common[0]))
    equal = -1
    for step in map(int, common):
        if losses is not None and losses.step <= step:
            return losses, equal
        found = _differences(a, b, step)
        if found:
            return found[0], equal
        equal = step
    return losses, equal


def _first_loss(a: Recording, b: Recording, start: int) -> Parting | None:
    ours, theirs = a.losses, b.losses
    n = min(len(ours), len(theirs))
    x, y = ours[start:n].astype(np.float64), theirs[start:n].astype(np.float64)
    known = ~(np.isnan(x) & (np.arange(start, n) < _recorded_from(a)))
    known &= ~(np.isnan(y) & (np.arange(start, n) < _recorded_from(b)))
    apart = np.flatnonzero(known & ~((x == y) | (np.isnan(x) & np.isnan(y))))
    if not len(apart):
        return None
    i = int(apart[0])
    return _parting(start + i + 1, "loss", ours[start + i], theirs[start + i])


def _recorded_from(recording: Recording) -> int:
    return min((first for first, _ in recording._losses), default=0)


def _differences(a: Recording, b: Recording, step: int) -> list[Parting]:
    """All tensors that differ at a step, in the order in which a step computes them."""
    ours, theirs = a._tensors(step), b._tensors(step)
    found = []
    for key in _in_order(ours, theirs):
        x, y = ours.get(key), theirs.get(key)
        if x is None or y is None:
            if key[0] != "gradient":  # the start of a fork has those of the step before
                found.append(Parting(step, _called(key), (), math.nan, math.nan, math.inf, math.inf))
        elif x.shape != y.shape or not np.array_equal(x, y, equal_nan=True):
            found.append(_parting(step, _called(key), x, y))
    return found


def _in_order(ours: dict[Key, Array], theirs: dict[Key, Array]) -> list[Key]:
    keys = list(dict.fromkeys([*ours, *theirs]))
    backwards = [key for key in reversed(keys) if key[0] == "gradient"]
    return [*backwards, *(k for k in keys if k[0] == "state"), *(k for k in keys if k[0] == "parameter")]


def _called(key: Key) -> str:
    kind, name, entry = key
    return {"parameter": name, "gradient": f"dL/d({name})", "state": f"{entry} of {name}"}[kind]


def _parting(step: int, name: str, x: Any, y: Any) -> Parting:
    x, y = np.asarray(x), np.asarray(y)
    eps = max(np.finfo(z.dtype).eps for z in (x, y))
    first, second = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(invalid="ignore"):
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        apart = np.where(same, 0.0, np.abs(first - second))
    at = np.unravel_index(int(np.argmax(apart)), apart.shape)
    scale = max((float(np.max(np.abs(z[np.isfinite(z)]), initial=0)) for z in (first, second)), default=0.0)
    difference = float(apart[at])
    units = difference / (eps * scale) if scale else math.inf
    index = tuple(int(i) for i in at)
    return Parting(step, name, index, float(first[at]), float(second[at]), difference, float(units))


# ---- why --------------------------------------------------------------------------------------------


def _causes(a: Recording, b: Recording, equal: int, parting: Parting) -> Iterator[tuple[str, str]]:
    """(cause, sentence): the cause first, then what else differs."""
    if equal < 0:
        step = parting.step
        found = list(_between(a, b, _leg_from(a, step), _leg_from(b, step), range(step + 1, step + 2)))
        found = [(cause, text) for cause, text in found if cause != "arithmetic"]
        start = _at_the_start(a, b, step)
        # An optimizer that remembers other things may be another optimizer: that is said first.
        ranks = {"initial weights": 0, "settings": 1}
        yield from sorted([*found, start], key=lambda one: ranks.get(one[0], 2))
        return
    steps = range(equal + 1, parting.step + 1)
    yield from _between(a, b, a._leg_of(parting.step), b._leg_of(parting.step), steps)


def _leg_from(recording: Recording, step: int) -> Leg:
    return recording._leg_of(min(step + 1, recording._made)) if recording._made > 0 else recording._legs[0]


def _at_the_start(a: Recording, b: Recording, step: int) -> tuple[str, str]:
    ours, theirs = a.parameters(step), b.parameters(step)
    apart = [name for name in ours if not np.array_equal(ours[name], theirs[name], equal_nan=True)]
    if apart:
        same_type = all(ours[name].dtype == theirs[name].dtype for name in ours)
        how = "another seed, or another order of drawing" if same_type else "of other dtypes"
        count = f"{len(apart)} of {len(ours)} tensors"
        return "initial weights", f"The runs begin, at step {step}, from other weights: {count} ({how})."
    return "settings", f"The weights are the same at step {step}, but not what the optimizer remembers."


def _between(a: Recording, b: Recording, ours: Leg, theirs: Leg, steps: range) -> Iterator[tuple[str, str]]:
    """What differs in the making of these steps, likeliest first; arithmetic where nothing does."""
    found: list[tuple[str, str]] = []
    batches = _batches_differ(ours, theirs, steps)
    if batches is not None:
        found.append(batches)
    if ours.settings.get("draws") and theirs.settings.get("draws"):
        states = [state_at(one, steps[0] - 1) for one in (a, b)]
        if all(s is not None for s in states) and states[0] != states[1]:
            found.append(
                ("random numbers", "Dropout draws other masks: the generators stand at different places.")
            )
    differing = [*_settings_differ(ours, theirs), *_groups_differ(a, b, steps)]
    if differing:
        found.append(("settings", f"The runs were told different things: {'; '.join(differing)}."))
    if not found:
        found.append(("arithmetic", _arithmetic(ours, theirs)))
    yield from found


def _batches_differ(ours: Leg, theirs: Leg, steps: range) -> tuple[str, str] | None:
    first, second = ours.settings["data"], theirs.settings["data"]
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return None
    same_data = first["digest"] == second["digest"]
    for step in steps:
        try:
            x, y = ours.rows_of(step), theirs.rows_of(step)
        except ValueError:  # made before the recording began
            continue
        if x is None or y is None:
            return None
        if not same_data and not _same_numbers(ours, theirs, x, y):
            return (
                "data",
                f"The data are not the same: step {step} saw other numbers ({_shapes(first, second)}).",
            )
        if same_data and not np.array_equal(x, y):
            how = f"{len(x)} and {len(y)} rows" if len(x) != len(y) else f"rows {_short(x)} and {_short(y)}"
            return "batches", f"The batches are not the same: step {step} saw {how}."
    return None


def _shapes(first: dict[str, Any], second: dict[str, Any]) -> str:
    if first["rows"] == second["rows"]:
        return f"{first['rows']} rows in both"
    return f"{first['rows']} and {second['rows']} rows"


def _same_numbers(ours: Leg, theirs: Leg, x: Array, y: Array) -> bool:
    """Two batches hold the same numbers, as far as the data are at hand."""
    if ours.live is None or theirs.live is None:
        return False
    pairs = zip(_arrays(ours.live.batches), _arrays(theirs.live.batches), strict=True)
    return all(np.array_equal(first[x], second[y]) for first, second in pairs)


def _arrays(batches: Any) -> Any:
    return batches.rows()


def _short(rows: Array) -> str:
    return f"[{', '.join(map(str, rows[:4].tolist()))}{', ...' if len(rows) > 4 else ''}]"


def _settings_differ(ours: Leg, theirs: Leg) -> list[str]:
    first, second = ours.settings, theirs.settings
    lines = zip(first["model"], second["model"], strict=False)
    found = [f"the model has {x.strip()} and {y.strip()}" for x, y in lines if x != y]
    if (ours.live is None or theirs.live is None) and "torch" not in (ours.engine, theirs.engine):
        # What a schedule does at a step is known where the schedule is; of files, what it was told.
        told = [leg.places[0].schedules if leg.places else [] for leg in (ours, theirs)]
        if told[0] != told[1]:
            names = [", ".join(settings["schedulers"]) or "none" for settings in (first, second)]
            found.append(f"the schedules are {names[0]} and {names[1]}, with what each was told")
    return found + [f"{n} is {first[n]} and {second[n]}" for n in SETTINGS if first[n] != second[n]]


def _groups_differ(a: Recording, b: Recording, steps: range) -> list[str]:
    for step in steps:
        first, second = a.settings(step)["groups"], b.settings(step)["groups"]
        for ours, theirs in zip(first, second, strict=False):
            apart = [n for n in ours if n in theirs and ours[n] != theirs[n] and n != "initial_lr"]
            if apart:
                return [
                    f"{n} is {ours[n]:g} and {theirs[n]:g} at step {step}"
                    if isinstance(ours[n], float) and isinstance(theirs[n], float)
                    else f"{n} is {ours[n]} and {theirs[n]} at step {step}"
                    for n in apart
                ]
    return []


def _arithmetic(ours: Leg, theirs: Leg) -> str:
    same = "Weights, batches and settings are the same"
    if ours.settings["dtype"] != theirs.settings["dtype"]:
        dtypes = f"{ours.settings['dtype']} and {theirs.settings['dtype']}"
        return f"{same}; the runs compute in {dtypes}."
    if ours.engine != theirs.engine:
        return f"{same}; {ours.engine} and {theirs.engine} add and round in orders of their own."
    return (
        f"{same}, and both ran on {ours.engine}: another machine or version, or something that is not "
        "recorded, such as a callback that changes the model."
    )
