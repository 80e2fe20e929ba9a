"""The loop of the textbook, and what any engine answers to `fit`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from ..checks import Array, shown
from ..layers import Module
from ..losses import Loss
from ..optim import Optimizer
from ..random import default_generator
from .faults import Fault, first_fault, moved_fault, why_not_finite
from .modes import in_mode
from .regime import Regime
from .source import EVERY_EPOCH, Source

__all__ = ["Batches", "Block", "Engine", "Metrics", "Middle", "NumpyEngine", "Recorder", "evaluate"]

Batches: TypeAlias = "Iterable[tuple[Array, Array]]"
Metrics: TypeAlias = "dict[str, Callable[[Array, Array], float]]"


@dataclass
class Block:
    """What an engine did in one call: whole epochs, or epochs up to the step that diverged.

    Attributes:
        epoch_steps: steps in each epoch. losses: of every step.
        samples: rows in each step, as `losses`.
        metrics: {name: one value an epoch}.
        diverged: None, or the index of the step that met a number that is not finite: the last of `losses`,
            or the one after it. fault: that number.
    """

    losses: Array
    epoch_steps: list[int]
    samples: Array
    metrics: dict[str, list[float]] = field(default_factory=dict)
    diverged: int | None = None
    fault: Fault | None = None

    @property
    def undone(self) -> bool:
        """A step was taken back that was made before `diverged`."""
        return self.fault is not None and (self.fault.parameter is None or self.fault.before)


@dataclass(frozen=True)
class Middle:
    """Where a run begins that begins in the middle of an epoch.

    Attributes:
        losses: of the epoch's steps that are made already.
        words: drawn from the default generator since the epoch began.
    """

    losses: Array
    words: int


class Recorder(Protocol):
    """What an engine tells of a run that is recorded.

    Attributes:
        every: wanted is each step whose number is a multiple of this; it may grow from call to call.
        made: steps that a recording counts up to now.
    """

    made: int

    @property
    def every(self) -> int: ...

    def begin_block(self, skipped: int) -> None:
        """Epochs begin, and nothing is drawn for them yet; of the first so many steps were made before."""

    def after_step(self) -> None:
        """Model and optimizer hold what a step has left there."""

    def take(self, made: int, numbers: Array, tensors: dict[Any, Array], words: Array) -> None:
        """So many more steps are made, in one call, and those `numbers` recorded.

        Args:
            tensors: (n, *shape) each; by ("parameter", Parameter, ""), ("gradient", Parameter, "") and
                ("state", Parameter, name of the entry).
            words: (n,) drawn from the default generator since the block began.
        """

    def end_block(self, block: Block, skipped: int) -> None:
        """The block is made; where it diverged, the last step is undone."""

    def undo(self) -> None:
        """The last step is undone."""

    def end(self) -> None:
        """The run is through; model and optimizer hold its end."""


class Engine(Protocol):
    """One reading of the loop.

    Attributes:
        name, reason: what runs, and why; they may change from call to call.
        recorder: is told of the steps, if there is one. middle: where to begin; None at an epoch's start.
    """

    name: str
    reason: str
    compile_seconds: float
    recorder: Recorder | None
    middle: Middle | None

    def run(self, epochs: int) -> Block:
        """Train up to `epochs` epochs, at least one, and leave the result in model and optimizer.

        Where a number is not finite, it stops there and goes back to the last finite loss. What changed
        since the last call counts from its first epoch on.
        """

    def undo(self) -> None:
        """Put model and optimizer back to what they held when the last finite loss was computed."""


class NumpyEngine:
    """The loop of the textbook, one epoch a call.

    Args:
        batches: a Source, or anything else that gives (x, target).
    """

    name, reason = "numpy", ""
    compile_seconds = 0.0

    def __init__(
        self,
        model: Module,
        loss_fn: Loss,
        optimizer: Optimizer,
        batches: Batches,
        metrics: Metrics,
        regime: Regime | None = None,
    ) -> None:
        self.regime = regime or Regime()
        self.model, self.loss_fn, self.optimizer = model, loss_fn, optimizer
        self.batches, self.metrics = batches, metrics
        self.recorder: Recorder | None = None
        self.middle: Middle | None = None
        # To what model and optimizer held at the last finite loss.
        self.undo: Callable[[], None] = _nothing

    def run(self, epochs: int) -> Block:
        """One epoch, however many are asked for."""
        losses: list[Any] = []
        samples: list[int] = []
        measured: dict[str, list[float]] = {name: [] for name in self.metrics}
        recorder, middle, self.middle = self.recorder, self.middle, None
        skipped = 0 if middle is None else len(middle.losses)
        if recorder is not None:
            recorder.begin_block(skipped)
        fault = first_fault(self.model.parameters(), before=True)
        drawn = default_generator.drawn
        for x, target in self._batches() if fault is None else ():
            if middle is not None and len(losses) < skipped:
                samples.append(len(x))
                for values in measured.values():
                    values.append(math.nan)
                losses.append(middle.losses[len(losses)])
                if len(losses) == skipped:  # what the loader has drawn, it has drawn again
                    default_generator.skip(middle.words - (default_generator.drawn - drawn))
                continue
            self.optimizer.zero_grad()
            prediction = self.model(x)
            loss = self.loss_fn(prediction, target)
            samples.append(len(x))
            losses.append(loss)
            if not np.isfinite(loss):
                fault = Fault(float(loss), cause=why_not_finite(self.loss_fn, x, target))
                break
            for name, metric in self.metrics.items():
                measured[name].append(number_of(name, metric(prediction, target)))
            self.undo = _Held(self.optimizer).put_back
            self.model.backward(self.loss_fn.backward())
            self.regime.clip(self.optimizer)
            self.optimizer.step()
            fault = moved_fault(self.optimizer)
            if fault is not None:
                break
            if recorder is not None:
                recorder.after_step()
            self.regime.after_batch()
        weights = np.asarray(samples)
        if fault is not None:
            self.undo()
            at = len(losses) if fault.before else len(losses) - 1
            return Block(np.asarray(losses), [len(losses)], weights, {}, at, fault)
        if not losses:
            raise ValueError(f"fit got data without a single batch; {EVERY_EPOCH}")
        averages = {name: [float(np.average(values, weights=weights))] for name, values in measured.items()}
        return Block(np.asarray(losses), [len(losses)], weights, averages)

    def _batches(self) -> Batches:
        if isinstance(self.batches, Source):  # the model's dtype as it is now
            self.batches = self.batches.at(next(iter(self.model.parameters())).dtype)
        return self.batches


def _nothing() -> None:
    """No step is made yet."""


class _Held:
    """A copy of what an optimizer moves: parameters and its own state."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.data = [(p, p.data.copy()) for group in optimizer.param_groups for p in group["params"]]
        self.state = {
            p: {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in entries.items()}
            for p, entries in optimizer.state.items()
        }

    def put_back(self) -> None:
        for parameter, data in self.data:
            if parameter.data.shape == data.shape and parameter.data.flags.writeable:
                parameter.data[...] = data
            else:
                parameter.data = data.copy()
        self.optimizer.state.clear()
        self.optimizer.state.update(self.state)


def number_of(name: str, value: Any) -> float:
    """What a metric has returned, as a float."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"fit got {shown(value)} from the metric {name}; it needs one number, the mean over the rows"
        ) from None


def evaluate(
    model: Module,
    loss_fn: Loss,
    batches: Batches,
    metrics: Metrics,
) -> tuple[float, dict[str, float]]:
    """Loss and metrics over `batches` in evaluation mode: means over samples (a sum for "sum")."""
    losses, samples = [], []
    measured: dict[str, list[float]] = {name: [] for name in metrics}
    if isinstance(batches, Source):
        batches = batches.at(next(iter(model.parameters())).dtype)
    with in_mode(model, training=False):
        for x, target in batches:
            prediction = model(x)
            losses.append(float(loss_fn(prediction, target)))
            samples.append(len(x))
            for name, metric in metrics.items():
                measured[name].append(number_of(name, metric(prediction, target)))
    if not losses:
        raise ValueError(f"fit got validation without a single batch; {EVERY_EPOCH}")
    total = math.fsum(losses) if loss_fn.reduction == "sum" else float(np.average(losses, weights=samples))
    return total, {name: float(np.average(values, weights=samples)) for name, values in measured.items()}
