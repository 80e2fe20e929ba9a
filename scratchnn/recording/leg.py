"""One call of `fit` in a recording: where its blocks of epochs began, from which all else is drawn again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array
from ..data import DataLoader, TensorDataset
from ..random import Generator, default_generator

if TYPE_CHECKING:
    from ..train.fit import FitState
    from ..train.regime import Regime

__all__ = ["FAR", "Leg", "Live", "Mark", "Place", "draw_orders", "kept_stream"]

FAR = 2**22  # words after which a new base is taken: drawing them again takes hundredths of a second
MOST_ROWS = 2**22  # of data whose orders are drawn again for a recording from a file: a second, 250 MB
MOST_EPOCHS, MOST_DRAWN = 100_000, 2**26  # of a block, and their rows: more than a compiled call ever makes


@dataclass(frozen=True)
class Mark:
    """Where a generator stands: so many words after a state that many marks share."""

    base: Array
    words: int

    def state(self) -> Array:
        """As `Generator.get_state` gives it."""
        generator = Generator().set_state(self.base)
        generator.skip(self.words)
        return generator.get_state()


@dataclass(frozen=True)
class Place:
    """Where a block of epochs began, before anything was drawn for it.

    Attributes:
        step, epoch: made before it. marks: of the generators: the default one, and the loaders'.
        groups: the optimizer's hyperparameters. schedules: their states.
        ahead: steps of the first epoch, made before the recording, that these two are past already.
    """

    step: int
    epoch: int
    marks: list[Mark]
    groups: list[dict[str, Any]]
    schedules: list[dict[str, Any]]
    ahead: int = 0

    @property
    def generators(self) -> list[Array]:
        """Their states."""
        return [mark.state() for mark in self.marks]

    def is_like(self, other: Place) -> bool:
        """Nothing was drawn and no hyperparameter changed in between."""
        pairs = zip(self.marks, other.marks, strict=True)
        return (
            all(a.base is b.base and a.words == b.words for a, b in pairs)
            and self.groups == other.groups
            and not (self.schedules or self.ahead or other.ahead)
        )


@dataclass(frozen=True)
class Live:
    """What only the program that trains has.

    Attributes:
        model, loss_fn, optimizer, regime: copies, as they were at the start. The data are the program's own.
    """

    model: Any
    loss_fn: Any
    optimizer: Any
    regime: Regime
    batches: Any
    held_out: Any
    metrics: dict[str, Any]

    @classmethod
    def of(
        cls, state: FitState, regime: Regime, batches: Any, held_out: Any, metrics: dict[str, Any]
    ) -> Live:
        model, loss_fn, optimizer, regime = copy.deepcopy(
            (state.model, state.loss_fn, state.optimizer, regime)
        )
        return cls(model, loss_fn, optimizer, regime, batches, held_out, metrics)

    def again(self) -> Live:
        """Everything once more, with generators of its own for the loaders."""
        model, loss_fn, optimizer, regime = copy.deepcopy(
            (self.model, self.loss_fn, self.optimizer, self.regime)
        )
        made: dict[int, Generator] = {id(default_generator): default_generator}
        batches, held_out = _loader_again(self.batches, made), _loader_again(self.held_out, made)
        return Live(model, loss_fn, optimizer, regime, batches, held_out, self.metrics)


@dataclass
class Leg:
    """One call of `fit`.

    Attributes:
        first: steps of the recording made before it. engine: "numpy", "numba" or "torch".
        settings: what the run was told, as plain values, hyperparameters left out.
        epochs: asked for; or made, where a callback stopped the run.
        bases: states of generators, of which the places' marks speak.
        rows: of every batch, where they cannot be drawn again. live: None for a run read from a file.
        last_order: that was asked for: a place, epochs after it, the rows.
    """

    first: int
    engine: str
    settings: dict[str, Any]
    epochs: int
    bases: list[Array] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    rows: list[Array] | None = None
    live: Live | None = None
    last_order: tuple[Place, int, Array] | None = field(default=None, repr=False)

    def place_before(self, step: int) -> Place:
        """Where the block began in which `step` was made; of several, the one noted last."""
        found = [place for place in self.places if place.step < step]
        if not found:
            raise ValueError(
                f"Recording has no batches before step {self.first + 1}; step {step} is the start"
            )
        return found[-1]

    def order(self, place: Place, epoch: int) -> Array | None:
        """The rows of an epoch, counted from `place`, batch after batch; None for batches of one's own."""
        data = self.settings["data"]
        if not isinstance(data, dict):
            return None
        if self.live is None:
            self._check_cost(data["rows"], epoch)
        if data["batch_size"] is None:
            return np.arange(data["rows"])
        if self.last_order is not None and self.last_order[0] is place and self.last_order[1] == epoch:
            return self.last_order[2]
        generator = default_generator if data["generator"] == "default" else None
        if data["generator"] == "own":
            generator = Generator().set_state(place.marks[1].state())
        rows = TensorDataset(np.arange(data["rows"]))
        loader = DataLoader(
            rows, data["batch_size"], data["shuffle"], drop_last=data["drop_last"], generator=generator
        )
        with kept_stream(place.marks[0].state()):
            draw_orders(loader, epoch)
            self.last_order = place, epoch, loader.order()
        return self.last_order[2]

    def _check_cost(self, rows: int, epoch: int) -> None:
        """A file may say anything: what it asks for must be what a run can have made."""
        if rows > MOST_ROWS or epoch > MOST_EPOCHS or epoch * rows > MOST_DRAWN:
            raise ValueError(
                f"Recording was read from a file of a run over {rows:,} rows, in a block of more than "
                f"{epoch:,} epochs; orders of so many are drawn again only in the program that trains"
            )

    def steps_an_epoch(self) -> int | None:
        """None where it is not known."""
        data = self.settings["data"]
        return data["steps"] if isinstance(data, dict) else None

    def rows_of(self, step: int) -> Array | None:
        """The rows of the batch of one step, in their order; None where batches have no rows."""
        if self.rows is not None:
            return self.rows[step - self.first - 1] if step - self.first <= len(self.rows) else None
        place, steps = self.place_before(step), self.steps_an_epoch()
        if steps is None:
            return None
        epoch, within = divmod(step - place.step - 1, steps)
        order = self.order(place, epoch)
        size = self.settings["data"]["batch_size"] or self.settings["data"]["rows"]
        return None if order is None else order[within * size : (within + 1) * size]


@contextmanager
def kept_stream(state: Array) -> Iterator[None]:
    """The default generator stands at `state` inside; afterwards it is where it was."""
    before = default_generator.get_state()
    default_generator.set_state(state)
    try:
        yield
    finally:
        default_generator.set_state(before)


def draw_orders(loader: DataLoader, epochs: int) -> None:
    """Draw what the orders of so many epochs draw; nobody needs the orders themselves."""
    for _ in range(epochs):
        loader.order(lambda words: words)


def _loader_again(source: Any, made: dict[int, Generator]) -> Any:
    """The same batches, drawn by another loader; a generator in two places stays one."""
    if source is None or source.loader is None:
        return source
    loader = source.loader
    again = copy.copy(loader)
    again._reseeded = Generator()
    if loader.generator is not None:
        again.generator = made.setdefault(id(loader.generator), Generator())
    return source.on(again)
