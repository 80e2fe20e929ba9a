"""Schedules stepped ahead of a compiled block of epochs, so that every step has its rates."""

from __future__ import annotations

import numpy as np

from ..engine.plan import LoweringError
from ..engine.run import Run
from ..lowering import read_numbers
from ..optim import Optimizer
from .regime import Regime

__all__ = ["Foresight"]

RATES = 7  # hyperparameters of a group, at most


class Foresight:
    """Steps the schedules as the block to come will, and gives the run what they set for every step.

    The first `skipped` steps are made, and the schedules stand after them. After the last epoch it is `fit`
    that steps those that go by epochs.

    Raises:
        LoweringError: a schedule refuses a step on the way; then they stand where they stood.
    """

    def __init__(self, regime: Regime, optimizer: Optimizer, epochs: int, skipped: int, run: Run) -> None:
        self.regime, self.optimizer = regime, optimizer
        self.skipped, self.a_epoch = skipped, run.steps_an_epoch
        self.last = epochs * run.steps_an_epoch
        self.needed = bool(regime.by_batch) or (epochs > 1 and bool(regime.by_epoch))
        if not self.needed:
            return
        groups = optimizer.param_groups
        self.groups = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        self.states = [schedule.state_dict() for schedule in regime.schedules()]
        foreseen = []
        try:
            for epoch in range(epochs):
                if epoch:
                    regime.after_epoch()
                for step in range(self.a_epoch if regime.by_batch else 1):
                    foreseen.append([read_numbers(run.plan.rule, group) for group in groups])
                    if epoch or step >= skipped:
                        regime.after_batch()
        except BaseException as error:
            self.put_back(skipped)
            if isinstance(error, Exception):
                raise LoweringError(f"a schedule that refuses a step: {error!r}") from error
            raise
        numbers = np.array(foreseen)
        rates = np.zeros((len(foreseen), len(groups), RATES))
        rates[:, :, : numbers.shape[2]] = numbers
        run.set_rates(rates if regime.by_batch else np.repeat(rates, self.a_epoch, axis=0))

    def put_back(self, steps: int) -> None:
        """Schedules and groups as they are after so many steps of the block, those skipped among them."""
        if not self.needed:
            return
        for group, kept in zip(self.optimizer.param_groups, self.groups, strict=True):
            group.update(kept)
        for schedule, state in zip(self.regime.schedules(), self.states, strict=True):
            schedule.load_state_dict(state)
        for step in range(self.skipped + 1, steps + 1):
            self.regime.after_batch()
            if step % self.a_epoch == 0 and step < self.last:
                self.regime.after_epoch()
