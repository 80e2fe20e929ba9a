"""Losses on one panel: the sum of the terms, and the gradient for the prediction.

    p   where the prediction's panel begins     t   the target's panel    d   the gradient's panel
    live  samples of the panel that are in the batch; the rest is padding and gets gradient 0

The elementwise losses call the formulas of `functional`. The losses over classes have loop forms here, which
tests hold equal to `functional.nll` and `functional.cross_entropy`.
"""

from __future__ import annotations

from typing import Any

from ..functional import losses as F
from .blocks import VECTORS
from .formulas import compile_formula
from .inner import inner
from .lanes import iota, load, splat, store, sum_of_lanes, where, width
from .layers import shifted_powers
from .plan import LossKind
from .words import log

__all__ = ["loss_and_gradient"]

MSE, L1, BCE, BCE_WITH_LOGITS = (
    int(kind) for kind in (LossKind.MSE, LossKind.L1, LossKind.BCE, LossKind.BCE_WITH_LOGITS)
)
HUBER, NLL = int(LossKind.HUBER), int(LossKind.NLL)
CROSS_ENTROPY = int(LossKind.CROSS_ENTROPY)
mse_terms, mse_terms_vjp = compile_formula(F.mse_terms), compile_formula(F.mse_terms_vjp)
l1_terms, l1_terms_vjp = compile_formula(F.l1_terms), compile_formula(F.l1_terms_vjp)
huber_terms, huber_terms_vjp = compile_formula(F.huber_terms), compile_formula(F.huber_terms_vjp)
bce_terms, bce_terms_vjp = compile_formula(F.bce_terms), compile_formula(F.bce_terms_vjp)
logits_terms = compile_formula(F.bce_with_logits_terms)
logits_terms_vjp = compile_formula(F.bce_with_logits_terms_vjp)


# Each takes prediction, target, the output's weight and pos_weight (lanes) and the mean's divisor (a double),
# and returns the term and its gradient, in the order of operations of `functional`.


@inner
def _mse(a, b, weight, pos_weight, divisor):
    return mse_terms(a, b), mse_terms_vjp(1 / divisor, a, b)


@inner
def _l1(a, b, weight, pos_weight, divisor):
    return l1_terms(a, b), l1_terms_vjp(1 / divisor, a, b)


@inner
def _huber(a, b, weight, delta, divisor):
    return huber_terms(a, b, delta), huber_terms_vjp(1 / divisor, a, b, delta)


@inner
def _bce(p, t, weight, pos_weight, divisor):
    return bce_terms(p, t) * weight, bce_terms_vjp(1.0, p, t) * weight / divisor


@inner
def _bce_with_logits(x, t, weight, pos_weight, divisor):
    terms = logits_terms(x, t, pos_weight) * weight
    return terms, logits_terms_vjp(1.0, x, t, pos_weight) * weight / divisor


def _elementwise(pair: Any, probabilities: bool) -> Any:
    @inner
    def loop(M, p, t, d, rows, live, vectors, V, weighted, divisor, total, wrong):
        W = width(M)
        for r in range(rows):
            weight, pos_weight = splat(M, V[r]), splat(M, V[rows + r])
            for v in range(vectors):
                at = (r * VECTORS + v) * W
                prediction, target = load(M, p + at), load(M, t + at)
                term, slope = pair(prediction, target, weight, pos_weight, divisor)
                if weighted:
                    row_weight = load(M, t + (rows * VECTORS + v) * W)
                    term, slope = term * row_weight, slope * row_weight
                inside = iota(M) < live - v * W
                total = total + where(inside, term, 0.0)
                if probabilities:
                    wrong = where(prediction < 0, 1.0, where(prediction > 1, 1.0, wrong))
                    wrong = where(target >= 0, where(target <= 1, wrong, 1.0), 1.0)
                store(M, d + at, where(inside, slope, 0.0))
        return total, wrong

    return loop


mse_panel, l1_panel = _elementwise(_mse, False), _elementwise(_l1, False)
huber_panel = _elementwise(_huber, False)
bce_panel, logits_panel = _elementwise(_bce, True), _elementwise(_bce_with_logits, False)


@inner
def nll_panel(M, p, t, d, rows, live, vectors, divisor, total):
    """The loop form of `functional.nll` and its vjp.

    Row 0 of the target's panel is the class (-1: ignored), row 1 the weight of that class or of the row.
    """
    W = width(M)
    for v in range(vectors):
        wanted = load(M, t + v * W)
        weight = load(M, t + (VECTORS + v) * W)
        wanted = where(iota(M) < live - v * W, wanted, -1.0)
        slope = where(wanted >= 0, -(1 / splat(M, divisor)) * weight, 0.0)
        for c in range(rows):
            at = (c * VECTORS + v) * W
            hit = wanted == splat(M, c)
            total = total + where(hit, -weight * load(M, p + at), 0.0)
            store(M, d + at, where(hit, slope, 0.0))
    return total


