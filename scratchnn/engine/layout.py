"""Where everything of a run lies: the layer table, and the panels of values and gradients in its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..functional.vocabulary import Array
from .codes import Column
from .plan import Op, Plan

__all__ = ["Layout", "lay_out"]

# Their vjps read y, or of x only what y tells as well: y may take x's place where nobody else needs x.
IN_PLACE = (Op.RELU, Op.SIGMOID, Op.TANH)
FIRST_LEVEL = 24 * 1024  # bytes of values and gradients that a tile may take where it can choose
WEIGHTS_WORTH = 4  # panels a tile should have so that passing over the weights pays
RESIDENT_BYTES = 2**24  # gathered once a block of epochs instead of in every epoch


@dataclass
class Layout:
    """Attributes:
    table, numbers: (layers, columns) as `steps.Column`, and each layer's a and b.
    size: numbers in the run's memory. inputs, targets: where the rows' panels begin in it.
    tile: panels that go through the layers together. draws: uniform numbers that a row's dropout takes.
    resident: the panels of all rows stay in memory, in the order of the data.
    target_rows: numbers in a row of the targets' panels.
    """

    table: Array
    numbers: Array
    size: int
    inputs: int
    targets: int
    tile: int
    draws: int
    resident: bool
    target_rows: int


def lay_out(
    plan: Plan, batch: int, steps_an_epoch: int, ordered: bool, starts: Sequence[int], strides: Sequence[int]
) -> Layout:
    """The layout of a run.

    Args:
        starts, strides: of the parameters in their flat vector, and from one of their rows to the next.
    """
    from .blocks import VECTORS
    from .lanes import REGISTER_BITS

    samples = VECTORS * REGISTER_BITS // (8 * plan.dtype.itemsize)
    panels = -(-batch // samples)
    target_rows = 2 if plan.loss.by_index else plan.outputs + plan.loss.weighted
    panel_bytes = samples * plan.dtype.itemsize * sum(2 * k.outputs for k in plan.layers)
    tile = max(1, min(panels, max(FIRST_LEVEL // panel_bytes, WEIGHTS_WORTH)))
    all_panels = steps_an_epoch * panels
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
        table[k, Column.OP] = layer.op
        table[k, Column.INPUTS], table[k, Column.OUTPUTS] = layer.inputs, layer.outputs
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
            table[k, Column.WEIGHT] = starts[layer.weight]
            table[k, Column.STRIDE] = strides[layer.weight]
            if layer.bias >= 0:
                table[k, Column.BIAS] = starts[layer.bias]
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
    return Layout(table, numbers, size, input_at, target_at, tile, draws, resident, target_rows)
