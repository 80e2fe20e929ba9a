"""Runs that survive: what `fit` keeps on disk, so that a killed run goes on where it was.

    history = snn.fit(model, loss_fn, optimizer, loader, 10_000, checkpoint="run.safetensors")

The same program, started again, finds the file and goes on; it ends with the parameters and the history
of a run that was never killed. One file holds parameters, the optimizer's state, schedules, callbacks that
remember something, random generators, the history, and the position.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import positive_int
from .data import DataLoader
from .history import History
from .random import Generator, default_generator
from .train.regime import Regime

if TYPE_CHECKING:
    from .train.fit import FitState

__all__ = ["Checkpoint", "Keeper", "generators_of", "refuse_strangers"]

KIND = "checkpoint"
SECONDS = 30.0


class Checkpoint:
    """Where `fit` keeps its run, and how often; `fit(..., checkpoint=path)` is `Checkpoint(path)`.

    Args:
        path: of the file. The folder must be there.
        every_epochs: write after so many epochs.
        every_seconds: write after the first epoch that ends so long after the last time (in a compiled run:
            the first quarter of a second). With both, whichever comes first; with neither, 30 seconds.
            The end of the run is always written.
    Raises:
        ValueError: numbers that are not positive.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every_epochs: int | None = None,
        every_seconds: float | None = None,
    ) -> None:
        self.path = os.fspath(path)
        if every_epochs is not None:
            positive_int("Checkpoint", "every_epochs", every_epochs)
        if every_seconds is not None and not every_seconds >= 0:
            raise ValueError(f"Checkpoint got every_seconds={every_seconds}; it needs 0 or more")
        self.every_epochs = math.inf if every_epochs is None else every_epochs
        if every_seconds is None:
            every_seconds = SECONDS if every_epochs is None else math.inf
        self.every_seconds = every_seconds

    def __repr__(self) -> str:
        return (
            f"Checkpoint({self.path!r}, every_epochs={self.every_epochs}, every_seconds={self.every_seconds})"
        )


def generators_of(batches: Any, held_out: Any) -> list[Generator]:
    """What a run draws from: the default generator, and those of its loaders."""
    loaders = [source for source in (batches, held_out) if isinstance(source, DataLoader)]
    return [default_generator, *(loader.generator for loader in loaders if loader.generator is not None)]


def refuse_strangers(what: str, state: FitState) -> None:
    """Raise ValueError where the optimizer moves parameters that the model has not."""
    own = {id(p) for p in state.model.parameters()}
    if any(id(p) not in own for group in state.optimizer.param_groups for p in group["params"]):
        raise ValueError(
            f"fit got a {what} and an optimizer with parameters that are not the model's; "
            "they would not be kept"
        )


