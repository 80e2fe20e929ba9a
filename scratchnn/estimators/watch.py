"""When a fit stops, and how fast it goes: scikit-learn's rules, kept from one fit to the next."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from ..checks import Array
from ..layers import Module
from ..optim import Optimizer

__all__ = ["Watch"]

SMALLEST_RATE = 1e-6  # where "adaptive" gives up
ADAPTIVE_DIVISOR = 5.0


class Watch:
    """What a run has reached so far, and what follows from it after each epoch.

    Attributes:
        count: epochs since the loss, or the score, last improved by tol.
        best_loss, best_score: so far. scores: of the validation rows, one an epoch.
    """

    def __init__(self) -> None:
        self.count = 0
        self.best_loss, self.best_score = math.inf, -math.inf
        self.scores: list[float] = []
        self._best: list[Array] | None = None
        self._latest: list[Array] | None = None
        self._schedule: Any = None

    def begin(self, estimator: Any, optimizer: Optimizer) -> None:
        """A run begins, or goes on."""
        if self._latest is not None and self._best is not None:
            held = zip(estimator.model_.parameters(), self._best, strict=True)
            if all(np.array_equal(p.data, best) for p, best in held):  # nobody has set other weights since
                _load(estimator.model_, self._latest)
            self._latest = None
        if callable(estimator.learning_rate) and self._schedule is None:
            self._schedule = estimator.learning_rate(optimizer)

    def epochs_ahead(self, estimator: Any) -> float:
        """Epochs within which nothing can stop the run or change its rate."""
        scaled = estimator.solver == "sgd" and estimator.learning_rate == "invscaling"
        if scaled or self._schedule is not None or estimator.verbose:
            return 1
        return max(1, estimator.n_iter_no_change - self.count + 1)

    def after_epoch(self, estimator: Any, optimizer: Optimizer, score: float | None) -> bool:
        """Take in an epoch's loss and score; True when the run is over."""
        loss = estimator.loss_curve_[-1]
        self._say(estimator, f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        if score is not None:
            self.scores.append(score)
            self._say(estimator, f"Validation score: {score:f}")
        if estimator.early_stopping:
            assert score is not None
            self.count = self.count + 1 if score < self.best_score + estimator.tol else 0
            if score > self.best_score:
                self._best = [p.data.copy() for p in estimator.model_.parameters()]
        else:
            self.count = self.count + 1 if loss > self.best_loss - estimator.tol else 0
        self.best_loss = min(self.best_loss, loss)
        self.best_score = max(self.best_score, -math.inf if score is None else score)
        self._set_rate(estimator, optimizer, loss)
        return self.count > estimator.n_iter_no_change and self._is_over(estimator, optimizer)

    @property
    def has_best(self) -> bool:
        """There are weights of a best epoch."""
        return self._best is not None

    def forget_schedule(self) -> None:
        """The next run makes a schedule of its own."""
        self._schedule = None

    def leave(self, estimator: Any) -> None:
        """The run is over: with early stopping, the best weights it had are the estimator's."""
        if estimator.early_stopping and self._best is not None:
            if estimator.warm_start:
                self._latest = [p.data.copy() for p in estimator.model_.parameters()]
            _load(estimator.model_, self._best)
        estimator.best_loss_ = None if estimator.early_stopping else self.best_loss
        estimator.validation_scores_ = self.scores or None
        estimator.best_validation_score_ = self.best_score if self.scores else None

    def _set_rate(self, estimator: Any, optimizer: Optimizer, loss: float) -> None:
        if self._schedule is not None:
            optimizer._stepped = True  # by the compiled engine, where it was not by `step`
            wants_loss = "metrics" in inspect.signature(self._schedule.step).parameters
            self._schedule.step(*([loss] if wants_loss else []))
        elif estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            rate = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t
            for group in optimizer.param_groups:
                group["lr"] = float(rate)

    def _is_over(self, estimator: Any, optimizer: Optimizer) -> bool:
        what = "Validation score" if estimator.early_stopping else "Training loss"
        text = (
            f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} "
            "consecutive epochs."
        )
        if estimator.solver != "sgd" or estimator.learning_rate != "adaptive":
            self._say(estimator, f"{text} Stopping.")
            return True
        rate = optimizer.param_groups[0]["lr"]
        if rate <= SMALLEST_RATE:
            self._say(estimator, f"{text} Learning rate too small. Stopping.")
            return True
        for group in optimizer.param_groups:
            group["lr"] = rate / ADAPTIVE_DIVISOR
        self._say(estimator, f"{text} Setting learning rate to {rate / ADAPTIVE_DIVISOR:f}")
        self.count = 0
        return False

    def _say(self, estimator: Any, text: str) -> None:
        if estimator.verbose and estimator.verbose != "bar":
            print(text)


def _load(model: Module, values: list[Array]) -> None:
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.data[...] = value
