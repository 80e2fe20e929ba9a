"""What a run keeps on disk: locked, read and checked as a whole, and only then gone on with, or begun."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ..files.locks import Lock, refuse_shared
from .keeper import Keeper
from .where import Checkpoint

if TYPE_CHECKING:
    from ..recording import Recording
    from ..recording.recorder import Recorder
    from ..train.fit import FitState
    from ..train.regime import Regime

__all__ = ["on_disk"]


@contextmanager
def on_disk(
    checkpoint: str | os.PathLike[str] | Checkpoint | None,
    recording: Recording | None,
    callbacks: Sequence[Any],
    state: FitState,
    regime: Regime,
    batches: Any,
    held_out: Any,
    metrics: dict[str, Any],
    tell: Callable[[str], None],
) -> Iterator[tuple[Keeper | None, Recorder | None]]:
    """The keeper of a run's checkpoint and what records it; inside, no other run writes to their files.

    A checkpoint that is there is gone on from. Whatever is refused is refused before model, optimizer,
    generators, callbacks or any file are changed.
    """
    where = checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    refuse_shared("fit", _uses(where, recording, callbacks))
    with ExitStack() as stack:
        keeper, found = None, None
        if where is not None:
            lock = stack.enter_context(Lock("fit", f"the checkpoint {where.path}", where.place))
            keeper = Keeper(where, lock, state, regime, callbacks, batches, held_out, list(metrics))
            found = keeper.read()
        begin = None
        if recording is not None:
            stack.callback(recording._let_go)
            steps = 0 if found is None else len(found.history.step_losses)
            begin = recording._begin(state, regime, batches, held_out, metrics, steps)
        if keeper is not None:
            keeper.begin(found, tell)
            stack.callback(keeper.leave)
        yield keeper, None if begin is None else stack.enter_context(begin())


def _uses(
    where: Checkpoint | None, recording: Recording | None, callbacks: Sequence[Any]
) -> list[tuple[str, str]]:
    """(what for, absolute path) of all files that the run will write."""
    from ..callbacks import ModelCheckpoint

    found = [] if where is None else [("the checkpoint", where.place)]
    if recording is not None and recording._store.path is not None:
        found.append(("Recording", recording._store.path))
    return found + [
        ("ModelCheckpoint", callback.path) for callback in callbacks if isinstance(callback, ModelCheckpoint)
    ]
