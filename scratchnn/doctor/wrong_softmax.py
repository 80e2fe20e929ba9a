"""Mistakes in the backward of softmax and log-softmax, whose entries all depend on each other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ..checks import Array
from .blocks import Block, axis_words
from .case import Place, Slip, in_places
from .tape import Change, Rule

__all__ = ["FUSED", "softmaxes"]

FUSED = ("softmax", "log_softmax")


def softmaxes(blocks: list[Block]) -> Iterator[Slip]:
    """What people write for dx = y (dy - sum dy y), and for dx = dy - exp(y) sum dy."""
    places: dict[tuple[str, str], list[Place]] = {}
    for block in blocks:
        for key, text, rule in _softmax(block) if block.kind == "softmax" else _log_softmax(block):
            change = Change(jumps={block.y.index: (block.x, rule)})
            places.setdefault((key, text), []).append((block.label, 0, change))
    for (key, text), found in places.items():
        yield from in_places(key, found, text.format)


def _softmax(b: Block) -> Iterator[tuple[str, str, Rule]]:
    y, axis = b.y.value, b.axis

    def dot(dy: Array) -> Array:
        return (dy * y).sum(axis, keepdims=True)

    yield (
        "softmax-off-diagonal",
        "in {}, y_i was taken to depend on x_i alone",
        lambda dy: dy * y * (1 - y),
    )
    lost = "in {}, dx is y dy; y (dy - sum(dy y)) is right"
    yield "softmax-dot-forgotten", lost, lambda dy: dy * y
    bare = "in {}, dx is y (dy - sum(dy)); the sum is over dy y"
    yield "softmax-dot-forgotten", bare, lambda dy: y * (dy - dy.sum(axis, keepdims=True))
    for other in _other_axes(b):
        text = f"{{}} is a softmax over {axis_words(axis)}; the backward sums dy y over {axis_words(other)}"
        yield "softmax-wrong-axis", text, partial(_softmax_over, y, other)
    if isinstance(axis, int):
        text = "in {}, sum(dy y) was broadcast along the wrong axis; it needs keepdims=True"
        yield "softmax-wrong-axis", text, lambda dy: y * (dy - np.squeeze(dot(dy), axis))
    text = "for {}, the gradient of a log-softmax was used"
    yield "derivative-of-another", text, lambda dy: dy - y * dy.sum(axis, keepdims=True)


def _log_softmax(b: Block) -> Iterator[tuple[str, str, Rule]]:
    p, axis = np.exp(b.y.value), b.axis
    text = "in {}, dx is dy - softmax(x); dy - softmax(x) sum(dy) is right"
    yield "log-softmax-sum-forgotten", text, lambda dy: dy - p
    text = "in {}, dx is dy - softmax(x) dy; dy - softmax(x) sum(dy) is right"
    yield "log-softmax-sum-forgotten", text, lambda dy: dy - p * dy
    for other in _other_axes(b):
        text = f"{{}} is a log-softmax over {axis_words(axis)}; the backward sums dy over {axis_words(other)}"
        yield "softmax-wrong-axis", text, partial(_log_softmax_over, p, other)
    if isinstance(axis, int):
        text = "in {}, sum(dy) of the log-softmax was broadcast along the wrong axis; it needs keepdims=True"
        yield "softmax-wrong-axis", text, lambda dy: dy - p * dy.sum(axis)
    text = "for {}, the gradient of a softmax was used"
    yield "derivative-of-another", text, lambda dy: p * (dy - (dy * p).sum(axis, keepdims=True))


def _softmax_over(y: Array, axis: int | None, dy: Array) -> Array:
    return y * (dy - (dy * y).sum(axis, keepdims=True))


def _log_softmax_over(p: Array, axis: int | None, dy: Array) -> Array:
    return dy - p * dy.sum(axis, keepdims=True)


def _other_axes(b: Block) -> list[int | None]:
    """Axes that the sum might have been taken over: each of the others, and all of them at once."""
    count = b.y.value.ndim
    axes: list[int | None] = [k for k in range(count) if k != b.axis]
    return [*axes, None] if count > 1 and b.axis is not None else axes
