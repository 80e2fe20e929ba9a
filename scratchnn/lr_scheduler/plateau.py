"""ReduceLROnPlateau: a smaller learning rate when nothing improves any more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

from ..checks import as_choice, as_number, positive_int, shown
from ..optim import Optimizer
from .base import Schedule

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(Schedule):
    """lr <- max(lr * factor, min_lr) after more than `patience` steps in which a measure did not improve.

    Args:
        mode: "min" if smaller is better, or "max".
        threshold: how much better counts: a share of the best ("rel") or a difference ("abs").
        cooldown: steps after a reduction in which none counts as bad.
        min_lr: a number, or a list of one for each group.
        eps: a reduction by no more than this is not made.
    Attributes:
        monitor: what `fit` passes to `step` after each epoch: None is "val_loss" where there is
            validation, else "train_loss"; or set the name of a metric, such as "val_accuracy".
    Raises:
        TypeError, ValueError: any of the above is not so: factor is a number from 0 to below 1, patience and
            cooldown are ints from 0, threshold, min_lr and eps finite numbers from 0.
    Source: torch.optim.lr_scheduler.ReduceLROnPlateau.
    """

    monitor: str | None = None

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        self.factor = as_number(name, "factor", factor, least=0, below=1)
        self.mode = as_choice(name, "mode", mode, ("min", "max"))
        self.threshold_mode = as_choice(name, "threshold_mode", threshold_mode, ("rel", "abs"))
        self.patience = positive_int(name, "patience", patience, minimum=0)
        self.cooldown = positive_int(name, "cooldown", cooldown, minimum=0)
        self.threshold = as_number(name, "threshold", threshold, least=0, finite=True)
        self.eps = as_number(name, "eps", eps, least=0, finite=True)
        self._attach(optimizer)
        groups = len(optimizer.param_groups)
        self.default_min_lr: float | None = None
        if isinstance(min_lr, (list, tuple)):
            if len(min_lr) != groups:
                raise ValueError(
                    f"ReduceLROnPlateau got {len(min_lr)} numbers as min_lr for {groups} groups; "
                    "give one for each"
                )
            self.min_lrs = [
                as_number(name, f"min_lr[{i}]", one, least=0, finite=True) for i, one in enumerate(min_lr)
            ]
        else:
            self.default_min_lr = as_number(name, "min_lr", min_lr, least=0, finite=True)
            self.min_lrs = [self.default_min_lr] * groups
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.best = self.mode_worse
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = self._rates()

    @property
    def in_cooldown(self) -> bool:
        """No step counts as bad now."""
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat) -> None:
        """Look at the measure of one more epoch, and reduce the learning rates if it is time.

        Raises:
            TypeError: the measure is not a number.
        """
        try:
            current = float(metrics)
        except (TypeError, ValueError):
            raise TypeError(
                f"ReduceLROnPlateau.step got {shown(metrics)}; it needs the number that it watches"
            ) from None
        self.last_epoch += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._rates()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`, ours or torch's; the optimizer has its own."""
        super().load_state_dict(state_dict)
        self.mode_worse = math.inf if self.mode == "min" else -math.inf

    def _is_better(self, current: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            bound = self.best * (1.0 + sign * self.threshold)
        else:
            bound = self.best + sign * self.threshold
        return current > bound if self.mode == "max" else current < bound

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"ReduceLROnPlateau has {len(self.min_lrs)} numbers as min_lr for {len(groups)} groups; "
                    "a group was added since: append its bound to `min_lrs`"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, lowest in zip(groups, self.min_lrs, strict=True):
            lr = float(group["lr"])
            reduced = max(lr * self.factor, lowest)
            if lr - reduced > self.eps:
                group["lr"] = reduced
