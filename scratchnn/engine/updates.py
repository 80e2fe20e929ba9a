"""Optimizer sweeps: the update rules of `functional`, over a stretch of the flat vectors.

P parameters, G gradients; S the state, `stride` numbers a slot: SGD's buffer, or m, v and the peak of v.
"""

from __future__ import annotations

import math

import numpy as np

from ..functional import clipping
from ..functional import updates as F
from .formulas import compile_formula, compile_scalars
from .inner import inner
from .lanes import absolute, fma, load, scalar, splat, sqrt, store, sum_of_lanes, where, width
from .plan import Rule

__all__ = ["add_penalty", "clip", "update"]

SGD, ADAM = int(Rule.SGD), int(Rule.ADAM)
sgd, adam, adamw = (compile_formula(rule) for rule in (F.sgd, F.adam, F.adamw))
sgd_scalars = compile_scalars(F.sgd_scalars)
adam_scalars, adamw_scalars = compile_scalars(F.adam_scalars), compile_scalars(F.adamw_scalars)
clip_value, clip_factor = compile_formula(clipping.clip_value), compile_formula(clipping.clip_factor)


@inner
def flushed(x, tiny):
    """x, or 0 below `tiny`: the state of a dead unit decays to denormals, which cost 30 times as much."""
    return where(absolute(x) < tiny, 0.0, x)


@inner
def sgd_sweep(P, G, S, start, stop, numbers, group, first, tiny, zeros):
    lr, momentum, gain, weight_decay = sgd_scalars(
        first, numbers[group, 0], numbers[group, 1], numbers[group, 2], numbers[group, 3]
    )
    lr, momentum, gain = scalar(P, lr), scalar(P, momentum), scalar(P, gain)
    weight_decay = scalar(P, weight_decay)
    nesterov, maximize = numbers[group, 4] != 0, numbers[group, 5] != 0
    if momentum == 0:
        for i in range(start, stop, width(P)):
            g = load(G, i)
            p, _ = sgd(load(P, i), g, g, lr, momentum, gain, weight_decay, nesterov, maximize)
            store(P, i, p)
            zeros = fma(p, splat(P, 0.0), zeros)
        return zeros
    for i in range(start, stop, width(P)):
        p, b = sgd(load(P, i), load(G, i), load(S, i), lr, momentum, gain, weight_decay, nesterov, maximize)
        store(P, i, p)
        store(S, i, flushed(b, tiny))
        zeros = fma(p, splat(P, 0.0), zeros)
    return zeros


@inner
def adam_sweep(P, G, S, stride, start, stop, numbers, group, t, tiny, zeros):
    lr, beta1, beta2 = numbers[group, 0], numbers[group, 1], numbers[group, 2]
    eps, decay = numbers[group, 3], numbers[group, 4]
    amsgrad, maximize = numbers[group, 5] != 0, numbers[group, 6] != 0
    step_size, root, eps, gain1, beta2, gain2, decay = adam_scalars(t, lr, beta1, beta2, eps, decay)
    step_size, root, eps, decay = scalar(P, step_size), scalar(P, root), scalar(P, eps), scalar(P, decay)
    gain1, beta2, gain2 = scalar(P, gain1), scalar(P, beta2), scalar(P, gain2)
    for i in range(start, stop, width(P)):
        peak = load(S, 2 * stride + i) if amsgrad else load(P, i)
        p, m, v, peak = adam(
            load(P, i), load(G, i), load(S, i), load(S, stride + i), peak,
            step_size, root, eps, gain1, beta2, gain2, decay, amsgrad, maximize,
        )  # fmt: skip
        store(P, i, p)
        store(S, i, flushed(m, tiny))
        store(S, stride + i, flushed(v, tiny))
        if amsgrad:
            store(S, 2 * stride + i, flushed(peak, tiny))
        zeros = fma(p, splat(P, 0.0), zeros)
    return zeros


