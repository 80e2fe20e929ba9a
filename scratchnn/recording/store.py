"""The rows of a recording, in blocks of one layout: in memory, or in a file that grows as the run goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Array
from ..files.atomic import companion, open_regular
from ..files.errors import FileFormatError
from ..files.locks import Lock
from .frames import NOWHERE, Span, body_of, frame, frames
from .layout import Layout

__all__ = ["Block", "Store", "forget"]

BLOCK_BYTES = 2**20  # allocated at once, and written at once
FLUSH_SECONDS = 1.0  # what a killed process may lose at most, where steps are slow


@dataclass
class Block:
    """Rows of one layout, n of them used.

    Attributes:
        steps: (capacity,) their numbers. words: (capacity,) drawn from the default generator, see `Place`.
        rows: (capacity, width); None where they are in the file, in the frame `span`.
    """

    layout: Layout
    steps: Array
    words: Array
    rows: Array | None
    n: int = 0
    span: Span | None = None

    @property
    def room(self) -> int:
        return 0 if self.rows is None else len(self.rows) - self.n

    @property
    def nbytes(self) -> int:
        return self.n * self.layout.width * self.layout.dtype.itemsize


def forget(blocks: list[Block], step: int) -> None:
    """Drop the rows of the steps after this one."""
    while blocks and blocks[-1].steps[0] > step:
        blocks.pop()
    if blocks:
        block = blocks[-1]
        block.n = int(np.searchsorted(block.steps[: block.n], step, "right"))


class Store:
    """Rows by step, ascending, and beside them, in a file, whatever else tells of the run.

    Args:
        path: of the file; None keeps everything in memory.
    Attributes:
        last_span: of the last frame that is whole in the file.
        lock: of the file, while it is held.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.blocks: list[Block] = []
        self.file: Any = None
        self.lock: Lock | None = None
        self.failed = self.begun = self.new = False
        self.last_span = NOWHERE
        self.flushed = time.monotonic()
        self._read: tuple[Span, Array] | None = None  # the rows that were read last

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
        assert block.span is not None
        if self._read is None or self._read[0] != block.span:
            self._read = block.span, self._rows_in_file(block)
        return self._read[1][first:last]

    def _rows_in_file(self, block: Block) -> Array:
        """All rows of a block, whose frame is still the one that was written, or read."""
        assert self.path is not None
        assert block.span is not None
        with open_regular(self.path) as file:
            body = body_of(self.path, file, block.span)
        width, size = block.layout.width, block.layout.dtype.itemsize
        n = len(body) // (2 * np.dtype(np.int64).itemsize + width * size)  # a step, words, and a row each
        return np.frombuffer(body, block.layout.dtype, n * width, len(body) - n * width * size).reshape(
            n, width
        )

    def cut(self, step: int) -> None:
        """Forget the steps after this one."""
        forget(self.blocks, step)
        self.write("cut", {"step": step})

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

    def hold(self) -> None:
        """Lock the file and open it; nothing in it is changed before `begin`.

        Raises:
            RuntimeError: another run writes there. OSError: no such folder, no permission, no regular file.
            FileFormatError: another process has changed what this one wrote or read.
        """
        if self.path is None or self.failed or self.lock is not None:
            return
        self.lock = Lock("fit", f"the recording {self.path}", self.path)
        try:
            self.new = not os.path.exists(self.path)
            self.file = open_regular(self.path, "a+b", buffering=0)
            if self.last_span != NOWHERE:
                body_of(self.path, self.file, self.last_span)
                if os.fstat(self.file.fileno()).st_size != self.last_span.stop:
                    raise FileFormatError(
                        f"{self.path} was changed since this recording wrote to it; load it again"
                    )
        except BaseException:
            self.let_go()
            raise

    def begin(self) -> None:
        """Write after what is held to be whole in the file; what is left of another there is cut off."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._aside())  # of a process that was killed
            self.file.truncate(self.last_span.stop)
            self.begun = True

    def let_go(self) -> None:
        """Close the file and unlock it; one that was made for a run that did not begin is removed."""
        if self.file is not None:
            self.file.close()
            self.file = None
            if self.new and not self.begun and self._mine:
                os.unlink(self._target())
        if self.lock is not None:
            self.lock.release()
            self.lock = None
        self.begun = False

    @property
    def _mine(self) -> bool:
        """False in a process that was forked while the run went on: the file is its parent's."""
        return self.lock is not None and self.lock.mine

    def _target(self) -> str:
        assert self.lock is not None
        return self.lock.target

    def _aside(self) -> str:
        return companion(self._target(), "thinned")

    def write(self, kind: str, state: dict[str, Any]) -> None:
        """Put a frame into the file, if there is one, after the rows that belong before it."""
        self.flush()
        if self.file is not None:
            self._put(kind, state)

    def flush(self, wait: bool = False) -> None:
        """Write the rows that are only in memory; with `wait` only where it is time."""
        block = self.blocks[-1] if self.blocks else None
        if self.file is None or block is None or block.rows is None:
            return
        if wait and time.monotonic() - self.flushed < FLUSH_SECONDS:
            return
        self.flushed = time.monotonic()
        span = self._put("rows", _state_of(block))
        if span is not None:
            block.span, block.rows = span, None
            block.steps, block.words = block.steps[: block.n].copy(), block.words[: block.n].copy()

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        self.let_go()

    def _put(self, kind: str, state: dict[str, Any]) -> Span | None:
        """Append a frame; a full disk ends the recording, not the training."""
        if not self._mine:
            return None
        data, digest = frame(kind, state, self.last_span.digest)
        try:
            _write(self.file, data)
        except OSError as error:
            self._give_up(error)
            return None
        self.last_span = self.last_span.then(len(data), digest)
        return self.last_span

    def _give_up(self, error: Exception) -> None:
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
        old = {block.span: block for block in self.blocks}
        aside, kept, last = self._aside(), [], NOWHERE
        try:
            with open_regular(self.path) as source, open(aside, "wb", buffering=0) as file:
                for found in frames(self.path, source):
                    block, state = old.get(found.span), found.state
                    if found.kind == "rows":
                        block = None if block is None else self._thinned(block, every)
                        if block is None or not block.n:
                            continue
                        state = _state_of(block)
                    data, digest = frame(found.kind, state, last.digest)
                    _write(file, data)
                    last = last.then(len(data), digest)
                    if block is not None:
                        block.span, block.rows = last, None
                        kept.append(block)
                os.fsync(file.fileno())
            shutil.copymode(self.path, aside)
            os.replace(aside, self._target())
        except (OSError, FileFormatError) as error:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            self._give_up(error)
            return
        self.file.close()
        self.blocks, self._read = kept, None
        self.last_span = last
        self.file = open_regular(self.path, "a+b", buffering=0)


def _state_of(block: Block) -> dict[str, Any]:
    """What the frame of a block holds; its rows are the last array."""
    assert block.rows is not None
    n = block.n
    state = {"layout": block.layout.as_plain(), "steps": block.steps[:n], "words": block.words[:n]}
    return {**state, "rows": block.rows[:n]}


def _write(file: Any, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
