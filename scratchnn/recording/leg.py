"""One call of `fit` in a recording: where its blocks of epochs began, from which all else is drawn again."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array
from ..data import DataLoader, TensorDataset
from ..layers import Dropout
from ..random import Generator, default_generator

if TYPE_CHECKING:
    from ..train.fit import FitState
    from ..train.regime import Regime

__all__ = ["Leg", "Live", "Mark", "Place", "draw_orders", "kept_stream", "read_data", "settings_of"]


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

    def steps_an_epoch(self) -> int | None:
        """None where it is not known."""
        data = self.settings["data"]
        return data["steps"] if isinstance(data, dict) else None

    def rows_of(self, step: int) -> Array | None:
        """The rows of the batch of one step, in their order; None where batches have no rows."""
        if self.rows is not None:
            return self.rows[step - self.first - 1]
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


def settings_of(state: FitState, regime: Regime, batches: Any) -> dict[str, Any]:
    """What a run was told, for people and for comparison."""
    return {
        "dtype": next(iter(state.model.parameters())).dtype.name,
        "model": repr(state.model).splitlines(),
        "loss": _described(state.loss_fn),
        "optimizer": type(state.optimizer).__name__,
        "schedulers": [type(schedule).__name__ for schedule in regime.schedules()],
        "draws": any(isinstance(m, Dropout) and 0 < m.p < 1 for m in state.model.modules()),
        "clip_grad_norm": regime.max_norm,
        "clip_grad_value": regime.max_value,
        "data": read_data(batches),
    }


def read_data(batches: Any) -> Any:
    """What must be known to draw the batches again, and a digest of the data."""
    if isinstance(batches, DataLoader) and type(batches) is DataLoader:
        arrays: Sequence[Array] = batches.dataset.tensors
        return {
            "rows": len(batches.dataset),
            "steps": len(batches),
            "batch_size": batches.batch_size,
            "shuffle": batches.shuffle,
            "drop_last": batches.drop_last,
            "generator": _whose(batches.generator),
            "digest": _digest(arrays),
        }
    if isinstance(batches, list) and len(batches) == 1:
        return {"rows": len(batches[0][0]), "steps": 1, "batch_size": None, "digest": _digest(batches[0])}
    return "batches of its own"


def _described(loss_fn: Any) -> str:
    """A loss with its numbers, which its repr may leave out."""
    numbers = {
        name: np.asarray(value).tolist()
        for name, value in vars(loss_fn).items()
        if not name.startswith("_") and isinstance(value, (bool, int, float, str, np.ndarray, np.generic))
    }
    inner = getattr(loss_fn, "base", None)
    listed = [f"{name}={value}" for name, value in numbers.items()]
    listed += [] if inner is None else [_described(inner)]
    return f"{type(loss_fn).__name__}({', '.join(listed)})"


def _whose(generator: Generator | None) -> str | None:
    return None if generator is None else "default" if generator is default_generator else "own"


def _digest(arrays: Sequence[Array]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _loader_again(loader: Any, made: dict[int, Generator]) -> Any:
    """The same batches, drawn by another loader; a generator in two places stays one."""
    if not isinstance(loader, DataLoader):
        return loader
    again = copy.copy(loader)
    again._reseeded = Generator()
    if loader.generator is not None:
        again.generator = made.setdefault(id(loader.generator), Generator())
    return again
