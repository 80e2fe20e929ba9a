"""The compiled loop: whole epochs in one call of `scratchnn.engine`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from ..checks import Array
from ..data import DataLoader, TensorDataset
from ..engine.compiling import COMPILING
from ..engine.plan import LoweringError, Rule
from ..engine.record import GRADIENT, STATE, VALUE, Record
from ..engine.run import Diverged, NoProbability, Run, Tell, silent
from ..layers import Module, Parameter
from ..losses import Loss
from ..lowering import lower, read_groups, read_numbers
from ..optim import Optimizer
from ..random import Generator, default_generator, rand
from .accuracy import Accuracy
from .numpy_engine import Batches, Block, Metrics, Middle, NumpyEngine, Recorder
from .regime import Regime

__all__ = ["LoweringError", "NumbaEngine", "measured_in_call", "source"]

CALL_SECONDS = 0.25  # one compiled call: what Ctrl-C waits for at most
BLOCK_SECONDS = 0.5  # one `run`: how often progress is shown
ORDER_BYTES = 2**24  # orders drawn ahead
DRAW_BYTES = 2**23  # dropout's draws for one call
WORDS_A_DRAW = 2  # of a generator, for a float64
RATES = 7  # hyperparameters of a group, at most
Kept: TypeAlias = "tuple[list[dict[str, Any]], list[dict[str, Any]]]"
STATE_NAMES = {
    Rule.SGD: ("momentum_buffer",),
    Rule.ADAM: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    Rule.ADAMW: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
}


class NumbaEngine:
    """The same run as `NumpyEngine`, compiled.

    One thing differs: parameters that the optimizer does not have get no `grad` (there it piles up, unused).

    Args:
        generator: what the default generator is to this run.
        tell: called with a line of text before a compilation, which takes some seconds.
    Raises:
        LoweringError: something that the engine cannot express, by name.
    """

    def __init__(
        self,
        model: Module,
        loss_fn: Loss,
        optimizer: Optimizer,
        batches: Batches,
        metrics: Metrics,
        generator: Generator = default_generator,
        tell: Tell = silent,
        regime: Regime | None = None,
    ) -> None:
        self.optimizer, self.generator, self.regime = optimizer, generator, regime or Regime()
        self.loader, X, y = source(batches)
        accuracies = measured_in_call(metrics)
        self.names = list(metrics)
        lowered = lower(model, loss_fn, optimizer, X, y)
        for accuracy in accuracies:
            lowered.plan.loss = replace(lowered.plan.loss, cut=accuracy.cut)
        self.parameters = lowered.parameters
        lowered.plan.max_norm, lowered.plan.max_value = self.regime.max_norm, self.regime.max_value
        rows, batch, ordered = len(X), len(X), False
        if self.loader is not None:
            batch, ordered = min(self.loader.batch_size, rows), self.loader.shuffle
            rows = min(rows, len(self.loader) * self.loader.batch_size)
        if rows == 0:
            raise LoweringError("an epoch without a whole batch")
        self.engine = Run(lowered.plan, X, y, batch, rows, ordered, bool(metrics), tell)
        self.compile_seconds = self.engine.compile_seconds
        if ordered:
            with COMPILING:
                from ..engine.orders import compile_now

                self.compile_seconds += compile_now()
        if self.engine.draws and self.loader is not None and self.loader.generator is generator:
            raise LoweringError("a DataLoader and a Dropout that draw from one generator in turns")
        self.recorder: Recorder | None = None
        self.middle: Middle | None = None
        self.record: Record | None = None
        # The textbook's loop, for the error that it raises where the engine stops short.
        bounds = Regime(max_norm=self.regime.max_norm, max_value=self.regime.max_value)
        self.by_hand = NumpyEngine(model, loss_fn, optimizer, batches, metrics, bounds)

    def run(self, epochs: int) -> Block:
        """As many epochs as fit into half a second, at least one."""
        engine, middle, self.middle = self.engine, self.middle, None
        skipped = 0 if middle is None else len(middle.losses)
        epochs = min(epochs, 1 if skipped else self._epochs_ahead())
        steps = epochs * engine.steps_an_epoch
        losses = np.zeros(steps, engine.plan.dtype)
        decided = np.zeros((steps if self.names else 0, 2))
        drawn = self.generator.drawn
        if self.recorder is not None:
            self.recorder.begin_block(skipped)
        order = self._orders(epochs)
        words = (self.generator.drawn - drawn) // epochs  # of the default generator, for an epoch's order
        if middle is not None:
            losses[:skipped] = middle.losses
            self.generator.skip(middle.words - words)
        self._load()
        before = self._foresee(epochs, skipped)
        diverged = None
        step, counted = skipped, 0 if self.recorder is None else self.recorder.made - skipped
        try:
            while step < steps:
                self._ask(counted)
                here = min(step + self._steps_at_once(), steps)
                engine.advance(step, here, order, self._draws(step, here), losses, decided)
                self._hand_over(step, here, skipped, words)
                step = here
        except Diverged as stop:
            diverged = stop.step
            self._hand_over(step, diverged, skipped, words)
        except NoProbability:
            pass
        finally:
            self._store()
        if step < steps and diverged is None:
            self._raise_by_hand()
        if diverged is not None and before is not None:
            self._reschedule(before, skipped, diverged)
        return self._block(losses, decided, epochs, diverged)

    def undo(self) -> None:
        """Put model and optimizer back to what they held when the last finite loss was computed."""
        self.engine.undo()
        self._store()

    def _block(self, losses: Array, decided: Array, epochs: int, diverged: int | None) -> Block:
        engine = self.engine
        samples = np.full(engine.steps_an_epoch, engine.batch)
        samples[-1] = engine.rows - engine.batch * (engine.steps_an_epoch - 1)
        if diverged is not None:
            whole, within = divmod(diverged, engine.steps_an_epoch)
            counts = [engine.steps_an_epoch] * whole + [within + 1]
            return Block(losses[: diverged + 1], counts, np.tile(samples, whole + 1), {}, diverged)
        metrics = {}
        if self.names:
            with np.errstate(invalid="ignore"):
                shares = (decided[:, 0] / decided[:, 1]).reshape(epochs, -1)
            means = [float(mean) for mean in np.average(shares, axis=1, weights=samples)]
            metrics = {name: list(means) for name in self.names}
        return Block(losses, [engine.steps_an_epoch] * epochs, np.tile(samples, epochs), metrics)

    # ---- how much at once -------------------------------------------------------------------------

    def _epochs_ahead(self) -> int:
        engine = self.engine
        if engine.draws:
            return 1  # the masks of an epoch are drawn before the next one's order
        ahead = int(BLOCK_SECONDS / (engine.seconds_a_step * engine.steps_an_epoch))
        if engine.ordered:
            ahead = min(ahead, ORDER_BYTES // (8 * engine.rows))
        return max(1, min(ahead, 100_000))

    def _steps_at_once(self) -> int:
        engine = self.engine
        steps = int(CALL_SECONDS / engine.seconds_a_step)
        if engine.draws:
            steps = min(steps, DRAW_BYTES // (8 * engine.draws * engine.batch))
        if self.record is not None:
            steps = min(steps, self.record.steps_at_once)
        return max(1, steps)

    # ---- the record -------------------------------------------------------------------------------

    def _ask(self, counted: int) -> None:
        """Let the next call record. counted: steps before this block's first, as the recorder counts."""
        if self.recorder is not None:
            self.record = self.record or Record(self.engine)
            self.record.ask(self.recorder.every, counted)

    def _hand_over(self, first: int, last: int, skipped: int, words: int) -> None:
        """Give the recorder what the call from `first` on has recorded."""
        record, engine, plan = self.record, self.engine, self.engine.plan
        if self.recorder is None or record is None:
            return
        numbers, rows = record.taken(first, last)
        if not len(numbers):
            self.recorder.take(last - first, numbers, {}, numbers)
            return
        made = numbers - record.before  # of this block
        tensors: dict[Any, Array] = {}
        for position, (parameter, values) in self._moved().items():
            tensors["parameter", parameter, ""] = record.view(rows, position, VALUE)
            tensors["gradient", parameter, ""] = record.view(rows, position, GRADIENT)
            if plan.rule != Rule.SGD:
                steps = engine.made_before[position] + made - skipped
                tensors["state", parameter, "step"] = steps.astype(np.float32)
            for slot, name in self._slots(values):
                tensors["state", parameter, name] = record.view(rows, position, STATE + slot)
        epochs = (made - 1) // engine.steps_an_epoch + 1
        within = made - (epochs - 1) * engine.steps_an_epoch
        samples = (epochs - 1) * engine.rows + np.minimum(within * engine.batch, engine.rows)
        drawn = epochs * words + samples * (engine.draws * WORDS_A_DRAW)
        self.recorder.take(last - first, numbers, tensors, drawn)

    # ---- randomness -------------------------------------------------------------------------------

    def _orders(self, epochs: int) -> Array:
        """The rows of so many epochs, one after another; draws what the loader draws."""
        from ..engine.orders import permutation_from_words, seeded_permutations

        loader, nothing = self.loader, np.empty(0, np.int64)
        if loader is None:
            return nothing
        generator = loader.generator or self.generator
        if not loader.shuffle:
            generator.words64(epochs)  # an epoch's base seed
            return nothing
        if loader.generator is None:
            seeds = generator.words64(2 * epochs)[1::2]  # the base seed, then the order's
            orders = seeded_permutations(seeds, len(loader.dataset))
            return np.ascontiguousarray(orders[:, : self.engine.rows]).reshape(-1)
        return np.concatenate([loader.order(permutation_from_words) for _ in range(epochs)])

    def _draws(self, first: int, last: int) -> Array:
        """Uniform numbers for dropout, in the order in which the layers draw them."""
        engine = self.engine
        if not engine.draws:
            return np.empty(0)
        rows = engine.rows_before(last) - engine.rows_before(first)
        return rand(rows * engine.draws, dtype=np.float64, generator=self.generator)

    # ---- schedules --------------------------------------------------------------------------------

    def _foresee(self, epochs: int, skipped: int) -> Kept | None:
        """Step the schedules as the run to come will, and give the engine what they set for every step.

        The first `skipped` steps are made, and the schedules stand after them. After the last epoch it is
        `fit` that steps those that go by epochs.

        Returns:
            what the schedules and the optimizer's groups were before; None where nothing changes.
        """
        regime, a_epoch = self.regime, self.engine.steps_an_epoch
        if not regime.by_batch and (epochs == 1 or not regime.by_epoch):
            return None
        before = self._scheduled()
        rule, groups = self.engine.plan.rule, self.optimizer.param_groups
        foreseen = []
        for epoch in range(epochs):
            if epoch:
                regime.after_epoch()
            for step in range(a_epoch if regime.by_batch else 1):
                foreseen.append([read_numbers(rule, group) for group in groups])
                if epoch or step >= skipped:
                    regime.after_batch()
        numbers = np.array(foreseen)
        rates = np.zeros((len(foreseen), len(groups), RATES))
        rates[:, :, : numbers.shape[2]] = numbers
        self.engine.set_rates(rates if regime.by_batch else np.repeat(rates, a_epoch, axis=0))
        return before

    def _scheduled(self) -> Kept:
        groups = [{k: v for k, v in g.items() if k != "params"} for g in self.optimizer.param_groups]
        return groups, [schedule.state_dict() for schedule in self.regime.schedules()]

    def _reschedule(self, before: Kept, skipped: int, steps: int) -> None:
        """Schedules and groups as they are after so many steps; those skipped are in `before`."""
        groups, states = before
        for group, kept in zip(self.optimizer.param_groups, groups, strict=True):
            group.update(kept)
        for schedule, state in zip(self.regime.schedules(), states, strict=True):
            schedule.load_state_dict(state)
        for step in range(skipped + 1, steps + 1):
            self.regime.after_batch()
            if step % self.engine.steps_an_epoch == 0:
                self.regime.after_epoch()

    # ---- to and from the model and the optimizer --------------------------------------------------

    def _load(self) -> None:
        """Take over what parameters, hyperparameters and state are now: a callback may have changed them."""
        engine, plan = self.engine, self.engine.plan
        plan.rule, plan.groups = read_groups(self.optimizer, self.parameters)
        made = []
        for position, parameter in enumerate(self.parameters):
            engine.view(engine.parameters, position)[...] = parameter.data
            entries: dict[str, Any] = self.optimizer.state.get(parameter, {})
            for slot, name in enumerate(STATE_NAMES[plan.rule]):
                engine.view(engine.state, position, slot)[...] = entries.get(name, 0)
            made.append(
                int("momentum_buffer" in entries) if plan.rule == Rule.SGD else int(entries.get("step", 0))
            )
        engine.set_stretches(made)

    def _store(self) -> None:
        """Leave parameters, gradients and state where the textbook's loop leaves them."""
        engine, plan = self.engine, self.engine.plan
        for position, (parameter, numbers) in self._moved().items():
            parameter.data[...] = engine.view(engine.parameters, position)
            if engine.made:
                parameter.grad = engine.view(engine.gradients, position).copy()
            steps = engine.made_before[position] + engine.made
            entries = self.optimizer.state[parameter]
            if steps == 0:
                self.optimizer.state.pop(parameter)  # undone, down to the start
            elif plan.rule == Rule.SGD:
                if not self._slots(numbers) and not entries:
                    self.optimizer.state.pop(parameter)
            else:
                entries["step"] = np.array(steps, np.float32)
            if steps:
                for slot, name in self._slots(numbers):
                    _keep(entries, name, engine.view(engine.state, position, slot))

    def _moved(self) -> dict[int, tuple[Parameter, list[float]]]:
        """The parameters that the optimizer has, by position, with their hyperparameters."""
        numbers = {p: group.numbers for group in self.engine.plan.groups for p in group.parameters}
        return {i: (p, numbers[i]) for i, p in enumerate(self.parameters) if i in numbers}

    def _slots(self, numbers: list[float]) -> list[tuple[int, str]]:
        """The slots of state that a parameter with these hyperparameters uses, with their names."""
        names = STATE_NAMES[self.engine.plan.rule]
        if self.engine.plan.rule == Rule.SGD:
            return list(enumerate(names)) if numbers[1] != 0 else []
        return list(enumerate(names if numbers[5] != 0 else names[:2]))

    def _raise_by_hand(self) -> None:
        self.by_hand.run(1)
        raise ValueError("BCELoss needs probabilities; end the model in Sigmoid, or use BCEWithLogitsLoss")


def _keep(entries: dict[str, Any], name: str, value: Array) -> None:
    """Write the value into the array that is there, as torch does, or a copy of it where none is."""
    if name in entries:
        entries[name][...] = value
    else:
        entries[name] = value.copy()


def measured_in_call(metrics: Metrics) -> list[Accuracy]:
    """The metrics, all of which the compiled call can measure. Raises LoweringError for others."""
    found = []
    for name, metric in metrics.items():
        if not isinstance(metric, Accuracy):
            raise LoweringError(f"the metric {name}, a function of its own")
        found.append(metric)
    return found


def source(batches: Batches) -> tuple[DataLoader | None, Array, Array]:
    """(loader or None for one full batch, X, y)."""
    if isinstance(batches, DataLoader):
        if type(batches) is not DataLoader or type(batches.dataset) is not TensorDataset:
            raise LoweringError("data from a loader or a dataset of its own")
        X, y = batches.dataset.tensors
        return batches, X, y
    if isinstance(batches, list) and len(batches) == 1:
        return (None, *batches[0])
    raise LoweringError("data that come batch by batch; a DataLoader over arrays, or (X, y), compiles")
