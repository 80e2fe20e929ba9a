"""What the tests of checkpoints share: small runs of which everything can be another."""

from __future__ import annotations

from typing import Any

import numpy as np

import scratchnn as snn


class Scaled(snn.Module):
    """A Module of one's own, with a number that its weights do not show."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.inner = snn.Linear(2, 1)

    def forward(self, x: Any) -> Any:
        return self.factor * self.inner(x)

    def backward(self, dy: Any) -> Any:
        return self.inner.backward(self.factor * dy)


class Counting:
    """A callback of one's own that remembers."""

    def __init__(self) -> None:
        self.epochs = 0

    def __call__(self, state: snn.FitState) -> None:
        self.epochs += 1

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state["epochs"]


PLANE = np.random.default_rng(0).standard_normal((6, 2)).astype(np.float32)


def small(
    path: Any = None,
    *,
    seed: int = 0,
    model: Any = lambda: snn.Sequential(snn.Linear(2, 3), snn.LeakyReLU(0.1), snn.Linear(3, 1)),
    optimizer: Any = lambda p: snn.SGD(p, lr=0.1),
    loss: Any = snn.MSELoss,
    data: Any = PLANE,
    loader: Any = None,
    schedule: Any = None,
    epochs: int = 3,
    engine: str = "numpy",
    callbacks: Any = list,
    prepare: Any = lambda model, optimizer: None,
    **options: Any,
) -> snn.History:
    """A run of which everything can be another."""
    snn.manual_seed(seed)
    made = model()
    moves = optimizer(made.parameters())
    loader = loader or (lambda rows: snn.DataLoader(rows, batch_size=2, shuffle=True))
    prepare(made, moves)
    return snn.fit(
        made, loss(), moves, loader(snn.TensorDataset(data, data[:, :1])), epochs, engine=engine,
        progress=False, checkpoint=path, callbacks=callbacks(),
        scheduler=None if schedule is None else schedule(moves), **options,
    )  # fmt: skip


def batches(size: int, **options: Any) -> Any:
    return lambda rows: snn.DataLoader(rows, batch_size=size, **{"shuffle": True, **options})
