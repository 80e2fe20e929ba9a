"""The rows of a recording, in blocks of one layout: in memory, or in a file that grows as the run goes."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Array
from .frames import frame, frames
from .layout import Layout

__all__ = ["Block", "Store"]

BLOCK_BYTES = 2**20  # allocated at once, and written at once
FLUSH_SECONDS = 1.0  # what a killed process may lose at most, where steps are slow


@dataclass
class Block:
    """Rows of one layout, n of them used.

    Attributes:
        steps: (capacity,) their numbers. words: (capacity,) drawn from the default generator, see `Place`.
        rows: (capacity, width); None where they are in the file, at `offset`.
    """

    layout: Layout
    steps: Array
    words: Array
    rows: Array | None
    n: int = 0
    offset: int = 0

    @property
    def room(self) -> int:
        return 0 if self.rows is None else len(self.rows) - self.n

    @property
    def nbytes(self) -> int:
        return self.n * self.layout.width * self.layout.dtype.itemsize


class Store:
    """Rows by step, ascending, and beside them, in a file, whatever else tells of the run.

    Args:
        path: of the file; None keeps everything in memory.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.blocks: list[Block] = []
        self.file: Any = None
        self.failed = False
        self.end = 0  # of what is whole in the file
        self.flushed = time.monotonic()

    # ---- rows -------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in self.blocks)

    @property
    def steps(self) -> Array:
        """(n,) int64: the numbers of the steps that are kept."""
        parts = [block.steps[: block.n] for block in self.blocks]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    @property
    def last(self) -> int:
        """The last of them; -1 where there is none."""
        return int(self.blocks[-1].steps[self.blocks[-1].n - 1]) if self.blocks else -1

    def append(self, layout: Layout, steps: Array, words: Array, tensors: dict[Any, Array]) -> None:
        """Keep n more steps, later than all before."""
        if self.failed or not len(steps):
            return
        block = self.blocks[-1] if self.blocks else None
        if block is None or block.layout != layout or block.room < len(steps):
            self.flush()
            capacity = max(len(steps), BLOCK_BYTES // max(1, layout.width * layout.dtype.itemsize))
            rows = np.empty((capacity, layout.width), layout.dtype)
            block = Block(layout, np.empty(capacity, np.int64), np.empty(capacity, np.int64), rows)
            self.blocks.append(block)
        assert block.rows is not None
        where = slice(block.n, block.n + len(steps))
        block.steps[where], block.words[where] = steps, words
        layout.pack(tensors, block.rows[where])
        block.n += len(steps)

    def find(self, step: int) -> tuple[Block, int] | None:
        """The block that holds a step, and its place there."""
        starts = [int(block.steps[0]) for block in self.blocks]
        at = int(np.searchsorted(starts, step, "right")) - 1
        if at < 0:
            return None
        block = self.blocks[at]
        i = int(np.searchsorted(block.steps[: block.n], step))
        return (block, i) if i < block.n and block.steps[i] == step else None

    def rows_of(self, block: Block, first: int = 0, last: int | None = None) -> Array:
        """Rows first ... last - 1 of a block."""
        last = block.n if last is None else last
        if block.rows is not None:
            return block.rows[first:last]
        assert self.path is not None
        width, size = block.layout.width, block.layout.dtype.itemsize
        found = np.fromfile(
            self.path, block.layout.dtype, (last - first) * width, offset=block.offset + first * width * size
        )
        return found.reshape(-1, width)

    def cut(self, step: int) -> None:
        """Forget the steps after this one."""
        self._forget(step)
        self.write("cut", {"step": step})

    def _forget(self, step: int) -> None:
        while self.blocks and self.blocks[-1].steps[0] > step:
            self.blocks.pop()
        if self.blocks:
            block = self.blocks[-1]
            block.n = int(np.searchsorted(block.steps[: block.n], step, "right"))

    def thin(self, every: int) -> None:
        """Keep the first step and those whose number is a multiple of `every`."""
        self.flush()
        if self.file is not None:
            self._rewrite(every)
        else:
            self.blocks = [
                block for block in (self._thinned(block, every) for block in self.blocks) if block.n
            ]

    def _thinned(self, block: Block, every: int) -> Block:
        steps, first = block.steps[: block.n], self.blocks[0].steps[0]
        wanted = np.flatnonzero((steps % every == 0) | (steps == first))
        rows = self.rows_of(block)[wanted]
        return Block(block.layout, steps[wanted], block.words[wanted], rows, len(wanted))

    # ---- the file ---------------------------------------------------------------------------------

    def open(self, go_on: bool) -> list[tuple[str, dict[str, Any]]]:
        """Begin to write: a new file, or after the frames of one that is there, which are returned.

        Raises:
            OSError: no such folder, no permission. FileFormatError: a file that is no recording.
        """
        assert self.path is not None
        go_on = go_on and os.path.exists(self.path)
        found = list(self.read()) if go_on else []
        self.file = open(self.path, "r+b" if go_on else "w+b", buffering=0)  # noqa: SIM115 (open while a run goes)
        self.file.truncate(self.end)
        self.file.seek(self.end)
        return found

    def reopen(self) -> None:
        """Go on writing after what this process has written or read."""
        assert self.path is not None
        if self.file is None and not self.failed:
            self.file = open(self.path, "r+b", buffering=0)  # noqa: SIM115 (open while a run goes)
            self.file.truncate(self.end)
            self.file.seek(self.end)

    def read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Take over the rows of the file; gives its other frames."""
        assert self.path is not None
        with open(self.path, "rb") as file:
            for kind, state, _, end in frames(self.path, file):
                self.end = end
                if kind == "rows":
                    layout, n = Layout.from_plain(state["layout"]), len(state["steps"])
                    offset = end - state["rows"].nbytes
                    self.blocks.append(Block(layout, state["steps"], state["words"], None, n, offset))
                    continue
                if kind == "cut":
                    self._forget(state["step"])
                yield kind, state

    def write(self, kind: str, state: dict[str, Any]) -> None:
        """Put a frame into the file, if there is one, after the rows that belong before it."""
        self.flush()
        if self.file is not None:
            self._put(frame(kind, state))

    def flush(self, wait: bool = False) -> None:
        """Write the rows that are only in memory; with `wait` only where it is time."""
        block = self.blocks[-1] if self.blocks else None
        if self.file is None or block is None or block.rows is None:
            return
        if wait and time.monotonic() - self.flushed < FLUSH_SECONDS:
            return
        self.flushed = time.monotonic()
        if self._put(_frame_of(block)):
            block.offset, block.rows = self.end - block.nbytes, None
            block.steps, block.words = block.steps[: block.n].copy(), block.words[: block.n].copy()

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        if self.file is not None:
            self.file.close()
            self.file = None

    def _put(self, data: bytes) -> bool:
        """Append; a full disk ends the recording, not the training."""
        try:
            _write(self.file, data)
        except OSError as error:
            self._give_up(error)
            return False
        self.end += len(data)
        return True

    def _give_up(self, error: OSError) -> None:
        self.failed = True
        while self.blocks and self.blocks[-1].rows is not None:
            self.blocks.pop()  # not in the file
        self.file.close()
        self.file = None
        warnings.warn(
            f"Recording could not write to {self.path}: {error}. What it has, up to step {self.last}, is "
            "whole and readable; the training goes on, unrecorded. Make room, or bound max_bytes.",
            RuntimeWarning,
            stacklevel=2,
        )

    def _rewrite(self, every: int) -> None:
        """Put a file with the rows that are left in the place of this one; until it is whole, this stays."""
        assert self.path is not None
        old = {block.offset: block for block in self.blocks}
        aside, kept, end = f"{self.path}.thinned", [], 0
        try:
            with open(self.path, "rb") as source, open(aside, "wb", buffering=0) as file:
                for kind, state, start, stop in frames(self.path, source):
                    block = old.get(stop - state["rows"].nbytes) if kind == "rows" else None
                    if kind == "rows" and block is None:
                        continue
                    if block is not None:
                        block = self._thinned(block, every)
                        if not block.n:
                            continue
                        data = _frame_of(block)
                    else:
                        source.seek(start)
                        data = source.read(stop - start)
                    _write(file, data)
                    end += len(data)
                    if block is not None:
                        block.offset, block.rows = end - block.nbytes, None
                        kept.append(block)
                os.fsync(file.fileno())
            os.replace(aside, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            self._give_up(error)
            return
        self.file.close()
        self.blocks, self.end = kept, end
        self.file = open(self.path, "r+b", buffering=0)  # noqa: SIM115 (open while a run goes)
        self.file.seek(end)


def _frame_of(block: Block) -> bytes:
    assert block.rows is not None
    n = block.n
    state = {"layout": block.layout.as_plain(), "steps": block.steps[:n], "words": block.words[:n]}
    return frame("rows", {**state, "rows": block.rows[:n]})


def _write(file: Any, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
