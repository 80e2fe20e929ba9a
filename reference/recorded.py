"""PyTorch's run, step by step, into the same recording as ours."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scratchnn.checkpoint import settings_of
from scratchnn.checks import Array
from scratchnn.history import History
from scratchnn.recording import Recording
from scratchnn.recording.layout import Key
from scratchnn.recording.leg import Leg, Place
from scratchnn.train import FitState
from scratchnn.train.regime import Regime
from scratchnn.train.source import at_the_door

if TYPE_CHECKING:
    from .training import Rehearsal

__all__ = ["TorchRecorder"]


class TorchRecorder:
    """Keeps what PyTorch's model and optimizer hold after each step asked for. A context, which closes it.

    Args:
        ours: the model, loss, optimizer and data that PyTorch's are twins of.
    """

    def __init__(
        self, recording: Recording, rehearsal: Rehearsal, ours: tuple[Any, ...], epochs: int
    ) -> None:
        model, loss_fn, optimizer, data = ours
        self.recording, self.rehearsal = recording, rehearsal
        self.names = [name for name, _ in model.named_parameters()]
        batches = at_the_door(data, loss_fn, rehearsal.dtype, "data")
        state = FitState(model, loss_fn, optimizer, History(), epochs)
        self.first = self.made = recording._made
        groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        place = Place(self.made, 0, [], copy.deepcopy(groups), [])
        self.leg = Leg(self.made, "torch", settings_of(state, Regime(), batches), epochs)
        tensors = self._tensors(gradients=False)
        try:
            found = recording._read(self.leg, tensors, goes_on=False)
            recording._start(self.leg, found, 0, 0, tensors, copy.deepcopy(model))
            recording._add_place(self.leg, place)
        except BaseException:
            recording._let_go()
            raise
        self.losses: list[torch.Tensor] = []

    def __enter__(self) -> TorchRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.recording._close()

    def after_step(self, loss: torch.Tensor) -> None:
        """A step is made."""
        self.made += 1
        self.losses.append(loss)
        if self.made % self.recording.every == 0:
            self._take(wanted=False)

    def end(self, batches: list[Array] | None) -> None:
        """The run is through. batches: the rows of each."""
        if self.recording._store.last != self.made:
            self._take(wanted=True)
        if self.losses:
            self.recording._add_losses(self.leg, torch.stack(self.losses).cpu().numpy())
        self.recording._add_rows(self.leg, batches)
        self.recording._end(self.leg)

    def _take(self, wanted: bool) -> None:
        numbers, words = np.array([self.made]), np.zeros(1, np.int64)
        self.recording._take(numbers, words, self._tensors(gradients=True), wanted)

    def _tensors(self, gradients: bool) -> dict[Key, Array]:
        theirs = dict(self.rehearsal.model.named_parameters())
        state = self.rehearsal.optimizer.state
        found: dict[Key, Array] = {("parameter", name, ""): _array(theirs[name]) for name in self.names}
        for name in self.names if gradients else ():
            gradient = theirs[name].grad
            if gradient is not None:
                found["gradient", name, ""] = _array(gradient)
        for name in self.names:
            for entry, value in state.get(theirs[name], {}).items():
                if value is not None:
                    found["state", name, entry] = _array(torch.as_tensor(value))
        return found


def _array(tensor: torch.Tensor) -> Array:
    """(1, *shape)."""
    return tensor.detach().cpu().numpy()[None]
