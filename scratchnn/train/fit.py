"""fit: the training loop, once, for every engine.

    for x, target in data:
        optimizer.zero_grad()
        loss = loss_fn(model(x), target)
        model.backward(loss_fn.backward())
        optimizer.step()

Around that: data converted and checked once at the door, the losses recorded, a loss that stops
being a number stops the run, and a progress bar where there is somebody to see it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from ..checks import as_flag
from ..forks import LOADING
from ..history import History
from ..layers import Module
from ..losses import Loss
from ..lr_scheduler import Schedule
from ..optim import Optimizer
from .claims import claimed, parts
from .door import Metric, check_arguments, measures_of, named_metrics, probe, refuse_no_number
from .faults import Fault, first_fault
from .modes import in_mode
from .numpy_engine import Batches, Block, Engine, Metrics, NumpyEngine, evaluate
from .progress import notice, progress_bar
from .regime import Regime, listed, regime_of
from .source import at_the_door

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint
    from ..checkpoint.keeper import Keeper
    from ..recording import Recording

__all__ = ["Callback", "DivergenceError", "FitState", "fit", "run_epochs"]

Callback: TypeAlias = "Callable[[FitState], None]"


class DivergenceError(FloatingPointError, ValueError):
    """The loss or a parameter became NaN or infinite. (A ValueError too, as scikit-learn raises.)

    The model and the optimizer hold what they held when the last finite loss was computed.

    Attributes:
        epoch, step: where, both counted from 1, the step within its epoch.
        history: the record of the run so far.
    """

    def __init__(self, message: str, epoch: int, step: int, history: History) -> None:
        super().__init__(message)
        self.epoch, self.step, self.history = epoch, step, history

    def __reduce__(self) -> Any:
        # By all arguments: a search that trains in other processes gets its errors as pickles.
        return type(self), (*self.args, self.epoch, self.step, self.history)


@dataclass
class FitState:
    """What a callback sees after each epoch. Setting `stop` ends the run after this epoch.

    Attributes:
        epoch: the epoch just finished, counted from 1. epochs: how many were asked for.
    """

    model: Module
    loss_fn: Loss
    optimizer: Optimizer
    history: History
    epochs: int
    epoch: int = 0
    stop: bool = False


@runtime_checkable
class Watching(Protocol):
    """A callback that looks at a run before it begins."""

    def _check_run(self, state: FitState, measures: Collection[str]) -> None:
        """Raise where it cannot serve the run, which will measure `measures`; change nothing."""

    def _begin(self, state: FitState) -> None:
        """Forget what it remembers of other runs."""


def fit(
    model: Module,
    loss_fn: Loss,
    optimizer: Optimizer,
    data: Any,
    epochs: int,
    *,
    validation: Any = None,
    metrics: Sequence[Metric] = (),
    engine: str = "auto",
    callbacks: Sequence[Callback | Recording] = (),
    progress: bool = True,
    scheduler: Schedule | Sequence[Schedule] | None = None,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
) -> History:
    """Train `model` for `epochs` epochs; every engine gives the same run.

    A run is what the loop by hand would do. What callbacks or anyone change between two epochs (attributes
    of layers, loss, loader and dataset, modes, hooks, weights, rates, labels and data in place, a layer
    replaced) counts from the next epoch on. The compiled engine lowers again what has changed, and leaves
    epochs that it has no words for to NumPy; `History.engine` and `History.reason` then say so.

    Args:
        model: in training mode while it trains; afterwards every module in the mode it was in. Until the
            end nobody else may train it, in a callback or another thread; the same goes for the optimizer,
            and for schedules and callbacks that remember something.
        loss_fn: with reduction "mean" or "sum".
        optimizer: over the model's parameters.
        data: a DataLoader; or a pair (X, y), which is one full batch an epoch; or any iterable that
            can be gone through once an epoch and gives (x, target). Float arrays and lists are
            converted to the model's dtype here, once; class indices stay integers.
        epochs: passes over the data.
        validation: like `data`, evaluated after every epoch in evaluation mode.
        metrics: "accuracy", measured during training on each batch before its step; or functions
            (prediction, target) -> float, averaged over samples. An accuracy decides by the largest score for
            NLLLoss and CrossEntropyLoss, and wherever each target row marks one class of several (one-hot);
            otherwise element by element, by 0.5 for probabilities and 0/1 targets, by 0 for BCEWithLogitsLoss
            and -1/+1 targets. Where targets and loss do not say which, it is refused.
        engine: "numpy", "numba" (compiled; LoweringError where the model cannot be), or "auto".
        callbacks: functions called with a FitState after each epoch; their method `finish`, where they
            have one, at the end. Or a `Recording`, which keeps steps as the engine makes them.
        progress: show a bar, if the output is a terminal.
        scheduler: a schedule of `optimizer`, or a list of them: stepped after every epoch and its
            validation, before the callbacks; OneCycleLR after every batch (as any whose `every` is set to
            "batch"). ReduceLROnPlateau gets what its `monitor` names.
        clip_grad_norm: scale the gradients of a step down to this norm, all together.
        clip_grad_value: cut their elements to plus or minus this, first.
        checkpoint: a path, or a Checkpoint: keep the run there as it goes, and go on from there if the file
            exists, with the result of a run that was never interrupted; `history.resumed` says so. The
            program must be the same, data and initial weights included, except for more epochs. A file of a
            finished run leaves nothing to do. What batches from a custom iterable hold cannot be compared.
    Returns:
        History.
    Raises:
        DivergenceError: a loss or a parameter that is not finite, at its step. Model and optimizer hold what
            they held when the last finite loss was computed.
        TypeError, ValueError, IndexError: data that do not fit the model or the loss, a measure that is not
            taken, a checkpoint that is damaged or of another run; nothing is changed. OSError: no place for
            the first checkpoint, or for what a ModelCheckpoint will write.
        RuntimeError: another run is training the model, or uses the optimizer, a schedule or a callback, or
            writes to the checkpoint or the recording, in this process or in another.
    Warns:
        RuntimeWarning: a later checkpoint could not be written (a full disk); the last one is still whole.
            What a callback remembers is too much for the file, and is left out.
    """
    recording, others = _apart(callbacks)
    check_arguments(model, loss_fn, optimizer, epochs, engine, others)
    tell = notice(as_flag("fit", "progress", progress))
    schedules = listed(scheduler)
    with ExitStack() as stack:
        alone = parts(model, loss_fn, optimizer, [*schedules, *callbacks])
        stack.enter_context(claimed("fit", alone))
        dtype = next(iter(model.parameters())).dtype
        batches = at_the_door(data, loss_fn, dtype, "data")
        held_out = None if validation is None else at_the_door(validation, loss_fn, dtype, "validation")
        sources = [(batches, probe(model, loss_fn, batches))]
        if held_out is not None:
            sources.append((held_out, probe(model, loss_fn, held_out)))
        named = named_metrics(metrics, loss_fn, sources)
        measures = measures_of(named, held_out is not None)
        steps = batches.steps
        regime = regime_of(
            optimizer, schedules, clip_grad_norm, clip_grad_value, measures, steps and epochs * steps
        )
        state = FitState(model, loss_fn, optimizer, History(), int(epochs))
        for callback in others:
            if isinstance(callback, Watching):
                callback._check_run(state, measures)
        stack.enter_context(in_mode(model, training=True))
        runner = _choose_engine(engine, model, loss_fn, optimizer, batches, named, tell, regime)
        state.history.engine, state.history.reason = runner.name, runner.reason
        keeper = None
        with _as_they_were(others):
            for callback in others:
                if isinstance(callback, Watching):
                    callback._begin(state)
            if checkpoint is not None or callbacks:
                with LOADING:
                    from ..checkpoint.disk import on_disk

                kept = on_disk(checkpoint, recording, others, state, regime, batches, held_out, named, tell)
                keeper, runner.recorder = stack.enter_context(kept)
        show = stack.enter_context(progress_bar(progress, state))
        stack.enter_context(np.errstate(all="ignore"))
        run_epochs(runner, state, held_out, named, others, show, regime, keeper)
    return state.history


@contextmanager
def _as_they_were(callbacks: Sequence[Any]) -> Iterator[None]:
    """Where the block is refused, callbacks that begin a run remember what they did before."""
    before = [(c, dict(vars(c))) for c in callbacks if isinstance(c, Watching)]
    try:
        yield
    except BaseException:
        for callback, remembered in before:
            vars(callback).clear()
            vars(callback).update(remembered)
        raise


def _apart(callbacks: Any) -> tuple[Recording | None, Any]:
    """The recording among the callbacks, and the others."""
    if not isinstance(callbacks, (list, tuple)) or not callbacks:
        return None, callbacks
    with LOADING:
        from ..recording import Recording

    if Recording in callbacks:
        raise TypeError(
            "fit got the class Recording among its callbacks; it needs one that is made: Recording()"
        )
    found = [callback for callback in callbacks if isinstance(callback, Recording)]
    if len(found) > 1:
        raise ValueError(f"fit got {len(found)} recordings; it makes one, give that of the smaller `every`")
    others = [callback for callback in callbacks if not isinstance(callback, Recording)]
    return (found[0] if found else None), others


def run_epochs(
    runner: Engine,
    state: FitState,
    held_out: Batches | None,
    metrics: Metrics,
    callbacks: Sequence[Callback],
    show: Callable[[], None],
    regime: Regime | None = None,
    keeper: Keeper | None = None,
) -> None:
    """Run until all epochs are done or a callback stops; `show` is called after every block of epochs."""
    history = state.history
    regime = regime or Regime()
    reason = history.reason
    watched = held_out is not None or bool(callbacks) or not regime.foreseeable
    history.compile_seconds = runner.compile_seconds
    while state.epoch < state.epochs and not state.stop:
        refuse_no_number(state.loss_fn)
        started = time.perf_counter()
        ahead = 1 if watched else state.epochs - state.epoch
        skipped = 0 if runner.middle is None else len(runner.middle.losses)
        block = runner.run(ahead if keeper is None else min(ahead, keeper.epochs_ahead()))
        history.seconds += time.perf_counter() - started
        if runner.name != history.engine:
            history.engine = runner.name
            history.reason = f"{reason}; from epoch {state.epoch + 1} on {runner.name}: {runner.reason}"
        if runner.recorder is not None:
            runner.recorder.end_block(block, skipped)
        _record(block, state)
        if held_out is not None:
            loss, values = evaluate(state.model, state.loss_fn, held_out, metrics)
            history.val_loss.append(loss)
            for name, value in values.items():
                history.metrics.setdefault(f"val_{name}", []).append(value)
        regime.after_epoch(history)
        for callback in callbacks:
            callback(state)
        if keeper is not None:
            keeper.after_epochs()
        show()
    # No step leaves NaN behind, but a callback after the last one can.
    fault = first_fault(state.model.parameters(), before=True) if callbacks and history.steps else None
    if fault is not None:
        runner.undo()
        if runner.recorder is not None:
            runner.recorder.undo()
        raise _divergence(state, fault, state.epoch + 1, 1)
    if runner.recorder is not None:
        runner.recorder.end()  # first, so that no kill leaves a checkpoint of more than is recorded
    if keeper is not None:
        keeper.finish()
    for callback in callbacks:
        if hasattr(callback, "finish"):
            callback.finish(state)


def _record(block: Block, state: FitState) -> None:
    history = state.history
    history.add_steps(block.losses)
    if block.diverged is not None and block.fault is not None:
        whole = len(block.epoch_steps) - 1
        step = block.diverged - sum(block.epoch_steps[:whole]) + 1
        raise _divergence(state, block.fault, state.epoch + whole + 1, step)
    losses = block.losses.astype(np.float64).reshape(len(block.epoch_steps), -1)
    if state.loss_fn.reduction == "sum":
        history.train_loss.extend(losses.sum(axis=1).tolist())
    else:
        weights = block.samples[: losses.shape[1]]
        means = (losses * weights).sum(axis=1) / weights.sum(dtype=np.float64)
        history.train_loss.extend(means.tolist())
    for name, values in block.metrics.items():
        history.metrics.setdefault(name, []).extend(values)
    state.epoch += len(block.epoch_steps)


def _divergence(state: FitState, fault: Fault, epoch: int, step: int) -> DivergenceError:
    words = fault.words(state.model, state.optimizer, epoch, step)
    return DivergenceError(words, epoch, step, state.history)


def _choose_engine(
    engine: str,
    model: Module,
    loss_fn: Loss,
    optimizer: Optimizer,
    batches: Batches,
    metrics: Metrics,
    tell: Callable[[str], None],
    regime: Regime,
) -> Engine:
    """The engine, which says what it is and why."""
    reason = f"engine={engine!r} was asked for"
    if engine != "numpy":
        with LOADING:
            from .numba_engine import LoweringError, NumbaEngine

        try:
            compiled = NumbaEngine(model, loss_fn, optimizer, batches, metrics, tell=tell, regime=regime)
        except LoweringError as refusal:
            if engine == "numba":
                raise
            reason = f"the compiled engine does not take {refusal}"
        else:
            compiled.reason = "the compiled engine takes all of it" if engine == "auto" else reason
            return compiled
    textbook = NumpyEngine(model, loss_fn, optimizer, batches, metrics, regime)
    textbook.reason = reason
    return textbook
