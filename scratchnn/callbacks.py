"""Callbacks for `fit`: stop when nothing improves any more, keep the best model on disk.

    stopping = snn.EarlyStopping(patience=20)
    history = snn.fit(..., validation=held_out, callbacks=[stopping])
    stopping.best_epoch

A callback is a function that `fit` calls with its FitState after every epoch. Where it has a method
`finish`, that is called at the end of the run, after the last checkpoint. One that remembers something
has `state_dict` and `load_state_dict` besides, so that a checkpoint can hold it.

Those of this module may be used for one run after another: each begins fresh. Only what `load_state_dict` has
just put into them is continued.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import Array, as_choice, as_flag, as_mapping, as_number, as_path, positive_int, shown
from .checks.paths import from_here
from .forks import LOADING
from .train.regime import check_measured, measured

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
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"{name} got monitor={monitor!r}; it needs a name such as 'val_loss', or None")
        if mode is None and monitor is not None and not monitor.endswith(("loss", "accuracy")):
            raise ValueError(f"{name} got monitor={monitor!r}; say with mode='min' or 'max' which is better")
        if mode is not None:
            as_choice(name, "mode", mode, ("min", "max"))
        self.monitor, self.min_delta = monitor, as_number(name, "min_delta", min_delta, least=0)
        self.mode = mode or ("max" if monitor is not None and monitor.endswith("accuracy") else "min")
        self._run: object = None  # the run whose epochs it has seen; None: nothing yet, or what was loaded
        self._forget()

    def _forget(self) -> None:
        """Be as new."""
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = 0

    def _check_run(self, state: FitState, measures: Collection[str]) -> None:
        """Raise where it cannot serve the run to come, which will measure `measures`."""
        check_measured(self.monitor, measures, type(self).__name__)

    def _begin(self, state: FitState) -> None:
        """Forget another run's epochs; `fit` calls it at the start."""
        if not hasattr(state, "history"):
            raise TypeError(f"{type(self).__name__} got state={shown(state)}; it needs the FitState of a run")
        if self._run is not None and self._run is not state.history._run:
            self._forget()
        self._run = state.history._run

    def improved(self, state: FitState) -> bool:
        """Whether this epoch is the best so far, by more than `min_delta`; NaN never is."""
        self._begin(state)
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
        """Continue from a `state_dict()` in the next run.

        Raises:
            TypeError, ValueError: not what `state_dict` returns; nothing is loaded.
        """
        vars(self).update(self._read(state_dict))
        self._run = None

    def _read(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that a `state_dict()` stands for, checked."""
        name = type(self).__name__
        given = as_mapping(name, "state_dict", state_dict, "what state_dict() returns")
        missing = [key for key in self.state_dict() if key not in given]
        if missing:
            raise ValueError(f"{name} got a state_dict without {', '.join(missing)}; is it that of a {name}?")
        best_epoch = positive_int(name, "best_epoch", given["best_epoch"], minimum=0)
        return {"best": as_number(name, "best", given["best"]), "best_epoch": best_epoch}


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
        self.restore_best = as_flag("EarlyStopping", "restore_best", restore_best)

    def _forget(self) -> None:
        super()._forget()
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
        self._begin(state)
        if self.best_state is not None:
            state.model.load_state_dict(self.best_state)

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, the best parameters among it."""
        own = {"bad_epochs": self.bad_epochs, "stopped_epoch": self.stopped_epoch}
        return {**super().state_dict(), **own, "best_state": self.best_state}

    def _read(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        found = super()._read(state_dict)
        for name in ("bad_epochs", "stopped_epoch"):
            found[name] = positive_int("EarlyStopping", name, state_dict[name], minimum=0)
        best = state_dict["best_state"]
        if best is not None:
            best = as_mapping("EarlyStopping", "best_state", best, "{name: array}, or None")
            best = {name: np.array(value) for name, value in best.items()}
        return {**found, "best_state": best}


class ModelCheckpoint(_Watch):
    """Save the model with `snn.save` whenever a measure improves, or after every epoch.

    It keeps a model to use. What keeps a run to go on with is `fit(..., checkpoint=path)`.

    Args:
        path: of the file; "{epoch}" in it becomes the epoch's number, so that files do not replace
            each other. The folder must be there; a relative path means the folder the program is in now.
        monitor, mode, min_delta: as EarlyStopping.
        save_best_only: False saves after every epoch.
    Attributes:
        best, best_epoch: as EarlyStopping. best_path: where the best model is, or None.
    Raises:
        OSError, TypeError: as `snn.save`, from `fit`, before it changes anything where that can be known.
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
        # Found again wherever the program changes to.
        self.path = from_here(as_path("ModelCheckpoint", "path", path))
        self.save_best_only = as_flag("ModelCheckpoint", "save_best_only", save_best_only)

    def _forget(self) -> None:
        super()._forget()
        self.best_path: str | None = None

    def _check_run(self, state: FitState, measures: Collection[str]) -> None:
        with LOADING:
            from .files.model_file import check_save

        super()._check_run(state, measures)
        check_save(state.model, self._path_of(1))

    def _path_of(self, epoch: int) -> str:
        return self.path.replace("{epoch}", str(epoch))

    def __call__(self, state: FitState) -> None:
        """Save the model, if it is time."""
        from .files import save

        improved = self.improved(state)
        if self.save_best_only and not improved:
            return
        path = self._path_of(state.epoch)
        save(state.model, path)
        if improved:
            self.best_path = path

    def state_dict(self) -> dict[str, Any]:
        """What it remembers."""
        return {**super().state_dict(), "best_path": self.best_path}

    def _read(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        found = super()._read(state_dict)
        path = state_dict["best_path"]
        if path is not None:
            path = as_path("ModelCheckpoint", "best_path", path)
        return {**found, "best_path": path}