class Keeper:
    """Writes one run's checkpoints, and takes the run back to the last one.

    Args:
        batches, held_out: as `fit` has converted them.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        state: FitState,
        regime: Regime,
        callbacks: Sequence[Callable[[FitState], None]],
        batches: Any,
        held_out: Any,
    ) -> None:
        self.checkpoint, self.state, self.regime = checkpoint, state, regime
        self.remembering: list[Any] = [
            c for c in callbacks if hasattr(c, "state_dict") and hasattr(c, "load_state_dict")
        ]
        self.generators = generators_of(batches, held_out)
        refuse_strangers("checkpoint", state)
        self.run = self._description(batches)
        self.written_epoch, self.written_at = -1, -math.inf

    def begin(self) -> None:
        """Go on where the file is, if there is one; otherwise write the first.

        Raises:
            FileFormatError: a damaged file. ValueError: the file is of another run.
            OSError: the first file cannot be written.
        """
        from .files.atomic import remove_leftovers
        from .files.state_file import read_state

        remove_leftovers(self.checkpoint.path)
        if os.path.exists(self.checkpoint.path):
            self._restore(read_state(KIND, self.checkpoint.path))
            self.written_epoch, self.written_at = self.state.epoch, time.monotonic()
        else:
            self._write()

    def epochs_ahead(self) -> int:
        """Epochs until the next file is due by their number."""
        ahead = self.checkpoint.every_epochs - (self.state.epoch - self.written_epoch)
        return max(1, int(min(ahead, 2**31)))

    def after_epochs(self) -> None:
        """Write, if it is time."""
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
        try:
            self._write()
        except OSError as error:
            self.written_at = time.monotonic()  # the next attempt is when the next file is due
            warnings.warn(
                f"fit could not write its checkpoint after epoch {self.state.epoch}: {error}. "
                f"The file {self.checkpoint.path} is whole and still that of epoch {self.written_epoch}. "
                "Training goes on, and the next checkpoint will be tried; make room on the disk.",
                RuntimeWarning,
                stacklevel=4,
            )

    def _write(self) -> None:
        from .files.state_file import write_state

        state = self.state
        history = state.history
        kept = {
            "run": self.run,
            "epoch": state.epoch,
            "stop": state.stop,
            "model": state.model.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "schedules": [schedule.state_dict() for schedule in self.regime.schedules()],
            "callbacks": [callback.state_dict() for callback in self.remembering],
            "generators": [generator.get_state() for generator in self.generators],
            "history": {
                "train_loss": np.array(history.train_loss),
                "val_loss": np.array(history.val_loss),
                "metrics": {name: np.array(values) for name, values in history.metrics.items()},
                "step_losses": history.step_losses,
                "seconds": history.seconds,
            },
        }
        write_state("fit", KIND, self.checkpoint.path, kept)
        self.written_epoch, self.written_at = state.epoch, time.monotonic()

    # ---- and back ---------------------------------------------------------------------------------

    def _restore(self, kept: dict[str, Any]) -> None:
        state = self.state
        for name, ours in self.run.items():
            if kept["run"].get(name) != ours:
                raise ValueError(
                    f"fit got the checkpoint {self.checkpoint.path} of another run: "
                    f"its {name} is {kept['run'].get(name)}, here {ours}. "
                    "Delete the file to begin anew, or give another path"
                )
        state.model.load_state_dict(kept["model"])
        state.optimizer.load_state_dict(kept["optimizer"])
        for schedule, saved in zip(self.regime.schedules(), kept["schedules"], strict=True):
            schedule.load_state_dict(saved)
        for callback, saved in zip(self.remembering, kept["callbacks"], strict=True):
            callback.load_state_dict(saved)
        for generator, saved in zip(self.generators, kept["generators"], strict=True):
            generator.set_state(saved)
        history: History = state.history
        saved = kept["history"]
        history.train_loss = saved["train_loss"].tolist()
        history.val_loss = saved["val_loss"].tolist()
        history.metrics = {name: values.tolist() for name, values in saved["metrics"].items()}
        if saved["step_losses"].size:
            history.add_steps(saved["step_losses"])
        history.seconds = saved["seconds"]
        state.epoch, state.stop = kept["epoch"], kept["stop"]

    def _description(self, batches: Any) -> dict[str, Any]:
        """What must be the same when the run goes on, as plain values."""
        state = self.state
        data: Any = "batches of its own"
        if isinstance(batches, DataLoader):
            shapes = [list(array.shape) for array in batches.dataset.tensors]
            data = [*shapes, batches.batch_size, batches.shuffle, batches.drop_last]
        elif isinstance(batches, list):
            data = [list(array.shape) for array in batches[0]]
        return {
            "model": [[n, v.dtype.name, list(v.shape)] for n, v in state.model.state_dict().items()],
            "loss": repr(state.loss_fn),
            "optimizer": type(state.optimizer).__name__,
            "groups": [len(group["params"]) for group in state.optimizer.param_groups],
            "data": data,
            "engine": state.history.engine,
            "scheduler": [type(schedule).__name__ for schedule in self.regime.schedules()],
            "callbacks": [type(callback).__name__ for callback in self.remembering],
            "generators": len(self.generators),
            "clip_grad_norm": self.regime.max_norm,
            "clip_grad_value": self.regime.max_value,
        }
