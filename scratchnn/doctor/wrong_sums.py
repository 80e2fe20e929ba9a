"""Mistakes in what is summed over the samples: a bias's or a scale's gradient, a weight's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import numpy as np

from ..checks import Array
from .blocks import axis_words
from .case import Case, Place, Slip, in_places, named
from .tape import Change, Node

__all__ = ["biases", "weights"]

Form: TypeAlias = "Callable[[Array], Array]"  # the gradient before its sum -> what is taken for the sum
ENDS = ((0, "first"), (-1, "last"))


def biases(case: Case) -> Iterator[Slip]:
    """An operand that was repeated along axes: its gradient is a sum over just those axes."""
    places: dict[tuple[str, str, int], list[Place]] = {}
    for node in case.nodes:
        if node.op not in ("add", "subtract", "multiply", "divide") or node.value.ndim < 2:
            continue
        for place, arg in enumerate(node.args):
            if isinstance(arg, Node) and named(arg) is not None and arg.value.size < node.value.size:
                for number, (key, text, form) in enumerate(_sums(node.value.shape, arg.value.shape)):
                    change = Change(edges={(node.index, place): _before_sum(node, place, form)})
                    places.setdefault((key, text, number), []).append((_gradient_name(arg), 0, change))
    for (key, text, _), found in places.items():
        yield from in_places(key, found, text.format)


def _before_sum(node: Node, place: int, form: Form) -> Callable[[Array], Array]:
    def rule(dy: Array) -> Array:
        raw = node.vjp(dy, node.value, *node.values())[place]
        return form(np.broadcast_to(raw, node.value.shape))

    return rule


def _repeated_axes(whole: tuple[int, ...], part: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of `whole` along which an array of shape `part` is repeated."""
    padded = (1,) * (len(whole) - len(part)) + part
    return tuple(k for k, (n, m) in enumerate(zip(whole, padded, strict=True)) if m == 1 and n > 1)


def _sums(whole: tuple[int, ...], part: tuple[int, ...]) -> Iterator[tuple[str, str, Form]]:
    """(key, text, form) for each set of axes but the right one, however the result was shaped."""
    right = _repeated_axes(whole, part)
    cure = f"sum over {axis_words(right)}"
    if len(part) == len(whole):
        cure += " with keepdims=True"
    every = tuple(k for k, n in enumerate(whole) if n > 1)
    for count in range(len(every) + 1):
        for axes in itertools.combinations(every, count):
            if axes == right:
                continue
            if not axes:
                key, text = "bias-not-summed", f"{{}}: dy itself was returned; {cure}"
            elif axes == every:
                key, text = "bias-over-everything", f"{{}}: all of dy was summed to one number; {cure}"
            else:
                key, text = "bias-wrong-axis", f"{{}}: dy was summed over {axis_words(axes)}; {cure}"
            yield key, text, partial(_kept, axes)
            yield key, text, partial(_filled, axes, part)
            yield key, text, partial(_summed, axes)
    for which, word in ENDS:
        text = f"{{}}: only the {word} example counts; {cure}"
        yield "bias-not-summed", text, partial(_one, which, right, part)


def _kept(axes: tuple[int, ...], g: Array) -> Array:
    return g.sum(axes, keepdims=True)


def _summed(axes: tuple[int, ...], g: Array) -> Array:
    return g.sum(axes)


def _filled(axes: tuple[int, ...], part: tuple[int, ...], g: Array) -> Array:
    """Brought to the bias's shape, as an assignment into it would."""
    return np.broadcast_to(np.squeeze(g.sum(axes, keepdims=True)), part)


def _one(which: int, right: tuple[int, ...], part: tuple[int, ...], g: Array) -> Array:
    return np.take(g, [which], right[0]).sum(right).reshape(part)


def _gradient_name(arg: Node) -> str:
    leaf = named(arg)
    name = leaf.name if leaf is not None else ""
    return f"d{name}" if name.isidentifier() else f"d({name or 'bias'})"


# ---- weights ----------------------------------------------------------------------------------


def weights(case: Case) -> Iterator[Slip]:
    """A weight's gradient is a sum over samples: some are left out, or they are not added up."""
    places: dict[str, list[Place]] = {}
    for node in case.nodes:
        if node.op != "matmul" or node.value.ndim < 2:
            continue
        for place, arg in enumerate(node.args):
            leaf = named(arg)
            if isinstance(arg, Node) and leaf and leaf.index not in case.inputs and arg.value.ndim == 2:
                for text, rule in _partial_sums(node, place):
                    change = Change(edges={(node.index, place): rule})
                    places.setdefault(text, []).append((_gradient_name(arg), 1, change))
    for text, found in places.items():
        yield from in_places("weight-not-summed", found, text.format)


def _partial_sums(node: Node, place: int) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """For y = x W (or W x), where x may have axes in front: dW sample by sample."""
    other = node.values()[1 - place]
    if other.ndim < 2 or node.value.ndim != other.ndim:
        return

    def each(dy: Array) -> Array:
        """dW for every slice along the axis that the product sums over."""
        if place == 1:  # dW[d, m] = sum_n x[n, d] dy[n, m]
            rows, grads = other.reshape(-1, other.shape[-1]), dy.reshape(-1, dy.shape[-1])
        else:  # dW[m, d] = sum_n dy[m, n] x[d, n]
            grads, rows = np.swapaxes(other, -1, -2), np.swapaxes(dy, -1, -2)
            rows, grads = rows.reshape(-1, rows.shape[-1]), grads.reshape(-1, grads.shape[-1])
        return rows[:, :, None] * grads[:, None, :]

    for which, word in ENDS:
        yield f"{{}}: only the {word} sample counts; add up all", partial(_pick, each, which)
    if other.ndim > 2:
        # One matrix for each leading index: (B, D, M), or only one of them.
        def stacked(dy: Array) -> Array:
            return np.swapaxes(other, -1, -2) @ dy if place == 1 else dy @ np.swapaxes(other, -1, -2)

        yield "{}: one matrix for each sample was returned; add them up over axis 0", stacked
        for which, word in ENDS:
            yield f"{{}}: only the {word} of axis 0 counts; add up all", partial(_pick, stacked, which)


def _pick(make: Form, which: int, dy: Array) -> Array:
    picked: Array = make(dy)[which]
    return picked
