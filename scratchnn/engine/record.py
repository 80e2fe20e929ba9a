"""The record of a run: what the kernel copied aside after the steps asked for, before the next call."""

from __future__ import annotations

import math

import numpy as np

from ..functional.vocabulary import Array
from .codes import Setting
from .run import Run, aligned

__all__ = ["GRADIENT", "STATE", "VALUE", "Record"]

VALUE, GRADIENT, STATE = range(3)  # parts of a row; the rule's later slots follow STATE
BYTES = 2**20  # of one call: stays near while it is put in its place


class Record:
    """Room for the rows of one call, n of them: parameters, gradients and state as the run lays them out.

    Attributes:
        row: numbers in a row.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.row = (2 + run.plan.state_slots) * run.parameters.size
        self.rows = max(1, BYTES // (self.row * run.plan.dtype.itemsize))
        self.every = self.before = 0
        run.record = aligned(self.rows * self.row, run.plan.dtype)

    def ask(self, every: int, before: int) -> None:
        """Record from now on after every step whose number is a multiple of `every`.

        Args:
            before: steps counted before the first of the run that the next `advance` belongs to.
        """
        self.every, self.before = every, before
        self.run.settings[Setting.EVERY], self.run.settings[Setting.BEFORE] = every, before

    @property
    def steps_at_once(self) -> int:
        """Steps that one call may make."""
        return self.rows * self.every

    def taken(self, first: int, last: int) -> tuple[Array, Array]:
        """What the call that began at step `first` recorded up to `last`.

        Returns:
            (n,) numbers of the steps, with those before. (n, row), until the next call.
        """
        numbers = np.arange((self.before + first) // self.every + 1, (self.before + last) // self.every + 1)
        rows = self.run.record[: len(numbers) * self.row].reshape(-1, self.row)
        return numbers * self.every, rows

    def view(self, rows: Array, position: int, part: int) -> Array:
        """(n, *shape): one parameter's VALUE, GRADIENT, or STATE, STATE + 1, ... in each of the rows."""
        shape, stride = self.run.plan.shapes[position], self.run.strides[position]
        start = self.run.starts[position] + part * self.run.parameters.size
        found = rows[:, start : start + math.prod(shape[:-1]) * stride].reshape(len(rows), -1, stride)
        return found[:, :, : shape[-1]].reshape(len(rows), *shape)
