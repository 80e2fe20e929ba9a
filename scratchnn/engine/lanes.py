"""Lanes: one vector register's worth of numbers, as a type that Numba compiles.

    W   lanes in a register: 16 float32 or 8 float64 where the CPU has 512-bit registers

Arithmetic on lanes becomes explicit LLVM vector instructions. Nothing is left to the compiler's
vectoriser, so no fast-math flag is needed: NaN and infinity mean what they mean in NumPy, and sums are
added in an order that is written here, whatever the loop around them. Numbers among lanes are weak, as
Python's are among NumPy arrays: `1 - y` has the dtype of y. A multiply and an add are fused only by `fma`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic

# Of the processor that Numba compiles for: NUMBA_CPU_FEATURES can say another one than this machine's.
_FEATURES = (numba.config.CPU_FEATURES or llvm.get_host_cpu_features().flatten()).split(",")
REGISTER_BITS = 512 if "+avx512f" in _FEATURES else 256 if "+avx" in _FEATURES else 128
MANTISSA = {32: 23, 64: 52}
EXPONENT_BIAS = {32: 127, 64: 1023}
I32, I64 = ir.IntType(32), ir.IntType(64)


class Lanes(types.Type):
    """W numbers of one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.count = REGISTER_BITS // dtype.bitwidth
        scalar = ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
        self.llvm = ir.VectorType(scalar, self.count)
        self.llvm_int = ir.VectorType(ir.IntType(dtype.bitwidth), self.count)
        super().__init__(name=f"Lanes({dtype})")


class Mask(types.Type):
    """W truth values: what a comparison of lanes gives."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.llvm = ir.VectorType(ir.IntType(1), lanes.count)
        super().__init__(name=f"Mask({lanes})")


@register_default(Lanes)
@register_default(Mask)
class _RegisterModel(models.PrimitiveModel):
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, of.llvm)


def splat_value(builder: Any, value: Any, vector: Any) -> Any:
    """The same scalar in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count)
    )


def constant(vector: Any, value: Any) -> Any:
    return ir.Constant(vector, [value] * vector.count)


def call_llvm(builder: Any, name: str, *args: Any) -> Any:
    """Call the LLVM intrinsic `name` on vectors of one type."""
    vector = args[0].type
    suffix = "f32" if isinstance(vector.element, ir.FloatType) else "f64"
    kind = ir.FunctionType(vector, [vector] * len(args))
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{vector.count}{suffix}"), args
    )


# ---- numbers are weak ---------------------------------------------------------------------------


@lower_cast(types.Number, Lanes)
@lower_cast(types.Boolean, Lanes)
def _from_number(context: Any, builder: Any, from_type: Any, to_type: Any, value: Any) -> Any:
    return splat_value(builder, context.cast(builder, value, from_type, to_type.dtype), to_type.llvm)


@lower_cast(types.IntegerLiteral, Lanes)
def _from_literal(context: Any, builder: Any, from_type: Any, to_type: Any, value: Any) -> Any:
    return constant(to_type.llvm, float(from_type.literal_value))


def _common(args: Any) -> Lanes | None:
    """The one lanes type among `args`, if everything else is a number."""
    found = {a for a in args if isinstance(a, Lanes)}
    others = [a for a in args if not isinstance(a, Lanes)]
    if len(found) == 1 and all(isinstance(a, (types.Number, types.Boolean)) for a in others):
        return found.pop()
    return None


# ---- operators and words ------------------------------------------------------------------------


def _register(word: Any, count: int, emit: Callable[..., Any], compare: bool = False) -> None:
    """Make `word` take `count` lanes; `emit(builder, *values)` writes the instructions."""

    class Typing(AbstractTemplate):
        key = word

        def generic(self, args: Any, keywords: Any) -> Any:
            lanes = _common(args) if len(args) == count else None
            return signature(Mask(lanes) if compare else lanes, *[lanes] * count) if lanes else None

    infer_global(word)(Typing)
    infer_global(word, types.Function(Typing))
    lower_builtin(word, *[Lanes] * count)(lambda context, builder, sig, args: emit(builder, *args))


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""


def sqrt(x: Any) -> Any:
    """Correctly rounded square root."""


def absolute(x: Any) -> Any:
    """|x|."""


def copysign(x: Any, y: Any) -> Any:
    """|x| with the sign of y."""


