"""Callbacks for `fit`: stop when nothing improves any more, keep the best model on disk.

    stopping = snn.EarlyStopping(patience=20)
    history = snn.fit(..., validation=held_out, callbacks=[stopping])
    stopping.best_epoch

A callback is a function that `fit` calls with its FitState after every epoch. Where it has a method
`finish`, that is called at the end of the run, after the last checkpoint. One that remembers something
has `state_dict` and `load_state_dict` besides, so that a checkpoint can hold it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .checks import Array, positive_int
from .train.regime import measured

if TYPE_CHECKING:
    from .train import FitState

__all__ = ["EarlyStopping", "ModelCheckpoint"]


class _Watch:
    """The best value so far of one measure.

    Attributes:
        best: that value; the worst possible before the first epoch. best_epoch: its epoch, from 1; 0 before.
    """

    def __init__(self, monitor: str | None, mode: str | None, min_delta: float) -> None:
        name = type(self).__name__
        if mode is None and monitor is not None and not monitor.endswith(("loss", "accuracy")):
            raise ValueError(f"{name} got monitor={monitor!r}; say with mode='min' or 'max' which is better")
        if mode not in (None, "min", "max"):
            raise ValueError(f"{name} got mode={mode!r}; it is 'min' or 'max'")
        if not min_delta >= 0:
            raise ValueError(f"{name} got min_delta={min_delta}; it needs 0 or more")
        self.monitor, self.min_delta = monitor, float(min_delta)
        self.mode = mode or ("max" if monitor is not None and monitor.endswith("accuracy") else "min")
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = 0

    def improved(self, state: FitState) -> bool:
        """Whether this epoch is the best so far, by more than `min_delta`; NaN never is."""
        value = measured(state.history, self.monitor, type(self).__name__)
        gain = self.best - value if self.mode == "min" else value - self.best
        if not gain > self.min_delta:
            return False
        self.best, self.best_epoch = value, state.epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        """What it remembers."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`."""
        self.best, self.best_epoch = float(state_dict["best"]), int(state_dict["best_epoch"])


class EarlyStopping(_Watch):
    """Stop when a measure has not improved for `patience` epochs.

    Args:
        monitor: "train_loss", "val_loss" or a metric such as "val_accuracy"; None is the validation's
            loss where there is one, else the training's.
        patience: epochs in a row without improvement, at least 1.
        min_delta: an improvement by no more than this is none.
        mode: "min" or "max", which is better; None: "max" for an accuracy, "min" for a loss.
        restore_best: leave the parameters of the best epoch in the model, whether the run is stopped
            here or comes to its end. The optimizer stays where it is.
    Attributes:
        best, best_epoch: the best value, and its epoch, counted from 1.
        stopped_epoch: the epoch after which it stopped the run; 0 where it did not.
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = positive_int("EarlyStopping", "patience", patience)
        self.restore_best = bool(restore_best)
        self.stopped_epoch = self.bad_epochs = 0
        self.best_state: dict[str, Array] | None = None

    def __call__(self, state: FitState) -> None:
        """Look at the epoch just finished."""
        if self.improved(state):
            self.bad_epochs = 0
            if self.restore_best:
                self.best_state = {name: v.copy() for name, v in state.model.state_dict().items()}
        else:
            self.bad_epochs += 1
            if self.bad_epochs >= self.patience:
                state.stop, self.stopped_epoch = True, state.epoch

    def finish(self, state: FitState) -> None:
        """Put the best parameters back, at the end of the run."""
        if self.best_state is not None:
            state.model.load_state_dict(self.best_state)

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, the best parameters among it."""
        own = {"bad_epochs": self.bad_epochs, "stopped_epoch": self.stopped_epoch}
        return {**super().state_dict(), **own, "best_state": self.best_state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`."""
        super().load_state_dict(state_dict)
        self.bad_epochs = int(state_dict["bad_epochs"])
        self.stopped_epoch = int(state_dict["stopped_epoch"])
        self.best_state = state_dict["best_state"]


class ModelCheckpoint(_Watch):
    """Save the model with `snn.save` whenever a measure improves, or after every epoch.

    It keeps a model to use. What keeps a run to go on with is `fit(..., checkpoint=path)`.

    Args:
        path: of the file; "{epoch}" in it becomes the epoch's number, so that files do not replace
            each other.
        monitor, mode, min_delta: as EarlyStopping.
        save_best_only: False saves after every epoch.
    Attributes:
        best, best_epoch: as EarlyStopping. best_path: where the best model is, or None.
    Raises:
        OSError, TypeError: as `snn.save`, from within `fit`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str | None = None,
        mode: str | None = None,
        min_delta: float = 0.0,
        save_best_only: bool = True,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.path, self.save_best_only = os.fspath(path), bool(save_best_only)
        self.best_path: str | None = None

    def __call__(self, state: FitState) -> None:
        """Save the model, if it is time."""
        from .files import save

        improved = self.improved(state)
        if self.save_best_only and not improved:
            return
        path = self.path.replace("{epoch}", str(state.epoch))
        save(state.model, path)
        if improved:
            self.best_path = path

    def state_dict(self) -> dict[str, Any]:
        """What it remembers."""
        return {**super().state_dict(), "best_path": self.best_path}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`."""
        super().load_state_dict(state_dict)
        self.best_path = state_dict["best_path"]
