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
    *,
    progress: bool = False,
) -> list[Trained]:
    """Train one network a seed, all of them in one call of `fit_many`, over all cores.

    The weights of a network are drawn after `manual_seed(seed)`, its batches from a stream of that seed.

    Args:
        build: makes a network, drawing its weights.
        optimizer: makes an optimizer over the parameters it is given.
        data: makes what `fit` trains on: a pair (x, y), or a DataLoader over a TensorDataset.
        progress: show a bar, if the output is a terminal.
    """
    models = []
    for seed in seeds:
        snn.manual_seed(seed)
        models.append(build())
    batches = data()
    given: dict[str, Any] = {}
    if isinstance(batches, snn.DataLoader):
        given = {"batch_size": batches.batch_size, "shuffle": batches.shuffle}
        batches = batches.dataset[:]
    x, y = batches
    optimizers = [optimizer(model.parameters()) for model in models]
    many = snn.fit_many(
        models, loss_fn, optimizers, x, y, epochs=epochs, seeds=list(seeds), progress=progress, **given
    )
    if many.interrupted:
        raise KeyboardInterrupt
    losses = [
        history.train_loss[-1] if error is None else float(np.nan)
        for history, error in zip(many.histories, many.diverged, strict=True)
    ]
    return [
        Trained(seed, model.eval(), loss, history)
        for seed, model, loss, history in zip(seeds, models, losses, many.histories, strict=True)
    ]


def spread(values: Sequence[float]) -> dict[str, float]:
    """How numbers spread: the least, the lower quarter, the median, the upper quarter, the most.

    NaN, a run that diverged, counts as `diverged` and nowhere else.
    """
    numbers = np.asarray(values, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    parts = np.quantile(finite, (0, 0.25, 0.5, 0.75, 1)) if len(finite) else np.full(5, np.nan)
    named = dict(zip(("least", "low", "median", "high", "most"), map(float, parts), strict=True))
    return {**named, "diverged": float(len(numbers) - len(finite))}
