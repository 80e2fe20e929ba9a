"""The training of an estimator: `fit`'s engines, fed with scikit-learn's order of rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..checks import Array
from ..data import DataLoader, TensorDataset
from ..forks import LOADING
from ..layers import Module
from ..objective import Objective
from ..optim import Optimizer
from ..random import Generator, default_generator
from ..train.numpy_engine import Block, Engine, NumpyEngine
from ..train.progress import notice

__all__ = ["Orders", "Rows", "make_engine"]


class Orders:
    """The order of the rows, epoch after epoch: each is a shuffle of the one before, as in scikit-learn."""

    def __init__(self, rows: int, shuffle: bool, random_state: np.random.RandomState) -> None:
        self.shuffle, self.random_state = shuffle, random_state
        self.order = np.arange(rows)
        # The generator's state where `ahead` has gone on without it: reading and setting it costs as much as
        # shuffling 20,000 rows.
        self._further: dict[str, Any] | None = None
        self._compiles = random_state.get_state(legacy=False)["bit_generator"] == "MT19937"

    def next(self) -> Array:
        """(N,) int64."""
        self.settle()
        if self.shuffle:
            self.order = self.order.copy()
            self.random_state.shuffle(self.order)
        return self.order

    def ahead(self, epochs: int) -> Array:
        """(epochs N,) int64: the next orders one after another, by the compiled engine.

        The generator is behind from here on, until `settle`.
        """
        from ..engine.orders import reshuffled

        if not self._compiles:
            return np.concatenate([self.next() for _ in range(epochs)])
        if self._further is None:
            self._further = self.random_state.get_state(legacy=False)
        orders = reshuffled(self._further["state"], self.order, epochs)
        self.order = orders[-1].copy()
        return orders.reshape(-1)

    def settle(self) -> None:
        """Bring the generator to where the orders are."""
        if self._further is not None:
            self.random_state.set_state(self._further)
            self._further = None


class Rows:
    """Batches of rows, in a new order at each pass."""

    def __init__(self, X: Array, target: Array, batch: int, orders: Orders) -> None:
        self.X, self.target, self.batch, self.orders = X, target, batch, orders

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        order = self.orders.next()
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            yield self.X[rows], self.target[rows]


class _TextbookEngine(NumpyEngine):
    """Dropout draws from the estimator's generator, not from everybody's."""

    generator: Generator

    def run(self, epochs: int) -> Block:
        """As the base."""
        with _instead_of_default(self.generator):
            return super().run(epochs)


@contextmanager
def _instead_of_default(generator: Generator) -> Iterator[None]:
    kept = default_generator.get_state()
    default_generator.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(default_generator.get_state())
        default_generator.set_state(kept)


def make_engine(
    wanted: str,
    model: Module,
    objective: Objective,
    optimizer: Optimizer,
    rows: Rows,
    generator: Generator | None,
) -> tuple[Engine, str, str]:
    """(engine, its name, why that one).

    Args:
        generator: where dropout draws; None: nothing is dropped.
    Raises:
        LoweringError: "numba" is wanted and does not take the model or the loss.
    """
    reason = f"engine={wanted!r} was asked for"
    if wanted != "numpy":
        with LOADING:
            from ..train.numba_engine import LoweringError, NumbaEngine

        class Compiled(NumbaEngine):
            """The rows in the estimator's order."""

            def _orders(self, epochs: int) -> Array:
                if not rows.orders.shuffle:
                    return np.empty(0, np.int64)
                return rows.orders.ahead(epochs)

        loader = DataLoader(TensorDataset(rows.X, rows.target), rows.batch, rows.orders.shuffle)
        try:
            drawn_from = default_generator if generator is None else generator
            compiled = Compiled(model, objective, optimizer, loader, {}, drawn_from, notice(True))
        except LoweringError as refusal:
            if wanted == "numba":
                raise
            reason = f"the compiled engine does not take {refusal}"
        else:
            return compiled, "numba", "the compiled engine takes all of it" if wanted == "auto" else reason
    if generator is None:
        return NumpyEngine(model, objective, optimizer, rows, {}), "numpy", reason
    textbook = _TextbookEngine(model, objective, optimizer, rows, {})
    textbook.generator = generator
    return textbook, "numpy", reason