@inner
def cross_entropy_panel(M, p, t, d, rows, live, vectors, V, weighted, divisor, smoothing, by_index, total):
    """The loop form of `functional.cross_entropy` and its vjp.

    For class indices the target's panel is as for `nll_panel`; else it holds the classes' probabilities,
    then the rows' weights.
    """
    W = width(M)
    one_entry = by_index and smoothing == 0  # then an impossible class, of logit -inf, may stand elsewhere
    keep, spread = 1 - smoothing, smoothing / rows
    for v in range(vectors):
        top, powers = shifted_powers(M, p, d, rows, v * W)
        log_powers = log(powers)
        wanted = load(M, t + v * W)
        inside = iota(M) < live - v * W
        kept = where(inside, 1.0, 0.0)
        if by_index:
            kept = where(wanted >= 0, kept, 0.0)
        row_weight = splat(M, 1.0)
        if weighted:
            row_weight = load(M, t + ((1 if by_index else rows) * VECTORS + v) * W)
        mass = splat(M, 0.0)  # sum_c q_c
        for c in range(rows):
            at = (c * VECTORS + v) * W
            q = where(wanted == splat(M, c), 1.0, 0.0) if by_index else load(M, t + at)
            if smoothing != 0:
                q = q * keep + spread
            q = q * splat(M, V[c]) * row_weight
            mass = mass + q
            term = -(q * ((load(M, p + at) - top) - log_powers))
            term = where(q == 0, 0.0, term) if one_entry else term
            total = total + where(kept > 0, term, 0.0)
        share = where(kept > 0, 1 / splat(M, divisor), 0.0)
        for c in range(rows):
            at = (c * VECTORS + v) * W
            q = where(wanted == splat(M, c), 1.0, 0.0) if by_index else load(M, t + at)
            if smoothing != 0:
                q = q * keep + spread
            q = q * splat(M, V[c]) * row_weight
            slope = share * ((load(M, d + at) / powers) * mass - q)
            store(M, d + at, where(kept > 0, slope, 0.0))
    return total


@inner
def decisions(M, p, t, rows, live, vectors, by_index, over_classes, cut):
    """(right, made): how many decisions of a panel are right, as `functional.hits`, and how many are made."""
    W = width(M)
    right = splat(M, 0.0)
    made = splat(M, 0.0)
    for v in range(vectors):
        inside = iota(M) < live - v * W
        if over_classes:
            chosen, highest = splat(M, 0.0), load(M, p + v * W)
            wanted, most = splat(M, 0.0), load(M, t + v * W)
            for c in range(1, rows):
                at = (c * VECTORS + v) * W
                value = load(M, p + at)
                chosen = where(value > highest, splat(M, c), chosen)
                highest = where(value > highest, value, highest)
                if not by_index:
                    share = load(M, t + at)
                    wanted = where(share > most, splat(M, c), wanted)
                    most = where(share > most, share, most)
            if by_index:
                wanted = most
            counted = where(wanted >= 0, where(inside, 1.0, 0.0), 0.0)
            made = made + counted
            right = right + where(chosen == wanted, counted, 0.0)
        else:
            for r in range(rows):
                at = (r * VECTORS + v) * W
                counted = where(inside, 1.0, 0.0)
                says = where(load(M, p + at) > cut, 1.0, 0.0)
                wanted = where(load(M, t + at) > 0.5, 1.0, 0.0)
                made = made + counted
                right = right + where(says == wanted, counted, 0.0)
    return sum_of_lanes(right), sum_of_lanes(made)


@inner
def loss_and_gradient(kind, M, p, t, d, rows, live, vectors, V, weighted, divisor, smoothing, total, wrong):
    """The panel's terms added to `total`, and d filled.

    Args:
        V: weight and pos_weight of each output. weighted: the target's panel ends in the rows' weights.
        divisor: what the mean divides by, 1 for a sum.
        wrong: 1 in a lane that met a prediction or a target outside [0, 1] where BCE needs probabilities.
    Returns:
        total, wrong: lanes.
    """
    if kind == MSE:
        return mse_panel(M, p, t, d, rows, live, vectors, V, weighted, divisor, total, wrong)
    if kind == BCE:
        return bce_panel(M, p, t, d, rows, live, vectors, V, weighted, divisor, total, wrong)
    if kind == L1:
        return l1_panel(M, p, t, d, rows, live, vectors, V, weighted, divisor, total, wrong)
    if kind == HUBER:
        return huber_panel(M, p, t, d, rows, live, vectors, V, weighted, divisor, total, wrong)
    if kind == BCE_WITH_LOGITS:
        return logits_panel(M, p, t, d, rows, live, vectors, V, weighted, divisor, total, wrong)
    if kind == NLL:
        return nll_panel(M, p, t, d, rows, live, vectors, divisor, total), wrong
    by_index = kind == CROSS_ENTROPY
    total = cross_entropy_panel(
        M, p, t, d, rows, live, vectors, V, weighted, divisor, smoothing, by_index, total
    )
    return total, wrong
