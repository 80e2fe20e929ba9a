"""Adam and AdamW as optimizers; their formulas are `functional.adam` and `functional.adamw`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..checks import Array, as_flag
from ..functional import updates
from ..layers import Parameter
from .optimizer import Group, Optimizer

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adam, with torch.optim.Adam's arguments, state and steps.

    State: "step", "exp_avg", "exp_avg_sq" and, with amsgrad, "max_exp_avg_sq".

    Args:
        params: see `Optimizer`.
        lr: step length where the gradient is steady.
        betas: memory of the running means of g and of g*g.
        eps: added to the root in the denominator.
        weight_decay: pull towards zero, added to the gradient.
        amsgrad: divide by the root of the largest mean so far.
        maximize: climb instead of descend.
        decoupled_weight_decay: shrink the parameter instead, which is AdamW.
    Raises:
        ValueError: lr, eps or weight_decay negative or NaN; betas not two floats in [0, 1); and as
            for `Optimizer`.
    """

    STATE_KEYS = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: Mapping[str, Any]) -> None:
        self._check_not_negative(
            group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value"
        )
        for flag in ("amsgrad", "maximize", "decoupled_weight_decay"):
            as_flag(self._name, flag, group[flag])
        betas = group["betas"]
        pair = isinstance(betas, (tuple, list)) and len(betas) == 2
        if not pair or not all(isinstance(beta, float) for beta in betas):
            raise ValueError(f"betas must be two floats; {self._name} got betas={betas!r}")
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(
                    f"Invalid beta parameter at index {i}: {beta}; {self._name} needs it in [0, 1)"
                )

    def _update(self, parameter: Parameter, group: Group) -> Array:
        p, g, state = parameter.data, parameter.grad, self.state[parameter]
        assert g is not None
        if not state:
            state["step"] = np.zeros((), np.float32)
            state["exp_avg"] = np.zeros_like(p)
            state["exp_avg_sq"] = np.zeros_like(p)
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = np.zeros_like(p)
        m, v = state["exp_avg"], state["exp_avg_sq"]
        peak = state["max_exp_avg_sq"] if group["amsgrad"] else v

        t = int(state["step"]) + 1
        rule: Callable[..., tuple[Array, Array, Array, Array]] = updates.adam
        rule_scalars = updates.adam_scalars
        if group["decoupled_weight_decay"]:
            rule, rule_scalars = updates.adamw, updates.adamw_scalars
        beta1, beta2 = group["betas"]
        doubles = rule_scalars(t, group["lr"], beta1, beta2, group["eps"], group["weight_decay"])
        scalars = [*map(p.dtype.type, doubles), group["amsgrad"], group["maximize"]]
        p_new, m, v, peak = rule(p, g, m, v, peak, *scalars)
        state["step"] = np.array(t, np.float32)
        state["exp_avg"], state["exp_avg_sq"] = np.asarray(m), np.asarray(v)
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = np.asarray(peak)
        return p_new


class AdamW(Adam):
    """Adam with decoupled weight decay, with torch.optim.AdamW's arguments, state and steps.

    As `Adam`, but weight_decay (0.01 unless given) shrinks the parameter by 1 - lr * weight_decay
    at each step and stays out of the gradient. Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True
        )

    def _loaded_group(self, group: Group, saved: Mapping[str, Any]) -> Group:
        return {**super()._loaded_group(group, saved), "decoupled_weight_decay": True}
