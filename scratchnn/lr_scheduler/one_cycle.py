"""OneCycleLR: up to the largest learning rate, and down again, once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..optim import Optimizer
from .base import LRScheduler

__all__ = ["OneCycleLR"]


class OneCycleLR(LRScheduler):
    """From max_lr / div_factor up to max_lr in `pct_start` of the steps, then down to almost nothing.

    It is stepped after every batch, by `fit` too. Momentum (beta1, for Adam) goes the other way. With
    `three_phase` the way down mirrors the way up, and a third phase goes from there to the smallest lr.

    Args:
        max_lr: a number, or a list of one for each group; base_momentum, max_momentum likewise.
        total_steps: or else epochs and steps_per_epoch, whose product it is.
        pct_start: a float within [0, 1]. anneal_strategy: "cos" or "linear".
        cycle_momentum: needs an optimizer with momentum or betas.
        div_factor: max_lr / the first lr. final_div_factor: the first lr / the last one.
    Raises:
        TypeError: no optimizer. ValueError: any of the above is not so; `step` beyond total_steps.
    Source: Smith and Topin 2017, arXiv:1708.07120; torch.optim.lr_scheduler.OneCycleLR.
    """

    every = "batch"

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR got pct_start={pct_start!r}; it needs a float within [0, 1]")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR got anneal_strategy={anneal_strategy!r}; it is 'cos' or 'linear'")
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        groups = optimizer.param_groups
        for group, highest in zip(groups, _each(optimizer, "max_lr", max_lr), strict=True):
            if last_epoch == -1:
                group["initial_lr"] = highest / div_factor
                group["max_lr"] = highest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
                raise ValueError(
                    f"OneCycleLR got {type(optimizer).__name__}, which has neither momentum nor betas; "
                    "pass cycle_momentum=False"
                )
            self.use_beta1 = "betas" in optimizer.defaults
            highs = _each(optimizer, "max_momentum", max_momentum)
            lows = _each(optimizer, "base_momentum", base_momentum)
            for group, high, low in zip(groups, highs, lows, strict=True):
                if last_epoch == -1:
                    self._set_momentum(group, high)
                    group["max_momentum"], group["base_momentum"] = high, low
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The lr of the phase that the step lies in; sets the groups' momentum too."""
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR was stepped {t} times, but has total_steps={self.total_steps}")
        start = 0.0
        for phase in self._schedule_phases:
            if t <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        length = phase["end_step"] - start
        done = (t - start) / length if length else 1.0  # torch divides by zero: a way up of no steps is up
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], done))
            if self.cycle_momentum:
                first, last = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._between(first, last, done))
        return rates

    def _between(self, start: float, end: float, done: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * done + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * done) + 1)

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    numbers = {"total_steps": total_steps}
    if total_steps is None:
        numbers = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    if None in numbers.values():
        raise ValueError("OneCycleLR needs total_steps, or both epochs and steps_per_epoch")
    for name, number in numbers.items():
        if not isinstance(number, int) or number <= 0:
            raise ValueError(f"OneCycleLR got {name}={number!r}; it needs a positive int")
    return math.prod(number for number in numbers.values() if number is not None)


def _phases(total: int, share: float, three: bool) -> list[dict[str, Any]]:
    """Where each phase ends, and what it goes between, by the names of the groups' entries."""

    def phase(end: float, lr: tuple[str, str], momentum: tuple[str, str]) -> dict[str, Any]:
        return {
            "end_step": end,
            "start_lr": lr[0],
            "end_lr": lr[1],
            "start_momentum": momentum[0],
            "end_momentum": momentum[1],
        }

    high_to_low, low_to_high = ("max_momentum", "base_momentum"), ("base_momentum", "max_momentum")
    up = phase(float(share * total) - 1, ("initial_lr", "max_lr"), high_to_low)
    if not three:
        return [up, phase(total - 1, ("max_lr", "min_lr"), low_to_high)]
    return [
        up,
        phase(float(2 * share * total) - 2, ("max_lr", "initial_lr"), low_to_high),
        phase(total - 1, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")),
    ]


def _each(optimizer: Optimizer, name: str, value: float | Sequence[float]) -> list[float]:
    """One number for each group."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups  # type: ignore[list-item]
    if len(value) != groups:
        raise ValueError(
            f"OneCycleLR got {len(value)} numbers as {name} for {groups} groups; give one for each"
        )
    return list(value)