@inner
def adamw_sweep(P, G, S, stride, start, stop, numbers, group, t, tiny, zeros):
    lr, beta1, beta2 = numbers[group, 0], numbers[group, 1], numbers[group, 2]
    eps, decay = numbers[group, 3], numbers[group, 4]
    amsgrad, maximize = numbers[group, 5] != 0, numbers[group, 6] != 0
    shrink, step_size, root, eps, gain1, beta2, gain2 = adamw_scalars(t, lr, beta1, beta2, eps, decay)
    shrink, step_size, root, eps = scalar(P, shrink), scalar(P, step_size), scalar(P, root), scalar(P, eps)
    gain1, beta2, gain2 = scalar(P, gain1), scalar(P, beta2), scalar(P, gain2)
    for i in range(start, stop, width(P)):
        peak = load(S, 2 * stride + i) if amsgrad else load(P, i)
        p, m, v, peak = adamw(
            load(P, i), load(G, i), load(S, i), load(S, stride + i), peak,
            shrink, step_size, root, eps, gain1, beta2, gain2, amsgrad, maximize,
        )  # fmt: skip
        store(P, i, p)
        store(S, i, flushed(m, tiny))
        store(S, stride + i, flushed(v, tiny))
        if amsgrad:
            store(S, 2 * stride + i, flushed(peak, tiny))
        zeros = fma(p, splat(P, 0.0), zeros)
    return zeros


@inner
def add_penalty(P, G, stretches, share, tiny):
    """The loop form of `functional.half_square` and its vjp: G += share P; returns sum P^2 / 2.

    A weight that nothing but the penalty moves decays for ever: where the square of what moves it would be
    `tiny`, it rests, since Adam squares that.
    """
    floor = math.sqrt(tiny)
    total = splat(P, 0.0)
    for k in range(stretches.shape[0]):
        if stretches[k, 4] != 0:
            for i in range(stretches[k, 0], stretches[k, 1], width(P)):
                p = flushed(load(P, i), floor)
                total = total + p * p
                store(G, i, load(G, i) + flushed(share * p, floor))
    return scalar(P, 0.5) * sum_of_lanes(total)


@inner
def clip(G, stretches, max_norm, max_value):
    """Bound the gradients in place: elements first, then the norm of all; infinity is no bound."""
    if max_value < np.inf:
        for k in range(stretches.shape[0]):
            for i in range(stretches[k, 0], stretches[k, 1], width(G)):
                store(G, i, clip_value(load(G, i), scalar(G, max_value)))
    if max_norm < np.inf:
        squares = splat(G, 0.0)
        for k in range(stretches.shape[0]):
            for i in range(stretches[k, 0], stretches[k, 1], width(G)):
                g = load(G, i)
                squares = squares + g * g
        factor = clip_factor(sqrt(splat(G, sum_of_lanes(squares))), scalar(G, max_norm))
        for k in range(stretches.shape[0]):
            for i in range(stretches[k, 0], stretches[k, 1], width(G)):
                store(G, i, load(G, i) * factor)


@inner
def update(rule, P, G, S, stride, stretches, numbers, first_row, steps_before, tiny):
    """One optimizer step.

    Args:
        stretches: (K, 5) start, stop, group, steps already made, penalised.
        numbers: (rows, 7) hyperparameters; those of group g stand in row first_row + g.
    Returns:
        lanes of 0, or of NaN where a number is not finite any more (it may be one between the parameters).
    """
    zeros = splat(P, 0.0)
    for k in range(stretches.shape[0]):
        start, stop, group = stretches[k, 0], stretches[k, 1], first_row + stretches[k, 2]
        made = stretches[k, 3] + steps_before
        if rule == SGD:
            zeros = sgd_sweep(P, G, S, start, stop, numbers, group, made == 0, tiny, zeros)
        elif rule == ADAM:
            t = float(made + 1)
            zeros = adam_sweep(P, G, S, stride, start, stop, numbers, group, t, tiny, zeros)
        else:
            t = float(made + 1)
            zeros = adamw_sweep(P, G, S, stride, start, stop, numbers, group, t, tiny, zeros)
    return zeros
