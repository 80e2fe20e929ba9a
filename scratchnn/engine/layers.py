"""Layers on one panel: forward and backward of everything but the matrix products.

M is the memory of the run; x, y, dx, dy are where a layer's panels begin in it. A panel has `rows` features
of VECTORS registers each, of which the first `vectors` hold samples.
"""

from __future__ import annotations

from typing import Any

from ..functional import activations as F
from .blocks import VECTORS
from .formulas import compile_formula
from .inner import inner
from .lanes import load, maximum, splat, store, width
from .plan import Op
from .words import exp, log

__all__ = ["backward", "forward"]

RELU, LEAKY_RELU, SIGMOID, TANH = int(Op.RELU), int(Op.LEAKY_RELU), int(Op.SIGMOID), int(Op.TANH)
THRESHOLD, DROPOUT, SOFTMAX, LOG_SOFTMAX = (
    int(Op.THRESHOLD),
    int(Op.DROPOUT),
    int(Op.SOFTMAX),
    int(Op.LOG_SOFTMAX),
)


def _loop(formula: Any) -> Any:
    """out[:] = formula(a, b, scalars...) over a panel; which of them it takes is the formula's affair."""
    compiled = compile_formula(formula)
    names = formula.__code__.co_varnames[: formula.__code__.co_argcount]
    arrays = [n for n in names if n in ("x", "y", "dy", "factor")]
    scalars = len(names) - len(arrays)

    if len(arrays) == 1 and scalars == 0:

        @inner
        def each(M, a, b, out, rows, vectors, p, q):
            W = width(M)
            for r in range(rows):
                for i in range(r * VECTORS * W, (r * VECTORS + vectors) * W, W):
                    store(M, out + i, compiled(load(M, a + i)))

    elif len(arrays) == 1 and scalars == 1:

        @inner
        def each(M, a, b, out, rows, vectors, p, q):
            W = width(M)
            for r in range(rows):
                for i in range(r * VECTORS * W, (r * VECTORS + vectors) * W, W):
                    store(M, out + i, compiled(load(M, a + i), p))

    elif len(arrays) == 1:

        @inner
        def each(M, a, b, out, rows, vectors, p, q):
            W = width(M)
            for r in range(rows):
                for i in range(r * VECTORS * W, (r * VECTORS + vectors) * W, W):
                    store(M, out + i, compiled(load(M, a + i), p, q))

    elif scalars == 0:

        @inner
        def each(M, a, b, out, rows, vectors, p, q):
            W = width(M)
            for r in range(rows):
                for i in range(r * VECTORS * W, (r * VECTORS + vectors) * W, W):
                    store(M, out + i, compiled(load(M, a + i), load(M, b + i)))

    else:

        @inner
        def each(M, a, b, out, rows, vectors, p, q):
            W = width(M)
            for r in range(rows):
                for i in range(r * VECTORS * W, (r * VECTORS + vectors) * W, W):
                    store(M, out + i, compiled(load(M, a + i), load(M, b + i), p))

    return each


relu, relu_vjp = _loop(F.relu), _loop(F.relu_vjp)
leaky_relu, leaky_relu_vjp = _loop(F.leaky_relu), _loop(F.leaky_relu_vjp)
sigmoid, sigmoid_vjp = _loop(F.sigmoid), _loop(F.sigmoid_vjp)
tanh, tanh_vjp = _loop(F.tanh), _loop(F.tanh_vjp)
threshold, threshold_vjp = _loop(F.threshold), _loop(F.threshold_vjp)
dropout, dropout_vjp = _loop(F.dropout), _loop(F.dropout_vjp)


@inner
def shifted_powers(M, x, out, rows, i):
    """(top, total) of one register of samples: out = exp(x - top), total their sum over the rows."""
    step = VECTORS * width(M)
    top = load(M, x + i)
    for r in range(1, rows):
        top = maximum(top, load(M, x + r * step + i))
    total = splat(M, 0.0)
    for r in range(rows):
        power = exp(load(M, x + r * step + i) - top)
        total = total + power
        store(M, out + r * step + i, power)
    return top, total