def maximum(a: Any, b: Any) -> Any:
    """The larger one; NaN where either is, as NumPy's."""


def minimum(a: Any, b: Any) -> Any:
    """The smaller one; NaN where either is, as NumPy's."""


def where(mask: Any, a: Any, b: Any) -> Any:
    """a in the lanes where the mask is true, else b."""


def _extremum(symbol: str) -> Callable[..., Any]:
    def emit(builder: Any, a: Any, b: Any) -> Any:
        # true where a wins or either is NaN; a NaN in b then has the last word
        chosen = builder.select(builder.fcmp_unordered(symbol, a, b), a, b)
        return builder.select(builder.fcmp_unordered("uno", b, b), b, chosen)

    return emit


def _comparison(symbol: str) -> Callable[..., Any]:
    def emit(builder: Any, a: Any, b: Any) -> Any:
        compare = builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
        return compare(symbol, a, b)

    return emit


def _named(name: str) -> Callable[..., Any]:
    return lambda builder, *args: call_llvm(builder, name, *args)


for _word, _count, _emit in (
    (operator.add, 2, ir.IRBuilder.fadd),
    (operator.sub, 2, ir.IRBuilder.fsub),
    (operator.mul, 2, ir.IRBuilder.fmul),
    (operator.truediv, 2, ir.IRBuilder.fdiv),
    (operator.neg, 1, ir.IRBuilder.fneg),
    (fma, 3, _named("fma")),
    (sqrt, 1, _named("sqrt")),
    (absolute, 1, _named("fabs")),
    (copysign, 2, _named("copysign")),
    (maximum, 2, _extremum(">")),
    (minimum, 2, _extremum("<")),
):
    _register(_word, _count, _emit)
