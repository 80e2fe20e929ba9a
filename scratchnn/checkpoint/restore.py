"""A run's state as its checkpoint holds it: checked as a whole, before anything takes it on.

A checkpoint carries a digest, which finds damage but not a forger. So everything in it is held against the
run that asks: names, shapes, dtypes, lengths; what optimizer and schedules would take is tried on a copy.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array
from ..files.errors import FileFormatError, short
from ..history import History
from ..lr_scheduler import LambdaLR, LRScheduler
from ..random import Generator

if TYPE_CHECKING:
    from .keeper import Keeper

__all__ = ["Restored", "fields_of", "restored"]

FIELDS: dict[str, type] = {
    "run": dict, "start": dict, "epoch": int, "stop": bool, "model": dict, "optimizer": dict,
    "schedules": list, "callbacks": list, "generators": list, "history": dict,
}  # fmt: skip
MOST_STEPS = 2**53  # that a float counts


@dataclass(frozen=True)
class Restored:
    """What a run takes on; nothing of it can be refused any more, but by a custom callback."""

    path: str
    epoch: int
    stop: bool
    model: dict[str, Array]
    optimizer: dict[str, Any]
    schedules: list[dict[str, Any]]
    callbacks: list[dict[str, Any]]
    generators: list[Array]
    history: History

    def commit(self, keeper: Keeper) -> None:
        """Put it into the objects of the run. Where a callback refuses its state, all are as before."""
        state = keeper.state
        self._into_callbacks(keeper.remembering)
        state.model.load_state_dict(self.model)
        state.optimizer.load_state_dict(self.optimizer)
        for schedule, saved in zip(keeper.regime.schedules(), self.schedules, strict=True):
            schedule.load_state_dict(saved)
        for generator, numbers in zip(keeper.generators, self.generators, strict=True):
            generator.set_state(numbers)
        ours, found = state.history, self.history
        ours.train_loss, ours.val_loss, ours.metrics = found.train_loss, found.val_loss, found.metrics
        if found.steps:
            ours.add_steps(found.step_losses)
        ours.seconds = found.seconds
        state.epoch, state.stop = self.epoch, self.stop

    def _into_callbacks(self, callbacks: list[Any]) -> None:
        before = [(dict(getattr(one, "__dict__", {})), copy.deepcopy(one.state_dict())) for one in callbacks]
        touched = 0
        try:
            for callback, kept in zip(callbacks, self.callbacks, strict=True):
                touched += 1
                if "state" in kept:
                    callback.load_state_dict(kept["state"])
        except BaseException as error:
            for callback, (attributes, state) in zip(callbacks[:touched], before, strict=False):
                callback.load_state_dict(state)
                if hasattr(callback, "__dict__"):
                    vars(callback).clear()
                    vars(callback).update(attributes)
            name = type(callbacks[touched - 1]).__name__
            error.add_note(f"The state of the callback {name} is from the checkpoint {self.path}.")
            raise
        for callback, kept in zip(callbacks, self.callbacks, strict=True):
            if "state" not in kept:
                warnings.warn(
                    f"fit goes on from the checkpoint {self.path}, which had no room for the state of the "
                    f"callback {type(callback).__name__}: that begins anew",
                    RuntimeWarning,
                    stacklevel=7,
                )


# ---- checks ---------------------------------------------------------------------------------------


def fields_of(path: str, kept: dict[str, Any]) -> dict[str, Any]:
    """`kept`, where it has what a checkpoint has, each of its type. Raises FileFormatError elsewhere."""
    for name, kind in FIELDS.items():
        if type(kept.get(name)) is not kind:
            raise _wrong(path, f"its {name} is of type {type(kept.get(name)).__name__}")
    optimizer, history = kept["optimizer"], kept["history"]
    _expect(path, "run and start", _are_plain(kept["run"]) and _are_plain(kept["start"]))
    _expect(path, "model", all(isinstance(value, np.ndarray) for value in kept["model"].values()))
    _expect(path, "optimizer", optimizer.keys() == {"state", "param_groups"})
    _expect(path, "optimizer's state", _is_dict_of(optimizer["state"], dict))
    _expect(path, "optimizer's groups", _is_list_of(optimizer["param_groups"], dict))
    _expect(path, "schedules", _is_list_of(kept["schedules"], tuple))
    _expect(path, "schedules", all(len(one) == 2 and type(one[1]) is dict for one in kept["schedules"]))
    _expect(path, "callbacks", _is_list_of(kept["callbacks"], dict))
    _expect(path, "generators", _is_list_of(kept["generators"], np.ndarray))
    names = {"train_loss", "val_loss", "metrics", "step_losses", "seconds"}
    _expect(path, "history", history.keys() == names and type(history["metrics"]) is dict)
    return kept


def restored(keeper: Keeper, kept: dict[str, Any]) -> Restored:
    """What the file holds, every part of it checked. Raises FileFormatError."""
    path, state = keeper.checkpoint.path, keeper.state
    epoch = kept["epoch"]
    _expect(path, "epoch", 0 <= epoch <= state.epochs)
    _check_weights(path, "model", kept["model"], state.model.state_dict())
    shadow = _try_optimizer(path, state.optimizer, kept["optimizer"])
    schedules = [saved for _, saved in kept["schedules"]]
    goes_on = epoch < state.epochs and not kept["stop"]
    _try_schedules(path, keeper.regime.schedules(), schedules, (state.optimizer, shadow), goes_on)
    _check_callbacks(keeper, kept["callbacks"])
    _expect(path, "generators", len(kept["generators"]) == len(keeper.generators))
    for numbers in kept["generators"]:
        try:
            Generator().set_state(numbers)
        except (TypeError, ValueError) as error:
            raise _wrong(path, str(error)) from error
    return Restored(
        path,
        epoch,
        kept["stop"],
        kept["model"],
        kept["optimizer"],
        schedules,
        kept["callbacks"],
        kept["generators"],
        _history(keeper, kept["history"], epoch),
    )


def _check_weights(path: str, what: str, found: Mapping[str, Any], ours: Mapping[str, Array]) -> None:
    _expect(path, f"{what}'s names", found.keys() == ours.keys())
    for name, value in ours.items():
        here = found[name]
        same = isinstance(here, np.ndarray) and (here.dtype, here.shape) == (value.dtype, value.shape)
        _expect(path, f"{what}'s {name}", same and bool(np.isfinite(here).all()))


def _try_optimizer(path: str, ours: Any, saved: dict[str, Any]) -> Any:
    """A copy of our optimizer that has taken the state; the parameters are our own, and stay as they are."""
    groups, own = saved["param_groups"], ours.state_dict()["param_groups"]
    indices = [group.get("params") for group in groups]
    _expect(path, "optimizer's groups", indices == [group["params"] for group in own])
    for group, mine in zip(groups, own, strict=True):
        _check_like(path, "optimizer", {name: group.get(name) for name in mine}, mine)
    shadow = copy.copy(ours)
    shadow.param_groups, shadow.state = [dict(group) for group in ours.param_groups], defaultdict(dict)
    try:
        shadow.load_state_dict(saved)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise _wrong(path, f"its optimizer is not what {type(ours).__name__} writes: {error}") from error
    parameters = dict(enumerate(p for group in ours.param_groups for p in group["params"]))
    for index, entries in saved["state"].items():
        for name, value in entries.items():
            what = f"optimizer's {name} of parameter {index}"
            if name == "step":
                step = float(value) if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf" else -1
                _expect(path, what, 0 <= step <= MOST_STEPS and step == math.floor(step))
            elif name in ours.STATE_KEYS and value is not None:
                _expect(path, what, getattr(value, "dtype", None) == parameters[index].dtype)
    return shadow


def _try_schedules(
    path: str, ours: list[Any], saved: list[Any], optimizers: tuple[Any, Any], goes_on: bool
) -> None:
    """Load the states into copies, on the copy of the optimizer; where the run goes on, take a step, too."""
    _expect(path, "schedules", len(saved) == len(ours))
    mine, shadow = optimizers
    shadow._stepped = True  # as it will be when the schedules are stepped
    for schedule, state in zip(ours, saved, strict=True):
        name = type(schedule).__name__
        if _is_ours(schedule):
            _check_like(path, name, state, schedule.state_dict())
        twin = copy.deepcopy(schedule, {id(mine): shadow})
        try:
            twin.load_state_dict(state)
            if (
                goes_on
                and _is_ours(twin)
                and isinstance(twin, LRScheduler)
                and not isinstance(twin, LambdaLR)
            ):
                twin.step()
        except (ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise _wrong(path, f"its {name} cannot be gone on with: {error!r}") from error


def _check_callbacks(keeper: Keeper, saved: list[dict[str, Any]]) -> None:
    path = keeper.checkpoint.path
    _expect(path, "callbacks", len(saved) == len(keeper.remembering))
    for callback, kept in zip(keeper.remembering, saved, strict=True):
        name = type(callback).__name__
        _expect(path, name, kept.keys() in ({"state"}, {"left out"}))
        if not _is_ours(callback) or "state" not in kept:
            continue
        _expect(path, name, type(kept["state"]) is dict)
        ours, theirs = dict(callback.state_dict()), dict(kept["state"])
        best, where = theirs.pop("best_state", None), theirs.pop("best_path", None)
        if best is not None:
            _expect(path, f"{name}'s best_state", type(best) is dict)
            _check_weights(path, f"{name}'s best_state", best, keeper.state.model.state_dict())
        _expect(path, f"{name}'s best_path", where is None or type(where) is str)
        _check_like(
            path, name, theirs, {k: v for k, v in ours.items() if k not in ("best_state", "best_path")}
        )


def _history(keeper: Keeper, saved: dict[str, Any], epoch: int) -> History:
    path, dtype = keeper.checkpoint.path, next(iter(keeper.state.model.parameters())).dtype
    names = {*keeper.metrics, *(f"val_{name}" for name in keeper.metrics if keeper.validated)}
    series = {**saved["metrics"], "train_loss": saved["train_loss"], "val_loss": saved["val_loss"]}
    _expect(path, "history's metrics", saved["metrics"].keys() <= names)
    for name, values in series.items():
        wanted = epoch if name != "val_loss" or keeper.validated else 0
        good = isinstance(values, np.ndarray) and values.dtype == np.float64 and values.shape == (wanted,)
        _expect(path, f"history's {name}", good)
    steps, seconds = saved["step_losses"], saved["seconds"]
    good = (
        isinstance(steps, np.ndarray) and steps.ndim == 1 and steps.dtype.kind == "f" and len(steps) >= epoch
    )
    _expect(path, "history's step_losses", good and (steps.dtype == dtype or not len(steps)))
    _expect(path, "history's seconds", type(seconds) is float and 0 <= seconds < math.inf)
    found = History(
        saved["train_loss"].tolist(),
        saved["val_loss"].tolist(),
        {name: values.tolist() for name, values in saved["metrics"].items()},
        seconds,
    )
    found.add_steps(steps)
    return found


def _check_like(path: str, what: str, found: Any, ours: Any) -> None:
    """`found` is made as `ours` is: the same names, types and lengths; numbers that a run can come to."""
    if isinstance(ours, Mapping):
        _expect(path, what, isinstance(found, Mapping) and found.keys() == ours.keys())
        for name, value in ours.items():
            _check_like(path, f"{what}'s {name}", found[name], value)
    elif isinstance(ours, (list, tuple)):
        _expect(path, what, isinstance(found, (list, tuple)) and len(found) == len(ours))
        for entry, value in zip(found, ours, strict=True):
            _check_like(path, what, entry, value)
    elif isinstance(ours, (bool, str)) or ours is None:
        _expect(path, what, type(found) is type(ours) and (isinstance(ours, bool) or found == ours))
    else:
        _expect(
            path, what, isinstance(found, (int, float, np.generic)) and not isinstance(found, (bool, str))
        )
        whole = isinstance(ours, int)
        _expect(path, what, not math.isnan(found) and (not whole or abs(found) <= MOST_STEPS))
        _expect(path, what, not (whole and ours >= 0) or found >= 0)


def _is_ours(thing: Any) -> bool:
    """A class of the library, whose state has no surprises."""
    return type(thing).__module__.partition(".")[0] == __name__.partition(".")[0]


def _are_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _are_plain(entry) for name, entry in value.items())
    if isinstance(value, list):
        return all(map(_are_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _is_list_of(value: Any, kind: type) -> bool:
    return type(value) is list and all(type(entry) is kind for entry in value)


def _is_dict_of(value: Any, kind: type) -> bool:
    return type(value) is dict and all(type(entry) is kind for entry in value.values())


def _expect(path: str, what: str, good: bool) -> None:
    if not good:
        raise _wrong(path, f"its {what} is not that of this run")


def _wrong(path: str, what: str) -> FileFormatError:
    return FileFormatError(
        f"fit cannot go on from {path}: {short(what)}. Nothing was changed. "
        "Give another path, or delete the file to begin anew"
    )
