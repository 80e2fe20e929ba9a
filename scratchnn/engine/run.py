"""A run: the arrays of one training, and the compiled call that moves them on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..functional.vocabulary import Array
from .compiling import COMPILING
from .plan import Op, Plan

__all__ = ["Diverged", "Run", "kernel"]

ALIGNMENT = 64  # bytes in a register, and in a line of the cache
CACHE_PERIOD = 1024  # rows a multiple of this apart would share a few sets of the cache
# Their vjps read y, or of x only what y tells as well: y may take x's place where nobody else needs x.
IN_PLACE = (Op.RELU, Op.SIGMOID, Op.TANH)
FIRST_LEVEL = 24 * 1024  # bytes of values and gradients that a tile may take where it can choose
WEIGHTS_WORTH = 4  # panels a tile should have so that passing over the weights pays
RESIDENT_BYTES = 2**24  # gathered once instead of in every epoch
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
    with COMPILING:
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
    """A loss that is not finite; parameters and state are those of the last finite loss.

    Attributes:
        step: its index in the losses of this call.
    """

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class NoProbability(Exception):
    """BCE met a prediction outside [0, 1]; parameters and state are those of that step."""


class Run:
    """One network in training, as flat arrays.

    Args:
        plan: what to train.
        X: (N, D) inputs of the plan's dtype.
        y: (N, M) targets of that dtype, or (N,) int64 class indices, as the plan's loss wants them; with
            weights of rows (N, M + 1), or (N, 2) of index and weight.
        batch: rows of a step. rows: rows of an epoch.
        ordered: `advance` gets the rows' order; otherwise they come as they are.
        decisions: count right decisions of every step.
        tell: see `kernel`.
    Attributes:
        parameters, gradients: flat. state: flat, three slots (SGD uses one).
        made: optimizer steps since `set_stretches`; made_before: steps that each parameter had then.
        record: what a `Record` keeps of the last call.
        seconds_a_step: a running estimate.
    """

    def __init__(
        self,
        plan: Plan,
        X: Array,
        y: Array,
        batch: int,
        rows: int,
        ordered: bool,
        decisions: bool,
        tell: Tell = silent,
    ) -> None:
        self.plan, self.batch, self.rows, self.ordered = plan, batch, rows, ordered
        self.steps_an_epoch = -(-rows // batch)
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
        self._lay_out(X, y, ordered, decisions)
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
        from .steps import Setting

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
        self.settings[Setting.GROUPS] = 0
        self.made, self.made_before = 0, list(made)

    def set_rates(self, rates: Array) -> None:
        """Give every step of the run hyperparameters of its own: (steps, groups, 7)."""
        from .steps import Setting

        self.rates = np.ascontiguousarray(rates).reshape(-1, 7)
        self.settings[Setting.GROUPS] = rates.shape[1]

    # ---- memory -----------------------------------------------------------------------------------

    def _lay_out(self, X: Array, y: Array, ordered: bool, decisions: bool) -> None:
        from .blocks import VECTORS
        from .lanes import REGISTER_BITS
        from .steps import Column, Setting

        plan = self.plan
        samples = VECTORS * REGISTER_BITS // (8 * plan.dtype.itemsize)
        panels = -(-self.batch // samples)
        by_index = plan.loss.by_index
        target_rows = 2 if by_index else plan.outputs + plan.loss.weighted
        panel_bytes = samples * plan.dtype.itemsize * sum(2 * k.outputs for k in plan.layers)
        tile = max(1, min(panels, max(FIRST_LEVEL // panel_bytes, WEIGHTS_WORTH)))
        all_panels = self.steps_an_epoch * panels
        gathered = all_panels * samples * (plan.inputs + target_rows) * plan.dtype.itemsize
        resident = not ordered and gathered <= RESIDENT_BYTES
        kept = all_panels if resident else tile

        size = 0

        def take(rows: int, count: int = tile) -> int:
            nonlocal size
            start, size = size, size + rows * samples * count
            return start

        table = np.full((len(plan.layers), len(Column)), -1, np.int64)
        numbers = np.zeros((len(plan.layers), 2))
        used: set[int] = set()
        draws = 0
        x = -1
        input_at, target_at = take(plan.inputs, kept), take(target_rows, kept)
        for k, layer in enumerate(plan.layers):
            table[k, Column.OP], table[k, Column.INPUTS], table[k, Column.OUTPUTS] = (
                layer.op,
                layer.inputs,
                layer.outputs,
            )
            table[k, Column.X] = x
            follows_linear = k > 0 and plan.layers[k - 1].op == Op.LINEAR
            if not (layer.op in IN_PLACE and follows_linear):
                x = take(layer.outputs)
            table[k, Column.Y] = x
            table[k, Column.ADD] = 0
            numbers[k] = layer.a, layer.b
            if layer.op == Op.DROPOUT:
                table[k, Column.FACTOR] = take(layer.outputs)
                if layer.a >= 0:
                    table[k, Column.DRAW] = draws
                    draws += layer.outputs
            if layer.op == Op.LINEAR:
                table[k, Column.WEIGHT] = self.starts[layer.weight]
                table[k, Column.STRIDE] = self.strides[layer.weight]
                if layer.bias >= 0:
                    table[k, Column.BIAS] = self.starts[layer.bias]
                table[k, Column.ADD] = layer.weight in used
                used.add(layer.weight)
        first_linear = next(k for k, layer in enumerate(plan.layers) if layer.op == Op.LINEAR)
        dy = take(plan.outputs)
        for k in range(len(plan.layers) - 1, first_linear - 1, -1):
            table[k, Column.DY] = dy
            if k > first_linear:
                if plan.layers[k].op == Op.LINEAR:
                    dy = take(plan.layers[k].inputs)
                table[k, Column.DX] = dy
        self.table, self.numbers, self.draws = table, numbers, draws
        self.memory = aligned(size, plan.dtype)

        loss = plan.loss
        nothing = np.empty(0, plan.dtype)
        row_weights = nothing
        if loss.weighted and by_index:
            y, row_weights = y[:, 0].astype(np.int64), np.ascontiguousarray(y[:, 1])
        even = not by_index or bool((loss.weight == 1).all() and not (y == loss.ignore_index).any())
        self.settings = np.zeros(len(Setting), np.int64)
        for setting, value in {
            Setting.ROWS: self.rows, Setting.BATCH: self.batch, Setting.TILE_PANELS: tile,
            Setting.TARGET_ROWS: target_rows, Setting.LOSS: loss.kind,
            Setting.MEAN: 2 if loss.over_rows else loss.mean,
            Setting.IGNORE_INDEX: loss.ignore_index, Setting.EVEN_ROWS: even, Setting.RULE: plan.rule,
            Setting.INPUT: input_at, Setting.TARGET: target_at, Setting.RESIDENT: resident,
            Setting.DRAWS: draws, Setting.DECISIONS: decisions, Setting.BY_CLASS: loss.cut is None,
            Setting.ORDERED: ordered, Setting.FEATURES: plan.inputs, Setting.WEIGHTED: loss.weighted,
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
        self.X = np.ascontiguousarray(X).reshape(-1)
        self.y = row_weights if by_index else np.ascontiguousarray(y).reshape(-1)
        self.labels = np.ascontiguousarray(y) if by_index else np.empty(0, np.int64)
        if resident:
            self._settle(X, input_at, samples, panels)
            if by_index:
                kept_rows = y != loss.ignore_index
                weights = np.where(kept_rows, self.weights[np.where(kept_rows, y, 0)], 0)
                weights = row_weights if loss.weighted else weights
                y = np.stack([np.where(kept_rows, y, -1), weights], axis=1)
            self._settle(y, target_at, samples, panels)

    def _settle(self, values: Array, start: int, samples: int, panels: int) -> None:
        """Put all rows where their panels stay; padding repeats a batch's last row."""
        size = values.shape[1] * samples
        for step in range(self.steps_an_epoch):
            rows = values[step * self.batch : min((step + 1) * self.batch, self.rows)]
            for panel in range(-(-len(rows) // samples)):
                part = rows[panel * samples : (panel + 1) * samples]
                at = start + (step * panels + panel) * size
                view = self.memory[at : at + size].reshape(-1, samples)
                view[:, : len(part)] = part.T
                view[:, len(part) :] = part[-1:].T

    # ---- training ---------------------------------------------------------------------------------

    def advance(
        self, first: int, last: int, order: Array, uniforms: Array, losses: Array, decided: Array
    ) -> None:
        """Make steps first ... last - 1 of the run that `order` lays out, epoch after epoch.

        Args:
            order: int64 rows, for all epochs that the steps belong to; not looked at unless `ordered`.
            uniforms: float64 draws for dropout, beginning at step `first`.
            losses, decided: indexed by step; filled.
        Raises:
            Diverged: a loss that is not finite. NoProbability: see there.
        """
        started = time.perf_counter()
        call = self._begin(first, last, (order, uniforms, losses, decided))
        done = self._make_steps(first, last, *call.arrays)
        if done < last:
            self._replay(call, done - 1) if done > first else self.undo()
            raise Diverged(done)
        self._spare, self.last_call = self.last_call, call
        if last > first:
            measured = (time.perf_counter() - started) / (last - first)
            self.seconds_a_step = measured if last - first > 8 else max(measured, self.seconds_a_step / 2)

    def undo(self) -> None:
        """To where the last finite loss was computed: before the last update."""
        if self.last_call is not None:
            self._replay(self.last_call, self.last_call.last - 1)

    def rows_before(self, step: int) -> int:
        """Rows of the run that come before a step."""
        epoch, within = divmod(step, self.steps_an_epoch)
        return epoch * self.rows + min(within * self.batch, self.rows)

    def _make_steps(
        self, first: int, last: int, order: Array, uniforms: Array, losses: Array, decided: Array
    ) -> int:
        from .steps import Status

        if first == last:
            return last
        done, status = self.kernel(
            first, last, self.made, self.table, self.numbers, self.settings, self.loss_numbers, self.weights,
            self.parameters, self.gradients, self.state, self.stretches, self.rates,
            self.memory, self.X, self.y, self.labels, order, uniforms, losses, decided, self.record,
        )  # fmt: skip
        self.made += done - first
        if status == Status.NO_PROBABILITY:
            raise NoProbability
        return int(done)

    def _begin(self, first: int, last: int, arrays: tuple[Array, ...]) -> _Call:
        """A record of where this call starts, in memory that an earlier record no longer needs."""
        from .steps import Setting

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
        from .steps import Setting

        self.parameters[:], self.state[: call.state.size] = call.parameters, call.state
        self.made, self.made_before = call.made, call.made_before
        self.stretches, self.rates = call.stretches, call.rates
        self.settings[Setting.GROUPS], self.settings[Setting.EVERY] = call.groups, 0
        self._make_steps(call.first, max(stop, call.first), *call.arrays)
