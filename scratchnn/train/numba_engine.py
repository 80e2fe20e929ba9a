"""The compiled loop: whole epochs in one call of `scratchnn.engine`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..checks import Array
from ..data import DataLoader, Subset, TensorDataset
from ..engine.plan import LoweringError, Op, Plan, Rule
from ..engine.record import GRADIENT, STATE, VALUE, Record
from ..engine.run import Diverged, Refused, Run, Tell, silent
from ..forks import LOADING
from ..layers import Module
from ..losses import Loss
from ..lowering import lower, overridden
from ..optim import Optimizer
from ..random import Generator, default_generator, rand
from .accuracy import Accuracy
from .exchange import Exchange
from .faults import Fault, all_finite, first_fault, why_not_finite
from .foresight import Foresight
from .numpy_engine import Batches, Block, Metrics, Middle, NumpyEngine, Recorder
from .regime import Regime
from .source import LoaderSource, Source
from .watched import Watched, datasets_of

__all__ = ["LoweringError", "NumbaEngine", "measured_in_call", "rows_to_compile"]

CALL_SECONDS = 0.25  # one compiled call: what Ctrl-C waits for at most
BLOCK_SECONDS = 0.5  # one `run`: how often progress is shown
ORDER_BYTES = 2**24  # orders drawn ahead
DRAW_BYTES = 2**23  # dropout's draws for one call
WORDS_A_DRAW = 2  # of a generator, for a float64
NO_ORDER, NO_DRAWS = np.empty(0, np.int64), np.empty(0)


class NumbaEngine:
    """The same run as `NumpyEngine`, compiled.

    Each block of epochs begins with a look at all that the plan was made from. What has changed is lowered
    again; an epoch that the engine has no words for is made by the textbook's loop.

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
        self.model, self.loss_fn, self.optimizer = model, loss_fn, optimizer
        self.generator, self.tell, self.regime = generator, tell, regime or Regime()
        if isinstance(batches, DataLoader):
            batches = LoaderSource(batches, loss_fn, next(iter(model.parameters())).dtype, "data")
        self.source: Any = batches
        self.accuracies = measured_in_call(metrics)
        self.names = list(metrics)
        self.name, self.reason = "numba", ""
        self.compile_seconds = 0.0
        self.recorder: Recorder | None = None
        self.middle: Middle | None = None
        self.record: Record | None = None
        self.textbook = NumpyEngine(model, loss_fn, optimizer, batches, metrics, self.regime)
        # To the last finite loss, where that was computed before the run at hand was laid out.
        self._undo_earlier: Callable[[], None] = self.textbook.undo
        self._run: Run | None = None
        self._key: tuple[Any, ...] = ()
        self.exchange: Exchange
        self._refusal: LoweringError | None = None
        self._drawn_from: tuple[int, Array] = (0, np.empty(0))
        X, y = rows_to_compile(self.source)
        self._lower(X, y)

    @property
    def engine(self) -> Run:
        """The run at hand."""
        assert self._run is not None
        return self._run

    def run(self, epochs: int) -> Block:
        """As many epochs as fit into half a second, at least one."""
        skipped = 0 if self.middle is None else len(self.middle.losses)
        watched = epochs == 1  # somebody may change the data before the next call
        try:
            self._load()
            if self.recorder is not None:
                self.recorder.begin_block(skipped)
            epochs = min(epochs, 1 if skipped else self._epochs_ahead())
            foreseen = Foresight(self.regime, self.optimizer, epochs, skipped, self.engine)
        except LoweringError as refusal:
            return self._by_hand(refusal)
        self.name = "numba"
        engine, middle, self.middle = self.engine, self.middle, None
        if not all_finite(engine.parameters):  # what lies between them may not be, either
            fault = first_fault(self.model.parameters(), before=True)
            if fault is not None:
                self.undo()
                foreseen.put_back(skipped)
                return Block(np.empty(0, engine.plan.dtype), [0], np.empty(0, np.int64), {}, 0, fault)
        steps = epochs * engine.steps_an_epoch
        losses = np.zeros(steps, engine.plan.dtype)
        decided = np.zeros((steps if self.names else 0, 2))
        drawn = self.generator.drawn
        order = self._orders(epochs)
        words = (self.generator.drawn - drawn) // epochs  # of the default generator, for an epoch's order
        if middle is not None:
            losses[:skipped] = middle.losses
            self.generator.skip(middle.words - words)
        step, counted = skipped, 0 if self.recorder is None else self.recorder.made - skipped
        fresh, began = engine.last_call is None, engine.made
        try:
            while step < steps:
                self._ask(counted)
                here = min(step + self._steps_at_once(), steps)
                aside = watched and here == steps
                engine.advance(step, here, order, self._draws(step, here), losses, decided, aside)
                self._hand_over(step, here, skipped, words)
                step = here
        except Diverged as stop:
            self._hand_over(step, stop.step, skipped, words)
            fault = self._fault(stop, order)
            if fresh and stop.step == skipped and fault.parameter is None:
                self._undo_earlier()
            else:
                self.exchange.store()
            foreseen.put_back(stop.step)
            return self._stopped(losses, stop.step, fault)
        except Refused as stop:
            self.exchange.store()
            foreseen.put_back(stop.step)
            self._make_by_hand(stop.step, order)
        except BaseException:
            self.exchange.store()
            foreseen.put_back(skipped + engine.made - began)
            raise
        self.exchange.store()
        return self._block(losses, decided, epochs)

    def undo(self) -> None:
        """Put model and optimizer back to what they held when the last finite loss was computed."""
        if self._run is None or self._run.last_call is None:
            self._undo_earlier()
        else:
            self._run.undo()
            self.exchange.store()

    def _samples(self, epochs: int) -> Array:
        samples = self.engine.samples
        return samples if epochs == 1 else np.tile(samples, epochs)

    def _stopped(self, losses: Array, step: int, fault: Fault) -> Block:
        whole, within = divmod(step, self.engine.steps_an_epoch)
        counts = [self.engine.steps_an_epoch] * whole + [within + 1]
        return Block(losses[: step + 1], counts, self._samples(whole + 1), {}, step, fault)

    def _block(self, losses: Array, decided: Array, epochs: int) -> Block:
        samples, metrics = self._samples(epochs), {}
        if self.names:
            steps = self.engine.steps_an_epoch
            with np.errstate(invalid="ignore"):
                shares = (decided[:, 0] / decided[:, 1]).reshape(epochs, -1)
            means = [float(mean) for mean in np.average(shares, axis=1, weights=samples[:steps])]
            metrics = {name: list(means) for name in self.names}
        return Block(losses, [self.engine.steps_an_epoch] * epochs, samples, metrics)

    # ---- what has changed -------------------------------------------------------------------------

    def _load(self) -> None:
        """Take over everything as it is now. Raises LoweringError."""
        X, y = rows_to_compile(self.source)
        shapes = (X.shape, X.dtype, y.shape, y.dtype)
        if shapes != self._shapes or not self._watched.unchanged():
            dtype = next(iter(self.model.parameters())).dtype
            if dtype != self.source.dtype:
                self.source = self.source.at(dtype)
                X, y = rows_to_compile(self.source)
            self._lower(X, y)
        elif self._refusal is not None:
            raise self._refusal
        elif self._run is None:  # by hand since, for another reason
            self._lower(X, y)
        if self._watched.new_rates():
            self.exchange.read_groups()
        self.exchange.load()
        self.engine.take(X, y)
        self.X, self.y = X, y

    def _lower(self, X: Array, y: Array) -> None:
        """Make the plan, and lay out a run if it is another one."""
        self._shapes = (X.shape, X.dtype, y.shape, y.dtype)
        self._watched = Watched(self.model, self.loss_fn, self.optimizer, self.source.loader)
        self._refusal = None
        try:
            lowered = lower(self.model, self.loss_fn, self.optimizer, X, y)
            form = self._form(lowered.plan, len(X))
        except LoweringError as refusal:
            self._refusal = refusal
            raise
        plan, parameters = lowered.plan, lowered.parameters
        for accuracy in self.accuracies:
            plan.loss = replace(plan.loss, cut=accuracy.cut)
        plan.max_norm, plan.max_value = self.regime.max_norm, self.regime.max_value
        key = (plan.key(), form, [*map(id, parameters)])
        if self._run is not None and key == self._key:
            self.exchange.read_groups()
            return
        made = Run(plan, *form, bool(self.names), self.tell)
        self.compile_seconds += made.compile_seconds
        if form[2]:
            with LOADING:
                from ..engine.orders import compile_now

                self.compile_seconds += compile_now()
        if self._run is not None:
            made.seconds_a_step = self._run.seconds_a_step
            self._leave()
        self._run, self._key, self.record = made, key, None
        self.exchange = Exchange(made, parameters, self.optimizer)

    def _form(self, plan: Plan, rows: int) -> tuple[int, int, bool]:
        """(rows of a batch, rows of an epoch, whether in an order of their own)."""
        loader = self.source.loader
        if loader is None:
            return rows, rows, False
        size, generator = loader.batch_size, loader.generator
        if type(size) is not int or size < 1 or not isinstance(generator, Generator | None):
            raise LoweringError(f"a DataLoader with batch_size={size!r} and generator={generator!r}")
        epoch = min(rows, len(loader) * size)
        if epoch == 0:
            raise LoweringError("an epoch without a whole batch")
        if generator is self.generator and any(
            layer.op == Op.DROPOUT and layer.a >= 0 for layer in plan.layers
        ):
            raise LoweringError("a DataLoader and a Dropout that draw from one generator in turns")
        return min(size, rows), epoch, bool(loader.shuffle)

    def _leave(self) -> None:
        """The run at hand ends here; what it can undo, it still can."""
        run = self._run
        if run is not None and run.last_call is not None:
            exchange = self.exchange

            def undo() -> None:
                run.undo()
                exchange.store()

            self._undo_earlier = undo
        self._run = None

    def _by_hand(self, refusal: LoweringError) -> Block:
        """One epoch of the textbook's loop."""
        if self.generator is not default_generator:
            raise refusal
        if self.name != "numpy":
            self.tell(f"going on in NumPy: the compiled engine does not take {refusal}")
        self._leave()
        self.name, self.reason = "numpy", f"the compiled engine does not take {refusal}"
        textbook = self.textbook
        textbook.recorder, textbook.middle, self.middle = self.recorder, self.middle, None
        textbook.undo = self._undo_earlier
        try:
            return textbook.run(1)
        finally:
            self._undo_earlier = textbook.undo
            self.reason = f"the compiled engine does not take {refusal}"

    # ---- a step that is not like the others -------------------------------------------------------

    def _batch(self, step: int, order: Array) -> tuple[Array, Array]:
        """The rows of one step."""
        engine = self.engine
        begin = step % engine.steps_an_epoch * engine.batch
        count = min(engine.batch, engine.rows - begin)
        first = engine.rows_before(step) if engine.ordered else begin
        rows: Any = slice(first, first + count)
        rows = order[rows] if engine.ordered else rows
        return self.X[rows], self.y[rows]

    def _fault(self, stop: Diverged, order: Array) -> Fault:
        if stop.position is not None:
            return Fault(stop.value, self.exchange.parameters[stop.position])
        return Fault(stop.value, cause=why_not_finite(self.loss_fn, *self._batch(stop.step, order)))

    def _make_by_hand(self, step: int, order: Array) -> None:
        """The textbook's step in place of the one that the engine has refused, for its error."""
        x, target = self._batch(step, order)
        if self.engine.draws and self.generator is default_generator:
            first, state = self._drawn_from
            rows = self.engine.rows_before(step) - self.engine.rows_before(first)
            default_generator.set_state(state)
            default_generator.skip(rows * self.engine.draws * WORDS_A_DRAW)
        self.optimizer.zero_grad()
        self.loss_fn(self.model(x), target)
        raise RuntimeError(
            "fit met a batch that its loss refuses, and a moment later does not: its targets are being "
            "changed while a step is made; change them between epochs"
        )

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
        record, engine, plan, exchange = self.record, self.engine, self.engine.plan, self.exchange
        if self.recorder is None or record is None:
            return
        numbers, rows = record.taken(first, last)
        if not len(numbers):
            self.recorder.take(last - first, numbers, {}, numbers)
            return
        made = numbers - record.before  # of this block
        tensors: dict[Any, Array] = {}
        for position, parameter, _, _, slots in exchange.moved:
            tensors["parameter", parameter, ""] = record.view(rows, position, VALUE)
            tensors["gradient", parameter, ""] = record.view(rows, position, GRADIENT)
            if plan.rule != Rule.SGD:
                steps = exchange.steps_behind[position] + made - skipped
                tensors["state", parameter, "step"] = steps.astype(np.float32)
            for slot, name, _ in slots:
                tensors["state", parameter, name] = record.view(rows, position, STATE + slot)
        epochs = (made - 1) // engine.steps_an_epoch + 1
        within = made - (epochs - 1) * engine.steps_an_epoch
        samples = (epochs - 1) * engine.rows + np.minimum(within * engine.batch, engine.rows)
        drawn = epochs * words + samples * (engine.draws * WORDS_A_DRAW)
        self.recorder.take(last - first, numbers, tensors, drawn)

    # ---- randomness -------------------------------------------------------------------------------

    def _orders(self, epochs: int) -> Array:
        """The rows of so many epochs, one after another; draws what the loader draws."""
        loader = self.source.loader
        if loader is None:
            return NO_ORDER
        generator = loader.generator or self.generator
        if not self.engine.ordered:
            generator.words64(epochs)  # an epoch's base seed
            return NO_ORDER
        from ..engine.orders import permutation_from_words, seeded_permutations

        if loader.generator is None:
            seeds = generator.words64(2 * epochs)[1::2]  # the base seed, then the order's
            orders = seeded_permutations(seeds, self.engine.held)
            return np.ascontiguousarray(orders[:, : self.engine.rows]).reshape(-1)
        return np.concatenate([loader.order(permutation_from_words) for _ in range(epochs)])

    def _draws(self, first: int, last: int) -> Array:
        """Uniform numbers for dropout, in the order in which the layers draw them."""
        engine = self.engine
        if not engine.draws:
            return NO_DRAWS
        if engine.plan.loss.may_refuse:
            self._drawn_from = (first, self.generator.get_state())
        rows = engine.rows_before(last) - engine.rows_before(first)
        return rand(rows * engine.draws, dtype=np.float64, generator=self.generator)


def measured_in_call(metrics: Metrics) -> list[Accuracy]:
    """The metrics, all of which the compiled call can measure. Raises LoweringError for others."""
    found = []
    for name, metric in metrics.items():
        if not isinstance(metric, Accuracy):
            raise LoweringError(f"the metric {name}, a function of its own")
        found.append(metric)
    return found


def rows_to_compile(source: Any) -> tuple[Array, Array]:
    """All inputs and targets of `source`. Raises LoweringError where an engine cannot draw its batches."""
    loader = source.loader if isinstance(source, Source) else None
    if loader is not None:
        parts = [loader, *datasets_of(loader.dataset)]
        if any(type(part) not in (DataLoader, TensorDataset, Subset) or overridden(part) for part in parts):
            raise LoweringError("data from a loader or a dataset of its own")
    rows = source.rows() if isinstance(source, Source) else None
    if rows is None:
        raise LoweringError("data that come batch by batch; a DataLoader over arrays, or (X, y), compiles")
    return rows
