"""What the frames of a file say, each held against those before it: nothing of it is believed unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from ..checks import Array
from ..files.errors import FileFormatError, short
from ..random import Generator
from .frames import Frame, Span, frames
from .layout import Layout
from .leg import FAR, Leg, Mark, Place
from .store import Block, forget

__all__ = ["Contents"]

MOST = 2**53  # steps, epochs and words that a float counts
SETTINGS: dict[str, Any] = {
    "dtype": str, "model": list, "loss": str, "optimizer": str, "schedulers": list, "draws": bool,
    "clip_grad_norm": float, "clip_grad_value": float,
}  # fmt: skip
DATA: dict[str, Any] = {"rows": int, "steps": int, "digest": str}
LOADER: dict[str, Any] = {
    "batch_size": int,
    "shuffle": bool,
    "drop_last": bool,
    "generator": (str, type(None)),
}
ENGINES = ("numpy", "numba", "torch")


@dataclass
class Contents:
    """A recording as its file holds it.

    Attributes:
        blocks, legs, losses, made, every: as in `Store` and `Tape`.
        architecture: the description of the model. span: of the last whole frame.
    """

    path: str
    blocks: list[Block] = field(default_factory=list)
    legs: list[Leg] = field(default_factory=list)
    losses: list[tuple[int, Array]] = field(default_factory=list)
    made: int = 0
    every: int = 1
    architecture: Any = None
    span: Span | None = None

    @classmethod
    def read(cls, path: str, file: IO[bytes]) -> Contents:
        """All of a file, up to its last whole frame.

        Raises:
            FileFormatError: no recording; a damaged file, or one whose frames contradict each other.
        """
        found = cls(path)
        for frame in frames(path, file):
            try:
                found._take(frame)
            except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
                where = f"{path} holds a frame at byte {frame.span.start} that is not of this format"
                raise FileFormatError(f"{where}: {short(repr(error))}") from error
            found.span = frame.span
        if found.blocks:
            found.made = max(found.made, found.last)  # rows come before the losses of their block
        return found

    @property
    def last(self) -> int:
        """The last step that is kept; -1 where there is none."""
        return int(self.blocks[-1].steps[self.blocks[-1].n - 1]) if self.blocks else -1

    def trim(self, made: int) -> None:
        """The steps after `made` are not made: the run went on from before them."""
        self.losses = [(first, part[: made - first]) for first, part in self.losses if first < made]
        self.made = made

    def _take(self, frame: Frame) -> None:
        state = frame.state
        if frame.kind == "leg":
            self._take_leg(state)
            return
        _check(bool(self.legs), "kind")
        leg = self.legs[-1]
        if frame.kind == "rows":
            self._take_rows(frame)
        elif frame.kind == "place":
            leg.places.append(self._place(leg, state))
        elif frame.kind == "base":
            leg.bases.append(state["state"])
            Generator().set_state(state["state"])
        elif frame.kind == "rows of batches":
            leg.rows = self._rows_of_batches(leg, state["rows"])
        elif frame.kind == "losses":
            first, losses = _whole(state["first"]), state["losses"]
            end = max([leg.first, *(start + len(part) for start, part in self.losses)])
            _check(first >= end and _is_array(losses, "f", 1), "losses")
            self.losses.append((first, losses))
            self.made = first + len(losses)
        elif frame.kind == "resume":
            self.trim(_whole(state["step"]))
        elif frame.kind == "cut":
            forget(self.blocks, _whole(state["step"], -1))
            self.made = max(0, state["step"])
        elif frame.kind == "end":
            leg.epochs = _whole(state["epochs"])
        elif frame.kind == "thinned":
            self.every = _whole(state["every"], 1)
        else:
            raise ValueError(f"a frame of the kind {short(frame.kind)}")

    def _take_leg(self, state: dict[str, Any]) -> None:
        settings = state["settings"]
        _check(all(isinstance(settings[name], kind) for name, kind in SETTINGS.items()), "settings")
        _check(all(isinstance(one, str) for one in settings["model"] + settings["schedulers"]), "settings")
        _check_data(settings["data"])
        _check(state["engine"] in ENGINES, "engine")
        before = [leg.first for leg in self.legs]
        first = _whole(state["first"], max([0, self.last, *before]))
        self.legs.append(Leg(first, state["engine"], settings, _whole(state["epochs"])))
        self.architecture, self.every = state["architecture"], _whole(state["every"], 1)

    def _place(self, leg: Leg, state: dict[str, Any]) -> Place:
        marks = [Mark(leg.bases[_whole(base)], _whole(words, 0, FAR)) for base, words in state["marks"]]
        place = Place(**{**state, "marks": marks})
        data = leg.settings["data"]
        needed = (
            0
            if leg.engine == "torch"
            else 2
            if isinstance(data, dict) and data.get("generator") == "own"
            else 1
        )
        _check(len(marks) >= needed, "generators")
        for number in (place.step - leg.first, place.epoch, place.ahead):
            _whole(number)
        for listed in (place.groups, place.schedules):
            _check(isinstance(listed, list) and all(isinstance(one, dict) for one in listed), "groups")
        return place

    def _take_rows(self, frame: Frame) -> None:
        state = frame.state
        layout, steps, words = Layout.from_plain(state["layout"]), state["steps"], state["words"]
        rows, n = state["rows"], len(state["steps"])
        _check(n > 0 and _is_array(steps, "i", 1) and _is_array(words, "i", 1) and len(words) == n, "steps")
        _check(int(steps[0]) > self.last and bool((np.diff(steps) > 0).all()), "order of steps")
        _check(int(steps[0]) >= 0 and int(steps[-1]) <= MOST and int(words.min()) >= 0, "steps")
        _check(rows.dtype == layout.dtype and rows.shape == (n, layout.width), "rows")
        if self.blocks:
            _check(self.blocks[0].layout.parameters() == layout.parameters(), "parameters")
        self.blocks.append(Block(layout, steps, words, None, n, frame.span))

    def _rows_of_batches(self, leg: Leg, rows: Any) -> list[Array] | None:
        if rows is None:
            return None
        data = leg.settings["data"]
        count = data["rows"] if isinstance(data, dict) else MOST
        _check(all(_is_array(batch, "i", 1) for batch in rows), "batches")
        _check(all(0 <= int(n) < count for n in _extremes(rows)), "batches")
        return list(rows)


def _check_data(data: Any) -> None:
    if data == "batches of its own":
        return
    kinds = {**DATA, **({} if data["batch_size"] is None else LOADER)}
    _check(all(isinstance(data[name], kind) for name, kind in kinds.items()), "data")
    rows = _whole(data["rows"], 1)
    if data["batch_size"] is None:
        _check(data["steps"] == 1, "data")
        return
    size = _whole(data["batch_size"], 1)
    _check(data["steps"] == (rows // size if data["drop_last"] else -(-rows // size)) > 0, "data")
    _check(data["generator"] in (None, "default", "own"), "data")


def _extremes(rows: list[Array]) -> Iterator[int]:
    for batch in rows:
        if len(batch):
            yield batch.min()
            yield batch.max()


def _whole(value: Any, least: int = 0, most: int = MOST) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{short(repr(value))}, where an int from {least} to {most} belongs")
    return value


def _is_array(value: Any, kinds: str, ndim: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in kinds and value.ndim == ndim


def _check(good: bool, what: str) -> None:
    if not good:
        raise ValueError(f"its {what} contradict what comes before")
