"""What `fit` does around the steps: schedules of the learning rate, and bounds on the gradients."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..clipping import clip_grad_norm_, clip_grad_value_
from ..history import History
from ..lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau, Schedule
from ..optim import Optimizer

__all__ = ["Regime", "check_measured", "measured", "regime_of"]


@dataclass
class Regime:
    """Schedules and bounds of one run.

    Attributes:
        by_batch: schedules stepped after every step of the optimizer. by_epoch: after every epoch.
        max_norm, max_value: of the gradients; infinity is no bound.
    """

    by_batch: list[LRScheduler] = field(default_factory=list)
    by_epoch: list[Schedule] = field(default_factory=list)
    max_norm: float = math.inf
    max_value: float = math.inf

    @property
    def foreseeable(self) -> bool:
        """No schedule waits for what the run will measure."""
        return not any(isinstance(schedule, ReduceLROnPlateau) for schedule in self.by_epoch)

    def clip(self, optimizer: Optimizer) -> None:
        """Bound the gradients of the optimizer's parameters: elements first, then the norm of all."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.max_value < math.inf:
            clip_grad_value_(parameters, self.max_value)
        if self.max_norm < math.inf:
            clip_grad_norm_(parameters, self.max_norm)

    def after_batch(self) -> None:
        """Step the schedules that go by batches."""
        for schedule in self.by_batch:
            schedule.optimizer._stepped = True  # by the compiled engine, where it was not by `step`
            schedule.step()

    def after_epoch(self, history: History | None = None) -> None:
        """Step the schedules that go by epochs; `history` for those that measure."""
        for schedule in self.by_epoch:
            schedule.optimizer._stepped = True
            if isinstance(schedule, ReduceLROnPlateau):
                assert history is not None
                schedule.step(measured(history, schedule.monitor, "ReduceLROnPlateau"))
            elif isinstance(schedule, LRScheduler):
                schedule.step()

    def schedules(self) -> list[Schedule]:
        """All of them."""
        return [*self.by_batch, *self.by_epoch]


def measured(history: History, name: str | None, owner: str) -> float:
    """The last epoch's value of a loss or a metric; None: the validation's loss if there is one."""
    values = {"train_loss": history.train_loss, **history.metrics}
    if history.val_loss:
        values["val_loss"] = history.val_loss
    name = name or ("val_loss" if history.val_loss else "train_loss")
    check_measured(name, [known for known, found in values.items() if found], owner)
    return values[name][-1]


def check_measured(name: str | None, measures: Collection[str], owner: str) -> None:
    """Raise ValueError where a run with these measures has none of that name."""
    if name is None or name in measures:
        return
    near = difflib.get_close_matches(name, measures, n=1)
    cure = f"did you mean {near[0]!r}? " if near else ""
    if name.startswith("val_") and not any(known.startswith("val_") for known in measures):
        cure = "pass validation=(X, y) to fit; "
    known = ", ".join(sorted(measures))
    raise ValueError(f"{owner} monitors {name!r}, which this run does not measure; {cure}it has {known}")


def listed(scheduler: Any) -> list[Any]:
    """`fit`'s argument `scheduler` as a list."""
    if scheduler is None:
        return []
    return list(scheduler) if isinstance(scheduler, (list, tuple)) else [scheduler]


def regime_of(
    optimizer: Optimizer,
    schedules: Sequence[Any],
    clip_grad_norm: float | None,
    clip_grad_value: float | None,
    measures: Collection[str],
    steps: int | None,
) -> Regime:
    """The regime that `fit` was asked for.

    Args:
        measures: what the run will measure. steps: that the run will make, where it is known.
    Raises:
        TypeError, ValueError: no schedule, one of another optimizer, one given twice, one too short, one that
            monitors what is not measured, a bound below 0.
    """
    regime = Regime(max_norm=_bound("norm", clip_grad_norm), max_value=_bound("value", clip_grad_value))
    for one in schedules:
        if not isinstance(one, (LRScheduler, ReduceLROnPlateau)):
            raise TypeError(
                f"fit got {one!r} as scheduler; it needs one such as StepLR(optimizer, 10), or a list of them"
            )
        name = type(one).__name__
        if sum(one is other for other in schedules) > 1:
            raise ValueError(f"fit got one {name} twice as scheduler; it would go two steps at once")
        if one.optimizer is not optimizer:
            raise ValueError(f"fit got a {name} of another optimizer; make it from the one that fit gets")
        if one.every not in ("batch", "epoch") or (
            one.every == "batch" and isinstance(one, ReduceLROnPlateau)
        ):
            raise ValueError(
                f"fit got a {name} with every={one.every!r}; it is 'epoch', or 'batch' without a measure"
            )
        if one.every == "batch" and isinstance(one, LRScheduler):
            regime.by_batch.append(one)
            if isinstance(one, OneCycleLR) and steps is not None and one.last_epoch + steps > one.total_steps:
                raise ValueError(
                    f"fit got a OneCycleLR with {one.total_steps - one.last_epoch} steps left for a run of "
                    f"{steps}; give it total_steps={one.last_epoch + steps}"
                )
        else:
            regime.by_epoch.append(one)
            if isinstance(one, ReduceLROnPlateau):
                check_measured(one.monitor, measures, name)
    return regime


def _bound(name: str, value: float | None) -> float:
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"fit got clip_grad_{name}={value!r}; it needs a number, or None for no bound")
    if not value > 0:
        raise ValueError(f"fit got clip_grad_{name}={value}; it must be above 0, or None for no bound")
    return float(value)
