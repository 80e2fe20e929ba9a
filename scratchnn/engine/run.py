"""A run: the arrays of one training, and the compiled call that moves them on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..forks import LOADING
from ..functional.vocabulary import Array
from .codes import Setting, Status
from .layout import lay_out
from .plan import Plan

__all__ = ["Diverged", "Run", "kernel"]

ALIGNMENT = 64  # bytes in a register, and in a line of the cache
CACHE_PERIOD = 1024  # rows a multiple of this apart would share a few sets of the cache
FLUSH_BELOW = {4: 1e-30, 8: 1e-290}
Tell = Callable[[str], None]


def silent(text: str) -> None:
    """Say nothing."""


_KERNELS: dict[np.dtype[Any], Any] = {}


def kernel(dtype: np.dtype[Any], tell: Tell = silent) -> tuple[Any, float]:
    """`steps.run_steps` for a dtype, and the seconds that compiling it took now; 0 where it was on disk.

    Args:
        tell: is called with a line of text before a compilation.
    """
    if dtype in _KERNELS:
        return _KERNELS[dtype], 0.0
    with LOADING:
        from numba import from_dtype, types

        from .cache import compiled
        from .steps import run_steps

        def read(kind: Any) -> Any:
            return types.Array(kind, 1, "C", readonly=True)

        real, integer, double = from_dtype(dtype), types.int64, types.float64
        signature = (
            integer, integer, integer,
            types.Array(integer, 2, "C"), types.Array(double, 2, "C"), types.Array(integer, 1, "C"),
            types.Array(double, 1, "C"), types.Array(real, 1, "C"),
            types.Array(real, 1, "C"), types.Array(real, 1, "C"), types.Array(real, 1, "C"),
            types.Array(integer, 2, "C"), types.Array(double, 2, "C"),
            types.Array(real, 1, "C"), read(real), read(real), read(integer), read(integer), read(double),
            types.Array(real, 1, "C"), types.Array(double, 2, "C"), types.Array(real, 1, "C"),
            types.Array(real, 1, "C"),
        )  # fmt: skip
        _KERNELS[dtype], seconds = compiled(
            run_steps, "run_steps", signature, f"the engine for {dtype}", tell
        )
    return _KERNELS[dtype], seconds


def aligned(count: int, dtype: np.dtype[Any]) -> Array:
    """Zeros that begin at a multiple of ALIGNMENT."""
    room = np.zeros(count * dtype.itemsize + ALIGNMENT, np.uint8)
    skip = -room.ctypes.data % ALIGNMENT
    return room[skip : skip + count * dtype.itemsize].view(dtype)


@dataclass
class _Call:
    """What a compiled call started from, so that it can be made again, up to a step before its last."""

    first: int
    last: int
    arrays: tuple[Array, ...]
    parameters: Array
    state: Array
    made: int
    made_before: list[int]
    stretches: Array
    rates: Array
    groups: int


class Diverged(Exception):
    """A number that is not finite; parameters and state are those of the last finite loss.

    Attributes:
        step: its index in the losses of this call.
        position: of the parameter that is not finite after the step; None where it is the step's loss.
        value: what became of it.
    """

    def __init__(self, step: int, position: int | None, value: float) -> None:
        super().__init__(step, position, value)
        self.step, self.position, self.value = step, position, value


class Refused(Exception):
    """A step that cannot be made: BCE met a number outside [0, 1], or a class index is none of the classes.
    Parameters and state are those that the step begins with.

    Attributes:
        step: as Diverged's.
    """

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class Run:
    """One network in training, as flat arrays.

    Args:
        plan: what to train.
        batch: rows of a step. rows: rows of an epoch.
        ordered: `advance` gets the rows' order; otherwise they come as they are.
        decisions: count right decisions of every step.
        tell: see `kernel`.
    Attributes:
        parameters, gradients: flat. state: flat, three slots (SGD uses one).
        samples: rows in each step of an epoch.
        made: optimizer steps since `set_stretches`; made_before: steps that each parameter had then.
        record: what a `Record` keeps of the last call.
        seconds_a_step: a running estimate.
    """

    def __init__(
        self,
        plan: Plan,
        batch: int,
        rows: int,
        ordered: bool,
        decisions: bool,
        tell: Tell = silent,
    ) -> None:
        self.plan, self.batch, self.rows, self.ordered = plan, batch, rows, ordered
        self.steps_an_epoch = -(-rows // batch)
        self.samples = np.full(self.steps_an_epoch, batch)
        self.samples[-1] = rows - batch * (self.steps_an_epoch - 1)
        self.kernel, self.compile_seconds = kernel(plan.dtype, tell)
        unit = ALIGNMENT // plan.dtype.itemsize
        self.starts: list[int] = []
        self.strides: list[int] = []
        end = 0
        for shape in plan.shapes:
            stride = shape[-1]
            if len(shape) > 1 and stride * plan.dtype.itemsize % CACHE_PERIOD == 0:
                stride += unit
            self.starts.append(end)
            self.strides.append(stride)
            end += -(-math.prod(shape[:-1]) * stride // unit) * unit
        self.parameters, self.gradients = aligned(end, plan.dtype), aligned(end, plan.dtype)
        self.state = aligned(3 * end, plan.dtype)
        self._views: dict[tuple[int, int, int], Array] = {}
        self.stretches, self.rates = np.empty((0, 5), np.int64), np.empty((0, 7))
        self.made, self.made_before = 0, [0] * len(plan.shapes)
        self.last_call: _Call | None = None
        self._spare: _Call | None = None
        self.record = np.empty(0, plan.dtype)
        self.aside = np.empty(0, plan.dtype)  # parameters and state before the last step, where it was kept
        self._aside: tuple[int, list[int]] | None = None  # steps made by then
        self._checked_order: Array | None = None
        self._lay_out(decisions)
        products = sum(math.prod(shape) for shape in plan.shapes)
        self.seconds_a_step = 2e-6 + 6 * products * batch / 2e10  # until it is measured

    # ---- parameters and state ---------------------------------------------------------------------

    def view(self, flat: Array, position: int, slot: int = 0) -> Array:
        """The part of a flat array that belongs to one parameter, in the parameter's shape."""
        key = (id(flat), position, slot)
        if key not in self._views:
            shape, stride = self.plan.shapes[position], self.strides[position]
            start = self.starts[position] + slot * self.parameters.size
            rows = flat[start : start + math.prod(shape[:-1]) * stride].reshape(-1, stride)
            rows = rows[:, : shape[-1]].reshape(shape) if len(shape) == 1 else rows[:, : shape[-1]]
            self._views[key] = rows
        return self._views[key]

    def set_stretches(self, made: Sequence[int]) -> None:
        """Lay the optimizer's groups over the parameters; `made`: steps that each parameter has behind it."""
        group_of = {p: g for g, group in enumerate(self.plan.groups) for p in group.parameters}
        ends = [*self.starts[1:], self.parameters.size]
        stretches: list[list[int]] = []
        for position in sorted(group_of):
            start, stop = self.starts[position], ends[position]
            group, steps = group_of[position], made[position]
            penalised = int(position in self.plan.loss.penalised)
            if stretches and stretches[-1][1:] == [start, group, steps, penalised]:
                stretches[-1][1] = stop
            else:
                stretches.append([start, stop, group, steps, penalised])
        self.stretches = np.array(stretches, np.int64).reshape(-1, 5)
        self.rates = np.zeros((len(self.plan.groups), 7))
        for g, numbers in enumerate(group.numbers for group in self.plan.groups):
            self.rates[g, : len(numbers)] = numbers
        self.settings[Setting.GROUPS], self.settings[Setting.RULE] = 0, self.plan.rule
        self.made, self.made_before = 0, list(made)

    @property
    def keeps_rates(self) -> bool:
        """All steps have the hyperparameters of their groups, as `set_stretches` left them."""
        return not self.settings[Setting.GROUPS]

    def set_rates(self, rates: Array) -> None:
        """Give every step of the run hyperparameters of its own: (steps, groups, 7)."""
        self.rates = np.ascontiguousarray(rates).reshape(-1, 7)
        self.settings[Setting.GROUPS] = rates.shape[1]

    def _lay_out(self, decisions: bool) -> None:
        plan, loss = self.plan, self.plan.loss
        layout = lay_out(plan, self.batch, self.steps_an_epoch, self.ordered, self.starts, self.strides)
        self.table, self.numbers, self.draws = layout.table, layout.numbers, layout.draws
        self.memory = aligned(layout.size, plan.dtype)
        self.settings = np.zeros(len(Setting), np.int64)
        for setting, value in {
            Setting.ROWS: self.rows, Setting.BATCH: self.batch, Setting.TILE_PANELS: layout.tile,
            Setting.TARGET_ROWS: layout.target_rows, Setting.LOSS: loss.kind,
            Setting.MEAN: 2 if loss.over_rows else loss.mean, Setting.IGNORE_INDEX: loss.ignore_index,
            Setting.EVEN_CLASSES: not loss.by_index or bool((loss.weight == 1).all()),
            Setting.RULE: plan.rule, Setting.INPUT: layout.inputs, Setting.TARGET: layout.targets,
            Setting.RESIDENT: layout.resident, Setting.DRAWS: self.draws, Setting.DECISIONS: decisions,
            Setting.BY_CLASS: loss.cut is None, Setting.ORDERED: self.ordered,
            Setting.FEATURES: plan.inputs, Setting.WEIGHTED: loss.weighted,
        }.items():  # fmt: skip
            self.settings[setting] = value
        self.loss_numbers = np.array(
            [
                loss.label_smoothing,
                loss.cut or 0.0,
                FLUSH_BELOW[plan.dtype.itemsize],
                1 / loss.scale,
                loss.alpha,
                plan.max_norm,
                plan.max_value,
            ]
        )
        self.weights = np.concatenate([loss.weight, loss.pos_weight]).astype(plan.dtype)

    # ---- data -------------------------------------------------------------------------------------

    def take(self, X: Array, y: Array) -> None:
        """The data as they are now: what the next call gathers, and checks where it is used.

        Args:
            X: (N, D) inputs of the plan's dtype.
            y: (N, M) targets of that dtype, or (N,) int64 class indices, as the plan's loss wants them; with
                weights of rows (N, M + 1), or (N, 2) of index and weight.
        Raises:
            ValueError: other shapes or dtypes than the plan is for, or fewer rows than an epoch has.
        """
        plan, loss = self.plan, self.plan.loss
        weighted_index = loss.weighted and loss.by_index
        integers = loss.by_index and not loss.weighted
        wanted = () if integers else (2 if loss.by_index else plan.outputs + loss.weighted,)
        if X.dtype != plan.dtype or X.ndim != 2 or X.shape[1] != plan.inputs or len(X) < self.rows:
            raise ValueError(f"the engine got inputs of {X.dtype} {X.shape}; it was laid out for others")
        if y.shape != (len(X), *wanted) or y.dtype != (np.int64 if integers else plan.dtype):
            raise ValueError(f"the engine got targets of {y.dtype} {y.shape}; it was laid out for others")
        nothing = np.empty(0, plan.dtype)
        self.X = np.ascontiguousarray(X).reshape(-1)
        if weighted_index:
            self.labels, self.y = y[:, 0].astype(np.int64), np.ascontiguousarray(y[:, 1])
        elif loss.by_index:
            self.labels, self.y = np.ascontiguousarray(y), nothing
        else:
            self.labels, self.y = np.empty(0, np.int64), np.ascontiguousarray(y).reshape(-1)
        self.held = len(X)
        self.settings[Setting.FRESH] = 1

    def _check_order(self, order: Array, last: int) -> None:
        """Every row is one of those held: the kernel does not ask again."""
        if not self.ordered or order is self._checked_order:
            return
        # A negative row is a large one without a sign.
        if order.size < self.rows_before(last) or order.view(np.uint64).max(initial=0) >= self.held:
            raise ValueError(
                f"the engine got an order of {order.size} rows for {self.rows_before(last)}, or one that "
                f"names a row beyond the {self.held} of the data"
            )
        self._checked_order = order

    # ---- training ---------------------------------------------------------------------------------

    def advance(
        self,
        first: int,
        last: int,
        order: Array,
        uniforms: Array,
        losses: Array,
        decided: Array,
        aside: bool = False,
    ) -> None:
        """Make steps first ... last - 1 of the run that `order` lays out, epoch after epoch.

        Args:
            order: int64 rows, for all epochs that the steps belong to; not looked at unless `ordered`.
            uniforms: float64 draws for dropout, beginning at step `first`.
            losses, decided: indexed by step; filled.
            aside: keep what the last step begins with, for `undo` after the data have changed.
        Raises:
            Diverged: a loss or a parameter that is not finite. Refused: see there.
            ValueError: an order that is not one of the data's rows.
        """
        started = time.perf_counter()
        self._check_order(order, last)
        if aside and not self.aside.size:
            self.aside = aligned(self.parameters.size * (1 + self.plan.state_slots), self.plan.dtype)
        call = self._begin(first, last, (order, uniforms, losses, decided))
        done, status = self._make_steps(first, last, call.arrays, aside)
        if status == Status.DIVERGED:
            self._replay(call, done - 1) if done > first else self.undo()
            raise Diverged(done, None, float(losses[done]))
        if status == Status.NO_NUMBER:
            position, value = self._not_finite()
            self._replay(call, done)
            raise Diverged(done, position, value)
        if done < last:
            raise Refused(done)
        self._spare, self.last_call = self.last_call, call
        self._aside = (self.made - 1, self.made_before) if aside and last > first else None
        if last > first:
            measured = (time.perf_counter() - started) / (last - first)
            self.seconds_a_step = measured if last - first > 8 else max(measured, self.seconds_a_step / 2)

    def undo(self) -> None:
        """To where the last finite loss was computed: before the last update."""
        if self._aside is not None:
            size = self.parameters.size
            self.parameters[:], self.state[: self.aside.size - size] = self.aside[:size], self.aside[size:]
            self.made, self.made_before = self._aside
        elif self.last_call is not None:
            self._replay(self.last_call, self.last_call.last - 1)

    def _not_finite(self) -> tuple[int, float]:
        """The first parameter that is not finite, and the first of its values that is not."""
        for position in range(len(self.plan.shapes)):
            values = self.view(self.parameters, position)
            if not (fine := np.isfinite(values)).all():
                return position, float(values[~fine][0])
        raise AssertionError("all parameters are finite")

    def rows_before(self, step: int) -> int:
        """Rows of the run that come before a step."""
        epoch, within = divmod(step, self.steps_an_epoch)
        return epoch * self.rows + min(within * self.batch, self.rows)

    def _make_steps(
        self, first: int, last: int, arrays: tuple[Array, ...], aside: bool = False
    ) -> tuple[int, int]:
        """(the first step not made, why)."""
        if first == last:
            return last, int(Status.DONE)
        self.settings[Setting.ASIDE] = aside
        done, status = self.kernel(
            first, last, self.made, self.table, self.numbers, self.settings, self.loss_numbers, self.weights,
            self.parameters, self.gradients, self.state, self.stretches, self.rates,
            self.memory, self.X, self.y, self.labels, *arrays, self.record, self.aside,
        )  # fmt: skip
        self.made += done - first
        return int(done), int(status)

    def _begin(self, first: int, last: int, arrays: tuple[Array, ...]) -> _Call:
        """A record of where this call starts, in memory that an earlier record no longer needs."""
        used = self.state[: self.plan.state_slots * self.parameters.size]
        spare, self._spare = self._spare, None
        parameters = np.empty_like(self.parameters) if spare is None else spare.parameters
        state = np.empty_like(used) if spare is None else spare.state
        parameters[:], state[:] = self.parameters, used
        return _Call(
            first, last, arrays, parameters, state, self.made, self.made_before, self.stretches, self.rates,
            int(self.settings[Setting.GROUPS]),
        )  # fmt: skip

    def _replay(self, call: _Call, stop: int) -> None:
        """Go back to the start of a call and make its steps again, those before `stop`."""
        self.parameters[:], self.state[: call.state.size] = call.parameters, call.state
        self.made, self.made_before = call.made, call.made_before
        self.stretches, self.rates = call.stretches, call.rates
        self.settings[Setting.GROUPS], self.settings[Setting.EVERY] = call.groups, 0
        self._make_steps(call.first, max(stop, call.first), call.arrays)
