"""What a recording does while a run goes: it keeps, thins, writes, and takes up again."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoint import refuse_strangers
from ..checks import Array, as_int, positive_int
from ..layers import Module
from .layout import Key, Layout, tensors_of
from .leg import Leg, Live, Mark, Place, settings_of
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
        self.path = None if path is None else os.fsdecode(path)
        # Found again wherever the program changes to.
        self._store = Store(None if self.path is None else os.path.abspath(self.path))
        self._legs: list[Leg] = []
        self._losses: list[tuple[int, Array]] = []  # steps before, losses
        self._made = 0
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
        layout = self._store.blocks[0].layout
        pairs = zip(layout.keys, layout.shapes, strict=True)
        return {name: shape for (kind, name, _), shape in pairs if kind == "parameter"}

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
        forked: tuple[int, int] | None = None,
    ) -> Recorder:
        """A run begins, or goes on; see `fit`.

        Args:
            forked: at which step, and the words drawn from the default generator since its epoch began.
        """
        refuse_strangers("recording", state)
        live = Live.of(state, regime, batches, held_out, metrics)
        leg = Leg(
            self._made, state.history.engine, settings_of(state, regime, batches), state.epochs, live=live
        )
        words = 0
        if forked is not None:
            leg.first, words = forked
            self._made = leg.first
        made = leg.first + state.history.steps
        named = list(state.model.named_parameters())
        tensors = tensors_of(named, state.optimizer, gradients=forked is not None)
        self._start(leg, made, words, tensors, live.model)
        return Recorder(self, self._legs[-1], made, state, regime, (batches, held_out))

    def _open(self, leg: Leg, model: Module, go_on: bool) -> None:
        """Open the file, if there is one, and count the leg among those of the recording."""
        if self.path is not None and self._legs:
            self._store.reopen()
        elif self.path is not None:
            self._restore(self._store.open(go_on))
            if go_on and self._legs:
                ours, theirs = leg.settings, self._legs[-1].settings
                if ours != theirs:
                    self._store.close()
                    raise ValueError(
                        f"fit got the recording {self.path} of another run: "
                        f"{_first_difference(ours, theirs)}. "
                        "Delete the file to begin anew, or give another path"
                    )
                self._legs[-1].live, self._legs[-1].epochs = leg.live, leg.epochs
                return
        self._legs.append(leg)
        self._store.write("leg", self._described(leg, model))

    def _start(self, leg: Leg, made: int, words: int, tensors: dict[Key, Array], model: Module) -> None:
        """A leg begins; keep its start, unless that is the end of the one before."""
        size = 2 * sum(value.nbytes for (kind, _, _), value in tensors.items() if kind == "parameter")
        if FEWEST * size > self.max_bytes:
            raise ValueError(
                f"Recording got max_bytes={self.max_bytes}, too few for steps of {size} bytes and more; "
                f"give at least {FEWEST * size}"
            )
        if self._store.blocks and self._shapes() != {
            name: value.shape[1:] for (kind, name, _), value in tensors.items() if kind == "parameter"
        }:
            raise ValueError(
                "Recording already holds a run of another model; make a new Recording for this one"
            )
        self._open(leg, model, go_on=made > leg.first)
        self._forget(made)
        self._model = model
        if self._store.last == made:
            kept = self._tensors(made)
            if _same(kept, tensors, ("parameter", "state")):
                return
            if _same(kept, tensors, ("parameter",)):  # another optimizer goes on from here
                tensors |= {key: value[None] for key, value in kept.items() if key[0] == "gradient"}
            self._store.cut(made - 1)
        self._take(np.array([made]), np.array([words]), tensors, wanted=True)

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
        self._trim(made)

    def _trim(self, made: int) -> None:
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

    def _restore(self, found: list[tuple[str, dict[str, Any]]]) -> Any:
        """Take over the frames of a file; returns the architecture, if it is described."""
        architecture = None
        for kind, state in found:
            if kind == "leg":
                self._legs.append(Leg(state["first"], state["engine"], state["settings"], state["epochs"]))
                architecture, self.every = state["architecture"], state["every"]
            elif kind == "place":
                bases = self._legs[-1].bases
                marks = [Mark(bases[base], words) for base, words in state["marks"]]
                self._legs[-1].places.append(Place(**{**state, "marks": marks}))
            elif kind == "base":
                self._legs[-1].bases.append(state["state"])
            elif kind == "rows of batches":
                self._legs[-1].rows = state["rows"]
            elif kind == "losses":
                self._losses.append((state["first"], state["losses"]))
                self._made = state["first"] + len(state["losses"])
            elif kind == "resume":
                self._trim(state["step"])
            elif kind == "cut":
                self._made = state["step"]
            elif kind == "end":
                self._legs[-1].epochs = state["epochs"]
            elif kind == "thinned":
                self.every = state["every"]
        self._made = max(self._made, self._store.last)  # rows come before the losses of their block
        return architecture


def _same(kept: dict[Key, Array], tensors: dict[Key, Array], kinds: tuple[str, ...]) -> bool:
    """Tensors of these kinds are the same as (1, *shape) ones, and as many."""
    ours = {key: value.tobytes() for key, value in kept.items() if key[0] in kinds}
    return ours == {key: value.tobytes() for key, value in tensors.items() if key[0] in kinds}


def _first_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    name = next(name for name in ours if ours[name] != theirs.get(name))
    return f"its {name} is {theirs.get(name)}, here {ours[name]}"
