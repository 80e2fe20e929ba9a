"""Matrix products on panels, in blocks that fill the vector registers.

    panel   SAMPLES samples of every feature of a layer, feature-major: feature f of sample s stands at
            f * SAMPLES + s. A panel is VECTORS registers wide, so a row of it is VECTORS * W numbers.

The forward and backward products stream the weights past a panel (every weight is broadcast, samples lie
along the lanes); the gradient of the weights sums over samples, along the lanes, and adds up the lanes last.
Each block keeps its sums in registers, as Goto and van de Geijn 2008 describe; panels make packing needless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .inner import inner
from .lanes import (
    I64,
    REGISTER_BITS,
    Lanes,
    call_llvm,
    constant,
    load_vector,
    shuffle,
    splat_value,
    store_vector,
    sums_of_lanes,
    width,
)

__all__ = ["VECTORS", "matmul", "outer"]

VECTORS = 4
# 32 registers hold 6 x 4 sums; 16 registers hold 4 x 2.
WIDE = REGISTER_BITS == 512
INPUTS_AT_ONCE = 32  # rows of a panel that stay in the first-level cache while all outputs pass
I = types.intp


def _i64(value: int) -> Any:
    return ir.Constant(I64, value)


def _offset(builder: Any, base: Any, step: Any, count: int) -> Any:
    return builder.add(base, builder.mul(step, _i64(count)))


def _load_all(builder: Any, M: Any, start: Any, step: int, count: int, vector: Any) -> list[Any]:
    return [load_vector(builder, M, builder.add(start, _i64(i * step)), vector) for i in range(count)]


def _product(rows: int, vectors: int) -> Any:
    @intrinsic
    def block(typingctx, P, w, row, step, b, M, x, z, K):
        """M[z + r, :] = sum_k P[w + r row + k step] M[x + k, :] + P[b + r], for `rows` outputs r."""
        lanes = Lanes(P.dtype)
        vector, stride = lanes.llvm, _i64(VECTORS * lanes.count)

        def codegen(context, builder, sig, args):
            P, w, row, step, b, M, x, z, K = args
            sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(rows)]
            for total in (total for row_of_sums in sums for total in row_of_sums):
                builder.store(constant(vector, 0.0), total)
            starts = [_offset(builder, w, row, r) for r in range(rows)]
            with cgutils.for_range(builder, K) as loop:
                at = builder.add(x, builder.mul(loop.index, stride))
                inputs = _load_all(builder, M, at, lanes.count, vectors, vector)
                shift = builder.mul(loop.index, step)
                for r in range(rows):
                    weight = builder.load(builder.gep(P, [builder.add(starts[r], shift)]))
                    weight = splat_value(builder, weight, vector)
                    for v in range(vectors):
                        total = call_llvm(builder, "fma", weight, inputs[v], builder.load(sums[r][v]))
                        builder.store(total, sums[r][v])
            # Added last, as NumPy and torch do: where products and bias cancel, that rounding decides a ReLU.
            with builder.if_then(builder.icmp_signed(">=", b, _i64(0))):
                for r in range(rows):
                    bias = builder.load(builder.gep(P, [builder.add(b, _i64(r))]))
                    for v in range(vectors):
                        total = builder.fadd(builder.load(sums[r][v]), splat_value(builder, bias, vector))
                        builder.store(total, sums[r][v])
            for r in range(rows):
                for v in range(vectors):
                    to = builder.add(z, _i64((r * VECTORS + v) * lanes.count))
                    store_vector(builder, builder.load(sums[r][v]), M, to)
            return context.get_dummy_value()

        return types.void(P, I, I, I, I, M, I, I, I), codegen

    return block


def _products(vectors: int) -> Any:
    six, four, two, one = (_product(rows, vectors) for rows in (6, 4, 2, 1))
    wide = WIDE

    @inner
    def products(P, w, row, step, b, M, x, z, n_out, K):
        samples = VECTORS * width(P)
        o = 0
        bias = 1 if b >= 0 else 0
        if wide:
            while o + 6 <= n_out:
                six(P, w + o * row, row, step, b + o * bias, M, x, z + o * samples, K)
                o += 6
        while o + 4 <= n_out:
            four(P, w + o * row, row, step, b + o * bias, M, x, z + o * samples, K)
            o += 4
        if o + 2 <= n_out:
            two(P, w + o * row, row, step, b + o * bias, M, x, z + o * samples, K)
            o += 2
        if o < n_out:
            one(P, w + o * row, row, step, b + o * bias, M, x, z + o * samples, K)

    return products


_one_vector, _two_vectors = _products(1), _products(2)
_four_vectors = _products(4) if WIDE else _two_vectors


@inner
def matmul(P, w, row, step, b, M, x, z, n_out, K, vectors):
    """Panel z of n_out features = weights times panel x of K features + bias.

    The weight of output o and input k is P[w + o row + k step]; b < 0 means no bias. Only the first
    `vectors` registers of each row matter; more may be computed.
    """
    if WIDE and vectors > 2:
        _four_vectors(P, w, row, step, b, M, x, z, n_out, K)
        return
    if vectors == 1:
        _one_vector(P, w, row, step, b, M, x, z, n_out, K)
        return
    for v in range(0, vectors, 2):
        _two_vectors(P, w, row, step, b, M, x + v * width(P), z + v * width(P), n_out, K)


def _add_sums(builder: Any, G: Any, starts: list[Any], columns: int, sums: list[Any], add: Any) -> None:
    """G[starts[r] + c] (+)= the sum of the lanes of sums[r * columns + c], a row at a time."""
    folded = sums_of_lanes(builder, sums)
    for r, start in enumerate(starts):
        wanted = [r * columns + c for c in range(columns)]
        # The row's sums stand side by side in one vector, or, in short registers, in several.
        for total, positions in folded:
            here = [i for i, position in enumerate(positions) if position in wanted]
            if not here:
                continue
            part = shuffle(builder, total, total, here)
            to = builder.add(start, _i64(positions[here[0]] - wanted[0]))
            before = load_vector(builder, G, to, part.type)
            before = builder.select(add, before, constant(part.type, 0.0))
            store_vector(builder, builder.fadd(before, part), G, to)


def _outer_block(rows: int, columns: int, biased: bool) -> Any:
    """Products of `rows` rows of d with `columns` rows of x; `biased`: also the sums of the rows of d."""

    @intrinsic
    def block(typingctx, M, d, d_panel, x, x_panel, G, g, bias, row, vectors, add):
        """G[g + r row + c] (+)= sum_s M[d + r, s] M[x + c, s], G[bias + r] (+)= sum_s M[d + r, s]."""
        lanes = Lanes(M.dtype)
        vector, samples = lanes.llvm, VECTORS * lanes.count

        def codegen(context, builder, sig, args):
            M, d, d_panel, x, x_panel, G, g, bias, row, vectors, add = args
            products = [cgutils.alloca_once(builder, vector) for _ in range(rows * columns)]
            sums = [cgutils.alloca_once(builder, vector) for _ in range(rows if biased else 0)]
            for total in products + sums:
                builder.store(constant(vector, 0.0), total)

            def accumulate(d_at: Any, x_at: Any) -> None:
                ds = _load_all(builder, M, d_at, samples, rows, vector)
                xs = _load_all(builder, M, x_at, samples, columns, vector)
                for total, number in zip(sums, ds, strict=False):
                    builder.store(builder.fadd(builder.load(total), number), total)
                for i, total in enumerate(products):
                    more = call_llvm(builder, "fma", ds[i // columns], xs[i % columns], builder.load(total))
                    builder.store(more, total)

            whole = builder.sdiv(vectors, _i64(VECTORS))
            with cgutils.for_range(builder, whole) as panels:
                d_at = builder.add(d, builder.mul(panels.index, d_panel))
                x_at = builder.add(x, builder.mul(panels.index, x_panel))
                for v in range(VECTORS):
                    step = _i64(v * lanes.count)
                    accumulate(builder.add(d_at, step), builder.add(x_at, step))
            d_at = builder.add(d, builder.mul(whole, d_panel))
            x_at = builder.add(x, builder.mul(whole, x_panel))
            with cgutils.for_range(builder, builder.srem(vectors, _i64(VECTORS))) as rest:
                step = builder.mul(rest.index, _i64(lanes.count))
                accumulate(builder.add(d_at, step), builder.add(x_at, step))

            starts = [_offset(builder, g, row, r) for r in range(rows)]
            _add_sums(builder, G, starts, columns, [builder.load(total) for total in products], add)
            if biased:
                _add_sums(builder, G, [bias], rows, [builder.load(total) for total in sums], add)
            return context.get_dummy_value()

        return types.void(M, I, I, I, I, G, I, I, I, I, types.boolean), codegen

    return block


def _outer_rows(rows: int) -> Callable[..., Any]:
    four, two, one = (_outer_block(rows, columns, False) for columns in (4, 2, 1))
    four_biased, two_biased, one_biased = (_outer_block(rows, columns, True) for columns in (4, 2, 1))

    @inner
    def across(M, d, d_panel, x, x_panel, G, g, bias, row, n_in, vectors, add):
        samples = VECTORS * width(M)
        i = 0
        if bias >= 0:  # the first block sums the rows of d on the way
            if n_in >= 4:
                four_biased(M, d, d_panel, x, x_panel, G, g, bias, row, vectors, add)
                i = 4
            elif n_in >= 2:
                two_biased(M, d, d_panel, x, x_panel, G, g, bias, row, vectors, add)
                i = 2
            else:
                one_biased(M, d, d_panel, x, x_panel, G, g, bias, row, vectors, add)
                i = 1
        while i + 4 <= n_in:
            four(M, d, d_panel, x + i * samples, x_panel, G, g + i, bias, row, vectors, add)
            i += 4
        if i + 2 <= n_in:
            two(M, d, d_panel, x + i * samples, x_panel, G, g + i, bias, row, vectors, add)
            i += 2
        if i < n_in:
            one(M, d, d_panel, x + i * samples, x_panel, G, g + i, bias, row, vectors, add)

    return across


_four_rows, _two_rows, _one_row = _outer_rows(4), _outer_rows(2), _outer_rows(1)


@inner
def outer(M, d, x, G, g, row, bias, n_out, n_in, vectors, add):
    """G[g + o row + i] (+)= d x^T over the samples of panels d (n_out features) and x (n_in features).

    With bias >= 0 also G[bias:] (+)= the sums of the rows of d.
    """
    samples = VECTORS * width(M)
    d_panel, x_panel = n_out * samples, n_in * samples
    for start in range(0, n_in, INPUTS_AT_ONCE):
        count = min(INPUTS_AT_ONCE, n_in - start)
        at, to = x + start * samples, g + start
        b = bias if start == 0 else -1
        more = 1 if b >= 0 else 0
        o = 0
        while o + 4 <= n_out:
            _four_rows(
                M, d + o * samples, d_panel, at, x_panel, G, to + o * row, b + o * more,
                row, count, vectors, add,
            )  # fmt: skip
            o += 4
        if o + 2 <= n_out:
            _two_rows(
                M, d + o * samples, d_panel, at, x_panel, G, to + o * row, b + o * more,
                row, count, vectors, add,
            )  # fmt: skip
            o += 2
        if o < n_out:
            _one_row(
                M, d + o * samples, d_panel, at, x_panel, G, to + o * row, b + o * more,
                row, count, vectors, add,
            )  # fmt: skip