@inner
def softmax(M, x, y, rows, vectors):
    """The loop form of `functional.softmax` over the rows of a panel."""
    W = width(M)
    for i in range(0, vectors * W, W):
        _, total = shifted_powers(M, x, y, rows, i)
        for at in range(y + i, y + i + rows * VECTORS * W, VECTORS * W):
            store(M, at, load(M, at) / total)


@inner
def softmax_vjp(M, dy, y, dx, rows, vectors):
    """The loop form of `functional.softmax_vjp`."""
    W = width(M)
    for i in range(0, vectors * W, W):
        inner = splat(M, 0.0)
        for r in range(i, i + rows * VECTORS * W, VECTORS * W):
            inner = inner + load(M, dy + r) * load(M, y + r)
        for r in range(i, i + rows * VECTORS * W, VECTORS * W):
            store(M, dx + r, load(M, y + r) * (load(M, dy + r) - inner))


@inner
def log_softmax(M, x, y, rows, vectors):
    """The loop form of `functional.log_softmax`."""
    W = width(M)
    for i in range(0, vectors * W, W):
        top, total = shifted_powers(M, x, y, rows, i)
        log_total = log(total)
        for r in range(i, i + rows * VECTORS * W, VECTORS * W):
            store(M, y + r, (load(M, x + r) - top) - log_total)


@inner
def log_softmax_vjp(M, dy, y, dx, rows, vectors):
    """The loop form of `functional.log_softmax_vjp`."""
    W = width(M)
    for i in range(0, vectors * W, W):
        total = splat(M, 0.0)
        for r in range(i, i + rows * VECTORS * W, VECTORS * W):
            total = total + load(M, dy + r)
        for r in range(i, i + rows * VECTORS * W, VECTORS * W):
            store(M, dx + r, load(M, dy + r) - exp(load(M, y + r)) * total)


@inner
def forward(op, M, x, y, factor, rows, vectors, a, b):
    """y for x; `a` and `b` are the layer's numbers, `factor` where dropout's factors are."""
    if op == RELU:
        relu(M, x, x, y, rows, vectors, a, b)
    elif op == SIGMOID:
        sigmoid(M, x, x, y, rows, vectors, a, b)
    elif op == TANH:
        tanh(M, x, x, y, rows, vectors, a, b)
    elif op == LEAKY_RELU:
        leaky_relu(M, x, x, y, rows, vectors, a, b)
    elif op == THRESHOLD:
        threshold(M, x, x, y, rows, vectors, a, b)
    elif op == DROPOUT:
        dropout(M, x, factor, y, rows, vectors, a, b)
    elif op == SOFTMAX:
        softmax(M, x, y, rows, vectors)
    elif op == LOG_SOFTMAX:
        log_softmax(M, x, y, rows, vectors)


@inner
def backward(op, M, dy, x, y, factor, dx, rows, vectors, a, b):
    """dx for dy; they may be the same panel."""
    if op == RELU:
        relu_vjp(M, dy, x, dx, rows, vectors, a, b)
    elif op == SIGMOID:
        sigmoid_vjp(M, dy, y, dx, rows, vectors, a, b)
    elif op == TANH:
        tanh_vjp(M, dy, y, dx, rows, vectors, a, b)
    elif op == LEAKY_RELU:
        leaky_relu_vjp(M, dy, x, dx, rows, vectors, a, b)
    elif op == THRESHOLD:
        threshold_vjp(M, dy, x, dx, rows, vectors, a, b)
    elif op == DROPOUT:
        dropout_vjp(M, dy, factor, dx, rows, vectors, a, b)
    elif op == SOFTMAX:
        softmax_vjp(M, dy, y, dx, rows, vectors)
    elif op == LOG_SOFTMAX:
        log_softmax_vjp(M, dy, y, dx, rows, vectors)
