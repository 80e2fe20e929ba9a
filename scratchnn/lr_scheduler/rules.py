"""Schedules by the number of steps: one rule each, from one learning rate to the next."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any

from ..checks import as_function, as_list, as_number, positive_int
from ..optim import Optimizer
from .base import FOR_FIT, LRScheduler

__all__ = ["CosineAnnealingLR", "ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR", "StepLR"]


class LambdaLR(LRScheduler):
    """lr = base * f(t).

    Args:
        lr_lambda: f, or a list of one for each group.
    Raises:
        TypeError: no function, or one that returns no number. ValueError: a list of another length.
    Source: torch.optim.lr_scheduler.LambdaLR. As there, functions are no part of the state; other
        callables are, by their attributes.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        groups = len(optimizer.param_groups)
        functions = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        for i, function in enumerate(functions):
            name = f"lr_lambda[{i}]" if isinstance(lr_lambda, (list, tuple)) else "lr_lambda"
            as_function("LambdaLR", name, function, "a function of the number of steps")
        if len(functions) != groups:
            raise ValueError(
                f"LambdaLR got {len(functions)} functions as lr_lambda for {groups} groups; give one for each"
            )
        self.lr_lambdas: list[Any] = functions
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """base * f(t) of every group."""
        t, returned = self.last_epoch, f"lr_lambda({self.last_epoch})"
        return [
            base * as_number("LambdaLR", returned, f(t), finite=True)
            for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything but the optimizer and the functions."""
        state = {
            name: copy.deepcopy(v) for name, v in vars(self).items() if name not in (*FOR_FIT, "lr_lambdas")
        }
        plain = [isinstance(f, FunctionType) or not hasattr(f, "__dict__") for f in self.lr_lambdas]
        state["lr_lambdas"] = [
            None if without else copy.deepcopy(vars(f))
            for f, without in zip(self.lr_lambdas, plain, strict=True)
        ]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`; the functions stay, callable objects take their attributes."""
        functions = self.lr_lambdas
        super().load_state_dict(state_dict)
        self.lr_lambdas = functions
        for f, saved in zip(functions, state_dict["lr_lambdas"], strict=True):
            if saved is not None:
                vars(f).update(copy.deepcopy(saved))


class StepLR(LRScheduler):
    """lr <- lr * gamma, every `step_size` steps.

    Raises:
        TypeError, ValueError: a step_size that is not a positive int, a gamma that is not a number from 0.
    Source: torch.optim.lr_scheduler.StepLR.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = positive_int("StepLR", "step_size", step_size)
        self.gamma = as_number("StepLR", "gamma", gamma, least=0, finite=True)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """lr * gamma at every `step_size`-th step."""
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return self._rates()
        return [lr * self.gamma for lr in self._rates()]


class MultiStepLR(LRScheduler):
    """lr <- lr * gamma at each of the `milestones`; twice at one that is given twice.

    Raises:
        TypeError, ValueError: milestones that are not ints from 0, a gamma that is not a number from 0.
    Source: torch.optim.lr_scheduler.MultiStepLR.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.gamma = as_number("MultiStepLR", "gamma", gamma, least=0, finite=True)
        if isinstance(milestones, Counter):
            milestones = milestones.elements()
        elif isinstance(milestones, (set, frozenset)):  # their order does not matter here
            milestones = list(milestones)
        listed = as_list("MultiStepLR", "milestones", milestones, "ints")
        self.milestones = Counter(
            positive_int("MultiStepLR", f"milestones[{i}]", step, minimum=0) for i, step in enumerate(listed)
        )
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """lr * gamma at a milestone."""
        if self.last_epoch not in self.milestones:
            return self._rates()
        return [lr * self.gamma ** self.milestones[self.last_epoch] for lr in self._rates()]


class ExponentialLR(LRScheduler):
    """lr <- lr * gamma, every step.

    Raises:
        TypeError, ValueError: a gamma that is not a number from 0.
    Source: torch.optim.lr_scheduler.ExponentialLR.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = as_number("ExponentialLR", "gamma", gamma, least=0, finite=True)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """lr * gamma."""
        return self._rates() if self._is_initial else [lr * self.gamma for lr in self._rates()]


class LinearLR(LRScheduler):
    """lr = base * factor, the factor going from start to end in `total_iters` equal steps.

    From step to step that is lr <- lr (1 + d / (total_iters start + (t - 1) d)), d = end - start.

    Raises:
        TypeError, ValueError: start_factor outside (0, 1], end_factor outside [0, 1], total_iters that is not
            a positive int.
    Source: torch.optim.lr_scheduler.LinearLR.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = as_number("LinearLR", "start_factor", start_factor, above=0, most=1)
        self.end_factor = as_number("LinearLR", "end_factor", end_factor, least=0, most=1)
        self.total_iters = positive_int("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The next lr on the line, and the last one from then on."""
        t, start, difference = self.last_epoch, self.start_factor, self.end_factor - self.start_factor
        if t == 0:
            return [lr * start for lr in self._rates()]
        if self._is_initial or t > self.total_iters:
            return self._rates()
        growth = 1.0 + difference / (self.total_iters * start + (t - 1) * difference)
        return [lr * growth for lr in self._rates()]


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2: down in T_max steps, up again after.

    From step to step: lr <- (1 + cos(pi t / T)) / (1 + cos(pi (t - 1) / T)) (lr - eta_min) + eta_min.

    Raises:
        TypeError, ValueError: T_max that is not a positive int, eta_min that is not a number from 0.
    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5, without restarts;
        torch.optim.lr_scheduler.CosineAnnealingLR.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = positive_int("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = as_number("CosineAnnealingLR", "eta_min", eta_min, least=0, finite=True)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The next lr on the wave."""
        t, T, low = self.last_epoch, self.T_max, self.eta_min
        if self._is_initial:
            return self._rates()
        if self._step_count == 1 and t > 0:
            return [low + (base - low) * (1 + math.cos(t * math.pi / T)) / 2 for base in self.base_lrs]
        if (t - 1 - T) % (2 * T) == 0:  # at the bottom the ratio would be 0 / 0
            rise = 1 - math.cos(math.pi / T)
            return [
                lr + (base - low) * rise / 2 for lr, base in zip(self._rates(), self.base_lrs, strict=True)
            ]
        ratio = (1 + math.cos(math.pi * t / T)) / (1 + math.cos(math.pi * (t - 1) / T))
        return [ratio * (lr - low) + low for lr in self._rates()]
