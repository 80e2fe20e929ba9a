"""solver="lbfgs": SciPy's minimiser on the objective over all rows, in float64."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from ..checks import Array
from ..layers import Module
from ..objective import Objective

__all__ = ["minimise"]


def minimise(
    estimator: Any, model: Module, objective: Objective, X: Array, target: Array
) -> tuple[int, float]:
    """Move the model's parameters to where the objective is least; (iterations, the objective there).

    Source: Byrd, Lu, Nocedal and Zhu 1995, through scipy.optimize.minimize.
    """
    dtype = X.dtype
    model.astype(np.float64)
    X = X.astype(np.float64)
    target = target.astype(np.float64) if target.dtype.kind == "f" else target
    parameters = list(model.parameters())
    ends = np.cumsum([p.data.size for p in parameters])[:-1]

    def load(flat: Array) -> None:
        for parameter, part in zip(parameters, np.split(flat, ends), strict=True):
            parameter.data[...] = part.reshape(parameter.shape)

    def loss_and_slope(flat: Array) -> tuple[float, Array]:
        load(flat)
        model.zero_grad()
        loss = objective(model(X), target)
        model.backward(objective.backward())
        return float(loss), np.concatenate([np.ravel(p.grad) for p in parameters])  # type: ignore[arg-type]

    try:
        with np.errstate(all="ignore"):
            found = minimize(
                loss_and_slope,
                np.concatenate([p.data.ravel() for p in parameters]),
                method="L-BFGS-B",
                jac=True,
                options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
            )
        load(found.x)
    finally:
        model.astype(dtype)
    if found.status != 0:
        warnings.warn(
            f"lbfgs stopped after {found.nit} iterations before it converged: {found.message} "
            "Increase max_iter or max_fun, or scale the inputs to about unit size.",
            ConvergenceWarning,
            stacklevel=5,
        )
    if not all(np.isfinite(p.data).all() for p in parameters):
        raise ValueError("lbfgs gave parameters that are not finite; scale the inputs to about unit size")
    return int(found.nit), float(found.fun)
