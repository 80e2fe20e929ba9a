"""What a recording does while a run goes: it keeps, thins, writes, and takes up again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoint import refuse_strangers, settings_of
from ..checks import Array, as_int, as_path, positive_int
from ..checks.paths import from_here
from ..layers import Module
from .contents import Contents
from .layout import Key, Layout, tensors_of
from .leg import Leg, Live, Place
from .recorder import Recorder
from .store import Block, Store

if TYPE_CHECKING:
    from ..train.fit import FitState
    from ..train.regime import Regime

__all__ = ["MAX_BYTES", "Tape"]

MAX_BYTES = 2**28
FEWEST = 4  # rows that the bound must have room for


class Tape:
    """The steps of one or more calls of `fit`, one after another.

    Attributes:
        every, max_bytes, path: as `Recording`.
    """

    def __init__(self, every: int, path: str | os.PathLike[str] | None, max_bytes: int) -> None:
        self.every = self._asked = positive_int("Recording", "every", every)
        self.max_bytes = positive_int("Recording", "max_bytes", max_bytes)
        self.path = None if path is None else as_path("Recording", "path", path)
        # Found again wherever the program changes to.
        self._store = Store(None if self.path is None else from_here(self.path))
        self._legs: list[Leg] = []
        self._losses: list[tuple[int, Array]] = []  # steps before, losses
        self._made = 0
        self._ending: int | None = (
            None  # a step kept only because it was the last of a run, which goes on now
        )
        self._model: Module | None = None  # what `at` copies

    @property
    def steps(self) -> Array:
        """(n,) int64: the numbers of the steps that are kept, ascending."""
        return self._store.steps

    def __len__(self) -> int:
        return sum(block.n for block in self._store.blocks)

    def __bool__(self) -> bool:
        return True

    # ---- looking up -------------------------------------------------------------------------------

    def _check_not_empty(self) -> None:
        if not self._store.blocks:
            raise ValueError("Recording is empty; give it to fit(..., callbacks=[recording]) first")

    def _number(self, step: Any) -> int:
        self._check_not_empty()
        return as_int("Recording", "step", step)

    def _find(self, step: Any) -> tuple[Block, int]:
        number = self._number(step)
        found = self._store.find(number)
        if found is None:
            steps = self.steps
            at = int(np.searchsorted(steps, number))
            nearest = " and ".join(map(str, steps[max(0, at - 1) : at + 1].tolist()))
            raise IndexError(
                f"Recording has no step {number}; nearest are {nearest} (every={self.every}, "
                f"{steps[0]} to {steps[-1]})"
            )
        return found

    def _tensors(self, step: Any) -> dict[Key, Array]:
        block, i = self._find(step)
        return block.layout.unpack(self._store.rows_of(block, i, i + 1)[0])

    def _kind(self, wanted: str, step: Any) -> dict[str, Array]:
        return {name: v for (kind, name, _), v in self._tensors(step).items() if kind == wanted}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the parameters, by name."""
        return self._store.blocks[0].layout.parameters()

    def _leg_of(self, step: int) -> Leg:
        """The part of the run in which a step was made."""
        found = [leg for leg in self._legs if leg.first < step <= self._made]
        if not found:
            raise IndexError(
                f"Recording knows no step {step} of the run; it made {self._legs[0].first + 1} "
                f"to {self._made}"
            )
        return found[-1]

    # ---- while a run goes -------------------------------------------------------------------------

    def _begin(
        self,
        state: FitState,
        regime: Regime,
        batches: Any,
        held_out: Any,
        metrics: dict[str, Any],
        steps: int,
        forked: tuple[int, int] | None = None,
    ) -> Callable[[], Recorder]:
        """Check all that can be refused, and read the file of a run that goes on; see `fit`.

        Args:
            steps: that the run has made already, where it goes on from its checkpoint.
            forked: at which step, and the words drawn from the default generator since its epoch began.
        Returns:
            what begins the recording, when model and optimizer are where they begin.
        """
        refuse_strangers("recording", state)
        live = Live.of(state, regime, batches, held_out, metrics)
        leg = Leg(
            self._made, state.history.engine, settings_of(state, regime, batches), state.epochs, live=live
        )
        named = list(state.model.named_parameters())
        words = 0
        if forked is not None:
            leg.first, words = forked
        found = self._read(leg, tensors_of(named, state.optimizer, gradients=False), steps > 0)

        def begin() -> Recorder:
            tensors = tensors_of(named, state.optimizer, gradients=forked is not None)
            made = self._start(leg, found, steps, words, tensors, live.model)
            return Recorder(self, self._legs[-1], made, state, regime, (batches, held_out))

        return begin

    def _read(self, leg: Leg, tensors: dict[Key, Array], goes_on: bool) -> Contents | None:
        """Check that a run fits into the recording, hold its file, and read that where the run goes on in it.

        Nothing here or in the file is changed; `_let_go` ends the holding.
        """
        size = 2 * sum(value.nbytes for (kind, _, _), value in tensors.items() if kind == "parameter")
        if FEWEST * size > self.max_bytes:
            raise ValueError(
                f"Recording got max_bytes={self.max_bytes}, too few for steps of {size} bytes and more; "
                f"give at least {FEWEST * size}"
            )
        self._store.hold()
        found = None
        if goes_on and not self._legs and self._store.file is not None and not self._store.new:
            assert self._store.path is not None
            found = Contents.read(self._store.path, self._store.file)
        blocks, legs = (self._store.blocks, self._legs) if found is None else (found.blocks, found.legs)
        shapes = {n: value.shape[1:] for (kind, n, _), value in tensors.items() if kind == "parameter"}
        if blocks and blocks[0].layout.parameters() != shapes:
            raise ValueError(
                "Recording already holds a run of another model; make a new Recording for this one"
            )
        if goes_on and legs and leg.settings != legs[-1].settings:
            which = "" if self.path is None else f" {self.path}"
            what = _first_difference(leg.settings, legs[-1].settings)
            raise ValueError(
                f"fit got the recording{which} of another run: {what}. "
                "Delete the file to begin anew, or give another path"
            )
        return found

    def _start(
        self,
        leg: Leg,
        found: Contents | None,
        steps: int,
        words: int,
        tensors: dict[Key, Array],
        model: Module,
    ) -> int:
        """A leg begins, or the last one goes on; keep its start. Returns the steps made before."""
        if found is not None:
            self._take_over(found)
        self._store.begin()
        goes_on = steps > 0 and bool(self._legs)
        if goes_on:
            self._legs[-1].live, self._legs[-1].epochs = leg.live, leg.epochs
            leg = self._legs[-1]
        else:
            self._legs.append(leg)
            self._store.write("leg", self._described(leg, model))
        made = leg.first + steps
        known = max(self._made, self._store.last)
        self._forget(made)
        self._model = model
        if self._store.last == made:
            kept = self._tensors(made)
            if _same(kept, tensors, ("parameter", "state")):
                self._ending = made if goes_on and made > leg.first and made % self.every else None
                return made
            if _same(kept, tensors, ("parameter",)):  # another optimizer goes on from here
                tensors |= {key: value[None] for key, value in kept.items() if key[0] == "gradient"}
            self._store.cut(made - 1)
        if not (goes_on and known >= made):
            self._take(np.array([made]), np.array([words]), tensors, wanted=True)
        return made

    def _take(self, steps: Array, words: Array, tensors: dict[Key, Array], wanted: bool = False) -> None:
        """Keep n steps; the store is thinned first where it would overflow.

        Args:
            tensors: (n, *shape). wanted: whatever their numbers.
        """
        layout = Layout.of(tensors)
        size = layout.width * layout.dtype.itemsize
        self._made = max(self._made, int(steps[-1]))
        while True:
            if not wanted:
                chosen = steps % self.every == 0
                if not chosen.all():
                    steps, words = steps[chosen], words[chosen]
                    tensors = {key: value[chosen] for key, value in tensors.items()}
            full = self._store.nbytes + len(steps) * size > self.max_bytes
            if not full or len(self) + len(steps) <= FEWEST:
                break
            self.every *= 2
            self._store.thin(self.every)
            self._store.write("thinned", {"every": self.every})
        if self._ending is not None and len(steps) and int(steps[-1]) > self._ending:
            self._store.cut(self._ending - 1)  # the end of a run that has gone on
            self._ending = None
        self._store.append(layout, steps, words, tensors)
        self._store.flush(wait=True)

    def _add_place(self, leg: Leg, place: Place) -> None:
        if leg.places and leg.steps_an_epoch() is not None and place.is_like(leg.places[-1]):
            return  # a run that draws nothing: the place before tells as much
        leg.places.append(place)
        for mark in place.marks:
            if not any(mark.base is base for base in leg.bases[-len(place.marks) :]):
                leg.bases.append(mark.base)
                self._store.write("base", {"state": mark.base})
        bases = [id(base) for base in leg.bases]
        marks = [(bases.index(id(mark.base)), mark.words) for mark in place.marks]
        self._store.write("place", {**vars(place), "marks": marks})

    def _add_losses(self, leg: Leg, losses: Array) -> None:
        first = max([leg.first, *(start + len(part) for start, part in self._losses)])
        if leg.places:  # of a run that went on from its checkpoint
            first = max(first, leg.places[0].step)
        self._losses.append((first, losses))
        self._made = first + len(losses)
        self._store.write("losses", {"first": first, "losses": losses})

    def _add_rows(self, leg: Leg, rows: list[Array] | None) -> None:
        """The rows of every batch of the leg, where nobody can draw them again."""
        leg.rows = rows
        self._store.write("rows of batches", {"rows": rows})

    def _undo(self, made: int) -> None:
        self._made = made
        self._store.cut(made)

    def _end(self, leg: Leg) -> None:
        self._store.write("end", {"epochs": leg.epochs})

    def _let_go(self) -> None:
        """Nothing more is written; a file that a run was to begin, and did not, is removed."""
        self._store.let_go()

    def _close(self) -> None:
        self._store.close()
        if self.every != self._asked and not self._store.failed:
            warnings.warn(
                f"Recording was full at max_bytes={self.max_bytes}: it keeps one step in {self.every} now, "
                f"not one in {self._asked}; give more max_bytes, or every={self.every} from the start",
                RuntimeWarning,
                stacklevel=4,
            )
            self._asked = self.every

    def _forget(self, made: int) -> None:
        """Drop what lies after a step: the run went on from before it."""
        if self._store.last > made:
            self._store.cut(made)
        if any(first + len(part) > made for first, part in self._losses):
            self._store.write("resume", {"step": made})
        self._losses = [(first, part[: made - first]) for first, part in self._losses if first < made]
        self._made = made

    # ---- the file ---------------------------------------------------------------------------------

    def _described(self, leg: Leg, model: Module) -> dict[str, Any]:
        from ..files.architecture import read, to_json

        try:
            architecture = to_json(read(model, "Recording", ""))
        except (TypeError, ValueError):
            architecture = None  # a class of its own: `load` needs the model
        return {
            "first": leg.first,
            "engine": leg.engine,
            "settings": leg.settings,
            "epochs": leg.epochs,
            "every": self.every,
            "architecture": architecture,
        }

    def _take_over(self, found: Contents) -> None:
        """Go on with what a file holds."""
        self._legs, self._losses, self._made, self.every = found.legs, found.losses, found.made, found.every
        self._store.blocks = found.blocks
        if found.span is not None:
            self._store.last_span = found.span


def _same(kept: dict[Key, Array], tensors: dict[Key, Array], kinds: tuple[str, ...]) -> bool:
    """Tensors of these kinds are the same as (1, *shape) ones, and as many."""
    ours = {key: value.tobytes() for key, value in kept.items() if key[0] in kinds}
    return ours == {key: value.tobytes() for key, value in tensors.items() if key[0] in kinds}


def _first_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    name = next(name for name in ours if ours[name] != theirs.get(name))
    return f"its {name} is {theirs.get(name)}, here {ours[name]}"