for _word, _symbol in (
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _register(_word, 2, _comparison(_symbol), compare=True)


class _Where(AbstractTemplate):
    key = where

    def generic(self, args: Any, keywords: Any) -> Any:
        if len(args) != 3 or not isinstance(args[0], Mask):
            return None
        lanes = _common((args[0].lanes, *args[1:]))
        return signature(lanes, args[0], lanes, lanes) if lanes else None


infer_global(where)(_Where)
infer_global(where, types.Function(_Where))


@lower_builtin(where, Mask, Lanes, Lanes)
def _lower_where(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.select(*args)


# ---- memory -------------------------------------------------------------------------------------


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """The address of an array's first element."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, value=args[0]).data

    return types.CPointer(array.dtype)(array), codegen


def load_vector(builder: Any, base: Any, index: Any, vector: Any) -> Any:
    size = 4 if isinstance(vector.element, ir.FloatType) else 8
    address = builder.bitcast(builder.gep(base, [index]), vector.as_pointer())
    return builder.load(address, align=size)


def store_vector(builder: Any, value: Any, base: Any, index: Any) -> None:
    size = 4 if isinstance(value.type.element, ir.FloatType) else 8
    address = builder.bitcast(builder.gep(base, [index]), value.type.as_pointer())
    builder.store(value, address, align=size)


@intrinsic
def load(typingctx: Any, base: Any, index: Any) -> Any:
    """The W numbers at base[index]."""
    lanes = Lanes(base.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return load_vector(builder, args[0], args[1], lanes.llvm)

    return lanes(base, types.intp), codegen


@intrinsic
def store(typingctx: Any, base: Any, index: Any, value: Any) -> Any:
    """Write W numbers to base[index]; a single number goes into all of them."""
    lanes = Lanes(base.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        store_vector(builder, args[2], args[0], args[1])
        return context.get_dummy_value()

    return types.void(base, types.intp, lanes), codegen


@intrinsic
def splat(typingctx: Any, base: Any, value: Any) -> Any:
    """The number in every lane, in the dtype that `base` points to."""
    lanes = Lanes(base.dtype)
    return lanes(base, lanes), lambda context, builder, sig, args: args[1]


@intrinsic
def scalar(typingctx: Any, base: Any, value: Any) -> Any:
    """The number in the dtype that `base` points to."""
    return base.dtype(base, base.dtype), lambda context, builder, sig, args: args[1]


@intrinsic
def iota(typingctx: Any, base: Any) -> Any:
    """0, 1, 2, ... in the dtype that `base` points to."""
    lanes = Lanes(base.dtype)
    return lanes(base), lambda context, builder, sig, args: ir.Constant(
        lanes.llvm, [float(i) for i in range(lanes.count)]
    )


@intrinsic
def width(typingctx: Any, base: Any) -> Any:
    """W for the dtype that `base` points to, a constant."""
    count = Lanes(base.dtype).count
    return types.intp(base), lambda context, builder, sig, args: ir.Constant(I64, count)


# ---- sums over lanes ----------------------------------------------------------------------------


def sums_of_lanes(builder: Any, vectors: list[Any]) -> list[tuple[Any, list[int]]]:
    """The sum of each vector's lanes; several vectors share their shuffles.

    Every sum is the same tree: the upper half is added to the lower one until one lane is left.

    Returns:
        (vector, positions) pairs: lane i of the vector holds the sum of vectors[positions[i]].
    """
    items = [(vector, [i]) for i, vector in enumerate(vectors)]
    segment = vectors[0].type.count  # lanes that still belong to one sum
    while segment > 1:
        half, folded = segment // 2, []
        # A vector with room for more sums takes in its neighbour's.
        pair = len(items) > 1
        for first in range(0, len(items), 2 if pair else 1):
            a, sums_a = items[first]
            b, sums_b = items[first + 1] if pair and first + 1 < len(items) else (a, [])
            lower = [s * segment + j for s in range(len(sums_a)) for j in range(half)]
            upper = [i + half for i in lower]
            if pair:
                lower = lower + [i + a.type.count for i in lower]
                upper = upper + [i + a.type.count for i in upper]
            both = builder.fadd(shuffle(builder, a, b, lower), shuffle(builder, a, b, upper))
            folded.append((both, sums_a + sums_b))
        items, segment = folded, half
    return items


def shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """The given lanes of a and b taken together."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


@intrinsic
def sum_of_lanes(typingctx: Any, x: Any) -> Any:
    """The sum of the lanes, a number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ((total, _),) = sums_of_lanes(builder, [args[0]])
        return builder.extract_element(total, ir.Constant(I32, 0))

    return x.dtype(x), codegen


@intrinsic
def any_nan(typingctx: Any, x: Any) -> Any:
    """A lane is NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        found = builder.bitcast(builder.fcmp_unordered("uno", args[0], args[0]), ir.IntType(x.count))
        return builder.icmp_unsigned("!=", found, ir.Constant(found.type, 0))

    return types.boolean(x), codegen


# ---- the bits of a float ------------------------------------------------------------------------


@intrinsic
def times_power_of_two(typingctx: Any, x: Any, shifted: Any) -> Any:
    """x * 2**n, where `shifted` is n + 1.5 * 2**(mantissa bits), so that n stands in its low bits.

    In two steps, so that neither factor leaves the range of exponents: results may be denormal.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits, integers = sig.args[0].dtype.bitwidth, sig.args[0].llvm_int
        magic = builder.bitcast(constant(sig.args[0].llvm, 1.5 * 2.0 ** MANTISSA[bits]), integers)
        n = builder.sub(builder.bitcast(args[1], integers), magic)
        first = builder.ashr(n, constant(integers, 1))
        product = args[0]
        for part in (first, builder.sub(n, first)):
            biased = builder.add(part, constant(integers, EXPONENT_BIAS[bits]))
            power = builder.shl(biased, constant(integers, MANTISSA[bits]))
            product = builder.fmul(product, builder.bitcast(power, sig.args[0].llvm))
        return product

    return x(x, x), codegen


@intrinsic
def split_exponent(typingctx: Any, x: Any) -> Any:
    """(m, k) with x = m * 2**k and m in [sqrt(1/2), sqrt(2)); x positive and normal."""
    pair = types.UniTuple(x, 2)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits, integers = sig.args[0].dtype.bitwidth, sig.args[0].llvm_int
        root = builder.bitcast(constant(sig.args[0].llvm, 0.5**0.5), integers)
        number = builder.bitcast(args[0], integers)
        k = builder.ashr(builder.sub(number, root), constant(integers, MANTISSA[bits]))
        m = builder.sub(number, builder.shl(k, constant(integers, MANTISSA[bits])))
        return context.make_tuple(
            builder, pair, (builder.bitcast(m, sig.args[0].llvm), builder.sitofp(k, sig.args[0].llvm))
        )

    return pair(x), codegen
