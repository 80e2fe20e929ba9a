"""What every schedule has."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..optim import Optimizer

__all__ = ["FOR_FIT", "LRScheduler", "Schedule"]

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

    def get_last_lr(self) -> list[float]:
        """The learning rates that the last step set, one for each group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything but the optimizer, under torch's names."""
        return {name: copy.deepcopy(v) for name, v in vars(self).items() if name not in FOR_FIT}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`, ours or torch's; the optimizer has its own.

        Raises:
            ValueError: entries are missing (then nothing is loaded).
        """
        missing = [name for name in self.state_dict() if name not in state_dict]
        if missing:
            raise ValueError(
                f"loaded state dict has no {missing}; is it that of a {type(self).__name__}, as it was made?"
            )
        vars(self).update(copy.deepcopy({k: v for k, v in state_dict.items() if k not in FOR_FIT}))

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


class LRScheduler(Schedule):
    """What schedules by the number of steps have in common. A subclass implements `get_lr`.

    Args:
        optimizer: each group's "initial_lr" is set from its "lr" where it has none.
        last_epoch: -1 to begin; to go on at another place, the groups must have their "initial_lr".
    Raises:
        TypeError: no optimizer. KeyError: a group without "initial_lr" where it is needed.
    Source: torch.optim.lr_scheduler.LRScheduler, without the deprecated argument of its `step`.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__} got last_epoch={last_epoch}, but the optimizer's group {i} has "
                    "no initial_lr; load the optimizer's state first, or begin with last_epoch=-1"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._is_initial = True  # the first step only says where the schedule stands
        self.step()
        self._is_initial = False

    def get_lr(self) -> list[float]:
        """The learning rates at `last_epoch`, one for each group; `step` calls it."""
        raise NotImplementedError(f"{type(self).__name__} must implement get_lr()")

    def step(self) -> None:
        """Go one step on and set the groups' learning rates; call it after the optimizer's step."""
        self._step_count += 1
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = self._rates()
