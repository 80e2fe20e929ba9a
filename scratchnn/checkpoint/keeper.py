"""What writes a run's checkpoints, and takes the run back to the last one."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .identity import differences, generators_of, refuse_strangers, start_of, told

if TYPE_CHECKING:
    from ..files.locks import Lock
    from ..train.fit import FitState
    from ..train.regime import Regime
    from .restore import Restored
    from .where import Checkpoint

__all__ = ["KIND", "Keeper"]

KIND = "checkpoint"
LAYOUT = 2  # of what is in it; the first had nothing that tells a run from another
NAMED = 4  # differences that an error lists
CURE = "Give another path, or delete the file to begin anew"


# By file: where the run began that this process kept there last, and where it has left everything.
_left: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}


class Keeper:
    """Writes one run's checkpoints, and takes the run back to the last one.

    Args:
        lock: of the file. batches, held_out: as `fit` has converted them. metrics: their names.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        lock: Lock,
        state: FitState,
        regime: Regime,
        callbacks: Sequence[Callable[[FitState], None]],
        batches: Any,
        held_out: Any,
        metrics: Sequence[str],
    ) -> None:
        self.checkpoint, self.lock, self.state, self.regime = checkpoint, lock, state, regime
        self.remembering: list[Any] = [
            c for c in callbacks if hasattr(c, "state_dict") and hasattr(c, "load_state_dict")
        ]
        self.generators = generators_of(batches, held_out)
        refuse_strangers(KIND, state)
        self.metrics, self.validated = metrics, held_out is not None
        self.run = told(state, regime, batches, held_out, metrics, self.remembering)
        self.start = start_of(*self._moved())
        self.architecture = _architecture(state.model)
        self.written_epoch, self.written_at = -1, -math.inf
        self.left_out: set[int] = set()  # callbacks whose state the file has no room for

    def read(self) -> Restored | None:
        """All that the file holds, checked; None where there is no file. Nothing is changed.

        Raises:
            FileFormatError: a damaged or forged file. ValueError: the file is of another run.
        """
        from ..files.atomic import remove_leftovers
        from ..files.state_file import read_state
        from .restore import fields_of, restored

        path = self.checkpoint.path
        remove_leftovers(self.checkpoint.place)
        if not os.path.exists(self.checkpoint.place):
            return None
        kept = read_state(KIND, self.checkpoint.place)
        if kept.get("layout") != LAYOUT:
            raise ValueError(
                f"fit got the checkpoint {path} of another version of scratchnn, which kept other things. "
                f"Its weights can still be loaded, with snn.load(path, model=model). {CURE}"
            )
        kept = fields_of(path, kept)
        found = list(differences(self.run, kept["run"]))
        if not found and not self._begins_there(kept):
            found = list(differences(self.start, kept["start"]))
        if found:
            more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
            raise ValueError(
                f"fit got the checkpoint {path} of another run: {'; '.join(found[:NAMED])}{more}. {CURE}"
            )
        if kept["epoch"] > self.state.epochs:
            raise ValueError(
                f"fit got epochs={self.state.epochs} and the checkpoint {path}, which has trained "
                f"{kept['epoch']} already; ask for as many or more. {CURE}"
            )
        found_state = restored(self, kept)
        self.start = kept["start"]
        return found_state

    def _begins_there(self, kept: dict[str, Any]) -> bool:
        """Model, optimizer and generators are where the file's run began.

        In one process they may also be where the file is, or where that run has left them: interrupted, or at
        its end, with the best weights put back. Then it goes on from the file as well.
        """
        begun, left = _left.get(self.lock.target, (None, None))
        if begun == kept["start"] and left == self.start:
            return True
        return self.start in (kept["start"], start_of(*_moved_in(kept)))

    def leave(self) -> None:
        """Remember where the run leaves everything, for one that goes on in this process."""
        if self.lock.mine:
            _left[self.lock.target] = self.start, start_of(*self._moved())

    def begin(self, found: Restored | None, tell: Callable[[str], None]) -> None:
        """Go on where the file is; where there is none, write the first.

        Raises:
            OSError: the first file cannot be written.
        """
        if found is None:
            self._write()
            return
        found.commit(self)
        state, path = self.state, self.checkpoint.path
        state.history.resumed = state.epoch or False
        self.written_epoch, self.written_at = state.epoch, time.monotonic()
        done = state.stop or state.epoch == state.epochs
        tell(f"{path} holds this run, finished" if done else f"going on after epoch {state.epoch} of {path}")

    def epochs_ahead(self) -> int:
        """Epochs until the next file is due by their number."""
        ahead = self.checkpoint.every_epochs - (self.state.epoch - self.written_epoch)
        return max(1, int(min(ahead, 2**31)))

    def after_epochs(self) -> None:
        """Write, if it is time; the end of the run is left to `finish`."""
        if self.state.stop or self.state.epoch >= self.state.epochs:
            return
        passed = self.state.epoch - self.written_epoch >= self.checkpoint.every_epochs
        if passed or time.monotonic() - self.written_at >= self.checkpoint.every_seconds:
            self._try_to_write()

    def finish(self) -> None:
        """Write the end of the run, if it is not written yet."""
        if self.written_epoch != self.state.epoch:
            self._try_to_write()

    # ---- to the disk ------------------------------------------------------------------------------

    def _try_to_write(self) -> None:
        """Training goes on without a disk, but says so."""
        if not all(np.isfinite(p.data).all() for p in self.state.model.parameters()):
            return  # the run is about to end in a DivergenceError; the file is of before that
        try:
            self._write()
        except OSError as error:
            self.written_at = time.monotonic()  # the next attempt is when the next file is due
            _warn(
                f"fit could not write its checkpoint after epoch {self.state.epoch}: {error}. "
                f"The file {self.checkpoint.path} is whole and still that of epoch {self.written_epoch}. "
                "Training goes on, and the next checkpoint will be tried; make room on the disk."
            )

    def _write(self) -> None:
        from ..files.state_file import DescriptionTooLong, write_state

        if not self.lock.mine:
            return  # a forked process: the run is its parent's
        state, history = self.state, self.state.history
        model, optimizer, schedules, generators = self._moved()
        callbacks = [{"state": callback.state_dict()} for callback in self.remembering]
        kept = {
            "layout": LAYOUT,
            "run": self.run,
            "start": self.start,
            "architecture": self.architecture,
            "epoch": state.epoch,
            "stop": state.stop,
            "model": model,
            "optimizer": optimizer,
            "schedules": schedules,
            "callbacks": callbacks,
            "generators": generators,
            "history": {
                "train_loss": np.array(history.train_loss),
                "val_loss": np.array(history.val_loss),
                "metrics": {name: np.array(values) for name, values in history.metrics.items()},
                "step_losses": history.step_losses,
                "seconds": history.seconds,
            },
        }
        while True:
            try:
                write_state("fit", KIND, self.checkpoint.place, kept)
                break
            except DescriptionTooLong as error:
                self._leave_out(callbacks, error, too_long=True)
            except TypeError as error:
                if self.written_epoch < 0:
                    raise  # said before anything is trained
                self._leave_out(callbacks, error, too_long=False)
        self.written_epoch, self.written_at = state.epoch, time.monotonic()

    def _leave_out(self, callbacks: list[dict[str, Any]], error: Exception, too_long: bool) -> None:
        """Take the state that the file cannot hold out of those of the callbacks, and say so, once.

        Raises:
            Exception: `error`, where none of them is the cause.
        """
        from ..files.model_file import MAX_HEADER
        from ..files.state_file import text_size

        sizes: dict[int, float] = {}
        for i, entry in enumerate(callbacks):
            if "state" in entry:
                try:
                    sizes[i] = text_size("fit", f"{KIND}/callbacks/{i}", entry["state"])
                except TypeError:
                    sizes[i] = math.inf
        worst = max(sizes, key=lambda i: sizes[i], default=-1)
        if worst < 0 or (math.isfinite(sizes[worst]) and not too_long):
            raise error
        name = type(self.remembering[worst]).__name__
        why = str(error)
        if math.isfinite(sizes[worst]):
            why = (
                f"its description takes {sizes[worst]:,} bytes, and that of a whole checkpoint at most "
                f"{MAX_HEADER:,}: keep numbers in arrays, which have room"
            )
        callbacks[worst] = {"left out": name}
        if worst not in self.left_out:
            self.left_out.add(worst)
            _warn(
                f"fit leaves the state of the callback {name} out of its checkpoint {self.checkpoint.path}: "
                f"{why}. Training goes on; where it is gone on with from that file, {name} begins anew."
            )

    def _moved(self) -> tuple[Any, Any, list[tuple[str, Any]], list[Any]]:
        """What the steps of a run move, as it is now."""
        return (
            self.state.model.state_dict(),
            self.state.optimizer.state_dict(),
            [(type(one).__name__, one.state_dict()) for one in self.regime.schedules()],
            [generator.get_state() for generator in self.generators],
        )


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=6)


def _moved_in(kept: dict[str, Any]) -> tuple[Any, Any, list[tuple[str, Any]], list[Any]]:
    return kept["model"], kept["optimizer"], kept["schedules"], kept["generators"]


def _architecture(model: Any) -> str | None:
    """What `snn.load` builds the model from, as JSON; None for a class that a file has no words for."""
    from ..files.architecture import read, to_json

    try:
        return json.dumps(to_json(read(model, "Checkpoint", "")))
    except (TypeError, ValueError):
        return None
