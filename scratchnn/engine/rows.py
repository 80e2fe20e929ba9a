"""Rows of data into panels: a batch in the order of the run, turned on its side.

Data stand row after row, panels feature after feature. Square blocks of W rows by W columns are turned in
registers, so that every cache line of a row is read once; what is left over goes number by number.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .blocks import VECTORS
from .inner import inner
from .lanes import I64, Lanes, load_vector, shuffle, store_vector, width

__all__ = ["take_rows"]


@intrinsic
def _starts(typingctx: Any, V: Any) -> Any:
    """Room for W integers in the frame of the caller."""
    count = Lanes(V.dtype).count

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return cgutils.alloca_once(builder, I64, size=count)

    return types.CPointer(types.int64)(V), codegen


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """The transpose of a square block: in each stage every second lane, pair, four... trades places."""
    count, distance = len(rows), 1
    while distance < count:
        lower = [lane if not lane & distance else count + lane - distance for lane in range(count)]
        upper = [lane + distance if not lane & distance else count + lane for lane in range(count)]
        turned = list(rows)
        for i in range(count):
            if not i & distance:
                a, b = rows[i], rows[i + distance]
                turned[i], turned[i + distance] = shuffle(builder, a, b, lower), shuffle(builder, a, b, upper)
        rows, distance = turned, 2 * distance
    return rows


@intrinsic
def _turn_block(typingctx: Any, V: Any, starts: Any, column: Any, M: Any, to: Any, step: Any) -> Any:
    """M[to + c step + lane] = V[starts[lane] + column + c] for W lanes and W columns c."""
    lanes = Lanes(V.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        V, starts, column, M, to, step = args
        rows = []
        for lane in range(lanes.count):
            start = builder.load(builder.gep(starts, [ir.Constant(I64, lane)]))
            rows.append(load_vector(builder, V, builder.add(start, column), lanes.llvm))
        for c, turned in enumerate(_turned(builder, rows)):
            store_vector(builder, turned, M, builder.add(to, builder.mul(step, ir.Constant(I64, c))))
        return context.get_dummy_value()

    return types.void(V, starts, types.intp, M, types.intp, types.intp), codegen


@inner
def take_rows(V, columns, order, ordered, start, count, M, to):
    """The panel at `to`: M[to + c SAMPLES + lane] = V[row columns + c] for up to SAMPLES rows, one a lane.

    Rows are those of positions start ... start + count - 1, by way of `order` where `ordered`. The last
    register of samples is filled up with the last row.
    """
    W = width(M)
    samples = VECTORS * W
    starts = _starts(M)
    for first in range(0, count, W):
        for lane in range(W):
            position = start + min(first + lane, count - 1)
            row = order[position] if ordered else position
            starts[lane] = row * columns
        c = 0
        while c + W <= columns:
            _turn_block(V, starts, c, M, to + first + c * samples, samples)
            c += W
        while c < columns:
            for lane in range(W):
                M[to + first + c * samples + lane] = V[starts[lane] + c]
            c += 1
