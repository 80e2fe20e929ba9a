"""What every schedule has."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..checks import as_mapping, positive_int, shown
from ..optim import Optimizer

__all__ = ["FOR_FIT", "LRScheduler", "Schedule", "groups_kept"]

NUMBERS = (int, float, np.integer, np.floating)
FOR_FIT = ("optimizer", "every", "monitor")  # no part of a schedule's state


class Schedule:
    """What all schedules have: an optimizer, the last learning rates, and a state to save.

    Attributes:
        every: "epoch" or "batch", when `fit` calls `step`.
        last_epoch: steps of the schedule so far.
    """

    every = "epoch"
    optimizer: Optimizer
    last_epoch: int
    _last_lr: list[float]

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__} got a {type(optimizer).__name__} as optimizer; "
                "it needs one such as SGD(model.parameters(), lr=0.1)"
            )
        self.optimizer = optimizer
        optimizer._counts_steps()

    def get_last_lr(self) -> list[float]:
        """The learning rates that the last step set, one for each group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything but the optimizer, under torch's names."""
        return {name: copy.deepcopy(v) for name, v in vars(self).items() if name not in FOR_FIT}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`, ours or torch's; the optimizer has its own.

        Raises:
            TypeError, ValueError: not a dict; entries missing, or of another kind (then nothing is loaded).
        """
        name = type(self).__name__
        as_mapping(name, "state_dict", state_dict, "what state_dict() returns")
        own = self.state_dict()
        missing = [entry for entry in own if entry not in state_dict]
        if missing:
            raise ValueError(f"loaded state dict has no {missing}; is it that of a {name}, as it was made?")
        for entry, value in own.items():
            if not _alike(value, state_dict[entry]):
                raise TypeError(
                    f"loaded state dict has {entry}={shown(state_dict[entry])}, where a {name} has "
                    f"{shown(value)}; is it that of a {name}?"
                )
        vars(self).update(copy.deepcopy({k: v for k, v in state_dict.items() if k not in FOR_FIT}))

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


def _alike(own: Any, loaded: Any) -> bool:
    """Whether a loaded entry is of the kind of ours: numbers among themselves, lists, texts, tables."""
    if own is None or loaded is None:
        return isinstance(own if loaded is None else loaded, (type(None), *NUMBERS))
    for kind in (bool, NUMBERS, str, (list, tuple), Mapping):
        if isinstance(own, kind):
            return isinstance(loaded, kind)
    return True


@contextmanager
def groups_kept(optimizer: Optimizer) -> Iterator[None]:
    """Where the block raises, the optimizer's groups are as they were."""
    before = [dict(group) for group in optimizer.param_groups]
    try:
        yield
    except BaseException:
        for group, entries in zip(optimizer.param_groups, before, strict=True):
            group.clear()
            group.update(entries)
        raise


class LRScheduler(Schedule):
    """What schedules by the number of steps have in common. A subclass implements `get_lr`.

    Args:
        optimizer: each group's "initial_lr" is set from its "lr" where it has none.
        last_epoch: -1 to begin; to go on at another place, the groups must have their "initial_lr".
    Raises:
        TypeError, ValueError: arguments that no schedule can be made of; the optimizer is as it was.
        KeyError: a group without "initial_lr" where it is needed.
    Source: torch.optim.lr_scheduler.LRScheduler, without the deprecated argument of its `step`.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        self.last_epoch = positive_int(type(self).__name__, "last_epoch", last_epoch, minimum=-1)
        self._check_begun("initial_lr")
        self._step_count = 0
        self._is_initial = True  # the first step only says where the schedule stands
        with groups_kept(optimizer):
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
            self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
            self.step()
        self._is_initial = False

    def _check_begun(self, *names: str) -> None:
        """Raise KeyError where a schedule that goes on finds no entries that it begins with."""
        for i, group in enumerate(self.optimizer.param_groups if self.last_epoch != -1 else ()):
            for name in names:
                if name not in group:
                    raise KeyError(
                        f"{type(self).__name__} got last_epoch={self.last_epoch}, but the optimizer's group "
                        f"{i} has no {name}; load the optimizer's state first, or begin with last_epoch=-1"
                    )

    def get_lr(self) -> list[float]:
        """The learning rates at `last_epoch`, one for each group; `step` calls it."""
        raise NotImplementedError(f"{type(self).__name__} must implement get_lr()")

    def step(self) -> None:
        """Go one step on and set the groups' learning rates; call it after the optimizer's step.

        Warns:
            UserWarning: the optimizer has made no step since the schedule was made.
        """
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn(
                f"{type(self).__name__}.step() was called before {type(self.optimizer).__name__}.step(), "
                "so the schedule's first learning rate is skipped. Call optimizer.step() first",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self.last_epoch += 1
        try:
            rates = self.get_lr()
        except BaseException:
            self._step_count -= 1
            self.last_epoch -= 1
            raise
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = self._rates()
