"""What stands between an engine and a recording while a run goes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoint import generators_of
from ..checks import Array
from ..random import Generator, default_generator
from .layout import Key, tensors_of
from .leg import FAR, Leg, Mark, Place

if TYPE_CHECKING:
    from ..train.fit import FitState
    from ..train.numpy_engine import Block
    from ..train.regime import Regime
    from .tape import Tape

__all__ = ["Recorder"]


class Recorder:
    """See `train.numpy_engine.Recorder`; as a context, it closes the recording's file in the end."""

    def __init__(
        self,
        recording: Tape,
        leg: Leg,
        made: int,
        state: FitState,
        regime: Regime,
        sources: tuple[Any, Any],
    ) -> None:
        self.recording, self.leg, self.state, self.regime, self.made = recording, leg, state, regime, made
        self.streams = [_Stream(generator) for generator in generators_of(*sources)]
        self.named = list(state.model.named_parameters())
        self.drawn = default_generator.drawn

    @property
    def every(self) -> int:
        """Of the recording, as it is now."""
        return self.recording.every

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.recording._close()

    def begin_block(self, skipped: int) -> None:
        """Note where generators, hyperparameters and schedules stand."""
        groups = self.state.optimizer.param_groups
        place = Place(
            self.made - skipped,
            self.state.epoch,
            [stream.mark() for stream in self.streams],
            [copy.deepcopy({k: v for k, v in group.items() if k != "params"}) for group in groups],
            [schedule.state_dict() for schedule in self.regime.schedules()],
            skipped,
        )
        self.drawn = default_generator.drawn
        self.recording._add_place(self.leg, place)

    def after_step(self) -> None:
        """Keep the step just made, if it is wanted."""
        self.made += 1
        if self.made % self.every == 0:
            self._take_now(wanted=False)

    def take(self, made: int, numbers: Array, tensors: dict[Any, Array], words: Array) -> None:
        """Keep what the kernel kept."""
        self.made += made
        if not len(numbers):
            return
        ordered: dict[Key, Array] = {}
        for name, p in self.named:
            still = np.broadcast_to(p.data, (len(numbers), *p.shape))  # the optimizer has it not
            ordered["parameter", name, ""] = tensors.get(("parameter", p, ""), still)
        for kind in ("gradient", "state"):
            for name, p in self.named:
                for (of, parameter, entry), value in tensors.items():
                    if of == kind and parameter is p:
                        ordered[kind, name, entry] = value
        self.recording._take(numbers, words, ordered)

    def end_block(self, block: Block, skipped: int) -> None:
        """Keep the losses of the block, the one that diverged included."""
        self.recording._add_losses(self.leg, block.losses[skipped:])
        if block.undone:
            self.undo()

    def undo(self) -> None:
        """Forget the last step."""
        if self.made > self.leg.first:
            self.made -= 1
            self.recording._undo(self.made)

    def end(self) -> None:
        """Keep the end, whatever its number, and how far the run came."""
        if self.recording._store.last != self.made:
            self._take_now(wanted=True)
        if self.state.stop:
            self.leg.epochs = self.state.epoch
        self.recording._end(self.leg)

    def _take_now(self, wanted: bool) -> None:
        words = np.array([default_generator.drawn - self.drawn])
        tensors = tensors_of(self.named, self.state.optimizer, gradients=True)
        self.recording._take(np.array([self.made]), words, tensors, wanted)


class _Stream:
    """A generator of the run, and a copy that draws as many words: while they agree, a number tells all."""

    def __init__(self, generator: Generator) -> None:
        self.generator, self.copy = generator, Generator()
        self.base: Array | None = None
        self.drawn = 0  # when the base was taken

    def mark(self) -> Mark:
        """Where the generator stands."""
        state, words = self.generator.get_state(), self.generator.drawn - self.drawn
        if self.base is not None and words < FAR:
            self.copy.skip(words - self.copy.drawn)
            if self.copy.get_state().tobytes() == state.tobytes():
                return Mark(self.base, words)
        self.base, self.drawn = state, self.generator.drawn
        self.copy = Generator().set_state(state)
        return Mark(state, 0)
