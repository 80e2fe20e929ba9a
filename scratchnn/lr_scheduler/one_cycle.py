"""OneCycleLR: up to the largest learning rate, and down again, once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import as_choice, as_flag, as_int, as_number, shown
from ..optim import Optimizer
from .base import LRScheduler, groups_kept

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
        TypeError, ValueError: any of the above is not so, and the optimizer is as it was; `step` beyond
            total_steps. KeyError: a last_epoch, and groups that no OneCycleLR has begun.
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
        self._anneal_func_type = as_choice(
            "OneCycleLR", "anneal_strategy", anneal_strategy, ("cos", "linear")
        )
        three = as_flag("OneCycleLR", "three_phase", three_phase)
        self._schedule_phases = _phases(self.total_steps, pct_start, three)
        self.cycle_momentum = as_flag("OneCycleLR", "cycle_momentum", cycle_momentum)
        if cycle_momentum and "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise ValueError(
                f"OneCycleLR got {type(optimizer).__name__}, which has neither momentum nor betas; "
                "pass cycle_momentum=False"
            )
        begins = self._beginnings(max_lr, base_momentum, max_momentum, div_factor, final_div_factor)
        self.last_epoch = as_int("OneCycleLR", "last_epoch", last_epoch)
        self._check_begun(*begins[0])
        with groups_kept(optimizer):
            if last_epoch == -1:
                for group, entries in zip(optimizer.param_groups, begins, strict=True):
                    group.update(entries)
                    if cycle_momentum:
                        self._set_momentum(group, entries["max_momentum"])
            super().__init__(optimizer, last_epoch)

    def _beginnings(
        self, max_lr: Any, base_momentum: Any, max_momentum: Any, div_factor: Any, final_div_factor: Any
    ) -> list[dict[str, float]]:
        """What each group is told at the beginning, checked."""
        divisor = as_number("OneCycleLR", "div_factor", div_factor, above=0)
        final = as_number("OneCycleLR", "final_div_factor", final_div_factor, above=0)
        found: list[dict[str, float]] = [
            {"initial_lr": highest / divisor, "max_lr": highest, "min_lr": highest / divisor / final}
            for highest in _each(self.optimizer, "max_lr", max_lr)
        ]
        if self.cycle_momentum:
            self.use_beta1 = "betas" in self.optimizer.defaults
            below = 1.0 if self.use_beta1 else None
            highs = _each(self.optimizer, "max_momentum", max_momentum, below)
            lows = _each(self.optimizer, "base_momentum", base_momentum, below)
            for entries, high, low in zip(found, highs, lows, strict=True):
                entries["max_momentum"], entries["base_momentum"] = high, low
        return found

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
    given = {"total_steps": total_steps, "epochs": epochs, "steps_per_epoch": steps_per_epoch}
    for name, number in given.items():
        whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
        if number is not None and not (whole and number > 0):
            raise ValueError(f"OneCycleLR got {name}={shown(number)}; it needs a positive int")
    if total_steps is not None:
        return int(total_steps)
    if epochs is None or steps_per_epoch is None:
        raise ValueError("OneCycleLR needs total_steps, or both epochs and steps_per_epoch")
    return int(epochs) * int(steps_per_epoch)


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


def _each(optimizer: Optimizer, name: str, value: Any, below: float | None = None) -> list[float]:
    """One number for each group, finite and from 0."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [as_number("OneCycleLR", name, value, least=0, below=below, finite=True)] * groups
    if len(value) != groups:
        raise ValueError(
            f"OneCycleLR got {len(value)} numbers as {name} for {groups} groups; give one for each"
        )
    return [
        as_number("OneCycleLR", f"{name}[{i}]", one, least=0, below=below, finite=True)
        for i, one in enumerate(value)
    ]
