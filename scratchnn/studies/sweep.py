"""Many small networks, one a seed: what one run only hints at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import scratchnn as snn

__all__ = ["Trained", "spread", "train_many"]


@dataclass
class Trained:
    """One network of a sweep: the seed it came from, the model, and its loss in the last epoch.

    A run whose loss left the finite numbers has the loss NaN.
    """

    seed: int
    model: Any
    loss: float
    history: snn.History


def train_many(
    build: Callable[[], snn.Module],
    loss_fn: snn.Loss,
    optimizer: Callable[[Any], snn.Optimizer],
    data: Callable[[], Any],
    epochs: int,
    seeds: Sequence[int],
) -> list[Trained]:
    """Train one network a seed; each run is the one that `fit` alone would give.

    Args:
        build: makes a network, drawing its weights; called after `manual_seed(seed)`.
        optimizer: makes an optimizer over the parameters it is given.
        data: makes what `fit` trains on: a pair (x, y), or a loader of its own for each network.
    """
    trained = []
    for seed in seeds:
        snn.manual_seed(seed)
        model = build()
        rule = optimizer(model.parameters())
        try:
            history = snn.fit(model, loss_fn, rule, data(), epochs, progress=False)
            loss = history.train_loss[-1]
        except snn.DivergenceError as error:
            history, loss = error.history, float(np.nan)
        trained.append(Trained(seed, model.eval(), loss, history))
    return trained


def spread(values: Sequence[float]) -> dict[str, float]:
    """How numbers spread: the least, the lower quarter, the median, the upper quarter, the most.

    NaN, a run that diverged, counts as `diverged` and nowhere else.
    """
    numbers = np.asarray(values, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    parts = np.quantile(finite, (0, 0.25, 0.5, 0.75, 1)) if len(finite) else np.full(5, np.nan)
    named = dict(zip(("least", "low", "median", "high", "most"), map(float, parts), strict=True))
    return {**named, "diverged": float(len(numbers) - len(finite))}
