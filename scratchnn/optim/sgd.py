"""Stochastic gradient descent as an optimizer; its formula is `functional.sgd`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..checks import Array, as_flag, as_number
from ..functional import updates
from ..layers import Parameter
from .optimizer import Group, Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, Nesterov momentum and weight decay.

    Arguments, state ("momentum_buffer") and steps are torch.optim.SGD's.

    Args:
        params: see `Optimizer`.
        lr: step length.
        momentum: share of the buffer that survives a step.
        dampening: share of the gradient that does not enter the buffer (the first one enters whole).
        weight_decay: pull towards zero, added to the gradient.
        nesterov: look ahead by one step of momentum.
        maximize: climb instead of descend.
    Raises:
        ValueError: lr, momentum or weight_decay negative or NaN; nesterov without momentum or
            with dampening; and as for `Optimizer`.
        TypeError: one of them that is no number; and as for `Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: Mapping[str, Any]) -> None:
        self._check_not_negative(
            group, lr="learning rate", momentum="momentum value", weight_decay="weight_decay value"
        )
        as_number(self._name, "dampening", group["dampening"])
        for flag in ("nesterov", "maximize"):
            as_flag(self._name, flag, group[flag])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening; "
                f"SGD got momentum={group['momentum']}, dampening={group['dampening']}"
            )

    def _update(self, parameter: Parameter, group: Group) -> Array:
        p, g = parameter.data, parameter.grad
        assert g is not None
        keep = group["momentum"] != 0
        buffer = self.state[parameter].get("momentum_buffer") if keep else None
        doubles = updates.sgd_scalars(
            buffer is None, group["lr"], group["momentum"], group["dampening"], group["weight_decay"]
        )
        scalars = [*map(p.dtype.type, doubles), group["nesterov"], group["maximize"]]
        start = np.zeros_like(p) if buffer is None else buffer
        p_new, b_new = updates.sgd(p, g, start, *scalars)
        if keep:
            self.state[parameter]["momentum_buffer"] = np.asarray(b_new)
        return p_new
